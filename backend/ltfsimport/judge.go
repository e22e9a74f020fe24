package ltfsimport

import (
	stderrors "errors"
	"fmt"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// Inconsistent says whether err blames what is on the volume.
func Inconsistent(err error) bool { return stderrors.Is(err, ltfs.ErrInconsistent) }

// MountRefused says why a volume that LTFS does not read is not imported.
func MountRefused(b tape.Barcode, err error) error {
	var not *ltfs.NotLTFSError
	switch {
	case stderrors.As(err, &not) && not.Blank:
		return fmt.Errorf("volume %s is blank: there is nothing to import", b)
	case stderrors.As(err, &not):
		return fmt.Errorf("volume %s holds no LTFS volume: %s", b, not.Found)
	case stderrors.Is(err, ltfs.ErrInconsistent), stderrors.Is(err, ltfs.ErrCorrupt):
		return fmt.Errorf("volume %s is inconsistent: %w. Repair it with the program that wrote it, then try again", b, err)
	}
	return fmt.Errorf("volume %s cannot be read: %w", b, err)
}

// ownSample is how many entries IsOwn looks at.
const ownSample = 1000

// IsOwn says whether an index is of this archive: by the identity in it or, if it is from
// before there were identities, by its files: FileID and time of birth
// of one are those of a file that the catalog has.
func IsOwn(cat *catalog.Catalog, x *ltfs.Index) (own bool, err error) {
	if id := x.Archive(); id != "" {
		err := cat.View(func(tx *catalog.Tx) error {
			have, err := tx.Archive()
			own = err == nil && have == id
			return err
		})
		return own, err
	}
	seen := 0
	enough := stderrors.New("enough")
	look := func(_ string, e ltfs.Entry) error {
		m, err := ltfs.DecodeMeta(e)
		if err != nil {
			return nil
		}
		if seen++; seen > ownSample {
			return enough
		}
		return cat.View(func(tx *catalog.Tx) error {
			r, err := tx.Inode(sliver.FileID(m.FileID))
			if stderrors.Is(err, catalog.ErrNotFound) {
				return nil
			}
			if err == nil && r.Btime == catalog.Time(m.Btime) {
				own, err = true, enough
			}
			return err
		})
	}
	if err = look("", x.Root); err == nil {
		err = x.Walk(look)
	}
	if err == enough {
		err = nil
	}
	return own, err
}
