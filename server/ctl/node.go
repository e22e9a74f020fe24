package ctl

import (
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend/vfs"
)

// Linux open flags beside the access mode, as 9P2000.L sends them.
const (
	flagTrunc = 0o1000
	flagDir   = 0o200000
)

// superMagic is V9FS_MAGIC, what statfs(2) tells of a 9P file system.
const superMagic = 0x01021997

// node is a reference to a file of the tree. It has no state, so clones are cheap
// and Release has nothing to do.
type node struct {
	t *FS
	e *entry
}

func (n *node) QID() p9.QID     { return n.e.qid() }
func (n *node) Clone() vfs.Node { return &node{t: n.t, e: n.e} }
func (n *node) Release()        {}

func (n *node) Walk(_ *vfs.Cred, name string) (vfs.Node, error) {
	e, err := n.e.child(n.t, name)
	if err != nil {
		return nil, err
	}
	return &node{t: n.t, e: e}, nil
}

func (n *node) Getattr(*vfs.Cred) (p9.Attr, error) {
	sec, nsec := uint64(n.t.started.Unix()), uint64(n.t.started.Nanosecond())
	a := p9.Attr{
		Mode: n.e.mode, UID: p9.UID(n.t.owner.UID), GID: p9.GID(n.t.owner.GID), NLink: 1, BlockSize: 4096,
		ATimeSeconds: sec, ATimeNanoSeconds: nsec,
		MTimeSeconds: sec, MTimeNanoSeconds: nsec,
		CTimeSeconds: sec, CTimeNanoSeconds: nsec,
		BTimeSeconds: sec, BTimeNanoSeconds: nsec,
	}
	if n.e.isDir() {
		a.NLink = 2
		for _, c := range n.e.children {
			if c.isDir() {
				a.NLink++
			}
		}
	}
	if n.e.report != nil {
		// A job that is not known any longer has no length, but its fid stays usable.
		if text, err := n.e.report(n.t); err == nil {
			a.Size = uint64(len(text))
		}
	}
	return a, nil
}

// Setattr accepts, and ignores, what a shell's "> jobs/new" asks for: a
// truncate and new times. All else is refused.
func (n *node) Setattr(c *vfs.Cred, mask p9.SetAttrMask, attr p9.SetAttr, writable bool) error {
	if !n.e.commands() {
		return linux.EPERM
	}
	if !writable && !n.t.mayCommand(c) {
		return linux.EACCES
	}
	if mask.Permissions || mask.UID || mask.GID || (mask.Size && attr.Size != 0) {
		return linux.EPERM
	}
	return nil
}

func (n *node) Statfs(*vfs.Cred) (p9.FSStat, error) {
	return p9.FSStat{Type: superMagic, BlockSize: 4096, NameLength: 255}, nil
}

func (n *node) Readlink(*vfs.Cred) (string, error) { return "", linux.EINVAL }

func (n *node) Open(c *vfs.Cred, flags p9.OpenFlags) (vfs.File, error) {
	writes := flags.Mode() != p9.ReadOnly || flags&flagTrunc != 0
	f := &file{n: n, reads: flags.Mode() != p9.WriteOnly, writes: flags.Mode() != p9.ReadOnly}
	switch {
	case flags&p9.OpenFlagsModeMask == 3:
		return nil, linux.EINVAL
	case n.e.isDir():
		if writes {
			return nil, linux.EISDIR
		}
	case flags&flagDir != 0:
		return nil, linux.ENOTDIR
	case n.e.commands():
		if !n.t.mayCommand(c) {
			return nil, linux.EACCES
		}
	case writes:
		// The same for root: the mode bits would let it pass.
		return nil, linux.EACCES
	default:
		// Opening says whether the job is still known, as opening any file does.
		text, err := n.e.report(n.t)
		if err != nil {
			return nil, err
		}
		f.text = text
	}
	return f, nil
}

// The tree cannot be changed.

func (n *node) Create(*vfs.Cred, string, p9.OpenFlags, p9.FileMode, uint32) (vfs.Node, vfs.File, error) {
	return nil, nil, n.readOnly()
}

func (n *node) Mkdir(*vfs.Cred, string, p9.FileMode, uint32) (p9.QID, error) {
	return p9.QID{}, n.readOnly()
}

func (n *node) Symlink(*vfs.Cred, string, string, uint32) (p9.QID, error) {
	return p9.QID{}, n.readOnly()
}

func (n *node) Mknod(*vfs.Cred, string, p9.FileMode, uint32, uint32, uint32) (p9.QID, error) {
	return p9.QID{}, n.readOnly()
}

func (n *node) Link(*vfs.Cred, vfs.Node, string) error { return n.readOnly() }

func (n *node) UnlinkAt(*vfs.Cred, string, uint32) error { return n.readOnly() }

func (n *node) RenameAt(*vfs.Cred, string, vfs.Node, string) error { return n.readOnly() }

func (n *node) Remove(*vfs.Cred) error { return linux.EPERM }

func (n *node) Rename(*vfs.Cred, vfs.Node, string) error { return linux.EPERM }

func (n *node) readOnly() error {
	if !n.e.isDir() {
		return linux.ENOTDIR
	}
	return linux.EPERM
}

func (n *node) Xattr(*vfs.Cred, string) ([]byte, error) { return nil, linux.ENODATA }

func (n *node) XattrList(*vfs.Cred) ([]byte, error) { return nil, nil }

func (n *node) SetXattr(*vfs.Cred, string, []byte, uint32) error { return linux.EOPNOTSUPP }
