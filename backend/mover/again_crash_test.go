package mover

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
	"sliod/tape/virtual"
)

// onlyScratch is the barcode of the one volume of scratchRig.
const onlyScratch = tape.Barcode("A00001L9")

// cutOffAt crashes while a file is archived, before the first command to the drive for which at is true.
func (r *rig) cutOffAt(at func(n int, e virtual.Event) bool) {
	r.t.Helper()
	cut := false
	r.stopAt(func(n int, e virtual.Event) bool {
		cut = cut || at(n, e)
		return cut
	})
	if !cut {
		r.t.Fatal("it was not cut off")
	}
	r.crash()
}

// firstWrite is where a format has erased the medium, and has the new UUID on record.
func firstWrite(_ int, e virtual.Event) bool { return e.Opcode == opWrite }

// TestProtectedWhileScratch sets the tab of a scratch volume: a blank one, one that had data, and one whose
// format was cut off. When the tab is moved back it is formatted and written, as it would have been.
func TestProtectedWhileScratch(t *testing.T) {
	for _, k := range []struct {
		name      string
		used, cut bool
	}{{"blank", false, false}, {"blank, cut off", false, true}, {"used", true, false}, {"used, cut off", true, true}} {
		t.Run(k.name, func(t *testing.T) {
			r := scratchRig(t, k.used)
			if k.cut {
				r.cutOffAt(firstWrite)
				r.start()
			}
			tab := func(on bool) {
				t.Helper()
				r.use(onlyScratch, UseOptions{Raw: true}, func(context.Context, *Session) error { return nil }) // it goes home
				if err := r.lib.SetWriteProtect(onlyScratch, on); err != nil {
					t.Fatal(err)
				}
			}
			tab(true)
			if r.archiveErr(r.fill(1, mib)[0]) == nil {
				t.Fatal("archived on a protected volume")
			}
			if s := r.status(onlyScratch); s.State != "read-only" {
				t.Errorf("%+v", s)
			}
			tab(false)
			r.restart(r.s.cfg.Pools)
			f := r.fill(1, mib)[0]
			r.archive(f)
			r.evict(f)
			r.check(f)
			if s := r.status(onlyScratch); s.State != "append" || s.Used != mib {
				t.Errorf("%+v", s)
			}
			if rec := r.volumeOf(string(onlyScratch)).rec(); rec.EndOfData.Block > 16 || rec.Flags&(catalog.VolProtected|catalog.VolWasScratch) != 0 {
				t.Errorf("%+v: it was not formatted", rec)
			}
		})
	}
}

// TestKeyGoneWhileFormatting stops a format that encrypts at many of its commands, and takes the key away. There is
// nothing on the cartridge that the key is needed for: it is formatted with the new one.
func TestKeyGoneWhileFormatting(t *testing.T) {
	begin := func(t *testing.T) *rig {
		return newRig(t, setup{slots: 1, cfg: Config{Look: -1, LookAgain: -1, Pools: secrets{current: secretKey("a")}}})
	}
	n := 0
	r := begin(t)
	r.stopAt(func(i int, _ virtual.Event) bool {
		n = i
		return r.volumeOf(string(onlyScratch)).rec().State == catalog.VolAppend
	})
	for k := 3; k < n; k += 4 {
		if testing.Short() && k%16 != 3 {
			continue
		}
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			t.Parallel()
			r := begin(t)
			r.cutOffAt(func(n int, _ virtual.Event) bool { return n == k })
			if r.volumeOf(string(onlyScratch)).rec().State == catalog.VolAppend {
				return // that was the last one
			}
			r.s.cfg.Pools = secrets{current: secretKey("b")}
			r.start()
			f := r.marked("one")
			r.archive(f)
			r.evict(f)
			r.check(f)
			if s := r.status(onlyScratch); s.State != "append" || s.KeyID != "b" {
				t.Errorf("%+v", s)
			}
			if errs := r.m.Status().Errors; len(errs) > 0 {
				t.Error(errs)
			}
		})
	}
}

// TestKeyComesLater has a pool's key fail while a volume is to be formatted with it. It is not the volume's fault, nor
// the drive's.
func TestKeyComesLater(t *testing.T) {
	for _, used := range []bool{false, true} {
		r := scratchRig(t, used)
		r.restart(noKey{})
		if r.archiveErr(r.fill(1, mib)[0]) == nil {
			t.Fatal("archived without the key")
		}
		if s := r.status(onlyScratch); s.State != "read-only" || !strings.Contains(s.Reason, "the key server does not answer") {
			t.Errorf("%+v", s)
		}
		if s := r.m.Status().Drives[0]; s.Err != nil {
			t.Errorf("%+v", s)
		}
		r.restart(secrets{current: secretKey("a")})
		f := r.fill(1, mib)[0]
		r.archive(f)
		r.evict(f)
		r.check(f)
		if s := r.status(onlyScratch); s.State != "append" || s.KeyID != "a" {
			t.Errorf("%+v", s)
		}
	}
}

