package backend

import (
	stderrors "errors"

	"sliod/backend/cache"
	"sliod/backend/catalog"
	"sliod/backend/sliver"
)

// recoverCache decides for each slot that the cache found whether the catalog
// still means it. The catalog is the authority:
//
//   - it names the slot as the only copy of a dirty sliver: kept;
//   - it has the sliver archived, in the very version that the slot holds, or the
//     first bytes of: kept, clean;
//   - else the slot holds what no fsync has confirmed, or what has since been
//     replaced, cut or unlinked: dropped.
func (fs *FS) recoverCache() error {
	var (
		cut    []cutSlot
		last   catalog.Inode
		key    sliver.Key // of bmap
		bmap   *catalog.Bmap
		failed error
	)
	stats, err := fs.cache.Recover(func(s cache.SlotRecord) cache.Verdict {
		if last.ID != s.Key.File {
			bmap = nil
			last = catalog.Inode{ID: s.Key.File}
			failed = fs.cat.View(func(tx *catalog.Tx) error {
				r, err := tx.Inode(s.Key.File)
				if err == nil {
					last = r
				} else if stderrors.Is(err, catalog.ErrNotFound) {
					err = nil
				}
				return err
			})
			if failed != nil {
				return cache.Stop // what cannot be read is not taken for what is not there
			}
		}
		if last.NLink == 0 {
			return cache.Drop
		}
		no, i := s.Key.No.Bmap()
		if old, _ := key.No.Bmap(); bmap == nil || key.File != s.Key.File || old != no {
			key = s.Key
			failed = fs.cat.View(func(tx *catalog.Tx) (err error) {
				bmap, err = tx.Bmap(s.Key.File, no)
				return err
			})
			if failed != nil {
				return cache.Stop
			}
		}
		r := &bmap.Slivers[i]
		switch {
		case r.Dirty && r.Slot == s.Slot && r.Seq == s.Seq:
			if s.Len > int(r.Len) {
				cut = append(cut, cutSlot{s.Key, int(r.Len)})
			}
			return cache.KeepDirty
		case r.Dirty || len(r.Copies) == 0 || s.Dirty:
			return cache.Drop
		case s.Head:
			if r.Version != s.Version || s.Len > int(r.Len) {
				return cache.Drop
			}
		case r.Version != s.Version || int(r.Len) != s.Len || r.HasSum && r.Len == r.ArchLen && r.Sum != s.Sum:
			return cache.Drop
		}
		return cache.KeepClean
	})
	if err != nil {
		return firstError(failed, err)
	}
	for _, c := range cut {
		// A truncate reached the catalog, but not the slot's record.
		fs.cache.Truncate(c.key, c.len)
	}
	fs.log.WithField("slots", stats).Debug("cache recovered")
	return fs.reportLost()
}

type cutSlot struct {
	key sliver.Key
	len int
}

// reportLost logs every dirty sliver whose slot is no more. That takes a disk
// that loses what it has confirmed; reading such a sliver is EIO.
func (fs *FS) reportLost() error {
	return fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Pending(func(id sliver.FileID) bool {
			_ = tx.Bmaps(id, 0, func(no sliver.BmapNo, b *catalog.Bmap) bool {
				for i := range b.Slivers {
					k := sliver.Key{File: id, No: no.First() + sliver.No(i)}
					if b.Slivers[i].Dirty && !fs.cache.State(k, cache.Behind{}).Resident() {
						fs.log.WithField("file", id).WithField("sliver", k.No).
							Error("data that had been synced is gone from the cache's disk, and it was not on tape yet; reading it gives EIO")
					}
				}
				return true
			})
			return true
		})
	})
}

// recoverOrphans reclaims the files that were unlinked but open at the end of
// the last run.
func (fs *FS) recoverOrphans() error {
	var ids []sliver.FileID
	err := fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Orphans(func(id sliver.FileID) bool {
			ids = append(ids, id)
			return true
		})
	})
	for _, id := range ids {
		var r catalog.Inode
		if err == nil {
			err = fs.cat.View(func(tx *catalog.Tx) (err error) {
				r, err = tx.Inode(id)
				return err
			})
		}
		if err == nil {
			_, err = fs.deleteRecords(&r)
		}
	}
	return err
}
