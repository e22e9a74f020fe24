package cache

import (
	"slices"

	"sliod/backend/sliver"
)

// Stats are figures of the cache, in bytes or as counts; counts are since the start.
type Stats struct {
	SizeBytes        int64
	UsedBytes        int64 // slots given out
	DirtyBytes       int64 // valid bytes of slivers that are Dirty or Archiving
	CleanBytes       int64
	QuarantinedBytes int64
	HeadBytes        int64 // slots of first slivers, and of their heads, that are kept
	Faulting         int64 // slivers, now
	Parked           int64 // requests, now
	WaitingForSpace  int64 // of those

	Hits         int64 // reads from a resident sliver
	Faults       int64 // started
	FaultsFailed int64
	Evictions    int64
	Archived     int64 // slivers that became clean by archiving
	HeadHits     int64 // reads from the head of a sliver that is not there
	Parks        int64 // requests that were parked
	AllocFailed  int64 // searches for a slot that found none
	VerifyFailed int64 // slots whose content was not what the record said
}

// Stats returns the figures as they are now.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Parked = int64(len(c.parked))
	s.WaitingForSpace = int64(c.space.Len())
	s.HeadBytes = c.heads.held
	return s
}

// State returns the sliver's state; b is what lies behind it.
func (c *Cache) State(k sliver.Key, b Behind) sliver.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.lookup(k); e != nil {
		return e.state
	}
	if b.State == sliver.Absent {
		return sliver.Absent
	}
	return sliver.Hole
}

// FileStats returns the valid bytes of f in the cache, and how many slivers are
// dirty (with those being archived), clean and faulting. It costs the same whatever
// the size of the file. A head counts as bytes while its sliver is not there.
func (c *Cache) FileStats(f sliver.FileID) (cachedBytes int64, dirty, clean, faulting int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fl := c.files[f]
	if fl == nil {
		return 0, 0, 0, 0
	}
	cachedBytes = fl.bytes
	if h, first := fl.head(), fl.slivers[0]; h != nil && (first == nil || first.state == sliver.Faulting) {
		cachedBytes += int64(h.len)
	}
	return cachedBytes, fl.dirty, fl.clean, fl.faulting
}

// DirtySlivers returns the numbers of f's slivers that are dirty or being archived,
// sorted.
func (c *Cache) DirtySlivers(f sliver.FileID) []sliver.No {
	c.mu.Lock()
	defer c.mu.Unlock()
	fl := c.files[f]
	if fl == nil || fl.dirty == 0 {
		return nil
	}
	nos := make([]sliver.No, 0, fl.dirty)
	for no, e := range fl.slivers {
		if e.state == sliver.Dirty || e.state == sliver.Archiving {
			nos = append(nos, no)
		}
	}
	slices.Sort(nos)
	return nos
}

// FaultingSlivers returns the numbers of f's slivers that are on their way, in no order.
func (c *Cache) FaultingSlivers(f sliver.FileID) (nos []sliver.No) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fl := c.files[f]
	if fl == nil || fl.faulting == 0 {
		return nil
	}
	for no, e := range fl.slivers {
		if e.state == sliver.Faulting {
			nos = append(nos, no)
		}
	}
	return nos
}

// DirtyFiles returns the files that have dirty slivers, sorted.
func (c *Cache) DirtyFiles() []sliver.FileID {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := make([]sliver.FileID, 0, len(c.dirty))
	for id := range c.dirty {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
