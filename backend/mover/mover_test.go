package mover

import (
	"testing"

	"sliod/backend/sliver"
)

func TestArchiveEvictRecall(t *testing.T) {
	r := newRig(t, setup{})
	files := r.fill(3, 2*mib+12345)
	r.archive(files...)
	r.evict(files...)
	for _, f := range files {
		if cached, _, _, _ := r.cache.FileStats(f); cached != 0 {
			t.Fatalf("%d bytes of file %d are cached", cached, f)
		}
		r.check(f)
	}
	r.eventually("all is counted", func(s Status) bool {
		return s.Stats.Recalled == 9 && s.Stats.WrittenBytes == 3*(2*mib+12345)
	})
}

func TestRestart(t *testing.T) {
	r := newRig(t, setup{})
	files := r.fill(5, mib+1)
	r.archive(files...)
	r.stop()
	r.start()
	for _, f := range files {
		r.check(f)
	}
	r.eventually("all is counted", func(s Status) bool { return s.Stats.Recalled == 10 })
}

func TestSmallFilesShareRecords(t *testing.T) {
	r := newRig(t, setup{})
	files := r.fill(300, 1000)
	r.archive(files...)
	blocks := map[uint64]int{}
	for _, f := range files {
		blocks[r.rec(keyOf(f, 0)).Copies[0].Pieces[0].Block]++
	}
	// A batch ends when the queue is empty; most files share a record anyway.
	if len(blocks) > 3 {
		t.Errorf("300 files of 1000 bytes are in %d records", len(blocks))
	}
	r.evict(files...)
	for _, f := range files {
		r.check(f)
	}
}

func TestManyFilesOnSeveralVolumes(t *testing.T) {
	r := newRig(t, setup{capacity: 48 * mib, slots: 5, cache: 48 * mib})
	var files []sliver.FileID
	for i := range 5 {
		fs := r.fill(8, 2*mib+i)
		r.archive(fs...)
		r.evict(fs...)
		files = append(files, fs...)
	}
	for _, f := range files {
		r.check(f)
	}
	full := 0
	for _, v := range r.m.Status().Volumes {
		if v.State == "full" {
			full++
		}
	}
	if full < 1 {
		t.Errorf("no volume is full: %+v", r.m.Status().Volumes)
	}
}
