package mover

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sliod/backend/catalog"
	"sliod/tape"
	"sliod/tape/ltfs"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// putOn writes a record of no archive on a cartridge.
func (r *rig) putOn(b tape.Barcode, text string) {
	r.t.Helper()
	r.use(b, UseOptions{Raw: true, Write: true}, func(ctx context.Context, s *Session) error {
		if err := s.Drive.Rewind(ctx); err != nil {
			return err
		}
		if err := s.Drive.WriteBlock(ctx, []byte(text)); err != nil {
			return err
		}
		return s.Drive.WriteFilemarks(ctx, 1)
	})
}

func TestFormat(t *testing.T) {
	r := newRig(t, setup{slots: 4, mail: 1, cfg: quietly})
	refused := func(b tape.Barcode, force bool, why string) {
		t.Helper()
		if err := r.m.FormatVolume(t.Context(), b, force); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("format of %s: %v, want %q", b, err, why)
		}
	}
	format := func(b tape.Barcode, force bool) string {
		t.Helper()
		if err := r.m.FormatVolume(t.Context(), b, force); err != nil {
			t.Fatalf("format of %s: %v", b, err)
		}
		s := r.status(b)
		if s.State != "append" || s.UUID == "" || s.Used != 0 {
			t.Errorf("volume %+v", s)
		}
		return s.UUID
	}
	first := format("A00001L9", false) // blank
	if again := format("A00001L9", false); again == first {
		t.Error("an empty volume was not formatted anew")
	}
	r.putOn("A00002L9", "somebody's backup")
	refused("A00002L9", false, "use --force")
	format("A00002L9", true)
	refused("NO SUCH", true, "there is no volume")

	files, b := r.archived(2, mib+1)
	for _, force := range []bool{false, true} {
		refused(b, force, "holds data of 2 files of this archive")
	}
	for _, f := range files {
		r.check(f)
	}
	r.goHome()
	if err := r.lib.SetWriteProtect("A00003L9", true); err != nil {
		t.Fatal(err)
	}
	refused("A00003L9", true, "write-protected")
	if err := r.lib.SetWORM("A00004L9", true); err != nil {
		t.Fatal(err)
	}
	refused("A00004L9", true, "WORM")
}

func TestLabel(t *testing.T) {
	r := newRig(t, setup{slots: 4, cfg: quietly})
	files, b := r.archived(2, mib+1)
	name := "projects 2026, ü"
	if got, err := r.m.LabelVolume(t.Context(), b, &name); err != nil || got != name {
		t.Fatalf("label: %q, %v", got, err)
	}
	if got, err := r.m.LabelVolume(t.Context(), b, nil); err != nil || got != name {
		t.Errorf("label: %q, %v", got, err)
	}
	r.use(b, UseOptions{}, func(ctx context.Context, s *Session) error {
		v, err := s.Drive.ReadAttribute(ctx, 0, 0x0803)
		if err != nil || len(v) != 160 || string(bytes.TrimRight(v, "\x00")) != name {
			t.Errorf("attribute 0803 %q, %v", v, err)
		}
		return nil
	})
	if _, err := r.m.LabelVolume(t.Context(), "A00003L9", &name); err == nil || !strings.Contains(err.Error(), "`sliod format` makes it one") {
		t.Errorf("a name for a blank cartridge: %v", err)
	}
	long := strings.Repeat("x", 161)
	if _, err := r.m.LabelVolume(t.Context(), b, &long); err == nil {
		t.Error("a name of 161 bytes was taken")
	}
	more := r.fill(1, mib)
	r.archive(more...)
	r.evict(more...)
	for _, f := range append(files, more...) {
		r.check(f)
	}
	r.stop()
	r.onTape(b, func(lv *ltfs.Volume) {
		if lv.Name() != name || lv.Repair() != nil || lv.Index().Files() != 3 {
			t.Errorf("name %q, %v, %d files", lv.Name(), lv.Repair(), lv.Index().Files())
		}
	})
}

// TestWriteProtected: a volume whose tab was moved is read, not written, and written again when
// the tab was moved back.
func TestWriteProtected(t *testing.T) {
	r := newRig(t, setup{slots: 4, cfg: quietly})
	files, b := r.archived(2, mib+1)
	r.goHome()
	protect := func(v tape.Barcode, on bool) {
		t.Helper()
		if err := r.lib.SetWriteProtect(v, on); err != nil {
			t.Fatal(err)
		}
	}
	protect(b, true)
	protect("A00002L9", true) // a blank one, which would be next
	r.check(files[0])
	if s := r.status(b); s.State != "read-only" || !strings.Contains(s.Reason, "write-protected") || s.Room {
		t.Errorf("volume %+v", s)
	}
	more, c := r.archived(1, mib)
	if c == b || c == "A00002L9" {
		t.Errorf("archived on %s", c)
	}
	if s := r.status("A00002L9"); s.State != "read-only" {
		t.Errorf("volume %+v", s)
	}
	r.goHome()
	protect(b, false)
	r.check(files[1])
	if s := r.status(b); s.State != "append" || s.Reason != "" || !s.Room {
		t.Errorf("volume %+v", s)
	}
	// The blank one comes back when it was out.
	slot := r.elementOf("A00002L9").Address
	protect("A00002L9", false)
	if err := r.lib.TakeOut(slot); err != nil {
		t.Fatal(err)
	}
	if err := r.m.Rescan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.lib.Insert("A00002L9", slot); err != nil {
		t.Fatal(err)
	}
	if err := r.m.Rescan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := r.status("A00002L9"); s.State != "scratch" || !s.Room {
		t.Errorf("volume %+v", s)
	}
	r.check(more[0])
}

