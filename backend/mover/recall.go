package mover

import (
	stderrors "errors"
	"slices"
	"time"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/schedule"
)

// maxAttempts bounds how often one recall is read, over all copies and drives.
const maxAttempts = 6

// recallState says who has a recall. Guarded by Mover.mu.
type recallState uint8

const (
	inInbox  recallState = iota // waits for the clerk
	locating                    // the clerk has it
	queued                      // in the queue of its volume
	aside                       // waits for space in the cache
	active                      // a drive reads it
)

// recall is one fault on its way. All fields are guarded by Mover.mu, but for
// the owner's own copies (see job).
type recall struct {
	key      sliver.Key
	seq      uint64
	since    time.Time
	state    recallState
	unwanted bool // nobody waited when last heard
	reclass  bool // the class has changed while it was being located
	class    schedule.Class

	loc      Located // of seq
	copy     catalog.Copy
	vol      *volume
	waiters  int // when last looked
	attempts int
	badVols  map[catalog.VolumeNo]bool // its copy there could not be read
	badDrive map[*drive]bool
	lastErr  error

	eta         time.Time // by the last forecast; zero: it is not known
	estimated   time.Time // when it was to be done, as was said at estimatedAt; zero: nothing was said
	estimatedAt time.Time
}

// job is what a drive's owner has been given to read.
type job struct {
	r    *recall
	key  sliver.Key
	seq  uint64
	loc  Located
	copy catalog.Copy

	model time.Duration // how long it takes by the model
}

var errNoCopy = stderrors.New("the catalog names no copy on tape")

// Recall takes the fault seq of sliver k in. It never blocks. A fault for a
// sliver that is queued already coalesces with it.
func (m *Mover) Recall(k sliver.Key, seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return
	}
	r := m.recalls[k]
	if r == nil {
		r = &recall{key: k, seq: seq, since: time.Now()}
		m.recalls[k] = r
		m.toInboxLocked(r)
		return
	}
	r.unwanted = false
	if r.seq == seq {
		return
	}
	// The fault that was queued is over, and this is a new one: the content may
	// lie elsewhere by now. One who has r sees the new seq when he is done.
	r.seq = seq
	r.attempts, r.badVols, r.badDrive, r.lastErr = 0, nil, nil, nil
	r.estimated = time.Time{}
	m.unqueueLocked(r)
}

// Unwanted says that nobody waits for fault seq of sliver k any longer. It is
// dropped unless a drive has begun it. It never blocks.
func (m *Mover) Unwanted(k sliver.Key, seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.recalls[k]; r != nil && r.seq == seq {
		r.unwanted = true
		m.unqueueLocked(r)
	}
}

// Reclass says that the class of those who wait for fault seq of sliver k has
// changed. It never blocks.
func (m *Mover) Reclass(k sliver.Key, seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.recalls[k]; r != nil && r.seq == seq {
		r.reclass = true
		m.unqueueLocked(r)
	}
}

// SpaceFreed says that the cache may have a slot again: recalls that were put
// aside are tried again. It never blocks.
func (m *Mover) SpaceFreed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spaceGen++
	m.pressure = false
	m.retryAsideLocked(asideStep)
}

// Pressure says that somebody waits for space that only archiving can make:
// archive work goes before recalls until SpaceFreed, or until none is left. It
// never blocks.
func (m *Mover) Pressure() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.pressure {
		m.pressure = true
		m.wakeLocked()
	}
}

// asideStep is how many recalls that were put aside are tried again when one slot
// has become free. Each that gets its slot brings as many back, so that all come
// back while there is space, and a full cache is not asked for thousands.
const asideStep = 8

// retryAsideLocked brings the n oldest recalls that were put aside back.
func (m *Mover) retryAsideLocked(n int) {
	for n > 0 && len(m.aside) > 0 {
		r := m.aside[0]
		m.aside[0] = nil
		m.aside = m.aside[1:]
		if r.state == aside {
			m.toInboxLocked(r)
			n--
		}
	}
}

// putAside keeps r, fault seq, until there may be space. gen is m.spaceGen from
// before the cache was asked: if space was freed since, r is tried at once.
func (m *Mover) putAside(r *recall, seq, gen uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.seq != seq || r.unwanted || m.spaceGen != gen {
		m.toInboxLocked(r)
		return
	}
	r.state, r.vol = aside, nil
	m.asideN++
	m.aside = append(m.aside, r)
	m.wakeLocked() // archive work is urgent now
}

// unqueueLocked brings a recall that no one has at the moment back to the inbox.
func (m *Mover) unqueueLocked(r *recall) {
	switch r.state {
	case queued:
		r.vol.queue.Remove(r.key)
		m.est.changes++
		m.toInboxLocked(r)
	case aside:
		m.toInboxLocked(r) // its place in m.aside is skipped by its state
	}
}

