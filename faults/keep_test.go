package faults

import (
	stderrors "errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sliod/backend"
	"sliod/tape"
	"sliod/tape/virtual"
)

// keeping is one of the things that keep data alive.
type keeping struct {
	name   string
	before int // volumes that each file is on before; afterwards as many, unless more
	more   bool
	bad    bool // the first block of data of the volume cannot be read
	begin  func(m *machine, volume string) error
	over   func(v backend.VolumeInfo) bool
}

var keepings = []keeping{
	{name: "reclaim", before: 1, over: func(v backend.VolumeInfo) bool { return v.State == "scratch" }, begin: func(m *machine, volume string) error {
		return m.job(backend.JobReclaim, volume)
	}},
	{name: "second copies", before: 1, more: true, over: func(backend.VolumeInfo) bool { return true }, begin: func(m *machine, _ string) error {
		return m.job(backend.JobArchive, "/")
	}},
	{name: "repair", before: 2, bad: true, over: func(v backend.VolumeInfo) bool { return v.BadCopies == 0 }, begin: func(m *machine, volume string) error {
		_ = m.job(backend.JobVerify, "volume="+volume) // it fails, as long as the copy is bad
		time.Sleep(5 * time.Minute)                    // then it is replaced
		return nil
	}},
	{name: "evacuation", before: 1, over: func(v backend.VolumeInfo) bool { return v.State == "suspect" && v.UsedBytes == 0 }, begin: func(m *machine, volume string) error {
		err := m.job(backend.JobVolumesSet, volume, "suspect")
		time.Sleep(5 * time.Minute)
		return err
	}},
}

// volume is what an operator sees of one.
func (m *machine) volume(barcode string) backend.VolumeInfo {
	all := m.fs.Volumes()
	return all[slices.IndexFunc(all, func(v backend.VolumeInfo) bool { return v.Barcode == barcode })]
}

// watchedDisk has a function called before each write to the log of a catalog.
type watchedDisk struct {
	*vfs.MemFS
	hook func()
}

type watchedLog struct {
	vfs.File
	hook func()
}

func (d watchedDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.MemFS.Create(name, c)
	if err == nil && strings.HasSuffix(name, ".log") {
		f = watchedLog{f, d.hook}
	}
	return f, err
}

func (d watchedDisk) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.MemFS.ReuseForWrite(old, name, c)
	if err == nil && strings.HasSuffix(name, ".log") {
		f = watchedLog{f, d.hook}
	}
	return f, err
}

func (f watchedLog) Write(p []byte) (int, error) {
	f.hook()
	return f.File.Write(p)
}

// TestPowerLossKeeping cuts the power of the machine and of the library before each change of the library's files, and before each
// write to the catalog's log, while a volume is emptied, files get second copies, a bad copy is replaced, or a suspect
// volume is copied away. Of what was not synced, in the library and in the catalog, all, some or nothing is left; the cache
// is lost, which has nothing that is not on tape. Afterwards all files are there, and what was begun comes to its end.
func TestPowerLossKeeping(t *testing.T) {
	base := disk(t)
	if s := os.Getenv("SLIOD_KEEPING_RUN"); s != "" {
		var i int
		var a accident
		if _, err := fmt.Sscan(s, &i, &a.at, &a.loss, &a.seed); err != nil {
			t.Fatal(err)
		}
		t.Log(keepings[i].lose(t, base, i, a))
		return
	}
	seed, whole, n := sample(t, 40)
	r := rand.New(rand.NewPCG(seed, 2))
	for i := range keepings {
		k := &keepings[i]
		steps, _ := k.lose(t, base, i, accident{})
		var list []accident
		for at := range steps {
			for l := range losses {
				list = append(list, accident{at + 1, l, r.Uint64() >> 32})
			}
		}
		all := len(list)
		if !whole {
			r.Shuffle(all, func(i, j int) { list[i], list[j] = list[j], list[i] })
			list = list[:min(all, n/len(keepings))]
		}
		lost := 0
		for _, a := range list {
			if _, hit := k.lose(t, base, i, a); hit {
				lost++
			}
			if t.Failed() {
				return
			}
		}
		t.Logf("%s: %d writes of tapes and catalog, %d of %d losses of power", k.name, steps, lost, all)
	}
}

