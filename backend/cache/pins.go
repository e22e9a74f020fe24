package cache

import (
	"fmt"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/sliver"
)

// A pinned file's clean slivers are kept from being evicted. Two limits keep pins from
// filling the cache, so that nothing else gets a slot any more: a pin is refused that
// could hold more, together with the others, than the share of the cache that pins may
// have; and clean slivers beyond that share, of files that have grown since, are evicted
// like any other.

// ErrPinned says that a file cannot be pinned. It is ENOSPC.
var ErrPinned error = fmt.Errorf("cache: pinned files may hold no more of it: %w", linux.ENOSPC)

// pins are the figures of pinned files. Cache.mu guards them.
type pins struct {
	limit    int64 // bytes of the arena that pins may hold
	reserved int64 // bytes that the pinned files may need
	held     int64 // bytes of slots that are kept from the policy
}

// slotBytes is what a file of n bytes takes in the arena, about.
func slotBytes(n int64) int64 {
	whole := n / sliver.Size
	rest := int(n % sliver.Size)
	if rest == 0 && whole > 0 {
		return whole * sliver.Size
	}
	return whole*sliver.Size + int64(classFor(rest).size())
}

// Pin keeps f's slivers from being evicted by the policy; the file has bytes bytes.
// ErrPinned if the limit forbids it. A file that is pinned stays so, with its new
// length. Evict and EvictFile do not ask. It does not survive a restart.
func (c *Cache) Pin(f sliver.FileID, bytes int64) error { return c.pin(f, bytes, false) }

// RestorePin is Pin for a file that was pinned before a restart: the limit, which may
// have been another one, does not forbid it.
func (c *Cache) RestorePin(f sliver.FileID, bytes int64) { _ = c.pin(f, bytes, true) }

func (c *Cache) pin(f sliver.FileID, bytes int64, force bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	fl := c.fileFor(f)
	need := slotBytes(bytes)
	if more := need - fl.reserved; more > 0 && c.pins.reserved+more > c.pins.limit && !force {
		c.forget(fl)
		return fmt.Errorf("%w (%d bytes of %d are left, and the file needs %d)", ErrPinned, max(0, c.pins.limit-c.pins.reserved), c.pins.limit, more)
	}
	c.pins.reserved += need - fl.reserved
	fl.reserved, fl.pinned = need, true
	for _, e := range fl.slivers {
		c.enqueue(e)
	}
	return nil
}

// Pinned says whether f is pinned.
func (c *Cache) Pinned(f sliver.FileID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	fl := c.files[f]
	return fl != nil && fl.pinned
}

// Unpin lets go of f's slivers.
func (c *Cache) Unpin(f sliver.FileID) {
	var p post
	c.mu.Lock()
	if fl := c.files[f]; fl != nil && fl.pinned {
		c.pins.reserved -= fl.reserved
		fl.pinned, fl.reserved = false, 0
		for _, e := range fl.slivers {
			c.unhold(e)
			c.enqueue(e)
		}
		c.forget(fl)
		p.kick = true
	}
	c.mu.Unlock()
	c.run(&p)
}

// enqueue gives a clean sliver to the eviction policy, unless a pin holds it.
func (c *Cache) enqueue(e *entry) {
	if e.state != sliver.Clean || e.held {
		return
	}
	if n := int64(e.slot.class.size()); e.file.pinned && !e.isHead() && c.pins.held+n <= c.pins.limit {
		c.dequeue(e)
		e.held = true
		c.pins.held += n
		return
	}
	switch {
	case e.queue != nil:
	case c.heads.keeps(e):
		c.heads.add(e)
	default:
		c.policy.add(e)
	}
}

// dequeue takes a sliver out of the queue in which it is, if any.
func (c *Cache) dequeue(e *entry) {
	if e.queue == &c.heads.queue {
		c.heads.remove(e)
		return
	}
	c.policy.remove(e)
}

// unhold takes what a pin has of a sliver back. It is called before the sliver changes
// its state or its slot.
func (c *Cache) unhold(e *entry) {
	if e.held {
		e.held = false
		c.pins.held -= int64(e.slot.class.size())
	}
}
