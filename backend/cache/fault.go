package cache

import (
	"github.com/cespare/xxhash/v2"
	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// startFault makes an absent sliver faulting and tells the mover.
func (c *Cache) startFault(p *post, k sliver.Key, b Behind, class vfs.Class) *entry {
	e := c.insert(k, sliver.Absent, sliver.Faulting)
	e.validLen, e.class = b.Len, class
	e.seq = c.next()
	c.stats.Faults++
	p.fault(k, e.seq)
	return e
}

// Want starts a fault without a waiter, of a class. If one runs already its seq is
// returned with started false; seq 0 means that there is nothing to bring.
func (c *Cache) Want(k sliver.Key, b Behind, class vfs.Class) (seq uint64, started bool) {
	var p post
	c.mu.Lock()
	e := c.lookup(k)
	switch {
	case e == nil && b.State == sliver.Absent && b.Len > 0 && c.stopErr == nil:
		e = c.startFault(&p, k, b, class)
		e.wanted, started, seq = true, true, e.seq
	case e != nil && e.state == sliver.Faulting:
		before := e.best()
		e.wanted, e.class = true, min(class, before)
		c.reclassed(&p, e, before)
		seq = e.seq
	}
	c.mu.Unlock()
	c.run(&p)
	return seq, started
}

// fault returns the entry of a fault that runs and is not being delivered.
func (c *Cache) fault(k sliver.Key, seq uint64) *entry {
	e := c.lookup(k)
	if e == nil || e.state != sliver.Faulting || seq == 0 || e.seq != seq || e.filling {
		return nil
	}
	return e
}

// FaultWanted says whether the fault still runs, how many requests wait for it, and
// how urgent the most urgent of them is. Without any it is the class that the fault
// was begun with.
func (c *Cache) FaultWanted(k sliver.Key, seq uint64) (alive bool, waiters int, class vfs.Class) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.fault(k, seq)
	if e == nil {
		return false, 0, 0
	}
	return true, e.waiters.Len() + e.copying, e.best()
}

// ReadAhead says whether one of those who wait for the fault of k, if one runs, would have
// what follows read ahead.
func (c *Cache) ReadAhead(k sliver.Key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.lookup(k); e != nil && e.state == sliver.Faulting {
		for w := e.waiters.Front(); w != nil; w = w.Next() {
			if !w.NoAhead {
				return true
			}
		}
	}
	return false
}

// best is the class of a fault.
func (e *entry) best() vfs.Class {
	for class, n := range e.waiting {
		if n > 0 {
			if e.wanted {
				return min(vfs.Class(class), e.class)
			}
			return vfs.Class(class)
		}
	}
	return e.class
}

// wait parks w on a faulting sliver. If that changes the class of a fault that the
// mover has, it is told.
func (c *Cache) wait(p *post, e *entry, w *vfs.Waiter) {
	before := e.best()
	e.waiters.Push(w)
	e.waiting[min(w.Class, vfs.NumClasses-1)]++
	c.reclassed(p, e, before)
}

// unwait takes w off the sliver that it is parked on.
func (c *Cache) unwait(p *post, e *entry, w *vfs.Waiter) {
	before := e.best()
	if e.waiters.Remove(w) {
		e.waiting[min(w.Class, vfs.NumClasses-1)]--
	}
	c.reclassed(p, e, before)
}

// SetClass gives a parked request another class. False: it is not parked, or its wake is on its way; its class stays.
func (c *Cache) SetClass(w *vfs.Waiter, class vfs.Class) bool {
	var p post
	c.mu.Lock()
	pl := c.parked[w]
	ok := pl != nil && !pl.retrying
	if ok && pl.e == nil { // it waits for space
		w.Class = class
	} else if ok = ok && !pl.e.filling; ok {
		before := pl.e.best()
		pl.e.waiting[min(w.Class, vfs.NumClasses-1)]--
		w.Class = class
		pl.e.waiting[min(w.Class, vfs.NumClasses-1)]++
		c.reclassed(&p, pl.e, before)
	}
	c.mu.Unlock()
	c.run(&p)
	return ok
}

func (c *Cache) reclassed(p *post, e *entry, before vfs.Class) {
	if e.seq != 0 && e.best() != before && (e.waiters.Len() > 0 || e.wanted) {
		p.reclass(e.key, e.seq)
	}
}

// Reserve gives the fault its slot before the tape is read: ErrFull if there is
// none, ErrNoSpace if there will be none as tape space has run out, ErrStale if the
// fault is over.
func (c *Cache) Reserve(k sliver.Key, seq uint64) error {
	var p post
	c.mu.Lock()
	err := c.reserve(&p, k, seq)
	c.mu.Unlock()
	c.run(&p)
	return err
}

