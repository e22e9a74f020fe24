package mover

import (
	"testing"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
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

// TestCatalogIsNobodysVolume: that the catalog has stopped is no reason to suspect a volume.
func TestCatalogIsNobodysVolume(t *testing.T) {
	if b := blameFor(errors.WithMessage(catalog.ErrStopped, "update volume A00001L9")); b != blameDrive {
		t.Errorf("a stopped catalog is blamed on %d", b)
	}
}

// TestVolumesBeforeUse: where volumes are, as people count, and how large, is known
// before one has been in a drive.
func TestVolumesBeforeUse(t *testing.T) {
	r := newRig(t, setup{capacity: 48 * mib, slots: 3})
	for i, v := range r.m.Status().Volumes {
		if want := []string{"slot 1", "slot 2", "slot 3"}[i]; v.Where != want || v.Capacity != 48*mib || !v.Room {
			t.Errorf("%+v, want it in %s", v, want)
		}
	}
}

func TestPlaceNames(t *testing.T) {
	places := placeNames([]tape.Element{
		{Address: 2001, Kind: tape.Slot}, {Address: 2000, Kind: tape.Slot}, {Address: 1, Kind: tape.Arm},
		{Address: 16, Kind: tape.ImportExport}, {Address: 300, Kind: tape.DriveElement, Drive: "D7"},
	})
	for address, want := range map[uint16]string{2000: "slot 1", 2001: "slot 2", 16: "mail slot 1", 300: "drive D7", 1: ""} {
		if places[address] != want {
			t.Errorf("element %d is %q, want %q", address, places[address], want)
		}
	}
}
