package cache

import (
	"slices"
	"time"

	"sliod/backend/sliver"
)

const (
	maxFreq = 3
	// maxScan bounds the work of one search for a victim; past it any clean sliver
	// that nobody reads will do.
	maxScan = 4096
	// drainStep is how many slivers one allocation evicts ahead of need.
	drainStep = 2
)

// queue is a list of clean slivers, newest first.
type queue struct {
	head, tail *entry
	n          int
}

func (q *queue) push(e *entry) {
	e.queue, e.prev, e.next = q, nil, q.head
	if q.head != nil {
		q.head.prev = e
	} else {
		q.tail = e
	}
	q.head = e
	q.n++
}

func (q *queue) remove(e *entry) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		q.head = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		q.tail = e.prev
	}
	e.queue, e.prev, e.next = nil, nil, nil
	q.n--
}

// policy is S3-FIFO; see doc.go.
type policy struct {
	small, main queue
	ghost       map[sliver.Key]uint64 // evicted from small: when
	ring        []sliver.Key          // the same, in order
	at          uint64
}

func (q *policy) init(chunks int) {
	q.ghost = make(map[sliver.Key]uint64)
	q.ring = make([]sliver.Key, max(16, chunks))
}

func (q *policy) add(e *entry) {
	if e.slot.class != classWhole {
		e.slot.ch.clean++
	}
	if _, ok := q.ghost[e.key]; ok {
		delete(q.ghost, e.key)
		q.main.push(e)
		return
	}
	q.small.push(e)
}

func (q *policy) remove(e *entry) {
	if e.queue == nil {
		return
	}
	if e.slot.class != classWhole {
		e.slot.ch.clean--
	}
	e.queue.remove(e)
}

// evicted remembers the key of a sliver that small let go.
func (q *policy) evicted(k sliver.Key) {
	i := q.at % uint64(len(q.ring))
	if q.at >= uint64(len(q.ring)) {
		old := q.ring[i]
		if t, ok := q.ghost[old]; ok && t == q.at-uint64(len(q.ring)) {
			delete(q.ghost, old)
		}
	}
	q.ring[i] = k
	q.ghost[k] = q.at
	q.at++
}

// next returns the next candidate and moves it to the front of its queue, so that
// one that cannot go is not met again at once. nil: not this step.
func (q *policy) next() *entry {
	l := &q.main
	if q.small.n > 0 && (q.main.n == 0 || q.small.n*10 >= q.small.n+q.main.n) {
		l = &q.small
	}
	e := l.tail
	if e == nil {
		return nil
	}
	l.remove(e)
	switch {
	case l == &q.small && e.freq > 1:
		e.freq = 0
		q.main.push(e)
		return nil
	case l == &q.main && e.freq > 0:
		e.freq--
	default:
		l.push(e)
		return e
	}
	l.push(e)
	return nil
}

// evictable says whether e may go and its place is free then.
func evictable(e *entry) bool {
	return e.state == sliver.Clean && e.slot.refs.Load() == 1 && (e.due == 0 || e.slot.c.age() >= e.dueEnd)
}

// dueTime is how long a sliver that came from tape stays for those who waited for it. Without that, readers
// who share the last slot would take it from each other between the wake and the read, and none of them get on.
const dueTime = 5 * time.Second

func (c *Cache) age() time.Duration { return time.Since(c.opened) }

// keepFor keeps e for one more read, by a waiter who is woken now. One that does not come only
// costs dueTime. mu is held.
func (c *Cache) keepFor(e *entry) {
	if e.state == sliver.Clean {
		e.due++
		e.dueEnd = c.age() + dueTime
		c.dueEnd = e.dueEnd
	}
}

// read notes a read, and says whether it was awaited. mu is held.
func (e *entry) read() (wasDue bool) {
	wasDue = e.due > 0
	e.due -= min(e.due, 1)
	return wasDue
}

