package server

import (
	"strings"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/pkg/errors"

	"sliod/backend/vfs"
	"sliod/export"
)

// exported is an export as a tree of its own: the subtree below its path, from which no
// name and no number leads out, with the owners that its clients see. Two of the same
// export and the same directory are equal, so files of both can be linked and renamed
// to each other.
type exported struct {
	vfs.FS
	e   *export.Export
	top uint64 // QID path of its directory
}

// asServer walks to the export's directory: the one who configured it may.
var asServer = &vfs.Cred{}

// newExported finds the directory of an export, which can be another one each time.
func newExported(fs vfs.FS, e *export.Export) (exported, error) {
	n, err := fs.Attach(asServer, strings.TrimSuffix(e.Path, "/"))
	if err != nil {
		return exported{}, errors.WithMessagef(err, "the path %s of [export.%s]", e.Path, e.Name)
	}
	defer n.Release()
	if n.QID().Type&p9.TypeDir == 0 {
		return exported{}, errors.Wrapf(linux.ENOTDIR, "the path %s of [export.%s]", e.Path, e.Name)
	}
	return exported{fs, e, n.QID().Path}, nil
}

// root returns the export's directory.
func (x exported) root() (vfs.Node, error) {
	n, err := x.FS.Attach(asServer, strings.TrimSuffix(x.e.Path, "/"))
	if err != nil {
		return nil, err
	}
	if n.QID().Path != x.top {
		n.Release()
		return nil, linux.ESTALE // another directory has taken its place just now
	}
	return n, nil
}

// Attach implements vfs.FS.
func (x exported) Attach(c *vfs.Cred, path string) (vfs.Node, error) {
	n, err := x.root()
	if err != nil {
		return nil, err
	}
	at := vfs.Node(x.node(n))
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			continue
		}
		next, err := walkOne(c, at, []byte(name))
		at.Release()
		if err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

// Find implements vfs.Finder: only a file below the export's directory is found.
func (x exported) Find(c *vfs.Cred, _, id uint64) (vfs.Node, error) {
	finder, ok := x.FS.(vfs.Finder)
	if !ok {
		return nil, linux.ENOENT
	}
	n, err := finder.Find(c, x.top, id)
	if err != nil {
		return nil, err
	}
	return x.node(n), nil
}

func (x exported) node(n vfs.Node) *exportedNode { return &exportedNode{n, x} }

// change says whether the export may be changed.
func (x exported) change() error {
	if x.e.ReadOnly {
		return linux.EROFS
	}
	return nil
}

// group is the group that a client wants for something new.
func (x exported) group(c *vfs.Cred, gid uint32) uint32 {
	if id, ok := x.e.GroupMeant(gid); ok {
		return id
	}
	return c.GID
}

// exportedNode is a file of an export.
type exportedNode struct {
	vfs.Node
	x exported
}

func (n *exportedNode) isTop() bool     { return n.QID().Path == n.x.top }
func (n *exportedNode) Clone() vfs.Node { return n.x.node(n.Node.Clone()) }

// Walk implements vfs.Node. Up it goes to the export's directory at most, also from a
// directory that somebody has moved out of the export.
func (n *exportedNode) Walk(c *vfs.Cred, name string) (vfs.Node, error) {
	if name == ".." && n.isTop() {
		return n.Clone(), nil
	}
	next, err := n.Node.Walk(c, name)
	if err != nil {
		return nil, err
	}
	if name == ".." {
		if err := n.x.inside(next); err != nil {
			next.Release()
			return nil, err
		}
	}
	return n.x.node(next), nil
}

// inside says whether a directory is the export's or below it.
func (x exported) inside(dir vfs.Node) error {
	at := dir.Clone()
	defer func() { at.Release() }()
	for at.QID().Path != x.top {
		up, err := at.Walk(asServer, "..")
		if err != nil {
			return err
		}
		same := up.QID().Path == at.QID().Path
		at.Release()
		at = up
		if same { // the root of the archive
			return linux.ESTALE
		}
	}
	return nil
}

func (n *exportedNode) Getattr(c *vfs.Cred) (p9.Attr, error) {
	a, err := n.Node.Getattr(c)
	if err == nil {
		uid, gid := n.x.e.Shown(uint32(a.UID), uint32(a.GID))
		a.UID, a.GID = p9.UID(uid), p9.GID(gid)
	}
	return a, err
}

func (n *exportedNode) Setattr(c *vfs.Cred, mask p9.SetAttrMask, attr p9.SetAttr, writable bool) error {
	if err := n.x.change(); err != nil {
		return err
	}
	if mask.UID {
		id, ok := n.x.e.Meant(uint32(attr.UID))
		if !ok {
			return linux.EPERM
		}
		attr.UID = p9.UID(id)
	}
	if mask.GID {
		id, ok := n.x.e.GroupMeant(uint32(attr.GID))
		if !ok {
			return linux.EPERM
		}
		attr.GID = p9.GID(id)
	}
	return n.Node.Setattr(c, mask, attr, writable)
}

