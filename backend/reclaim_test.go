package backend

import (
	"context"
	stderrors "errors"
	"fmt"
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

// archive makes files of their index and size in one batch, and evicts them.
func (w *world) archiveMany(prefix string, n, size int) {
	w.t.Helper()
	for i := range n {
		w.put(fmt.Sprintf("%s%d", prefix, i), pattern(i, size))
	}
	w.job(JobArchive, "/")
	w.job(JobEvict, "/")
}

func (w *world) wantMany(prefix string, n, size int) {
	w.t.Helper()
	for i := range n {
		w.wantContent(fmt.Sprintf("%s%d", prefix, i), pattern(i, size))
	}
}

func (w *world) remove(name string) {
	w.t.Helper()
	if err := w.root.UnlinkAt(rootCred, name, 0); err != nil {
		w.t.Fatal(err)
	}
}

func TestReclaim(t *testing.T) {
	for _, drives := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d drives", drives), func(t *testing.T) {
			w := newWorld(t, func(o *Options, c *virtual.Config) {
				c.Drives, o.CacheBytes = drives, 32<<20 // windows of 4 slivers
				o.Mover.Linger = time.Millisecond
			})
			w.archiveMany("gone", 3, 1<<20)
			w.archiveMany("f", 12, 1<<20+1000)
			if _, err := w.root.Mkdir(rootCred, "dir", 0o755, 0); err != nil {
				t.Fatal(err)
			}
			w.job(JobArchive, "/")
			for i := range 3 {
				w.remove(fmt.Sprintf("gone%d", i))
			}
			old := w.copiesOf("f3", 0)[0]
			v, err := w.fs.volume(old)
			if err != nil {
				t.Fatal(err)
			}
			list, bytes, err := w.fs.copiesOn(t.Context(), v.No, place{}, copyWindow)
			if err != nil || len(list) < 8 {
				t.Fatal(len(list), err)
			}
			s := w.job(JobReclaim, old)
			if len(s.Notes) != 2 || s.Notes[0] != fmt.Sprintf("%d slivers were moved from %s to other volumes", len(list), old) ||
				s.Notes[1] != old+" is empty: it is scratch now" || s.Bytes != bytes || s.BytesDone != s.Bytes {
				t.Errorf("%+v", s)
			}
			if v := w.volumeInfo(old); v.State != "scratch" || v.UsedBytes != 0 || v.DeadBytes != 0 {
				t.Errorf("%+v", v)
			}
			for no := range sliver.No(2) {
				if on := w.copiesOf("f3", no); len(on) != 1 || on[0] == old {
					t.Errorf("sliver %d is on %v", no, on)
				}
			}
			w.audit()
			w.job(JobEvict, "/")
			w.wantMany("f", 12, 1<<20+1000)
			w.restart()
			w.job(JobEvict, "/")
			w.wantMany("f", 12, 1<<20+1000)
			if s := w.ends(JobReclaim, old); s.State != "failed" || !strings.Contains(fmt.Sprint(s.Errors), "holds nothing") {
				t.Errorf("reclaim of a scratch volume: %+v", s)
			}
		})
	}
}

// TestReclaimedIsUsedAgain has a library of two small volumes, of which the first is reclaimed when
// it is full, and then written again.
func TestReclaimedIsUsedAgain(t *testing.T) {
	w := newWorld(t, func(o *Options, c *virtual.Config) {
		c.Slots, c.Cartridges, c.Capacity, o.CacheBytes = 2, 2, 64<<20, 64<<20
	})
	w.archiveMany("a", 25, 1<<20)
	w.archiveMany("b", 20, 1<<20)
	first := w.copiesOf("a0", 0)[0]
	for i := range 25 {
		if i%5 > 0 {
			w.remove(fmt.Sprintf("a%d", i))
		}
	}
	w.job(JobReclaim, first)
	if on := w.copiesOf("b0", 0); on[0] == first {
		t.Fatalf("b0 is on %v", on)
	}
	w.archiveMany("c", 30, 1<<20) // does not fit behind on the other one
	if v := w.volumeInfo(first); v.State != "append" || v.UsedBytes == 0 {
		t.Errorf("%+v", v)
	}
	for i := range 5 {
		w.wantContent(fmt.Sprintf("a%d", 5*i), pattern(5*i, 1<<20))
	}
	w.wantMany("b", 20, 1<<20)
	w.wantMany("c", 30, 1<<20)
	w.verify(first)
}

