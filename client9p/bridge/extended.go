package bridge

import (
	"context"
	stderrors "errors"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/linux"

	"sliod/client9p"
)

// Extended is a Handle that can do what 9P2000.L has no messages for. ENOSYS says that
// the server cannot: the kernel remembers that, and does without.
type Extended interface {
	// Seek returns the first offset from off on that is in data (whence 3, SEEK_DATA) or
	// in a hole (4, SEEK_HOLE).
	Seek(ctx context.Context, off uint64, whence uint32) (uint64, error)
	// Allocate does what fallocate(2) does, to all of the range.
	Allocate(ctx context.Context, mode uint32, off, n uint64) error
	// CopyTo copies at most n bytes at off to the offset toOff of another Handle of the
	// same Tree. done is less than n at the end of the file, or with an error.
	CopyTo(ctx context.Context, off uint64, to Handle, toOff, n uint64) (done uint64, err error)
}

// Lseek serves lseek(2) with SEEK_DATA and SEEK_HOLE.
func (fs *FS) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	h := fs.handle(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	x, ok := h.h.(Extended)
	if !ok {
		return fuse.ENOSYS
	}
	off, err := x.Seek(fs.interruptible(cancel, in.Pid), in.Offset, in.Whence)
	out.Offset = off
	return fs.status("lseek", err)
}

// Fallocate serves fallocate(2).
func (fs *FS) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	if fs.ro {
		return fuse.EROFS
	}
	h := fs.handle(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	x, ok := h.h.(Extended)
	if !ok {
		return fuse.ENOSYS
	}
	ctx := fs.interruptible(cancel, in.Pid)
	if in.Uid != 0 {
		if err := h.node.dropSetID(ctx); err != nil {
			return fs.status("fallocate", err)
		}
	}
	return fs.status("fallocate", x.Allocate(ctx, in.Mode, in.Offset, in.Length))
}

// maxCopyRange is how much one answer to the kernel copies, which has 32 bits for it.
const maxCopyRange = 1 << 30

// CopyFileRange serves copy_file_range(2).
func (fs *FS) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	if fs.ro {
		return 0, fuse.EROFS
	}
	from, to := fs.handle(in.FhIn), fs.handle(in.FhOut)
	if from == nil || to == nil {
		return 0, fuse.EBADF
	}
	x, ok := from.h.(Extended)
	if !ok {
		return 0, fuse.ENOSYS
	}
	ctx := fs.interruptible(cancel, in.Pid)
	if in.Uid != 0 {
		if err := to.node.dropSetID(ctx); err != nil {
			return 0, fs.status("copy_file_range", err)
		}
	}
	n, err := x.CopyTo(ctx, in.OffIn, to.h, in.OffOut, min(in.Len, maxCopyRange))
	if err != nil && n == 0 {
		return 0, fs.status("copy_file_range", err)
	}
	return uint32(n), fuse.OK // the error of the rest comes with the next call
}

var _ Extended = (*remoteHandle)(nil)

// errNoExtension is what the kernel is told if the server has not agreed on the
// extension.
const errNoExtension = linux.ENOSYS

func (h *remoteHandle) Seek(ctx context.Context, off uint64, whence uint32) (at uint64, err error) {
	err = h.ask(ctx, func(fid *client9p.Fid) (err error) {
		if !fid.Client().Extended() {
			return errNoExtension
		}
		at, err = fid.Seek(ctx, off, whence)
		return err
	})
	return at, err
}

// Allocate may be repeated: what is zero stays zero.
func (h *remoteHandle) Allocate(ctx context.Context, mode uint32, off, n uint64) error {
	return h.ask(ctx, func(fid *client9p.Fid) error {
		if !fid.Client().Extended() {
			return errNoExtension
		}
		epoch := h.f.epochOf(fid)
		done, err := fid.Allocate(ctx, mode, off, n)
		if done > 0 {
			h.changed(epoch)
		}
		return err
	})
}

// CopyTo may be repeated: the server refuses ranges that overlap.
func (h *remoteHandle) CopyTo(ctx context.Context, off uint64, to Handle, toOff, n uint64) (done uint64, err error) {
	dst, ok := to.(*remoteHandle)
	if !ok {
		return 0, linux.EXDEV
	}
	err = h.ask(ctx, func(fid *client9p.Fid) error {
		g, err := dst.at(ctx)
		switch {
		case err != nil:
			return err
		case g.Client() != fid.Client():
			return client9p.ErrClosed // the connection changed in between: again
		case !fid.Client().Extended():
			return errNoExtension
		}
		epoch := dst.f.epochOf(g)
		done, err = fid.CopyTo(ctx, off, g, toOff, n)
		if done > 0 {
			dst.changed(epoch)
		}
		return err
	})
	if stderrors.Is(err, linux.EXDEV) {
		err = linux.EOPNOTSUPP // the kernel copies by reading and writing then
	}
	return done, err
}
