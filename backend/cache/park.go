package cache

import (
	"slices"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// Kinds of parked requests, in vfs.Waiter.Kind.
const (
	kindRead   = iota + 1 // reads again when the sliver is there
	kindStaged            // a write whose bytes are in the faulting sliver's slot
	kindPrefix            // a write that waits for the fault with its first bytes
	kindSpace             // a write that waits for a slot with its first bytes
)

// place says where a parked request waits.
type place struct {
	k sliver.Key
	e *entry // the faulting sliver, or nil: in Cache.space
	b Behind // of a write that waits for space; kept right by rebase
	// retrying: it is out of every list and being tried again.
	retrying bool
	// cancelled: Cancel came while it was retrying. It may be done, but not park.
	cancelled bool
}

// post collects, under mu, what must be done after mu is released. Its zero value
// is empty.
type post struct {
	acts     []action
	kick     bool // a slot may have become free
	pressure bool
}

type actionKind uint8

const (
	actWake actionKind = iota
	actFault
	actUnwanted
	actReclass
	actRecord
	actRetry
	actHead
)

type action struct {
	kind actionKind
	k    sliver.Key
	seq  uint64
	n    int
	w    *vfs.Waiter
	err  error
	s    *slot
}

func (p *post) wake(w *vfs.Waiter, n int, err error) {
	p.acts = append(p.acts, action{kind: actWake, w: w, n: n, err: err})
}

// merged tells the owner that a parked write is in its sliver, and has the waiter
// woken. mu is held: no Truncate or Drop comes between the data and the new size.
func (c *Cache) merged(p *post, k sliver.Key, end int, w *vfs.Waiter, n int) {
	c.ev.Merged(k, end, w, n)
	p.wake(w, n, nil)
}

func (p *post) fault(k sliver.Key, seq uint64) {
	p.acts = append(p.acts, action{kind: actFault, k: k, seq: seq})
}

func (p *post) unwanted(k sliver.Key, seq uint64) {
	p.acts = append(p.acts, action{kind: actUnwanted, k: k, seq: seq})
}

func (p *post) reclass(k sliver.Key, seq uint64) {
	p.acts = append(p.acts, action{kind: actReclass, k: k, seq: seq})
}

// record has the slot's record written. Until it is, the place is not given out again.
func (p *post) record(s *slot) {
	s.refs.Add(1)
	s.records++
	p.acts = append(p.acts, action{kind: actRecord, s: s})
}

// run does what p collected, in order, and then what that brought up. mu is not
// held. Waiters for space are tried, oldest first, as long as there is a slot for
// the first of them.
func (c *Cache) run(p *post) {
	for {
		for len(p.acts) > 0 {
			acts := p.acts
			p.acts = nil
			for i := range acts {
				c.act(p, &acts[i])
			}
		}
		if p.pressure {
			p.pressure = false
			c.ev.Pressure()
		}
		if p.kick && c.spaceFreed != nil && c.refused.Swap(false) {
			c.spaceFreed()
		}
		if !p.kick || c.spaceLen.Load() == 0 {
			return
		}
		p.kick = false
		c.grantSpace(p)
	}
}

func (c *Cache) act(p *post, a *action) {
	switch a.kind {
	case actWake:
		a.w.Waker.Wake(a.n, a.err)
	case actFault:
		c.ev.Fault(a.k, a.seq)
	case actUnwanted:
		c.ev.Unwanted(a.k, a.seq)
	case actReclass:
		c.ev.Reclass(a.k, a.seq)
	case actRecord:
		if err := c.writeRecord(a.s); err != nil {
			// The content is good; only a warm restart is lost.
			c.log.WithError(err).WithField(fieldSlot, a.s.number()).Warn("slot record not written")
		}
		c.mu.Lock()
		a.s.records--
		c.release(p, a.s)
		c.mu.Unlock()
	case actRetry:
		c.retry(p, a.w, nil)
	case actHead:
		c.makeHead(p, a.k.File)
	}
}

// hook parks w at pl. An error means that it may not park and has not.
func (c *Cache) hook(w *vfs.Waiter, pl *place) error {
	if c.stopErr != nil {
		return c.stopErr
	}
	if old := c.parked[w]; old != nil && old.cancelled {
		return linux.EINTR
	}
	c.parked[w] = pl
	c.stats.Parks++
	return nil
}

func (c *Cache) keepPrefix(w *vfs.Waiter, off int, data []byte) {
	n := min(len(data), vfs.MaxPrefix)
	if _, mapped := c.st.arena.at(data); !mapped { // else keepMapped has done it
		w.Prefix = append(w.Prefix[:0], data[:n]...)
	}
	w.Off, w.N = off, n
}

// keepMapped keeps the first bytes of a write from another slot, in case it parks: a touch of the mapping under mu
// could stop everybody for a read from the disk, and end the process if that fails. mu is not held.
func (c *Cache) keepMapped(w *vfs.Waiter, data []byte) error {
	off, mapped := c.st.arena.at(data)
	if !mapped {
		return nil
	}
	n := min(len(data), vfs.MaxPrefix)
	w.Prefix = slices.Grow(w.Prefix[:0], n)[:n]
	return c.st.arena.pread(w.Prefix, off)
}

// parkSpace lets a write wait for a slot. mu is held.
func (c *Cache) parkSpace(p *post, k sliver.Key, b Behind, off int, data []byte, w *vfs.Waiter) (int, error) {
	if !c.ready || c.closed {
		return 0, ErrClosed
	}
	if c.noTape {
		return 0, ErrNoSpace
	}
	if w == nil {
		return 0, vfs.ErrWouldWait
	}
	if err := c.hook(w, &place{k: k, b: b}); err != nil {
		return 0, err
	}
	c.keepPrefix(w, off, data)
	w.Kind = kindSpace
	c.space.Push(w)
	c.wanted[k]++
	c.spaceLen.Store(int32(c.space.Len()))
	// A pin may have gone between the search for a slot and now, unseen by Unpin.
	p.kick = true
	return w.N, vfs.ErrParked
}

func (c *Cache) unparkSpace(w *vfs.Waiter, pl *place) {
	c.space.Remove(w)
	if c.wanted[pl.k]--; c.wanted[pl.k] == 0 {
		delete(c.wanted, pl.k)
	}
	c.spaceLen.Store(int32(c.space.Len()))
}

// setRetrying marks a place that is out of its list, to be tried again.
func (c *Cache) setRetrying(pl *place) {
	pl.retrying = true
	c.retrying = append(c.retrying, pl)
}

// grantSpace tries the oldest waiter for space if there is a slot for it.
func (c *Cache) grantSpace(p *post) {
	c.mu.Lock()
	w := c.space.Front()
	if w == nil {
		c.mu.Unlock()
		return
	}
	pl := c.parked[w]
	need := w.Off + w.N
	e := c.lookup(pl.k)
	switch {
	case e != nil && e.state.Resident():
		need = max(need, e.len)
	case e == nil && pl.b.State == sliver.Absent:
		need = max(need, pl.b.Len)
	}
	s := c.alloc(p, need)
	if s == nil {
		c.mu.Unlock()
		return
	}
	c.unparkSpace(w, pl)
	c.setRetrying(pl)
	c.mu.Unlock()
	p.kick = true // perhaps for the next one too
	c.retry(p, w, s)
}

// retry does a parked write again with its prefix, and answers or parks it.
func (c *Cache) retry(p *post, w *vfs.Waiter, grant *slot) {
	c.mu.Lock()
	pl := c.parked[w]
	off := w.Off
	c.mu.Unlock()
	n, err := c.write(p, pl.k, pl.b, off, w.Prefix[:w.N], w, pl, grant)
	c.mu.Lock()
	i := slices.Index(c.retrying, pl)
	c.retrying = slices.Delete(c.retrying, i, i+1)
	if err == vfs.ErrParked {
		c.mu.Unlock()
		return
	}
	delete(c.parked, w)
	valid := 0
	if e := c.lookup(pl.k); e != nil && e.state.Resident() {
		valid = e.len
	} else if pl.b.State == sliver.Absent {
		valid = pl.b.Len // archived and evicted meanwhile; kept right by rebase
	}
	switch {
	case err != nil:
		p.wake(w, 0, err)
	case valid < off+n:
		p.wake(w, n, nil) // done, and then cut by a Truncate or a Drop
	default:
		c.merged(p, pl.k, off+n, w, n)
	}
	c.mu.Unlock()
}

// Cancel unhooks a parked request. True: it will never be woken, and what it asked
// for has not happened. False: it was not parked, or its wake has come or is on its
// way. The last waiter of a fault that goes makes the fault unwanted; the fault
// itself goes on until the mover ends it.
func (c *Cache) Cancel(w *vfs.Waiter) bool {
	var p post
	c.mu.Lock()
	ok := c.cancel(&p, w)
	c.mu.Unlock()
	c.run(&p)
	return ok
}

func (c *Cache) cancel(p *post, w *vfs.Waiter) bool {
	pl := c.parked[w]
	if pl == nil {
		return false
	}
	e := pl.e
	switch {
	case pl.retrying:
		pl.cancelled = true
		return false
	case e == nil:
		c.unparkSpace(w, pl)
		delete(c.parked, w)
		p.kick = true // the next in line may need less
		return true
	case e.filling:
		return false
	}
	c.unwait(p, e, w)
	delete(c.parked, w)
	c.dropRange(e, w)
	if len(e.ranges) == 0 && !e.reserved && e.slot != nil {
		s := e.slot
		e.slot, s.e = nil, nil
		c.release(p, s)
	}
	c.disinterest(p, e)
	return true
}

// disinterest tells the mover if nobody waits for the fault any more.
func (c *Cache) disinterest(p *post, e *entry) {
	if e.waiters.Len() > 0 || e.copying > 0 || e.filling || e.wanted {
		return
	}
	if e.seq != 0 {
		p.unwanted(e.key, e.seq)
	} else {
		c.toAbsent(p, e, e.validLen)
	}
}

// SetNoTapeSpace says whether tape space has run out: then writes that find no slot
// get ErrNoSpace instead of waiting for the mover.
func (c *Cache) SetNoTapeSpace(full bool) {
	var p post
	c.mu.Lock()
	c.noTape = full
	if full {
		for w := c.space.Front(); w != nil; w = c.space.Front() {
			c.unparkSpace(w, c.parked[w])
			delete(c.parked, w)
			p.wake(w, 0, ErrNoSpace)
		}
	}
	c.mu.Unlock()
	c.run(&p)
}
