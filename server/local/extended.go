package local

import (
	"context"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/vfs"
	"sliod/client9p/bridge"
)

var _ bridge.Extended = (*handle)(nil)

// Seek implements bridge.Extended.
func (h *handle) Seek(_ context.Context, off uint64, whence uint32) (uint64, error) {
	x, ok := h.f.(vfs.Extended)
	if !ok {
		return 0, linux.ENOSYS
	}
	return x.Seek(off, vfs.Whence(whence))
}

// Allocate implements bridge.Extended.
func (h *handle) Allocate(ctx context.Context, mode uint32, off, n uint64) error {
	x, ok := h.f.(vfs.Extended)
	if !ok {
		return linux.ENOSYS
	}
	for done := uint64(0); done < n || n == 0; {
		m, _, err := h.doWide(ctx, func(w *vfs.Waiter) (uint64, error) {
			return x.Allocate(vfs.AllocateMode(mode), off+done, n-done, w)
		})
		if err != nil {
			return err
		}
		done += m
	}
	return nil
}

// CopyTo implements bridge.Extended.
func (h *handle) CopyTo(ctx context.Context, off uint64, to bridge.Handle, toOff, n uint64) (done uint64, err error) {
	dst, ok := to.(*handle)
	if !ok {
		return 0, linux.EXDEV
	}
	x, ok := dst.f.(vfs.Extended)
	if !ok {
		return 0, linux.ENOSYS
	}
	for done < n {
		m, waited, err := dst.doWide(ctx, func(w *vfs.Waiter) (uint64, error) {
			return x.CopyFrom(h.f, off+done, toOff+done, n-done, w)
		})
		if err != nil {
			return done, err
		}
		if m == 0 && !waited {
			break
		}
		done += m
	}
	return done, nil
}

// doWide is do for a call whose answer may be larger than an int. A call that waited
// may come back with 0: it is to be made again.
func (h *handle) doWide(ctx context.Context, call func(*vfs.Waiter) (uint64, error)) (n uint64, waited bool, err error) {
	w := newWaiter()
	n, err = call(&w.Waiter)
	if waited = err == vfs.ErrParked; waited {
		var m int
		m, err = h.wait(ctx, w)
		n = uint64(max(m, 0))
	}
	waiters.Put(w)
	return n, waited, err
}
