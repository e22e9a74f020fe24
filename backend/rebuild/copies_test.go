package rebuild

import (
	"slices"
	"testing"

	"sliod/backend"
	"sliod/backend/catalog"
	"sliod/backend/policy"
	"sliod/backend/sliver"
	"sliod/tape"
)

// copies returns on which volumes each archived sliver is.
func (r *rig) copies() map[sliver.Key][]string {
	r.t.Helper()
	all := map[sliver.Key][]string{}
	r.catalog(func(tx *catalog.Tx) error {
		names := map[catalog.VolumeNo]string{}
		if err := tx.Volumes(func(v catalog.Volume) bool { names[v.No] = v.Barcode; return true }); err != nil {
			return err
		}
		var ids []sliver.FileID
		if err := tx.Inodes(0, func(n catalog.Inode) bool { ids = append(ids, n.ID); return true }); err != nil {
			return err
		}
		for _, id := range ids {
			err := tx.Bmaps(id, 0, func(no sliver.BmapNo, b *catalog.Bmap) bool {
				for i := range b.Slivers {
					var on []string
					for _, c := range b.Slivers[i].Copies {
						on = append(on, names[c.Volume])
					}
					if slices.Sort(on); on != nil {
						all[sliver.Key{File: id, No: no.First() + sliver.No(i)}] = on
					}
				}
				return true
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return all
}

// TestCopies: the copies of one content are found again as such, and any of the volumes is
// enough for the content.
func TestCopies(t *testing.T) {
	r := newRig(t, t.TempDir())
	defer r.end()
	r.opts.Policy = &policy.Rules{Rules: []*policy.Rule{{Name: "two", Settings: policy.Settings{Number: 2}}}}
	r.open()
	r.mkdir("/d")
	r.write("/d/whole", 0, content(1, 2*mib+100))
	r.write("/d/changed", 0, content(2, 3*mib))
	r.write("/d/cut", 0, content(3, mib+mib/2))
	r.write("/small", 0, content(4, 100))
	r.settle()
	r.open()
	r.job(backend.JobEvict, "/d/cut")
	r.truncate("/d/cut", mib+100)
	r.write("/d/changed", mib+5, content(5, 1000))
	r.link("/small", "/d/linked")
	r.settle()
	r.open()
	r.write("/small", 0, content(6, 50)) // on both again
	r.settle()
	want, on := r.snapshot(), r.copies()
	for k, v := range on {
		if len(v) != 2 || v[0] == v[1] {
			t.Errorf("sliver %v is on %v", k, v)
		}
	}
	r.forget()
	if rep := r.rebuild(); rep.LostFiles != 0 {
		t.Errorf("%+v", rep)
	}
	got := r.copies()
	for k, v := range on {
		if !slices.Equal(got[k], v) {
			t.Errorf("sliver %v was on %v, and is on %v after the rebuild", k, v, got[k])
		}
	}
	if len(got) != len(on) {
		t.Errorf("%d slivers, there were %d", len(got), len(on))
	}
	r.same(want, r.snapshot())
	for _, hide := range []tape.Barcode{"A00001L9", "A00002L9"} {
		r.forget()
		r.hidden = hide
		r.rebuild()
		r.sameContent()
		r.hidden = ""
	}
}

// sameContent compares the content of files. Changes of attributes alone, sizes among them, are on one
// volume, which may be the one that is missing.
func (r *rig) sameContent() {
	r.t.Helper()
	for _, p := range []struct {
		path string
		want []byte
	}{
		{"/d/whole", content(1, 2*mib+100)}, {"/d/changed", slices.Concat(content(2, 3*mib)[:mib+5], content(5, 1000), content(2, 3*mib)[mib+1005:])}, {"/small", slices.Concat(content(6, 50), content(4, 100)[50:])},
	} {
		if r.fs == nil {
			r.open()
		}
		got, err := r.read(p.path)
		if err != nil || !slices.Equal(got, p.want) {
			r.t.Fatalf("without %s: %s has %d bytes of %d: %v", r.hidden, p.path, len(got), len(p.want), err)
		}
	}
}