// TestReclaimRefuses: what is not ours, or is read-only, is never emptied.
func TestReclaimRefuses(t *testing.T) {
	w := newWorld(t)
	w.goldenVolume(w.fs.Volumes()[0].Barcode)
	imported := w.fs.Volumes()[0].Barcode
	if s := w.ends(JobImport, imported, "/imported"); s.State != "done" {
		t.Fatalf("%+v", s)
	}
	print := w.fingerprint(imported)
	if s := w.ends(JobReclaim, imported); s.State != "failed" || !strings.Contains(fmt.Sprint(s.Errors), "was imported") {
		t.Errorf("%+v", s)
	}
	if w.fingerprint(imported) != print {
		t.Error("an imported volume was written")
	}
	w.archived("f", pattern(1, 1000))
	for _, v := range w.fs.Volumes() {
		if v.State == "append" {
			w.job(JobVolumesSet, v.Barcode, "read-only")
			if s := w.ends(JobReclaim, v.Barcode); s.State != "failed" || !strings.Contains(fmt.Sprint(s.Errors), "read-only") {
				t.Errorf("%+v", s)
			}
		}
	}
	if _, err := w.fs.StartJob(JobReclaim, nil); err == nil {
		t.Error("reclaim of nothing began")
	}
}

// TestReclaimCutOff stops the server at each step of a reclaim: nothing is lost, and the
// next start goes on with it.
func TestReclaimCutOff(t *testing.T) {
	const n, size = 10, 1 << 20
	steps := map[string]func(w *world, mo *moveOff, list []copyAt){
		"before all": func(*world, *moveOff, []copyAt) {},
		"copied": func(w *world, mo *moveOff, list []copyAt) {
			moves, err := mo.plan(list)
			if err != nil {
				w.t.Fatal(err)
			}
			h, err := w.fs.hold(context.Background(), keysOf(list), mo.failed)
			if err != nil {
				w.t.Fatal(err)
			}
			if err := mo.copy(context.Background(), moves); err != nil {
				w.t.Fatal(err)
			}
			h.release()
		},
		"some dropped": func(w *world, mo *moveOff, list []copyAt) {
			if err := mo.run(context.Background(), list[:4]); err != nil {
				w.t.Fatal(err)
			}
		},
		"all dropped": func(w *world, mo *moveOff, list []copyAt) {
			if err := mo.run(context.Background(), list); err != nil {
				w.t.Fatal(err)
			}
		},
	}
	for name, step := range steps {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.archiveMany("f", n, size)
			v, err := w.fs.volume(w.ownVolume())
			if err != nil {
				t.Fatal(err)
			}
			rc := reclaim{fs: w.fs, vol: v}
			if err := w.fs.mover.Retire(tape.Barcode(v.Barcode), v.UUID, rc.begin); err != nil {
				t.Fatal(err)
			}
			list, _, err := w.fs.copiesOn(t.Context(), v.No, place{}, copyWindow)
			if err != nil || len(list) != n {
				t.Fatal(len(list), err)
			}
			step(w, &moveOff{fs: w.fs, vol: v, moved: func(sliver.Key, int64) {}, wrote: rc.wrote, failed: func(k sliver.Key, err error) { t.Error(k, err) }}, list)
			w.restart()
			w.job(JobEvict, "/")
			w.wantMany("f", n, size)
			if name == "copied" { // it can be called off
				w.job(JobVolumesSet, v.Barcode, "append")
				if v, _, err := w.fs.wantsReclaim(time.Now(), nil); v != nil || err != nil {
					t.Errorf("%+v is still to be emptied, %v", v, err)
				}
				w.job(JobReclaim, v.Barcode)
			}
			tried := map[catalog.VolumeNo]time.Time{}
			w.fs.reclaimDue(context.Background(), time.Now(), tried)
			if i := w.volumeInfo(v.Barcode); i.State != "scratch" || len(tried) > 0 {
				t.Errorf("%+v, %v", i, tried)
			}
			if v, _, err := w.fs.wantsReclaim(time.Now(), tried); v != nil || err != nil {
				t.Errorf("%+v is still to be emptied, %v", v, err)
			}
			w.job(JobEvict, "/")
			w.wantMany("f", n, size)
		})
	}
}

