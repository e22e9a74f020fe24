package backend

import (
	stderrors "errors"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

const atRemoveDir = 0x200 // AT_REMOVEDIR of unlinkat(2)

func (n *node) UnlinkAt(c *vfs.Cred, name string, flags uint32) error {
	fs, dir := n.ino.fs, n.ino
	fs.ns.Lock()
	defer fs.ns.Unlock()
	return fs.unlink(c, dir, name, func(r *catalog.Inode) error {
		switch {
		case flags&atRemoveDir != 0 && !isDir(r):
			return linux.ENOTDIR
		case flags&atRemoveDir == 0 && isDir(r):
			return linux.EISDIR
		}
		return nil
	})
}

// unlink takes a name out of a directory. fs.ns must be held.
func (fs *FS) unlink(c *vfs.Cred, dir *inode, name string, check func(*catalog.Inode) error) error {
	d := dir.attr()
	if !isDir(&d) {
		return linux.ENOTDIR
	}
	if err := access(c, &d, mayExec); err != nil {
		return err
	}
	ino, err := fs.child(dir.id, name)
	if err != nil {
		return err
	}
	defer ino.release()
	defer lockInodes(dir, ino)()
	d = dir.record()
	r := ino.record()
	if err := mayDelete(c, &d, &r); err != nil {
		return err
	}
	if err := check(&r); err != nil {
		return err
	}
	if err := fs.checkEmpty(&r); err != nil {
		return err
	}
	now := fs.now()
	dirChange, change := entryRemoved(now, isDir(&r)), nameRemoved(now)
	noted := fs.noted(&d)
	dirChange(&d)
	change(&r)
	err = fs.cat.Update(func(tx *catalog.Tx) error {
		return firstError(
			tx.DeleteDirent(dir.id, name),
			tx.DeleteName(r.ID, dir.id, name),
			tx.PutInode(&d),
			putPendingUnless(tx, dir.id, noted),
			putUnlinked(tx, &r),
		)
	})
	if err != nil {
		return err
	}
	dir.apply(dirChange)
	ino.apply(change)
	fs.pending.add(dir.id)
	fs.lostName(&r)
	return nil
}

// lostName keeps the set of pending files as putUnlinked has left it in the
// catalog. The file's mu must be held.
func (fs *FS) lostName(r *catalog.Inode) {
	if r.NLink > 0 {
		fs.pending.add(r.ID)
		return
	}
	fs.pending.remove(r.ID) // added again by reclaim, if it is on tape
}

// nameRemoved is the change of a file that loses a name.
func nameRemoved(now catalog.Time) func(*catalog.Inode) {
	return func(r *catalog.Inode) {
		r.NLink--
		if isDir(r) {
			r.NLink = 0
		}
		r.Ctime = now
		r.DataVersion++
		r.Flags |= catalog.FlagMetaDirty
	}
}

// putUnlinked writes the record of a file that has lost a name. One without
// names is an orphan: it lives until it is let go, or until the next start.
func putUnlinked(tx *catalog.Tx, r *catalog.Inode) error {
	if r.NLink > 0 {
		return firstError(tx.PutInode(r), tx.PutPending(r.ID))
	}
	return firstError(tx.PutInode(r), tx.PutOrphan(r.ID), tx.DeletePending(r.ID))
}

func (fs *FS) checkEmpty(r *catalog.Inode) error {
	if !isDir(r) {
		return nil
	}
	if r.ID == sliver.RootID {
		return linux.EBUSY
	}
	return fs.cat.View(func(tx *catalog.Tx) error {
		empty, err := tx.DirEmpty(r.ID)
		if err == nil && !empty {
			return linux.ENOTEMPTY
		}
		return err
	})
}

// reclaim deletes what an unlinked file had, when the last reference is gone.
// The tape's copies become dead bytes of their volumes.
func (fs *FS) reclaim(ino *inode) {
	ino.mu.Lock()
	defer ino.mu.Unlock()
	onTape, err := fs.deleteRecords(ino.id)
	if err != nil {
		// The orphan's record stays: the next start tries again.
		fs.log.WithField("file", ino.id).WithError(err).Error("an unlinked file could not be reclaimed; the next start tries again")
		return
	}
	ino.am.Lock()
	ino.gone = true
	ino.am.Unlock()
	fs.unsynced.remove(ino)
	if onTape {
		fs.pending.add(ino.id)
	} else {
		fs.pending.remove(ino.id)
	}
	fs.files.Add(-1)
	fs.cache.Unpin(ino.id)
	fs.cache.TruncateFile(ino.id, 0, nil)
}

// deleteRecords takes all records of an orphan out of the catalog. If a volume's
// index has the file, it stays pending, so that its removal gets to tape as well:
// else a rebuild from tapes would bring it back.
func (fs *FS) deleteRecords(id sliver.FileID) (onTape bool, err error) {
	err = fs.cat.Update(func(tx *catalog.Tx) error {
		r, err := tx.Inode(id)
		if err != nil {
			return err
		}
		onTape = r.Flags&catalog.FlagOnTape != 0 || r.Archived != catalog.Time{} && r.Flags&catalog.FlagImported == 0
		dead := map[catalog.VolumeNo]int64{}
		err = tx.Bmaps(id, 0, func(_ sliver.BmapNo, b *catalog.Bmap) bool {
			for i := range b.Slivers {
				countDead(dead, &b.Slivers[i])
			}
			return true
		})
		return firstError(err,
			addDead(tx, dead),
			tx.DeleteBmaps(id, 0),
			tx.DeleteXattrs(id),
			tx.DeleteInode(id),
			tx.DeleteOrphan(id),
			deletePins(tx, id),
			putPendingIf(tx, id, onTape),
			addCounter(tx, counterFiles, -1),
		)
	})
	return onTape, err
}

func putPendingIf(tx *catalog.Tx, id sliver.FileID, pending bool) error {
	if pending {
		return tx.PutPending(id)
	}
	return tx.DeletePending(id)
}

// countDead adds the bytes that a sliver's record has on tape.
func countDead(dead map[catalog.VolumeNo]int64, r *catalog.SliverRec) {
	for _, c := range r.Copies {
		for _, p := range c.Pieces {
			dead[c.Volume] += int64(p.Len)
		}
	}
}

// addDead notes in the volumes' records that bytes on them are of no use now.
func addDead(tx *catalog.Tx, dead map[catalog.VolumeNo]int64) error {
	for no, n := range dead {
		v, err := tx.Volume(no)
		if stderrors.Is(err, catalog.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		v.Dead += n
		if err := tx.PutVolume(&v); err != nil {
			return err
		}
	}
	return nil
}

// noFile is the FileID that names nothing.
const noFile sliver.FileID = 0

// whereLocked returns a name under which the node's file can be found now: that
// by which it was reached, if it still is there. fs.ns must be held.
func (n *node) whereLocked() (dir *inode, name string, err error) {
	fs := n.ino.fs
	parent, name := n.parent, n.name
	if id, err := fs.lookup(parent, name); name == "" || err != nil || id != n.ino.id {
		parent = noFile
		err := fs.cat.View(func(tx *catalog.Tx) error {
			return tx.Names(n.ino.id, func(d sliver.FileID, nm string) bool {
				parent, name = d, nm
				return false
			})
		})
		if err != nil {
			return nil, "", err
		}
		if parent == noFile {
			return nil, "", linux.ENOENT
		}
	}
	dir, err = fs.get(parent)
	return dir, name, err
}

func (n *node) Remove(c *vfs.Cred) error {
	fs := n.ino.fs
	if n.ino.id == sliver.RootID {
		return linux.EBUSY
	}
	fs.ns.Lock()
	defer fs.ns.Unlock()
	dir, name, err := n.whereLocked()
	if err != nil {
		return err
	}
	defer dir.release()
	return fs.unlink(c, dir, name, func(*catalog.Inode) error { return nil })
}
