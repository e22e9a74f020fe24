package cache

import (
	stderrors "errors"
	"slices"

	"sliod/backend/sliver"
)

// syncTries is how often SyncFile tries while the syncs of others fail.
const syncTries = 4

// errOtherFailed says that a sync of another has failed meanwhile: its error may be of our pages.
var errOtherFailed = stderrors.New("cache: not synced: a sync at the same time has failed, and its error may be of this content")

// Ref names content on the cache disk, for the catalog: slot Slot, allocated as
// Seq, holds Len valid bytes of Key.
//
// The catalog must skip a Ref whose Version is not above the Version of the
// sliver's archived content in its record: that content is on tape already, and
// the slot may go. It must commit the Refs of one file in the order of the SyncFile
// calls.
type Ref struct {
	Key       sliver.Key
	Slot, Seq uint64
	Len       int
	Version   sliver.Version
}

// syncing is one sliver in a SyncFile.
type syncing struct {
	e   *entry
	s   *slot
	ref Ref
	rec record
	old bool // on disk since an earlier SyncFile that has not been Committed
	wr  bool // write the pages again
}

// SyncFile puts the content of all dirty slivers of f that was written before the
// call on stable storage, with its slot records, and returns what the catalog must
// record. Slivers that are on disk but not Committed yet are returned again, so a
// second caller need not know of the first. Parked writes are not included. After an
// error nothing may be counted on; the next call tries all again.
func (c *Cache) SyncFile(f sliver.FileID) ([]Ref, error) {
	c.mu.Lock()
	fl := c.files[f]
	if fl == nil || fl.dirty == 0 {
		c.mu.Unlock()
		return nil, nil
	}
	fl.users++
	c.mu.Unlock()
	fl.syncMu.Lock()
	var p post
	var refs []Ref
	var err error
	for range syncTries {
		list, errs := c.beginSync(fl)
		err = c.syncSlots(list, errs)
		refs = c.endSync(&p, list, errs, err)
		if err != errOtherFailed {
			break
		}
	}
	fl.syncMu.Unlock()
	c.mu.Lock()
	fl.users--
	c.forget(fl)
	c.mu.Unlock()
	c.run(&p)
	if err != nil {
		return nil, err
	}
	return refs, nil
}

// beginSync returns what is to be synced, and how many syncs had failed when it was looked at.
func (c *Cache) beginSync(fl *file) ([]syncing, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []syncing
	for _, e := range fl.slivers {
		if e.state != sliver.Dirty && e.state != sliver.Archiving || e.len == 0 || !e.unsynced && !e.uncommit {
			continue
		}
		s := e.slot
		s.refs.Add(1)
		y := syncing{e: e, s: s, old: !e.unsynced, wr: e.rewrite}
		if y.old {
			y.ref = Ref{Key: e.key, Slot: s.number(), Seq: s.seq, Len: e.cut, Version: s.rest.version}
		} else {
			y.ref = Ref{Key: e.key, Slot: s.number(), Seq: s.seq, Len: e.len, Version: e.version}
			y.rec = record{kind: recDirty, class: s.class, len: uint32(e.len), key: e.key, seq: s.seq, version: e.version}
			if s.named && s.rest.kind == recDirty {
				// The catalog on disk may be from before a truncate: its bytes stay.
				y.rec.len = max(y.rec.len, s.rest.len)
			}
			// A write that is in progress sets this again when it is done.
			e.unsynced = false
			e.uncommit = true
			e.cut = e.len
		}
		// From now on the catalog may name it.
		s.named = true
		list = append(list, y)
	}
	slices.SortFunc(list, func(a, b syncing) int { return int(a.s.off() - b.s.off()) })
	return list, c.syncErrs
}

// syncRanges collects byte ranges of a file that are to be synced; neighbours are one.
type syncRanges [][2]int64

func (r *syncRanges) add(off, n int64) {
	from, to := off&^(pageSize-1), (off+n+pageSize-1)&^(pageSize-1)
	if l := len(*r); l > 0 && (*r)[l-1][1] >= from && (*r)[l-1][0] <= from {
		(*r)[l-1][1] = max((*r)[l-1][1], to)
		return
	}
	*r = append(*r, [2]int64{from, to})
}

// sync puts ranges of d on stable storage. The kernel tells that it could not write a page
// once for an open file, to whoever syncs any range of it next, and all syncs share
// two files. So a sync that was told of no failure is believed if nobody else was told of
// one since errs was read: errOtherFailed. (Who was told, and has not come to say so, is some
// instructions behind.)
func (c *Cache) sync(r syncRanges, d *disk, errs uint64) error {
	if len(r) == 0 {
		return nil
	}
	var err error
	for i := 0; i < len(r) && err == nil; i++ {
		err = d.sync(r[i][0], r[i][1]-r[i][0])
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		c.distrust()
	case c.syncErrs != errs:
		err = errOtherFailed
	}
	return err
}

// distrust is for when a sync has failed: the pages that were not written may be anybody's, and
// the kernel takes them for clean, so that no sync of theirs would write them, and may let
// go of them. So all are written again: dirty slivers by their next sync, clean ones when they have
// been compared with their sums. mu is held.
func (c *Cache) distrust() {
	c.syncErrs++
	for _, f := range c.files {
		for _, e := range f.slivers {
			e.rewrite = true
			e.verify = e.state == sliver.Clean
		}
	}
	for ch := range c.cut {
		ch.cutOn = false
	}
}

