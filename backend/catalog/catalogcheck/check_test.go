package catalogcheck

import (
	"path/filepath"
	"strings"
	"testing"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
)

// A catalog that was never made is good.
func TestNone(t *testing.T) {
	if err := Check(filepath.Join(t.TempDir(), "catalog"), nil); err != nil {
		t.Error(err)
	}
}

// Each kind of mistake is found, in a catalog that is good without it.
func TestCheck(t *testing.T) {
	const plain = catalog.FlagNoBmaps | catalog.FlagNoXattrs
	put := func(tx *catalog.Tx, id sliver.FileID, nlink, flags uint32) error {
		return tx.PutInode(&catalog.Inode{ID: id, NLink: nlink, Flags: flags, Target: "t", Atime: catalog.Time{Sec: -1, Nsec: 5}})
	}
	bmap := &catalog.Bmap{}
	bmap.Slivers[3] = catalog.SliverRec{Dirty: true, Slot: 1, Seq: 2, Len: 3}
	for _, c := range []struct {
		name, want string
		change     func(*catalog.Tx) error
	}{
		{"good", "", func(*catalog.Tx) error { return nil }},
		{"bmap of none", "bmap of file 9, which has no inode", func(tx *catalog.Tx) error { return tx.PutBmap(9, 0, bmap) }},
		{"bmap that is denied", "bmap of file 2, whose inode says", func(tx *catalog.Tx) error { return tx.PutBmap(2, 0, bmap) }},
		{"xattr of none", "extended attribute of file 9", func(tx *catalog.Tx) error { return tx.PutXattr(9, "user.a", nil) }},
		{"xattr that is denied", "extended attribute of file 2, whose", func(tx *catalog.Tx) error { return tx.PutXattr(2, "user.a", nil) }},
		{"name", "name of file 9", func(tx *catalog.Tx) error { return tx.PutName(9, 1, "a") }},
		{"entry", "name in a directory of file 9", func(tx *catalog.Tx) error {
			return tx.AddDirent(9, catalog.Dirent{Name: "a", ID: 2, Cookie: catalog.FirstCookie})
		}},
		{"orphan", "orphan of file 9", func(tx *catalog.Tx) error { return tx.PutOrphan(9) }},
		{"verification", "verification of file 9", func(tx *catalog.Tx) error { return tx.PutVerified(&catalog.Verified{File: 9}) }},
		{"no orphan", "file 4 has no name and is no orphan", func(tx *catalog.Tx) error { return tx.DeleteOrphan(4) }},
		{"count", "the counter says 7 files, there are 3", func(tx *catalog.Tx) error { return tx.PutCounter(catalog.CounterFiles, 7) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			cat, err := catalog.Open(dir, catalog.Options{})
			if err != nil {
				t.Fatal(err)
			}
			err = cat.Update(func(tx *catalog.Tx) error {
				for _, err := range []error{put(tx, 1, 2, plain), put(tx, 2, 1, plain), put(tx, 3, 1, 0), put(tx, 4, 0, 0), tx.PutOrphan(4), tx.PutBmap(3, 0, bmap),
					tx.PutXattr(3, "user.a", []byte("b")), tx.PutName(3, 1, "n"), tx.PutCounter(catalog.CounterFiles, 3), c.change(tx)} {
					if err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := cat.Close(); err != nil {
				t.Fatal(err)
			}
			switch err := Check(dir, nil); {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
