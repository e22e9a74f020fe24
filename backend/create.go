package backend

import (
	stderrors "errors"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// Flags of open(2) as 9P2000.L sends them.
const (
	openWriteOnly = 0o1
	openReadWrite = 0o2
	openAccMode   = 0o3
	openExcl      = 0o200
	openTrunc     = 0o1000
	openAppend    = 0o2000
	openDirectory = 0o200000
)

// maxTarget is the longest target of a symbolic link, as in Linux (PATH_MAX).
const maxTarget = 4095

// createTries bounds how often somebody may be faster than a create.
const createTries = 100

func (n *node) Create(c *vfs.Cred, name string, flags p9.OpenFlags, mode p9.FileMode, gid uint32) (vfs.Node, vfs.File, error) {
	for try := 0; ; try++ {
		child, err := n.make(c, name, catalog.Inode{Mode: modeFile | uint32(mode)&modePerm, GID: gid}, vfs.Umask(mode))
		if err == nil {
			// The creator may use the file as it asked to, whatever the mode says.
			return child, child.opened(c, flags), nil
		}
		if !stderrors.Is(err, linux.EEXIST) || flags&openExcl != 0 {
			return nil, nil, err
		}
		old, err := n.Walk(c, name)
		if stderrors.Is(err, linux.ENOENT) && try < createTries {
			continue // another client has just removed it
		}
		if err != nil {
			return nil, nil, err
		}
		f, err := old.Open(c, flags)
		if err != nil {
			old.Release()
			return nil, nil, err
		}
		return old, f, nil
	}
}

func (n *node) Mkdir(c *vfs.Cred, name string, mode p9.FileMode, gid uint32) (p9.QID, error) {
	return n.makeQID(c, name, catalog.Inode{Mode: modeDir | uint32(mode)&modePerm, GID: gid}, vfs.Umask(mode))
}

func (n *node) Symlink(c *vfs.Cred, name, target string, gid uint32) (p9.QID, error) {
	if target == "" {
		return p9.QID{}, linux.ENOENT
	}
	if len(target) > maxTarget {
		return p9.QID{}, linux.ENAMETOOLONG
	}
	return n.makeQID(c, name, catalog.Inode{Mode: modeLink | 0o777, GID: gid, Target: target}, 0)
}

func (n *node) Mknod(c *vfs.Cred, name string, mode p9.FileMode, major, minor, gid uint32) (p9.QID, error) {
	m := uint32(mode) & (modeType | modePerm)
	switch m & modeType {
	case 0:
		m |= modeFile
		fallthrough
	case modeFile, modeFIFO, modeSocket:
		major, minor = 0, 0
	case modeBlock, modeChar:
		if c.UID != 0 {
			return p9.QID{}, linux.EPERM
		}
	default:
		return p9.QID{}, linux.EINVAL
	}
	return n.makeQID(c, name, catalog.Inode{Mode: m, GID: gid, Major: major, Minor: minor}, vfs.Umask(mode))
}

func (n *node) makeQID(c *vfs.Cred, name string, r catalog.Inode, umask uint32) (p9.QID, error) {
	child, err := n.make(c, name, r, umask)
	if err != nil {
		return p9.QID{}, err
	}
	defer child.Release()
	return child.QID(), nil
}

// make adds a new file with the given mode, group, device and target to the
// directory n. umask is what its maker lets no file have, where the directory does not say.
func (n *node) make(c *vfs.Cred, name string, r catalog.Inode, umask uint32) (*node, error) {
	fs, dir := n.ino.fs, n.ino
	fs.ns.Lock()
	defer fs.ns.Unlock()
	defer lockInodes(dir)()
	d := dir.record()
	if !isDir(&d) {
		return nil, linux.ENOTDIR
	}
	if d.NLink == 0 {
		return nil, linux.ENOENT
	}
	if _, err := fs.lookup(dir.id, name); err == nil {
		return nil, linux.EEXIST
	} else if !stderrors.Is(err, linux.ENOENT) {
		return nil, err
	}
	if err := access(c, &d, mayWrite|mayExec); err != nil {
		return nil, err
	}
	now := fs.now()
	r.Mode, r.GID = inherit(c, &d, r.Mode, r.GID)
	inheritACL(&d, &r, umask)
	r.UID, r.NLink, r.Generation, r.DataVersion, r.Parent = c.UID, 1, 1, 1, dir.id
	r.Atime, r.Mtime, r.Ctime, r.Btime = now, now, now, now
	r.Flags = catalog.FlagMetaDirty | catalog.FlagNoBmaps | catalog.FlagNoXattrs
	if isDir(&r) {
		r.NLink, r.NextCookie = 2, catalog.FirstCookie
	}
	change := entryAdded(now, isDir(&r))
	noted := fs.noted(&d)
	change(&d)
	err := fs.updateCount(1, func(tx *catalog.Tx) (err error) {
		if r.ID, err = tx.NextFileID(); err != nil {
			return err
		}
		return firstError(
			tx.PutInode(&r),
			tx.AddDirent(dir.id, catalog.Dirent{Name: name, ID: r.ID, Type: direntType(r.Mode), Cookie: d.NextCookie - 1}),
			tx.PutName(r.ID, dir.id, name),
			tx.PutInode(&d),
			putPendingUnless(tx, dir.id, noted),
			tx.PutPending(r.ID),
		)
	})
	if err != nil {
		return nil, err
	}
	dir.apply(change)
	fs.pending.add(dir.id)
	fs.pending.add(r.ID)
	// Others have been able to find the name since the catalog has it, and may have changed the file: r is old.
	ino, err := fs.get(r.ID)
	if err != nil {
		return nil, err
	}
	return &node{ino, dir.id, name}, nil
}

// noted says whether the catalog has the pending record of a directory, whose mu is
// held: it comes and goes with FlagMetaDirty, in the same update.
func (fs *FS) noted(d *catalog.Inode) bool {
	return d.Flags&catalog.FlagMetaDirty != 0 && fs.pending.has(d.ID)
}

// putPendingUnless is PutPending, but for a file that has it.
func putPendingUnless(tx *catalog.Tx, id sliver.FileID, noted bool) error {
	if noted {
		return nil
	}
	return tx.PutPending(id)
}

// entryAdded is the change of a directory that gets an entry.
func entryAdded(now catalog.Time, subdir bool) func(*catalog.Inode) {
	return func(d *catalog.Inode) {
		d.NextCookie++
		d.Mtime = now
		changedAt(d, now)
		if subdir {
			d.NLink++
		}
	}
}

// entryRemoved is the change of a directory that loses an entry.
func entryRemoved(now catalog.Time, subdir bool) func(*catalog.Inode) {
	return func(d *catalog.Inode) {
		d.Mtime = now
		changedAt(d, now)
		if subdir {
			d.NLink--
		}
	}
}

func (n *node) Link(c *vfs.Cred, target vfs.Node, name string) error {
	t, ok := target.(*node)
	if !ok || t.ino.fs != n.ino.fs {
		return linux.EXDEV
	}
	fs, dir := n.ino.fs, n.ino
	fs.ns.Lock()
	defer fs.ns.Unlock()
	defer lockInodes(dir, t.ino)()
	d, r := dir.record(), t.ino.record()
	switch {
	case !isDir(&d):
		return linux.ENOTDIR
	case isDir(&r):
		return linux.EPERM
	case d.NLink == 0 || r.NLink == 0:
		return linux.ENOENT
	}
	if _, err := fs.lookup(dir.id, name); err == nil {
		return linux.EEXIST
	} else if !stderrors.Is(err, linux.ENOENT) {
		return err
	}
	if err := access(c, &d, mayWrite|mayExec); err != nil {
		return err
	}
	now := fs.now()
	dirChange := entryAdded(now, false)
	noted := fs.noted(&d)
	change := func(r *catalog.Inode) {
		r.NLink++
		changedAt(r, now)
	}
	dirChange(&d)
	change(&r)
	err := fs.cat.Update(func(tx *catalog.Tx) error {
		return firstError(
			tx.AddDirent(dir.id, catalog.Dirent{Name: name, ID: r.ID, Type: direntType(r.Mode), Cookie: d.NextCookie - 1}),
			tx.PutName(r.ID, dir.id, name),
			tx.PutInode(&d),
			tx.PutInode(&r),
			putPendingUnless(tx, dir.id, noted),
			tx.PutPending(r.ID),
		)
	})
	if err != nil {
		return err
	}
	dir.apply(dirChange)
	t.ino.apply(change)
	fs.pending.add(dir.id)
	fs.pending.add(r.ID)
	return nil
}

// firstError returns the first of errs that is not nil.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
