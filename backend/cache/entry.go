package cache

import (
	"fmt"
	"sync"
	"time"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// entry is one sliver that is faulting or resident. A sliver without an entry is
// what the caller's Behind says: a hole or absent.
type entry struct {
	key  sliver.Key
	file *file

	// wmu orders the changes of a resident sliver's bytes and length: one write at
	// a time. It is held while bytes are copied; taken before mu (or tried under it).
	wmu sync.Mutex

	// All below is guarded by Cache.mu.

	state sliver.State
	dead  bool // not in the table any more
	slot  *slot
	len   int // valid bytes if resident

	// of a resident sliver
	version   sliver.Version
	sum       uint64         // if Clean
	archiving sliver.Version // what the mover read, if Archiving
	writers   int            // copies in progress
	unsynced  bool           // bytes are not on disk since the last SyncFile
	uncommit  bool           // the catalog has not been told of the newest sync
	rewrite   bool           // a sync has failed: the pages must be written again; of a faulting sliver too
	cut       int            // the least length since the last SyncFile began
	old       []*slot        // superseded slots that the durable catalog may name, oldest first
	verify    bool           // Clean, found after an unclean shutdown or a failed sync, sum not checked yet

	// of a faulting sliver
	seq      uint64 // names the fault; 0: none runs
	validLen int    // bytes that the fault brings
	wanted   bool   // by Want, without a waiter
	class    vfs.Class
	waiting  [vfs.NumClasses]int32 // waiters, by class
	ranges   []*span               // staged writes, by offset
	copying  int                   // staged writes whose bytes are being copied
	filling  bool                  // bytes are being put around the staged ones: no staging, no cancelling
	filled   bool                  // that is done, only copies are awaited
	dropped  bool                  // became a hole under the staged writes
	endErr   error                 // what the fault ended with, for writes that are being copied
	tapeVer  sliver.Version
	tapeSum  uint64
	head     headSum // of what was archived or came from tape
	waiters  vfs.WaitList
	reserved bool // Reserve gave it its slot

	// of the eviction policy
	queue      *queue
	prev, next *entry
	freq       uint8
	held       bool          // by a pin, so not in a queue
	due        int           // reads that are awaited of waiters who were woken
	dueEnd     time.Duration // until then, since Cache.opened
}

// file is what the cache knows of one file.
type file struct {
	id       sliver.FileID
	slivers  map[sliver.No]*entry
	syncMu   sync.Mutex // one SyncFile at a time; before wmu and mu
	users    int        // SyncFile calls
	pinned   bool       // by the user
	reserved int64      // bytes that a pin may hold

	bytes                  int64
	dirty, clean, faulting int
}

func (c *Cache) lookup(k sliver.Key) *entry {
	f := c.files[k.File]
	if f == nil {
		return nil
	}
	return f.slivers[k.No]
}

func (c *Cache) fileFor(id sliver.FileID) *file {
	f := c.files[id]
	if f == nil {
		f = &file{id: id, slivers: make(map[sliver.No]*entry)}
		c.files[id] = f
	}
	return f
}

func (c *Cache) forget(f *file) {
	if len(f.slivers) == 0 && !f.pinned && f.users == 0 {
		delete(c.files, f.id)
	}
}

// insert makes the entry of a sliver that is in state from (Hole or Absent) and
// moves it to state to.
func (c *Cache) insert(k sliver.Key, from, to sliver.State) *entry {
	f := c.fileFor(k.File)
	e := &entry{key: k, file: f, state: from}
	f.slivers[k.No] = e
	c.move(e, to)
	return e
}

// move is the one way by which a sliver changes its state.
func (c *Cache) move(e *entry, to sliver.State) {
	if e.state == to {
		return
	}
	if !e.state.MayBecome(to) {
		c.broken("illegal move of sliver %v from %v to %v", e.key, e.state, to)
	}
	if to == sliver.Dirty && e.key.No == 0 && e.file.head() != nil {
		c.broken("sliver %v becomes dirty and its head stays", e.key)
	}
	c.tally(e, -1)
	c.unhold(e)
	c.dequeue(e)
	e.state, e.due = to, 0
	c.tally(e, +1)
	c.enqueue(e)
	if e.file.dirty > 0 {
		c.dirty[e.file.id] = struct{}{}
	} else {
		delete(c.dirty, e.file.id)
	}
}

func (c *Cache) tally(e *entry, d int) {
	f := e.file
	switch e.state {
	case sliver.Faulting:
		f.faulting += d
		c.stats.Faulting += int64(d)
	case sliver.Clean:
		if !e.isHead() {
			f.clean += d
			f.bytes += int64(d * e.len)
		}
		c.stats.CleanBytes += int64(d * e.len)
	case sliver.Dirty, sliver.Archiving:
		f.dirty += d
		f.bytes += int64(d * e.len)
		c.stats.DirtyBytes += int64(d * e.len)
	}
}

func (c *Cache) setLen(e *entry, n int) {
	c.tally(e, -1)
	e.len = n
	c.tally(e, +1)
}

// remove takes an entry out of the table; its last state is to, Hole or Absent.
// The slot goes to quarantine if the durable catalog may name it.
func (c *Cache) remove(p *post, e *entry, to sliver.State) {
	c.move(e, to)
	e.dead = true
	delete(e.file.slivers, e.key.No)
	c.forget(e.file)
	for _, s := range e.old {
		c.quarantine(s)
	}
	e.old = nil
	if s := e.slot; s != nil {
		e.slot, s.e = nil, nil
		if s.named {
			c.quarantine(s)
		} else {
			c.release(p, s)
		}
	}
}

// toAbsent removes an entry whose len valid bytes are on tape.
func (c *Cache) toAbsent(p *post, e *entry, valid int) {
	c.remove(p, e, sliver.Absent)
	c.rebase(e.key, func(b *Behind) { *b = Behind{sliver.Absent, valid} })
}

// rebase corrects what the writes to k that wait for space think of it.
func (c *Cache) rebase(k sliver.Key, fix func(*Behind)) {
	for _, pl := range c.retrying {
		if pl.k == k {
			fix(&pl.b)
		}
	}
	if c.wanted[k] == 0 {
		return
	}
	for w := c.space.Front(); w != nil; w = w.Next() {
		if pl := c.parked[w]; pl.k == k {
			fix(&pl.b)
		}
	}
}

func (c *Cache) setSlot(e *entry, s *slot) {
	if e.slot != nil {
		e.slot.e = nil
	}
	e.slot, s.e = s, e
}

// broken reports a broken rule of the cache.
func (c *Cache) broken(format string, args ...any) {
	c.log.Errorf("cache: "+format, args...)
	if invariants {
		crash(fmt.Sprintf("cache: "+format, args...))
	}
}
