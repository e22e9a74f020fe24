package rebuild

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sliod/backend"
	"sliod/backend/catalog"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// archive returns the identity of the catalog.
func (r *rig) archive() (id string) {
	r.t.Helper()
	r.catalog(func(tx *catalog.Tx) (err error) { id, err = tx.Archive(); return err })
	return id
}

// TestTwoArchives: volumes of two archives in one library are not taken for one archive. Each
// can be rebuilt, and the volumes of the other are left alone.
func TestTwoArchives(t *testing.T) {
	r := newRig(t, t.TempDir())
	defer r.end()
	tree := func(seed uint64) []string {
		r.open()
		r.mkdir("/dir")
		for i, name := range []string{"a", "b", "c"} {
			r.write("/dir/"+name, 0, content(seed+uint64(i), mib+int(seed)))
		}
		r.settle()
		defer r.close()
		return r.snapshot()
	}
	first := tree(1)
	one := r.archive()
	kept := filepath.Join(t.TempDir(), "state")
	r.ok(os.Mkdir(kept, 0o700))
	for _, d := range []string{"catalog", "cache"} {
		r.ok(os.Rename(filepath.Join(r.dir, d), filepath.Join(kept, d)))
	}
	second := tree(100)
	two := r.archive()
	r.forget()

	_, err := Run(context.Background(), r.options())
	if err == nil || !strings.Contains(err.Error(), one) || !strings.Contains(err.Error(), two) || !strings.Contains(err.Error(), "--archive") {
		t.Fatalf("a rebuild from volumes of two archives: %v", err)
	}
	o := r.options()
	o.Archive = "no such archive"
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "no volume of archive") {
		t.Fatalf("a rebuild of an archive that is not there: %v", err)
	}
	for i, x := range []struct {
		id   string
		want []string
	}{{two, second}, {one, first}} {
		o.Archive = x.id
		rep, err := Run(context.Background(), o)
		r.ok(err)
		others := 0
		for _, v := range rep.Volumes {
			if v.State == VolumeOther {
				others++
			}
		}
		if rep.Resumed != (i == 0) || rep.Archive != x.id || others == 0 || len(rep.Missing) > 0 {
			t.Errorf("report %+v", rep)
		}
		if got := r.archive(); got != x.id {
			t.Errorf("the rebuilt archive is %s, want %s", got, x.id)
		}
		r.same(x.want, r.snapshot())
		r.forget()
	}
}

// TestVolumeComesLate: a rebuild goes without a volume, and names it. What is changed afterwards, and what only
// that volume has, are both there after a rebuild with all.
func TestVolumeComesLate(t *testing.T) {
	r := newRig(t, t.TempDir())
	defer r.end()
	r.open()
	for i := range 4 {
		r.write("/old"+string(rune('0'+i)), 0, content(uint64(i), mib+9))
	}
	r.settle()
	var late tape.Barcode
	r.catalog(func(tx *catalog.Tx) error {
		return tx.Volumes(func(v catalog.Volume) bool {
			if v.State == catalog.VolAppend {
				late = tape.Barcode(v.Barcode)
				// The next goes to another volume, as if this one were full.
			}
			return true
		})
	})
	r.full(late)
	r.open()
	r.write("/old1", mib, content(50, 9)) // its first sliver is on the late volume only
	r.write("/new", 0, content(60, mib))
	r.settle()
	// The newest of the late volume are made after all others.
	r.hidden = late
	r.forget()
	rep := r.rebuild()
	if !slices.Equal(rep.Missing, []tape.Barcode{late}) {
		t.Fatalf("missing volumes %v, want %s; report %+v", rep.Missing, late, rep)
	}
	r.open()
	r.write("/old1", 0, content(70, mib)) // what was lost is written anew
	for i := range 3 {
		r.write("/later"+string(rune('0'+i)), 0, content(uint64(80+i), mib+1)) // they may not have the FileIDs of the files that are missing
	}
	r.settle()
	r.forget()
	r.hidden = ""
	if rep := r.rebuild(); len(rep.Missing) > 0 || rep.LostFiles > 0 {
		t.Fatalf("report %+v", rep)
	}
	r.open()
	want := map[string][]byte{
		"/old0": content(0, mib+9), "/old2": content(2, mib+9), "/old3": content(3, mib+9), "/new": content(60, mib),
		"/old1":   append(content(70, mib), content(50, 9)...),
		"/later0": content(80, mib+1), "/later1": content(81, mib+1), "/later2": content(82, mib+1),
	}
	for path, p := range want {
		if got, err := r.read(path); err != nil || !slices.Equal(got, p) {
			t.Errorf("%s: %d bytes, %v", path, len(got), err)
		}
	}
	r.job(backend.JobRecall, "/")
}

// full has nothing more archived on a volume.
func (r *rig) full(b tape.Barcode) {
	r.t.Helper()
	r.close()
	cat, err := catalog.Open(filepath.Join(r.dir, "catalog"), catalog.Options{Log: r.log})
	r.ok(err)
	r.ok(cat.Update(func(tx *catalog.Tx) error {
		v, err := tx.VolumeByBarcode(string(b))
		if err != nil {
			return err
		}
		v.State = catalog.VolFull
		return tx.PutVolume(&v)
	}))
	r.ok(cat.Close())
}

// TestTwiceOneBarcode: of two cartridges with one barcode nobody knows which is the newer.
func TestTwiceOneBarcode(t *testing.T) {
	r := newRig(t, t.TempDir())
	defer r.end()
	r.open()
	r.write("/f", 0, content(1, mib))
	r.settle()
	r.forget()
	o := r.options()
	l := *o.Library
	l.Changer = twice{l.Changer}
	o.Library = &l
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "two cartridges have the barcode") {
		t.Errorf("rebuild: %v", err)
	}
	rep := r.rebuild()
	if rep.Files != 1 || rep.LostFiles != 0 {
		t.Errorf("report %+v", rep)
	}
}

