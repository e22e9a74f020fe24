package cache

import (
	"github.com/pkg/errors"

	"sliod/backend/sliver"
)

// archiveTries is how often BeginArchive copies a sliver that is being written.
const archiveTries = 4

// BeginArchive copies a dirty sliver's valid bytes into buf, which has at least
// sliver.Size bytes, and makes it Archiving. The n bytes are one content, that of
// version v. ErrNotDirty: there is nothing to archive. ErrBusy: it is being archived by another.
// ErrChanged: it is written too fast; it stays dirty.
func (c *Cache) BeginArchive(k sliver.Key, buf []byte) (n int, v sliver.Version, err error) {
	for range archiveTries {
		c.mu.Lock()
		e := c.lookup(k)
		switch {
		case e == nil || (e.state != sliver.Dirty && e.state != sliver.Archiving):
			c.mu.Unlock()
			return 0, 0, ErrNotDirty
		case e.state == sliver.Archiving:
			c.mu.Unlock()
			return 0, 0, ErrBusy
		case e.writers > 0:
			c.mu.Unlock()
			e.wmu.Lock() // until that write is done
			e.wmu.Unlock()
			continue
		}
		var p post
		n, v = e.len, e.version
		s := e.slot
		s.refs.Add(1)
		c.mu.Unlock()
		if len(buf) < n {
			err = errors.Errorf("cache: the buffer of %d bytes is too small for the %d bytes of sliver %v", len(buf), n, k)
		} else {
			err = c.st.arena.pread(buf[:n], s.off())
		}
		var head headSum
		if err == nil {
			head = c.sumHead(k, buf[:n])
		}
		c.mu.Lock()
		c.release(&p, s)
		same := !e.dead && e.state == sliver.Dirty && e.version == v && e.writers == 0 && n > 0
		if err == nil && same {
			c.move(e, sliver.Archiving)
			e.archiving, e.head = v, head
		}
		c.mu.Unlock()
		c.run(&p)
		if err != nil {
			return 0, 0, err
		}
		if same {
			return n, v, nil
		}
	}
	return 0, 0, ErrChanged
}

// ArchiveIs says whether k is still being archived with version v, that is, has
// not been written since.
func (c *Cache) ArchiveIs(k sliver.Key, v sliver.Version) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.lookup(k)
	return e != nil && e.state == sliver.Archiving && e.archiving == v
}

// EndArchive ends what BeginArchive began. With ok the caller vouches that the
// durable catalog names a copy on tape of version v with the sum: the sliver becomes
// Clean, if nothing was written since, and true is returned. Otherwise it is Dirty.
func (c *Cache) EndArchive(k sliver.Key, v sliver.Version, sum uint64, ok bool) bool {
	var p post
	c.mu.Lock()
	e := c.lookup(k)
	done := false
	if e != nil && e.state == sliver.Archiving && e.archiving == v {
		if done = ok; ok {
			e.sum = sum
			e.unsynced, e.uncommit, e.verify = false, false, e.rewrite
			s := e.slot
			s.named = false
			s.rest = record{kind: recClean, class: s.class, len: uint32(e.len), key: k, seq: s.seq, version: v, sum: sum}
			for _, o := range e.old {
				c.release(&p, o)
			}
			e.old = nil
			c.move(e, sliver.Clean)
			p.record(s)
			c.wantHead(&p, e)
			p.kick = true
			c.stats.Archived++
		} else {
			c.move(e, sliver.Dirty)
		}
	}
	c.mu.Unlock()
	c.run(&p)
	return done
}