// noKey is a pool whose key cannot be had.
type noKey struct{ secrets }

func (noKey) Source(string) ltfs.KeySource {
	return func(string) (*tape.EncryptionKey, error) { return nil, errors.New("the key server does not answer") }
}

// TestFormatCutOffKeepsRemoved formats a volume whose index alone lists a removed file, is stopped at a command of it, and
// at another one in the next life. In the end an index lists the file: that of the volume, or of another that was
// written meanwhile.
func TestFormatCutOffKeepsRemoved(t *testing.T) {
	begin := func(t *testing.T) (r *rig, gone sliver.FileID) {
		r = newRig(t, setup{slots: 2, cfg: quietly})
		files := r.fill(2, mib)
		r.archive(files...)
		r.mu.Lock()
		delete(r.names, files[0])
		r.mu.Unlock()
		r.archive(files[0])
		v := r.volumeOf(string(onlyScratch))
		for _, f := range files {
			r.dropCopy(keyOf(f, 0), v.rec().No)
		}
		r.goHome()
		if err := r.m.updateVolume(v, func(rec *catalog.Volume) { rec.State = catalog.VolScratch }); err != nil {
			t.Fatal(err)
		}
		return r, files[0]
	}
	n := 0
	r, _ := begin(t)
	r.stopAt(func(i int, _ virtual.Event) bool {
		n = i
		return r.volumeOf(string(onlyScratch)).rec().State == catalog.VolAppend
	})
	for k := 2; k < n; k += 8 {
		if testing.Short() && k%16 != 2 {
			continue
		}
		for _, other := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d/%t", k, other), func(t *testing.T) {
				t.Parallel()
				r, gone := begin(t)
				for _, stop := range []int{k, k * 7 % n} {
					r.stopAt(func(n int, _ virtual.Event) bool { return n == stop })
					r.crash()
					r.start()
				}
				volumes := []tape.Barcode{onlyScratch}
				if v := r.volumeOf(string(onlyScratch)); other && v.rec().State == catalog.VolScratch {
					r.m.setState(v, catalog.VolReadOnly, "it is not used again")
					volumes = []tape.Barcode{"A00002L9", onlyScratch} // that one, if it was not erased yet
				}
				r.archive(r.fill(1, mib)[0])
				r.stop()
				listed := false
				for _, b := range volumes {
					if listed {
						break
					}
					r.onTape(b, func(lv *ltfs.Volume) {
						runs, err := lv.Index().Removed()
						listed = err == nil && slices.ContainsFunc(runs, func(x ltfs.FileIDRun) bool { return gone-sliver.FileID(x.First) < sliver.FileID(x.Count) })
					})
				}
				if !listed {
					t.Errorf("file %d is not listed as removed any longer", gone)
				}
			})
		}
	}
}

// TestIndexesNotRecorded has the power lost twice between an index and the catalog's note of it. The volume is
// formatted all the same when it is scratch.
func TestIndexesNotRecorded(t *testing.T) {
	r := newRig(t, setup{slots: 1, cfg: quietly})
	v := func() *volume { return r.volumeOf(string(onlyScratch)) }
	lost := uint64(0) // the generation before the index
	var files []sliver.FileID
	for range 3 {
		f := r.fill(1, mib)[0]
		r.archive(f)
		r.evict(f)
		r.check(f)
		if lost == 0 {
			lost = v().rec().Generation
		}
		r.stop()
		r.start()
		if err := r.m.updateVolume(v(), func(rec *catalog.Volume) { rec.Generation = lost }); err != nil {
			t.Fatal(err)
		}
		r.check(f)
		lost = v().rec().Generation
		files = append(files, f)
	}
	for _, f := range files {
		r.dropCopy(keyOf(f, 0), v().rec().No)
	}
	r.goHome()
	if err := r.m.updateVolume(v(), func(rec *catalog.Volume) { rec.State = catalog.VolScratch }); err != nil {
		t.Fatal(err)
	}
	f := r.fill(1, mib)[0]
	r.archive(f)
	r.evict(f)
	r.check(f)
	if s := r.status(onlyScratch); s.State != "append" {
		t.Errorf("%+v", s)
	}
}

// fullTape is a drive whose medium has, once full is set, no room any longer in the data partition.
type fullTape struct {
	tape.Drive
	full atomic.Bool
}