// twice shows the first cartridge in another slot, too.
type twice struct{ tape.Changer }

func (c twice) Inventory(ctx context.Context) ([]tape.Element, error) {
	list, err := c.Changer.Inventory(ctx)
	var first *tape.Element
	for i := range list {
		switch e := &list[i]; {
		case e.Kind != tape.Slot:
		case first == nil && e.Full:
			first = e
		case first != nil:
			e.Full, e.Volume = true, first.Volume
			return list, err
		}
	}
	return list, err
}

// TestRunOfTheOldCatalog: clients are not told that the archive goes on where it was.
func TestRunOfTheOldCatalog(t *testing.T) {
	r := newRig(t, t.TempDir())
	defer r.end()
	r.open()
	r.write("/f", 0, content(1, mib))
	r.settle()
	r.open()
	was := strings.Fields(r.instance())[0]
	r.forget()
	r.rebuild()
	r.open()
	if now := strings.Fields(r.instance()); len(now) != 1 || now[0] == was {
		t.Errorf("this run is %q, the last one was %q", now, was)
	}
}

func (r *rig) instance() string {
	r.t.Helper()
	n := r.node("/")
	defer n.Release()
	v, err := n.Xattr(root, "user.sliod.instance")
	r.ok(err)
	return string(v)
}

// TestProtectedThenNot: a volume that was write-protected at the rebuild is written again when its tab
// was moved.
func TestProtectedThenNot(t *testing.T) {
	r := newRig(t, t.TempDir())
	defer r.end()
	r.open()
	r.write("/f", 0, content(1, mib))
	r.settle()
	var b tape.Barcode
	state := func() (s catalog.VolState, flags uint32) {
		r.catalog(func(tx *catalog.Tx) error {
			return tx.Volumes(func(v catalog.Volume) bool {
				if v.UUID != "" {
					b, s, flags = tape.Barcode(v.Barcode), v.State, v.Flags
				}
				return true
			})
		})
		return s, flags
	}
	state()
	r.ok(r.lib.SetWriteProtect(b, true))
	r.forget()
	r.rebuild()
	if s, flags := state(); s != catalog.VolReadOnly || flags != catalog.VolProtected {
		t.Errorf("the volume is %v, flags %d", s, flags)
	}
	r.ok(r.lib.SetWriteProtect(b, false))
	r.open()
	if _, err := r.read("/f"); err != nil {
		t.Error(err)
	}
	if s, _ := state(); s != catalog.VolAppend {
		t.Errorf("the volume is %v", s)
	}
}

// TestExtentsBeyondReason: an index that names more than all tapes hold costs one entry.
func TestExtentsBeyondReason(t *testing.T) {
	r := newRig(t, t.TempDir())
	defer r.end()
	r.open()
	r.write("/f", 0, content(1, mib))
	r.settle()
	var b tape.Barcode
	r.catalog(func(tx *catalog.Tx) error {
		return tx.Volumes(func(v catalog.Volume) bool {
			if v.UUID != "" {
				b = tape.Barcode(v.Barcode)
			}
			return true
		})
	})
	r.forget()
	ctx := context.Background()
	d, home := r.load(b)
	lv, err := ltfs.Mount(ctx, d, ltfs.MountOptions{Log: r.log})
	r.ok(err)
	r.ok(lv.Index().Put("huge", &ltfs.File{Length: 1 << 62, Extents: []ltfs.Extent{{Partition: lv.DataPartition(), StartBlock: 6, ByteCount: 1 << 62}}}))
	r.ok(lv.WriteIndex(ctx))
	home()
	rep := r.rebuild()
	if rep.Files != 1 || rep.Damaged != 1 {
		t.Errorf("report %+v", rep)
	}
	r.open()
	if _, err := r.read("/f"); err != nil {
		t.Error(err)
	}
}

// TestFormatOfTheOnlyIndex: files without data are not lost to a rebuild when the volume is formatted
// whose index alone told of them, and a removed file does not come back.
func TestFormatOfTheOnlyIndex(t *testing.T) {
	r := newRig(t, t.TempDir())
	defer r.end()
	r.open()
	r.mkdir("/dir")
	r.write("/dir/empty", 0, nil)
	r.write("/gone", 0, content(1, mib))
	r.settle()
	var first tape.Barcode
	r.catalog(func(tx *catalog.Tx) error {
		return tx.Volumes(func(v catalog.Volume) bool {
			if v.State == catalog.VolAppend {
				first = tape.Barcode(v.Barcode)
			}
			return true
		})
	})
	r.full(first) // it keeps its entry of /gone
	r.open()
	r.write("/last", 0, content(2, mib))
	r.remove("/gone")
	r.settle()
	r.open()
	id, err := r.fs.StartJob(backend.JobFormat, []string{string(first), "force"})
	r.ok(err)
	r.wait(id)
	r.settle()
	want := r.snapshot()
	r.forget()
	r.rebuild()
	r.same(want, r.snapshot())

	// The volume that noted the removal is formatted, too.
	r.remove("/last")
	r.settle()
	var noted []string
	r.catalog(func(tx *catalog.Tx) error {
		return tx.Volumes(func(v catalog.Volume) bool {
			if v.UUID != "" {
				noted = append(noted, v.Barcode)
			}
			return true
		})
	})
	r.open()
	want = r.snapshot()
	for _, b := range noted {
		id, err := r.fs.StartJob(backend.JobFormat, []string{b, "force"})
		r.ok(err)
		r.wait(id)
	}
	r.settle()
	r.forget()
	r.rebuild()
	got := r.snapshot()
	r.same(want, got)
}