// lose does one accident; at 0: none. It returns how many changes there were, and whether the power was lost.
func (k *keeping) lose(t *testing.T, base string, no int, a accident) (steps int, lost bool) {
	dir, err := os.MkdirTemp(base, "keep-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	a.loss = min(a.loss, losses-1)
	var wrong error
	var log string
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(filepath.Join(dir, "before"))
		if err := m.addForeign(); err != nil {
			t.Fatal(err)
		}
		s := newScript(m)
		tape := newDisk(filepath.Join(m.dir, "library"))
		after := newMachine(filepath.Join(dir, "after"))
		r := rand.New(rand.NewPCG(a.seed, 0))
		turn := make(chan struct{}, 1)
		watching := false // guarded by turn
		change := func(c *virtual.Change) {
			turn <- struct{}{}
			defer func() { <-turn }()
			if watching {
				steps++
			}
			if watching && steps == a.at {
				lost = true
				// No change of the library comes between the two.
				unsynced := map[loss]int{keepAll: 100, keepTorn: 100, keepSome: r.IntN(101)}[a.loss]
				after.catalog = m.catalog.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: r})
				next := virtual.Change{}
				if c != nil {
					next = *c
				}
				if err := tape.image(filepath.Join(after.dir, "library"), a.loss, next, r); err != nil {
					t.Error(err)
				}
			}
			if c != nil {
				tape.apply(*c)
			}
		}
		if err := tape.load(); err != nil {
			t.Fatal(err)
		}
		virtual.WatchFiles(func(c virtual.Change) { change(&c) })
		defer virtual.WatchFiles(nil)
		m.catalog = vfs.NewCrashableMem()
		m.logged = func() { change(nil) }
		m.tune = k.tune(k.before)
		volume := k.prepare(t, s)
		after.tune = k.tune(k.copies())
		m.tune = after.tune
		if err := k.start(m, volume); err != nil {
			t.Fatal(err)
		}
		turn <- struct{}{}
		watching = true
		<-turn
		err := k.begin(m, volume)
		turn <- struct{}{}
		watching = false
		<-turn
		if err != nil || !k.over(m.volume(volume)) {
			t.Errorf("%s without a loss: %v, %+v", k.name, err, m.volume(volume))
		}
		if err := m.stop(); err != nil {
			t.Error(err)
		}
		virtual.WatchFiles(nil)
		if !lost {
			return
		}
		// The catalog knows its path.
		if err := stderrors.Join(os.RemoveAll(m.dir), os.Rename(after.dir, m.dir)); err != nil {
			t.Fatal(err)
		}
		after.dir = m.dir
		known := newScript(after)
		known.like(s)
		wrong = k.sound(known, volume)
		log = after.out.String()
	})
	if wrong != nil {
		t.Errorf("SLIOD_KEEPING_RUN=\"%d %s\" (%s, %v): %v", no, a, k.name, a.loss, wrong)
		if os.Getenv("SLIOD_KEEPING_RUN") != "" {
			t.Log(log)
		}
	}
	return steps, lost
}

func (k *keeping) copies() int {
	if k.more {
		return k.before + 1
	}
	return k.before
}

// tune has files on so many volumes.
func (k *keeping) tune(copies int) func(*backend.Options) {
	return func(o *backend.Options) {
		o.ReclaimDead = 0.95
		o.Mover.Linger = time.Minute
		if copies > 1 {
			o.Policy = twice("/")
		}
	}
}

// start starts a machine whose volume may have a bad block.
func (k *keeping) start(m *machine, volume string) error {
	err := m.start(&injector{})
	if err == nil && k.bad {
		m.lib.SetUnreadable(tape.Barcode(volume), tape.Position{Partition: 1, Block: 7}, true)
	}
	return err
}

// prepare makes files that are on tape alone, and returns the volume that has them.
func (k *keeping) prepare(t *testing.T, s *script) string {
	if err := s.m.start(&injector{}); err != nil {
		t.Fatal(err)
	}
	s.create("/empty", nil)
	s.must("mkdir", s.mkdir("/dir"))
	for i, n := range []int{70_000, mib + 5, 2*mib + 77, 3000, mib} {
		s.create(fmt.Sprintf("/dir/f%d", i), pattern(uint64(i)+1, n))
	}
	s.archiveAndEvict()
	s.must("unlink", s.unlink("/dir/f1"))
	s.archiveAndEvict()
	volumes := s.m.fs.Volumes()
	i := slices.IndexFunc(volumes, func(v backend.VolumeInfo) bool { return v.UsedBytes > 0 })
	if i < 0 || len(s.failed)+len(s.wrong) > 0 {
		t.Fatal(volumes, s.failed, s.wrong)
	}
	if err := s.m.stop(); err != nil {
		t.Fatal(err)
	}
	return volumes[i].Barcode
}

// sound is the life after the loss.
func (k *keeping) sound(s *script, volume string) error {
	m := s.m
	if err := k.start(m, volume); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer m.stop()
	s.readAll()
	if len(s.failed) > 0 {
		return fmt.Errorf("after the loss: %q", s.failed)
	}
	time.Sleep(10 * time.Minute) // what is on record goes on by itself
	if !k.over(m.volume(volume)) || k.more || k.bad {
		if err := k.begin(m, volume); err != nil {
			return err
		}
	}
	if v := m.volume(volume); !k.over(v) {
		return fmt.Errorf("it does not come to its end: %+v", v)
	}
	if err := m.job(backend.JobVerify, "/"); err != nil {
		return err
	}
	for i := range 4 { // scratch volumes are formatted and written
		s.create(fmt.Sprintf("/later%d", i), pattern(uint64(300+i), 2*mib))
		s.archiveAndEvict()
	}
	s.complete()
	if len(s.failed) > 0 {
		s.violated("afterwards: %q", s.failed)
	}
	if len(s.wrong) > 0 {
		return fmt.Errorf("%q", s.wrong)
	}
	if err := m.stop(); err != nil {
		return err
	}
	return m.inspect(maps.Clone(s.files))
}
