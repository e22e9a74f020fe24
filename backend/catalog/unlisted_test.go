package catalog

import (
	"reflect"
	"testing"
)

func FuzzUnlisted(f *testing.F) {
	fuzzRecord(f, func(b []byte) ([]byte, error) {
		u, err := decodeUnlisted(1, b)
		if err != nil {
			return nil, err
		}
		return encodeUnlisted(nil, &u), nil
	}, encodeUnlisted(nil, &Unlisted{Files: []FileRun{{3, 1}, {300, 70000}}}))
}

func TestUnlistedRecords(t *testing.T) {
	c, err := openKV(newMemKV())
	if err != nil {
		t.Fatal(err)
	}
	want := []Unlisted{{Volume: 2, Files: []FileRun{{9, 2}}}, {Volume: 7, Files: []FileRun{{3, 1}, {300, 70000}}}}
	all := func() (got []Unlisted) {
		t.Helper()
		if err := c.View(func(tx *Tx) error {
			return tx.Unlisted(func(u Unlisted) bool { got = append(got, u); return true })
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, u := range []*Unlisted{&want[1], &want[0]} {
		if err := c.Update(func(tx *Tx) error { return tx.PutUnlisted(u) }); err != nil {
			t.Fatal(err)
		}
	}
	if got := all(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if err := c.Update(func(tx *Tx) error { return tx.PutUnlisted(&Unlisted{Volume: 2}) }); err != nil {
		t.Fatal(err)
	}
	if got := all(); !reflect.DeepEqual(got, want[1:]) {
		t.Errorf("%+v after one was deleted", got)
	}
}
