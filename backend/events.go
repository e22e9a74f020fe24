package backend

import (
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// events is what the cache tells the backend. See cache.Events for the locks.
type events struct{ fs *FS }

func (e events) Fault(k sliver.Key, seq uint64)    { e.fs.mover.Recall(k, seq) }
func (e events) Unwanted(k sliver.Key, seq uint64) { e.fs.mover.Unwanted(k, seq) }
func (e events) Reclass(k sliver.Key, seq uint64)  { e.fs.mover.Reclass(k, seq) }

// Merged is called under the cache's lock, so that no truncate comes between the
// data and the size.
func (e events) Merged(k sliver.Key, end int, w *vfs.Waiter, _ int) {
	if ino, ok := w.Owner.(*inode); ok {
		ino.wrote(k.No.Start() + uint64(end))
	}
}

// Pressure wakes the syncer, which archives what is dirty and frees what is
// quarantined.
func (e events) Pressure() {
	select {
	case e.fs.pressed <- struct{}{}:
	default:
	}
	e.fs.mover.Pressure()
}