func TestWORM(t *testing.T) {
	r := newRig(t, setup{slots: 2, cfg: quietly})
	if err := r.lib.SetWORM("A00001L9", true); err != nil {
		t.Fatal(err)
	}
	if _, b := r.archived(1, mib); b != "A00002L9" {
		t.Errorf("archived on %s", b)
	}
	if s := r.status("A00001L9"); s.State != "read-only" || !strings.Contains(s.Reason, "WORM") {
		t.Errorf("volume %+v", s)
	}
}

// TestForeignInPlaceOfOurs: a cartridge whose format was cut off is known as ours. One
// that was put in its place, a damaged LTFS volume or somebody's labelled tape with the same
// barcode, must not be formatted for it.
func TestForeignInPlaceOfOurs(t *testing.T) {
	ctx := t.Context()
	vol1 := func(serial string) []byte {
		return []byte("VOL1" + serial + "L             LTFS" + strings.Repeat(" ", 51) + "4")
	}
	for name, tc := range map[string]struct {
		put  func(d tape.Drive, uuid string) error
		ours bool
	}{
		"cut off behind VOL1": {func(d tape.Drive, _ string) error { return d.WriteBlock(ctx, vol1("A00001")) }, true},
		"without an index": {func(d tape.Drive, uuid string) error {
			if err := ltfs.Format(ctx, d, ltfs.FormatOptions{Barcode: "A00001L9", UUID: uuid}); err != nil {
				return err
			}
			return noIndex(ctx, d)
		}, true},
		"somebody's without an index": {func(d tape.Drive, _ string) error {
			if err := ltfs.Format(ctx, d, ltfs.FormatOptions{Barcode: "A00001L9"}); err != nil {
				return err
			}
			return noIndex(ctx, d)
		}, false},
		"labelled tape": {func(d tape.Drive, _ string) error {
			if err := d.WriteBlock(ctx, vol1("A00001")); err != nil {
				return err
			}
			return d.WriteBlock(ctx, []byte("HDR1 somebody's data"))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setup{slots: 1, cfg: quietly})
			uuid := newUUID()
			v, err := r.m.knownLocked("A00001L9")
			if err != nil {
				t.Fatal(err)
			}
			r.use("A00001L9", UseOptions{Raw: true, Write: true}, func(context.Context, *Session) error {
				if err := s0(r, v, uuid); err != nil {
					return err
				}
				d := r.lib.Tape().Drives[0]
				if err := d.Rewind(ctx); err != nil {
					return err
				}
				return tc.put(d, uuid)
			})
			f := r.fill(1, mib)[0]
			err = r.archiveErr(f)
			if (err == nil) != tc.ours {
				t.Errorf("archive: %v; volume %+v", err, r.status("A00001L9"))
			}
			if !tc.ours && r.status("A00001L9").Room {
				t.Errorf("volume %+v", r.status("A00001L9"))
			}
		})
	}
}

// s0 makes the record of v that of a volume that is about to be formatted.
func s0(r *rig, v *volume, uuid string) error {
	return r.m.updateVolume(v, func(rec *catalog.Volume) { rec.UUID = uuid })
}

// noIndex cuts both partitions off behind the labels.
func noIndex(ctx context.Context, d tape.Drive) error {
	for p := range tape.Partition(2) {
		if err := d.Locate(ctx, tape.Position{Partition: p, Block: 4}); err != nil {
			return err
		}
		if err := d.WriteBlock(ctx, []byte("no index")); err != nil {
			return err
		}
		if err := d.WriteFilemarks(ctx, 0); err != nil {
			return err
		}
	}
	return nil
}

// TestOlderClone puts an earlier copy of the volume in its place: same UUID, consistent, an older
// index, or the same one, if the server stopped before it had written another. It is not written, and said.
func TestOlderClone(t *testing.T) {
	for name, stop := range map[string]func(*rig){"older index": (*rig).stop, "same index": (*rig).crash} {
		t.Run(name, func(t *testing.T) { olderClone(t, stop) })
	}
}

