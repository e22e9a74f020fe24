package cache

import (
	"slices"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// span is a staged write: the bytes from off to end of the faulting sliver's slot.
type span struct {
	off, end int
	w        *vfs.Waiter // who is woken when it is merged; nil while it is copied
	done     bool        // the bytes are in the slot
}

// stage handles a write to a sliver that is absent (e is nil) or faulting. It is
// called with mu held and returns without.
func (c *Cache) stage(p *post, k sliver.Key, e *entry, b Behind, off int, data []byte, w *vfs.Waiter, get func(int) *slot) (int, error) {
	end := off + len(data)
	if c.stopErr != nil {
		defer c.mu.Unlock()
		return 0, c.stopErr
	}
	var s *slot
	switch {
	case e == nil && off == 0 && end >= b.Len:
		// It covers every valid byte: no fault. The sliver is Faulting only while the
		// bytes are copied, so that readers see the old content or the new.
		if s = get(end); s == nil {
			defer c.mu.Unlock()
			return c.parkSpace(p, k, b, off, data, w)
		}
		e = c.insert(k, sliver.Absent, sliver.Faulting)
		e.validLen = b.Len
		c.setSlot(e, s)
	case e == nil:
		e = c.startFault(p, k, b, w.Class)
	}
	if !e.stageable(off, end) {
		return c.parkPrefix(p, k, e, off, data, w)
	}
	if e.slot == nil {
		if s = get(max(e.validLen, end)); s == nil {
			return c.parkPrefix(p, k, e, off, data, w)
		}
		c.setSlot(e, s)
	}
	if end > e.slot.class.size() {
		return c.parkPrefix(p, k, e, off, data, w)
	}

	r := &span{off: off, end: end}
	i, _ := slices.BinarySearchFunc(e.ranges, r, func(a, b *span) int { return a.off - b.off })
	e.ranges = slices.Insert(e.ranges, i, r)
	e.copying++
	s = e.slot
	s.refs.Add(1)
	c.mu.Unlock()
	err := c.st.arena.pwrite(data, s.off()+int64(off))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release(p, s)
	e.copying--
	if e.dead {
		if err == nil {
			err = e.endErr
		}
		if err == nil {
			err = linux.EIO
		}
		return 0, err
	}
	if err == nil {
		r.done = true
		if e.copying == 0 && e.complete() {
			if err := c.complete(p, e); err != nil {
				return 0, err
			}
			return len(data), nil
		}
		pl := &place{k: k, e: e}
		if w == nil {
			// It covers all, but another copy past its end is still under way.
			err = vfs.ErrWouldWait
		} else if e.filling {
			// The last of those that still copy wakes it: too late to refuse.
			c.parked[w] = pl
			c.stats.Parks++
		} else {
			err = c.hook(w, pl)
		}
		if err == nil {
			r.w = w
			w.Kind, w.Off, w.N = kindStaged, off, len(data)
			c.wait(p, e, w)
			if e.copying == 0 && !e.filling {
				c.needFault(p, e)
			}
			return len(data), vfs.ErrParked
		}
	}
	// It is not to happen: the fault gets its bytes back.
	e.ranges = slices.DeleteFunc(e.ranges, func(x *span) bool { return x == r })
	if e.filling {
		// The filler has left this range out, so the content is broken.
		e.endErr = err
		if e.copying == 0 && e.filled {
			c.abort(p, e, err)
		}
		return 0, err
	}
	if e.copying == 0 {
		switch {
		case e.complete() && len(e.ranges) > 0:
			if cerr := c.complete(p, e); cerr != nil {
				c.log.WithError(cerr).WithField(fieldSliver, e.key).Error("staged writes lost")
			}
		case e.dropped:
			c.endDropped(p, e)
		case e.waiters.Len() > 0 || e.wanted:
			c.needFault(p, e)
		default:
			c.disinterest(p, e)
		}
	}
	return 0, err
}

// needFault starts the fault of a sliver that a write was to cover, and has not.
func (c *Cache) needFault(p *post, e *entry) {
	if e.seq == 0 {
		e.seq = c.next()
		c.stats.Faults++
		p.fault(e.key, e.seq)
	}
}

// parkPrefix lets a write wait for the fault with its first bytes. mu is held, and
// released.
func (c *Cache) parkPrefix(p *post, k sliver.Key, e *entry, off int, data []byte, w *vfs.Waiter) (int, error) {
	defer c.mu.Unlock()
	if err := c.hook(w, &place{k: k, e: e}); err != nil {
		return 0, err
	}
	c.keepPrefix(w, off, data)
	w.Kind = kindPrefix
	c.wait(p, e, w)
	return w.N, vfs.ErrParked
}

// stageable says whether a write may be staged: it overlaps none that waits, so
// that those that overlap are merged in the order in which they came.
func (e *entry) stageable(off, end int) bool {
	if e.filling {
		return false
	}
	for _, r := range e.ranges {
		if off < r.end && r.off < end {
			return false
		}
	}
	for w := e.waiters.Front(); w != nil; w = w.Next() {
		if w.Kind == kindPrefix && off < w.Off+w.N && w.Off < end {
			return false
		}
	}
	return true
}

// complete says whether nothing more is needed from tape: the fault's bytes are in,
// or staged ranges cover all that is valid.
func (e *entry) complete() bool {
	if e.filled {
		return true
	}
	if e.filling {
		return false
	}
	pos := 0
	for _, r := range e.ranges {
		if r.off > pos || !r.done {
			break
		}
		pos = r.end
	}
	return pos >= e.validLen && len(e.ranges) > 0
}

// dropRange gives the staged range of w back to the fault.
func (c *Cache) dropRange(e *entry, w *vfs.Waiter) {
	e.ranges = slices.DeleteFunc(e.ranges, func(r *span) bool { return r.w == w })
}

// complete makes a faulting sliver whose bytes are all in, but for gaps past the
// valid ones, Dirty, and answers its waiters. mu is held (and released meanwhile).
func (c *Cache) complete(p *post, e *entry) error {
	if e.seq != 0 {
		p.unwanted(e.key, e.seq)
		e.seq = 0
	}
	err := e.endErr
	if err == nil {
		err = c.fill(e, nil, e.validLen)
	}
	if err != nil {
		c.abort(p, e, err)
		return err
	}
	c.settle(p, e)
	return nil
}

// fill puts data (the bytes from tape) and zeros around the staged ranges, leaving
// alone what lies before from. mu is held, and released while bytes are copied;
// while e.filling no range is added or cancelled. If the valid length shrinks
// meanwhile, what is not valid any more becomes zeros.
func (c *Cache) fill(e *entry, data []byte, from int) error {
	e.filling = true
	for {
		valid, s := e.validLen, e.slot
		spans := make([][2]int, len(e.ranges))
		for i, r := range e.ranges {
			spans[i] = [2]int{r.off, r.end}
		}
		s.refs.Add(1)
		c.mu.Unlock()
		err := c.fillGaps(s, data, from, valid, spans)
		c.mu.Lock()
		s.refs.Add(-1) // the sliver's own reference is still there
		if err != nil || e.validLen == valid {
			return err
		}
		from = e.validLen
	}
}

func (c *Cache) fillGaps(s *slot, data []byte, from, valid int, spans [][2]int) error {
	total := valid
	for _, r := range spans {
		total = max(total, r[1])
	}
	pos := from
	gap := func(to int) error {
		if to <= pos {
			return nil
		}
		if m := min(to, valid); m > pos {
			if err := c.st.arena.pwrite(data[pos:m], s.off()+int64(pos)); err != nil {
				return err
			}
			pos = m
		}
		return c.st.arena.zero(s.off()+int64(pos), int64(to-pos))
	}
	for _, r := range spans {
		if err := gap(r[0]); err != nil {
			return err
		}
		pos = max(pos, r[1])
	}
	return gap(total)
}

// settle ends a fault whose bytes are all in the slot: the sliver is Dirty if writes
// were staged, else Clean, or a hole again. mu is held.
func (c *Cache) settle(p *post, e *entry) {
	if e.dropped && len(e.ranges) == 0 {
		c.endDropped(p, e)
		return
	}
	e.seq, e.filling, e.filled, e.reserved, e.wanted = 0, false, false, false, false
	e.waiting = [vfs.NumClasses]int32{}
	n := e.validLen
	for _, r := range e.ranges {
		n = max(n, r.end)
	}
	e.len = n
	if len(e.ranges) > 0 {
		e.version = c.NextVersion()
		e.unsynced = true
		c.dropHead(p, e.key, 0)
		c.move(e, sliver.Dirty)
		p.kick = p.kick || c.noTape // a fault that hoped for this slot must be told
	} else {
		e.version, e.sum, e.verify = e.tapeVer, e.tapeSum, e.rewrite
		e.slot.rest = record{kind: recClean, class: e.slot.class, len: uint32(n), key: e.key,
			seq: e.slot.seq, version: e.version, sum: e.sum}
		c.move(e, sliver.Clean)
		p.record(e.slot)
		c.wantHead(p, e)
		p.kick = true
	}
	e.ranges = nil
	c.answer(p, e, Behind{sliver.Absent, n})
}

// answer wakes the waiters of a fault that is over, in order. b is what lies behind
// the sliver should it go before the writes with a prefix have been done.
func (c *Cache) answer(p *post, e *entry, b Behind) {
	for w := e.waiters.Front(); w != nil; w = e.waiters.Front() {
		e.waiters.Remove(w)
		switch w.Kind {
		case kindPrefix:
			pl := c.parked[w]
			pl.e, pl.b = nil, b
			c.setRetrying(pl)
			c.keepFor(e)
			p.acts = append(p.acts, action{kind: actRetry, w: w})
			continue
		case kindStaged:
			c.merged(p, e.key, w.Off+w.N, w, w.N)
		default:
			if !w.NoRead {
				c.keepFor(e)
			}
			p.wake(w, 0, nil)
		}
		delete(c.parked, w)
	}
}

// endDropped ends a fault whose sliver became a hole, with no write to keep.
func (c *Cache) endDropped(p *post, e *entry) {
	c.answer(p, e, Behind{State: sliver.Hole})
	c.remove(p, e, sliver.Hole)
}

// abort ends a fault with an error: the sliver is absent again, every waiter gets
// the error, and the next access tries again. mu is held.
func (c *Cache) abort(p *post, e *entry, err error) {
	for w := e.waiters.Front(); w != nil; w = e.waiters.Front() {
		e.waiters.Remove(w)
		delete(c.parked, w)
		p.wake(w, 0, err)
	}
	e.ranges = nil
	e.endErr = err
	if e.dropped {
		c.remove(p, e, sliver.Hole)
		return
	}
	c.toAbsent(p, e, e.validLen)
}
