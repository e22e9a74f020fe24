package mover

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape/ltfs"
	"sliod/tape/virtual"
)

// TestCrashAtEachCommand stops the mover before the n-th command that writes on
// tape, wherever that is: in a format, a batch, a flush, an index. What was
// reported as archived must be readable after the restart, and be in the indexes
// after a clean stop.
func TestCrashAtEachCommand(t *testing.T) {
	for nth := int64(1); nth <= 60; nth += 4 {
		if testing.Short() && nth%5 != 0 {
			continue
		}
		t.Run(fmt.Sprint(nth), func(t *testing.T) {
			r := newRig(t, setup{cfg: Config{BatchBytes: 2 * mib, IndexBytes: 4 * mib}})
			var count atomic.Int64
			r.lib.Hook(func(e virtual.Event) {
				if !e.After && (e.Opcode == opWrite || e.Opcode == opFilemarks) && count.Add(1) == nth {
					r.m.cancel()
				}
			})
			files := r.fill(8, mib+100)
			var done []sliver.FileID
			for i, f := range files {
				if r.archiveErr(f) != nil {
					break
				}
				done = append(done, files[i])
			}
			r.lib.Hook(nil)
			r.crash()
			r.start()
			for _, f := range done {
				r.check(f)
			}
			if len(done) == 0 {
				return
			}
			v := r.onlyVolume()
			r.stop()
			r.onTape(v, func(lv *ltfs.Volume) {
				if lv.Repair() != nil {
					t.Error(lv.Repair())
				}
				for i, f := range done {
					r.compare(lv, fmt.Sprintf("dir%d/file%d", i%7, i), f)
				}
			})
		})
	}
}

// TestFormatCutOffTwice stops the mover at one command of a mount with a format and, in its next life, at another one.
// The volume is always known as ours after that, and is formatted: a blank one, and one that had data and became
// scratch. A quarter of the commands are tried, another one each time.
func TestFormatCutOffTwice(t *testing.T) {
	quarter := rand.IntN(4)
	t.Logf("quarter %d", quarter)
	for _, used := range []bool{false, true} {
		n := commandsToFormat(t, used)
		for k := range n {
			second := k / 2
			if k%2 == 0 {
				second = k * 11 % n
			}
			if k/2%4 != quarter {
				continue
			}
			t.Run(fmt.Sprintf("used=%t/%d/%d", used, k, second), func(t *testing.T) {
				t.Parallel()
				r := scratchRig(t, used)
				for _, stop := range []int{k, second} {
					r.stopAt(func(n int, _ virtual.Event) bool { return n == stop })
					r.crash()
					r.start()
				}
				r.archive(r.fill(1, mib)[0])
				if errs := r.m.Status().Errors; len(errs) > 0 {
					t.Error(errs)
				}
			})
		}
	}
}

// commandsToFormat counts the commands to a drive until a scratch volume has been formatted.
func commandsToFormat(t *testing.T, used bool) (n int) {
	r := scratchRig(t, used)
	r.stopAt(func(i int, e virtual.Event) bool {
		n = i
		return e.Opcode == opWrite && r.volumeOf("A00001L9").rec().State == catalog.VolAppend // the batch
	})
	if n < 20 {
		t.Fatalf("%d commands", n)
	}
	return n
}

// scratchRig has one volume, which is scratch.
func scratchRig(t *testing.T, used bool) *rig {
	r := newRig(t, setup{slots: 1, cfg: quietly})
	if !used {
		return r
	}
	files, b := r.archived(2, mib+1)
	r.goHome()
	v := r.volumeOf(string(b))
	for _, f := range files {
		r.dropCopy(keyOf(f, 0), v.rec().No)
		r.dropCopy(keyOf(f, 1), v.rec().No)
	}
	if err := r.m.updateVolume(v, func(rec *catalog.Volume) { rec.State = catalog.VolScratch }); err != nil {
		t.Fatal(err)
	}
	return r
}

// stopAt archives a file, and stops the mover at the first command to the drive for which at is true.
func (r *rig) stopAt(at func(n int, e virtual.Event) bool) {
	var n int
	r.lib.Hook(func(e virtual.Event) {
		if e.Device != 0 || e.After {
			return
		}
		if at(n, e) {
			r.m.cancel()
		}
		n++
	})
	_ = r.archiveErr(r.fill(1, mib)[0]) // that it fails is the purpose, and not always so
	r.lib.Hook(nil)
}

// TestVolumeInAnotherDrive restarts with a cartridge in one of two drives. The
// other must not try to fetch it from there: the changer cannot take a cartridge
// that is not unloaded, and two such failures put a drive out of service.
func TestVolumeInAnotherDrive(t *testing.T) {
	r := newRig(t, setup{drives: 2})
	f := r.fill(1, mib+100)[0]
	if err := r.archiveErr(f); err != nil {
		t.Fatal(err)
	}
	for range 12 {
		r.crash()
		r.start()
		r.check(f)
		if errs := r.m.Status().Errors; len(errs) > 0 {
			t.Fatal(errs)
		}
	}
}