// syncSlots does the I/O: content first, then records, so that a record on disk
// never vouches for content that is not.
func (c *Cache) syncSlots(list []syncing, errs uint64) error {
	var data, small, table syncRanges
	for i := range list {
		y := &list[i]
		if y.old {
			continue
		}
		if y.wr {
			if err := c.rewrite(y); err != nil {
				return err
			}
		}
		data.add(y.s.off(), int64(y.ref.Len))
	}
	if err := c.sync(data, &c.st.arena, errs); err != nil {
		return err
	}
	for i := range list {
		y := &list[i]
		if y.old {
			continue
		}
		c.mu.Lock()
		if y.s.named {
			y.s.rest = y.rec // not before now: its content is on disk
		}
		c.mu.Unlock()
		if err := c.writeRecord(y.s); err != nil {
			return err
		}
		if y.s.class != classWhole {
			small.add(y.s.recordOff(), recordSize)
		}
		table.add(chunkRecordOff(y.s.ch.no), recordSize)
	}
	if err := c.sync(small, &c.st.arena, errs); err != nil {
		return err
	}
	return c.sync(table, &c.st.slots, errs)
}

// rewrite makes a slot's pages dirty again after a failed sync: the kernel takes
// pages that it could not write for clean, and would sync nothing.
func (c *Cache) rewrite(y *syncing) error {
	y.e.wmu.Lock()
	defer y.e.wmu.Unlock()
	buf := c.bufs.Get().(*[sliver.Size]byte)
	defer c.bufs.Put(buf)
	n := y.s.class.size()
	if err := c.st.arena.pread(buf[:n], y.s.off()); err != nil {
		return err
	}
	return c.st.arena.again(buf[:n], y.s.off())
}

func (c *Cache) endSync(p *post, list []syncing, errs uint64, err error) []Ref {
	c.mu.Lock()
	defer c.mu.Unlock()
	var refs []Ref
	for i := range list {
		y := &list[i]
		e := y.e
		switch {
		case err != nil:
			if !y.old && !e.dead && (e.state == sliver.Dirty || e.state == sliver.Archiving) {
				e.unsynced, e.rewrite = true, true
			}
		case e.dead || !y.s.named:
			// Gone, or on tape meanwhile: the catalog must not name it.
		default:
			if !y.old && c.syncErrs == errs { // else what was written since may be lost
				e.rewrite = false
			}
			refs = append(refs, y.ref)
		}
		c.release(p, y.s)
	}
	return refs
}

// Committed says that the catalog has been updated with refs. Slots that those
// supersede go to quarantine: the catalog need not have been synced yet.
func (c *Cache) Committed(refs []Ref) {
	var p post
	c.mu.Lock()
	for _, r := range refs {
		e := c.lookup(r.Key)
		if e == nil {
			continue
		}
		keep := len(e.old)
		if s := e.slot; s == nil || s.number() != r.Slot || s.seq != r.Seq {
			keep = slices.IndexFunc(e.old, func(s *slot) bool { return s.number() == r.Slot && s.seq == r.Seq })
			if keep < 0 {
				continue
			}
		} else if s.rest.kind == recDirty && s.rest.version == r.Version {
			e.uncommit = false
		}
		for _, s := range e.old[:keep] {
			c.quarantine(s) // the catalog on disk may be older than the one in memory
		}
		e.old = slices.Delete(e.old, 0, keep)
	}
	c.mu.Unlock()
	c.run(&p)
}

func (c *Cache) quarantine(s *slot) {
	c.quarSeq++
	c.quar = append(c.quar, quarantined{s, c.quarSeq})
	c.stats.QuarantinedBytes += int64(s.class.size())
}

// Quarantine returns how many slots are in quarantine, and a mark for
// ReleaseQuarantine. The slots are those of slivers that were truncated or unlinked
// away, or moved to a larger slot, while the durable catalog named them.
func (c *Cache) Quarantine() (mark uint64, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.quarSeq, len(c.quar)
}

// ReleaseQuarantine frees the slots that were in quarantine at mark. The caller has
// synced the catalog after it took mark; and has called Drop after the catalog was
// updated, so that the catalog on disk does not name them.
func (c *Cache) ReleaseQuarantine(mark uint64) {
	var p post
	c.mu.Lock()
	i := 0
	for ; i < len(c.quar) && c.quar[i].seq <= mark; i++ {
		s := c.quar[i].s
		c.stats.QuarantinedBytes -= int64(s.class.size())
		c.release(&p, s)
	}
	c.quar = slices.Delete(c.quar, 0, i)
	c.mu.Unlock()
	c.run(&p)
}

// Current says whether ref is still worth a place in the catalog: its sliver is
// Dirty or Archiving, in that slot, or in a larger one that was not synced yet (then
// the old slot holds the newest content that is on disk). n is how many of its bytes
// are: fewer than ref.Len if a Truncate has come since. The caller holds the lock
// under which it truncates and commits.
func (c *Cache) Current(ref Ref) (n int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.lookup(ref.Key)
	if e == nil || e.state != sliver.Dirty && e.state != sliver.Archiving {
		return 0, false
	}
	if e.slot.seq != ref.Seq && !slices.ContainsFunc(e.old, func(s *slot) bool { return s.seq == ref.Seq }) {
		return 0, false
	}
	return min(ref.Len, e.cut), true
}
