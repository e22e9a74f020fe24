package mover

import (
	"fmt"
	"testing"

	"sliod/tape"
	"sliod/tape/ltfs"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// TestOneReadFaultIsNoError fails one read of a sliver that has one copy, in a library
// with one drive: the reader gets the data.
func TestOneReadFaultIsNoError(t *testing.T) {
	faults := map[string]virtual.Fault{
		"medium":    {Sense: scsi.Sense{Key: scsi.MediumErrorKey, Code: scsi.CodeReadError}},
		"hardware":  {Sense: scsi.Sense{Key: scsi.HardwareKey, Code: scsi.CodeInternalFailure}},
		"blank":     {Sense: scsi.Sense{Key: scsi.BlankCheck, Code: scsi.CodeEndOfData}},
		"attention": {Sense: scsi.Sense{Key: scsi.AttentionKey, Code: scsi.CodeReset}},
	}
	for name, fault := range faults {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%t", name, after), func(t *testing.T) {
				r := newRig(t, setup{})
				f := r.fill(1, 3*mib)[0]
				r.archive(f)
				r.evict(f)
				fault.Device, fault.Opcode, fault.Nth, fault.After = virtual.AnyDrive, scsi.OpRead6, 2, after
				r.lib.SetFault(fault)
				r.check(f)
			})
		}
	}
}

// TestOneMountFaultIsNoError: the same for a mount, which must not cost the volume
// its state either.
func TestOneMountFaultIsNoError(t *testing.T) {
	for _, op := range []byte{scsi.OpRead6, scsi.OpReadAttribute, scsi.OpLocate16} {
		t.Run(fmt.Sprintf("%02x", op), func(t *testing.T) {
			r := newRig(t, setup{})
			f := r.fill(1, mib)[0]
			r.archive(f)
			r.evict(f)
			r.stop()
			r.start()
			r.lib.SetFault(virtual.Fault{Device: virtual.AnyDrive, Opcode: op, Sense: scsi.Sense{Key: scsi.BlankCheck, Code: scsi.CodeEndOfData}})
			r.check(f)
			for _, v := range r.m.Status().Volumes {
				if v.State != "scratch" && v.State != "append" {
					t.Errorf("volume %s is %s", v.Barcode, v.State)
				}
			}
		})
	}
}

// TestDriveThatWritesNothing has a drive answer every write with "write protected",
// though the cartridges are not: the other drive gets the work, and no volume
// is taken out of use.
func TestDriveThatWritesNothing(t *testing.T) {
	r := newRig(t, setup{drives: 2, cfg: Config{ArchiveDrives: 2}})
	for _, op := range []byte{scsi.OpWrite6, scsi.OpWriteFilemarks6, scsi.OpFormatMedium} {
		r.lib.SetFault(virtual.Fault{Device: 0, Opcode: op, Times: -1, Sense: scsi.Sense{Key: scsi.ProtectKey, Code: scsi.CodeWriteProtected}})
	}
	files := r.fill(4, mib)
	r.archive(files...)
	for _, v := range r.m.Status().Volumes {
		if v.State != "scratch" && v.State != "append" {
			t.Errorf("volume %s is %s", v.Barcode, v.State)
		}
	}
}

// TestArmSpoilsNoVolume: whatever the arm answers, it says nothing about a medium.
func TestArmSpoilsNoVolume(t *testing.T) {
	r := newRig(t, setup{})
	remove := r.lib.SetFault(virtual.Fault{Device: virtual.Changer, Opcode: scsi.OpMoveMedium, Times: -1,
		Sense: scsi.Sense{Key: scsi.MediumErrorKey, Code: scsi.CodeReadError}})
	f := r.fill(1, mib)[0]
	if err := r.archiveErr(f); err == nil {
		t.Error("archived without an arm")
	}
	remove()
	for _, v := range r.m.Status().Volumes {
		if v.State != "scratch" {
			t.Errorf("volume %s is %s", v.Barcode, v.State)
		}
	}
	r.check(f)
}

// TestIndexOfSuspectVolume: a volume whose flush failed holds what was committed before,
// and at its next mount its index says so: a catalog that is rebuilt from the tapes
// has it.
func TestIndexOfSuspectVolume(t *testing.T) {
	r := newRig(t, setup{cfg: Config{IndexBytes: 1 << 40}})
	first := r.fill(3, mib+100)
	r.archive(first...)
	v, _ := r.placeOfSliver(keyOf(first[0], 0))
	r.lib.SetFault(virtual.Fault{Device: virtual.AnyDrive, Opcode: scsi.OpWriteFilemarks6, Volume: v,
		Sense: scsi.Sense{Key: scsi.MediumErrorKey, Code: scsi.CodeWriteError}})
	r.archive(r.fill(1, mib)...)
	suspect := false
	for _, s := range r.m.Status().Volumes {
		suspect = suspect || s.Barcode == v && s.State == "suspect"
	}
	if !suspect {
		t.Errorf("volume %s is not suspect: %+v", v, r.m.Status().Volumes)
	}
	r.evict(first...)
	for _, f := range first {
		r.check(f)
	}
	r.stop()
	r.onTape(tape.Barcode(v), func(lv *ltfs.Volume) {
		for i, f := range first {
			r.compare(lv, fmt.Sprintf("dir%d/file%d", i%7, i), f)
		}
	})
}

// TestGivenUp: a recall whose volume could never be fetched, though nothing failed, ends
// with an error.
func TestGivenUp(t *testing.T) {
	r := newRig(t, setup{})
	f := r.fill(1, mib)[0]
	r.archive(f)
	rec := &recall{key: keyOf(f, 0), attempts: maxAttempts, loc: Located{Copies: r.rec(keyOf(f, 0)).Copies}}
	r.m.mu.Lock()
	v, _, err := r.m.pickCopyLocked(rec)
	r.m.mu.Unlock()
	if err == nil || v != nil {
		t.Errorf("volume %v, %v", v, err)
	}
}
