package backend

import (
	stderrors "errors"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

func (n *node) Rename(c *vfs.Cred, newDir vfs.Node, newName string) error {
	fs := n.ino.fs
	to, ok := newDir.(*node)
	if !ok || to.ino.fs != fs {
		return linux.EXDEV
	}
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
	return fs.rename(c, dir, name, to.ino, newName)
}

func (n *node) RenameAt(c *vfs.Cred, oldName string, newDir vfs.Node, newName string) error {
	fs := n.ino.fs
	to, ok := newDir.(*node)
	if !ok || to.ino.fs != fs {
		return linux.EXDEV
	}
	fs.ns.Lock()
	defer fs.ns.Unlock()
	return fs.rename(c, n.ino, oldName, to.ino, newName)
}

// rename is rename(2): one transaction, so that after a crash it has happened or
// it has not. fs.ns must be held.
func (fs *FS) rename(c *vfs.Cred, from *inode, oldName string, to *inode, newName string) error {
	fd, td := from.attr(), to.attr()
	if !isDir(&fd) || !isDir(&td) {
		return linux.ENOTDIR
	}
	if td.NLink == 0 {
		return linux.ENOENT
	}
	if err := firstError(access(c, &fd, mayExec), access(c, &td, mayExec)); err != nil {
		return err
	}
	ino, err := fs.child(from.id, oldName)
	if err != nil {
		return err
	}
	id := ino.id
	defer ino.release()
	r := ino.attr()
	if err := mayDelete(c, &fd, &r); err != nil {
		return err
	}
	if err := access(c, &td, mayWrite|mayExec); err != nil {
		return err
	}
	if isDir(&r) && from != to {
		if err := access(c, &r, mayWrite); err != nil { // its ".." changes
			return err
		}
	}
	if isDir(&r) {
		inside, err := fs.isBelow(to.id, id)
		if err != nil {
			return err
		}
		if inside {
			return linux.EINVAL
		}
	}
	var victim *inode
	var v catalog.Inode
	switch other, err := fs.lookup(to.id, newName); {
	case err == nil && other == id:
		return nil // two names of one file: rename(2) does nothing
	case err == nil:
		if victim, err = fs.get(other); err != nil {
			return err
		}
		defer victim.release()
		v = victim.attr()
		if err := mayDelete(c, &td, &v); err != nil {
			return err
		}
		if isDir(&r) && !isDir(&v) {
			return linux.ENOTDIR
		}
		if !isDir(&r) && isDir(&v) {
			return linux.EISDIR
		}
		if err := fs.checkEmpty(&v); err != nil {
			return err
		}
	case !stderrors.Is(err, linux.ENOENT):
		return err
	}

	defer lockInodes(from, to, ino, victim)()
	fd, td, r = from.record(), to.record(), ino.record()
	if victim != nil {
		v = victim.record()
	}
	now := fs.now()
	fromChange := entryRemoved(now, isDir(&r))
	toChange := entryAdded(now, isDir(&r))
	victimDir := func(d *catalog.Inode) {
		if victim != nil && isDir(&v) {
			d.NLink--
		}
	}
	change := func(r *catalog.Inode) {
		changedAt(r, now)
		r.Parent = to.id
	}
	victimChange := nameRemoved(now)
	target := &td
	if from == to {
		target = &fd
	}
	fromChange(&fd)
	toChange(target)
	victimDir(target)
	change(&r)
	removed := int64(0)
	if victim != nil {
		victimChange(&v)
		removed = goneAtOnce(&v)
	}
	err = fs.updateCount(-removed, func(tx *catalog.Tx) error {
		if victim != nil {
			err := firstError(tx.DeleteDirent(to.id, newName), tx.DeleteName(v.ID, to.id, newName), putUnlinked(tx, &v))
			if err != nil {
				return err
			}
		}
		err := firstError(
			tx.DeleteDirent(from.id, oldName),
			tx.DeleteName(id, from.id, oldName),
			tx.PutDirent(to.id, catalog.Dirent{Name: newName, ID: id, Type: direntType(r.Mode), Cookie: target.NextCookie - 1}),
			tx.PutName(id, to.id, newName),
			tx.PutInode(&fd),
			tx.PutInode(&r),
			tx.PutPending(from.id),
			tx.PutPending(to.id),
			tx.PutPending(id),
		)
		if err == nil && from != to {
			err = tx.PutInode(&td)
		}
		return err
	})
	if err != nil {
		return err
	}
	from.apply(fromChange)
	to.apply(toChange)
	to.apply(victimDir)
	ino.apply(change)
	if victim != nil {
		victim.apply(victimChange)
		victim.lostNameLocked(&v)
	}
	fs.pending.add(from.id)
	fs.pending.add(to.id)
	fs.pending.add(id)
	fs.rules.changed()
	return nil
}

// isBelow says whether directory dir is other, or lies below it. fs.ns must be
// held.
func (fs *FS) isBelow(dir, other sliver.FileID) (bool, error) {
	for dir != sliver.RootID {
		if dir == other {
			return true, nil
		}
		ino, err := fs.get(dir)
		if err != nil {
			return false, err
		}
		dir = ino.attr().Parent
		ino.release()
	}
	return dir == other, nil
}
