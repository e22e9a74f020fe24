package mover

import (
	"context"
	"slices"
	"sync"
	"testing"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

func TestGuilty(t *testing.T) {
	read := func(n int) *tally { return &tally{reads: n} }
	full := &tally{full: true}
	for _, tc := range []struct {
		tallies []*tally
		want    bool
	}{
		{nil, false},
		{[]*tally{full}, false},
		{[]*tally{full, full}, true},
		{[]*tally{read(1), read(1)}, false}, // two cartridges with one bad block each
		{[]*tally{read(1), read(1), read(1), read(2), read(2)}, false},
		{[]*tally{read(50), read(50)}, false}, // two cartridges at their end
		{[]*tally{full, read(1)}, false},
		{[]*tally{read(3), read(3), read(3)}, true},
		{[]*tally{full, read(3), read(3)}, true},
	} {
		all := map[catalog.VolumeNo]*tally{}
		for i, x := range tc.tallies {
			all[catalog.VolumeNo(i)] = x
		}
		if got := guilty(all); got != tc.want {
			t.Errorf("%d tallies: %v, want %v", len(tc.tallies), got, tc.want)
		}
	}
}

// badBlocks makes n volumes with two files each, of which the first cannot be read.
func (r *rig) badBlocks(n int) (bad []badVolume) {
	r.t.Helper()
	for range n {
		files, b := r.archived(2, mib)
		k := keyOf(files[0], 0)
		_, at := r.placeOfSliver(k)
		r.lib.SetUnreadable(b, at, true)
		bad = append(bad, badVolume{files, b, at})
		if err := r.m.SetVolumeState(r.t.Context(), b, catalog.VolFull); err != nil { // the next files go to another one
			r.t.Fatal(err)
		}
	}
	return bad
}

type badVolume struct {
	files []sliver.FileID
	b     tape.Barcode
	at    tape.Position
}

// TestBadCartridgesSpareTheDrive: cartridges with a bad block each, one after the other in the same drive, do not take
// it out of service, though there is another.
func TestBadCartridgesSpareTheDrive(t *testing.T) {
	r := newRig(t, setup{drives: 2, slots: 8, cfg: quietly})
	bad := r.badBlocks(4)
	r.goHome()
	r.m.mu.Lock()
	for _, v := range r.m.volumes { // all goes to the first drive
		r.m.drives[1].blamed[v.rec().No] = true
	}
	r.m.mu.Unlock()
	for _, x := range bad {
		if _, err := r.read(keyOf(x.files[0], 0), mib); tape.KindOf(err) != tape.MediumError {
			t.Errorf("a bad block was read: %v", err)
		}
		if s := r.status(x.b); s.State != "full" {
			t.Errorf("%+v", s)
		}
	}
	if s := r.m.Status().Drives[0]; s.State == "failed" {
		t.Errorf("%+v", s)
	}
}

// TestBadDriveIsFoundOut: what cannot be read in one drive is read in another: the drive is at fault.
func TestBadDriveIsFoundOut(t *testing.T) {
	r := newRig(t, setup{drives: 2, slots: 8, cfg: quietly})
	first, second := r.m.drives[0], r.m.drives[1]
	err := &tape.Error{Kind: tape.MediumError}
	pos := func(n int) tape.Position { return tape.Position{Partition: 1, Block: tape.BlockNo(n)} }
	for i, b := range []string{"A00001L9", "A00002L9"} {
		v := r.volumeOf(b)
		first.strikeRead(v, blameVolume, err, pos(7))
		r.m.mu.Lock()
		old := second.vol
		second.vol = v
		r.m.mu.Unlock()
		second.hasRead(pos(8)) // another place says nothing
		if first.failed {
			t.Errorf("%d: out of service by what another place says", i)
		}
		second.hasRead(pos(7))
		r.m.mu.Lock()
		second.vol = old
		if first.failed != (i == 1) {
			t.Errorf("after %d volumes: out of service %v", i+1, first.failed)
		}
		r.m.mu.Unlock()
	}
}

// TestDriveThatCannotRead: a drive whose head is bad costs nobody an error, nor a volume its good name.
func TestDriveThatCannotRead(t *testing.T) {
	for _, way := range []string{"recall", "verify"} {
		t.Run(way, func(t *testing.T) {
			r := newRig(t, setup{drives: 2, slots: 8, cfg: quietly})
			var lists [][]Check
			var volumes []tape.Barcode
			var all []sliver.FileID
			for range 2 {
				files, b := r.archived(2, mib)
				if err := r.m.SetVolumeState(t.Context(), b, catalog.VolFull); err != nil {
					t.Fatal(err)
				}
				var list []Check
				for _, f := range files {
					rec := r.rec(keyOf(f, 0))
					list = append(list, Check{Key: keyOf(f, 0), Copy: rec.Copies[0], Located: Located{Copies: rec.Copies, ArchLen: int(rec.ArchLen), Sum: rec.Sum, HasSum: true, Version: rec.Version}})
				}
				lists, volumes, all = append(lists, list), append(volumes, b), append(all, files...)
			}
			r.goHome()
			bad := -1
			for i, b := range volumes {
				if i > 0 { // the drive that is good is busy
					r.goHome()
					begun, end := make(chan struct{}), make(chan struct{})
					var busy sync.WaitGroup
					r.m.mu.Lock()
					r.m.drives[bad].blamed[r.m.volumes[8].rec().No] = true
					r.m.mu.Unlock()
					busy.Go(func() {
						r.use("A00008L9", UseOptions{Raw: true}, func(context.Context, *Session) error { close(begun); <-end; return nil })
					})
					<-begun
					r.use(b, UseOptions{}, nothing)
					close(end)
					busy.Wait()
				} else {
					r.use(b, UseOptions{}, nothing)
				}
				bad = slices.IndexFunc(r.m.Status().Drives, func(d DriveStatus) bool { return d.Volume == b })
				remove := r.lib.SetFault(virtual.Fault{Device: bad, Opcode: opRead, Times: -1, Sense: scsi.Sense{Key: scsi.MediumErrorKey, Code: scsi.CodeReadError}})
				if way == "verify" {
					err := r.m.Verify(t.Context(), b, r.volumeOf(string(b)).rec().UUID, lists[i], func(c *Check, bad error) error { return bad })
					if err != nil {
						t.Error(err)
					}
				}
				r.check(all[2*i])
				r.check(all[2*i+1])
				remove()
				if s := r.status(b); s.State != "full" || r.volumeOf(string(b)).rec().ReadErrors != 0 {
					t.Errorf("%+v", s)
				}
				if out := r.m.Status().Drives[bad].State == "failed"; out != (i == 1) {
					t.Errorf("after %d volumes: out of service %v", i+1, out)
				}
			}
			if len(r.bad) > 0 {
				t.Errorf("bad copies %v", r.bad)
			}
		})
	}
}

// TestReadErrorsAreKept: errors of a volume count over restarts, until the operator finds it good.
func TestReadErrorsAreKept(t *testing.T) {
	r := newRig(t, setup{slots: 4, cfg: quietly})
	files, b := r.archived(4, mib)
	for i := range 3 {
		_, at := r.placeOfSliver(keyOf(files[i], 0))
		r.lib.SetUnreadable(b, at, true)
		if _, err := r.read(keyOf(files[i], 0), mib); err == nil {
			t.Fatal("a bad block was read")
		}
		want := "append"
		if i == 2 {
			want = "suspect"
		}
		if s := r.status(b); s.State != want {
			t.Errorf("after %d errors: %+v", i+1, s)
		}
		r.stop()
		r.start()
	}
	if err := r.m.SetVolumeState(t.Context(), b, catalog.VolAppend); err != nil {
		t.Fatal(err)
	}
	if n := r.volumeOf(string(b)).rec().ReadErrors; n != 0 {
		t.Errorf("%d errors are kept though the operator says that it is good", n)
	}
}