func (m *Mover) toInboxLocked(r *recall) {
	if r.state == aside {
		if m.asideN--; m.asideN == 0 {
			m.aside = nil // what is left are stale entries
		}
	}
	r.state, r.vol = inInbox, nil
	m.inbox = append(m.inbox, r)
	m.pokeClerkLocked()
}

func (m *Mover) pokeClerkLocked() {
	select {
	case m.clerkWake <- struct{}{}:
	default:
	}
}

// forgetLocked ends r, which was handled as fault seq. If another fault of the
// sliver has begun meanwhile, that one is taken up.
func (m *Mover) forgetLocked(r *recall, seq uint64) {
	if r.seq != seq {
		m.toInboxLocked(r)
		return
	}
	delete(m.recalls, r.key)
}

// clerk is the goroutine that locates new recalls.
func (m *Mover) clerk() {
	defer m.wg.Done()
	var look <-chan time.Time
	if m.cfg.Look > 0 {
		t := time.NewTicker(m.cfg.Look)
		defer t.Stop()
		look = t.C
	}
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-look:
			m.lookAgain(nil)
			m.publishTapeSpace()
		case <-m.clerkWake:
			m.clearInbox()
			m.clearCopyInbox()
		case reply := <-m.rescans:
			reply <- m.inventory(m.ctx, nil)
		}
	}
}

// clearInbox handles what is in the inbox. After Close nothing is begun any more: what
// is there stays.
func (m *Mover) clearInbox() {
	m.mu.Lock()
	if m.closing {
		m.mu.Unlock()
		return
	}
	for n := len(m.inbox); n > 0 && len(m.inbox) > 0; n-- {
		r := m.inbox[0]
		m.inbox[0] = nil
		m.inbox = m.inbox[1:]
		m.beginLocateLocked(r)
	}
	if len(m.inbox) > 0 {
		m.pokeClerkLocked()
	}
	if m.locating == 0 {
		m.wakeLocked() // a drive may have waited for this before an exchange
	}
	m.mu.Unlock()
	m.observed()
}

// locateNow takes a recall out of the clerk's hands: an owner wants the slivers
// that follow the one it reads in its queue in time.
func (m *Mover) locateNow(k sliver.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.recalls[k]; r != nil {
		m.beginLocateLocked(r)
		if m.locating == 0 {
			m.wakeLocked() // as in clearInbox
		}
	}
}

// beginLocateLocked locates r unless somebody else has it: an entry of the inbox
// may be stale. It gives the lock up meanwhile.
func (m *Mover) beginLocateLocked(r *recall) {
	if r.state != inInbox {
		return
	}
	r.state = locating
	seq, unwanted := r.seq, r.unwanted
	r.unwanted, r.reclass = false, false
	m.locating++
	m.mu.Unlock()
	m.locate(r, seq, unwanted)
	m.mu.Lock()
	m.locating--
}

// locate decides what becomes of r, which is fault seq: it is dropped, fails, or
// goes to the queue of a volume.
func (m *Mover) locate(r *recall, seq uint64, unwanted bool) {
	if unwanted && m.cache.DropFault(r.key, seq) {
		m.mu.Lock()
		m.forgetLocked(r, seq)
		m.mu.Unlock()
		return
	}
	alive, waiters, class := m.cache.FaultWanted(r.key, seq)
	if !alive {
		m.mu.Lock()
		m.forgetLocked(r, seq)
		m.mu.Unlock()
		return
	}
	loc, err := m.files.Locate(r.key)
	if err == nil && len(loc.Copies) == 0 {
		err = errNoCopy
	}
	if err != nil {
		m.fail(r, seq, errors.WithMessagef(err, "mover: recall sliver %v", r.key))
		return
	}
	m.mu.Lock()
	if r.seq != seq || r.unwanted || r.reclass || m.closing {
		m.toInboxLocked(r)
		m.mu.Unlock()
		return
	}
	r.loc, r.waiters, r.class = loc, waiters, schedule.Class(class)
	v, c, err := m.pickCopyLocked(r)
	var away *awayVolume
	if stderrors.As(err, &away) && time.Since(m.lookedAt) > m.cfg.LookAgain {
		m.mu.Unlock()
		m.lookAgain(nil) // it may have come back by hand
		m.mu.Lock()
		if r.seq != seq || r.unwanted || r.reclass || m.closing {
			m.toInboxLocked(r)
			m.mu.Unlock()
			return
		}
		v, c, err = m.pickCopyLocked(r)
	}
	if err == nil && v.rec().State == catalog.VolScratch && r.attempts < maxAttempts/2 {
		// It was emptied since Locate: the sliver is elsewhere by now, and a scratch volume
		// that is fetched is formatted.
		r.attempts++
		m.toInboxLocked(r)
		m.mu.Unlock()
		return
	}
	if err == nil {
		r.vol, r.copy, r.state = v, c, queued
		v.queue.Add(r.key, r.class, placeOf(c), loc.ArchLen, r.since)
		r.eta = time.Time{}
		m.est.changes++
		m.sampleLocked(r, time.Now())
		m.wakeLocked()
	}
	m.mu.Unlock()
	if stderrors.As(err, &away) {
		m.missed(away)
	}
	if err != nil {
		m.fail(r, seq, err)
	}
}

