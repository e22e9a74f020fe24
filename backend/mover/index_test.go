package mover

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
	"sliod/tape/virtual"
)

// onTape mounts a volume of a stopped rig with package ltfs alone.
func (r *rig) onTape(v tape.Barcode, fn func(*ltfs.Volume)) {
	r.t.Helper()
	lib, err := virtual.Open(virtual.Config{Dir: r.dir + "/library", Drives: r.s.drives, Slots: r.s.slots, Capacity: r.s.capacity})
	if err != nil {
		r.t.Fatal(err)
	}
	defer lib.Close()
	es, err := lib.Tape().Changer.Inventory(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	var drive uint16
	for _, e := range es {
		if e.Kind == tape.DriveElement && e.Drive == lib.Tape().Drives[0].Serial() {
			drive = e.Address
		}
	}
	for _, e := range es {
		if e.Volume != v {
			continue
		}
		if e.Kind != tape.Slot {
			r.t.Fatalf("volume %s is not home", v)
		}
		if err := lib.Tape().Changer.Move(r.t.Context(), e.Address, drive); err != nil {
			r.t.Fatal(err)
		}
		d := lib.Tape().Drives[0]
		if err := d.Load(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
		lv, err := ltfs.Mount(r.t.Context(), d, ltfs.MountOptions{})
		if err != nil {
			r.t.Fatal(err)
		}
		fn(lv)
		if err := d.Unload(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
		if err := lib.Tape().Changer.Move(r.t.Context(), drive, e.Address); err != nil {
			r.t.Fatal(err)
		}
	}
}

// compare reads a file through the index alone.
func (r *rig) compare(lv *ltfs.Volume, path string, f sliver.FileID) {
	r.t.Helper()
	e, err := lv.Index().Lookup(path)
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := ltfs.DecodeMeta(e)
	if err != nil {
		r.t.Fatal(err)
	}
	file := e.(*ltfs.File)
	if m.FileID != uint64(f) || file.Length != uint64(len(r.want[f])) {
		r.t.Fatalf("%s is file %d of %d bytes, want %d of %d", path, m.FileID, file.Length, f, len(r.want[f]))
	}
	got := make([]byte, file.Length)
	for _, x := range file.Extents {
		if err := lv.ReadExtent(r.t.Context(), x, got[x.FileOffset:][:x.ByteCount]); err != nil {
			r.t.Fatal(err)
		}
	}
	if !bytes.Equal(got, r.want[f]) {
		r.t.Errorf("%s: the content read through the index differs", path)
	}
	if n := int(sliver.Count(file.Length)); len(m.Slivers) != n {
		r.t.Errorf("%s: the metadata list %d slivers of %d", path, len(m.Slivers), n)
	}
}

func (r *rig) onlyVolume() tape.Barcode {
	r.t.Helper()
	var found tape.Barcode
	for _, v := range r.m.Status().Volumes {
		if v.UUID != "" {
			if found != "" {
				r.t.Fatalf("more than one volume was written: %s, %s", found, v.Barcode)
			}
			found = v.Barcode
		}
	}
	return found
}

// TestIndexOfAFileThatGrows: what is written between the plan of a file and its data goes to
// tape with them, and the index of that volume lists all of it: the next entry of the file may
// be in the index of another one.
func TestIndexOfAFileThatGrows(t *testing.T) {
	r := newRig(t, setup{})
	f := r.fill(1, 1000)[0]
	more := bytes.Repeat([]byte("later"), mib/5)
	r.tree.mu.Lock()
	r.planned = func(sliver.FileID) {
		if err := r.write(f, 1000, more[:mib-1000]); err != nil {
			t.Error(err)
		}
	}
	r.tree.mu.Unlock()
	r.archive(f)
	if n := r.rec(keyOf(f, 0)).Len; n != mib {
		t.Fatalf("%d bytes of the sliver are on tape, want all that it had when it was read: the test tests nothing", n)
	}
	v := r.onlyVolume()
	r.stop()
	r.onTape(v, func(lv *ltfs.Volume) { r.compare(lv, r.names[f][0], f) })
}

func TestIndexOnTape(t *testing.T) {
	r := newRig(t, setup{})
	files := r.fill(20, mib+77)
	big := r.create("big", 0)
	if err := r.write(big, 0, bytes.Repeat([]byte("sliver by sliver"), 10*mib/16)); err != nil {
		t.Fatal(err)
	}
	dir := r.create("empty dir", 0o040755)
	dev := r.create("null", 0o020666)
	r.archive(append(slices.Clone(files), big, dir, dev)...)
	if p, _ := r.Plan(dir); p.Inode.Flags&catalog.FlagMetaDirty != 0 {
		t.Error("the directory's attributes are not on tape")
	}
	v := r.onlyVolume()
	r.stop()
	r.onTape(v, func(lv *ltfs.Volume) {
		if lv.Repair() != nil {
			t.Errorf("after a clean stop: %s", lv.Repair())
		}
		for i, f := range files {
			r.compare(lv, fmt.Sprintf("dir%d/file%d", i%7, i), f)
		}
		r.compare(lv, "big", big)
		e, _ := lv.Index().Lookup("big")
		if n := len(e.(*ltfs.File).Extents); n != 1 {
			t.Errorf("a file archived in one go has %d extents", n)
		}
		for _, name := range []string{"empty dir", "null"} {
			if _, err := lv.Index().Lookup(name); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestRename renames a file and a directory, removes another file, and looks at
// the index.
func TestRename(t *testing.T) {
	r := newRig(t, setup{})
	files := r.fill(8, 500)
	d3 := r.create("dir3", 0o040755)
	r.archive(append(slices.Clone(files), d3)...)
	rename := func(f sliver.FileID, names ...string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.names[f] = names; len(names) == 0 {
			delete(r.names, f)
		}
		err := r.cat.Update(func(tx *catalog.Tx) error {
			ino, err := tx.Inode(f)
			if err != nil {
				return err
			}
			ino.DataVersion++
			ino.Flags |= catalog.FlagMetaDirty
			return tx.PutInode(&ino)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	rename(files[0], "elsewhere/renamed", "elsewhere/link")
	rename(d3, "moved/dir3")
	rename(files[3], "moved/dir3/file3") // as it lies in dir3; it is not archived again
	rename(files[1])
	r.archive(files[0], d3, files[1])
	v := r.onlyVolume()
	r.stop()
	r.onTape(v, func(lv *ltfs.Volume) {
		r.compare(lv, "elsewhere/renamed", files[0])
		r.compare(lv, "moved/dir3/file3", files[3])
		// The directories of this test are no files of the archive: they go with what is in them.
		for _, gone := range []string{"dir0/file0", "dir3", "dir1"} {
			if _, err := lv.Index().Lookup(gone); err == nil {
				t.Errorf("%s is still in the index", gone)
			}
		}
		e, _ := lv.Index().Lookup("elsewhere/renamed")
		if m, err := ltfs.DecodeMeta(e); err != nil || !slices.Equal(m.Links, []string{"elsewhere/link"}) {
			t.Errorf("links %v, %v", m.Links, err)
		}
		runs, err := lv.Index().Removed()
		if err != nil || len(runs) != 1 || runs[0].First != uint64(files[1]) {
			t.Errorf("removed files %v, %v", runs, err)
		}
	})
}

// TestCrashBeforeIndex stops without an index: the catalog has what is on tape,
// and the next mount puts it in the index.
func TestCrashBeforeIndex(t *testing.T) {
	r := newRig(t, setup{})
	before := r.fill(3, 1000)
	r.archive(before...)
	r.stop() // an index with these
	r.start()
	after := r.fill(5, mib+5)
	r.archive(after...)
	r.crash()
	r.start()
	for _, f := range append(before, after...) {
		r.check(f)
	}
	v := r.onlyVolume()
	r.stop()
	r.onTape(v, func(lv *ltfs.Volume) {
		if lv.Repair() != nil {
			t.Error(lv.Repair())
		}
		for i, f := range after {
			r.compare(lv, fmt.Sprintf("fill2/dir%d/file%d", i%7, i), f)
		}
	})
}

// TestIndexBytes writes the index while the volume stays mounted.
func TestIndexBytes(t *testing.T) {
	r := newRig(t, setup{cfg: Config{IndexBytes: 4 * mib, BatchBytes: 2 * mib, IndexInterval: time.Hour}})
	f := r.create("f", 0)
	if err := r.write(f, 0, make([]byte, 10*mib)); err != nil {
		t.Fatal(err)
	}
	r.archive(f)
	r.eventually("two indexes behind the first", func(Status) bool {
		r.m.mu.Lock()
		defer r.m.mu.Unlock()
		for _, v := range r.m.volumes {
			if v.rec().Generation >= 3 {
				return true
			}
		}
		return false
	})
}
