package bridge

import (
	"context"
	"io"
	"sync"
	"syscall"

	"github.com/hugelgupf/p9/p9"
	"github.com/pkg/errors"

	"sliod/client9p"
)

// remoteHandle is an open fid, and what is needed to open it again.
type remoteHandle struct {
	f     *remoteFile
	flags p9.OpenFlags
	qid   p9.QID // as it was opened

	mu      sync.Mutex
	fid     *client9p.Fid // of the connection epoch
	epoch   uint64
	acked   int                 // changes that the server has answered; what has no answer is repeated
	synced  int                 // of these, the first that a sync has made durable
	lockers map[string]struct{} // who may hold a lock, by ClientID
	failed  error               // something was lost: every call fails from then on
	closed  bool
}

func (h *remoteHandle) QID() p9.QID { return h.qid }

func (h *remoteHandle) Close() {
	h.mu.Lock()
	h.closed = true
	fid, locks := h.fid, len(h.lockers) > 0
	h.mu.Unlock()
	if locks {
		fid.DropNow() // its locks end with it
		return
	}
	fid.Drop()
}

// open opens a copy of fid.
func (h *remoteHandle) open(ctx context.Context, fid *client9p.Fid, flags p9.OpenFlags) error {
	g, err := fid.OpenCopy(ctx, flags)
	if err != nil {
		return err
	}
	epoch := h.f.epochOf(g)
	h.mu.Lock()
	if h.closed || h.fid != nil && h.epoch >= epoch {
		h.mu.Unlock()
		clunk(g) // another request has opened it again
		return nil
	}
	h.fid, h.epoch, h.qid = g, epoch, g.QID()
	h.mu.Unlock()
	return nil
}

// once are the flags that meant something only when the file was first opened.
const once = syscall.O_TRUNC | syscall.O_EXCL | syscall.O_CREAT

// at returns the open fid on the connection that there is.
func (h *remoteHandle) at(ctx context.Context) (*client9p.Fid, error) {
	for {
		fid, epoch, err := h.f.at(ctx)
		if err != nil {
			return nil, err
		}
		h.mu.Lock()
		switch {
		case h.failed != nil:
		case h.epoch == epoch:
			defer h.mu.Unlock()
			return h.fid, nil
		case h.closed:
			h.failed = errors.WithStack(errGone)
		case len(h.lockers) > 0:
			h.failed = errors.Wrap(errGone, "the file's locks went with it: close the file and open it again")
		case h.acked > h.synced && h.f.s.lastLoss() > h.epoch:
			h.failed = errors.Wrap(errGone, "the server did not end cleanly: what was written to the file and not synced may be lost; close the file and open it again")
		}
		err = h.failed
		h.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if err := h.open(ctx, fid, h.flags&^once); err != nil && !disconnected(err) {
			return nil, errors.WithMessage(err, "open a file again after the connection was lost")
		}
	}
}

// Check implements Checker.
func (h *remoteHandle) Check(ctx context.Context) error {
	_, err := h.at(ctx)
	return err
}

// ask runs a request that can be repeated.
func (h *remoteHandle) ask(ctx context.Context, do func(*client9p.Fid) error) error {
	for {
		fid, err := h.at(ctx)
		if err != nil {
			return err
		}
		if err = do(fid); !disconnected(err) {
			return err
		}
	}
}

// note sets what the handle has to remember.
func (h *remoteHandle) note(set func()) {
	h.mu.Lock()
	set()
	h.mu.Unlock()
}

// changed notes a change of the content that was answered on the connection epoch.
func (h *remoteHandle) changed(epoch uint64) {
	h.note(func() { h.acked++ })
	h.f.unsynced.changed(epoch)
}

func (h *remoteHandle) ReadAt(ctx context.Context, p []byte, off uint64) (n int, err error) {
	err = h.ask(ctx, func(fid *client9p.Fid) error {
		n, err = fid.ReadFull(ctx, p, off)
		return err
	})
	if err == io.EOF {
		err = nil
	}
	return n, err
}

func (h *remoteHandle) WriteAt(ctx context.Context, p []byte, off uint64) (n int, err error) {
	write := func(fid *client9p.Fid) error {
		epoch := h.f.epochOf(fid)
		n, err = fid.WriteFull(ctx, p, off)
		if n > 0 {
			h.changed(epoch)
		}
		return err
	}
	if h.flags&syscall.O_APPEND == 0 {
		err = h.ask(ctx, write)
		return n, err
	}
	fid, err := h.at(ctx)
	if err != nil {
		return 0, err
	}
	if err = write(fid); disconnected(err) {
		err = errors.Wrap(errGone, "append: it is not known whether it was done")
	}
	return n, err
}

func (h *remoteHandle) Readdir(ctx context.Context, off uint64) (list []p9.Dirent, err error) {
	err = h.ask(ctx, func(fid *client9p.Fid) error {
		list, err = fid.Readdir(ctx, off)
		return err
	})
	return list, err
}

func (h *remoteHandle) Fsync(ctx context.Context, dataOnly bool) error {
	h.mu.Lock()
	acked := h.acked
	h.mu.Unlock()
	n := h.f.unsynced.begin()
	err := h.ask(ctx, func(fid *client9p.Fid) error { return fid.Fsync(ctx, dataOnly) })
	if err == nil {
		h.note(func() { h.synced = max(h.synced, acked) })
	}
	if err != nil && ctx.Err() != nil {
		return err // nobody hears what is told once
	}
	if lost := h.f.unsynced.end(n, err == nil, h.f.s.lastLoss()); lost != nil {
		return lost
	}
	return err
}

// SetLock implements Handle. A lock that went with its connection needs no unlocking, which
// the kernel asks for whenever a file is closed: that must not wait for a server.
func (h *remoteHandle) SetLock(ctx context.Context, l client9p.Lock, wait bool) error {
	if l.Type == client9p.Unlock {
		return h.unlock(ctx, l)
	}
	fid, err := h.at(ctx)
	if err != nil {
		return err
	}
	h.note(func() {
		if h.lockers == nil {
			h.lockers = make(map[string]struct{})
		}
		h.lockers[l.ClientID] = struct{}{}
	})
	if err = fid.SetLock(ctx, l, wait); disconnected(err) {
		return errors.Wrap(errGone, "lock: it is not known whether it was granted")
	}
	return err
}

func (h *remoteHandle) unlock(ctx context.Context, l client9p.Lock) error {
	h.mu.Lock()
	fid, epoch := h.fid, h.epoch
	h.mu.Unlock()
	if !h.f.s.is(epoch) {
		return nil
	}
	err := fid.SetLock(ctx, l, false)
	if err == nil && l.Start == 0 && l.Length == 0 {
		h.note(func() { delete(h.lockers, l.ClientID) })
	}
	if disconnected(err) {
		return nil
	}
	return err
}

func (h *remoteHandle) GetLock(ctx context.Context, l client9p.Lock) (got client9p.Lock, err error) {
	err = h.ask(ctx, func(fid *client9p.Fid) error {
		got, err = fid.GetLock(ctx, l)
		return err
	})
	return got, err
}
