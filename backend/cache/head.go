package cache

import (
	"github.com/cespare/xxhash/v2"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// A head is the first bytes of a file, which stay when its first sliver is evicted, so
// that what only looks at a file does not bring it from tape. A first sliver in a slot
// that is no larger than a head's is its own head: it is clean and stays. Of a larger one
// the first bytes are copied to a small slot when it becomes clean. That copy is an entry
// of its own, always Clean, under the number headNo of the same file: so it has a
// checksum, is looked at by the scrubber, and is checked after a crash, as any clean
// sliver is.
//
// A head is the beginning of the archived content whose version it has. It goes when its
// sliver becomes dirty, a hole, or shorter than it. On disk nothing need happen then: a
// head whose version is not that of the catalog's record is dropped at the start.
//
// Heads have a queue of their own, of which the policy knows nothing. Those that were
// read least lately go when all of them hold more than their share; any goes when there is
// no other slot to be had.

// headShare is the share of the arena that heads may hold.
const headShare = 0.25

// headNo is the number of the entries that are heads: no sliver has it.
const headNo = noEnd - 1

// trimStep bounds how many heads one allocation looks at to keep them to their share.
const trimStep = 64

// heads is what is kept of first slivers. Cache.mu guards it, but for what never changes.
type heads struct {
	size  int   // bytes of a head; 0: none are kept. It never changes
	class class // of their slots. It never changes
	limit int64 // bytes of the arena that they may hold. It never changes
	held  int64 // bytes of the slots of those in queue
	queue queue
}

// headSum is the XXH64 of the first n bytes of a sliver; n is 0 if it is not known.
type headSum struct {
	n   int
	sum uint64
}

// StubSizes are the sizes that Config.Stub may have: those of slots, so that nothing is
// wasted, and 0.
func StubSizes() []int {
	sizes := []int{0}
	for _, i := range classInfo {
		sizes = append(sizes, i.size)
	}
	return sizes
}

func newHeads(size int, arena int64) heads {
	return heads{size: size, class: classFor(size), limit: int64(headShare * float64(arena))}
}

func (e *entry) isHead() bool { return e.key.No == headNo }

// sliver is the sliver that an entry is, or is the head of.
func (e *entry) sliver() sliver.Key {
	if e.isHead() {
		return sliver.Key{File: e.key.File}
	}
	return e.key
}

func (f *file) head() *entry { return f.slivers[headNo] }

// keeps says whether e, which has a slot, is a head, or is its own.
func (h *heads) keeps(e *entry) bool {
	return h.size > 0 && (e.isHead() || e.key.No == 0 && e.slot.class <= h.class)
}

// keepsNow says whether e is kept, and not too much.
func (h *heads) keepsNow(e *entry) bool { return e.queue == &h.queue || e.held && h.keeps(e) }

func (h *heads) add(e *entry) {
	e.slot.ch.kept++
	h.held += int64(e.slot.class.size())
	h.queue.push(e)
}

func (h *heads) remove(e *entry) {
	e.slot.ch.kept--
	h.held -= int64(e.slot.class.size())
	h.queue.remove(e)
}

// sumHead sums the head of sliver k, which has the bytes p, if it is longer than a head.
func (c *Cache) sumHead(k sliver.Key, p []byte) headSum {
	n := c.heads.size
	if n == 0 || len(p) <= n || k.No != 0 {
		return headSum{}
	}
	return headSum{n, xxhash.Sum64(p[:n])}
}

// ReadHead reads n bytes at off of the first sliver of f, which is absent or faulting and of
// version v, from its head. ok is false if that has nothing there; else the answer has
// at least one byte, and fewer than n if the head ends before. Nobody is parked.
func (c *Cache) ReadHead(f sliver.FileID, v sliver.Version, off, n int) (d vfs.Data, ok bool) {
	if off >= c.heads.size || n <= 0 {
		return vfs.Data{}, false
	}
	for {
		c.mu.Lock()
		var h *entry
		if fl := c.files[f]; fl != nil {
			h = fl.head()
		}
		if e := c.lookup(sliver.Key{File: f}); h == nil || h.version != v || off >= h.len || e != nil && e.state.Resident() {
			c.mu.Unlock()
			return vfs.Data{}, false
		}
		if h.verify {
			c.mu.Unlock()
			if err := c.check(h); err != nil {
				return vfs.Data{}, false
			}
			continue
		}
		s := h.slot
		s.refs.Add(1)
		if h.freq < maxFreq {
			h.freq++
		}
		c.stats.HeadHits++
		d := vfs.Data{Bytes: s.bytes(off, min(off+n, h.len)), Pin: s}
		c.mu.Unlock()
		return d, true
	}
}

// wantHead has the head of e made, which has just become Clean, if it needs one. mu is held.
func (c *Cache) wantHead(p *post, e *entry) {
	if c.heads.size > 0 && e.key.No == 0 && !c.heads.keeps(e) {
		p.acts = append(p.acts, action{kind: actHead, k: e.key})
	}
}

// makeHead copies the first bytes of the first sliver of f to a slot of their own, if it
// is clean and they are not there yet. What cannot be is left: the sliver is on tape.
func (c *Cache) makeHead(p *post, f sliver.FileID) {
	if c.heads.size == 0 {
		return
	}
	c.mu.Lock()
	e := c.lookup(sliver.Key{File: f})
	if e == nil || e.state != sliver.Clean || c.heads.keeps(e) || !c.ready || c.closed || c.space.Len() > 0 {
		c.mu.Unlock()
		return
	}
	n, all, v, sum, head := min(c.heads.size, e.len), e.len, e.version, e.sum, e.head
	if h := e.file.head(); h != nil && h.version == v && h.len >= n {
		c.mu.Unlock()
		return
	}
	from, errs := e.slot, c.syncErrs
	from.refs.Add(1) // so that the search for a slot does not evict it
	to := c.allocHead(p, classFor(n))
	c.mu.Unlock()
	if to != nil {
		buf := c.bufs.Get().(*[sliver.Size]byte)
		var err error
		if head, err = c.copyHead(buf, from, to, headSum{n, head.sum}, head.n == n, all, sum); err != nil {
			c.log.WithError(err).WithField(fieldSliver, e.key).Warn("the head of a sliver was not made")
		}
		c.bufs.Put(buf)
	}
	c.mu.Lock()
	c.release(p, from)
	same := !e.dead && e.state == sliver.Clean && e.version == v && e.len == all
	same = same && c.syncErrs == errs // a failed sync may have been that of the head's bytes
	switch {
	case to == nil:
	case head.n != n || !same:
		c.release(p, to)
	default:
		c.dropHead(p, e.key, 0) // of another version or size
		c.putHead(p, e, to, head)
	}
	c.mu.Unlock()
}

// lateHead makes the head of a sliver that came to the cache when none were made, while
// heads have not their share yet: others must not go for it.
func (c *Cache) lateHead(e *entry) {
	c.mu.Lock()
	room := c.heads.held+int64(c.heads.class.size()) <= c.heads.limit
	c.mu.Unlock()
	if c.heads.size > 0 && room && e.key.No == 0 {
		var p post
		c.makeHead(&p, e.key.File)
		c.run(&p)
	}
}

// allocHead is alloc for a head: that there is no slot for one presses nobody. mu is held.
func (c *Cache) allocHead(p *post, cl class) *slot {
	s := c.tryAlloc(cl)
	if s == nil && c.evictFor(p, cl) {
		s = c.tryAlloc(cl)
	}
	if s != nil {
		c.drain(p)
		c.trimHeads(p)
	}
	return s
}

// copyHead copies the head.n first bytes of a sliver from its slot to the head's. They are
// compared with head.sum if that is known, else all bytes of the sliver with sum. The n
// that it returns is 0 if they differ, or after an error.
func (c *Cache) copyHead(buf *[sliver.Size]byte, from, to *slot, head headSum, known bool, all int, sum uint64) (headSum, error) {
	n := head.n
	if known {
		all, sum = n, head.sum
	}
	if err := c.st.arena.pread(buf[:all], from.off()); err != nil || xxhash.Sum64(buf[:all]) != sum {
		return headSum{}, err // what differs is for the check of the sliver itself
	}
	if !known {
		head.sum = xxhash.Sum64(buf[:n])
	}
	if err := c.st.arena.pwrite(buf[:n], to.off()); err != nil {
		return headSum{}, err
	}
	return head, nil
}

// putHead enters the head of e, whose bytes are in s. mu is held.
func (c *Cache) putHead(p *post, e *entry, s *slot, head headSum) {
	h := c.insert(sliver.Key{File: e.key.File, No: headNo}, sliver.Absent, sliver.Faulting)
	c.setSlot(h, s)
	h.len, h.version, h.sum = head.n, e.version, head.sum
	s.rest = record{kind: recClean, class: s.class, len: uint32(h.len), key: h.key, seq: s.seq, version: h.version, sum: h.sum}
	c.move(h, sliver.Clean)
	p.record(s)
}

// dropHead lets go of the head of k, if that is a first sliver and the head is longer than
// n bytes. mu is held.
func (c *Cache) dropHead(p *post, k sliver.Key, n int) {
	if k.No != 0 {
		return
	}
	if h := c.lookup(sliver.Key{File: k.File, No: headNo}); h != nil && h.len > n {
		c.remove(p, h, sliver.Absent)
	}
}

// trimHeads keeps heads to their share. Those that go and are slivers themselves are
// left to the policy. mu is held.
func (c *Cache) trimHeads(p *post) {
	for i := 0; i < trimStep && c.heads.held > c.heads.limit; i++ {
		e := c.heads.queue.tail
		switch {
		case e.freq == 0 && !e.isHead():
			c.heads.remove(e)
			c.policy.add(e)
		case e.freq == 0 && evictable(e):
			c.evict(p, e)
		default:
			c.heads.remove(e)
			c.heads.add(e)
			e.freq -= min(e.freq, 1)
		}
	}
}

// giveUpHeads makes room for a slot of class cl where nothing but heads can go. The
// first step finds those that were read least lately, the second one any. mu is held.
func (c *Cache) giveUpHeads(p *post, cl class) bool {
	for range min(maxScan, c.heads.queue.n) {
		e := c.heads.queue.tail
		switch {
		case e.slot.class < cl:
			if c.evictChunk(p, e.slot.ch, true) {
				return true
			}
		case evictable(e):
			c.evict(p, e)
			return true
		}
		c.heads.remove(e)
		c.heads.add(e)
	}
	for ch := range c.cut {
		if ch.kept == 0 {
			continue
		}
		if ch.class < cl {
			if c.evictChunk(p, ch, true) {
				return true
			}
			continue
		}
		for _, s := range ch.slots {
			if s != nil && s.e != nil && s.e.queue == &c.heads.queue && evictable(s.e) {
				c.evict(p, s.e)
				return true
			}
		}
	}
	return false
}
