package mover

import (
	"context"
	stderrors "errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/schedule"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// checks returns the copies of files on their first volume, in the order of the tape.
func (r *rig) checks(files ...sliver.FileID) (list []Check, b tape.Barcode, uuid string) {
	r.t.Helper()
	for _, f := range files {
		for no := range sliver.Count(uint64(len(r.want[f]))) {
			k := keyOf(f, no)
			loc, err := r.Locate(k)
			if err != nil {
				r.t.Fatal(err)
			}
			list = append(list, Check{Key: k, Located: loc, Copy: loc.Copies[0]})
		}
	}
	slices.SortFunc(list, func(a, b Check) int {
		if placeOf(a.Copy).Before(placeOf(b.Copy)) {
			return -1
		}
		return 1
	})
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	v := r.m.volumes[list[0].Copy.Volume]
	return list, v.barcode(), v.rec().UUID
}

// verify runs Verify and returns the bad copies.
func (r *rig) verify(list []Check, b tape.Barcode, uuid string) (bad []sliver.Key, n int) {
	r.t.Helper()
	err := r.m.Verify(r.t.Context(), b, uuid, list, func(c *Check, err error) error {
		if c.Key != list[n].Key {
			r.t.Errorf("sliver %v is looked at, not %v", c.Key, list[n].Key)
		}
		n++
		if err != nil {
			bad = append(bad, c.Key)
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return bad, n
}

func TestVerify(t *testing.T) {
	r := newRig(t, setup{})
	files := r.fill(5, 2*mib+7)
	r.archive(files...)
	r.evict(files...)
	list, b, uuid := r.checks(files...)
	faults := r.cache.Stats().Faults
	if bad, n := r.verify(list, b, uuid); n != 15 || len(bad) > 0 {
		t.Errorf("%d copies, bad are %v", n, bad)
	}
	if s := r.cache.Stats(); s.Faults != faults || s.CleanBytes != 0 {
		t.Errorf("verifying filled the cache: %+v", s)
	}
	if s := r.m.Status().Stats; s.Verified != 15 || s.VerifiedBytes != 5*(2*mib+7) || s.Mounts != 1 {
		t.Errorf("%+v", s)
	}
	r.lib.SetUnreadable(b, placeOf(list[4].Copy).Position, true)
	list[9].Sum++
	bad, n := r.verify(list, b, uuid)
	// The end of sliver 3 is in the same record.
	if n != 15 || !slices.Equal(bad, []sliver.Key{list[3].Key, list[4].Key, list[9].Key}) {
		t.Errorf("%d copies, bad are %v, not %v, %v and %v", n, bad, list[3].Key, list[4].Key, list[9].Key)
	}
	if es := r.m.Status().Errors; len(es) != 3 || es[0].Op != "verify" || es[0].Kind != tape.MediumError.String() || es[2].Kind != errChecksum.Error() {
		t.Errorf("errors: %+v", es)
	}
	list[9].Sum--
	// Three errors make the volume suspect.
	if v := r.m.Status().Volumes[0]; v.State != catalog.VolSuspect.String() {
		t.Errorf("%+v", v)
	}
	if err := r.m.Verify(t.Context(), b, "another", list, nil); err == nil {
		t.Error("a volume with another UUID was verified")
	}
	mine := stderrors.New("mine")
	if err := r.m.Verify(t.Context(), b, uuid, list, func(*Check, error) error { return mine }); err != mine {
		t.Errorf("error %v", err)
	}
	// A drive that fails is no fault of the copies: another attempt goes on where it was.
	remove := r.lib.SetFault(virtual.Fault{Device: virtual.AnyDrive, Opcode: opRead, Nth: 3, Sense: scsi.Sense{Key: scsi.AttentionKey, Code: scsi.CodeReset}})
	defer remove()
	r.lib.SetUnreadable(b, placeOf(list[4].Copy).Position, false)
	if bad, n := r.verify(list, b, uuid); n != 15 || len(bad) > 0 {
		t.Errorf("%d copies, bad are %v", n, bad)
	}
}

// TestVerifyGivesWay has somebody read while a volume is verified: he does not wait for the
// end of it.
func TestVerifyGivesWay(t *testing.T) {
	r := newRig(t, setup{})
	files := r.fill(8, 2*mib)
	r.archive(files...)
	r.evict(files...)
	list, b, uuid := r.checks(files...)
	var got []int
	n := 0
	read := make(chan error, 1)
	err := r.m.Verify(t.Context(), b, uuid, list, func(*Check, error) error {
		if n++; n == 4 {
			k := keyOf(files[7], 1)
			go func() { _, err := r.read(k, mib); read <- err }()
			r.eventually("the recall is queued", func(s Status) bool { return len(s.Recalls) == 1 })
		}
		if s := r.m.Status().Stats; s.Recalled > 0 && len(got) == 0 {
			got = append(got, n)
		}
		return nil
	})
	if err != nil || n != len(list) {
		t.Fatalf("%d copies: %v", n, err)
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
	if !slices.Equal(got, []int{5}) {
		t.Errorf("the recall that came while copy 4 was verified was done before copies %v", got)
	}
}

// TestBackgroundWaits keeps the only drive busy, and looks that a use in the background waits for
// its time, and then gets a turn.
func TestBackgroundWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Mover{cfg: Config{}.withDefaults(1)}
		v := &volume{}
		now := time.Now()
		u := &use{vol: v, o: UseOptions{Background: true}, impatient: now.Add(m.cfg.BackgroundWait)}
		v.addUse(u)
		for waited, ready := range map[time.Duration]bool{0: false, 59 * time.Minute: false, time.Hour: true} {
			if v.useReady(now.Add(waited)) != ready {
				t.Errorf("after %v: ready is %v", waited, !ready)
			}
		}
		first, second := &use{vol: v}, &use{vol: v}
		v.addUse(first)
		v.addUse(second)
		if !slices.Equal(v.uses, []*use{first, second, u}) || !v.useReady(now) {
			t.Errorf("order of uses: %+v", v.uses)
		}
		s := &Session{d: newDrive(m, 0, nil), since: now}
		time.Sleep(m.cfg.Schedule.Turn[schedule.Client] - time.Second)
		if s.Wanted() {
			t.Error("a use that has waited its time does not get its turn")
		}
		time.Sleep(time.Second)
		if !s.Wanted() {
			t.Error("a use keeps the drive for ever")
		}
	})
}

// TestBackgroundOneDrive: a volume that is not in the only drive is verified when the other one
// has lingered.
func TestBackgroundOneDrive(t *testing.T) {
	r := newRig(t, setup{cfg: Config{Linger: time.Millisecond}})
	f := r.fill(1, mib)
	r.archive(f...)
	list, b, uuid := r.checks(f...)
	r.use("A00002L9", UseOptions{Raw: true, Background: true}, func(context.Context, *Session) error { return nil })
	if bad, n := r.verify(list, b, uuid); n != 1 || len(bad) > 0 {
		t.Errorf("%d copies, bad are %v", n, bad)
	}
}
