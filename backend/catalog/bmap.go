package catalog

import (
	"github.com/pkg/errors"

	"sliod/backend/sliver"
)

// Bmap returns a bmap of a file; without a record it is all holes. It is the
// caller's, and so are the slices in it.
func (t *Tx) Bmap(id sliver.FileID, no sliver.BmapNo) (*Bmap, error) {
	m := new(Bmap)
	v, found, err := t.get(key88(t.key[:0], keyBmap, uint64(id), uint64(no)))
	if err == nil && found {
		err = decodeBmap(m, v)
	}
	if err != nil {
		return nil, errors.WithMessagef(err, "file %d, bmap %d", id, no)
	}
	return m, nil
}

// PutBmap stores a bmap. One that is all holes deletes the record. Fields of
// slivers that are holes, and Slot and Seq of those that are not Dirty, are not
// kept.
func (t *Tx) PutBmap(id sliver.FileID, no sliver.BmapNo, m *Bmap) error {
	if m.AllHoles() {
		return t.delete(key88(t.key[:0], keyBmap, uint64(id), uint64(no)))
	}
	v, err := encodeBmap(t.val[:0], m)
	if err != nil {
		return t.fail(errors.WithMessagef(err, "put bmap %d of file %d", no, id))
	}
	t.val = v
	return t.set(key88(t.key[:0], keyBmap, uint64(id), uint64(no)), v)
}

// Bmaps calls fn for each bmap of a file that has a record and a number of at
// least from, in order, until fn returns false. The bmap is fn's to keep.
func (t *Tx) Bmaps(id sliver.FileID, from sliver.BmapNo, fn func(no sliver.BmapNo, m *Bmap) bool) error {
	_, to := bounds(keyBmap, uint64(id))
	err := t.scan(key88(nil, keyBmap, uint64(id), uint64(from)), to, func(key, value []byte) (bool, error) {
		no, err := tail8(key, 17)
		if err != nil {
			return false, err
		}
		m := new(Bmap)
		if err := decodeBmap(m, value); err != nil {
			return false, errors.WithMessagef(err, "bmap %d", no)
		}
		return fn(sliver.BmapNo(no), m), nil
	})
	return errors.WithMessagef(err, "file %d", id)
}

// DeleteBmaps deletes the bmaps of a file with a number of at least from.
func (t *Tx) DeleteBmaps(id sliver.FileID, from sliver.BmapNo) error {
	_, to := bounds(keyBmap, uint64(id))
	return t.deleteRange(key88(nil, keyBmap, uint64(id), uint64(from)), to)
}
