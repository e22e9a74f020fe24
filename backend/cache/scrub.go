package cache

import (
	"sliod/backend/sliver"
)

// Scrub compares clean slivers with their sums, those in the chunks from the given one on, until it has
// read so many bytes or been in each chunk. A sliver that is not what its sum says becomes absent: there is a copy on tape, which the
// next access reads. So are heads compared. It returns the chunk to go on from, how much it read, and what was bad. What the kernel has in memory is
// compared as it is there. Where there is room, first slivers that have no head get one.
//
// Dirty slivers have no sum before they are archived, and are passed over.
func (c *Cache) Scrub(from int, bytes int64) (next int, read int64, bad []sliver.Key) {
	from %= len(c.chunks)
	next = from
	for read < bytes {
		for _, e := range c.cleanIn(next) {
			n, wrong := c.compare(e, true)
			read += int64(n)
			if !wrong {
				c.lateHead(e)
			} else {
				bad = append(bad, e.sliver())
				c.log.WithField(fieldSliver, e.sliver()).Error("cached sliver is not what its checksum says: the disk has changed it; it will be read from tape again")
			}
		}
		if next = (next + 1) % len(c.chunks); next == from {
			break
		}
	}
	return next, read, bad
}

// Chunks returns how many chunks of 1 MiB the cache has.
func (c *Cache) Chunks() int { return len(c.chunks) }

// cleanIn returns the clean slivers in a chunk.
func (c *Cache) cleanIn(no int) (list []*entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	for _, s := range c.chunks[no].slots {
		if s != nil && s.e != nil && s.e.state == sliver.Clean {
			list = append(list, s.e)
		}
	}
	return list
}
