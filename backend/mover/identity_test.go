package mover

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// swap has two cartridges change their barcodes. The library is closed.
func (r *rig) swap(a, b tape.Barcode) {
	r.t.Helper()
	dir := func(b tape.Barcode) string {
		list, err := filepath.Glob(filepath.Join(r.dir, "library", "*", string(b)))
		if err != nil || len(list) != 1 {
			r.t.Fatalf("the folder of cartridge %s: %v, %v", b, list, err)
		}
		return list[0]
	}
	da, db := dir(a), dir(b)
	for _, m := range [][2]string{{da, da + ".x"}, {db, da}, {da + ".x", db}} {
		if err := os.Rename(m[0], m[1]); err != nil {
			r.t.Fatal(err)
		}
	}
}

// become makes the catalog that of another archive.
func (r *rig) become(id string) {
	r.t.Helper()
	if err := r.cat.Update(func(tx *catalog.Tx) error { return tx.SetArchive(id) }); err != nil {
		r.t.Fatal(err)
	}
}

func TestIdentityOnTape(t *testing.T) {
	r := newRig(t, setup{slots: 4, cfg: quietly})
	if err := r.m.FormatVolume(t.Context(), "A00002L9", false); err != nil {
		t.Fatal(err)
	}
	_, b := r.archived(2, mib)
	var id string
	if err := r.cat.View(func(tx *catalog.Tx) (err error) { id, err = tx.Archive(); return err }); err != nil {
		t.Fatal(err)
	}
	r.stop()
	for _, v := range []tape.Barcode{"A00002L9", b} {
		r.onTape(v, func(lv *ltfs.Volume) {
			if got := lv.Index().Archive(); got != id {
				t.Errorf("volume %s is of archive %q, want %q", v, got, id)
			}
			list, err := lv.Index().ArchiveVolumes()
			if err != nil || v == b && !slices.Contains(list, ltfs.ArchiveVolume{Barcode: string(b), UUID: lv.UUID()}) {
				t.Errorf("volume %s names the volumes %v, %v", v, list, err)
			}
		})
	}
}

