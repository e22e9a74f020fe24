package catalog

import (
	"reflect"
	"slices"
	"testing"

	"sliod/backend/sliver"
)

func TestJobItemsAreInTapeOrder(t *testing.T) {
	c, oerr := openKV(newMemKV())
	if oerr != nil {
		t.Fatal(oerr)
	}
	want := []JobItem{
		{File: 9, Tree: true},
		{Volume: 1, Partition: 0, Block: 1 << 40, File: 7, Bytes: 5},
		{Volume: 1, Partition: 1, Block: 2, File: 8},
		{Volume: 1, Partition: 1, Block: 300, File: 5, Bytes: 1 << 50},
		{Volume: 1, Partition: 1, Block: 300, File: 6},
		{Volume: 2, Partition: 1, Block: 1, File: 1},
		{Volume: 1<<32 - 1, Block: 0, File: 2},
	}
	err := c.Update(func(tx *Tx) error {
		for _, i := range []int{3, 0, 6, 2, 1, 5, 4} {
			if added, err := tx.PutJobItem(7, &want[i]); err != nil || !added {
				t.Error(added, err)
			}
			if _, err := tx.PutJobItem(8, &want[i]); err != nil {
				return err
			}
		}
		again := want[3]
		again.Bytes = 1
		if added, err := tx.PutJobItem(7, &again); err != nil || added {
			t.Error("put twice:", added, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	all := func(job uint64, after *JobItem) (got []JobItem) {
		t.Helper()
		err := c.View(func(tx *Tx) error {
			v := VolumeNo(0)
			if after != nil {
				v = after.Volume
			}
			for {
				next, found, err := tx.NextJobVolume(job, v)
				if err != nil || !found {
					return err
				}
				var from *JobItem
				if after != nil && next == after.Volume {
					from = after
				}
				if err := tx.JobItems(job, next, from, func(i JobItem) bool { got = append(got, i); return true }); err != nil {
					return err
				}
				if v = next + 1; v == 0 {
					return nil
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := all(7, nil); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if got := all(7, &want[3]); !reflect.DeepEqual(got, want[4:]) {
		t.Errorf("behind %+v: %+v", want[3], got)
	}
	if err := c.Update(func(tx *Tx) error { return tx.DeleteJobItem(7, &want[1]) }); err != nil {
		t.Fatal(err)
	}
	if got := all(7, nil); !reflect.DeepEqual(got, slices.Delete(slices.Clone(want), 1, 2)) || len(all(8, nil)) != len(want) {
		t.Errorf("after a deletion: %+v", got)
	}
}

func TestPins(t *testing.T) {
	c, oerr := openKV(newMemKV())
	if oerr != nil {
		t.Fatal(oerr)
	}
	err := c.Update(func(tx *Tx) error {
		for _, p := range [][2]uint64{{0, 5}, {3, 5}, {3, 6}, {4, 1 << 60}} {
			if err := tx.PutPin(p[0], sliver.FileID(p[1])); err != nil {
				return err
			}
		}
		return tx.DeletePin(3, 6)
	})
	if err != nil {
		t.Fatal(err)
	}
	err = c.View(func(tx *Tx) error {
		var holders []uint64
		var held, all []sliver.FileID
		if err := tx.Pins(5, func(h uint64) bool { holders = append(holders, h); return true }); err != nil {
			return err
		}
		if err := tx.Held(3, func(f sliver.FileID) bool { held = append(held, f); return true }); err != nil {
			return err
		}
		if err := tx.AllPins(func(f sliver.FileID) bool { all = append(all, f); return true }); err != nil {
			return err
		}
		if !slices.Equal(holders, []uint64{0, 3}) || !slices.Equal(held, []sliver.FileID{5}) || !slices.Equal(all, []sliver.FileID{5, 1 << 60}) {
			t.Error(holders, held, all)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func FuzzJobItem(f *testing.F) {
	key := (&JobItem{Volume: 3, Partition: 1, Block: 7, File: 9}).key(4)
	fuzzRecord(f, func(b []byte) ([]byte, error) {
		i, err := decodeJobItem(key, b)
		if err != nil {
			return nil, err
		}
		return encodeJobItem(nil, &i), nil
	}, encodeJobItem(nil, &JobItem{Tree: true, Bytes: 1 << 40}))
}
