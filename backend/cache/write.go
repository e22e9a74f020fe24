package cache

import (
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// Write writes data at off of a sliver; the caller has clipped it to the sliver.
// A write to a resident sliver, to a hole, or over every valid byte is done when it
// returns len(data), and the sliver is Dirty. Another write to an absent or
// faulting sliver is staged in the sliver's slot and parks w (vfs.ErrParked), which
// is woken with len(data) after Events.Merged. A write that overlaps an earlier
// parked one, or that finds no slot, keeps vfs.MaxPrefix bytes at most and is
// completed short with that count. Without a Waiter (w nil) nothing is staged or
// parked: what cannot be done at once is vfs.ErrWouldWait. With vfs.ErrParked the
// count is what w will be woken with if all goes well. data is not kept beyond the
// call; it may be bytes of another slot, which the caller has pinned.
func (c *Cache) Write(k sliver.Key, b Behind, off int, data []byte, w *vfs.Waiter) (int, error) {
	if len(data) == 0 {
		return 0, nil
	}
	if w != nil {
		if err := c.keepMapped(w, data); err != nil {
			return 0, err
		}
	}
	var p post
	n, err := c.write(&p, k, b, off, data, w, nil, nil)
	c.run(&p)
	return n, err
}

// write is Write; pl is not nil for a parked write that is tried again, and grant
// is then a slot that it may use.
func (c *Cache) write(p *post, k sliver.Key, b Behind, off int, data []byte, w *vfs.Waiter, pl *place, grant *slot) (int, error) {
	defer func() {
		if grant != nil {
			c.mu.Lock()
			c.release(p, grant)
			c.mu.Unlock()
		}
	}()
	end := off + len(data)
	// get finds a slot for n bytes. New writes queue behind those that wait.
	get := func(n int) *slot {
		if g := grant; g != nil && g.class.size() >= n {
			grant = nil
			return g
		}
		if pl == nil && c.space.Len() > 0 {
			p.pressure = true
			return nil
		}
		return c.alloc(p, n)
	}
	for {
		c.mu.Lock()
		if pl != nil {
			b = pl.b
		}
		e := c.lookup(k)
		switch {
		case e != nil && e.state != sliver.Faulting:
			if e.verify {
				c.mu.Unlock()
				if err := c.check(e); err != nil {
					return 0, err
				}
				continue
			}
			if !e.wmu.TryLock() {
				c.mu.Unlock()
				e.wmu.Lock()
				c.mu.Lock()
				if e.dead || !e.state.Resident() || e.verify {
					c.mu.Unlock()
					e.wmu.Unlock()
					continue
				}
			}
			var bigger *slot
			if end > e.slot.class.size() {
				// The search for a slot must not evict this very sliver.
				s := e.slot
				s.refs.Add(1)
				bigger = get(max(end, e.len))
				c.release(p, s)
				if bigger == nil {
					n, err := c.parkSpace(p, k, b, off, data, w)
					c.mu.Unlock()
					e.wmu.Unlock()
					return n, err
				}
			}
			return c.copyIn(p, e, bigger, off, data)

		case e == nil && (b.State != sliver.Absent || b.Len == 0):
			s := get(end)
			if s == nil {
				n, err := c.parkSpace(p, k, b, off, data, w)
				c.mu.Unlock()
				return n, err
			}
			// Readers see its length 0, so zeros, until the bytes are there.
			from := sliver.Hole
			if b.State == sliver.Absent {
				from = sliver.Absent
			}
			c.dropHead(p, k, 0)
			e = c.insert(k, from, sliver.Dirty)
			c.setSlot(e, s)
			e.wmu.Lock()
			return c.copyIn(p, e, nil, off, data)

		case w == nil && (e != nil || off > 0 || end < b.Len):
			c.mu.Unlock()
			return 0, vfs.ErrWouldWait

		default:
			return c.stage(p, k, e, b, off, data, w, get)
		}
	}
}

// copyIn puts data into a resident sliver. It is called with mu and the sliver's
// wmu held and returns with neither. bigger is the slot to grow into, or nil.
func (c *Cache) copyIn(p *post, e *entry, bigger *slot, off int, data []byte) (int, error) {
	end := off + len(data)
	wasClean := e.state == sliver.Clean
	c.dropHead(p, e.key, 0)
	c.move(e, sliver.Dirty)
	// A new version before the bytes change and another one after: who copies or
	// syncs the content meanwhile has a version that is no content's name.
	e.version = c.NextVersion()
	e.writers++
	e.unsynced = true
	from, oldLen := e.slot, e.len
	from.refs.Add(1)
	to := from
	if bigger != nil {
		to = bigger
	}
	if wasClean {
		from.rest = record{}
		p.kick = p.kick || c.noTape // as in settle
	}
	c.mu.Unlock()

	err := func() error {
		if wasClean {
			// The record no longer vouches for the content that is about to change.
			if err := c.writeRecord(from); err != nil {
				return err
			}
		}
		if bigger != nil && oldLen > 0 {
			// From the mapping: the system call touches it, not this thread.
			if err := c.st.arena.pwrite(from.bytes(0, oldLen), to.off()); err != nil {
				return err
			}
		}
		if off > oldLen {
			if err := c.st.arena.zero(to.off()+int64(oldLen), int64(off-oldLen)); err != nil {
				return err
			}
		}
		return c.st.arena.pwrite(data, to.off()+int64(off))
	}()

	c.mu.Lock()
	e.writers--
	e.version = c.NextVersion()
	e.unsynced = true
	switch {
	case bigger == nil:
	case err != nil || e.dead:
		c.release(p, bigger)
	default:
		c.setSlot(e, bigger)
		if from.named {
			e.old = append(e.old, from)
		} else {
			c.release(p, from)
		}
	}
	if err == nil && !e.dead {
		c.setLen(e, max(e.len, end))
	}
	if err != nil && !e.dead && e.len == 0 {
		// The first write of a hole has failed: it is a hole again.
		c.remove(p, e, sliver.Hole)
	}
	c.release(p, from)
	c.mu.Unlock()
	e.wmu.Unlock()
	if err != nil {
		return 0, err
	}
	return len(data), nil
}
