package cache

import (
	"github.com/cespare/xxhash/v2"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// Read reads n bytes at off of a sliver; the caller has clipped n to the file and
// the sliver. A resident sliver gives pinned bytes, then zeros past its valid
// length; a hole gives zeros. An absent or faulting sliver parks w and returns
// vfs.ErrParked; a fault is started if none runs, and w is woken with (0, nil) when
// Read is worth another try, or with the fault's error.
func (c *Cache) Read(k sliver.Key, b Behind, off, n int, w *vfs.Waiter) (vfs.Data, error) {
	if n <= 0 {
		return vfs.Data{}, nil
	}
	for {
		c.mu.Lock()
		e := c.lookup(k)
		switch {
		case e == nil && (b.State != sliver.Absent || off >= b.Len):
			c.mu.Unlock()
			return vfs.Data{Zeros: n}, nil
		case w == nil && (e == nil || e.state == sliver.Faulting):
			c.mu.Unlock()
			return vfs.Data{}, vfs.ErrWouldWait
		case e == nil || e.state == sliver.Faulting:
			var p post
			err := c.parkRead(&p, k, e, b, w)
			c.mu.Unlock()
			c.run(&p)
			return vfs.Data{}, err
		case e.verify:
			c.mu.Unlock()
			if err := c.check(e); err != nil {
				return vfs.Data{}, err
			}
			continue
		}
		d := vfs.Data{Zeros: n}
		if m := min(n, e.len-off); m > 0 {
			s := e.slot
			s.refs.Add(1)
			d = vfs.Data{Bytes: s.bytes(off, off+m), Zeros: n - m, Pin: s}
		}
		wasDue := e.read()
		if e.freq < maxFreq {
			e.freq++
		}
		c.stats.Hits++
		c.mu.Unlock()
		if wasDue && d.Pin == nil { // else Unpin says so
			c.run(&post{kick: true})
		}
		return d, nil
	}
}

func (c *Cache) parkRead(p *post, k sliver.Key, e *entry, b Behind, w *vfs.Waiter) error {
	if c.stopErr != nil {
		return c.stopErr
	}
	if e == nil {
		e = c.startFault(p, k, b, w.Class)
	}
	if err := c.hook(w, &place{k: k, e: e}); err != nil {
		return err
	}
	w.Kind = kindRead
	c.wait(p, e, w)
	return vfs.ErrParked
}

// check compares a clean sliver that was found after an unclean shutdown, or was there when
// a sync failed, with its sum, before its next use; a sliver that is not what it says becomes absent.
func (c *Cache) check(e *entry) error {
	if _, bad := c.compare(e, false); bad {
		c.log.WithField(fieldSliver, e.sliver()).
			Warn("cached sliver is not what its record says, after an unclean shutdown or an error of the disk; it will be read from tape again")
	}
	return nil
}

// compare compares a clean sliver, if it waits for that or in any case, with its sum, and returns how many bytes
// it read. A sliver that is not what its sum says becomes absent. After a failed sync its pages are written
// again: that they are right in memory does not say that they are on disk.
func (c *Cache) compare(e *entry, always bool) (read int, bad bool) {
	e.wmu.Lock()
	c.mu.Lock()
	if e.dead || e.state != sliver.Clean || !e.verify && !always {
		c.mu.Unlock()
		e.wmu.Unlock()
		return 0, false
	}
	s, n, sum, again, errs := e.slot, e.len, e.sum, e.rewrite, c.syncErrs
	s.refs.Add(1)
	c.mu.Unlock()
	buf := c.bufs.Get().(*[sliver.Size]byte)
	err := c.st.arena.pread(buf[:n], s.off())
	good := err == nil && xxhash.Sum64(buf[:n]) == sum
	var lost bool
	if good && again {
		if err = c.st.arena.again(buf[:n], s.off()); err == nil {
			err = c.st.arena.sync(s.off()&^(pageSize-1), (s.off()&(pageSize-1)+int64(n)+pageSize-1)&^(pageSize-1))
			lost = err != nil
		}
		good = err == nil
	}
	c.bufs.Put(buf)
	var p post
	c.mu.Lock()
	c.release(&p, s)
	if lost {
		c.distrust()
	}
	switch {
	case good && c.syncErrs == errs:
		e.verify, e.rewrite = false, false
	case !good && !e.dead:
		c.stats.VerifyFailed++
		c.toAbsent(&p, e, n)
	}
	c.mu.Unlock()
	e.wmu.Unlock()
	if err != nil {
		c.log.WithError(err).WithField(fieldSliver, e.key).WithField(fieldSlot, s.number()).Warn("slot not read, or not written again")
	}
	c.run(&p)
	return n, !good
}
