package mover

import (
	"time"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
)

// maxArchiveAttempts is how often a file is begun anew after a write error
// before its callers are told.
const maxArchiveAttempts = 4

// archiveItem is a file that waits for archiving, or is being archived. While it
// waits it is guarded by Mover.mu; after takeArchive it belongs to the taker.
type archiveItem struct {
	file     sliver.FileID
	to       Place
	dones    []func(sliver.FileID, error)
	since    time.Time
	attempts int
	lastErr  error

	// begun says that a part is on tape, and rest are the slivers left of what was
	// dirty when it began: a file that is written all the time ends too.
	begun bool
	rest  []sliver.No
	hash  *fileHash // of what was archived of it since, nil: not known
	busy  bool      // another item archives something of it just now: this one is not over before that is

	// copy is for a further copy of what is archived, see copy.go.
	copy   *CopyOptions
	not    []catalog.VolumeNo // volumes that cannot take it, sorted
	absent map[sliver.No]bool // was not in the cache, and is not tried again
}

// Archive queues files: their dirty slivers and new attributes go to tape, to a volume
// of the place's pool. done, if not nil, is called once for each file, from a goroutine of
// the mover, with no lock held: nil says that all that was dirty when archiving began is on
// tape and in the catalog, or was changed meanwhile, or that the file is gone. It must
// not block. Archive itself never blocks; after Close it calls done at once, with
// an error. A file that waits already stays where it is.
func (m *Mover) Archive(to Place, files []sliver.FileID, done func(f sliver.FileID, err error)) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		if done != nil {
			for _, f := range files {
				done(f, errClosed)
			}
		}
		return
	}
	now := time.Now()
	for _, f := range files {
		it := m.waiting[f]
		if it == nil || it.begun {
			it = &archiveItem{file: f, to: to, since: now}
			m.waiting[f] = it
			m.enqueueLocked(it)
		}
		if done != nil {
			it.dones = append(it.dones, done)
		}
	}
	m.wakeLocked()
	m.mu.Unlock()
}

// takeArchive takes the next file that v can take out of the queue, or nil.
func (m *Mover) takeArchive(v *volume) *archiveItem {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return nil
	}
	it := m.takeLocked(v)
	if it != nil && m.waiting[it.file] == it {
		delete(m.waiting, it.file)
	}
	if it != nil && it.copy == nil {
		m.planning++
	}
	return it
}

// endPlanning ends what takeArchive has begun: the files are in a batch, back in the queue, or done.
func (m *Mover) endPlanning(list ...planned) {
	m.mu.Lock()
	for i := range list {
		if list[i].item.copy == nil {
			m.planning--
		}
	}
	m.mu.Unlock()
}

// putBack puts files that were taken back to the front of the queue, in their
// order.
func (m *Mover) putBack(items []*archiveItem) {
	if len(items) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requeueLocked(items)
	for _, it := range items {
		if it.copy == nil && m.waiting[it.file] == nil {
			m.waiting[it.file] = it
		}
	}
	m.wakeLocked()
}

// beginPart notes that a batch archives content of a file, until endPart.
func (m *Mover) beginPart(f sliver.FileID) {
	m.mu.Lock()
	m.inBatch[f]++
	m.mu.Unlock()
}

// endPart puts those back that wait for it.
func (m *Mover) endPart(f sliver.FileID) {
	m.mu.Lock()
	var behind []*archiveItem
	if m.inBatch[f]--; m.inBatch[f] == 0 {
		delete(m.inBatch, f)
		behind = m.behind[f]
		delete(m.behind, f)
	}
	m.mu.Unlock()
	m.putBack(behind)
}

// endParts is endPart for what a batch has archived, whether that has succeeded or not.
func (m *Mover) endParts(b *batch) {
	for i := range b.parts {
		if it := b.parts[i].item; it.copy == nil {
			m.endPart(it.file)
		}
	}
}

// follow puts a file back of which another item archives something, when that has ended: whoever asked for it is not told
// that it is on tape before it is.
func (m *Mover) follow(it *archiveItem) {
	it.anew()
	m.mu.Lock()
	wait := m.inBatch[it.file] > 0
	if wait {
		m.behind[it.file] = append(m.behind[it.file], it)
	}
	m.mu.Unlock()
	if !wait {
		m.putBack([]*archiveItem{it})
	}
}

// retry puts files back after err, but for those that have failed too often:
// their callers are told.
func (m *Mover) retry(items []*archiveItem, err error) {
	var again []*archiveItem
	for _, it := range items {
		it.attempts++
		it.lastErr = err
		it.anew()
		if it.attempts >= maxArchiveAttempts {
			it.finish(err)
			continue
		}
		again = append(again, it)
	}
	m.putBack(again)
}

// failArchive tells all who wait for archiving that it cannot be.
func (m *Mover) failArchive(err error) {
	m.mu.Lock()
	items := append(m.drainLocked(func(*lane) bool { return true }), m.copyInbox...)
	m.copyInbox = nil
	clear(m.waiting)
	m.pressure = false
	m.mu.Unlock()
	for _, it := range items {
		it.finish(err)
	}
}

// failStuck tells those who wait for a volume or a drive that will never come.
func (m *Mover) failStuck() {
	type failed struct {
		it  *archiveItem
		err error
	}
	var list []failed
	m.mu.Lock()
	for a, err := range m.stuckLocked() {
		for _, it := range m.drainLocked(func(b *lane) bool { return a == b }) {
			list = append(list, failed{it, err})
			if m.waiting[it.file] == it {
				delete(m.waiting, it.file)
			}
		}
	}
	if !m.anyLane(newContent) {
		m.pressure = false
	}
	m.mu.Unlock()
	for _, f := range list {
		f.it.finish(f.err)
	}
}

// anew has the file be planned from its beginning.
func (it *archiveItem) anew() { it.begun, it.rest, it.busy = false, nil, false }

func (it *archiveItem) finish(err error) {
	for _, done := range it.dones {
		done(it.file, err)
	}
	it.dones = nil
}