// TestTakenByAnotherArchive: a volume that another archive has made its own since is read, and
// not written.
func TestTakenByAnotherArchive(t *testing.T) {
	r := newRig(t, setup{slots: 4, cfg: quietly})
	files, b := r.archived(2, mib+1)
	r.goHome()
	r.become("another")
	more, c := r.archived(1, mib)
	if c == b {
		t.Errorf("archived on %s, which is of another archive", b)
	}
	if s := r.status(b); s.State != "suspect" || !strings.Contains(s.Reason, "another archive") {
		t.Errorf("volume %+v", s)
	}
	for _, f := range append(files, more...) {
		r.check(f)
	}
	// An empty volume of another archive is that archive's all the same.
	if err := r.m.FormatVolume(t.Context(), "A00003L9", false); err != nil {
		t.Fatal(err)
	}
	r.become("a third")
	if err := r.m.FormatVolume(t.Context(), "A00003L9", false); err == nil || !strings.Contains(err.Error(), "of another archive") {
		t.Errorf("format of an empty volume of another archive: %v", err)
	}
	r.goHome()
	err := r.cat.Update(func(tx *catalog.Tx) error { // a catalog that does not know it
		v, err := tx.VolumeByBarcode("A00003L9")
		if err != nil {
			return err
		}
		return tx.PutVolume(&catalog.Volume{No: v.No, Barcode: v.Barcode})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"A00001L9", "A00002L9"} {
		r.m.setState(r.volumeOf(v), catalog.VolFull, "of the test")
	}
	if _, got := r.archived(1, mib); got == "A00003L9" {
		t.Error("an empty volume of another archive was taken")
	}
}

func (r *rig) volumeOf(b string) *volume {
	r.t.Helper()
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	v, err := r.m.knownLocked(tape.Barcode(b))
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

// TestOlderCatalog: the catalog was brought back from a copy that is older than the tapes. What it
// does not know must not be lost from the indexes: its files have FileIDs that are given again.
func TestOlderCatalog(t *testing.T) {
	r := newRig(t, setup{slots: 4, cfg: quietly})
	_, b := r.archived(2, mib+1)
	r.stop()
	dir, kept := filepath.Join(r.dir, "catalog"), filepath.Join(r.dir, "kept")
	if err := os.CopyFS(kept, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	r.start()
	if _, c := r.archived(2, mib+1); c != b {
		t.Fatalf("archived on %s", c)
	}
	r.stop()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(kept, dir); err != nil {
		t.Fatal(err)
	}
	r.start()
	if _, c := r.archived(1, mib); c == b {
		t.Errorf("archived on %s, which is newer than the catalog", c)
	}
	if s := r.status(b); s.State != "suspect" || !strings.Contains(s.Reason, "older than the volume") {
		t.Errorf("volume %+v", s)
	}
	r.stop()
	r.onTape(b, func(lv *ltfs.Volume) {
		if n := lv.Index().Files(); n != 4 {
			t.Errorf("the index has %d files, want 4", n)
		}
	})
}

// TestFormatOfAMixedUpCartridge: the cartridge with the barcode of an empty volume is another one, with
// data.
func TestFormatOfAMixedUpCartridge(t *testing.T) {
	r := newRig(t, setup{slots: 4, cfg: quietly})
	files, b := r.archived(2, mib+1)
	r.stop()
	r.swap(b, "A00003L9")
	r.start()
	err := r.m.FormatVolume(t.Context(), "A00003L9", true)
	if err == nil || !strings.Contains(err.Error(), "is volume "+string(b)) {
		t.Errorf("format of a cartridge with the data of %s: %v", b, err)
	}
	r.stop()
	r.swap(b, "A00003L9")
	r.start()
	for _, f := range files {
		r.check(f)
	}
}

// TestBlankInPlaceOfAVolume: the cartridge with the barcode of a volume with data is blank.
func TestBlankInPlaceOfAVolume(t *testing.T) {
	r := newRig(t, setup{slots: 4, cfg: quietly})
	files, b := r.archived(2, mib+1)
	r.stop()
	r.swap(b, "A00003L9")
	r.start()
	if _, c := r.archived(1, mib); c == b {
		t.Errorf("archived on %s, which is blank", b)
	}
	if s := r.status(b); s.State != "suspect" || !strings.Contains(s.Reason, "the cartridge is blank, and the catalog has data on the volume: another cartridge has this barcode") {
		t.Errorf("volume %+v", s)
	}
	r.stop()
	r.swap(b, "A00003L9")
	r.start()
	for _, f := range files {
		r.check(f)
	}
}

// TestFormatKeepsWhatOnlyTheIndexTells: attributes of files without data, and the list of removed
// files, do not end with the volume that had them.
func TestFormatKeepsWhatOnlyTheIndexTells(t *testing.T) {
	r := newRig(t, setup{slots: 4, cfg: quietly})
	files := r.fill(2, mib)
	r.archive(files...)
	b, _ := r.placeOfSliver(keyOf(files[0], 0))
	r.mu.Lock()
	for _, f := range files {
		delete(r.names, f)
	}
	r.mu.Unlock()
	empty := r.create("empty", 0)
	r.archive(append(files, empty)...)
	for _, f := range files {
		if err := r.cat.Update(func(tx *catalog.Tx) error { return tx.DeleteBmaps(f, 0) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.m.FormatVolume(t.Context(), b, false); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("format without force: %v", err)
	}
	if err := r.m.FormatVolume(t.Context(), b, true); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	again := slices.Contains(r.unarchived, empty)
	r.mu.Unlock()
	if !again {
		t.Error("the attributes of the file whose only entry was in the index are not archived again")
	}
	r.stop()
	r.onTape(b, func(lv *ltfs.Volume) {
		runs, err := lv.Index().Removed()
		for _, f := range files {
			if err != nil || !slices.ContainsFunc(runs, func(x ltfs.FileIDRun) bool { return f-sliver.FileID(x.First) < sliver.FileID(x.Count) }) {
				t.Errorf("file %d is not noted as removed any longer: %v, %v", f, runs, err)
			}
		}
	})
}

// TestFormatInPlaceOfAVolume: the cartridge with the barcode of a volume is another one, which somebody has
// formatted. What only the index of the lost one told is archived again.
func TestFormatInPlaceOfAVolume(t *testing.T) {
	r := newRig(t, setup{slots: 4, cfg: quietly})
	files, b := r.archived(1, mib)
	for _, f := range files {
		if err := r.cat.Update(func(tx *catalog.Tx) error {
			if err := tx.DeleteBmaps(f, 0); err != nil {
				return err
			}
			return tx.PutInode(&catalog.Inode{ID: f, Flags: catalog.FlagOnTape})
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.m.FormatVolume(t.Context(), "A00003L9", false); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.swap(b, "A00003L9")
	r.start()
	if err := r.m.FormatVolume(t.Context(), b, true); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.unarchived, files[0]) {
		t.Error("what the index of the volume told is not archived again")
	}
}

// TestStaleInventory: what an inventory has read of a volume's record is older than what was
// recorded while it ran.
func TestStaleInventory(t *testing.T) {
	r := newRig(t, setup{slots: 4, cfg: quietly})
	v := r.volumeOf("A00003L9")
	elements := r.elements()
	r.m.mu.Lock()
	before, recorded := r.m.moves, r.m.recorded
	r.m.mu.Unlock()
	known, err := r.m.recordNew(elements)
	if err != nil {
		t.Fatal(err)
	}
	r.m.setState(v, catalog.VolSuspect, "of the test")
	r.m.mu.Lock()
	r.m.placeLocked(elements, known, before, recorded, nil)
	r.m.mu.Unlock()
	if s := r.status("A00003L9"); s.State != "suspect" {
		t.Errorf("the volume is %s again", s.State)
	}
}

// TestProtectedFullVolume: a full volume whose index lacks data, and whose tab was set since, is
// read, and neither blamed nor, when the tab is moved back, written as if it had room.
func TestProtectedFullVolume(t *testing.T) {
	r := newRig(t, setup{slots: 4, cfg: quietly})
	files, b := r.archived(2, mib+1)
	r.m.setState(r.volumeOf(string(b)), catalog.VolFull, "of the test")
	if err := r.cat.Sync(); err != nil {
		t.Fatal(err)
	}
	r.crash()
	r.start()
	r.use(b, UseOptions{Raw: true}, func(context.Context, *Session) error { return nil }) // it goes home, and is not mounted
	if err := r.lib.SetWriteProtect(b, true); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		r.check(f)
	}
	if s := r.status(b); s.State != "full" {
		t.Errorf("volume %+v", s)
	}
	r.goHome()
	if err := r.lib.SetWriteProtect(b, false); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		r.check(f)
	}
	if s := r.status(b); s.State != "full" {
		t.Errorf("volume %+v", s)
	}
}

// TestUnprotectKeepsBlame: that a tab was moved does not clear a volume of what else is known of it.
func TestUnprotectKeepsBlame(t *testing.T) {
	r := newRig(t, setup{slots: 4, cfg: quietly})
	_, b := r.archived(1, mib)
	r.goHome()
	v := r.volumeOf(string(b))
	r.m.protect(v, "of the test")
	r.m.setState(v, catalog.VolSuspect, "of the test")
	r.m.unprotect(v)
	if s := r.status(b); s.State != "suspect" {
		t.Errorf("the volume is %s", s.State)
	}
	r.m.protect(v, "of the test")
	r.m.unprotect(v)
	if s := r.status(b); s.State != "suspect" {
		t.Errorf("the volume is %s", s.State)
	}
}

// TestScratchInAnOlderCatalog: the catalog was brought back from a copy that was made while a volume was
// being formatted. It is full of data by now, also if its index is damaged.
func TestScratchInAnOlderCatalog(t *testing.T) {
	for _, damaged := range []bool{false, true} {
		r := newRig(t, setup{slots: 4, cfg: quietly})
		files, b := r.archived(3, mib+1)
		r.goHome()
		if damaged {
			r.use(b, UseOptions{Raw: true, Write: true}, func(ctx context.Context, s *Session) error {
				if err := s.Drive.Locate(ctx, tape.Position{Partition: 0, Block: 4}); err != nil {
					return err
				}
				if err := s.Drive.WriteFilemarks(ctx, 1); err != nil {
					return err
				}
				if err := s.Drive.LocateEnd(ctx, 1); err != nil {
					return err
				}
				end, err := s.Drive.Position(ctx)
				if err != nil {
					return err
				}
				if err := s.Drive.Locate(ctx, tape.Position{Partition: 1, Block: 4}); err != nil {
					return err
				}
				for at := tape.BlockNo(4); at < end.Block; at++ { // no index is left
					if err := s.Drive.WriteBlock(ctx, []byte("what is left")); err != nil {
						return err
					}
				}
				return s.Drive.WriteFilemarks(ctx, 1)
			})
		}
		if err := r.m.updateVolume(r.volumeOf(string(b)), func(rec *catalog.Volume) {
			rec.State, rec.Generation, rec.EndOfData = catalog.VolScratch, 0, catalog.VolPos{}
		}); err != nil {
			t.Fatal(err)
		}
		if _, c := r.archived(1, mib); c == b {
			t.Errorf("damaged %t: the volume was formatted", damaged)
		}
		if !damaged {
			for _, f := range files {
				r.check(f)
			}
		}
		r.stop()
	}
}
