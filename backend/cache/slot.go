package cache

import (
	"sync/atomic"

	"sliod/backend/sliver"
)

// chunk is 1 MiB of the arena: one whole slot, or cut into small ones.
type chunk struct {
	no    uint32
	class class
	used  uint16  // slots given out
	clean uint16  // of those, how many policy may evict
	kept  uint16  // and how many are in the queue of heads
	pos   int32   // index in Cache.partial[class], or -1
	cutID uint64  // names the cut; 0 for a whole chunk
	cutOn bool    // the chunk record of this cut is in the file
	slots []*slot // nil for a free chunk
	empty []uint8 // free indexes of a cut chunk
}

// off returns the chunk's place in the arena in bytes.
func (ch *chunk) off() int64 { return int64(ch.no) * chunkSize }

// slot is one allocation of a place in the arena. It is never used again: the
// place gets another slot object, and another seq, when it is given out again.
type slot struct {
	c     *Cache
	ch    *chunk
	idx   int
	class class
	seq   uint64
	// refs counts the owner (a sliver, a list of superseded slots, or the
	// quarantine), the pins, and the records that are to be written. It leaves 0
	// never. It grows under mu only.
	refs    atomic.Int32
	records int32  // of refs, those for records
	e       *entry // whose content it is the newest of, or nil
	// named: the durable catalog may name the slot as the only place of content.
	named bool
	// rest is what the slot's record must say; see writeRecord.
	rest record
}

// off returns the slot's place in the arena in bytes.
func (s *slot) off() int64 {
	i := &classInfo[s.class]
	return s.ch.off() + int64(i.first) + int64(s.idx)*int64(i.size)
}

// number is the slot's name in records and in the catalog.
func (s *slot) number() uint64 { return uint64(s.off() / pageSize) }

func (s *slot) bytes(from, to int) []byte {
	o := s.off()
	return s.c.st.arena.mem[o+int64(from) : o+int64(to) : o+int64(to)]
}

// Unpin gives a pin back; it is vfs.Unpinner. It takes the lock only if somebody
// may wait for the slot.
func (s *slot) Unpin() {
	switch n := s.refs.Add(-1); {
	case n < 0:
		panic("cache: slot unpinned twice")
	case n == 0:
		var p post
		s.c.mu.Lock()
		s.c.freeSlot(&p, s)
		s.c.mu.Unlock()
		s.c.run(&p)
	case n == 1 && (s.c.spaceLen.Load() > 0 || s.c.refused.Load()):
		s.c.run(&post{kick: true})
	}
}

func (c *Cache) release(p *post, s *slot) {
	switch n := s.refs.Add(-1); {
	case n < 0:
		panic("cache: slot released twice")
	case n == 0:
		c.freeSlot(p, s)
	case n == 1:
		p.kick = true
	}
}

// freeSlot gives the place back. mu is held.
func (c *Cache) freeSlot(p *post, s *slot) {
	ch := s.ch
	p.kick = true
	c.stats.UsedBytes -= int64(s.class.size())
	ch.slots[s.idx] = nil
	ch.used--
	c.poison(s.off(), s.class.size())
	if s.class == classWhole {
		ch.slots = nil
		c.free = append(c.free, ch)
		return
	}
	ch.empty = append(ch.empty, uint8(s.idx))
	if ch.used > 0 {
		c.addPartial(ch)
		return
	}
	c.delPartial(ch)
	delete(c.cut, ch)
	c.poison(ch.off(), chunkSize) // its records too
	ch.class, ch.slots, ch.empty, ch.cutID, ch.cutOn = classWhole, nil, nil, 0, false
	c.free = append(c.free, ch)
}

func (c *Cache) addPartial(ch *chunk) {
	if ch.pos >= 0 {
		return
	}
	ch.pos = int32(len(c.partial[ch.class]))
	c.partial[ch.class] = append(c.partial[ch.class], ch)
}

func (c *Cache) delPartial(ch *chunk) {
	if ch.pos < 0 {
		return
	}
	l := c.partial[ch.class]
	last := l[len(l)-1]
	l[ch.pos], last.pos = last, ch.pos
	l[len(l)-1] = nil
	c.partial[ch.class] = l[:len(l)-1]
	ch.pos = -1
}

// take gives out a place in a chunk.
func (c *Cache) take(ch *chunk, idx int) *slot {
	s := &slot{c: c, ch: ch, idx: idx, class: ch.class, seq: c.next()}
	s.refs.Store(1)
	ch.slots[idx] = s
	ch.used++
	c.stats.UsedBytes += int64(s.class.size())
	return s
}

// cutChunk cuts a free chunk (or makes a whole slot of it).
func (c *Cache) cutChunk(ch *chunk, cl class, id uint64) {
	n := classInfo[cl].count
	ch.class, ch.cutID, ch.cutOn = cl, id, false
	ch.slots = make([]*slot, n)
	if cl == classWhole {
		return
	}
	c.cut[ch] = struct{}{}
	ch.empty = make([]uint8, n)
	for i := range ch.empty {
		ch.empty[i] = uint8(n - 1 - i)
	}
	c.addPartial(ch)
}

