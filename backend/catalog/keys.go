package catalog

import (
	"encoding/binary"

	"github.com/pkg/errors"
)

// The first byte of a key says what the record is. docs/catalog.md has the
// layout of all keys and records.
const (
	keyFormat  = 'F' // the format version
	keyArchive = 'a' // the archive's identity
	keyBmap    = 'b' // file, bmap number
	keyCookie  = 'c' // directory, cookie
	keyDirent  = 'd' // directory, name
	keyInode   = 'i' // file
	keyHeld    = 'g' // holder, file
	keyPin     = 'h' // file, holder
	keyJob     = 'j' // job
	keyItem    = 'k' // job, volume number, partition, block, file
	keyCounter = 'n' // name
	keyOrphan  = 'o' // file
	keySeq     = 's' // name of a sequence
	keyVolume  = 'v' // volume number
	keyBarcode = 'w' // barcode
	keyXattr   = 'x' // file, name
)

// maxKey is the length of the longest key: a prefix, a number, a name.
const maxKey = 1 + 8 + MaxName

func key8(dst []byte, kind byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, kind), n)
}

func key88(dst []byte, kind byte, n, m uint64) []byte {
	return binary.BigEndian.AppendUint64(key8(dst, kind, n), m)
}

func keyName(dst []byte, kind byte, n uint64, name string) []byte {
	return append(key8(dst, kind, n), name...)
}

func keyPlain(dst []byte, kind byte, name string) []byte {
	return append(append(dst, kind), name...)
}

// bounds returns the smallest keys of the range that holds all keys of kind with
// number n, and of what follows it.
func bounds(kind byte, n uint64) (from, to []byte) {
	from = key8(nil, kind, n)
	if n == 1<<64-1 {
		return from, []byte{kind + 1}
	}
	return from, key8(nil, kind, n+1)
}

// kindBounds returns the range that holds all keys of a kind.
func kindBounds(kind byte) (from, to []byte) { return []byte{kind}, []byte{kind + 1} }

// tail8 returns the number in the last 8 bytes of a key of length want.
func tail8(key []byte, want int) (uint64, error) {
	if len(key) != want {
		return 0, corrupt("key %q has %d bytes instead of %d", key, len(key), want)
	}
	return binary.BigEndian.Uint64(key[want-8:]), nil
}

// checkName says whether name can be a directory entry or, with xattr, the name
// of an extended attribute.
func checkName(name string, xattr bool) error {
	switch {
	case name == "":
		return errors.New("catalog: empty name")
	case len(name) > MaxName:
		return errors.Errorf("catalog: name of %d bytes is longer than %d", len(name), MaxName)
	case !xattr && (name == "." || name == ".."):
		return errors.Errorf("catalog: %q cannot be stored as a directory entry", name)
	}
	for i := 0; i < len(name); i++ {
		if name[i] == 0 || name[i] == '/' && !xattr {
			return errors.Errorf("catalog: name %q has a NUL or a slash", name)
		}
	}
	return nil
}
