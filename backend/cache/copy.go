package cache

import (
	stderrors "errors"

	"github.com/cespare/xxhash/v2"
	"github.com/pkg/errors"

	"sliod/backend/sliver"
)

// Errors of CopyClean.
var (
	// ErrAbsent: the sliver is not in the cache.
	ErrAbsent = stderrors.New("the sliver is not in the cache")
	// ErrChanged: the cache has another version of it.
	ErrChanged = stderrors.New("the sliver was written since")
)

// CopyClean copies the valid bytes of a clean sliver, if it still is version v, into buf,
// which has at least sliver.Size bytes. It returns their number and their XXH64, which has been
// compared with the sliver's. The sliver stays as it is. ErrAbsent: it is not there, or what
// was there is not what it should be and was let go; ErrChanged: it is dirty, or of another version.
func (c *Cache) CopyClean(k sliver.Key, v sliver.Version, buf []byte) (n int, sum uint64, err error) {
	c.mu.Lock()
	e := c.lookup(k)
	switch {
	case e == nil || e.state == sliver.Faulting:
		c.mu.Unlock()
		return 0, 0, ErrAbsent
	case e.state != sliver.Clean || e.version != v:
		c.mu.Unlock()
		return 0, 0, ErrChanged
	}
	var p post
	s := e.slot
	n, sum = e.len, e.sum
	s.refs.Add(1)
	e.read()
	c.mu.Unlock()
	if len(buf) < n {
		err = errors.Errorf("cache: the buffer of %d bytes is too small for the %d bytes of sliver %v", len(buf), n, k)
	} else {
		err = c.st.arena.pread(buf[:n], s.off())
	}
	good := err == nil && xxhash.Sum64(buf[:n]) == sum
	c.mu.Lock()
	c.release(&p, s)
	same := !e.dead && e.state == sliver.Clean && e.version == v && e.slot == s && e.len == n && e.writers == 0
	switch {
	case good && (same || e.dead): // what was evicted meanwhile was good when it was copied
		e.verify = e.rewrite // that is for compare
	case err == nil && (same || e.dead):
		c.stats.VerifyFailed++
		if same {
			c.toAbsent(&p, e, n)
		}
		err = ErrAbsent
	case err == nil:
		err = ErrChanged
	}
	c.mu.Unlock()
	c.run(&p)
	if err == ErrAbsent {
		c.log.WithField(fieldSliver, k).WithField(fieldSlot, s.number()).Warn("cached sliver is not what its checksum says; it will be read from tape again")
	}
	if err != nil {
		return 0, 0, err
	}
	return n, sum, nil
}
