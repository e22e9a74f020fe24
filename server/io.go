package server

import (
	"math"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"sliod/backend/vfs"
	"sliod/server/wire"
)

// maxOffset is the largest size of a file and offset in it.
const maxOffset = math.MaxInt64

// clip bounds the count of a Tread or Treaddir by what a reply may carry.
func (c *conn) clip(count uint32) uint32 {
	return min(count, c.msize-wire.ReadOverhead)
}

// readFile serves Tread.
func (c *conn) readFile(tag uint16, q *wire.MsgTread) (wire.Message, error) {
	f, err := c.fid(q.Fid)
	if err != nil {
		return nil, err
	}
	count := c.clip(q.Count)
	switch {
	case f.xattr != nil:
		p, err := f.xattr.read(q.Offset, int(count))
		if err != nil {
			return nil, err
		}
		return c.queueRead(tag, vfs.Data{Bytes: p})
	case f.dir:
		return nil, linux.EISDIR
	case !f.readable():
		return nil, linux.EBADF
	case q.Offset > maxOffset:
		return nil, linux.EINVAL
	case count == 0:
		return c.queueRead(tag, vfs.Data{})
	}
	r := c.newRequest(wire.Tread, tag, f.file)
	r.off, r.count = q.Offset, count
	d, err := f.file.ReadAt(q.Offset, int(count), &r.Waiter)
	switch {
	case err == vfs.ErrParked:
		c.park(r)
		return nil, errQueued
	case err != nil:
		return nil, err
	case d.Len() > int(count):
		n := d.Len()
		d.Release()
		return nil, badCount("read", n, int(count))
	}
	return c.queueRead(tag, d)
}

func (c *conn) queueRead(tag uint16, d vfs.Data) (wire.Message, error) {
	c.mu.Lock()
	c.readLocked(tag, d)
	c.mu.Unlock()
	return nil, errQueued
}

// write serves Twrite. p is a view of the receive buffer.
func (c *conn) write(tag uint16, n uint32, off uint64, p []byte) (wire.Message, error) {
	f, err := c.fid(n)
	if err != nil {
		return nil, err
	}
	c.rep.write.Count = uint32(len(p))
	switch {
	case f.xattr != nil:
		if err := c.writeXattr(f.xattr, off, p); err != nil {
			return nil, err
		}
		return &c.rep.write, nil
	case !f.writable():
		return nil, linux.EBADF
	case off > maxOffset:
		return nil, linux.EINVAL
	case off > maxOffset-uint64(len(p)):
		return nil, linux.EFBIG
	case len(p) == 0:
		return &c.rep.write, nil // nothing asked, nothing done
	}
	r := c.newRequest(wire.Twrite, tag, f.file)
	r.off, r.count = off, uint32(len(p))
	done, err := f.file.WriteAt(off, p, &r.Waiter)
	switch {
	case err == vfs.ErrParked:
		c.park(r)
		return nil, errQueued
	case err != nil:
		return nil, err
	case done <= 0 || done > len(p):
		// A Linux client sends the rest again, for ever if the count is 0.
		return nil, badCount("write", done, len(p))
	}
	c.rep.write.Count = uint32(done)
	return &c.rep.write, nil
}

// fsync serves Tfsync.
func (c *conn) fsync(tag uint16, q *wire.MsgTfsync) (wire.Message, error) {
	f, err := c.node(q.Fid)
	if err != nil {
		return nil, err
	}
	if f.file == nil {
		return nil, linux.EBADF
	}
	r := c.newRequest(wire.Tfsync, tag, f.file)
	switch err := f.file.Fsync(q.DataOnly != 0, &r.Waiter); err {
	case nil:
		return &c.rep.fsync, nil
	case vfs.ErrParked:
		c.park(r)
		return nil, errQueued
	default:
		return nil, err
	}
}

// Numbers of dirent.h, which the wire has as the type of an entry.
const (
	dtDir  = 4
	dtLink = 10
	dtMax  = 15
)

// dirType returns the DT_ number of an entry. A tree gives that number as d.Type; one
// that gives a QID type instead is understood too. 0 is DT_UNKNOWN: the client asks.
func dirType(d *p9.Dirent) uint8 {
	switch {
	case d.QID.Type&p9.TypeDir != 0:
		return dtDir
	case d.QID.Type&p9.TypeSymlink != 0:
		return dtLink
	case d.Type <= dtMax:
		return uint8(d.Type)
	}
	return 0
}

// readdir serves Treaddir.
func (c *conn) readdir(tag uint16, q *wire.MsgTreaddir) (wire.Message, error) {
	f, err := c.node(q.Fid)
	switch {
	case err != nil:
		return nil, err
	case f.file == nil:
		return nil, linux.EBADF
	case !f.dir:
		return nil, linux.ENOTDIR
	}
	count := int(c.clip(q.Count))
	entries, tight := c.entries[:0], false
	err = f.file.Readdir(q.Offset, func(d p9.Dirent) bool {
		if len(entries)+wire.DirentOverhead+len(d.Name) > count {
			tight = len(entries) == 0
			return false
		}
		entries = wire.AppendDirent(entries, c.qid(d.QID), d.Offset, dirType(&d), d.Name)
		return true
	})
	if err != nil {
		return nil, err
	}
	if tight {
		return nil, linux.EINVAL
	}
	c.mu.Lock()
	before := c.out.size
	c.out.readdir(tag, entries)
	c.queuedLocked(before)
	c.mu.Unlock()
	if c.entries = entries; cap(entries) > flushAt {
		c.entries = nil
	}
	return nil, errQueued
}