func (d *fullTape) end(ctx context.Context) error {
	if p, err := d.Position(ctx); err != nil || p.Partition == 0 || !d.full.Load() {
		return err
	}
	return &tape.Error{Op: "write", Drive: d.Serial(), Kind: tape.EndOfMedium}
}

func (d *fullTape) WriteBlock(ctx context.Context, p []byte) error {
	if err := d.end(ctx); err != nil {
		return err
	}
	return d.Drive.WriteBlock(ctx, p)
}

// TestNoRoomForAnotherIndex: writing the index of a full volume was cut off so often that its data partition has
// no room for another one. It is read by the one that the index partition has; it is neither suspect, nor written
// at each mount.
func TestNoRoomForAnotherIndex(t *testing.T) {
	d := &fullTape{}
	r := newRig(t, setup{slots: 1, cfg: quietly, wrap: func(inner tape.Drive) tape.Drive { d.Drive = inner; return d }})
	files, b := r.archived(3, mib+1)
	r.m.setState(r.volumeOf(string(b)), catalog.VolFull, "of the test")
	if err := r.cat.Sync(); err != nil {
		t.Fatal(err)
	}
	r.crash()
	d.full.Store(true)
	for life := range 3 {
		r.start()
		var writes atomic.Int64
		r.lib.Hook(func(e virtual.Event) {
			if !e.After && e.Device == 0 && e.Opcode == opWrite {
				writes.Add(1)
			}
		})
		r.evict(files...)
		for _, f := range files {
			r.check(f)
		}
		r.evict(files...)
		r.goHome()
		for _, f := range files {
			r.check(f)
		}
		r.lib.Hook(nil)
		if s := r.status(b); s.State != "full" || s.Reason != "of the test" && s.Reason != "" {
			t.Errorf("life %d: %+v", life, s)
		}
		if life > 0 && writes.Load() > 0 {
			t.Errorf("life %d: %d writes to a volume that lacks nothing", life, writes.Load())
		}
		if errs := r.m.Status().Errors; len(errs) > 0 {
			t.Error(errs)
		}
		if life < 2 {
			r.crash()
		}
	}
	r.stop()
	r.onTape(b, func(lv *ltfs.Volume) {
		if lv.Index().Files() != len(files) {
			t.Errorf("%d files in the index", lv.Index().Files())
		}
	})
}

// TestLackingIndexIsWritten stops the server before the index of a volume is written that nobody needs afterwards, twice: the
// second time while it is brought up to date.
func TestLackingIndexIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quietly
		cfg.IndexIdle, cfg.Linger = time.Hour, time.Second
		r := newRig(t, setup{slots: 2, cfg: cfg})
		f := r.fill(1, mib)[0]
		r.archive(f)
		r.crash()
		for range 2 {
			r.start()
			cut := atomic.Bool{}
			r.lib.Hook(func(e virtual.Event) {
				if !e.After && e.Device == 0 && e.Opcode == opWrite && cut.CompareAndSwap(false, true) {
					r.m.cancel()
				}
			})
			r.m.WriteLackingIndexes(t.Context())
			if !cut.Load() {
				t.Fatal("the index is not written")
			}
			r.lib.Hook(nil)
			r.crash()
		}
		r.start()
		r.m.WriteLackingIndexes(t.Context())
		time.Sleep(time.Minute) // it goes home
		r.crash()
		r.onTape(onlyScratch, func(lv *ltfs.Volume) {
			if lv.Repair() != nil || lv.Index().Files() != 1 {
				t.Errorf("%v, %d files", lv.Repair(), lv.Index().Files())
			}
		})
		r.start()
	})
}

// TestIndexThatCannotBeWritten: no index that lacks something is said to be complete: after that another volume would be
// given up.
func TestIndexThatCannotBeWritten(t *testing.T) {
	cfg := quietly
	cfg.IndexIdle = time.Hour
	r := newRig(t, setup{slots: 2, cfg: cfg})
	_, b := r.archived(1, mib)
	r.crash()
	r.start()
	r.use(b, UseOptions{Raw: true}, func(context.Context, *Session) error { return nil }) // it goes home, and is not mounted
	if err := r.lib.SetWriteProtect(b, true); err != nil {
		t.Fatal(err)
	}
	for range 2 { // mounted for it, and mounted already
		if err := r.m.SyncIndex(t.Context(), b); err == nil {
			t.Error("the index of a protected volume lacks nothing")
		}
	}
	r.goHome()
	if err := r.lib.SetWriteProtect(b, false); err != nil {
		t.Fatal(err)
	}
	if err := r.m.SyncIndex(t.Context(), b); err != nil {
		t.Error(err)
	}
}

