package backend

import (
	"context"
	stderrors "errors"
	"sync"
	"time"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
)

// copyRetry is how long a file waits whose further copy could not be made, for want of a volume
// for example, before it is tried again without a command.
const copyRetry = 10 * time.Minute

// pendingSet holds the files of which something is not on tape yet, or not as often as it
// should be: data or attributes. It mirrors the catalog's
// pending records, so that a restart goes on where the last run ended. Its lock
// is a leaf.
type pendingSet struct {
	mu sync.Mutex
	m  map[sliver.FileID]*pendingFile
	// queued are those that the mover has been given.
	queued map[sliver.FileID]bool
}

// pendingFile is a file of the set.
type pendingFile struct {
	changed time.Time // last
	verdict *verdict  // how it is archived; nil: not asked for since
	again   time.Time // not before: a copy could not be made
}

func (p *pendingSet) add(id sliver.FileID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m == nil {
		p.m = make(map[sliver.FileID]*pendingFile)
		p.queued = make(map[sliver.FileID]bool)
	}
	p.m[id] = &pendingFile{changed: time.Now()}
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
	_, ok := p.since(id)
	return ok
}

// since says when a file of the set was changed last.
func (p *pendingSet) since(id sliver.FileID) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.m[id]
	if !ok {
		return time.Time{}, false
	}
	return f.changed, true
}

func (p *pendingSet) unqueue(id sliver.FileID) {
	p.mu.Lock()
	delete(p.queued, id)
	p.mu.Unlock()
}

// later puts a file off whose copy could not be made, unless it was changed since.
func (p *pendingSet) later(id sliver.FileID) {
	p.mu.Lock()
	if f := p.m[id]; f != nil {
		f.again = time.Now().Add(copyRetry)
	}
	p.mu.Unlock()
}

// waiting returns the files that the mover has not been given, with what is known of them.
func (p *pendingSet) waiting(now time.Time) map[sliver.FileID]pendingFile {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := make(map[sliver.FileID]pendingFile)
	for id, f := range p.m {
		if !p.queued[id] && !now.Before(f.again) {
			m[id] = *f
		}
	}
	return m
}

// decided notes how a file is archived, unless it was changed since.
func (p *pendingSet) decided(id sliver.FileID, was pendingFile, v *verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.m[id]; f != nil && f.changed.Equal(was.changed) {
		f.verdict = v
	}
}

// enqueue marks a file as given to the mover.
func (p *pendingSet) enqueue(id sliver.FileID) {
	p.mu.Lock()
	p.queued[id] = true
	p.mu.Unlock()
}

// archivePending has the files archived that are due by their rules. When
// the cache is short of slots, all that is dirty is due: also files that are
// unlinked and still open, which have no name on tape but take space like any other.
func (fs *FS) archivePending(ctx context.Context, short bool) {
	if ctx.Err() != nil {
		return
	}
	s := fs.cache.Stats()
	if short = short || s.WaitingForSpace > 0; short {
		fs.pending.addMissing(fs.cache.DirtyFiles())
	}
	dirty := float64(s.DirtyBytes) / float64(max(s.SizeBytes, 1))
	now := time.Now()
	var due []ruled
	for id, f := range fs.pending.waiting(now) {
		v := f.verdict
		if !fs.rules.holds(v, now) {
			var err error
			if v, err = fs.verdict(id); err != nil {
				fs.archiveFailed(id, err)
				continue
			}
			fs.pending.decided(id, f, v)
		}
		if v.Due(f.changed, now, dirty, short) {
			fs.pending.enqueue(id)
			due = append(due, ruled{id, v})
		}
	}
	// If nothing of what fills the cache may go to tape, nobody need wait for that.
	fs.mover.NothingComes(short && fs.neverFills(dirty))
	fs.toTape(due, func(id sliver.FileID, err error) {
		var short *shortError
		if stderrors.As(err, &short) {
			fs.pending.later(id)
		}
		fs.pending.unqueue(id)
		fs.archiveFailed(id, err)
	})
}

// neverFills says whether most of the cache, of which dirty is the share that is not on tape, holds
// what is never archived, and all else is on tape: then nobody need wait for that.
func (fs *FS) neverFills(dirty float64) bool {
	if dirty < 0.5 {
		return false
	}
	for _, id := range fs.cache.DirtyFiles() {
		if v, err := fs.verdict(id); err != nil || !v.Never {
			return false
		}
	}
	return true
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
