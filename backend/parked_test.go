package backend

import (
	stderrors "errors"
	"fmt"
	"testing"

	"github.com/hugelgupf/p9/linux"

	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// fillDirty writes files of one sliver until a write is parked, and returns that
// write. No dirty sliver may go to tape meanwhile.
func (w *world) fillDirty(content map[string][]byte) (*pend, func()) {
	w.t.Helper()
	for i := range 1000 {
		name := fmt.Sprint("dirty", i)
		n, f := w.create(name)
		content[name] = pattern(1000+i, mib)
		if p := w.writeReq(f, 0, content[name]); p.parked {
			return p, func() {
				m, err := p.wrote()
				if err != nil || m < 1 {
					w.t.Errorf("the write that waited for space: %d, %v", m, err)
				}
				w.write(f, uint64(m), content[name][m:])
				f.Close()
				n.Release()
			}
		}
		f.Close()
		n.Release()
	}
	w.t.Fatal("the cache does not fill")
	return nil, nil
}

// With one drive, which stands before a mount, the cache is full of dirty data and
// recalls, merges and writers all wait for a slot. All of them come to their end.
func TestFullCacheOneDrive(t *testing.T) {
	w := newWorld(t, oneDrive, small(16), func(o *Options, _ *virtual.Config) { o.Mover.ReadAhead = 8 })
	old := pattern(1, 10*mib)
	w.archived("old", old)
	w.restart()
	f, done := w.openFile("old")
	defer done()
	g := w.hold(at(scsi.OpMoveMedium, false))
	var reads, writes []*pend
	want := old
	reads = append(reads, w.readReq(f, 5*mib, 100).mustPark())
	g.wait()
	content := map[string][]byte{}
	_, finish := w.fillDirty(content)
	for i := range 10 {
		p := pattern(50+i, 700)
		writes = append(writes, w.writeReq(f, uint64(i*mib+5000), p).mustPark())
		reads = append(reads, w.readReq(f, uint64(i*mib), mib).mustPark())
	}
	g.release()
	finish()
	for i, p := range writes {
		m, err := p.wrote() // short, if there was no slot to stage it in
		if err != nil || m < 1 {
			t.Fatalf("write %d: %d, %v", i, m, err)
		}
		want = overlay(want, int(p.off), pattern(50+i, 700)[:m])
	}
	for _, p := range reads {
		got, err := p.read()
		if err != nil || len(got) != p.count {
			t.Errorf("the read at %d: %d bytes, %v", p.off, len(got), err)
		}
	}
	w.wantContent("old", want)
	for name, want := range content {
		w.wantContent(name, want)
	}
	w.quiet()
}

// A dirty sliver is never evicted, whatever asks for its slot, and as long as tape
// has room a writer is not told ENOSPC, however long it takes.
func TestDirtyIsNeverEvicted(t *testing.T) {
	w := newWorld(t, oneDrive, small(16))
	g := w.hold(at(scsi.OpMoveMedium, false))
	content := map[string][]byte{}
	first, finish := w.fillDirty(content)
	g.wait() // the mover is about to make room
	if id, err := w.fs.StartJob(JobEvict, []string{"/"}); err != nil {
		t.Fatal(err)
	} else {
		eventually(t, "the evict job ends", func() bool { j, _ := w.fs.Job(id); return j.State == "failed" })
	}
	// More writers, who wait in line.
	var more []*pend
	for i := range 20 {
		name := fmt.Sprint("more", i)
		n, f := w.create(name)
		defer n.Release()
		defer f.Close()
		p := w.writeReq(f, 0, pattern(i, 300)).mustPark()
		content[name] = pattern(i, 300)
		more = append(more, p)
	}
	if s := w.fs.cache.Stats(); s.Evictions != 0 || s.DirtyBytes < 15*mib {
		t.Errorf("with nothing on tape: %+v", s)
	}
	for i := range len(content) - len(more) - 1 { // all but the last, which waits
		name := fmt.Sprint("dirty", i)
		w.wantContentNow(name, content[name])
	}
	select {
	case <-first.woken:
		t.Fatalf("the writer was answered: %d, %v", first.n, first.err)
	default:
	}
	g.release()
	finish()
	for _, p := range more {
		p.wantWrote(300)
	}
	for name, want := range content {
		w.wantContent(name, want)
	}
}

// The tape of a file that fails to be written is not the end: while another volume
// has room nobody is told ENOSPC.
func TestNoSpaceOnlyWhenNoVolumeHasRoom(t *testing.T) {
	w := newWorld(t, oneDrive, small(16), tiny(4))
	log := w.logged()
	content := map[string][]byte{}
	var total int
	for i := 0; ; i++ {
		name := fmt.Sprint("f", i)
		n, f := w.create(name)
		p := pattern(i, mib)
		var m int
		var err error
		for m < len(p) && err == nil {
			var k int
			k, err = w.writeReq(f, uint64(m), p[m:]).wrote()
			m += k
		}
		f.Close()
		n.Release()
		content[name] = p[:m]
		total += m
		if err != nil {
			if !stderrors.Is(err, linux.ENOSPC) {
				t.Fatal(err)
			}
			break
		}
		if i > 200 {
			t.Fatal("200 MiB fit into 4 volumes of 24 MiB and a cache of 16")
		}
	}
	if n := log.count("could not be archived"); n > 2 {
		t.Errorf("the log says %d times that tape is full", n)
	}
	for _, v := range w.fs.mover.Status().Volumes {
		if v.Room || v.State != "full" {
			t.Errorf("ENOSPC came with volume %s in state %s (%s)", v.Barcode, v.State, v.Reason)
		}
	}
	if total < 3*20*mib {
		t.Errorf("ENOSPC came after %d MiB, with 4 volumes of 24 MiB", total/mib)
	}
	if s := w.fs.cache.Stats(); s.DirtyBytes < 14*mib {
		t.Errorf("ENOSPC came with %d bytes dirty in a cache of 16 MiB", s.DirtyBytes)
	}
	for name, want := range content {
		w.wantContentNow(name, want)
	}
}
