package cache

import "bytes"

// Under the invariants tag a place that no slot has is full of poison, and is looked
// at before it is given out. So a slot that was to be zeroed and was not shows at once,
// a reader whose pin is gone reads poison, and a write that comes after the place was
// given back is a broken rule.

const poisonByte = 0xDB

// poison fills a place that has become free. mu is held: only here is that right.
func (c *Cache) poison(off int64, n int) {
	if !invariants {
		return
	}
	if err := c.st.arena.put(poisoned[:n], off); err != nil {
		c.broken("poison not written: %v", err)
	}
}

// unpoison looks at a place that is about to be given out.
func (c *Cache) unpoison(off int64, n int) {
	if !invariants {
		return
	}
	got := c.st.arena.mem[off : off+int64(n)]
	if bytes.Equal(got, poisoned[:n]) {
		return
	}
	i := 0
	for got[i] == poisonByte {
		i++
	}
	c.broken("somebody wrote to the free place at %d of the arena: byte %d is %#02x", off, i, got[i])
}

// poisonFree fills all places of a cache that has just been opened or recovered.
func (c *Cache) poisonFree() {
	if !invariants {
		return
	}
	for _, ch := range c.free {
		c.poison(ch.off(), chunkSize)
	}
	for ch := range c.cut {
		for _, i := range ch.empty {
			s := slot{ch: ch, idx: int(i), class: ch.class}
			c.poison(s.off(), s.class.size())
		}
	}
}
