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
	entry, err := fs.entry(dir.id, name)
	if err != nil {
		return err
	}
	ino, err := fs.get(entry.ID)
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
	err = fs.updateCount(-goneAtOnce(&r), func(tx *catalog.Tx) error {
		return firstError(
			tx.RemoveDirent(dir.id, entry),
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
	ino.lostNameLocked(&r)
	return nil
}

// nameRemoved is the change of a file that loses a name.
func nameRemoved(now catalog.Time) func(*catalog.Inode) {
	return func(r *catalog.Inode) {
		r.NLink--
		if isDir(r) {
			r.NLink = 0
		}
		changedAt(r, now)
	}
}

// putUnlinked writes the record of a file that has lost a name, in an update that counts goneAtOnce. One without
// names is an orphan: it lives until it is let go, or until the next start.
func putUnlinked(tx *catalog.Tx, r *catalog.Inode) error {
	switch {
	case r.NLink > 0:
		return firstError(tx.PutInode(r), tx.PutPending(r.ID))
	case goneAtOnce(r) > 0:
		return firstError(tx.DeleteInode(r.ID), tx.DeletePending(r.ID))
	}
	return firstError(tx.PutInode(r), tx.PutOrphan(r.ID), tx.DeletePending(r.ID))
}

// goneAtOnce is 1 for a file whose record goes with its last name, though somebody may have the file open, and
// else 0. It goes if it is all that the catalog has of the file, and no index names the
// file: all else is in memory, the inode and the cache's slots, which no record names. If something of
// it is written while it is open, putLocked brings the record back and makes it an orphan. So, whenever
// the server ends, the catalog has nothing of the file, or an orphan.
//
// The record's flags say so after a crash, and with writers at the same time: the update that stores the first bmap or
// extended attribute stores the record without the flag, and that update and the one that takes the last
// name are made under the file's mu. Pins are no matter: the cache knows them as well (see reclaim), and a
// start takes those out that are of no file.
func goneAtOnce(r *catalog.Inode) int64 {
	const alone = catalog.FlagNoBmaps | catalog.FlagNoXattrs
	if r.NLink == 0 && r.Flags&alone == alone && !inIndex(r) {
		return 1
	}
	return 0
}

// inIndex says whether the index of a volume may name a file.
func inIndex(r *catalog.Inode) bool {
	return r.Flags&catalog.FlagOnTape != 0 || r.Archived != catalog.Time{} && r.Flags&catalog.FlagImported == 0
}

// lostNameLocked keeps in memory what putUnlinked has done in the catalog. ino.mu must be held.
func (ino *inode) lostNameLocked(r *catalog.Inode) {
	if r.NLink > 0 {
		ino.fs.pending.add(r.ID)
		return
	}
	ino.unrecorded = goneAtOnce(r) > 0
	ino.fs.pending.remove(r.ID) // added again by reclaim, if it is on tape
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
	onTape := false
	if !ino.unrecorded {
		r := ino.record()
		var err error
		if onTape, err = fs.deleteRecords(&r); err != nil {
			// The orphan's record stays: the next start tries again.
			fs.log.WithField("file", ino.id).WithError(err).Error("an unlinked file could not be reclaimed; the next start tries again")
			return
		}
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
	if fs.cache.Pinned(ino.id) {
		if err := fs.unpinFile(ino.id); err != nil {
			fs.log.WithField("file", ino.id).WithError(err).Error("the pins of a file that is gone could not be ended; the next start tries again")
		}
	}
	fs.cache.TruncateFile(ino.id, 0, nil)
}

// deleteRecords takes all records of an orphan out of the catalog. If a volume's
// index has the file, it stays pending, so that its removal gets to tape as well:
// else a rebuild from tapes would bring it back. Its pins are not its own records: see
// reclaim, and loadPins.
func (fs *FS) deleteRecords(r *catalog.Inode) (onTape bool, err error) {
	id := r.ID
	onTape = inIndex(r)
	err = fs.updateCount(-1, func(tx *catalog.Tx) error {
		any := false
		dead := map[catalog.VolumeNo]int64{}
		var err error
		if r.Flags&catalog.FlagNoBmaps == 0 {
			err = tx.Bmaps(id, 0, func(_ sliver.BmapNo, b *catalog.Bmap) bool {
				any = true
				for i := range b.Slivers {
					countDead(dead, &b.Slivers[i])
				}
				return true
			})
			err = firstError(err, tx.DeleteVerified(id)) // which had something to verify
		}
		if any && err == nil {
			err = firstError(addDead(tx, dead), tx.DeleteBmaps(id, 0))
		}
		if r.Flags&catalog.FlagNoXattrs == 0 {
			err = firstError(err, tx.DeleteXattrs(id))
		}
		return firstError(err,
			tx.DeleteInode(id),
			tx.DeleteOrphan(id),
			putPendingIf(tx, id, onTape),
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
			if !p.IsZeros() {
				dead[c.Volume] += int64(p.Len)
			}
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
