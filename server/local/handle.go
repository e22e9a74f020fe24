package local

import (
	"context"
	"sync"
	"unsafe"

	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"

	"sliod/backend/vfs"
	"sliod/client9p"
	"sliod/client9p/bridge"
)

// handle is an open file of the tree.
type handle struct {
	t   *Tree
	f   vfs.File
	qid p9.QID
}

func (h *handle) QID() p9.QID { return h.qid }
func (h *handle) Close()      { h.f.Close() }

// waiter is a parked call.
type waiter struct {
	vfs.Waiter
	n     int
	err   error
	woken chan struct{} // capacity 1
}

// Wake implements vfs.Waker.
func (w *waiter) Wake(n int, err error) {
	w.n, w.err = n, err
	w.woken <- struct{}{}
}

var waiters = sync.Pool{New: func() any { return &waiter{woken: make(chan struct{}, 1)} }}

// say logs that a recall was refused.
func (t *Tree) say(err error) {
	if err != nil && t.recalls != nil {
		t.recalls.Say(err)
	}
}

// newWaiter returns a waiter for one call of the tree.
func newWaiter() *waiter {
	w := waiters.Get().(*waiter)
	w.Waiter = vfs.Waiter{Waker: w}
	return w
}

// wait waits for a call that was parked, until ctx ends: then it has not happened.
func (h *handle) wait(ctx context.Context, w *waiter) (int, error) {
	select {
	case <-w.woken:
		return w.n, w.err
	case <-ctx.Done():
	}
	if d, ok := ctx.(client9p.Doubtful); ok && !d.Confirm(w.woken) {
		return w.n, w.err
	}
	if h.f.Cancel(&w.Waiter) {
		return 0, context.Canceled
	}
	<-w.woken // on its way
	return w.n, w.err
}

// do runs a call that may be parked, and returns its final answer.
func (h *handle) do(ctx context.Context, call func(*vfs.Waiter) (int, error)) (int, error) {
	w := newWaiter()
	n, err := call(&w.Waiter)
	if err == vfs.ErrParked {
		n, err = h.wait(ctx, w)
	}
	waiters.Put(w)
	h.t.say(err)
	return n, err
}

// read is one read of the tree, short or not.
func (h *handle) read(ctx context.Context, n int, off uint64) (vfs.Data, error) {
	for {
		var d vfs.Data
		w := newWaiter()
		d, err := h.f.ReadAt(off, n, &w.Waiter)
		if err != vfs.ErrParked {
			waiters.Put(w)
			h.t.say(err)
			return d, err
		}
		_, err = h.wait(ctx, w)
		waiters.Put(w)
		if err != nil {
			return vfs.Data{}, err
		}
	}
}

// ReadAt implements bridge.Handle.
func (h *handle) ReadAt(ctx context.Context, p []byte, off uint64) (int, error) {
	done := 0
	for done < len(p) {
		d, err := h.read(ctx, len(p)-done, off+uint64(done))
		if err != nil {
			return done, err
		}
		n := copyData(p[done:], &d)
		d.Release()
		if n == 0 {
			break
		}
		done += n
	}
	return done, nil
}

// copyData copies d into p.
func copyData(p []byte, d *vfs.Data) int {
	n := 0
	for ; d != nil; d = d.More {
		populate(d.Bytes)
		n += copy(p[n:], d.Bytes)
		z := min(d.Zeros, len(p)-n)
		clear(p[n : n+z])
		n += z
	}
	return n
}

// populate maps the pages of a slot before Go touches them: a page fault would stop
// the scheduler's thread for as long as the disk takes. If it fails, the touch does it.
func populate(b []byte) {
	if len(b) == 0 {
		return
	}
	page := uintptr(unix.Getpagesize())
	at := uintptr(unsafe.Pointer(&b[0]))
	skip := at % page
	whole := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(&b[0]), -int(skip))), len(b)+int(skip))
	_ = unix.Madvise(whole, unix.MADV_POPULATE_READ)
}

// ReadDirect implements bridge.DirectReader: what lies in one slot goes from there to
// the kernel.
func (h *handle) ReadDirect(ctx context.Context, n int, off uint64) (bridge.Pinned, bool, error) {
	d, err := h.read(ctx, n, off)
	if err != nil {
		return nil, false, err
	}
	if len(d.Bytes) == n && d.Pin != nil {
		return &pinned{d}, true, nil
	}
	d.Release()
	return nil, false, nil
}

// pinned is a part of a slot on its way to the kernel.
type pinned struct{ d vfs.Data }

func (p *pinned) Bytes() []byte { return p.d.Bytes }
func (p *pinned) Release()      { p.d.Release() }

// WriteAt implements bridge.Handle.
func (h *handle) WriteAt(ctx context.Context, p []byte, off uint64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := h.do(ctx, func(w *vfs.Waiter) (int, error) { return h.f.WriteAt(off+uint64(done), p[done:], w) })
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// maxDirents is how many entries one Readdir returns.
const maxDirents = 1024

// Readdir implements bridge.Handle.
func (h *handle) Readdir(_ context.Context, off uint64) ([]p9.Dirent, error) {
	var list []p9.Dirent
	err := h.f.Readdir(off, func(e p9.Dirent) bool {
		list = append(list, e)
		return len(list) < maxDirents
	})
	return list, err
}

// Fsync implements bridge.Handle.
func (h *handle) Fsync(ctx context.Context, dataOnly bool) error {
	_, err := h.do(ctx, func(w *vfs.Waiter) (int, error) { return 0, h.f.Fsync(dataOnly, w) })
	return err
}

func (h *handle) lockRange(l client9p.Lock) vfs.LockRange {
	return vfs.LockRange{Type: vfs.LockType(l.Type), Start: l.Start, Length: l.Length, ProcID: l.ProcID, ClientID: l.ClientID, Conn: h.t.conn}
}

// SetLock implements bridge.Handle.
func (h *handle) SetLock(ctx context.Context, l client9p.Lock, wait bool) error {
	_, err := h.do(ctx, func(w *vfs.Waiter) (int, error) { return 0, h.f.Lock(h.lockRange(l), wait, w) })
	return err
}

// GetLock implements bridge.Handle.
func (h *handle) GetLock(_ context.Context, l client9p.Lock) (client9p.Lock, error) {
	r, err := h.f.GetLock(h.lockRange(l))
	return client9p.Lock{Type: client9p.LockType(r.Type), Start: r.Start, Length: r.Length, ProcID: r.ProcID, ClientID: r.ClientID}, err
}
