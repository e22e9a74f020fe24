package catalog

import (
	"testing"

	"sliod/backend/sliver"
)

// TestAddDirent holds what AddDirent writes against what PutDirent does, and has it
// refuse the same names.
func TestAddDirent(t *testing.T) {
	c, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	entry := func(name string, cookie uint64) Dirent { return Dirent{Name: name, ID: 7, Type: 0x80, Cookie: cookie} }
	put := func(add func(*Tx, sliver.FileID, Dirent) error, dir sliver.FileID, e Dirent) error {
		return c.Update(func(tx *Tx) error { return add(tx, dir, e) })
	}
	for dir, add := range map[sliver.FileID]func(*Tx, sliver.FileID, Dirent) error{1: (*Tx).AddDirent, 2: (*Tx).PutDirent} {
		if err := put(add, dir, entry("a", FirstCookie)); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []Dirent{entry("a/b", FirstCookie+1), entry("", FirstCookie+1), entry("b", FirstCookie-1)} {
			if put(add, dir, bad) == nil {
				t.Errorf("directory %d took %+v", dir, bad)
			}
		}
		err := c.View(func(tx *Tx) error {
			if e, err := tx.Lookup(dir, "a"); err != nil || e != entry("a", FirstCookie) {
				t.Errorf("directory %d: lookup: %+v, %v", dir, e, err)
			}
			n := 0
			err := tx.Readdir(dir, 0, func(e Dirent) bool {
				if n++; e != entry("a", FirstCookie) {
					t.Errorf("directory %d has %+v", dir, e)
				}
				return true
			})
			if n != 1 {
				t.Errorf("directory %d has %d entries", dir, n)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Update(func(tx *Tx) error { return tx.DeleteDirent(dir, "a") }); err != nil {
			t.Fatal(err)
		}
	}
}
