package backend

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"slices"
	"sync"
	"testing"
	"time"

	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// TestKeepUnderLoad has files written, read, archived, evicted and removed while volumes are verified and
// emptied one after the other and the drives make an error now and then. At its end every file is compared, before and
// after a restart.
func TestKeepUnderLoad(t *testing.T) {
	w := newWorld(t, small(32), func(o *Options, c *virtual.Config) {
		c.Drives, c.Slots, c.Cartridges, c.Capacity = 3, 12, 12, 96<<20
		o.Mover.Linger, o.Mover.IndexIdle, o.ArchiveIdle = time.Millisecond, time.Millisecond, time.Millisecond
		o.SyncInterval = 20 * time.Millisecond
	})
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	ctx, cancel := context.WithCancel(t.Context())
	var clients, keepers sync.WaitGroup
	content := make([]map[string][]byte, 3)
	for g := range content {
		content[g] = map[string][]byte{}
		clients.Go(func() { w.client(g, rounds*10, content[g]) })
	}
	keepers.Go(func() {
		rnd := rand.New(rand.NewSource(5))
		for ctx.Err() == nil {
			all := slices.DeleteFunc(w.fs.Volumes(), func(v VolumeInfo) bool { return v.UsedBytes == v.DeadBytes })
			if len(all) > 0 {
				w.ends(JobReclaim, all[rnd.Intn(len(all))].Barcode) // it may fail: a drive's fault, or a bad copy
			}
			(&repairer{fs: w.fs}).look(ctx, time.Now())
		}
	})
	keepers.Go(func() {
		for ctx.Err() == nil {
			w.ends(JobVerify)
		}
	})
	// Some 1,500 to 2,000 reads make 30 loads. So far apart, errors take no volume and no drive out of use: that
	// takes three in a load, or two mounts that fail twice.
	var removes []func()
	for i := range 40 {
		sense := scsi.Sense{Key: scsi.MediumErrorKey, Code: scsi.CodeReadError}
		if i%4 == 0 {
			sense = scsi.Sense{Key: scsi.AttentionKey, Code: scsi.CodeReset}
		}
		removes = append(removes, w.lib.SetFault(virtual.Fault{Device: virtual.AnyDrive, Opcode: scsi.OpRead6, Nth: 40 + 230*i, Sense: sense}))
	}
	clients.Wait()
	cancel()
	keepers.Wait()
	for _, remove := range removes {
		remove()
	}
	compare := func() {
		t.Helper()
		w.job(JobArchive, "/")
		w.job(JobEvict, "/")
		for _, m := range content {
			for name, p := range m {
				w.wantContent(name, p)
			}
		}
	}
	compare()
	w.restart()
	compare()
}

// client works with files of its own.
func (w *world) client(g, rounds int, content map[string][]byte) {
	rnd := rand.New(rand.NewSource(int64(g)))
	for i := range rounds {
		name := fmt.Sprintf("g%d-%d", g, rnd.Intn(8))
		old, there := content[name]
		switch op := rnd.Intn(10); {
		case !there:
			p := pattern(i, 1+rnd.Intn(3<<20))
			w.put(name, p)
			content[name] = p
		case op == 0:
			w.remove(name)
			delete(content, name)
		case op < 4:
			f, done := w.openFile(name)
			p := pattern(1000+i, 1+rnd.Intn(200_000))
			off := rnd.Intn(len(old) + 1)
			w.write(f, uint64(off), p)
			done()
			content[name] = overlay(old, off, p)
		case op < 6:
			w.ends(JobArchive, "/"+name)
			w.ends(JobEvict, "/"+name)
		default:
			if !bytes.Equal(w.content(name), old) {
				w.t.Errorf("%s differs", name)
			}
		}
	}
}
