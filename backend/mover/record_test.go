package mover

import (
	"slices"
	"sync"
	"testing"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape/virtual"
)

// TestRecordsOfVolumesKeepUp: changes of one volume's record by several goroutines at once leave the
// mover with what the catalog has, not with what a slower one has read before.
func TestRecordsOfVolumesKeepUp(t *testing.T) {
	r := newRig(t, setup{})
	v := r.volumeOf("A00001L9")
	for round := range 200 {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if err := r.m.updateVolume(v, func(rec *catalog.Volume) { rec.Used++ }); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got, want := r.status("A00001L9").Used, int64(4*(round+1)); got != want {
			t.Fatalf("round %d: the mover has %d, the catalog %d", round, got, want)
		}
	}
}

// TestScratchThatIsNeeded: a volume that the catalog calls scratch though it names data there is never formatted.
func TestScratchThatIsNeeded(t *testing.T) {
	r := newRig(t, setup{cfg: quietly})
	files, b := r.archived(2, mib+1)
	r.goHome()
	v := r.volumeOf(string(b))
	if err := r.m.updateVolume(v, func(rec *catalog.Volume) { rec.State = catalog.VolScratch }); err != nil {
		t.Fatal(err)
	}
	_, c := r.archived(1, mib)
	if c == b {
		t.Errorf("%s was formatted", b)
	}
	if s := r.status(b); s.State != "full" {
		t.Errorf("%+v", s)
	}
	r.evict(files...)
	for _, f := range files {
		r.check(f)
	}
}

// TestBatchOnScratch: nothing is named on a volume that became scratch while a batch was written to it.
func TestBatchOnScratch(t *testing.T) {
	r := newRig(t, setup{cfg: quietly})
	_, b := r.archived(1, mib+1)
	v := r.volumeOf(string(b))
	r.tree.planned = func(sliver.FileID) {
		if err := r.m.updateVolume(v, func(rec *catalog.Volume) { rec.State = catalog.VolScratch }); err != nil {
			t.Error(err)
		}
	}
	f := r.fill(1, mib)[0]
	r.archive(f)
	if on, _ := r.placeOfSliver(keyOf(f, 0)); on == b {
		t.Errorf("archived on %s, which is scratch", b)
	}
	r.evict(f)
	r.check(f)
}

// TestSetScratchTooLate: a blank cartridge that gets data before the operator's word "scratch" has its turn keeps
// them.
func TestSetScratchTooLate(t *testing.T) {
	r := newRig(t, setup{cfg: quietly})
	v := r.volumeOf("A00001L9")
	set := make(chan error, 1)
	var once sync.Once
	r.lib.Hook(func(e virtual.Event) {
		if e.Opcode != opMove || e.After {
			return
		}
		once.Do(func() { // a drive is to have it, and it is blank
			go func() { set <- r.m.SetVolumeState(t.Context(), v.barcode(), catalog.VolScratch) }()
			r.eventually("the word waits", func(Status) bool {
				r.m.mu.Lock()
				defer r.m.mu.Unlock()
				return len(v.uses) > 0
			})
		})
	})
	f := r.fill(1, mib)[0]
	r.archive(f)
	if err := <-set; err == nil {
		t.Error("a volume with data is scratch now")
	}
	if s := r.status(v.barcode()); s.State != "append" {
		t.Errorf("%+v", s)
	}
	r.evict(f)
	r.check(f)
}

// TestRecallOfEmptied: a volume is emptied, and becomes scratch, between the look at where a sliver is and the
// recall's place in its queue. The recall goes to where the sliver is now, and the volume is not fetched for it.
func TestRecallOfEmptied(t *testing.T) {
	r := newRig(t, setup{cfg: quietly})
	files, b := r.archived(1, mib+1)
	f := files[0]
	r.check(f) // into the cache
	if err := r.copyErr(CopyOptions{Copies: 2}, f); err != nil {
		t.Fatal(err)
	}
	r.goHome()
	r.evict(f)
	v := r.volumeOf(string(b))
	uuid := v.rec().UUID
	r.tree.mu.Lock()
	r.tree.located = func(k sliver.Key) {
		for no := range sliver.No(2) {
			r.dropCopy(keyOf(f, no), v.rec().No)
		}
		if err := r.m.updateVolume(v, func(rec *catalog.Volume) { rec.State = catalog.VolScratch }); err != nil {
			t.Error(err)
		}
	}
	r.tree.mu.Unlock()
	r.check(f)
	if rec := v.rec(); rec.State != catalog.VolScratch || rec.UUID != uuid {
		t.Errorf("the volume was formatted for a recall: %+v", rec)
	}
	if len(r.bad) > 0 || len(r.m.Status().Errors) > 0 {
		t.Errorf("bad copies %v, errors %v", r.bad, r.m.Status().Errors)
	}
}

// dropCopy takes the copy of a sliver on a volume out of its record.
func (tr *tree) dropCopy(k sliver.Key, on catalog.VolumeNo) {
	err := tr.cat.Update(func(tx *catalog.Tx) error {
		no, i := k.No.Bmap()
		b, err := tx.Bmap(k.File, no)
		if err != nil {
			return err
		}
		r := &b.Slivers[i]
		r.Copies = slices.DeleteFunc(slices.Clone(r.Copies), func(c catalog.Copy) bool { return c.Volume == on })
		return tx.PutBmap(k.File, no, b)
	})
	if err != nil {
		tr.t.Error(err)
	}
}