// tryAlloc takes a free place for n bytes without evicting anything.
func (c *Cache) tryAlloc(cl class) *slot {
	fromPartial := func(k class) *slot {
		l := c.partial[k]
		if len(l) == 0 {
			return nil
		}
		ch := l[len(l)-1]
		i := ch.empty[len(ch.empty)-1]
		ch.empty = ch.empty[:len(ch.empty)-1]
		if len(ch.empty) == 0 {
			c.delPartial(ch)
		}
		s := c.take(ch, int(i))
		c.unpoison(s.off(), s.class.size())
		return s
	}
	if cl < classWhole {
		if s := fromPartial(cl); s != nil {
			return s
		}
	}
	if n := len(c.free); n > 0 {
		ch := c.free[n-1]
		c.free = c.free[:n-1]
		c.unpoison(ch.off(), chunkSize)
		if cl == classWhole {
			c.cutChunk(ch, classWhole, 0)
			return c.take(ch, 0)
		}
		c.cutChunk(ch, cl, c.next())
		return fromPartial(cl)
	}
	for k := cl + 1; k < classWhole; k++ {
		if s := fromPartial(k); s != nil {
			return s
		}
	}
	return nil
}

// alloc returns a slot for n bytes, evicting if it must, or nil. mu is held.
func (c *Cache) alloc(p *post, n int) *slot {
	if !c.ready || c.closed {
		return nil
	}
	cl := classFor(n)
	s := c.tryAlloc(cl)
	if s == nil && c.evictFor(p, cl) {
		s = c.tryAlloc(cl)
	}
	if s == nil {
		c.stats.AllocFailed++
		p.pressure = true
		c.awaitDue()
		return nil
	}
	c.drain(p)
	c.trimHeads(p)
	return s
}

// writeRecord writes the slot's record as its rest says now. Records of one chunk
// are written one at a time, each composed under mu, so an old word never
// overwrites a newer one. The record is in the file, not on disk, when it returns.
//
// The caller has a reference to the slot: a small slot's record is in the arena, and
// would land in the bytes of whoever has the chunk next.
func (c *Cache) writeRecord(s *slot) error {
	ch := s.ch
	mu := &c.recMu[ch.no%uint32(len(c.recMu))]
	mu.Lock()
	defer mu.Unlock()
	c.mu.Lock()
	r, cl, cutID, cutOn, errs := s.rest, ch.class, ch.cutID, ch.cutOn, c.syncErrs
	c.mu.Unlock()
	var b [recordSize]byte
	if cl == classWhole {
		r.encode(b[:], c.st.head.secret, s.number(), 0)
		return c.st.slots.pwrite(b[:], chunkRecordOff(ch.no))
	}
	if !cutOn {
		cr := record{kind: recCut, class: cl, seq: cutID}
		cr.encode(b[:], c.st.head.secret, uint64(ch.no)*pagesPerChunk, 0)
		if err := c.st.slots.pwrite(b[:], chunkRecordOff(ch.no)); err != nil {
			return err
		}
		c.mu.Lock()
		if ch.cutID == cutID && c.syncErrs == errs {
			ch.cutOn = true
		}
		c.mu.Unlock()
	}
	r.encode(b[:], c.st.head.secret, s.number(), cutID)
	return c.st.arena.pwrite(b[:], s.recordOff())
}

func chunkRecordOff(no uint32) int64 { return headerSize + int64(no)*recordSize }

// recordOff is the place of a small slot's record in the arena.
func (s *slot) recordOff() int64 { return s.ch.off() + int64(s.idx)*recordSize }

// writeAllRecords writes every record from memory, at Close. Nothing changes any
// more, so mu is not needed.
func (c *Cache) writeAllRecords() error {
	const batch = 16 << 10
	buf := make([]byte, 0, batch*recordSize)
	from := uint32(0)
	flush := func() error {
		if len(buf) == 0 {
			return nil
		}
		err := c.st.slots.pwrite(buf, chunkRecordOff(from))
		from += uint32(len(buf) / recordSize)
		buf = buf[:0]
		return err
	}
	for i := range c.chunks {
		ch := &c.chunks[i]
		var b [recordSize]byte
		switch {
		case ch.slots == nil:
		case ch.class == classWhole:
			r := ch.slots[0].finalRecord()
			r.encode(b[:], c.st.head.secret, ch.slots[0].number(), 0)
		default:
			cr := record{kind: recCut, class: ch.class, seq: ch.cutID}
			cr.encode(b[:], c.st.head.secret, uint64(ch.no)*pagesPerChunk, 0)
			small := make([]byte, len(ch.slots)*recordSize)
			for j, s := range ch.slots {
				if s != nil {
					r := s.finalRecord()
					r.encode(small[j*recordSize:], c.st.head.secret, s.number(), ch.cutID)
				}
			}
			if err := c.st.arena.pwrite(small, ch.off()); err != nil {
				return err
			}
		}
		buf = append(buf, b[:]...)
		if len(buf) == cap(buf) {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// finalRecord is what the record says at Close: the truth about slots of slivers;
// for superseded and quarantined slots what the durable catalog may still mean.
func (s *slot) finalRecord() record {
	e := s.e
	if e == nil {
		return s.rest
	}
	r := record{class: s.class, len: uint32(e.len), key: e.key, seq: s.seq, version: e.version, sum: e.sum}
	switch e.state {
	case sliver.Clean:
		r.kind, r.unchecked = recClean, e.verify
	case sliver.Dirty, sliver.Archiving:
		r.kind = recDirty
	default:
		return record{}
	}
	return r
}