func keysOf(list []copyAt) (keys []sliver.Key) {
	for _, c := range list {
		keys = append(keys, c.key)
	}
	return keys
}

// TestReclaimBadCopies: what cannot be read stays, and so does the volume, until it can.
func TestReclaimBadCopies(t *testing.T) {
	w := newWorld(t)
	w.archiveMany("f", 6, 1<<20)
	b, at, _ := w.placeOf("/f2", 0)
	old := string(b)
	w.lib.SetUnreadable(b, at, true)
	s := w.ends(JobReclaim, old)
	if s.State != "failed" || !strings.Contains(fmt.Sprint(s.Errors), "could not be moved") {
		t.Errorf("%+v", s)
	}
	if v := w.volumeInfo(old); v.State == "scratch" || v.BadCopies == 0 {
		t.Errorf("%+v", v)
	}
	if on := w.copiesOf("f2", 0); len(on) != 1 || on[0] != old {
		t.Errorf("f2 is on %v", on)
	}
	if on := w.copiesOf("f5", 0); len(on) != 1 || on[0] == old {
		t.Errorf("f5 is on %v", on)
	}
	w.lib.SetUnreadable(b, at, false)
	w.job(JobReclaim, old)
	w.job(JobEvict, "/")
	w.wantMany("f", 6, 1<<20)
}

