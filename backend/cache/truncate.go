package cache

import "sliod/backend/sliver"

// Truncate cuts one sliver to newLen valid bytes; newLen is above 0 (else see Drop).
// A resident sliver that is longer is cut and Dirty; the fault of a faulting one
// brings no more than newLen bytes. Writes that are parked come after it.
func (c *Cache) Truncate(k sliver.Key, newLen int) {
	var p post
	c.truncate(&p, k, newLen, func() {})
	c.run(&p)
}

// TruncateFile cuts f to size bytes: Truncate of the sliver in which it now ends
// and Drop of those behind, in one critical section. then, if not nil, runs in it;
// it must not block: the owner sets the new size there, so that writes that are
// merged later come after the truncate, and those merged before, before it.
func (c *Cache) TruncateFile(f sliver.FileID, size uint64, then func()) {
	var p post
	var ends []*entry
	cut := func() {
		ends = c.drop(&p, f, sliver.Count(size), noEnd)
		if then != nil {
			then()
		}
	}
	if no, n := sliver.At(size); n > 0 {
		c.truncate(&p, sliver.Key{File: f, No: no}, n, cut)
		c.mu.Lock()
	} else {
		c.mu.Lock()
		cut()
	}
	c.endDrop(&p, ends)
	c.mu.Unlock()
	c.run(&p)
}

// truncate is Truncate; cut runs under mu when the sliver is cut.
func (c *Cache) truncate(p *post, k sliver.Key, newLen int, cut func()) {
	for {
		c.mu.Lock()
		e := c.lookup(k)
		c.rebase(k, func(b *Behind) { b.Len = min(b.Len, newLen) })
		c.dropHead(p, k, newLen)
		if e == nil {
			cut()
			break
		}
		if e.state == sliver.Faulting {
			e.validLen = min(e.validLen, newLen)
			cut()
			if !e.filling && e.copying == 0 && e.complete() {
				if err := c.complete(p, e); err != nil {
					c.log.WithError(err).WithField(fieldSliver, k).Error("staged writes lost")
				}
			}
			break
		}
		if e.len <= newLen {
			cut()
			break
		}
		if e.verify {
			c.mu.Unlock()
			if err := c.check(e); err != nil {
				c.log.WithError(err).WithField(fieldSliver, k).Error("sliver not verified before a truncate")
			}
			continue
		}
		if !e.wmu.TryLock() {
			c.mu.Unlock()
			e.wmu.Lock()
			//lint:ignore SA2001 only to wait
			e.wmu.Unlock()
			continue
		}
		s, wasClean := e.slot, e.state == sliver.Clean
		c.dropHead(p, k, 0)
		c.move(e, sliver.Dirty)
		e.version = c.NextVersion()
		e.unsynced = true
		c.setLen(e, newLen)
		e.cut = min(e.cut, newLen)
		if wasClean {
			s.rest = record{}
			p.record(s)
		}
		cut()
		e.wmu.Unlock()
		break
	}
	c.mu.Unlock()
}

// noEnd is behind every sliver.
const noEnd = ^sliver.No(0)

// Drop makes the slivers of f from number from on holes; the catalog must have been
// updated before, and Behind must say so from now on. Parked reads are woken to read
// again. Parked writes come after it: they are merged into the hole.
func (c *Cache) Drop(f sliver.FileID, from sliver.No) {
	var p post
	c.mu.Lock()
	c.endDrop(&p, c.drop(&p, f, from, noEnd))
	c.mu.Unlock()
	c.run(&p)
}

// DropRange is Drop of the slivers from number from on up to byte end of the file, where the file was seen to
// end, or another sliver begins. It returns the number of the sliver before which it has stopped. The
// last stays if it has bytes behind end by now, or a write to it is being done: a parked write may have
// been merged since the caller saw the end, and been answered.
func (c *Cache) DropRange(f sliver.FileID, from sliver.No, end uint64) (to sliver.No) {
	var p post
	c.mu.Lock()
	to = sliver.Count(end)
	if last, n := sliver.At(end); n > 0 && last >= from {
		e := c.lookup(sliver.Key{File: f, No: last})
		if e != nil && e.state.Resident() && (e.len > n || e.writers > 0) {
			to = last
		}
	}
	c.endDrop(&p, c.drop(&p, f, from, to))
	c.mu.Unlock()
	c.run(&p)
	return to
}

// drop makes slivers holes, and returns those whose faults must be ended by
// endDrop. mu is held, and not released.
func (c *Cache) drop(p *post, f sliver.FileID, from, to sliver.No) (ends []*entry) {
	in := func(k sliver.Key) bool { return k.File == f && k.No >= from && k.No < to }
	for _, pl := range c.retrying {
		if in(pl.k) {
			pl.b = Behind{State: sliver.Hole}
		}
	}
	for w := c.space.Front(); w != nil; w = w.Next() {
		if pl := c.parked[w]; in(pl.k) {
			pl.b = Behind{State: sliver.Hole}
		}
	}
	if fl := c.files[f]; fl != nil {
		for _, e := range fl.slivers {
			switch {
			case !in(e.sliver()):
			case e.state == sliver.Faulting:
				ends = append(ends, e)
			default:
				c.remove(p, e, sliver.Hole)
			}
		}
	}
	// mu is released while staged writes are completed, so these come last; each may
	// have ended by itself meanwhile.
	for _, e := range ends {
		if !e.dead && e.state == sliver.Faulting {
			e.validLen, e.dropped = 0, true
		}
	}
	return ends
}

// endDrop ends the faults of slivers that drop has made holes. mu is held; it is
// released and taken again while staged writes are completed.
func (c *Cache) endDrop(p *post, ends []*entry) {
	for _, e := range ends {
		if e.dead || e.state != sliver.Faulting || e.filling {
			continue
		}
		if e.seq != 0 {
			p.unwanted(e.key, e.seq)
			e.seq = 0
		}
		switch {
		case e.copying > 0: // the last one that copies ends it
		case len(e.ranges) > 0:
			if err := c.complete(p, e); err != nil {
				c.log.WithError(err).WithField(fieldSliver, e.key).Error("staged writes lost")
			}
		default:
			c.endDropped(p, e)
		}
	}
}
