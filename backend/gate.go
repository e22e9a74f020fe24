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
// it makes read-ahead go on by as much, and without leave for that it does not. ino.mu must be
// held.
func (ino *inode) mayFaultLocked(k sliver.Key, b cache.Behind, w *vfs.Waiter) error {
	if w == nil || w.Gate == nil || b.State != sliver.Absent {
		return nil
	}
	w.NoAhead = false
	switch ino.fs.cache.State(k, b) {
	case sliver.Absent:
	case sliver.Faulting:
		w.NoAhead = w.Gate.Recall(uint64(ino.id), int64(b.Len)) != nil
		return nil
	default:
		return nil
	}
	ahead := ino.fs.opts.Mover.ReadAhead
	bytes := int64(b.Len)
	if size, end := ino.size(), (k.No + 1).Start(); ahead > 0 && size > end {
		bytes += int64(min(size-end, uint64(ahead)*sliver.Size))
	}
	return w.Gate.Recall(uint64(ino.id), bytes)
}
