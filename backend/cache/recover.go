package cache

import (
	"slices"

	"github.com/pkg/errors"

	"sliod/backend/sliver"
)

// SlotRecord is a slot's record as it was found at the start.
type SlotRecord struct {
	Key       sliver.Key
	Slot, Seq uint64
	Dirty     bool
	Head      bool // only the first Len bytes of the sliver; never Dirty
	Len       int
	Version   sliver.Version
	Sum       uint64 // XXH64 of the Len bytes, if not Dirty
}

// Verdict is what is to become of a slot that was found.
type Verdict uint8

// Verdicts.
const (
	// Drop: the slot is free.
	Drop Verdict = iota
	// KeepClean: the sliver's content of this Version is on tape as well.
	// KeepClean of a Head: the sliver's archived content of this Version begins with it.
	KeepClean
	// KeepDirty: the durable catalog names this Slot and Seq as the place of the
	// sliver's newest content. If the catalog's length is less than the record's,
	// call Truncate after Recover.
	KeepDirty
	// Stop: it could not be decided. Recover fails, and every record stays as it
	// was found.
	Stop
)

// RecoverStats counts what Recover found.
type RecoverStats struct {
	Clean, Dirty, Dropped int
	Bad                   int  // records whose checksum is wrong
	Unclean               bool // the last shutdown was not proper
}

// Recover gives each slot record of an earlier run to decide and takes over what it
// keeps. It is called once, before the cache is used, and also for a new cache.
// After an unclean shutdown each clean slot is checked against its Sum before its
// first use, and dropped if it differs.
func (c *Cache) Recover(decide func(SlotRecord) Verdict) (RecoverStats, error) {
	c.mu.Lock()
	again := c.ready && !c.st.fresh
	c.mu.Unlock()
	if again {
		return RecoverStats{}, errors.New("cache: Recover called twice")
	}
	rs := RecoverStats{Unclean: !c.st.wasClean}
	if c.st.fresh {
		return rs, nil
	}
	keep, err := c.scan(&rs, decide)
	if err != nil {
		return rs, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.adopt(keep, &rs)
	c.poisonFree()
	c.ready = true
	return rs, nil
}

// found is a record to keep.
type found struct {
	r    record
	ch   *chunk
	idx  int
	cut  uint64
	kind recordKind
}

func (c *Cache) scan(rs *RecoverStats, decide func(SlotRecord) Verdict) ([]found, error) {
	var keep []found
	stopped := false
	judge := func(r record, ch *chunk, idx int, cut, slot uint64) {
		if stopped {
			return
		}
		sr := SlotRecord{Key: r.key, Slot: slot, Seq: r.seq, Dirty: r.kind == recDirty,
			Len: int(r.len), Version: r.version, Sum: r.sum}
		if sr.Head = r.key.No == headNo; sr.Head {
			sr.Key.No = 0
			if r.kind != recClean || int(r.len) > c.heads.size {
				rs.Dropped++
				return
			}
		}
		switch v := decide(sr); {
		case v == Stop:
			stopped = true
		case v == KeepDirty:
			keep = append(keep, found{r, ch, idx, cut, recDirty})
		case v == KeepClean && r.kind == recClean:
			keep = append(keep, found{r, ch, idx, cut, recClean})
		default:
			rs.Dropped++
		}
	}
	const batch = 4096
	buf := make([]byte, batch*recordSize)
	small := make([]byte, 16<<10)
	for from := 0; from < len(c.chunks); from += batch {
		n := min(batch, len(c.chunks)-from)
		if err := c.st.slots.pread(buf[:n*recordSize], chunkRecordOff(uint32(from))); err != nil {
			return nil, err
		}
		for i := range n {
			ch := &c.chunks[from+i]
			slot := uint64(from+i) * pagesPerChunk
			r, ok := decodeRecord(buf[i*recordSize:], c.st.head.secret, slot, 0)
			switch {
			case !ok || r.kind != recCut && r.kind != recEmpty && r.class != classWhole:
				rs.Bad++
			case r.kind == recEmpty:
			case r.kind != recCut:
				judge(r, ch, 0, 0, slot)
			default:
				info := &classInfo[r.class]
				if err := c.st.arena.pread(small[:info.count*recordSize], ch.off()); err != nil {
					return nil, err
				}
				for j := range info.count {
					sl := slot + uint64(info.first+j*info.size)/pageSize
					sr, ok := decodeRecord(small[j*recordSize:], c.st.head.secret, sl, r.seq)
					// What was never a record of this cut is old content: no news.
					if ok && sr.kind != recEmpty && sr.kind != recCut && sr.class == r.class {
						judge(sr, ch, j, r.seq, sl)
					}
				}
			}
			if stopped {
				return nil, errors.New("cache: recovery was stopped before all slots had been looked at")
			}
		}
	}
	return keep, nil
}

// adopt makes entries of the records; for a key that has several the dirty one wins,
// then the newest.
func (c *Cache) adopt(keep []found, rs *RecoverStats) {
	slices.SortStableFunc(keep, func(a, b found) int {
		switch {
		case a.kind != b.kind:
			return int(b.kind) - int(a.kind)
		case a.r.seq > b.r.seq:
			return -1
		case a.r.seq < b.r.seq:
			return 1
		}
		return 0
	})
	byChunk := make(map[*chunk][]*found)
	seen := make(map[sliver.Key]bool, len(keep))
	for i := range keep {
		f := &keep[i]
		if seen[f.r.key] || f.r.len == 0 {
			rs.Dropped++
			continue
		}
		seen[f.r.key] = true
		byChunk[f.ch] = append(byChunk[f.ch], f)
	}
	c.free = c.free[:0]
	for i := len(c.chunks) - 1; i >= 0; i-- {
		ch := &c.chunks[i]
		fs := byChunk[ch]
		if len(fs) == 0 {
			c.free = append(c.free, ch)
			continue
		}
		c.cutChunk(ch, fs[0].r.class, fs[0].cut)
		ch.cutOn = true
		for _, f := range fs {
			if ch.class != classWhole {
				j := slices.Index(ch.empty, uint8(f.idx))
				ch.empty = slices.Delete(ch.empty, j, j+1)
			}
			s := c.take(ch, f.idx)
			s.seq = f.r.seq
			c.adoptOne(s, f, rs)
		}
		if ch.class != classWhole && len(ch.empty) == 0 {
			c.delPartial(ch)
		}
	}
}

func (c *Cache) adoptOne(s *slot, f *found, rs *RecoverStats) {
	fl := c.fileFor(f.r.key.File)
	e := &entry{key: f.r.key, file: fl, state: sliver.Absent, len: int(f.r.len), version: f.r.version, sum: f.r.sum}
	fl.slivers[e.key.No] = e
	c.setSlot(e, s)
	s.rest = f.r
	if f.kind == recDirty {
		s.rest.kind = recDirty
		s.named = true
		c.move(e, sliver.Dirty)
		rs.Dirty++
		return
	}
	e.verify = rs.Unclean || f.r.unchecked
	c.move(e, sliver.Faulting)
	c.move(e, sliver.Clean)
	rs.Clean++
}