func olderClone(t *testing.T, stop func(*rig)) {
	cfg := quietly
	cfg.IndexIdle = time.Hour
	r := newRig(t, setup{slots: 2, cfg: cfg})
	old, b := r.archived(2, mib+1)
	r.stop()
	dir := filepath.Join(r.dir, "library", "volumes", string(b))
	clone := filepath.Join(r.dir, "clone")
	if err := os.CopyFS(clone, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	r.start()
	more := r.fill(2, mib+2)
	r.archive(more...)
	r.evict(more...)
	stop(r)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(clone)); err != nil {
		t.Fatal(err)
	}
	r.start()
	for _, f := range old {
		r.check(f)
	}
	if s := r.status(b); s.State != "suspect" || s.Room {
		t.Errorf("volume %+v", s)
	}
	if _, err := r.read(keyOf(more[0], 0), mib); err == nil {
		t.Error("data that the older copy does not have were read")
	}
	if last, c := r.archived(1, mib); c == b {
		t.Errorf("file %d was archived on the older copy", last[0])
	}
}

// TestCleaning: a drive that asks for it is cleaned, and the work goes on.
func TestCleaning(t *testing.T) {
	for name, alert := range map[string]tape.Alert{"now": tape.AlertCleanNow, "periodic": tape.AlertCleanPeriodic} {
		for _, write := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				r := newRig(t, setup{slots: 4, cleaners: 1, cfg: quietly})
				files, b := r.archived(3, mib+1)
				r.lib.SetDirty(0, alert)
				if write {
					more := r.fill(2, mib)
					r.archive(more...)
					r.evict(more...)
					files = append(files, more...)
				}
				for _, f := range files {
					r.check(f)
				}
				r.goHome()
				r.check(files[0])
				r.goHome()
				r.eventually("the drive was cleaned", func(s Status) bool { return s.Stats.Cleanings == 1 && s.Drives[0].Volume == "" })
				c := r.status("CLNU01L1")
				if c.State != "cleaning" || c.Where != "slot 4" || c.Room || c.Reason != "" {
					t.Errorf("cleaning cartridge %+v", c)
				}
				if d := r.m.Status().Drives[0]; d.Err != nil || r.status(b).State != "append" {
					t.Errorf("drive %+v, volume %+v", d, r.status(b))
				}
				if err := r.m.UseVolume(t.Context(), "CLNU01L1", UseOptions{Raw: true}, nil); err == nil {
					t.Error("a cleaning cartridge was lent")
				}
			})
		}
	}
}

// TestNoCleaner: without a cleaning cartridge it is said, and a drive that only asks goes on; when one
// comes in it is used. One that is used up is said, and not used again.
func TestNoCleaner(t *testing.T) {
	r := newRig(t, setup{slots: 4, mail: 1, cfg: quietly})
	if err := r.lib.TakeOut(r.elementOf("A00004L9").Address); err != nil {
		t.Fatal(err)
	}
	files, _ := r.archived(2, mib+1)
	r.lib.SetDirty(0, tape.AlertCleanPeriodic)
	r.goHome()
	r.check(files[0])
	if d := r.m.Status().Drives[0]; d.Err == nil || !strings.Contains(d.Err.Error(), "cleaning cartridge") {
		t.Errorf("drive %+v", d)
	}
	if err := r.lib.Insert("CLNU07L1", r.free(tape.ImportExport)); err != nil {
		t.Fatal(err)
	}
	if came, _, err := r.m.ImportVolumes(t.Context(), nil); err != nil || len(came) != 1 || came[0].State != "cleaning" {
		t.Fatalf("import: %+v, %v", came, err)
	}
	r.goHome()
	r.eventually("the drive was cleaned", func(s Status) bool { return s.Stats.Cleanings == 1 && s.Drives[0].Volume == "" })
	if d := r.m.Status().Drives[0]; d.Err != nil {
		t.Errorf("drive %+v", d)
	}
	for _, f := range files {
		r.check(f)
	}
}

// TestUsedUpCleaner: a cleaning cartridge that does not clean any longer is said, and left alone.
func TestUsedUpCleaner(t *testing.T) {
	r := newRig(t, setup{drives: 2, slots: 4, cfg: quietly})
	files, _ := r.archived(2, mib+1)
	slot := r.elementOf("A00004L9").Address
	if err := r.lib.TakeOut(slot); err != nil {
		t.Fatal(err)
	}
	drive := 0
	for i, d := range r.m.Status().Drives {
		if d.Volume != "" {
			drive = i
		}
	}
	r.lib.SetDirty(drive, tape.AlertCleanPeriodic)
	r.goHome()
	remove := r.lib.SetFault(virtual.Fault{Device: drive, Opcode: 0x00, Times: -1, Sense: scsi.Sense{Key: scsi.NotReadyKey, Code: 0x3007}})
	if err := r.lib.Insert("CLNU09L1", slot); err != nil {
		t.Fatal(err)
	}
	if err := r.m.Rescan(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.eventually("the cartridge was tried", func(s Status) bool {
		return slices.ContainsFunc(s.Volumes, func(v VolumeStatus) bool { return v.State == StateCleaning && v.Reason != "" && v.Where == "slot 4" })
	})
	remove()
	if s := r.m.Status(); s.Stats.Cleanings != 0 {
		t.Errorf("%+v", s)
	}
	for _, f := range files {
		r.check(f)
	}
}
