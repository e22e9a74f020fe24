package mover

import (
	"context"
	"slices"
	"strings"
	"testing"

	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// quietly are settings with which the library is looked at only when that matters.
var quietly = Config{Look: -1, LookAgain: -1}

// mtx is another program that moves cartridges, through a changer of its own.
func (r *rig) mtx(b tape.Barcode, to uint16) {
	r.t.Helper()
	c, err := scsi.NewChanger(r.lib.Transport(virtual.Changer), scsi.ChangerOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	from := r.elementOf(b)
	for i, d := range r.lib.Tape().Drives {
		if from.Drive != d.Serial() {
			continue
		}
		for _, cdb := range [][]byte{{scsi.OpPreventAllow, 0, 0, 0, 0, 0}, {scsi.OpLoadUnload, 0, 0, 0, 0, 0}} {
			for range 3 { // a unit attention may wait
				c := &scsi.Command{CDB: cdb}
				if err := r.lib.Transport(i).Do(r.t.Context(), c); err != nil {
					r.t.Fatal(err)
				}
				if c.Status == scsi.Good {
					break
				}
			}
		}
	}
	if err := c.Move(r.t.Context(), from.Address, to); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) elements() []tape.Element {
	r.t.Helper()
	c, err := scsi.NewChanger(r.lib.Transport(virtual.Changer), scsi.ChangerOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	es, err := c.Inventory(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return es
}

func (r *rig) elementOf(b tape.Barcode) tape.Element {
	r.t.Helper()
	for _, e := range r.elements() {
		if e.Volume == b {
			return e
		}
	}
	r.t.Fatalf("volume %s is not in the library", b)
	return tape.Element{}
}

// free returns an empty element of a kind.
func (r *rig) free(k tape.ElementKind) uint16 {
	r.t.Helper()
	for _, e := range r.elements() {
		if e.Kind == k && !e.Full {
			return e.Address
		}
	}
	r.t.Fatalf("no element of kind %d is free", k)
	return 0
}

func (r *rig) status(b tape.Barcode) VolumeStatus {
	r.t.Helper()
	for _, v := range r.m.Status().Volumes {
		if v.Barcode == b {
			return v
		}
	}
	r.t.Fatalf("no volume %s in the status", b)
	return VolumeStatus{}
}

// goHome has the drives give their volumes up.
func (r *rig) goHome() {
	r.t.Helper()
	r.m.mu.Lock()
	r.m.cfg.Linger = -1
	r.m.wakeLocked()
	r.m.mu.Unlock()
	r.eventually("the drives are empty", func(s Status) bool {
		return !slices.ContainsFunc(s.Drives, func(d DriveStatus) bool { return d.Volume != "" || d.State != "empty" })
	})
	r.m.mu.Lock()
	r.m.cfg.Linger = 1 << 40
	r.m.mu.Unlock()
}

// archived makes files that are on tape only, and returns their volume.
func (r *rig) archived(n, size int) ([]sliver.FileID, tape.Barcode) {
	r.t.Helper()
	files := r.fill(n, size)
	r.archive(files...)
	r.evict(files...)
	b, _ := r.placeOfSliver(keyOf(files[0], 0))
	return files, b
}

// TestMovedInSlots: two cartridges change places behind the mover's back, one of them an
// unused one that must not be taken for the other.
func TestMovedInSlots(t *testing.T) {
	r := newRig(t, setup{slots: 4, mail: 1, cfg: quietly})
	files, b := r.archived(2, mib+5)
	r.goHome()
	other := tape.Barcode("A00002L9")
	home, spare := r.elementOf(b).Address, r.free(tape.ImportExport)
	second := r.elementOf(other).Address
	r.mtx(b, spare)
	r.mtx(other, home)
	r.mtx(b, second)
	for _, f := range files {
		r.check(f)
	}
	if s := r.status(b); s.State != "append" {
		t.Errorf("volume %+v", s)
	}
	r.goHome()
	if e := r.elementOf(b); e.Address != second {
		t.Errorf("%s went home to element %d, not %d", b, e.Address, second)
	}
	if s := r.status(other); s.State != "scratch" || s.Where != "slot 1" {
		t.Errorf("volume %+v", s)
	}
}

// TestTakenFromDrive takes the mounted volume out of the drive, and puts another one in: what
// is read and written next goes elsewhere or finds it again, and nobody is blamed.
func TestTakenFromDrive(t *testing.T) {
	for _, swap := range []bool{false, true} {
		for _, write := range []bool{false, true} {
			r := newRig(t, setup{slots: 4, mail: 1, cfg: quietly})
			files, b := r.archived(2, mib+5)
			drive, home := r.elementOf(b).Address, r.free(tape.Slot)
			r.mtx(b, home)
			if swap {
				r.mtx("A00003L9", drive)
			}
			if write {
				more := r.fill(2, 2*mib)
				r.archive(more...)
				r.evict(more...)
				files = append(files, more...)
			}
			for _, f := range files {
				r.check(f)
			}
			s := r.m.Status()
			if s.Drives[0].State == "failed" || r.status(b).State != "append" {
				t.Errorf("swap %v, write %v: drive %+v, volume %+v", swap, write, s.Drives[0], r.status(b))
			}
			if swap && r.status("A00003L9").UUID != "" {
				t.Errorf("write %v: the other cartridge was written: %+v", write, r.status("A00003L9"))
			}
			r.stop()
		}
	}
}

// TestAwayAndBack takes a volume out of the library, from a slot or from under the drive: who reads
// gets an error that says what to do, what is written goes elsewhere, and when the volume is back it
// is used again, without a command.
func TestAwayAndBack(t *testing.T) {
	for _, mounted := range []bool{false, true} {
		r := newRig(t, setup{slots: 4, cfg: quietly})
		files, b := r.archived(2, mib+5)
		if mounted {
			r.mtx(b, r.free(tape.Slot))
		} else {
			r.goHome()
		}
		slot := r.elementOf(b).Address
		if err := r.lib.TakeOut(slot); err != nil {
			t.Fatal(err)
		}
		_, err := r.read(keyOf(files[0], 0), mib)
		if err == nil || !strings.Contains(err.Error(), "volume "+string(b)+" is not in the library: put it in and run `sliod volumes import`") {
			t.Fatalf("mounted %v: error %v", mounted, err)
		}
		if s := r.status(b); s.Where != "away" || s.Room {
			t.Errorf("volume %+v", s)
		}
		if es := r.m.Status().Errors; !slices.ContainsFunc(es, func(e TapeError) bool { return e.Volume == b && e.Op == "recall" }) {
			t.Errorf("errors %+v", es)
		}
		if err := r.m.UseVolume(t.Context(), b, UseOptions{}, nil); err == nil || !strings.Contains(err.Error(), "not in the library") {
			t.Errorf("use: %v", err)
		}
		more, c := r.archived(1, mib)
		if c == b {
			t.Errorf("file is on %s, which is away", c)
		}
		if err := r.lib.Insert(b, slot); err != nil {
			t.Fatal(err)
		}
		for _, f := range append(files, more...) {
			r.check(f)
		}
		if s := r.status(b); s.State != "append" || s.Where == "away" {
			t.Errorf("volume %+v", s)
		}
		r.stop()
	}
}

func TestExportAndImport(t *testing.T) {
	for _, mounted := range []bool{false, true} {
		r := newRig(t, setup{drives: 2, slots: 4, mail: 1, cfg: quietly})
		files, b := r.archived(2, mib+5)
		if !mounted {
			r.goHome()
		}
		where, err := r.m.ExportVolume(t.Context(), b)
		if err != nil || where != "mail slot 1" || r.elementOf(b).Kind != tape.ImportExport {
			t.Fatalf("export: %q, %v", where, err)
		}
		if s := r.status(b); s.Where != "mail slot 1" || s.Room || s.Reason == "" {
			t.Errorf("volume %+v", s)
		}
		if where, err := r.m.ExportVolume(t.Context(), b); err != nil || where != "mail slot 1" {
			t.Errorf("export again: %q, %v", where, err)
		}
		if _, err := r.m.ExportVolume(t.Context(), "A00003L9"); err == nil || !strings.Contains(err.Error(), "mail slots are full") {
			t.Errorf("export of a second one: %v", err)
		}
		if _, err := r.read(keyOf(files[0], 0), mib); err == nil || !strings.Contains(err.Error(), "sliod volumes import") {
			t.Errorf("read: %v", err)
		}
		// The operator takes it, and puts a new one and a cleaning cartridge in by hand later.
		mail := r.elementOf(b).Address
		if err := r.lib.TakeOut(mail); err != nil {
			t.Fatal(err)
		}
		if err := r.lib.Insert("B00001L9", mail); err != nil {
			t.Fatal(err)
		}
		came, notes, err := r.m.ImportVolumes(t.Context(), nil)
		if err != nil || len(notes) != 0 || len(came) != 1 || came[0].Barcode != "B00001L9" || !strings.HasPrefix(came[0].Where, "slot ") || !came[0].Room {
			t.Fatalf("import: %+v, %v, %v", came, notes, err)
		}
		if err := r.lib.Insert(b, mail); err != nil {
			t.Fatal(err)
		}
		// All slots are full now.
		if _, _, err := r.m.ImportVolumes(t.Context(), []tape.Barcode{b}); err == nil || !strings.Contains(err.Error(), "no free slot") {
			t.Errorf("import into a full library: %v", err)
		}
		if err := r.lib.TakeOut(r.elementOf("A00004L9").Address); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.m.ImportVolumes(t.Context(), []tape.Barcode{"C00001L9"}); err == nil {
			t.Error("a volume that is not there was imported")
		}
		if came, _, err = r.m.ImportVolumes(t.Context(), []tape.Barcode{b}); err != nil || len(came) != 1 || came[0].Barcode != b {
			t.Fatalf("import: %+v, %v", came, err)
		}
		for _, f := range files {
			r.check(f)
		}
		r.stop()
	}
}

// TestExportWaits: what waited for the volume before is served.
func TestExportWaits(t *testing.T) {
	r := newRig(t, setup{slots: 3, mail: 1, cfg: quietly})
	files, b := r.archived(1, 4*mib)
	begun, release, used := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		used <- r.m.UseVolume(context.Background(), b, UseOptions{}, func(context.Context, *Session) error {
			close(begun)
			<-release
			return nil
		})
	}()
	<-begun
	read := make(chan error)
	go func() {
		_, err := r.read(keyOf(files[0], 2), mib)
		read <- err
	}()
	r.eventually("the recall is queued", func(s Status) bool { return len(s.Recalls) == 1 })
	exported := make(chan error)
	go func() {
		_, err := r.m.ExportVolume(context.Background(), b)
		exported <- err
	}()
	r.eventually("the export waits", func(Status) bool {
		r.m.mu.Lock()
		defer r.m.mu.Unlock()
		return r.m.useN == 1
	})
	close(release)
	for _, c := range []chan error{used, read, exported} {
		if err := <-c; err != nil {
			t.Error(err)
		}
	}
	if k := r.elementOf(b).Kind; k != tape.ImportExport {
		t.Errorf("the volume is in an element of kind %d", k)
	}
}

// TestMoveFails has moves fail as they do when somebody else moves cartridges meanwhile: the
// mover looks again and goes on.
func TestMoveFails(t *testing.T) {
	for name, s := range map[string]scsi.Sense{
		"full":     {Key: scsi.IllegalKey, Code: scsi.CodeDestinationFull},
		"empty":    {Key: scsi.IllegalKey, Code: scsi.CodeSourceEmpty},
		"removal":  {Key: scsi.IllegalKey, Code: scsi.CodeRemovalPrevented},
		"mail":     {Key: scsi.AttentionKey, Code: scsi.CodeImportExport},
		"changed":  {Key: scsi.AttentionKey, Code: scsi.CodeMediumChanged},
		"reset":    {Key: scsi.AttentionKey, Code: scsi.CodeReset},
		"was told": {Key: scsi.RecoveredError, Code: scsi.CodeMediumChanged},
	} {
		for nth := 1; nth <= 3; nth++ {
			r := newRig(t, setup{slots: 3, mail: 1, cfg: quietly})
			r.lib.SetFault(virtual.Fault{Device: virtual.Changer, Opcode: opMove, Nth: nth, Sense: s})
			files, b := r.archived(1, mib)
			r.goHome()
			r.check(files[0])
			if _, err := r.m.ExportVolume(t.Context(), b); err != nil {
				t.Errorf("%s/%d: export: %v", name, nth, err)
			}
			if st := r.m.Status(); st.Drives[0].Err != nil || r.status(b).State != "append" {
				t.Errorf("%s/%d: %+v", name, nth, st)
			}
			r.stop()
		}
	}
}

// TestOddElements: cartridges without a readable barcode, twice the same barcode, a drive that is
// out, a slot that the arm does not reach.
func TestOddElements(t *testing.T) {
	r := newRig(t, setup{drives: 2, slots: 5, cfg: quietly})
	at := func(b tape.Barcode) uint16 { return r.elementOf(b).Address }
	odd := func(a uint16, x *virtual.Exception) {
		t.Helper()
		if err := r.lib.SetException(a, x); err != nil {
			t.Fatal(err)
		}
	}
	a1, a2, a3, a4 := at("A00001L9"), at("A00002L9"), at("A00003L9"), at("A00004L9")
	odd(a1, &virtual.Exception{Code: 0x8301, NoTag: true})
	odd(a3, &virtual.Exception{Code: 0x8300, Tag: "A00002L9"})
	odd(a4, &virtual.Exception{Code: 0x3B11, OutOfReach: true})
	drive := r.free(tape.DriveElement)
	odd(drive, &virtual.Exception{Code: 0x8304, OutOfReach: true})
	if err := r.m.Rescan(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := r.m.Status()
	if v := s.Volumes[0]; v.Barcode != "" || v.Where != "slot 1" || v.State != "no barcode" || v.Room {
		t.Errorf("nameless: %+v", v)
	}
	for b, want := range map[tape.Barcode]string{"A00001L9": "away", "A00002L9": "slot 2 and slot 3", "A00003L9": "away", "A00004L9": "slot 4", "A00005L9": "slot 5"} {
		if v := r.status(b); v.Where != want || v.Room != (b == "A00005L9") || v.Where != "away" && (v.Reason == "") != v.Room {
			t.Errorf("%+v, want it in %s", v, want)
		}
	}
	if d := s.Drives[0]; d.State != "blocked" || d.Err == nil || !strings.Contains(d.Err.Error(), "the drive is not there") {
		t.Errorf("drive %+v", d)
	}
	files, b := r.archived(1, mib)
	if b != "A00005L9" {
		t.Errorf("archived on %s", b)
	}
	for _, a := range []uint16{a1, a2, a3, a4, drive} {
		odd(a, nil)
	}
	if err := r.m.Rescan(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, v := range r.m.Status().Volumes {
		if !v.Room || v.Reason != "" {
			t.Errorf("%+v", v)
		}
	}
	if d := r.m.Status().Drives[0]; d.State == "blocked" {
		t.Errorf("drive %+v", d)
	}
	r.check(files[0])
}

// TestPeriodicLook: a cartridge that was put in by hand is found without a command.
func TestPeriodicLook(t *testing.T) {
	r := newRig(t, setup{slots: 2, mail: 1, cfg: Config{Look: 1, LookAgain: -1}})
	if err := r.lib.TakeOut(r.elementOf("A00002L9").Address); err != nil {
		t.Fatal(err)
	}
	r.eventually("the cartridge is gone", func(s Status) bool { return s.Volumes[1].Where == "away" && !s.Volumes[1].Room })
	if err := r.lib.Insert("B00001L9", r.free(tape.Slot)); err != nil {
		t.Fatal(err)
	}
	r.eventually("the new one is seen", func(s Status) bool {
		return len(s.Volumes) == 3 && s.Volumes[2].Barcode == "B00001L9" && s.Volumes[2].Room
	})
}

func TestResetDrive(t *testing.T) {
	r := newRig(t, setup{slots: 3, cfg: quietly})
	files, _ := r.archived(2, mib)
	remove := r.lib.SetFault(virtual.Fault{Device: 0, Opcode: opRead, Times: -1, Lost: true})
	if _, err := r.read(keyOf(files[0], 0), mib); err == nil {
		t.Fatal("a drive that is gone reads")
	}
	remove()
	r.eventually("the drive is out of service", func(s Status) bool { return s.Drives[0].State == "failed" })
	if _, err := r.read(keyOf(files[0], 0), mib); err == nil || !strings.Contains(err.Error(), "no drive is in service") {
		t.Errorf("read: %v", err)
	}
	if err := r.m.ResetDrive("NO SUCH"); err == nil {
		t.Error("a drive that is not there was reset")
	}
	if err := r.m.ResetDrive(r.lib.Tape().Drives[0].Serial()); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		r.check(f)
	}
}
