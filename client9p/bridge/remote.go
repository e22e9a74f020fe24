package bridge

import (
	"context"
	stderrors "errors"
	"os"
	"strconv"
	"sync"
	"syscall"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/pkg/errors"

	"sliod/client9p"
)

// Remote is the Tree of a 9P2000.L server, SLIOD or another. When its connection is
// lost, requests wait for the next one, and what can be repeated is repeated:
//
//   - A question, a read, a write with an offset, and a change of attributes are asked
//     again.
//   - What makes, moves or removes a name is tried again too. If the name then turns
//     out to be there already, or not to be there, it may have been done before:
//     a removal counts as done, all else is EIO.
//   - A write to a file opened with O_APPEND is EIO, as it may have been done.
//   - Files are found again by their FileID, and open files opened again. One that
//     holds a lock fails with EIO from then on, as another may have had the lock
//     meanwhile. One that wrote what it did not sync does too, unless the server says
//     that nothing was lost: it is the same as before, or was stopped cleanly. Otherwise the
//     next sync of the file, by whichever open file, is EIO too (unsynced).
type Remote struct{ s *session }

var _ Tree = (*Remote)(nil)

// NewRemote connects to a server.
func NewRemote(ctx context.Context, o RemoteOptions) (*Remote, error) {
	s, err := newSession(ctx, o)
	if err != nil {
		return nil, err
	}
	return &Remote{s}, nil
}

func uid() uint32 { return uint32(os.Geteuid()) }

// Attach implements Tree.
func (r *Remote) Attach(ctx context.Context, uid uint32) (File, error) {
	c, epoch, err := r.s.conn(ctx)
	if err != nil {
		return nil, err
	}
	f, err := c.Attach(ctx, r.s.o.Uname, r.s.as(uid), r.s.o.Aname)
	if err != nil {
		return nil, err
	}
	return r.file(f, epoch, uid), nil
}

// Close implements Tree.
func (r *Remote) Close() error { return r.s.close() }

// remoteFile is a fid that is not open.
type remoteFile struct {
	s   *session
	uid uint32
	qid p9.QID

	mu     sync.Mutex
	fid    *client9p.Fid // of the connection epoch
	epoch  uint64
	closed bool

	unsynced unsynced
}

func (r *Remote) file(f *client9p.Fid, epoch uint64, uid uint32) *remoteFile {
	return &remoteFile{s: r.s, uid: uid, qid: f.QID(), fid: f, epoch: epoch}
}

func (f *remoteFile) QID() p9.QID { return f.qid }

func (f *remoteFile) Close() {
	f.mu.Lock()
	f.closed = true
	fid := f.fid
	f.mu.Unlock()
	fid.Drop()
}

// clunk gives a fid back. It cannot fail but with the connection, and then the fid is
// gone as well.
func clunk(f *client9p.Fid) { _ = f.Clunk(context.Background()) }

// byNumber is the attach name of a file. Its names may have changed, or may be in no
// directory that the user can search.
func (f *remoteFile) byNumber() string { return "id:" + strconv.FormatUint(f.qid.Path, 10) }

// at returns the file's fid on the connection that there is.
func (f *remoteFile) at(ctx context.Context) (*client9p.Fid, uint64, error) {
	for {
		c, epoch, err := f.s.conn(ctx)
		if err != nil {
			return nil, 0, err
		}
		f.mu.Lock()
		fid, at, closed := f.fid, f.epoch, f.closed
		f.mu.Unlock()
		if at == epoch {
			return fid, epoch, nil
		}
		if closed {
			return nil, 0, errors.WithStack(linux.EBADF)
		}
		fid, err = c.Attach(ctx, f.s.o.Uname, f.s.as(f.uid), f.byNumber())
		switch {
		case disconnected(err):
			continue
		case stderrors.Is(err, linux.ENOENT):
			return nil, 0, errors.Wrap(linux.ESTALE, "find a file again after the connection was lost: it was removed meanwhile")
		case err != nil:
			return nil, 0, errors.WithMessage(err, "find a file again after the connection was lost")
		case fid.QID().Path != f.qid.Path:
			clunk(fid)
			return nil, 0, errors.Wrap(linux.ESTALE, "find a file again after the connection was lost: the server does not find files by number")
		}
		f.mu.Lock()
		if f.epoch >= epoch || f.closed {
			f.mu.Unlock()
			clunk(fid)
			continue
		}
		f.fid, f.epoch = fid, epoch
		f.mu.Unlock()
	}
}

// epochOf returns the epoch of a fid that was reached from f, 0 if its connection is gone
// already: it is found again then.
func (f *remoteFile) epochOf(g *client9p.Fid) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fid.Client() != g.Client() {
		return 0
	}
	return f.epoch
}

