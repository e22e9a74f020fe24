package backend

import (
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// The size of a file grows when a write is in its sliver. A parked append is not,
// but has its place: what is appended after it must go behind it, or it would
// overwrite bytes that are confirmed a moment later. A parked append that fails or
// is cancelled leaves zeros in front of those that came after it.

// endLocked returns where the next append goes. ino.am must be held.
func (ino *inode) endLocked() uint64 {
	if ino.appends > 0 {
		return max(ino.rec.Size, ino.appendEnd)
	}
	return ino.rec.Size
}

// appendLocked is writeLocked for an append, which notes its place if it is
// parked. ino.mu must be held.
func (ino *inode) appendLocked(k sliver.Key, in int, p []byte, w *vfs.Waiter) (int, error) {
	a := &parkedAppend{ino: ino, Waker: w.Waker}
	w.Waker = a // before it can be woken
	n, err := ino.writeLocked(k, in, p, w)
	if err != vfs.ErrParked {
		w.Waker = a.Waker
		return n, err
	}
	ino.am.Lock()
	if ino.appends++; ino.appends > 0 { // else it has been woken by now
		ino.appendEnd = max(ino.rec.Size, k.No.Start()+uint64(in+n))
	}
	ino.am.Unlock()
	return 0, err
}

// parkedAppend is the Waker of a parked append.
type parkedAppend struct {
	vfs.Waker
	ino *inode
}

// Wake implements vfs.Waker.
func (a *parkedAppend) Wake(n int, err error) {
	a.end()
	a.Waker.Wake(n, err)
}

func (a *parkedAppend) end() {
	a.ino.am.Lock()
	a.ino.appends--
	a.ino.am.Unlock()
}
