package bridge

import (
	"context"
	"fmt"
	"math"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"sliod/client9p"
)

// Record locks and flock(2) are the server's, so that they hold among all clients. A
// flock is a lock of the whole file, as in Linux' own 9P client. Who holds a lock
// is the kernel's lock owner on this mount; the process is kept from its first
// lock on, as closing may be left to another.

// lockOwner is what a node remembers of a lock owner of the kernel.
type lockOwner struct {
	pid uint32  // the process that locked first
	by  *handle // the open file that it did this through
}

// toLock turns the kernel's lock into the protocol's; keep remembers its process.
func (fs *FS) toLock(h *handle, in *fuse.LkIn, keep bool) (client9p.Lock, fuse.Status) {
	l := client9p.Lock{Start: in.Lk.Start, ClientID: fs.lockOwner(in.Owner), ProcID: h.lockPid(in.Owner, in.Lk.Pid, keep)}
	switch in.Lk.Typ {
	case syscall.F_RDLCK:
		l.Type = client9p.ReadLock
	case syscall.F_WRLCK:
		l.Type = client9p.WriteLock
	case syscall.F_UNLCK:
		l.Type = client9p.Unlock
	default:
		return l, fuse.EINVAL
	}
	if in.LkFlags&fuse.FUSE_LK_FLOCK != 0 {
		l.Start, l.Length = 0, 0
	} else if in.Lk.End < math.MaxInt64 {
		l.Length = in.Lk.End - in.Lk.Start + 1
	}
	return l, fuse.OK
}

func (fs *FS) lockOwner(owner uint64) string { return fmt.Sprintf("%s:%x", fs.name, owner) }

// lockPid returns the process of a lock owner, and with keep makes pid that of a new
// one.
func (h *handle) lockPid(owner uint64, pid uint32, keep bool) uint32 {
	n := h.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if o, ok := n.owners[owner]; ok {
		return o.pid
	}
	if !keep {
		return pid
	}
	if n.owners == nil {
		n.owners = make(map[uint64]lockOwner)
	}
	n.owners[owner] = lockOwner{pid, h}
	return pid
}

// forgetOwners drops the owners that only the end of the open file h ends: those of
// flock(2) and of F_OFD_SETLK. The server drops their locks with the file.
func (h *handle) forgetOwners() {
	h.node.mu.Lock()
	defer h.node.mu.Unlock()
	for owner, o := range h.node.owners {
		if o.by == h {
			delete(h.node.owners, owner)
		}
	}
}

// GetLk serves fcntl(F_GETLK).
func (fs *FS) GetLk(cancel <-chan struct{}, in *fuse.LkIn, out *fuse.LkOut) fuse.Status {
	h := fs.handle(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	l, st := fs.toLock(h, in, false)
	if st != fuse.OK {
		return st
	}
	got, err := h.h.GetLock(fs.interruptible(cancel, in.Pid), l)
	if err != nil {
		return fs.status("getlock", err)
	}
	out.Lk = fuse.FileLock{Start: got.Start, End: math.MaxInt64, Pid: got.ProcID}
	if got.Length > 0 {
		out.Lk.End = got.Start + got.Length - 1
	}
	switch got.Type {
	case client9p.ReadLock:
		out.Lk.Typ = syscall.F_RDLCK
	case client9p.WriteLock:
		out.Lk.Typ = syscall.F_WRLCK
	default:
		out.Lk.Typ = syscall.F_UNLCK
	}
	return fuse.OK
}

// SetLk serves fcntl(F_SETLK) and flock(2) with LOCK_NB.
func (fs *FS) SetLk(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	return fs.setLock(cancel, in, false)
}

// SetLkw serves fcntl(F_SETLKW) and flock(2). Any signal ends the wait, as POSIX
// has it.
func (fs *FS) SetLkw(cancel <-chan struct{}, in *fuse.LkIn) fuse.Status {
	return fs.setLock(cancel, in, true)
}

func (fs *FS) setLock(cancel <-chan struct{}, in *fuse.LkIn, wait bool) fuse.Status {
	h := fs.handle(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	l, st := fs.toLock(h, in, in.Lk.Typ != syscall.F_UNLCK)
	if st != fuse.OK {
		return st
	}
	return fs.status("lock", h.h.SetLock(anySignal{context.Background(), cancel}, l, wait))
}

// unlockAll ends the locks of an owner when it closes a file, by whichever open file it
// took them.
func (fs *FS) unlockAll(h *handle, owner uint64) fuse.Status {
	n := h.node
	n.mu.Lock()
	o, ok := n.owners[owner]
	delete(n.owners, owner)
	n.mu.Unlock()
	if !ok {
		return fuse.OK
	}
	l := client9p.Lock{Type: client9p.Unlock, ClientID: fs.lockOwner(owner), ProcID: o.pid}
	return fs.status("unlock", h.h.SetLock(context.Background(), l, false))
}

// anySignal is a context that any interrupt ends.
type anySignal struct {
	context.Context
	cancel <-chan struct{}
}

// Done implements context.Context.
func (c anySignal) Done() <-chan struct{} { return c.cancel }

// Err implements context.Context.
func (c anySignal) Err() error {
	select {
	case <-c.cancel:
		return context.Canceled
	default:
		return nil
	}
}
