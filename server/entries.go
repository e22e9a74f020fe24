package server

import (
	"bytes"

	"github.com/hugelgupf/p9/linux"
	"sliod/server/wire"
)

// atRemoveDir is the one flag of Tunlinkat.
const atRemoveDir = 0x200

// mkdir serves Tmkdir.
func (c *conn) mkdir(q *wire.MsgTmkdir) (wire.Message, error) {
	f, err := c.parent(q.Dir, q.Name, linux.EEXIST)
	if err != nil {
		return nil, err
	}
	qid, err := f.node.Mkdir(f.cred, string(q.Name), c.newMode(q.Mode)&^typeBits, q.GID)
	if err != nil {
		return nil, err
	}
	c.rep.mkdir.QID = c.qid(qid)
	return &c.rep.mkdir, nil
}

// symlink serves Tsymlink.
func (c *conn) symlink(q *wire.MsgTsymlink) (wire.Message, error) {
	f, err := c.parent(q.Dir, q.Name, linux.EEXIST)
	switch {
	case err != nil:
		return nil, err
	case len(q.Target) == 0:
		return nil, linux.ENOENT
	case len(q.Target) >= maxPath:
		return nil, linux.ENAMETOOLONG
	case bytes.IndexByte(q.Target, 0) >= 0:
		return nil, linux.EINVAL
	}
	qid, err := f.node.Symlink(f.cred, string(q.Name), string(q.Target), q.GID)
	if err != nil {
		return nil, err
	}
	c.rep.symlink.QID = c.qid(qid)
	return &c.rep.symlink, nil
}

// mknod serves Tmknod.
func (c *conn) mknod(q *wire.MsgTmknod) (wire.Message, error) {
	f, err := c.parent(q.Dir, q.Name, linux.EEXIST)
	if err != nil {
		return nil, err
	}
	qid, err := f.node.Mknod(f.cred, string(q.Name), c.newMode(q.Mode), q.Major, q.Minor, q.GID)
	if err != nil {
		return nil, err
	}
	c.rep.mknod.QID = c.qid(qid)
	return &c.rep.mknod, nil
}

// link serves Tlink.
func (c *conn) link(q *wire.MsgTlink) (wire.Message, error) {
	f, err := c.parent(q.Dir, q.Name, linux.EEXIST)
	if err != nil {
		return nil, err
	}
	target, err := c.sameTree(f, q.Fid)
	if err != nil {
		return nil, err
	}
	if err := f.node.Link(f.cred, target.node, string(q.Name)); err != nil {
		return nil, err
	}
	return &c.rep.link, nil
}

// unlinkat serves Tunlinkat.
func (c *conn) unlinkat(q *wire.MsgTunlinkat) (wire.Message, error) {
	dots := error(linux.EISDIR)
	switch {
	case q.Flags&^atRemoveDir != 0:
		return nil, linux.EINVAL
	case q.Flags == atRemoveDir && isDot(q.Name):
		dots = linux.EINVAL
	case q.Flags == atRemoveDir:
		dots = linux.ENOTEMPTY
	}
	f, err := c.parent(q.Dir, q.Name, dots)
	if err != nil {
		return nil, err
	}
	if err := f.node.UnlinkAt(f.cred, string(q.Name), q.Flags); err != nil {
		return nil, err
	}
	return &c.rep.unlinkat, nil
}

// renameat serves Trenameat.
func (c *conn) renameat(q *wire.MsgTrenameat) (wire.Message, error) {
	f, err := c.parent(q.OldDir, q.OldName, linux.EBUSY)
	if err != nil {
		return nil, err
	}
	if err := checkEntry(q.NewName, linux.EBUSY); err != nil {
		return nil, err
	}
	to, err := c.sameTree(f, q.NewDir)
	if err != nil {
		return nil, err
	}
	if err := f.node.RenameAt(f.cred, string(q.OldName), to.node, string(q.NewName)); err != nil {
		return nil, err
	}
	return &c.rep.renameat, nil
}

// rename serves Trename.
func (c *conn) rename(q *wire.MsgTrename) (wire.Message, error) {
	f, err := c.node(q.Fid)
	if err != nil {
		return nil, err
	}
	if err := checkEntry(q.Name, linux.EBUSY); err != nil {
		return nil, err
	}
	to, err := c.sameTree(f, q.Dir)
	if err != nil {
		return nil, err
	}
	if err := f.node.Rename(f.cred, to.node, string(q.Name)); err != nil {
		return nil, err
	}
	return &c.rep.rename, nil
}

// remove serves Tremove. The fid is gone whatever the answer is.
func (c *conn) remove(q *wire.MsgTremove) (wire.Message, error) {
	f, err := c.fid(q.Fid)
	if err != nil {
		return nil, err
	}
	delete(c.fids, q.Fid)
	err = linux.EBADF
	if f.xattr == nil {
		err = f.node.Remove(f.cred)
	}
	c.release(f)
	if err != nil {
		return nil, err
	}
	return &c.rep.remove, nil
}

// parent returns the fid of a directory in which name is to be changed.
func (c *conn) parent(n uint32, name []byte, dots error) (*fid, error) {
	f, err := c.node(n)
	if err != nil {
		return nil, err
	}
	return f, checkEntry(name, dots)
}

// sameTree returns the fid n, which must be of f's tree.
func (c *conn) sameTree(f *fid, n uint32) (*fid, error) {
	g, err := c.node(n)
	if err == nil && g.fs != f.fs {
		err = linux.EXDEV
	}
	return g, err
}
