package catalog

import (
	"bytes"

	"sliod/backend/sliver"
)

// What a rebuild of the catalog from tapes collects is kept under keys of its own
// until it is made into the tree. As long as there is any, the catalog is not
// whole. The keys and values belong to package rebuild.
const keyStage = 'r'

// CounterFiles is the counter of files and directories, without the root.
const CounterFiles = "files"

// CounterVersion is the counter with the highest version of a sliver that a rebuild
// has seen: the cache must go on above it.
const CounterVersion = "version"

// PutStage stores a record of a rebuild.
func (t *Tx) PutStage(key, value []byte) error {
	return t.set(append([]byte{keyStage}, key...), encodeRaw(nil, value))
}

// Stage returns a record of a rebuild; nil if there is none. The slice is valid
// until the next use of t.
func (t *Tx) Stage(key []byte) ([]byte, error) {
	v, found, err := t.get(append([]byte{keyStage}, key...))
	if err != nil || !found {
		return nil, err
	}
	return decodeRaw("rebuild record", v)
}

// DeleteStage deletes a record of a rebuild, if it is there.
func (t *Tx) DeleteStage(key []byte) error { return t.delete(append([]byte{keyStage}, key...)) }

// Stages calls fn for the records of a rebuild whose keys are at least from and
// begin with prefix, in order, until fn returns false. The slices are valid only
// during the call.
func (t *Tx) Stages(prefix, from []byte, fn func(key, value []byte) bool) error {
	lo := append([]byte{keyStage}, prefix...)
	if bytes.Compare(from, prefix) > 0 {
		lo = append([]byte{keyStage}, from...)
	}
	return t.scan(lo, []byte{keyStage + 1}, func(key, value []byte) (bool, error) {
		if !bytes.HasPrefix(key[1:], prefix) {
			return false, nil
		}
		v, err := decodeRaw("rebuild record", value)
		return err == nil && fn(key[1:], v), err
	})
}

// Rebuilding says that the catalog is one that a rebuild has begun and not
// finished.
func (t *Tx) Rebuilding() (bool, error) {
	found := false
	err := t.Stages(nil, nil, func(_, _ []byte) bool { found = true; return false })
	return found, err
}

// Empty says that nothing but numbers has been stored: no file and no volume.
func (t *Tx) Empty() (bool, error) {
	empty := true
	for _, kind := range []byte{keyInode, keyVolume, keyDirent, keyBmap} {
		from, to := kindBounds(kind)
		err := t.scan(from, to, func(_, _ []byte) (bool, error) { empty = false; return false, nil })
		if err != nil || !empty {
			return false, err
		}
	}
	return true, nil
}

// ReserveFileIDs makes NextFileID go on above last.
func (t *Tx) ReserveFileIDs(last uint64) error {
	n, err := sequence(t.r, seqFile, 2)
	if err != nil {
		return t.fail(err)
	}
	if n > last {
		return nil
	}
	return t.set(keyPlain(nil, keySeq, seqFile), encodeNumber(nil, last+1))
}

// EncodeBmap returns the record of a bmap, as PutBmap stores it.
func EncodeBmap(m *Bmap) ([]byte, error) { return encodeBmap(nil, m) }

// DecodeBmap is the reverse of EncodeBmap.
func DecodeBmap(b []byte) (*Bmap, error) {
	m := new(Bmap)
	return m, decodeBmap(m, b)
}

// EncodeInode returns the record of an inode, as PutInode stores it.
func EncodeInode(n *Inode) ([]byte, error) { return encodeInode(nil, n) }

// DecodeInode is the reverse of EncodeInode.
func DecodeInode(id sliver.FileID, b []byte) (Inode, error) { return decodeInode(id, b) }
