package mover

import (
	"slices"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape/ltfs"
)

// unlist notes in tx that only the index of v lists the removed files in gone, which is about to be erased.
func unlist(tx *catalog.Tx, v *volume, gone []ltfs.FileIDRun) error {
	if len(gone) == 0 {
		return nil // what is noted of it stays: an earlier format was cut off
	}
	u := catalog.Unlisted{Volume: v.rec().No}
	for _, r := range gone {
		u.Files = append(u.Files, catalog.FileRun{First: sliver.FileID(r.First), Count: r.Count})
	}
	return tx.PutUnlisted(&u)
}

// unlisted returns the removed files that no index lists, and what the catalog has of them.
func (m *Mover) unlisted() (gone []ltfs.FileIDRun, noted []catalog.Unlisted, err error) {
	err = m.cat.View(func(tx *catalog.Tx) error {
		return tx.Unlisted(func(u catalog.Unlisted) bool {
			noted = append(noted, u)
			for _, r := range u.Files {
				gone = append(gone, ltfs.FileIDRun{First: uint64(r.First), Count: r.Count})
			}
			return true
		})
	})
	return gone, noted, errors.WithMessage(err, "mover: removed files that no index lists")
}

// listed notes that an index on tape lists what the catalog has noted.
func (m *Mover) listed(noted []catalog.Unlisted) error {
	if len(noted) == 0 {
		return nil
	}
	err := m.cat.Update(func(tx *catalog.Tx) error {
		var now []catalog.Unlisted
		err := tx.Unlisted(func(u catalog.Unlisted) bool {
			now = append(now, u)
			return true
		})
		if err != nil {
			return err
		}
		for _, u := range now {
			same := func(o catalog.Unlisted) bool { return o.Volume == u.Volume && slices.Equal(o.Files, u.Files) }
			if !slices.ContainsFunc(noted, same) {
				continue // another format has begun meanwhile
			}
			if err := tx.PutUnlisted(&catalog.Unlisted{Volume: u.Volume}); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.WithMessage(err, "mover: removed files that an index lists now")
}
