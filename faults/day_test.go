package faults

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sliod/backend"
)

// TestDay is a day of a busy library of real speed, by the clock of a bubble: clients write and
// read, jobs bring back whole directories, volumes fill up, are emptied and verified, the cache is
// compared with its checksums, and a third of the files has two copies. No operation may fail, and at the end
// every file is compared, in the cache, on tape, and in the indexes.
func TestDay(t *testing.T) {
	base := disk(t)
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(filepath.Join(base, "day"))
		m.library.Speed, m.library.Slots, m.library.Capacity = 1, 24, 48*mib
		m.tune = func(o *backend.Options) {
			o.CacheBytes, o.CacheStub, o.ArchiveIdle = 24*mib, 16<<10, 2*time.Minute
			o.Policy = twice("/client[01]")
			o.ReclaimDead, o.VerifyEvery, o.CacheScrub = 0.3, 6*time.Hour, 8*time.Hour
			o.Mover.Linger, o.Mover.BackgroundWait = time.Minute, 20*time.Minute
		}
		s := &stage{machine: m, t: t}
		if err := m.addForeign(); err != nil {
			t.Fatal(err)
		}
		if err := m.start(&injector{}); err != nil {
			t.Fatal(err)
		}
		for i := range 6 {
			c := newClient(m, i, drillSeed)
			c.think = 5 * time.Minute
			c.room.Store(6 * mib)
			c.open()
			s.clients = append(s.clients, c)
		}
		if err := m.create("/empty", nil); err != nil {
			t.Fatal(err)
		}
		s.work()
		var jobs sync.WaitGroup
		for hour := range 24 {
			jobs.Go(func() { s.bulk(hour) })
			pass(time.Hour)
		}
		s.halt()
		within("the jobs of the day", jobs.Wait)
		if failed := failures(s.clients); len(failed) > 0 {
			t.Errorf("failed: %q", failed)
		}
		s.worked()
		if err := m.stop(); err != nil {
			t.Error(err)
		}
		s.end(nil)
		if t.Failed() {
			t.Log(m.out.String())
		}
	})
}

// bulk is what the operator asks for in an hour of the day.
func (s *stage) bulk(hour int) {
	dir := s.clients[hour%len(s.clients)].dir
	kind, args := backend.JobRecall, []string{dir}
	switch hour % 6 {
	case 3:
		kind, args = backend.JobEvict, []string{"/empty"} // a file that is not in the cache
	case 5:
		kind, args = backend.JobVerify, nil
	}
	if err := s.job(kind, args...); err != nil {
		s.t.Errorf("hour %d: %v", hour, err)
	}
}

// worked fails the test if the day was too quiet to tell anything.
func (s *stage) worked() {
	s.t.Helper()
	st := s.fs.Status()
	reclaimed := 0
	for _, v := range s.fs.Volumes() {
		if v.State == "scratch" && v.UUID != "" {
			reclaimed++
		}
	}
	ops := 0
	for _, c := range s.clients {
		ops += c.ops
	}
	s.t.Logf("%d operations of clients; %d MiB written to tape, %d MiB read; %d faults; %d evictions; %d volumes are emptied just now",
		ops, st.Tape.WrittenBytes>>20, st.Tape.ReadBytes>>20, st.FaultsDone, st.Cache.Evictions, reclaimed)
	if st.FaultsDone < 100 || st.Cache.Evictions < 100 {
		s.t.Error("the day was too quiet")
	}
	for _, v := range s.written() {
		if v.State != "scratch" && v.VerifiedAt.IsZero() {
			s.t.Logf("%s, %s, was never verified", v.Barcode, v.State)
		}
	}
	if !slices.ContainsFunc(s.fs.Volumes(), func(v backend.VolumeInfo) bool { return !v.VerifiedAt.IsZero() }) {
		s.t.Error("no volume was verified")
	}
	if s.fs.Queue().Archive.Files > 1000 {
		s.t.Error(fmt.Sprint(s.fs.Queue().Archive.Files, " files wait for archiving"))
	}
}