// awaitDue is for one who finds no slot: it has slots looked for again when those that are kept for readers need not be kept
// any more. mu is held.
func (c *Cache) awaitDue() {
	left := c.dueEnd - c.age()
	if c.dueTimer != nil || left <= 0 {
		return
	}
	c.dueTimer = time.AfterFunc(left, func() {
		c.mu.Lock()
		c.dueTimer = nil
		c.mu.Unlock()
		c.run(&post{kick: true})
	})
}

// chunkEvictable says whether all that a cut chunk holds may be evicted; heads says
// whether they may.
func (ch *chunk) chunkEvictable(heads bool) bool {
	n := ch.clean
	if heads {
		n += ch.kept
	}
	if n == 0 || n != ch.used {
		return false
	}
	for _, s := range ch.slots {
		if s != nil && !evictable(s.e) {
			return false
		}
	}
	return true
}

func (c *Cache) evict(p *post, e *entry) {
	if e.queue == &c.policy.small {
		c.policy.evicted(e.key)
	}
	c.stats.Evictions++
	c.toAbsent(p, e, e.len)
}

// evictUseful evicts e if that makes room for a slot of class cl, alone or with all
// else in its chunk.
func (c *Cache) evictUseful(p *post, e *entry, cl class) bool {
	if !evictable(e) {
		return false
	}
	if e.slot.class >= cl {
		c.evict(p, e)
		return true
	}
	return c.evictChunk(p, e.slot.ch, false)
}

func (c *Cache) evictChunk(p *post, ch *chunk, heads bool) bool {
	if !ch.chunkEvictable(heads) {
		return false
	}
	for _, s := range slices.Clone(ch.slots) {
		if s != nil {
			c.evict(p, s.e)
		}
	}
	return true
}

// evictFor makes room for a slot of class cl. false means that there is none to be
// had: whatever is in the way is dirty, pinned, in quarantine or faulting.
func (c *Cache) evictFor(p *post, cl class) bool {
	n := c.policy.small.n + c.policy.main.n
	for range min(maxScan, n*(maxFreq+3)) {
		if e := c.policy.next(); e != nil && c.evictUseful(p, e, cl) {
			return true
		}
	}
	for _, q := range []*queue{&c.policy.small, &c.policy.main} {
		for e := q.tail; e != nil; e = e.prev {
			if e.slot.class >= cl && evictable(e) {
				c.evict(p, e)
				return true
			}
		}
	}
	for ch := range c.cut {
		if c.evictChunk(p, ch, false) {
			return true
		}
	}
	return c.giveUpHeads(p, cl)
}

// drain evicts a little ahead of need, from high water down to low water.
func (c *Cache) drain(p *post) {
	switch {
	case c.stats.UsedBytes > c.high:
		c.draining = true
	case c.stats.UsedBytes <= c.low:
		c.draining = false
	}
	if !c.draining {
		return
	}
	for done, i := 0, 0; done < drainStep && i < 16 && c.stats.UsedBytes > c.low; i++ {
		if e := c.policy.next(); e != nil && evictable(e) {
			c.evict(p, e)
			done++
		}
	}
}

// Evict makes a clean sliver absent now. ErrNotClean: it is not clean. A sliver that is
// not in the cache is no error. Who is reading it reads on: its place is free after that.
func (c *Cache) Evict(k sliver.Key) error {
	var p post
	c.mu.Lock()
	err := error(nil)
	switch e := c.lookup(k); {
	case e == nil:
	case e.state != sliver.Clean:
		err = ErrNotClean
	default:
		c.evict(&p, e)
	}
	c.mu.Unlock()
	c.run(&p)
	return err
}

// EvictFile evicts the clean slivers of f, as Evict does, and says how many those were and
// how many dirty ones remain. The head of the first sliver stays.
func (c *Cache) EvictFile(f sliver.FileID) (evicted, dirty int) {
	var p post
	c.makeHead(&p, f)
	c.mu.Lock()
	if fl := c.files[f]; fl != nil {
		dirty = fl.dirty
		for _, e := range fl.slivers {
			if e.state == sliver.Clean && !c.heads.keepsNow(e) {
				c.evict(&p, e)
				evicted++
			}
		}
	}
	c.mu.Unlock()
	c.run(&p)
	return evicted, dirty
}
