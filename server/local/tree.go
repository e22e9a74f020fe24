package local

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend/vfs"
	"sliod/client9p"
	"sliod/client9p/bridge"
	"sliod/export"
	"sliod/server"
)

const (
	maxName     = 255
	maxTarget   = 4095 // PATH_MAX with its NUL
	atRemoveDir = 0x200
)

// Tree is a tree in this process.
type Tree struct {
	fs    vfs.FS
	users *server.Users
	// recalls keeps rule, the rule for recalls; nil: they are allowed.
	recalls *server.Recalls
	rule    *export.Recall
	conn    uint64 // the number that stands for this mount in the owners of locks
}

var _ bridge.Tree = (*Tree)(nil)

// conns counts down from the top: the server counts its connections up from 1.
var conns atomic.Uint64

// New returns the tree fs. Closing fs is the caller's, after the Tree's.
func New(fs vfs.FS) *Tree {
	return &Tree{fs: fs, users: server.NewUsers(), conn: -conns.Add(1)}
}

// Limit has the tree keep a rule for recalls. It is called before the tree is used.
func (t *Tree) Limit(recalls *server.Recalls, rule *export.Recall) { t.recalls, t.rule = recalls, rule }

// cred returns the credentials of a user.
func (t *Tree) cred(uid uint32) *vfs.Cred {
	c := t.users.Cred(uid)
	if t.recalls != nil {
		c.Recalls = t.recalls.Gate(t.rule, "", uid)
	}
	return c
}

// Attach implements bridge.Tree.
func (t *Tree) Attach(_ context.Context, uid uint32) (bridge.File, error) {
	c := t.cred(uid)
	n, err := t.fs.Attach(c, "")
	if err != nil {
		return nil, err
	}
	return &file{t, n, c}, nil
}

// Close implements bridge.Tree: there is nothing to end.
func (t *Tree) Close() error { return nil }

// file is a reference to a node, and who holds it.
type file struct {
	t *Tree
	n vfs.Node
	c *vfs.Cred
}

func (f *file) QID() p9.QID { return f.n.QID() }
func (f *file) Close()      { f.n.Release() }

func checkName(name string) error {
	if len(name) > maxName {
		return linux.ENAMETOOLONG
	}
	return nil // the bridge takes no empty name, and none with a slash or NUL
}

// entry makes an Entry of a new reference.
func (f *file) entry(n vfs.Node) (bridge.Entry, error) {
	g := &file{f.t, n, f.c}
	a, err := g.Getattr(context.Background())
	if err != nil {
		n.Release()
		return bridge.Entry{}, err
	}
	return bridge.Entry{File: g, Attr: a}, nil
}

func (f *file) Walk(_ context.Context, name string) (bridge.Entry, error) {
	if err := checkName(name); err != nil {
		return bridge.Entry{}, err
	}
	n, err := f.n.Walk(f.c, name)
	if err != nil {
		return bridge.Entry{}, err
	}
	return f.entry(n)
}

func (f *file) WalkAll(ctx context.Context, names []string) []bridge.Walked {
	list := make([]bridge.Walked, len(names))
	for i, name := range names {
		list[i].Entry, list[i].Err = f.Walk(ctx, name)
	}
	return list
}

func (f *file) As(_ context.Context, uid uint32) (bridge.File, error) {
	return &file{f.t, f.n.Clone(), f.t.cred(uid)}, nil
}

func (f *file) Getattr(context.Context) (p9.Attr, error) { return f.n.Getattr(f.c) }

func (f *file) Setattr(_ context.Context, valid uint32, attr p9.SetAttr) error {
	return f.n.Setattr(f.c, client9p.SetMask(valid), attr, false)
}

func (f *file) Statfs(context.Context) (p9.FSStat, error) { return f.n.Statfs(f.c) }
func (f *file) Readlink(context.Context) (string, error)  { return f.n.Readlink(f.c) }

func (f *file) Xattr(_ context.Context, name string) ([]byte, error) {
	if name == "" {
		return f.n.XattrList(f.c)
	}
	return f.n.Xattr(f.c, name)
}

func (f *file) SetXattr(_ context.Context, name string, value []byte, flags uint32) error {
	if value == nil {
		value = []byte{}
	}
	return f.n.SetXattr(f.c, name, value, flags)
}

func (f *file) RemoveXattr(_ context.Context, name string) error {
	const replace = 2
	return f.n.SetXattr(f.c, name, nil, replace)
}

func (f *file) Open(_ context.Context, flags p9.OpenFlags) (bridge.Handle, error) {
	h, err := f.n.Open(f.c, flags)
	if err != nil {
		return nil, err
	}
	return &handle{t: f.t, f: h, qid: f.n.QID()}, nil
}

// inGroup is who makes a file of the group gid. The kernel has said that the process is in
// it, which the user database need not know.
func (f *file) inGroup(gid uint32) *vfs.Cred {
	if f.c.InGroup(gid) {
		return f.c
	}
	c := *f.c
	c.Groups = append(slices.Clip(c.Groups), gid)
	return &c
}

func (f *file) Create(_ context.Context, name string, flags p9.OpenFlags, mode p9.FileMode, gid uint32) (bridge.Entry, bridge.Handle, error) {
	if err := checkName(name); err != nil {
		return bridge.Entry{}, nil, err
	}
	n, h, err := f.n.Create(f.inGroup(gid), name, flags, mode, gid)
	if err != nil {
		return bridge.Entry{}, nil, err
	}
	e, err := f.entry(n)
	if err != nil {
		h.Close()
		return bridge.Entry{}, nil, err
	}
	return e, &handle{t: f.t, f: h, qid: n.QID()}, nil
}

// made walks to what was made.
func (f *file) made(ctx context.Context, name string, err error) (bridge.Entry, error) {
	if err != nil {
		return bridge.Entry{}, err
	}
	return f.Walk(ctx, name)
}

func (f *file) Mkdir(ctx context.Context, name string, mode p9.FileMode, gid uint32) (bridge.Entry, error) {
	err := checkName(name)
	if err == nil {
		_, err = f.n.Mkdir(f.inGroup(gid), name, mode, gid)
	}
	return f.made(ctx, name, err)
}

func (f *file) Symlink(ctx context.Context, name, target string, gid uint32) (bridge.Entry, error) {
	err := checkName(name)
	if len(target) > maxTarget {
		err = linux.ENAMETOOLONG
	}
	if err == nil {
		_, err = f.n.Symlink(f.inGroup(gid), name, target, gid)
	}
	return f.made(ctx, name, err)
}

func (f *file) Mknod(ctx context.Context, name string, mode p9.FileMode, major, minor, gid uint32) (bridge.Entry, error) {
	err := checkName(name)
	if err == nil {
		_, err = f.n.Mknod(f.inGroup(gid), name, mode, major, minor, gid)
	}
	return f.made(ctx, name, err)
}

func (f *file) Link(_ context.Context, target bridge.File, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return f.n.Link(f.c, target.(*file).n, name)
}

func (f *file) Rename(_ context.Context, oldName string, dir bridge.File, newName string) error {
	if err := checkName(newName); err != nil {
		return err
	}
	return f.n.RenameAt(f.c, oldName, dir.(*file).n, newName)
}

func (f *file) Unlink(_ context.Context, name string) error { return f.n.UnlinkAt(f.c, name, 0) }
func (f *file) Rmdir(_ context.Context, name string) error {
	return f.n.UnlinkAt(f.c, name, atRemoveDir)
}