// ask runs a request that can be repeated.
func (f *remoteFile) ask(ctx context.Context, do func(*client9p.Fid) error) error {
	_, err := f.try(ctx, do)
	return err
}

// try is ask, and says whether an attempt was made on an earlier connection, which may
// have done it.
func (f *remoteFile) try(ctx context.Context, do func(*client9p.Fid) error) (again bool, err error) {
	for ; ; again = true {
		fid, _, err := f.at(ctx)
		if err != nil {
			return again, err
		}
		if err = do(fid); !disconnected(err) {
			return again, err
		}
	}
}

// change runs a request that makes, moves or removes a name. ambiguous is what the
// server says if an earlier attempt did it.
func (f *remoteFile) change(ctx context.Context, what string, ambiguous linux.Errno, do func(*client9p.Fid) error) error {
	again, err := f.try(ctx, do)
	if again && stderrors.Is(err, ambiguous) {
		return errors.Wrapf(errGone, "%s: it is not known whether it was done", what)
	}
	return err
}

func (f *remoteFile) Walk(ctx context.Context, name string) (Entry, error) {
	var e Entry
	err := f.ask(ctx, func(fid *client9p.Fid) error {
		g, a, err := fid.Lookup(ctx, name)
		if err != nil {
			return err
		}
		e = f.entry(g, a)
		return nil
	})
	return e, err
}