func (c *Cache) reserve(p *post, k sliver.Key, seq uint64) error {
	e := c.fault(k, seq)
	if e == nil {
		return ErrStale
	}
	if e.slot == nil {
		s := c.alloc(p, e.validLen)
		if s == nil {
			c.refused.Store(true)
			// A pin may have gone between the search and now, unseen by Unpin.
			if s = c.alloc(p, e.validLen); s == nil {
				if c.noTape && !c.spaceMayCome(e, classFor(e.validLen)) {
					return ErrNoSpace
				}
				return ErrFull
			}
		}
		c.setSlot(e, s)
	}
	e.reserved = true
	return nil
}

// spaceMayCome says whether a slot of class cl for the fault e can become free without
// archiving. mu is held. It looks at every chunk, which only happens when the tapes
// are full and no slot was found.
func (c *Cache) spaceMayCome(e *entry, cl class) bool {
	for i := range c.chunks {
		if c.chunks[i].mayMakeRoom(e, cl) {
			return true
		}
	}
	return false
}

// mayMakeRoom says whether a slot of class cl can come out of the chunk: one slot must
// get free, or, if the chunk is cut into smaller ones, all of them.
func (ch *chunk) mayMakeRoom(e *entry, cl class) bool {
	cut := ch.class < cl
	used := false
	for _, s := range ch.slots {
		if s == nil {
			continue
		}
		used = true
		if s.mayGetFree(e) != cut {
			return !cut
		}
	}
	return cut && used
}

// mayGetFree says whether a slot can get free without archiving: its sliver is clean and being
// read, its content superseded or in quarantine, or it is there for another fault.
func (s *slot) mayGetFree(fault *entry) bool {
	switch o := s.e; {
	case o == nil:
		return true
	case o.state == sliver.Clean:
		return o.queue != nil // else its file is pinned
	default:
		return o.state == sliver.Faulting && o != fault
	}
}

// Deliver ends fault seq with the sliver's valid bytes as they are on tape, their
// version and XXH64. Staged writes are merged over them, and all waiters woken.
// ErrStale: the fault is over, nothing was changed. ErrFull: no slot; the fault goes
// on. ErrShort: data has fewer bytes than the sliver; the fault goes on. Another
// error is the cache disk's: the fault has failed with it. data is not kept.
func (c *Cache) Deliver(k sliver.Key, seq uint64, data []byte, v sliver.Version, sum uint64) error {
	var p post
	head := c.sumHead(k, data)
	c.mu.Lock()
	err := c.deliver(&p, k, seq, data, v, sum, head)
	c.mu.Unlock()
	c.run(&p)
	return err
}

func (c *Cache) deliver(p *post, k sliver.Key, seq uint64, data []byte, v sliver.Version, sum uint64, head headSum) error {
	e := c.fault(k, seq)
	if e == nil {
		return ErrStale
	}
	if len(data) < e.validLen {
		return errors.WithMessagef(ErrShort, "sliver %v has %d bytes, not %d", k, e.validLen, len(data))
	}
	if err := c.reserve(p, k, seq); err != nil {
		return err
	}
	e.tapeVer, e.head = v, head
	if err := c.fill(e, data, 0); err != nil {
		if e.copying > 0 {
			// Those that copy must not be left alone with the entry.
			e.endErr, e.filled = err, true
			return err
		}
		c.abort(p, e, err)
		return err
	}
	// A truncate may have left fewer bytes than came from tape.
	for e.tapeSum = sum; e.validLen < len(data) && len(e.ranges) == 0 && !e.dropped; {
		n := e.validLen
		c.mu.Unlock()
		part := xxhash.Sum64(data[:n])
		c.mu.Lock()
		if e.validLen == n {
			e.tapeSum = part
			break
		}
	}
	if e.copying > 0 {
		e.filled = true // the last one that copies ends the fault
		return nil
	}
	if e.endErr != nil {
		err := e.endErr
		c.abort(p, e, err)
		return err
	}
	c.settle(p, e)
	return nil
}

// Fail ends fault seq with an error that every waiter gets: the sliver is absent
// again and the next access starts a new fault. A stale seq changes nothing.
func (c *Cache) Fail(k sliver.Key, seq uint64, err error) {
	if err == nil {
		err = linux.EIO // a nil would tell waiting writes that they are done
	}
	var p post
	c.mu.Lock()
	if e := c.fault(k, seq); e != nil {
		c.stats.FaultsFailed++
		c.abort(&p, e, err)
	}
	c.mu.Unlock()
	c.run(&p)
}

// DropFault ends fault seq if nobody waits for it, and says whether it did.
func (c *Cache) DropFault(k sliver.Key, seq uint64) bool {
	var p post
	c.mu.Lock()
	e := c.fault(k, seq)
	ok := e != nil && e.waiters.Len() == 0 && e.copying == 0
	if ok {
		c.abort(&p, e, nil)
	}
	c.mu.Unlock()
	c.run(&p)
	return ok
}
