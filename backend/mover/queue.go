package mover

import (
	"time"

	"sliod/backend/sliver"
)

// maxArchiveAttempts is how often a file is begun anew after a write error
// before its callers are told.
const maxArchiveAttempts = 4

// archiveItem is a file that waits for archiving, or is being archived. While it
// waits it is guarded by Mover.mu; after takeArchive it belongs to the taker.
type archiveItem struct {
	file     sliver.FileID
	dones    []func(sliver.FileID, error)
	since    time.Time
	attempts int
	lastErr  error

	// begun says that a part is on tape, and rest are the slivers left of what was
	// dirty when it began: a file that is written all the time ends too.
	begun bool
	rest  []sliver.No
	hash  *fileHash // of what was archived of it since, nil: not known
}

// Archive queues files: their dirty slivers and new attributes go to tape. done,
// if not nil, is called once for each file, from a goroutine of the mover, with
// no lock held: nil says that all that was dirty when archiving began is on tape
// and in the catalog, or was changed meanwhile, or that the file is gone. It must
// not block. Archive itself never blocks; after Close it calls done at once, with
// an error.
func (m *Mover) Archive(files []sliver.FileID, done func(f sliver.FileID, err error)) {
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
			it = &archiveItem{file: f, since: now}
			m.waiting[f] = it
			m.archive = append(m.archive, it)
		}
		if done != nil {
			it.dones = append(it.dones, done)
		}
	}
	m.wakeLocked()
	m.mu.Unlock()
}

// takeArchive takes the next file out of the queue, or nil.
func (m *Mover) takeArchive() *archiveItem {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.archive) == 0 || m.closing {
		return nil
	}
	it := m.archive[0]
	m.archive[0] = nil
	m.archive = m.archive[1:]
	if m.waiting[it.file] == it {
		delete(m.waiting, it.file)
	}
	return it
}

// putBack puts files that were taken back to the front of the queue, in their
// order.
func (m *Mover) putBack(items []*archiveItem) {
	if len(items) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.archive = append(append(make([]*archiveItem, 0, len(items)+len(m.archive)), items...), m.archive...)
	for _, it := range items {
		if m.waiting[it.file] == nil {
			m.waiting[it.file] = it
		}
	}
	m.wakeLocked()
}

// retry puts files back after err, but for those that have failed too often:
// their callers are told.
func (m *Mover) retry(items []*archiveItem, err error) {
	var again []*archiveItem
	for _, it := range items {
		it.attempts++
		it.lastErr = err
		it.begun, it.rest = false, nil
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
	items := m.archive
	m.archive = nil
	clear(m.waiting)
	m.pressure = false
	m.mu.Unlock()
	for _, it := range items {
		it.finish(err)
	}
}

func (it *archiveItem) finish(err error) {
	for _, done := range it.dones {
		done(it.file, err)
	}
	it.dones = nil
}
