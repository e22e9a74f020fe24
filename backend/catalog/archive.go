package catalog

import (
	"crypto/rand"
	"fmt"

	"github.com/pkg/errors"
)

// maxArchiveID is the longest identity of an archive that is taken over.
const maxArchiveID = 64

// identify gives the archive its identity if it has none.
func (c *Catalog) identify() error {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (package documentation)
	id := fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	made := false
	err := c.kv.Transact(func(txn Txn) error {
		_, found, err := txn.Get(nil, []byte{keyArchive})
		if made = err == nil && !found; !made {
			return err
		}
		return txn.Set([]byte{keyArchive}, encodeRaw(nil, []byte(id)))
	})
	if err == nil && made {
		err = c.kv.Sync()
	}
	return errors.WithMessage(err, "give the archive its identity")
}

// Archive returns the identity of the archive: random, made with the catalog, and
// written on each of its volumes, so that those of two archives are told apart.
func (t *Tx) Archive() (string, error) {
	v, err := t.find([]byte{keyArchive})
	if err != nil {
		return "", err
	}
	id, err := decodeRaw("archive", v)
	return string(id), err
}

// SetArchive makes the catalog that of another archive: a rebuild goes on with the
// identity that is on the tapes.
func (t *Tx) SetArchive(id string) error {
	if id == "" || len(id) > maxArchiveID {
		return t.fail(errors.Errorf("catalog: an archive's identity has 1 to %d bytes, not %d", maxArchiveID, len(id)))
	}
	return t.set([]byte{keyArchive}, encodeRaw(nil, []byte(id)))
}

// FileIDsEnd returns the first file number that was never handed out or reserved.
func (t *Tx) FileIDsEnd() (uint64, error) { return sequence(t.r, seqFile, 2) }
