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
	// queued are those that the mover has been given; busy has how many content is archived of, by pool.
	queued map[sliver.FileID]*given
	busy   map[string]int
}

// given is a file that the mover has been given.
type given struct {
	at   time.Time
	pool string // to which content of it goes; "": only its attributes are archived, which takes until the next index
}

// pendingFile is a file of the set.
type pendingFile struct {
	changed time.Time // last
	verdict *verdict  // how it is archived; nil: not asked for since
	again   time.Time // not before: a copy could not be made
	due     time.Time // since when it is due; zero: it was not when last looked
}

func (p *pendingSet) add(id sliver.FileID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m == nil {
		p.m = make(map[sliver.FileID]*pendingFile)
		p.queued, p.busy = make(map[sliver.FileID]*given), make(map[string]int)
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

// unqueue notes that the mover has done with what it was given.
func (p *pendingSet) unqueue(id sliver.FileID, g *given) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.queued[id] == g {
		delete(p.queued, id)
	}
	if g.pool == "" {
		return
	}
	if p.busy[g.pool]--; p.busy[g.pool] == 0 {
		delete(p.busy, g.pool)
	}
}

// later puts a file off whose copy could not be made, unless it was changed since.
func (p *pendingSet) later(id sliver.FileID) {
	p.mu.Lock()
	if f := p.m[id]; f != nil {
		f.again = time.Now().Add(copyRetry)
	}
	p.mu.Unlock()
}

// waiting returns the files that the mover has not been given, with what is known of them. One whose attributes it
// has been given, and that was changed since, waits again: its data are not to wait for an index.
func (p *pendingSet) waiting(now time.Time) map[sliver.FileID]pendingFile {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := make(map[sliver.FileID]pendingFile)
	for id, f := range p.m {
		g := p.queued[id]
		if (g == nil || g.pool == "" && f.changed.After(g.at)) && !now.Before(f.again) {
			m[id] = *f
		}
	}
	return m
}

// decided notes how a file is archived and since when it is due, unless it was changed since.
func (p *pendingSet) decided(id sliver.FileID, was pendingFile) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.m[id]; f != nil && f.changed.Equal(was.changed) {
		f.verdict, f.due = was.verdict, was.due
	}
}

// verdictOf returns what was decided of a file, nil if that is not known.
func (p *pendingSet) verdictOf(id sliver.FileID) *verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.m[id]; f != nil {
		return f.verdict
	}
	return nil
}

// enqueue marks a file as given to the mover; pool is where its content goes, "" if only
// its attributes are archived.
func (p *pendingSet) enqueue(id sliver.FileID, pool string) *given {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := &given{time.Now(), pool}
	if p.queued[id] = g; pool != "" {
		p.busy[pool]++
	}
	return g
}

// isBusy says whether the mover has been given content for a pool.
func (p *pendingSet) isBusy(pool string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busy[pool] > 0
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
	runs := map[string]*run{}
	for id, f := range fs.pending.waiting(now) {
		if !fs.rules.holds(f.verdict, now) {
			var err error
			if f.verdict, err = fs.verdict(id); err != nil {
				fs.archiveFailed(id, err)
				continue
			}
			fs.pending.decided(id, f)
		}
		v := f.verdict
		if !v.Due(f.changed, now, dirty, short) {
			continue
		}
		if f.due.IsZero() {
			f.due = now
			fs.pending.decided(id, f)
		}
		r := runs[v.place.Pool]
		if r == nil {
			r = &run{oldest: f.due}
			runs[v.place.Pool] = r
		}
		r.add(fs, id, &f, short || dirty > v.Dirty)
	}
	var due []ruled
	has := map[sliver.FileID]*given{}
	for pool, r := range runs {
		if !r.enough(fs, pool, now) {
			continue
		}
		for _, f := range r.files {
			to := pool
			if _, dirty, _, _ := fs.cache.FileStats(f.id); dirty == 0 {
				to = ""
			}
			has[f.id] = fs.pending.enqueue(f.id, to)
		}
		due = append(due, r.files...)
	}
	// If nothing of what fills the cache may go to tape, nobody need wait for that.
	fs.mover.NothingComes(short && fs.neverFills(dirty))
	fs.toTape(due, func(id sliver.FileID, err error) {
		var short *shortError
		if stderrors.As(err, &short) {
			fs.pending.later(id)
		}
		fs.pending.unqueue(id, has[id])
		fs.archiveFailed(id, err)
		if err == nil && fs.cache.Stats().WaitingForSpace > 0 {
			signal(fs.pressed) // what was written since was passed over as long as the mover had the file
		}
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