// entry makes an Entry of a fid that was reached from f.
func (f *remoteFile) entry(g *client9p.Fid, a p9.Attr) Entry {
	return Entry{&remoteFile{s: f.s, uid: f.uid, qid: g.QID(), fid: g, epoch: f.epochOf(g)}, a}
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

func (f *remoteFile) As(ctx context.Context, uid uint32) (File, error) {
	for {
		c, epoch, err := f.s.conn(ctx)
		if err != nil {
			return nil, err
		}
		fid, err := c.Attach(ctx, f.s.o.Uname, f.s.as(uid), f.byNumber())
		if disconnected(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if fid.QID().Path != f.qid.Path { // a server that does not know files by number has answered with its root
			clunk(fid)
			return nil, linux.ESTALE
		}
		return &remoteFile{s: f.s, uid: uid, qid: fid.QID(), fid: fid, epoch: epoch}, nil
	}
}

func (f *remoteFile) Getattr(ctx context.Context) (a p9.Attr, err error) {
	err = f.ask(ctx, func(fid *client9p.Fid) error { _, a, err = fid.Getattr(ctx); return err })
	return a, err
}

func (f *remoteFile) Setattr(ctx context.Context, valid uint32, attr p9.SetAttr) error {
	return f.ask(ctx, func(fid *client9p.Fid) error {
		epoch := f.epochOf(fid)
		err := fid.Setattr(ctx, valid, attr)
		if err == nil && valid&client9p.SetSize != 0 {
			f.unsynced.changed(epoch)
		}
		return err
	})
}

func (f *remoteFile) Statfs(ctx context.Context) (s p9.FSStat, err error) {
	err = f.ask(ctx, func(fid *client9p.Fid) error { s, err = fid.Statfs(ctx); return err })
	return s, err
}

func (f *remoteFile) Readlink(ctx context.Context) (s string, err error) {
	err = f.ask(ctx, func(fid *client9p.Fid) error { s, err = fid.Readlink(ctx); return err })
	return s, err
}

func (f *remoteFile) Xattr(ctx context.Context, name string) (v []byte, err error) {
	err = f.ask(ctx, func(fid *client9p.Fid) error { v, err = fid.Xattr(ctx, name); return err })
	return v, err
}

func (f *remoteFile) SetXattr(ctx context.Context, name string, value []byte, flags uint32) error {
	return f.change(ctx, "set an attribute", linux.EEXIST, func(fid *client9p.Fid) error { return fid.SetXattr(ctx, name, value, flags) })
}

func (f *remoteFile) RemoveXattr(ctx context.Context, name string) error {
	again, err := f.try(ctx, func(fid *client9p.Fid) error { return fid.RemoveXattr(ctx, name) })
	if again && stderrors.Is(err, linux.ENODATA) {
		return nil
	}
	return err
}

func (f *remoteFile) Mkdir(ctx context.Context, name string, mode p9.FileMode, gid uint32) (Entry, error) {
	err := f.change(ctx, "mkdir", linux.EEXIST, func(fid *client9p.Fid) error { _, err := fid.Mkdir(ctx, name, modeFor(fid, mode), gid); return err })
	return f.made(ctx, name, err)
}

func (f *remoteFile) Symlink(ctx context.Context, name, target string, gid uint32) (Entry, error) {
	err := f.change(ctx, "symlink", linux.EEXIST, func(fid *client9p.Fid) error { _, err := fid.Symlink(ctx, name, target, gid); return err })
	return f.made(ctx, name, err)
}

func (f *remoteFile) Mknod(ctx context.Context, name string, mode p9.FileMode, major, minor, gid uint32) (Entry, error) {
	err := f.change(ctx, "mknod", linux.EEXIST, func(fid *client9p.Fid) error {
		_, err := fid.Mknod(ctx, name, modeFor(fid, mode), major, minor, gid)
		return err
	})
	return f.made(ctx, name, err)
}

// modeFor is the mode of a new file as the server understands it: one without the
// extension is told what the umask leaves.
func modeFor(fid *client9p.Fid, mode p9.FileMode) p9.FileMode {
	if fid.Client().Extended() {
		return mode
	}
	return mode & (1<<umaskShift - 1) &^ (mode >> umaskShift)
}

// made walks to what was made.
func (f *remoteFile) made(ctx context.Context, name string, err error) (Entry, error) {
	if err != nil {
		return Entry{}, err
	}
	return f.Walk(ctx, name)
}

// both runs a change that needs a second file, on one connection.
func (f *remoteFile) both(ctx context.Context, g *remoteFile, what string, ambiguous linux.Errno, do func(f, g *client9p.Fid) error) error {
	return f.change(ctx, what, ambiguous, func(fid *client9p.Fid) error {
		other, _, err := g.at(ctx)
		if err != nil {
			return err
		}
		if other.Client() != fid.Client() {
			return client9p.ErrClosed // the connection changed in between: again
		}
		return do(fid, other)
	})
}

func (f *remoteFile) Link(ctx context.Context, target File, name string) error {
	return f.both(ctx, target.(*remoteFile), "link", linux.EEXIST, func(fid, to *client9p.Fid) error { return fid.Link(ctx, to, name) })
}

func (f *remoteFile) Rename(ctx context.Context, oldName string, dir File, newName string) error {
	return f.both(ctx, dir.(*remoteFile), "rename", linux.ENOENT, func(fid, to *client9p.Fid) error { return fid.Rename(ctx, oldName, to, newName) })
}

func (f *remoteFile) Unlink(ctx context.Context, name string) error {
	return f.remove(ctx, func(fid *client9p.Fid) error { return fid.Unlink(ctx, name) })
}

func (f *remoteFile) Rmdir(ctx context.Context, name string) error {
	return f.remove(ctx, func(fid *client9p.Fid) error { return fid.Rmdir(ctx, name) })
}

// Remove implements Remover.
func (f *remoteFile) Remove(ctx context.Context, name string, dir bool) (attr p9.Attr, ok bool, err error) {
	err = f.remove(ctx, func(fid *client9p.Fid) error {
		attr, ok, err = fid.RemoveGetattr(ctx, name, dir)
		return err
	})
	return attr, ok, err
}

// remove runs a removal: if it was tried before and nothing is there now, it is done.
func (f *remoteFile) remove(ctx context.Context, do func(*client9p.Fid) error) error {
	again, err := f.try(ctx, do)
	if again && stderrors.Is(err, linux.ENOENT) {
		return nil
	}
	return err
}

func (f *remoteFile) Open(ctx context.Context, flags p9.OpenFlags) (Handle, error) {
	h := &remoteHandle{f: f, flags: flags}
	err := f.ask(ctx, func(fid *client9p.Fid) error {
		epoch := f.epochOf(fid)
		err := h.open(ctx, fid, flags)
		if err == nil && flags&syscall.O_TRUNC != 0 {
			h.changed(epoch)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (f *remoteFile) Create(ctx context.Context, name string, flags p9.OpenFlags, mode p9.FileMode, gid uint32) (Entry, Handle, error) {
	h := &remoteHandle{flags: flags}
	var e Entry
	err := f.change(ctx, "create", linux.EEXIST, func(fid *client9p.Fid) error {
		// An open fid cannot be walked from by every server's rules: the file's own comes by
		// its name.
		g, own, a, err := fid.CreateLookup(ctx, name, flags, modeFor(fid, mode), gid)
		if err != nil {
			return err
		}
		e = f.entry(own, a)
		if e.File.QID().Path != g.QID().Path {
			e.File.Close() // another took the name at once
			clunk(g)
			return errors.Wrap(linux.ESTALE, "the new file was replaced at once")
		}
		h.f, h.fid = e.File.(*remoteFile), g
		h.epoch = h.f.epochOf(g)
		return nil
	})
	if err != nil {
		return Entry{}, nil, err
	}
	h.qid = h.fid.QID()
	return e, h, nil
}
