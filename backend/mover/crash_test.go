package mover

import (
	"fmt"
	"sync/atomic"
	"testing"

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
