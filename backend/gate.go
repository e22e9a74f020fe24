package backend

import (
	"sliod/backend/cache"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// gate has the request w ask the user's gate before it begins a fault.
func (f *file) gate(w *vfs.Waiter) {
	if w != nil {
		w.Gate = f.cred.Recalls
	}
}

// mayFaultLocked asks the gate of w if the request is about to begin the fault of a sliver.
// The bytes are those that come from tape for it: the sliver, and what is read ahead. What is
// in the cache needs no leave. What is on its way is never refused; but a reader who waits for
// it makes read-ahead go on, unless another one who waits does, and without leave for that it does
// not. ino.mu must be held.
func (ino *inode) mayFaultLocked(k sliver.Key, b cache.Behind, w *vfs.Waiter) error {
	if w == nil || w.Gate == nil || b.State != sliver.Absent {
		return nil
	}
	w.NoAhead = false
	switch ino.fs.cache.State(k, b) {
	case sliver.Absent:
	case sliver.Faulting:
		if w.NoAhead = ino.fs.cache.ReadAhead(k); w.NoAhead {
			return nil
		}
		if ahead := ino.aheadLocked(k); ahead > 0 {
			w.NoAhead = w.Gate.Recall(uint64(ino.id), ahead) != nil
		}
		return nil
	default:
		return nil
	}
	return w.Gate.Recall(uint64(ino.id), int64(b.Len)+ino.aheadLocked(k))
}

// aheadLocked returns the bytes that files.Next would begin to read after k while the cache has room. ino.mu must be held.
func (ino *inode) aheadLocked(k sliver.Key) (bytes int64) {
	ino.followingLocked(k, ino.fs.opts.Mover.ReadAhead, func(k sliver.Key, b cache.Behind) {
		if ino.fs.cache.State(k, b) == sliver.Absent {
			bytes += int64(b.Len)
		}
	})
	return bytes
}
