package backend

import (
	"context"
	stderrors "errors"
	"sync"
	"time"

	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/backend/sliver"
)

// pendingSet holds the files of which something is not on tape yet, data or
// attributes, each with the time of its last change. It mirrors the catalog's
// pending records, so that a restart goes on where the last run ended. Its lock
// is a leaf.
type pendingSet struct {
	mu sync.Mutex
	m  map[sliver.FileID]time.Time
	// queued are those that the mover has been given.
	queued map[sliver.FileID]bool
}

func (p *pendingSet) add(id sliver.FileID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m == nil {
		p.m = make(map[sliver.FileID]time.Time)
		p.queued = make(map[sliver.FileID]bool)
	}
	p.m[id] = time.Now()
}

// addMissing adds files that are not in the set.
func (p *pendingSet) addMissing(ids []sliver.FileID) {
	for _, id := range ids {
		if !p.has(id) {
			p.add(id)
		}
	}
}

func (p *pendingSet) remove(id sliver.FileID) {
	p.mu.Lock()
	delete(p.m, id)
	p.mu.Unlock()
}

func (p *pendingSet) has(id sliver.FileID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.m[id]
	return ok
}

func (p *pendingSet) unqueue(id sliver.FileID) {
	p.mu.Lock()
	delete(p.queued, id)
	p.mu.Unlock()
}

// quiet marks as queued, and returns, the files that have not changed for idle.
func (p *pendingSet) quiet(idle time.Duration) []sliver.FileID {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ids []sliver.FileID
	now := time.Now()
	for id, t := range p.m {
		if !p.queued[id] && now.Sub(t) >= idle {
			p.queued[id] = true
			ids = append(ids, id)
		}
	}
	return ids
}

// archivePending gives the mover the files that have been quiet for archive.idle;
// all of them when the share of dirty data in the cache passes archive.dirty. When
// the cache is short of slots it is given whatever is dirty: also files that are
// unlinked and still open, which have no name on tape but take space like any other.
func (fs *FS) archivePending(ctx context.Context, short bool) {
	if ctx.Err() != nil {
		return
	}
	idle := fs.opts.ArchiveIdle
	s := fs.cache.Stats()
	if short || s.WaitingForSpace > 0 {
		idle = 0
		fs.pending.addMissing(fs.cache.DirtyFiles())
	} else if float64(s.DirtyBytes) > fs.opts.ArchiveDirty*float64(s.SizeBytes) {
		idle = 0
	} else if idle < 0 {
		return // only on command, or when the cache fills
	}
	ids := fs.pending.quiet(idle)
	if len(ids) == 0 {
		return
	}
	fs.mover.Archive(mover.Place{}, ids, func(id sliver.FileID, err error) {
		fs.pending.unqueue(id)
		fs.archiveFailed(id, err)
	})
}

// archiveFailed logs that a file could not be archived, or notes that one could:
// a reason that many files share is a warning for the first of them only.
func (fs *FS) archiveFailed(id sliver.FileID, err error) {
	if err == nil {
		fs.archiveWarned.Store(nil)
		return
	}
	log := fs.log.WithField("file", id).WithError(err)
	why := err.Error()
	if old := fs.archiveWarned.Swap(&why); old != nil && *old == why {
		log.Debug("could not be archived either")
		return
	}
	log.Warn("could not be archived; it stays in the cache and is tried again")
}

// Removed implements mover.Files: the pending note of a file that is no more ends. It
// must not end with an archiving that had begun before the file was removed.
func (f files) Removed(id sliver.FileID) error {
	gone := false
	err := f.fs.cat.Update(func(tx *catalog.Tx) error {
		// An orphan still has its record: its end is noted when it is let go.
		_, err := tx.Inode(id)
		if gone = stderrors.Is(err, catalog.ErrNotFound); gone {
			return tx.DeletePending(id)
		}
		return err
	})
	if err == nil && gone {
		f.fs.pending.remove(id)
	}
	return err
}

// loadPending reads the pending files at start.
func (fs *FS) loadPending() error {
	return fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Pending(func(id sliver.FileID) bool {
			fs.pending.add(id)
			return true
		})
	})
}
