package mover

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
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

// TestLeftInDrive restarts with a cartridge in each drive. The one that nobody wants goes home
// when its drive has rested, and both when the mover is closed.
func TestLeftInDrive(t *testing.T) {
	inDrives := func(r *rig) (n int) {
		t.Helper()
		lib := r.openLibrary()
		es, err := lib.Tape().Changer.Inventory(t.Context())
		if err == nil {
			err = lib.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			if e.Kind == tape.DriveElement && e.Full {
				n++
			}
		}
		return n
	}
	for _, linger := range []time.Duration{time.Hour, -1} {
		r := newRig(t, setup{drives: 2})
		f := r.fill(1, mib)[0]
		r.archive(f)
		_ = r.m.UseVolume(t.Context(), "A00002L9", UseOptions{Raw: true}, func(context.Context, *Session) error {
			r.m.cancel() // in the other drive
			return nil
		})
		r.crash()
		if n := inDrives(r); n != 2 {
			t.Fatalf("after the crash %d cartridges are in drives", n)
		}
		r.s.cfg.Linger = linger
		r.start()
		if linger < 0 {
			r.eventually("the cartridges are home", func(s Status) bool {
				return !slices.ContainsFunc(s.Volumes, func(v VolumeStatus) bool { return strings.HasPrefix(v.Where, "drive") })
			})
		}
		r.stop()
		if n := inDrives(r); n != 0 {
			t.Errorf("linger %v: %d cartridges are in drives after Close", linger, n)
		}
		r.start()
		r.check(f)
		r.stop()
	}
}

// stuckArm is one that moves nothing.
type stuckArm struct {
	tape.Changer
	moves *atomic.Int32
}

func (a stuckArm) Move(context.Context, uint16, uint16) error {
	a.moves.Add(1)
	return &tape.Error{Kind: tape.HardwareError, Op: "move medium", Err: errors.New("stuck")}
}

// TestStaysInDrive: a cartridge that does not come out of its drive is not tried again and again.
func TestStaysInDrive(t *testing.T) {
	r := newRig(t, setup{})
	f := r.fill(1, mib)[0]
	r.archive(f)
	r.evict(f)
	r.crash()
	var moves atomic.Int32
	r.s.cfg.Linger = -1
	r.s.arm = func(c tape.Changer) tape.Changer { return stuckArm{c, &moves} }
	r.start()
	r.eventually("a move has failed", func(s Status) bool { return len(s.Errors) > 0 })
	for range 100 {
		r.m.lookAgain(nil) // has the drive think again
	}
	r.check(f)
	for range 100 {
		r.m.lookAgain(nil)
	}
	if err := r.m.Close(); err == nil || !strings.Contains(err.Error(), "stuck") {
		t.Errorf("the cartridge is in the drive, and Close says %v", err)
	}
	r.closeRest()
	// At rest, the unmount after the read, at rest, Close.
	if n := moves.Load(); n > 4 {
		t.Errorf("%d moves", n)
	}
}

// TestNoSlotForIt restarts with a cartridge in the drive whose slot somebody has filled: it is used where it is, and no
// drive is to blame that it cannot go home.
func TestNoSlotForIt(t *testing.T) {
	r := newRig(t, setup{slots: 2})
	f := r.fill(1, mib)[0]
	r.archive(f)
	r.evict(f)
	r.m.mu.Lock()
	home := r.m.drives[0].vol.home
	r.m.mu.Unlock()
	r.crash()
	r.s.cfg.Linger = -1
	r.s.arm = func(c tape.Changer) tape.Changer {
		if err := r.lib.Insert("B00001L9", home); err != nil {
			t.Fatal(err)
		}
		return c
	}
	r.start()
	r.eventually("it is told", func(s Status) bool {
		return len(s.Errors) > 0 && strings.Contains(s.Errors[0].Err.Error(), "no slot is free for it")
	})
	r.check(f)
	r.m.mu.Lock()
	if n := len(r.m.drives[0].strikes); n > 0 {
		t.Errorf("the drive has %d strikes", n)
	}
	r.m.mu.Unlock()
	if err := r.m.Close(); err == nil || !strings.Contains(err.Error(), "no slot is free") {
		t.Errorf("Close says %v", err)
	}
	r.closeRest()
}

// TestCloseCutShort: what could not be brought home is told.
func TestCloseCutShort(t *testing.T) {
	r := newRig(t, setup{})
	r.archive(r.fill(1, mib)...)
	r.m.cancel()
	if err := r.m.Close(); err == nil || !strings.Contains(err.Error(), "volume A00001L9 stays in drive VD00000001") {
		t.Errorf("Close says %v", err)
	}
	r.closeRest()
}