func (n *exportedNode) Open(c *vfs.Cred, flags p9.OpenFlags) (vfs.File, error) {
	if flags.Mode() != p9.ReadOnly || flags&oTrunc != 0 {
		if err := n.x.change(); err != nil {
			return nil, err
		}
	}
	f, err := n.Node.Open(c, flags)
	if err == nil && n.isTop() {
		f = &topDir{f, n.QID()}
	}
	return f, err
}

// topDir is the export's directory, open. Its entry ".." is itself.
type topDir struct {
	vfs.File
	qid p9.QID
}

func (d *topDir) Readdir(off uint64, fn func(p9.Dirent) bool) error {
	return d.File.Readdir(off, func(e p9.Dirent) bool {
		if e.Name == ".." {
			e.QID = d.qid
		}
		return fn(e)
	})
}

func (n *exportedNode) Create(c *vfs.Cred, name string, flags p9.OpenFlags, mode p9.FileMode, gid uint32) (vfs.Node, vfs.File, error) {
	if err := n.x.change(); err != nil {
		return nil, nil, err
	}
	child, f, err := n.Node.Create(c, name, flags, mode, n.x.group(c, gid))
	if err != nil {
		return nil, nil, err
	}
	return n.x.node(child), f, nil
}

func (n *exportedNode) Mkdir(c *vfs.Cred, name string, mode p9.FileMode, gid uint32) (p9.QID, error) {
	if err := n.x.change(); err != nil {
		return p9.QID{}, err
	}
	return n.Node.Mkdir(c, name, mode, n.x.group(c, gid))
}

func (n *exportedNode) Symlink(c *vfs.Cred, name, target string, gid uint32) (p9.QID, error) {
	if err := n.x.change(); err != nil {
		return p9.QID{}, err
	}
	return n.Node.Symlink(c, name, target, n.x.group(c, gid))
}

func (n *exportedNode) Mknod(c *vfs.Cred, name string, mode p9.FileMode, major, minor, gid uint32) (p9.QID, error) {
	if err := n.x.change(); err != nil {
		return p9.QID{}, err
	}
	return n.Node.Mknod(c, name, mode, major, minor, n.x.group(c, gid))
}

func (n *exportedNode) Link(c *vfs.Cred, target vfs.Node, name string) error {
	if err := n.x.change(); err != nil {
		return err
	}
	t, ok := target.(*exportedNode)
	if !ok {
		return linux.EXDEV
	}
	return n.Node.Link(c, t.Node, name)
}

func (n *exportedNode) UnlinkAt(c *vfs.Cred, name string, flags uint32) error {
	if err := n.x.change(); err != nil {
		return err
	}
	return n.Node.UnlinkAt(c, name, flags)
}

func (n *exportedNode) RenameAt(c *vfs.Cred, oldName string, newDir vfs.Node, newName string) error {
	if err := n.x.change(); err != nil {
		return err
	}
	to, ok := newDir.(*exportedNode)
	if !ok {
		return linux.EXDEV
	}
	return n.Node.RenameAt(c, oldName, to.Node, newName)
}

// Remove implements vfs.Node. The export's directory is an entry of a directory that
// is not the client's.
func (n *exportedNode) Remove(c *vfs.Cred) error {
	if err := n.x.change(); err != nil {
		return err
	}
	if n.isTop() {
		return linux.EBUSY
	}
	return n.Node.Remove(c)
}

func (n *exportedNode) Rename(c *vfs.Cred, newDir vfs.Node, newName string) error {
	if err := n.x.change(); err != nil {
		return err
	}
	to, ok := newDir.(*exportedNode)
	switch {
	case !ok:
		return linux.EXDEV
	case n.isTop():
		return linux.EBUSY
	}
	return n.Node.Rename(c, to.Node, newName)
}

// aclPrefix is how the names of attributes begin whose values hold numbers of users.
const aclPrefix = "system.posix_acl_"

func (n *exportedNode) Xattr(c *vfs.Cred, name string) ([]byte, error) {
	if strings.HasPrefix(name, aclPrefix) && n.x.e.Translates() {
		return nil, linux.ENODATA // its numbers are the server's
	}
	return n.Node.Xattr(c, name)
}

func (n *exportedNode) SetXattr(c *vfs.Cred, name string, value []byte, flags uint32) error {
	if err := n.x.change(); err != nil {
		return err
	}
	if strings.HasPrefix(name, aclPrefix) && n.x.e.Translates() {
		return linux.EOPNOTSUPP
	}
	return n.Node.SetXattr(c, name, value, flags)
}
