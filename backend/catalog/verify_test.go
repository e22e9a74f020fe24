package catalog

import (
	"reflect"
	"testing"

	"sliod/backend/sliver"
)

var (
	somePass = Pass{Volume: 7, UUID: "u", Verified: Time{5, 6}, Through: VolPos{1, 1 << 40}, Begun: Time{Sec: 9}, At: VolPos{1, 300}}
	someBad  = Bad{Volume: 7, Key: sliver.Key{File: 1 << 40, No: 3}, Version: 300, Found: Time{Sec: 1}, Why: "medium error"}
	someFile = Verified{File: 9, At: Time{Sec: 3}, Version: 300, Copies: 2}
)

func FuzzPass(f *testing.F) {
	seed, _ := encodePass(nil, &somePass)
	fuzzRecord(f, func(b []byte) ([]byte, error) {
		p, err := decodePass(1, b)
		if err != nil {
			return nil, err
		}
		return encodePass(nil, &p)
	}, seed)
}

func FuzzBad(f *testing.F) {
	seed, _ := encodeBad(nil, &someBad)
	fuzzRecord(f, func(b []byte) ([]byte, error) {
		x, err := decodeBad(1, sliver.Key{}, b)
		if err != nil {
			return nil, err
		}
		return encodeBad(nil, &x)
	}, seed)
}

func FuzzVerified(f *testing.F) {
	seed, _ := encodeVerified(nil, &someFile)
	fuzzRecord(f, func(b []byte) ([]byte, error) {
		v, err := decodeVerified(1, b)
		if err != nil {
			return nil, err
		}
		return encodeVerified(nil, &v)
	}, seed)
}

func TestVerifyRecords(t *testing.T) {
	c, err := openKV(newMemKV())
	if err != nil {
		t.Fatal(err)
	}
	other := someBad
	other.Volume = 8
	err = c.Update(func(tx *Tx) error {
		m := archivedBmap(1)
		for _, err := range []error{tx.PutPass(&somePass), tx.PutBad(&someBad), tx.PutBad(&other), tx.PutVerified(&someFile), tx.PutBmap(3, 0, m), tx.PutBmap(4, 2, m)} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	bads := func() (all []Bad) {
		if err := c.View(func(tx *Tx) error { return tx.Bads(func(b Bad) bool { all = append(all, b); return true }) }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	if got := bads(); !reflect.DeepEqual(got, []Bad{someBad, other}) {
		t.Errorf("bad copies %+v", got)
	}
	err = c.View(func(tx *Tx) error {
		if p, err := tx.Pass(7); err != nil || p != somePass {
			t.Errorf("pass %+v, %v", p, err)
		}
		if p, err := tx.Pass(6); err != nil || p != (Pass{Volume: 6}) {
			t.Errorf("no pass %+v, %v", p, err)
		}
		if v, err := tx.Verified(9); err != nil || v != someFile {
			t.Errorf("verified %+v, %v", v, err)
		}
		var files []sliver.FileID
		err := tx.AllBmaps(func(id sliver.FileID, no sliver.BmapNo, m *Bmap) bool {
			if !reflect.DeepEqual(m, archivedBmap(1)) || uint64(no) != 2*uint64(id-3) {
				t.Errorf("bmap %d of file %d: %+v", no, id, m)
			}
			files = append(files, id)
			return true
		})
		if !reflect.DeepEqual(files, []sliver.FileID{3, 4}) {
			t.Errorf("bmaps of %v", files)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Update(func(tx *Tx) error { return tx.DeletePass(7) }); err != nil {
		t.Fatal(err)
	}
	if got := bads(); !reflect.DeepEqual(got, []Bad{other}) {
		t.Errorf("bad copies %+v after those of the volume were deleted", got)
	}
}

func FuzzReclaim(f *testing.F) {
	seed, _ := encodeReclaim(nil, &Reclaim{UUID: "u", Begun: Time{Sec: 3}, Targets: []VolumeNo{4, 300}})
	fuzzRecord(f, func(b []byte) ([]byte, error) {
		r, err := decodeReclaim(1, b)
		if err != nil {
			return nil, err
		}
		return encodeReclaim(nil, &r)
	}, seed)
}

func TestReclaimRecords(t *testing.T) {
	c, err := openKV(newMemKV())
	if err != nil {
		t.Fatal(err)
	}
	want := Reclaim{Volume: 7, UUID: "u", Begun: Time{Sec: 3}, Targets: []VolumeNo{4, 300}}
	if err := c.Update(func(tx *Tx) error { return tx.PutReclaim(&want) }); err != nil {
		t.Fatal(err)
	}
	err = c.View(func(tx *Tx) error {
		if r, err := tx.Reclaim(7); err != nil || !reflect.DeepEqual(r, want) {
			t.Errorf("%+v, %v", r, err)
		}
		n := 0
		err := tx.Reclaims(func(r Reclaim) bool { n++; return reflect.DeepEqual(r, want) })
		if n != 1 {
			t.Errorf("%d records", n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Update(func(tx *Tx) error { return tx.DeleteReclaim(7) }); err != nil {
		t.Fatal(err)
	}
	if err := c.View(func(tx *Tx) error { _, err := tx.Reclaim(7); return err }); err != ErrNotFound {
		t.Errorf("a deleted record: %v", err)
	}
}
