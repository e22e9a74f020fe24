package backend

import (
	"context"
	"sync"
	"time"

	"sliod/backend/cache"
	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// Fsync parks w and syncs in a goroutine of its own: it waits for the disk, never
// for tape.
func (f *file) Fsync(_ bool, w *vfs.Waiter) error {
	ino := f.ino
	w.Owner = syncWait{}
	ino.retain()
	fs := ino.fs
	fs.wg.Add(1)
	go func() {
		defer fs.wg.Done()
		err := ino.sync()
		if err == nil {
			err = fs.cat.Sync()
		}
		ino.release() // before the answer: who removes and closes the file after it finds its space free at once
		w.Waker.Wake(0, err)
	}()
	return vfs.ErrParked
}

// sync brings what has been written so far to disk, and then into the catalog:
// in that order, so that the catalog never names data that is not there. What
// the catalog has is durable after its own Sync, which the caller does.
func (ino *inode) sync() error {
	ino.syncMu.Lock()
	defer ino.syncMu.Unlock()
	fs := ino.fs
	ino.am.Lock()
	size, todo := ino.rec.Size, ino.unsynced && !ino.gone
	ino.unsynced = false // a write from here on sets it again
	fs.unsynced.remove(ino)
	ino.am.Unlock()
	if !todo {
		return nil
	}
	refs, err := fs.cache.SyncFile(ino.id)
	if err == nil {
		ino.mu.Lock()
		err = ino.commitLocked(refs, size)
		ino.mu.Unlock()
	}
	if err != nil {
		ino.am.Lock()
		ino.unsynced = true
		ino.am.Unlock()
		fs.unsynced.add(ino)
	}
	return err
}

// commitLocked records in the catalog that the slots of refs are on disk, and
// with them the file up to size. ino.mu must be held.
func (ino *inode) commitLocked(refs []cache.Ref, size uint64) error {
	fs := ino.fs
	changed := map[sliver.BmapNo]*catalog.Bmap{}
	dead := map[catalog.VolumeNo]int64{}
	current := refs[:0]
	for _, ref := range refs {
		// A truncate may have come since, or the mover.
		n, ok := fs.cache.Current(ref)
		if !ok {
			continue
		}
		no, i := ref.Key.No.Bmap()
		b := changed[no]
		if b == nil {
			old, _, err := ino.bmapLocked(ref.Key.No)
			if err != nil {
				return err
			}
			c := *old
			b = &c
			changed[no] = b
		}
		if old := &b.Slivers[i]; !old.Dirty && len(old.Copies) > 0 && old.Version >= ref.Version {
			continue // archived meanwhile, in this very version: it is about to be clean
		}
		countDead(dead, &b.Slivers[i])
		b.Slivers[i] = catalog.SliverRec{Dirty: true, Slot: ref.Slot, Seq: ref.Seq, Len: uint32(n)}
		current = append(current, ref)
		// A write that goes on has come into it since size was taken: bytes behind the end, if there is a crash
		// now, would show when the file grows.
		size = max(size, ref.Key.No.Start()+uint64(n))
	}
	r := ino.record()
	durable := r.Size
	r.Size = max(r.Size, min(size, ino.size()))
	// All of it may have come to tape meanwhile, as it is in the catalog by now.
	pending := r.NLink > 0 && (len(current) > 0 || r.Size != durable)
	if pending {
		r.Flags |= catalog.FlagMetaDirty
	}
	if len(changed) > 0 {
		r.Flags &^= catalog.FlagNoBmaps
	}
	err := ino.putLocked(&r, func(tx *catalog.Tx) error {
		for no, b := range changed {
			if err := tx.PutBmap(ino.id, no, b); err != nil {
				return err
			}
		}
		return firstError(addDead(tx, dead), putPendingUnless(tx, ino.id, !pending))
	})
	if err != nil {
		return err
	}
	for no, b := range changed {
		ino.keepBmapLocked(no, b)
	}
	fs.cache.Committed(current)
	ino.am.Lock()
	ino.durableSize = max(ino.durableSize, r.Size)
	ino.rec.Flags = r.Flags
	ino.am.Unlock()
	if pending {
		fs.pending.add(ino.id)
	}
	return nil
}

// syncWait marks the Waiter of a sync.
type syncWait struct{}

// inodeSet is a set of inodes with something unsynced. Its lock is a leaf.
type inodeSet struct {
	mu sync.Mutex
	m  map[*inode]struct{}
}

func (s *inodeSet) add(ino *inode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = make(map[*inode]struct{})
	}
	s.m[ino] = struct{}{}
}

func (s *inodeSet) remove(ino *inode) {
	s.mu.Lock()
	delete(s.m, ino)
	s.mu.Unlock()
}

// takeUnsynced returns the set's members, each with a reference.
func (fs *FS) takeUnsynced() []*inode {
	fs.unsynced.mu.Lock()
	var all []*inode
	for ino := range fs.unsynced.m {
		all = append(all, ino)
	}
	fs.unsynced.mu.Unlock()
	var held []*inode
	fs.itab.mu.Lock()
	for _, ino := range all {
		if fs.itab.m[ino.id] != ino {
			fs.unsynced.remove(ino) // synced and forgotten meanwhile
			continue
		}
		ino.refs++
		held = append(held, ino)
	}
	fs.itab.mu.Unlock()
	return held
}

// syncAll syncs every file that has something unsynced, then the catalog, and
// lets the cache have its quarantined slots back.
func (fs *FS) syncAll() error {
	var first error
	for _, ino := range fs.takeUnsynced() {
		if err := ino.sync(); err != nil && first == nil {
			first = err
		}
		ino.release()
	}
	mark, _ := fs.cache.Quarantine()
	if err := fs.cat.Sync(); err != nil {
		return firstError(first, err)
	}
	fs.cache.ReleaseQuarantine(mark)
	return first
}

// syncer writes unsynced data back every fs.opts.SyncInterval, or when the cache
// is short of slots.
func (fs *FS) syncer(ctx context.Context) {
	tick := time.NewTicker(fs.opts.SyncInterval)
	defer tick.Stop()
	for {
		short := false
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-fs.pressed:
			short = true
		}
		if err := fs.syncAll(); err != nil {
			fs.log.WithError(err).Error("unsynced data could not be written to disk; it stays in memory and is tried again")
		}
		fs.archivePending(ctx, short)
	}
}
