package catalog

import (
	"strings"
	"testing"
)

func TestArchiveIdentity(t *testing.T) {
	archive := func(c *Catalog) (id string) {
		t.Helper()
		if err := c.View(func(tx *Tx) (err error) { id, err = tx.Archive(); return err }); err != nil {
			t.Fatal(err)
		}
		return id
	}
	kv := newMemKV()
	c, err := openKV(kv)
	if err != nil {
		t.Fatal(err)
	}
	id := archive(c)
	if len(id) != 36 {
		t.Errorf("the identity is %q", id)
	}
	// A catalog from before identities gets one, and keeps it.
	delete(kv.m, "a")
	if c, err = openKV(kv); err != nil {
		t.Fatal(err)
	}
	second := archive(c)
	if second == "" || second == id {
		t.Errorf("the new identity is %q, the old one was %q", second, id)
	}
	if c, err = openKV(kv); err != nil || archive(c) != second {
		t.Errorf("the identity is %q after it was %q, error %v", archive(c), second, err)
	}
	err = c.Update(func(tx *Tx) error { return tx.SetArchive("other") })
	if err != nil || archive(c) != "other" {
		t.Errorf("set: %v, %q", err, archive(c))
	}
	for _, bad := range []string{"", strings.Repeat("x", 65)} {
		if err := c.Update(func(tx *Tx) error { return tx.SetArchive(bad) }); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