// TestReclaimNewCopyIsBad: a copy that cannot be read back does not take the place of the old one.
func TestReclaimNewCopyIsBad(t *testing.T) {
	w := newWorld(t)
	w.archiveMany("f", 4, 1<<20)
	v, err := w.fs.volume(w.ownVolume())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.fs.mover.Retire(tape.Barcode(v.Barcode), v.UUID, noNote); err != nil {
		t.Fatal(err)
	}
	list, _, err := w.fs.copiesOn(t.Context(), v.No, place{}, copyWindow)
	if err != nil {
		t.Fatal(err)
	}
	failed, moved := 0, 0
	mo := &moveOff{fs: w.fs, vol: v, moved: func(sliver.Key, int64) { moved++ }, failed: func(sliver.Key, error) { failed++ },
		wrote: func(on []catalog.VolumeNo) error {
			// Between the copy and its being read back.
			w.changeRecord("f1", 0, func(r *catalog.SliverRec) { r.Copies[1].Pieces[0].Block += 1000 })
			return nil
		}}
	if err := mo.run(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	if failed != 1 || moved != 3 {
		t.Errorf("%d moved, %d not", moved, failed)
	}
	if on := w.copiesOf("f1", 0); len(on) != 2 || on[0] != v.Barcode {
		t.Errorf("f1 is on %v", on)
	}
}

// TestReclaimWrittenMeanwhile: a file that is written while it is moved is archived anew, elsewhere.
func TestReclaimWrittenMeanwhile(t *testing.T) {
	w := newWorld(t, func(o *Options, _ *virtual.Config) { o.Mover.Linger = time.Millisecond })
	w.archiveMany("f", 3, 1<<20)
	old := w.ownVolume()
	v, list := w.leaving(old)
	mo := &moveOff{fs: w.fs, vol: v, moved: func(sliver.Key, int64) {}, failed: func(k sliver.Key, err error) { t.Error(k, err) },
		wrote: func([]catalog.VolumeNo) error {
			f, done := w.openFile("f1")
			w.write(f, 5, []byte("new"))
			done()
			return nil
		}}
	if err := w.fs.mover.Retire(tape.Barcode(old), v.UUID, noNote); err != nil {
		t.Fatal(err)
	}
	if err := mo.run(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	w.job(JobArchive, "/")
	w.job(JobReclaim, old)
	w.job(JobEvict, "/")
	w.wantContent("f1", overlay(pattern(1, 1<<20), 5, []byte("new")))
	w.wantContent("f2", pattern(2, 1<<20))
}

func TestReclaimRank(t *testing.T) {
	const gib = 1 << 30
	for _, tc := range []struct {
		v    catalog.Volume
		want float64
	}{
		{catalog.Volume{State: catalog.VolFull, UUID: "u", Capacity: 10 * gib, Used: 8 * gib, Dead: 6 * gib}, 0.75},
		{catalog.Volume{State: catalog.VolFull, UUID: "u", Capacity: 10 * gib, Used: 8 * gib, Dead: 3 * gib}, 0},
		{catalog.Volume{State: catalog.VolAppend, UUID: "u", Capacity: 10 * gib, Used: 2 * gib, Dead: 2 * gib}, 0}, // there is room on it
		{catalog.Volume{State: catalog.VolAppend, UUID: "u", Capacity: 10 * gib, Used: 9 * gib, Dead: 6 * gib}, 0.6},
		{catalog.Volume{State: catalog.VolSuspect, UUID: "u", Capacity: 10 * gib, Used: gib}, rankSuspect},
		{catalog.Volume{State: catalog.VolSuspect, UUID: "u", Capacity: 10 * gib}, 0},
		{catalog.Volume{State: catalog.VolFull, UUID: "u", Flags: catalog.VolImported, Used: gib, Dead: gib}, 0},
		{catalog.Volume{State: catalog.VolReadOnly, UUID: "u", Used: gib, Dead: gib}, 0},
		{catalog.Volume{State: catalog.VolScratch, UUID: "u", Used: gib, Dead: gib}, 0},
		{catalog.Volume{State: catalog.VolFull, UUID: "u", Used: 2 * gib, Dead: gib}, 0.5},
	} {
		if got := reclaimRank(&tc.v, 0.5); got != tc.want {
			t.Errorf("%+v: %v, not %v", tc.v, got, tc.want)
		}
	}
	from := &catalog.Volume{No: 1, Used: 5 * gib, Dead: gib}
	for want, w := range map[bool]catalog.Volume{
		true:  {No: 2, State: catalog.VolAppend, Capacity: 10 * gib, Used: 5 * gib},
		false: {No: 2, State: catalog.VolAppend, Capacity: 10 * gib, Used: 7 * gib},
	} {
		if got := roomFor(from, []catalog.Volume{*from, w}); got != want {
			t.Errorf("room on %+v: %v", w, got)
		}
	}
	if reclaimRank(&catalog.Volume{State: catalog.VolSuspect, UUID: "u", Used: gib, Dead: gib / 2}, 0) != 0 {
		t.Error("a volume is emptied though that is turned off")
	}
	if roomFor(from, []catalog.Volume{*from, {No: 2, Pool: "other", State: catalog.VolScratch}}) || !roomFor(from, []catalog.Volume{{No: 2, Pool: catalog.ScratchPool, State: catalog.VolScratch}}) {
		t.Error("room in pools")
	}
}

// TestRepair has a bad copy of a sliver that has another one: a reader gets that, and a new one takes
// the bad one's place.
func TestRepair(t *testing.T) {
	w := newWorld(t, func(o *Options, c *virtual.Config) {
		c.Drives = 3
		o.Policy = &policy.Rules{Pools: []string{catalog.DefaultPool}}
		o.Policy.Default.Copies = []string{catalog.DefaultPool, catalog.DefaultPool}
	})
	w.premigrated("f", pattern(1, 3<<20))
	w.job(JobEvict, "/")
	on := w.copiesOf("f", 1)
	b, at, _ := w.placeOf("/f", 1)
	if len(on) != 2 || string(b) != on[0] {
		t.Fatalf("f is on %v", on)
	}
	w.lib.SetUnreadable(b, at, true)
	w.wantContent("f", pattern(1, 3<<20))
	w.job(JobEvict, "/")
	w.ends(JobVerify, "volume="+on[0]) // if the other one was read
	if v := w.volumeInfo(on[0]); v.BadCopies == 0 {
		t.Fatalf("%+v", v)
	}
	w.restart()
	w.repair()
	if got := w.copiesOf("f", 1); len(got) != 2 || got[0] != on[1] || got[1] == on[0] {
		t.Errorf("f is on %v, was on %v", got, on)
	}
	if v := w.volumeInfo(on[0]); v.BadCopies != 0 {
		t.Errorf("%+v", v)
	}
	w.job(JobEvict, "/")
	w.job(JobVerify, "/f")
	w.wantContent("f", pattern(1, 3<<20))
}

// repair is what the server does once a minute.
func (w *world) repair() {
	w.t.Helper()
	(&repairer{fs: w.fs}).look(context.Background(), time.Now())
}

// TestRepairFromCache: the only copy is bad, and the content is in the cache.
func TestRepairFromCache(t *testing.T) {
	w := newWorld(t)
	w.premigrated("f", pattern(1, 1<<20))
	w.archived("lost", pattern(2, 1<<20))
	b, at, _ := w.placeOf("/f", 0)
	w.lib.SetUnreadable(b, at, true)
	w.ends(JobVerify)
	w.repair()
	if on := w.copiesOf("f", 0); len(on) != 1 || on[0] == string(b) {
		t.Errorf("f is on %v", on)
	}
	w.job(JobEvict, "/")
	w.wantContent("f", pattern(1, 1<<20))
	w.job(JobEvict, "/")
	// Without another copy there is nothing to repair it from.
	b, at, _ = w.placeOf("/lost", 0)
	w.lib.SetUnreadable(b, at, true)
	w.ends(JobVerify, "/lost")
	w.repair()
	if on := w.copiesOf("lost", 0); len(on) != 1 || on[0] != string(b) || w.volumeInfo(string(b)).BadCopies != 1 {
		t.Errorf("lost is on %v", on)
	}
}

// TestEvacuate: what is good on a suspect volume is copied away, and it stays suspect.
func TestEvacuate(t *testing.T) {
	w := newWorld(t, func(o *Options, _ *virtual.Config) { o.ReclaimDead = 0.5 })
	w.archiveMany("f", 5, 1<<20)
	old := w.ownVolume()
	w.job(JobVolumesSet, old, "suspect")
	w.fs.reclaimDue(context.Background(), time.Now(), map[catalog.VolumeNo]time.Time{})
	v := w.volumeInfo(old)
	if v.State != "suspect" || v.UsedBytes != 0 || !strings.Contains(v.Reason, "it is empty") {
		t.Errorf("%+v", v)
	}
	if on := w.copiesOf("f1", 0); len(on) != 1 || on[0] == old {
		t.Errorf("f1 is on %v", on)
	}
	w.job(JobEvict, "/")
	w.wantMany("f", 5, 1<<20)
}

// TestReclaimFreesSpace fills all volumes and the cache. When files are removed, the volume that they were on
// is emptied by the server, and writers go on.
func TestReclaimFreesSpace(t *testing.T) {
	w := newWorld(t, small(16), func(o *Options, c *virtual.Config) {
		o.ReclaimDead = 0.5
		c.Slots, c.Cartridges, c.Capacity = 2, 2, 48<<20
	})
	names := map[string][]byte{}
	put := func(name string, p []byte) error {
		n, f := w.create(name)
		defer n.Release()
		defer f.Close()
		for m := 0; m < len(p); {
			k, err := w.writeReq(f, uint64(m), p[m:]).wrote()
			if err != nil {
				names[name] = p[:m]
				return err
			}
			m += k
		}
		names[name] = p
		return nil
	}
	full := false
	for i := 0; !full; i++ {
		if i > 200 {
			t.Fatal("200 MiB fit into 2 volumes of 48 MiB and a cache of 16")
		}
		full = put(fmt.Sprint("f", i), pattern(i, 1<<20)) != nil
	}
	tried := map[catalog.VolumeNo]time.Time{}
	if v, _, err := w.fs.wantsReclaim(time.Now(), tried); v != nil || err != nil {
		t.Errorf("%+v is to be emptied, %v", v, err)
	}
	first := w.copiesOf("f0", 0)[0]
	for name := range names {
		if on := w.copiesOf(name, 0); len(on) == 1 && on[0] == first {
			w.remove(name)
			delete(names, name)
		}
	}
	w.fs.reclaimDue(context.Background(), time.Now(), tried)
	if v := w.volumeInfo(first); v.State != "scratch" || len(tried) > 0 {
		t.Fatalf("%+v", v)
	}
	for i := range 15 {
		if err := put(fmt.Sprint("new", i), pattern(100+i, 1<<20)); err != nil {
			t.Fatalf("file %d: %v", i, err)
		}
	}
	w.job(JobArchive, "/")
	w.job(JobEvict, "/")
	for name, p := range names {
		w.wantContent(name, p)
	}
}

// TestReclaimWithoutRoom: where there is no room for what is needed, it stays where it is.
func TestReclaimWithoutRoom(t *testing.T) {
	w := newWorld(t, func(_ *Options, c *virtual.Config) { c.Slots, c.Cartridges, c.Capacity = 2, 2, 48<<20 })
	w.archiveMany("a", 24, 1<<20)
	w.archiveMany("b", 24, 1<<20)
	first := w.copiesOf("a0", 0)[0]
	s := w.ends(JobReclaim, first)
	if s.State != "failed" || !strings.Contains(fmt.Sprint(s.Errors), "no volume") {
		t.Errorf("%+v", s)
	}
	if v := w.volumeInfo(first); v.State != "full" {
		t.Errorf("%+v", v)
	}
	w.job(JobEvict, "/")
	w.wantMany("a", 24, 1<<20)
	w.wantMany("b", 24, 1<<20)
}

// TestReclaimMakesNoCopyTooMany: what has its copies elsewhere already, as after a crash, gets none more.
func TestReclaimMakesNoCopyTooMany(t *testing.T) {
	w := newWorld(t, func(_ *Options, c *virtual.Config) { c.Drives = 3 })
	w.premigrated("f", pattern(1, 2<<20))
	if err := w.copy("f", mover.CopyOptions{Copies: 2}); err != nil {
		t.Fatal(err)
	}
	on := w.copiesOf("f", 0)
	w.job(JobEvict, "/")
	w.job(JobReclaim, on[0])
	if got := w.copiesOf("f", 0); len(got) != 1 || got[0] != on[1] {
		t.Errorf("f is on %v, was on %v", got, on)
	}
	if w.state("f") != string(Migrated) {
		t.Error("it was recalled for nothing")
	}
	w.wantContent("f", pattern(1, 2<<20))
}

func noNote(*catalog.Tx) error { return nil }

// TestRetireIsOneStep: a volume that nothing is appended to any longer is on record as being emptied, or is used as
// before.
func TestRetireIsOneStep(t *testing.T) {
	w := newWorld(t)
	w.archiveMany("f", 1, 1<<20)
	v, err := w.fs.volume(w.ownVolume())
	if err != nil {
		t.Fatal(err)
	}
	stopped := stderrors.New("stopped")
	if err := w.fs.mover.Retire(tape.Barcode(v.Barcode), v.UUID, func(*catalog.Tx) error { return stopped }); !stderrors.Is(err, stopped) {
		t.Fatal(err)
	}
	if v, err = w.fs.volume(v.Barcode); err != nil || v.State != catalog.VolAppend {
		t.Errorf("%+v, %v", v, err)
	}
	if err := w.fs.mover.Retire(tape.Barcode(v.Barcode), "of one before it was formatted", noNote); err == nil {
		t.Error("another volume was retired")
	}
	if v, err = w.fs.volume(v.Barcode); err != nil || v.State != catalog.VolAppend {
		t.Errorf("%+v, %v", v, err)
	}
	rc := reclaim{fs: w.fs, vol: v}
	if err := w.fs.mover.Retire(tape.Barcode(v.Barcode), v.UUID, rc.begin); err != nil {
		t.Fatal(err)
	}
	err = w.fs.cat.View(func(tx *catalog.Tx) error { _, err := tx.Reclaim(v.No); return err })
	if v, verr := w.fs.volume(v.Barcode); err != nil || verr != nil || v.State != catalog.VolFull {
		t.Errorf("%+v, %v, %v", v, err, verr)
	}
}
