package catalog

import (
	"encoding/binary"

	"sliod/backend/sliver"
)

const (
	keyPending = 'm' // file
	keyNames   = 'p' // file, directory, name
)

func nameKey(dst []byte, file, dir sliver.FileID, name string) []byte {
	return append(key88(dst, keyNames, uint64(file), uint64(dir)), name...)
}

// PutName notes that file is called name in dir: the reverse of its directory
// entry, by which paths are found.
func (t *Tx) PutName(file, dir sliver.FileID, name string) error {
	if err := checkName(name, false); err != nil {
		return t.fail(err)
	}
	return t.set(nameKey(nil, file, dir, name), encodeRaw(nil, nil))
}

// DeleteName takes away what PutName noted.
func (t *Tx) DeleteName(file, dir sliver.FileID, name string) error {
	return t.delete(nameKey(nil, file, dir, name))
}

// Names calls fn for each name of a file, until fn returns false.
func (t *Tx) Names(file sliver.FileID, fn func(dir sliver.FileID, name string) bool) error {
	from, to := bounds(keyNames, uint64(file))
	return t.scan(from, to, func(key, _ []byte) (bool, error) {
		if len(key) <= 17 {
			return false, corrupt("key %q of a name is too short", key)
		}
		return fn(sliver.FileID(binary.BigEndian.Uint64(key[9:])), string(key[17:])), nil
	})
}

// PutPending notes that something of a file is not on tape yet, data or
// attributes.
func (t *Tx) PutPending(id sliver.FileID) error {
	return t.set(key8(nil, keyPending, uint64(id)), encodeRaw(nil, nil))
}

// DeletePending takes away what PutPending noted.
func (t *Tx) DeletePending(id sliver.FileID) error {
	return t.delete(key8(nil, keyPending, uint64(id)))
}

// Pending calls fn for each pending file, until fn returns false.
func (t *Tx) Pending(fn func(sliver.FileID) bool) error {
	from, to := kindBounds(keyPending)
	return t.scan(from, to, func(key, _ []byte) (bool, error) {
		id, err := tail8(key, 9)
		return err == nil && fn(sliver.FileID(id)), err
	})
}
