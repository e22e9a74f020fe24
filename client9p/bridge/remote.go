package bridge

import (
	"context"
	stderrors "errors"
	"io"
	"strconv"
	"sync"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/client9p"
)

// Remote is the Tree of a 9P2000.L server, SLIOD or another.
type Remote struct {
	c     *client9p.Client
	uname string
	aname string
}

var _ Tree = (*Remote)(nil)

// NewRemote returns the tree that aname names on the server at the other end of c,
// which belongs to it from then on.
func NewRemote(c *client9p.Client, uname, aname string) *Remote {
	return &Remote{c: c, uname: uname, aname: aname}
}

// Attach implements Tree.
func (r *Remote) Attach(ctx context.Context, uid uint32) (File, error) {
	f, err := r.c.Attach(ctx, r.uname, uid, r.aname)
	if err != nil {
		return nil, err
	}
	return &remoteFile{r, f}, nil
}

// Close implements Tree.
func (r *Remote) Close() error { return r.c.Close() }

// remoteFile is a fid that is not open.
type remoteFile struct {
	r *Remote
	f *client9p.Fid
}

func (f *remoteFile) QID() p9.QID { return f.f.QID() }
func (f *remoteFile) Close()      { clunk(f.f) }

// clunk gives a fid back. It cannot fail but with the connection, and then the fid is
// gone as well.
func clunk(f *client9p.Fid) { _ = f.Clunk(context.Background()) }

func (f *remoteFile) Walk(ctx context.Context, name string) (Entry, error) {
	g, err := f.f.Walk(ctx, name)
	if err != nil {
		return Entry{}, err
	}
	return f.entry(ctx, g)
}

// entry makes an Entry of a new fid.
func (f *remoteFile) entry(ctx context.Context, g *client9p.Fid) (Entry, error) {
	_, a, err := g.Getattr(ctx)
	if err != nil {
		clunk(g)
		return Entry{}, err
	}
	return Entry{&remoteFile{f.r, g}, a}, nil
}

func (f *remoteFile) WalkAll(ctx context.Context, names []string) []Walked {
	list := make([]Walked, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { list[i].Entry, list[i].Err = f.Walk(ctx, name) })
	}
	wg.Wait()
	return list
}

// As implements File by the file's number, as a name may be in no directory that the
// user can search.
func (f *remoteFile) As(ctx context.Context, uid uint32) (File, error) {
	g, err := f.r.c.Attach(ctx, f.r.uname, uid, "id:"+strconv.FormatUint(f.QID().Path, 10))
	if err != nil {
		return nil, err
	}
	return &remoteFile{f.r, g}, nil
}

func (f *remoteFile) Getattr(ctx context.Context) (p9.Attr, error) {
	_, a, err := f.f.Getattr(ctx)
	return a, err
}

func (f *remoteFile) Setattr(ctx context.Context, valid uint32, attr p9.SetAttr) error {
	return f.f.Setattr(ctx, valid, attr)
}

func (f *remoteFile) Statfs(ctx context.Context) (p9.FSStat, error) { return f.f.Statfs(ctx) }
func (f *remoteFile) Readlink(ctx context.Context) (string, error)  { return f.f.Readlink(ctx) }
func (f *remoteFile) Unlink(ctx context.Context, name string) error { return f.f.Unlink(ctx, name) }
func (f *remoteFile) Rmdir(ctx context.Context, name string) error  { return f.f.Rmdir(ctx, name) }
func (f *remoteFile) Xattr(ctx context.Context, name string) ([]byte, error) {
	return f.f.Xattr(ctx, name)
}

func (f *remoteFile) SetXattr(ctx context.Context, name string, value []byte, flags uint32) error {
	return f.f.SetXattr(ctx, name, value, flags)
}

func (f *remoteFile) RemoveXattr(ctx context.Context, name string) error {
	return f.f.RemoveXattr(ctx, name)
}

func (f *remoteFile) Open(ctx context.Context, flags p9.OpenFlags) (Handle, error) {
	g, err := f.f.Walk(ctx)
	if err != nil {
		return nil, err
	}
	if err := g.Open(ctx, flags); err != nil {
		clunk(g)
		return nil, err
	}
	return &remoteHandle{g}, nil
}

func (f *remoteFile) Create(ctx context.Context, name string, flags p9.OpenFlags, mode p9.FileMode, gid uint32) (Entry, Handle, error) {
	h, err := f.f.Create(ctx, name, flags, mode, gid)
	if err != nil {
		return Entry{}, nil, err
	}
	g, err := h.Walk(ctx)
	if stderrors.Is(err, linux.EBADF) || stderrors.Is(err, linux.EINVAL) {
		g, err = f.f.Walk(ctx, name) // a server that does not clone an open fid, as some refuse to
	}
	if err == nil {
		var e Entry
		if e, err = f.entry(ctx, g); err == nil {
			return e, &remoteHandle{h}, nil
		}
	}
	clunk(h)
	return Entry{}, nil, err
}

// made walks to what was made.
func (f *remoteFile) made(ctx context.Context, name string, err error) (Entry, error) {
	if err != nil {
		return Entry{}, err
	}
	return f.Walk(ctx, name)
}

func (f *remoteFile) Mkdir(ctx context.Context, name string, mode p9.FileMode, gid uint32) (Entry, error) {
	_, err := f.f.Mkdir(ctx, name, mode, gid)
	return f.made(ctx, name, err)
}

func (f *remoteFile) Symlink(ctx context.Context, name, target string, gid uint32) (Entry, error) {
	_, err := f.f.Symlink(ctx, name, target, gid)
	return f.made(ctx, name, err)
}

func (f *remoteFile) Mknod(ctx context.Context, name string, mode p9.FileMode, major, minor, gid uint32) (Entry, error) {
	_, err := f.f.Mknod(ctx, name, mode, major, minor, gid)
	return f.made(ctx, name, err)
}

func (f *remoteFile) Link(ctx context.Context, target File, name string) error {
	return f.f.Link(ctx, target.(*remoteFile).f, name)
}

func (f *remoteFile) Rename(ctx context.Context, oldName string, dir File, newName string) error {
	return f.f.Rename(ctx, oldName, dir.(*remoteFile).f, newName)
}

// remoteHandle is an open fid.
type remoteHandle struct{ f *client9p.Fid }

func (h *remoteHandle) QID() p9.QID { return h.f.QID() }
func (h *remoteHandle) Close()      { clunk(h.f) }

func (h *remoteHandle) ReadAt(ctx context.Context, p []byte, off uint64) (int, error) {
	n, err := h.f.ReadFull(ctx, p, off)
	if err == io.EOF {
		err = nil
	}
	return n, err
}

func (h *remoteHandle) WriteAt(ctx context.Context, p []byte, off uint64) (int, error) {
	return h.f.WriteFull(ctx, p, off)
}

func (h *remoteHandle) Readdir(ctx context.Context, off uint64) ([]p9.Dirent, error) {
	return h.f.Readdir(ctx, off)
}

func (h *remoteHandle) Fsync(ctx context.Context, dataOnly bool) error {
	return h.f.Fsync(ctx, dataOnly)
}

func (h *remoteHandle) SetLock(ctx context.Context, l client9p.Lock, wait bool) error {
	return h.f.SetLock(ctx, l, wait)
}

func (h *remoteHandle) GetLock(ctx context.Context, l client9p.Lock) (client9p.Lock, error) {
	return h.f.GetLock(ctx, l)
}