// awayVolume is the error of a recall whose copies are on volumes that are not in the library;
// v is one of them.
type awayVolume struct {
	v   *volume
	err error
}

func (e *awayVolume) Error() string { return e.err.Error() }
func (e *awayVolume) Unwrap() error { return e.err }

// missed says once, until the volume is back, that somebody wants it.
func (m *Mover) missed(e *awayVolume) {
	m.mu.Lock()
	said := e.v.missed
	e.v.missed = true
	m.mu.Unlock()
	if !said {
		_ = m.note("recall", e.v, nil, "", awayError(e.v))
		m.log.WithField(fieldVolume, e.v.rec().Barcode).Warn("somebody wants what is on it: " + awayError(e.v).Error())
	}
}

func placeOf(c catalog.Copy) schedule.Place {
	for _, p := range c.Pieces {
		if !p.IsZeros() {
			return schedule.Place{Position: tape.Position{Partition: tape.Partition(p.Partition), Block: tape.BlockNo(p.Block)}, Offset: p.Offset}
		}
	}
	return schedule.Place{}
}

// pickCopyLocked chooses the copy to read: not one that was tried in vain, one that is
// not known to be bad before one that is, a mounted volume if there is one, one in good health before a suspect one, and
// the one with the shorter queue.
func (m *Mover) pickCopyLocked(r *recall) (*volume, catalog.Copy, error) {
	var best, away *volume
	var bestCopy catalog.Copy
	var why error
	bestRank := 0
	for _, c := range r.loc.Copies {
		if r.badVols[c.Volume] {
			continue
		}
		v := m.volumes[c.Volume]
		switch {
		case v == nil:
			why = errors.Errorf("volume number %d is not in the catalog", c.Volume)
		case v.away:
			why, away = awayError(v), v
		case v.leaving:
			why = errors.Errorf("volume %s is being exported", v.rec().Barcode)
		default:
			rank := v.readRank()
			if slices.Contains(r.loc.Bad, c.Volume) {
				rank += badRank
			}
			if best == nil || rank < bestRank || rank == bestRank && v.queue.Len() < best.queue.Len() {
				best, bestCopy, bestRank = v, c, rank
			}
		}
	}
	switch {
	case best != nil && !m.anyDriveLocked():
		why = errors.Errorf("no drive is in service for volume %s", best.rec().Barcode)
	case best != nil && r.attempts < maxAttempts && m.mayTryLocked(r):
		return best, bestCopy, nil
	}
	if best == nil && away != nil {
		return nil, bestCopy, &awayVolume{away, errors.WithMessagef(why, "mover: recall sliver %v", r.key)}
	}
	switch {
	case r.lastErr != nil:
		why = r.lastErr
	case why == nil: // it was sent away each time, by no fault of a volume or a drive
		why = errors.Errorf("given up after %d attempts to fetch a volume", r.attempts)
	}
	return nil, bestCopy, errors.WithMessagef(why, "mover: recall sliver %v: no readable copy is left", r.key)
}

// mayTryLocked says whether a drive is left that r has not failed in.
func (m *Mover) mayTryLocked(r *recall) bool {
	for _, d := range m.drives {
		if !d.out() && !r.badDrive[d] {
			return true
		}
	}
	return false
}

// fail ends r, fault seq, with err: every waiter gets it, and the next access
// tries again.
func (m *Mover) fail(r *recall, seq uint64, err error) {
	m.mu.Lock()
	m.forgetLocked(r, seq)
	m.stats.Failed++
	m.mu.Unlock()
	m.cache.Fail(r.key, seq, faultError(err))
}

// failover looks for another way to read r after err, blaming the volume or the
// drive.
func (m *Mover) failover(j job, d *drive, b blame, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := j.r
	if r.seq == j.seq {
		r.attempts++
		r.lastErr = err
		if b == blameDrive {
			if r.badDrive == nil {
				r.badDrive = make(map[*drive]bool)
			}
			r.badDrive[d] = true
		} else if b == blameVolume {
			if r.badVols == nil {
				r.badVols = make(map[catalog.VolumeNo]bool)
			}
			r.badVols[j.copy.Volume] = true
		}
	}
	m.toInboxLocked(r)
}
