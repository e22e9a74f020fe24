package backend

import (
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

func (n *node) Setattr(c *vfs.Cred, mask p9.SetAttrMask, attr p9.SetAttr, writable bool) error {
	ino := n.ino
	ino.mu.Lock()
	defer ino.mu.Unlock()
	r := ino.attr()
	if err := checkSetattr(c, &r, mask, &attr, writable); err != nil {
		return err
	}
	now := ino.fs.now()
	change := func(r *catalog.Inode) {
		if mask.Permissions {
			m := uint32(attr.Permissions) & modePerm
			if c.UID != 0 && !c.InGroup(r.GID) {
				m &^= modeSGID
			}
			r.Mode, r.ACL = r.Mode&modeType|m, r.ACL.Chmod(m)
		}
		if (mask.UID && uint32(attr.UID) != r.UID || mask.GID && uint32(attr.GID) != r.GID) && isFile(r) && !mask.Permissions {
			clearSetID(r)
		}
		if mask.UID {
			r.UID = uint32(attr.UID)
		}
		if mask.GID {
			r.GID = uint32(attr.GID)
		}
		if mask.ATime {
			r.Atime = now
			if mask.ATimeNotSystemTime {
				r.Atime = catalog.Time{Sec: int64(attr.ATimeSeconds), Nsec: uint32(attr.ATimeNanoSeconds)}
			}
		}
		if mask.MTime {
			r.Mtime = now
			if mask.MTimeNotSystemTime {
				r.Mtime = catalog.Time{Sec: int64(attr.MTimeSeconds), Nsec: uint32(attr.MTimeNanoSeconds)}
			}
		}
		changedAt(r, now)
	}
	if mask.Size {
		return ino.truncateLocked(attr.Size, func(r *catalog.Inode) {
			if c.UID != 0 && !mask.Permissions {
				clearSetID(r)
			}
			if !mask.MTime {
				r.Mtime = now
			}
			change(r)
		})
	}
	return ino.changeLocked(change)
}

// checkSetattr says whether c may make the change; nothing has been changed.
func checkSetattr(c *vfs.Cred, r *catalog.Inode, mask p9.SetAttrMask, attr *p9.SetAttr, writable bool) error {
	if mask.Permissions && !owns(c, r) {
		return linux.EPERM
	}
	if mask.UID && c.UID != 0 && (uint32(attr.UID) != r.UID || c.UID != r.UID) {
		return linux.EPERM
	}
	if mask.GID && c.UID != 0 && uint32(attr.GID) != r.GID && (c.UID != r.UID || !c.InGroup(uint32(attr.GID))) {
		return linux.EPERM
	}
	if mask.ATime && mask.ATimeNotSystemTime || mask.MTime && mask.MTimeNotSystemTime {
		if !owns(c, r) {
			return linux.EPERM
		}
		if attr.ATimeNanoSeconds >= 1e9 || attr.MTimeNanoSeconds >= 1e9 {
			return linux.EINVAL
		}
	} else if (mask.ATime || mask.MTime) && !owns(c, r) && !writable {
		if err := access(c, r, mayWrite); err != nil {
			return err
		}
	}
	if mask.Size {
		switch {
		case isDir(r):
			return linux.EISDIR
		case !isFile(r):
			return linux.EINVAL
		case attr.Size > sliver.MaxFileSize:
			return linux.EFBIG
		}
		if !writable {
			return access(c, r, mayWrite)
		}
	}
	return nil
}

// clearSetID drops the bits that must not survive a change by another than the
// owner: setuid, and setgid where it means what it says.
func clearSetID(r *catalog.Inode) {
	r.Mode &^= modeSUID
	if r.Mode&0o010 != 0 {
		r.Mode &^= modeSGID
	}
}

// changeLocked commits a change of attributes. ino.mu must be held.
func (ino *inode) changeLocked(change func(*catalog.Inode)) error {
	r := ino.record()
	change(&r)
	err := ino.putLocked(&r, func(tx *catalog.Tx) error { return putPendingIf(tx, ino.id, r.NLink > 0) })
	if err != nil {
		return err
	}
	ino.apply(change)
	if r.NLink > 0 {
		ino.fs.pending.add(ino.id)
	}
	return nil
}

// truncateLocked sets the size and makes change with it. Nothing waits for tape:
// what an absent sliver loses is cut in its record. ino.mu must be held.
//
// The catalog is updated first: slots that it named are then quarantined by the
// cache until that update is on disk.
func (ino *inode) truncateLocked(size uint64, change func(*catalog.Inode)) error {
	old := ino.size()
	if size >= old {
		// Growing shows zeros after data that may not be on disk yet: the new size
		// reaches the catalog with that data, by the syncer or an fsync.
		if err := ino.changeLocked(change); err != nil {
			return err
		}
		if size > old {
			ino.grow(size)
		}
		return nil
	}
	r := ino.record()
	change(&r)
	r.Size = min(r.Size, size)
	if size == 0 {
		r.Generation++
	}
	first := sliver.Count(size)
	cut := map[sliver.BmapNo]*catalog.Bmap{}
	if err := ino.cutBmapLocked(size, cut); err != nil {
		return err
	}
	next, _ := first.Bmap()
	if _, i := first.Bmap(); i > 0 {
		next++
	}
	dead, err := ino.deadFrom(first)
	if err != nil {
		return err
	}
	err = ino.putLocked(&r, func(tx *catalog.Tx) error {
		for no, b := range cut {
			if err := tx.PutBmap(ino.id, no, b); err != nil {
				return err
			}
		}
		if err := tx.DeleteBmaps(ino.id, next); err != nil {
			return err
		}
		return firstError(addDead(tx, dead), putPendingIf(tx, ino.id, r.NLink > 0))
	})
	if err != nil {
		return err
	}
	ino.bmaps = cut
	if r.NLink > 0 {
		ino.fs.pending.add(ino.id)
	}
	ino.fs.cache.TruncateFile(ino.id, size, func() {
		ino.am.Lock()
		ino.rec.Size, ino.durableSize = size, min(ino.durableSize, size)
		if size == 0 {
			ino.rec.Generation++
		}
		ino.am.Unlock()
	})
	ino.apply(change)
	return nil
}

// deadFrom returns what the slivers from first on have on tape.
func (ino *inode) deadFrom(first sliver.No) (map[catalog.VolumeNo]int64, error) {
	dead := map[catalog.VolumeNo]int64{}
	from, _ := first.Bmap()
	err := ino.fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Bmaps(ino.id, from, func(no sliver.BmapNo, b *catalog.Bmap) bool {
			for i := range b.Slivers {
				if no.First()+sliver.No(i) >= first {
					countDead(dead, &b.Slivers[i])
				}
			}
			return true
		})
	})
	return dead, err
}

// cutBmapLocked puts into cut the record of the bmap in which a file of size
// bytes ends, without what lies behind.
func (ino *inode) cutBmapLocked(size uint64, cut map[sliver.BmapNo]*catalog.Bmap) error {
	if size == 0 {
		return nil
	}
	last := sliver.Count(size) - 1
	no, i := last.Bmap()
	b, _, err := ino.bmapLocked(last)
	if err != nil {
		return err
	}
	c := *b
	for j := i + 1; j < sliver.PerBmap; j++ {
		c.Slivers[j] = catalog.SliverRec{}
	}
	c.Slivers[i].Len = min(c.Slivers[i].Len, uint32(sliver.LenIn(size, last)))
	cut[no] = &c
	return nil
}

// grow sets a larger size. It reaches the catalog with the next sync.
func (ino *inode) grow(size uint64) {
	ino.am.Lock()
	ino.rec.Size = max(ino.rec.Size, size)
	first := !ino.unsynced
	ino.unsynced = true
	ino.am.Unlock()
	if first {
		ino.fs.unsynced.add(ino)
	}
}
