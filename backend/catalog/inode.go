package catalog

import (
	"github.com/pkg/errors"

	"sliod/backend/sliver"
)

// Inode returns a file's attributes.
func (t *Tx) Inode(id sliver.FileID) (Inode, error) {
	v, err := t.find(key8(t.key[:0], keyInode, uint64(id)))
	if err != nil {
		return Inode{}, err
	}
	return decodeInode(id, v)
}

// PutInode stores n under n.ID.
func (t *Tx) PutInode(n *Inode) error {
	v, err := encodeInode(t.val[:0], n)
	if err != nil {
		return t.fail(errors.WithMessagef(err, "put inode of file %d", n.ID))
	}
	t.val = v
	return t.set(key8(t.key[:0], keyInode, uint64(n.ID)), v)
}

// DeleteInode deletes the inode alone: names, xattrs and bmaps are records of
// their own.
func (t *Tx) DeleteInode(id sliver.FileID) error {
	return t.delete(key8(t.key[:0], keyInode, uint64(id)))
}

// Inodes calls fn for every inode with a number of at least from, in order,
// until fn returns false. It is for checks and statistics.
func (t *Tx) Inodes(from sliver.FileID, fn func(Inode) bool) error {
	_, to := kindBounds(keyInode)
	return t.scan(key8(nil, keyInode, uint64(from)), to, func(key, value []byte) (bool, error) {
		id, err := tail8(key, 9)
		if err != nil {
			return false, err
		}
		n, err := decodeInode(sliver.FileID(id), value)
		return err == nil && fn(n), err
	})
}

// PutOrphan notes that a file has no names left but was open: it is to be
// reclaimed at the next start. DeleteOrphan takes the note back.
func (t *Tx) PutOrphan(id sliver.FileID) error {
	return t.set(key8(t.key[:0], keyOrphan, uint64(id)), encodeRaw(nil, nil))
}

// DeleteOrphan deletes the note of PutOrphan.
func (t *Tx) DeleteOrphan(id sliver.FileID) error {
	return t.delete(key8(t.key[:0], keyOrphan, uint64(id)))
}

// Orphans calls fn for each orphan in order of numbers until fn returns false.
func (t *Tx) Orphans(fn func(sliver.FileID) bool) error {
	from, to := kindBounds(keyOrphan)
	return t.scan(from, to, func(key, _ []byte) (bool, error) {
		id, err := tail8(key, 9)
		return err == nil && fn(sliver.FileID(id)), err
	})
}

// Xattr returns the value of an extended attribute; the slice is the caller's.
func (t *Tx) Xattr(id sliver.FileID, name string) ([]byte, error) {
	if err := checkName(name, true); err != nil {
		return nil, ErrNotFound
	}
	v, err := t.find(keyName(t.key[:0], keyXattr, uint64(id), name))
	if err != nil {
		return nil, err
	}
	v, err = decodeRaw("xattr", v)
	if err != nil {
		return nil, errors.WithMessagef(err, "file %d, xattr %q", id, name)
	}
	return append([]byte{}, v...), nil
}

// PutXattr sets an extended attribute. Names are 1 to MaxName bytes without NUL.
func (t *Tx) PutXattr(id sliver.FileID, name string, value []byte) error {
	if err := checkName(name, true); err != nil {
		return t.fail(err)
	}
	t.val = encodeRaw(t.val[:0], value)
	return t.set(keyName(t.key[:0], keyXattr, uint64(id), name), t.val)
}

// DeleteXattr removes an extended attribute, if it is there.
func (t *Tx) DeleteXattr(id sliver.FileID, name string) error {
	if err := checkName(name, true); err != nil {
		return nil // nothing can be stored under it
	}
	return t.delete(keyName(t.key[:0], keyXattr, uint64(id), name))
}

// Xattrs calls fn for each extended attribute of a file in order of names until
// fn returns false. value is valid only during the call.
func (t *Tx) Xattrs(id sliver.FileID, fn func(name string, value []byte) bool) error {
	from, to := bounds(keyXattr, uint64(id))
	return t.scan(from, to, func(key, value []byte) (bool, error) {
		v, err := decodeRaw("xattr", value)
		return err == nil && fn(string(key[9:]), v), err
	})
}

// DeleteXattrs removes all extended attributes of a file.
func (t *Tx) DeleteXattrs(id sliver.FileID) error {
	return t.deleteRange(bounds(keyXattr, uint64(id)))
}