// TestExportWritesTheIndex: a volume that lies in a slot since a crash is not carried away without the index that it lacks.
func TestExportWritesTheIndex(t *testing.T) {
	cfg := quietly
	cfg.IndexIdle = time.Hour
	r := newRig(t, setup{slots: 3, mail: 1, cfg: cfg})
	_, b := r.archived(1, mib)
	r.crash()
	r.start()
	r.use(b, UseOptions{Raw: true}, func(context.Context, *Session) error { return nil }) // it goes home, and is not mounted
	if _, err := r.m.ExportVolume(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.m.ImportVolumes(t.Context(), []tape.Barcode{b}); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.onTape(b, func(lv *ltfs.Volume) {
		if lv.Repair() != nil || lv.Index().Files() != 1 {
			t.Errorf("%v, %d files", lv.Repair(), lv.Index().Files())
		}
	})
}

// flaky is a drive of which one read fails, and nothing is known of the medium by that.
type flaky struct {
	tape.Drive
	fails, reads atomic.Int64
}

func (d *flaky) ReadBlock(ctx context.Context, buf []byte) (int, error) {
	if d.reads.Add(1) == d.fails.Load() {
		return 0, &tape.Error{Op: "read block", Drive: d.Serial(), Kind: tape.Disconnected}
	}
	return d.Drive.ReadBlock(ctx, buf)
}

// TestFormatCutOffThenDriveFails has one read fail while a drive finds out what a format has left that was cut
// off. It is not the volume's fault.
func TestFormatCutOffThenDriveFails(t *testing.T) {
	for n := int64(9); n <= 16; n++ {
		if testing.Short() && n != 13 {
			continue
		}
		d := &flaky{}
		r := newRig(t, setup{slots: 1, cfg: quietly, wrap: func(inner tape.Drive) tape.Drive { d.Drive = inner; return d }})
		writes := 0
		r.cutOffAt(func(_ int, e virtual.Event) bool {
			if e.Opcode == opWrite {
				writes++
			}
			return writes == 5 // behind both labels
		})
		r.start()
		d.reads.Store(0)
		d.fails.Store(n)
		if r.archiveErr(r.fill(1, mib)[0]) != nil {
			r.crash() // the drive is out of service now
			r.start()
			if r.archiveErr(r.fill(1, mib)[0]) != nil {
				t.Errorf("read %d: not archived", n)
			}
		}
		if s := r.status(onlyScratch); s.State != "append" {
			t.Errorf("read %d: %+v", n, s)
		}
		r.stop()
	}
}

// TestIndexLackingAndKeyPolicy: a full volume whose index lacks data after a crash, and whose pool is to be encrypted
// since, is read. It is not suspect.
func TestIndexLackingAndKeyPolicy(t *testing.T) {
	r := newRig(t, setup{slots: 1, cfg: Config{Look: -1, LookAgain: -1, Pools: secrets{}}})
	files, b := r.archived(2, mib+1)
	r.m.setState(r.volumeOf(string(b)), catalog.VolFull, "of the test")
	if err := r.cat.Sync(); err != nil {
		t.Fatal(err)
	}
	r.crash()
	r.s.cfg.Pools = secrets{current: secretKey("k")}
	r.start()
	for _, f := range files {
		r.check(f)
	}
	if s := r.status(b); s.State != "full" {
		t.Errorf("%+v", s)
	}
	// With its pool in clear again, it gets its index.
	r.s.cfg.Pools = secrets{}
	r.crash()
	r.start()
	r.evict(files...)
	for _, f := range files {
		r.check(f)
	}
	if rec := r.volumeOf(string(b)).rec(); rec.State != catalog.VolFull || rec.Flags&catalog.VolUnindexed != 0 {
		t.Errorf("%+v", rec)
	}
}

// TestFormatAgainAfterCutOff stops `sliod format`: when it is said again, nothing needs to be forced.
func TestFormatAgainAfterCutOff(t *testing.T) {
	for k := int64(1); ; k += 4 {
		r := newRig(t, setup{slots: 1, cfg: quietly})
		var n atomic.Int64
		r.lib.Hook(func(e virtual.Event) {
			if e.Device == 0 && !e.After && (e.Opcode == opWrite || e.Opcode == opFilemarks) && n.Add(1) == k {
				r.m.cancel()
			}
		})
		err := r.m.FormatVolume(t.Context(), onlyScratch, false)
		r.lib.Hook(nil)
		r.crash()
		r.start()
		if err := r.m.FormatVolume(t.Context(), onlyScratch, false); err != nil {
			t.Errorf("cut off at write %d: %v", k, err)
		}
		r.stop()
		if err == nil {
			return
		}
	}
}
