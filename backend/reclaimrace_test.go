package backend

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/backend/policy"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/virtual"
)

// leaving returns the record of a volume, and what is on it.
func (w *world) leaving(barcode string) (catalog.Volume, []copyAt) {
	w.t.Helper()
	v, err := w.fs.volume(barcode)
	if err != nil {
		w.t.Fatal(err)
	}
	list, _, err := w.fs.copiesOn(w.t.Context(), v.No, place{}, copyWindow)
	if err != nil {
		w.t.Fatal(err)
	}
	return v, list
}

// wantNoReclaim fails the test if the server would empty a volume now.
func (w *world) wantNoReclaim() {
	w.t.Helper()
	if v, why, err := w.fs.wantsReclaim(time.Now(), nil); v != nil || err != nil {
		w.t.Errorf("%+v is to be emptied, %s, %v", v, why, err)
	}
}

// TestReclaimIsForgotten: a crash right after the volume became scratch leaves the record of its emptying. It is not
// emptied again when it has been formatted, and is full.
func TestReclaimIsForgotten(t *testing.T) {
	w := newWorld(t)
	w.archiveMany("f", 3, 1<<20)
	old := w.ownVolume()
	v, err := w.fs.volume(old)
	if err != nil {
		t.Fatal(err)
	}
	rc := reclaim{fs: w.fs, vol: v, begins: func(int64) {}, moved: func(sliver.Key, int64) {}, failed: func(k sliver.Key, err error) { t.Error(k, err) }}
	if err := w.fs.mover.Retire(tape.Barcode(old), v.UUID, rc.begin); err != nil {
		t.Fatal(err)
	}
	if err := rc.empty(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.job(JobFormat, old, forceWord)
	w.job(JobVolumesSet, old, "full")
	w.wantNoReclaim()
}

// TestReclaimIsCalledOff: an emptying that the operator called off does not go on when the volume is full.
func TestReclaimIsCalledOff(t *testing.T) {
	w := newWorld(t)
	w.archiveMany("f", 3, 1<<20)
	old := w.ownVolume()
	b, at, _ := w.placeOf("/f1", 0)
	w.lib.SetUnreadable(b, at, true)
	if s := w.ends(JobReclaim, old); s.State != "failed" {
		t.Fatalf("%+v", s)
	}
	w.job(JobVolumesSet, old, "append")
	w.wantNoReclaim()
	w.job(JobVolumesSet, old, "full")
	w.wantNoReclaim()
}

// TestReclaimIsCalledOffMeanwhile: it stops at the next window.
func TestReclaimIsCalledOffMeanwhile(t *testing.T) {
	w := newWorld(t, small(32)) // windows of 4 slivers
	w.archiveMany("f", 12, 1<<20)
	old := w.ownVolume()
	v, err := w.fs.volume(old)
	if err != nil {
		t.Fatal(err)
	}
	moved := 0
	rc := reclaim{fs: w.fs, vol: v, begins: func(int64) {}, failed: func(sliver.Key, error) {}, moved: func(sliver.Key, int64) {
		if moved++; moved == 1 {
			w.job(JobVolumesSet, old, "append")
		}
	}}
	if err := rc.run(t.Context()); err == nil || !strings.Contains(err.Error(), "called off") {
		t.Errorf("it ended with %v", err)
	}
	if s := w.volumeInfo(old); s.State != "append" || moved == 12 {
		t.Errorf("%d slivers were moved, %+v", moved, s)
	}
	w.wantNoReclaim()
	w.job(JobEvict, "/")
	w.wantMany("f", 12, 1<<20)
}

// TestReclaimWaitsForItsTurn: while a job waits for its turn, its volume is emptied, formatted and written: that is
// the volume it empties, and makes scratch.
func TestReclaimWaitsForItsTurn(t *testing.T) {
	w := newWorld(t)
	w.archiveMany("f", 2, 1<<20)
	old := w.ownVolume()
	if err := w.fs.reclaims.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	id, err := w.fs.StartJob(JobReclaim, []string{old})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the job waits for its turn", func() bool { return len(w.fs.reclaims.wanted) > 0 })
	for i := range 2 {
		w.remove(fmt.Sprint("f", i))
	}
	w.job(JobFormat, old, forceWord)
	w.archiveMany("g", 2, 1<<20)
	if on := w.copiesOf("g0", 0)[0]; on != old {
		t.Fatalf("g0 is on %s", on)
	}
	w.fs.reclaims.give()
	<-w.fs.jobs.find(id).finished
	if s, _ := w.fs.Job(id); s.State != "done" {
		t.Errorf("%+v", s)
	}
	if s := w.volumeInfo(old); s.State != "scratch" {
		t.Errorf("%+v", s)
	}
	w.job(JobEvict, "/")
	w.wantMany("g", 2, 1<<20)
}

// TestReclaimOfWhatIsWritten: slivers that are written, and not synced yet, do not keep a volume from being emptied.
func TestReclaimOfWhatIsWritten(t *testing.T) {
	w := newWorld(t)
	w.archiveMany("f", 4, 1<<20)
	old := w.ownVolume()
	v, err := w.fs.volume(old)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string) {
		f, done := w.openFile(name)
		w.write(f, 5, []byte("new"))
		done()
	}
	write("f1")
	list, _, err := w.fs.copiesOn(t.Context(), v.No, place{}, copyWindow)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.fs.mover.Retire(tape.Barcode(old), v.UUID, noNote); err != nil {
		t.Fatal(err)
	}
	mo := &moveOff{fs: w.fs, vol: v, moved: func(sliver.Key, int64) {}, failed: func(k sliver.Key, err error) { t.Error(k, err) }}
	moves, err := mo.plan(list)
	if err != nil {
		t.Fatal(err)
	}
	h, err := w.fs.hold(t.Context(), keysOf(list), mo.failed)
	if err != nil {
		t.Fatal(err)
	}
	defer h.release()
	write("f2")
	for _, step := range []func() error{
		func() error { return mo.copy(t.Context(), moves) },
		func() error { return mo.readBack(t.Context(), moves) },
		func() error { return mo.drop(moves) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	w.job(JobReclaim, old)
	if s := w.volumeInfo(old); s.State != "scratch" {
		t.Errorf("%+v", s)
	}
	w.job(JobArchive, "/")
	w.job(JobEvict, "/")
	for i := range 4 {
		want := pattern(i, 1<<20)
		if i == 1 || i == 2 {
			want = overlay(want, 5, []byte("new"))
		}
		w.wantContent(fmt.Sprint("f", i), want)
	}
}

// twoCopies is a rule for all files.
func twoCopies(o *Options, _ *virtual.Config) {
	o.Policy = &policy.Rules{Pools: []string{catalog.DefaultPool}}
	o.Policy.Default.Copies = []string{catalog.DefaultPool, catalog.DefaultPool}
	o.Mover.Linger = time.Millisecond // a verify waits while both drives keep volumes
}

// TestSettleLooks: a file that lacks a copy stays pending, though when it was looked at last it lacked none: what was
// archived since is there once.
func TestSettleLooks(t *testing.T) {
	w := newWorld(t, twoCopies)
	w.put("f", pattern(1, 1<<20))
	n := w.node("/f").(*node)
	defer n.Release()
	id := n.ino.id
	done := make(chan error, 1)
	w.fs.mover.Archive(mover.Place{}, []sliver.FileID{id}, func(_ sliver.FileID, err error) { done <- err })
	if err := firstError(<-done, w.fs.syncAll()); err != nil {
		t.Fatal(err)
	}
	if err := w.fs.settle(id); err != nil || !w.fs.pending.has(id) || !w.catalogPending(id) {
		t.Errorf("a file with one copy of two is settled: %v", err)
	}
	w.job(JobArchive, "/f")
	if on := w.copiesOf("f", 0); len(on) != 2 || w.fs.pending.has(id) {
		t.Errorf("f is on %v", on)
	}
}

// TestReclaimBesideTheCopier: the second copy of a file is made while its first one is moved to another volume, and is
// taken for the one that moves. The file is pending again, and gets another.
func TestReclaimBesideTheCopier(t *testing.T) {
	w := newWorld(t, twoCopies)
	w.put("f", pattern(1, 1<<20))
	n := w.node("/f").(*node)
	defer n.Release()
	done := make(chan error, 1)
	w.fs.mover.Archive(mover.Place{}, []sliver.FileID{n.ino.id}, func(_ sliver.FileID, err error) { done <- err })
	if err := firstError(<-done, w.fs.syncAll()); err != nil {
		t.Fatal(err)
	}
	old := w.copiesOf("f", 0)[0]
	v, list := w.leaving(old)
	mo := &moveOff{fs: w.fs, vol: v, moved: func(sliver.Key, int64) {}, failed: func(k sliver.Key, err error) { t.Error(k, err) }}
	moves, err := mo.plan(list)
	if err != nil {
		t.Fatal(err)
	}
	w.job(JobArchive, "/f")
	if on := w.copiesOf("f", 0); len(on) != 2 || w.fs.pending.has(n.ino.id) {
		t.Fatalf("f is on %v", on)
	}
	if err := w.fs.mover.Retire(tape.Barcode(old), v.UUID, noNote); err != nil {
		t.Fatal(err)
	}
	if err := firstError(mo.copy(t.Context(), moves), mo.readBack(t.Context(), moves), mo.drop(moves)); err != nil {
		t.Fatal(err)
	}
	if on := w.copiesOf("f", 0); len(on) != 1 || !w.fs.pending.has(n.ino.id) || !w.catalogPending(n.ino.id) {
		t.Fatalf("f is on %v, and not pending", on)
	}
	w.job(JobArchive, "/f")
	if on := w.copiesOf("f", 0); len(on) != 2 || slices.Contains(on, old) {
		t.Errorf("f is on %v", on)
	}
}

// TestCopyInAnotherPool: a copy that comes to be in another pool meanwhile does not take the place of the one that is to move.
func TestCopyInAnotherPool(t *testing.T) {
	w := newWorld(t, nearAndFar(&policy.Rule{Name: "all", Settings: policy.Settings{Pool: "near"}}))
	w.premigrated("f", pattern(1, 1<<20))
	old := w.copiesOf("f", 0)[0]
	v, list := w.leaving(old)
	missed := 0
	mo := &moveOff{fs: w.fs, vol: v, moved: func(sliver.Key, int64) {}, failed: func(sliver.Key, error) { missed++ }}
	moves, err := mo.plan(list)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.copy("f", mover.CopyOptions{Pool: "far", Copies: 1}); err != nil {
		t.Fatal(err)
	}
	if err := firstError(mo.readBack(t.Context(), moves), mo.drop(moves)); err != nil {
		t.Fatal(err)
	}
	if on := w.copiesOf("f", 0); !slices.Contains(on, old) || missed != 1 {
		t.Errorf("f is on %v, %d were not moved", on, missed)
	}
}

// TestRepairRests: what could not be repaired is not recalled again every minute.
func TestRepairRests(t *testing.T) {
	w := newWorld(t, twoCopies)
	w.premigrated("f", pattern(1, 1<<20))
	for _, v := range w.fs.Volumes() { // none is left for a third
		if v.State == "scratch" {
			w.job(JobVolumesSet, v.Barcode, "read-only")
		}
	}
	w.job(JobEvict, "/")
	b, at, _ := w.placeOf("/f", 0)
	w.lib.SetUnreadable(b, at, true)
	w.ends(JobVerify)
	now := time.Now()
	r := repairer{fs: w.fs}
	reads := func() int64 { return w.fs.cache.Stats().Faults } // when they begin
	for i, again := range []bool{true, false, false, true} {
		w.job(JobEvict, "/")
		before := reads()
		r.look(context.Background(), now)
		if got := reads() > before; got != again {
			t.Errorf("look %d: recalled %v, want %v", i, got, again)
		}
		if now = now.Add(time.Minute); i == 2 {
			now = now.Add(repairAgain)
		}
	}
	for _, v := range w.fs.Volumes() {
		if v.State == "foreign" {
			w.job(JobVolumesSet, v.Barcode, "scratch")
		}
	}
	r.look(context.Background(), now.Add(repairAgain))
	if v := w.volumeInfo(string(b)); v.BadCopies != 0 {
		t.Errorf("%+v", v)
	}
}
