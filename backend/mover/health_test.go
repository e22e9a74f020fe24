package mover

import (
	"context"
	"strings"
	"testing"

	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

func TestJudge(t *testing.T) {
	for _, tc := range []struct {
		alerts      []tape.Alert
		unrecovered uint64
		want        verdict
		why         string
	}{
		{nil, 0, healthy, ""},
		{nil, 2, healthy, ""},
		{nil, 3, eitherIsBad, "3 errors"},
		{[]tape.Alert{tape.AlertReadFailure, tape.AlertWriteFailure, 3, 1, 2}, 1, healthy, ""}, // counted when they came
		{[]tape.Alert{4}, 0, volumeIsBad, "medium"},
		{[]tape.Alert{tape.AlertMediumLife}, 0, volumeIsBad, "medium life"},
		{[]tape.Alert{tape.AlertNotDataGrade}, 0, volumeIsBad, "not data grade"},
		{[]tape.Alert{14}, 0, volumeIsBad, "cartridge failure"},
		{[]tape.Alert{tape.AlertNearingMediumLife, 15, 24, 49}, 0, healthy, ""}, // said, and nothing else
		{[]tape.Alert{30}, 0, driveIsBad, "hardware A"},
		{[]tape.Alert{31, 4}, 9, driveIsBad, "hardware B"}, // a drive like that may say anything of a medium
		{[]tape.Alert{4, 31}, 0, driveIsBad, "hardware B"},
		{[]tape.Alert{38}, 0, driveIsBad, "predictive failure"},
		{[]tape.Alert{26, 27, 36, 39}, 0, healthy, ""}, // warnings about a drive are for people
		{[]tape.Alert{tape.AlertCleanNow, tape.AlertCleanPeriodic, tape.AlertCleaningExpired}, 0, healthy, ""},
		{[]tape.Alert{9, 10, 16, 40, 42}, 0, healthy, ""},
	} {
		got, why := judge(tc.alerts, tc.unrecovered)
		if got != tc.want || !strings.Contains(why, tc.why) || (why == "") != (tc.why == "") {
			t.Errorf("%v, %d errors: %v, %q; want %v", tc.alerts, tc.unrecovered, got, why, tc.want)
		}
	}
}

// TestMediumLife: a cartridge at the end of its life is suspect, and still read.
func TestMediumLife(t *testing.T) {
	r := newRig(t, setup{})
	f := r.fill(1, 2*mib)[0]
	r.archive(f)
	r.evict(f)
	b := r.onlyVolume()
	r.lib.SetDirty(0, tape.AlertMediumLife)
	r.use(b, UseOptions{Raw: true}, nothing)
	r.lib.SetDirty(0, 0)
	if v := r.m.Status().Volumes[0]; v.State != "suspect" || !strings.Contains(v.Reason, "medium life") {
		t.Errorf("%+v", v)
	}
	r.check(f)
}

// TestDriveSaysItIsBad: a drive that reports a hardware fault with two volumes goes out of service, but not
// the last one, and the archive goes on with that.
func TestDriveSaysItIsBad(t *testing.T) {
	r := newRig(t, setup{drives: 2, slots: 6})
	files := r.fill(2, mib)
	r.archive(files...)
	r.evict(files...)
	failed := func() (n int) {
		for _, d := range r.m.Status().Drives {
			if d.State == "failed" {
				n++
			}
		}
		return n
	}
	r.eventually("both drives wait", func(Status) bool {
		r.m.mu.Lock()
		defer r.m.mu.Unlock()
		return r.m.drives[0].idle && r.m.drives[1].idle
	})
	for i := range 2 {
		r.lib.SetDirty(i, 30) // hardware A, at every load
	}
	for i, b := range []tape.Barcode{"A00002L9", "A00003L9", "A00004L9", "A00005L9", "A00006L9"} {
		if i < 2 && failed() > 0 {
			t.Fatal("out of service after one volume")
		}
		r.use(b, UseOptions{Raw: true}, nothing)
	}
	if n := failed(); n != 1 {
		t.Errorf("%d drives are out of service", n)
	}
	for _, f := range files {
		r.check(f)
	}
}

// TestErrorsThatWereGotOver: reads that succeed at the second attempt leave their trace in the drive's counters,
// and the volume is suspect.
func TestErrorsThatWereGotOver(t *testing.T) {
	r := newRig(t, setup{cfg: Config{ReadAhead: -1}})
	f := r.fill(1, 4*mib)[0]
	r.archive(f)
	r.evict(f)
	for no := range sliver.No(3) {
		remove := r.lib.SetFault(virtual.Fault{Device: virtual.AnyDrive, Opcode: opRead, Nth: 1, Sense: scsi.Sense{Key: scsi.MediumErrorKey, Code: scsi.CodeReadError}})
		if _, err := r.read(keyOf(f, no), mib); err != nil {
			t.Fatal(err)
		}
		remove()
	}
	if v := r.m.Status().Volumes[0]; v.State != "append" {
		t.Fatalf("%+v", v)
	}
	r.use(r.onlyVolume(), UseOptions{Raw: true}, nothing)
	if v := r.m.Status().Volumes[0]; v.State != "suspect" || !strings.Contains(v.Reason, "3 errors") {
		t.Errorf("%+v", v)
	}
	r.check(f)
}

func nothing(context.Context, *Session) error { return nil }
