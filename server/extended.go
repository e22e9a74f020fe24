package server

import (
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend/vfs"
	"sliod/server/wire"
)

// newMode returns the mode that a client asks for. Those of the extension say their umask
// in it.
func (c *conn) newMode(mode p9.FileMode) p9.FileMode {
	const plain = typeBits | permissionBits
	if c.extended {
		return mode & (plain | vfs.UmaskBits)
	}
	return mode & plain
}

var _ = [1]struct{}{}[wire.UmaskShift-vfs.UmaskShift] // they are the same bits

// extended returns the open file of f as one that serves the extension.
func (f *fid) extended() (vfs.Extended, error) {
	if f.file == nil || f.xattr != nil {
		return nil, linux.EBADF
	}
	if x, ok := f.file.File.(vfs.Extended); ok && !f.dir {
		return x, nil
	}
	return nil, linux.EOPNOTSUPP
}

// seek serves Tseek.
func (c *conn) seek(q *wire.MsgTseek) (wire.Message, error) {
	f, err := c.fid(q.Fid)
	if err != nil {
		return nil, err
	}
	x, err := f.extended()
	switch {
	case err != nil:
		return nil, err
	case q.Offset > maxOffset:
		return nil, linux.ENXIO
	}
	c.rep.seek.Offset, err = x.Seek(q.Offset, vfs.Whence(q.Whence))
	return &c.rep.seek, err
}

// allocate serves Tallocate.
func (c *conn) allocate(tag uint16, q *wire.MsgTallocate) (wire.Message, error) {
	f, err := c.fid(q.Fid)
	if err != nil {
		return nil, err
	}
	x, err := f.extended()
	switch {
	case err != nil:
		return nil, err
	case !f.writable():
		return nil, linux.EBADF
	case q.Length == 0 || q.Offset > maxOffset:
		return nil, linux.EINVAL
	case q.Length > maxOffset-q.Offset:
		return nil, linux.EFBIG
	}
	r := c.newRequest(wire.Tallocate, tag, f.file)
	n, err := x.Allocate(vfs.AllocateMode(q.Mode), q.Offset, q.Length, &r.Waiter)
	if err == vfs.ErrParked {
		c.park(r)
		return nil, errQueued
	}
	c.rep.allocate.Count = n
	return &c.rep.allocate, err
}

// copy serves Tcopy.
func (c *conn) copy(tag uint16, q *wire.MsgTcopy) (wire.Message, error) {
	src, err := c.fid(q.Fid)
	if err != nil {
		return nil, err
	}
	dst, err := c.fid(q.ToFid)
	if err != nil {
		return nil, err
	}
	if _, err := src.extended(); err != nil {
		return nil, err
	}
	x, err := dst.extended()
	switch {
	case err != nil:
		return nil, err
	case !src.readable() || !dst.writable():
		return nil, linux.EBADF
	case q.Offset > maxOffset || q.ToOffset > maxOffset:
		return nil, linux.EINVAL
	case q.Count > maxOffset-q.ToOffset:
		return nil, linux.EFBIG
	}
	r := c.newRequest(wire.Tcopy, tag, dst.file)
	n, err := x.CopyFrom(src.file.File, q.Offset, q.ToOffset, q.Count, &r.Waiter)
	if err == vfs.ErrParked {
		c.park(r)
		return nil, errQueued
	}
	c.rep.copy = wire.MsgRcopy{Count: n}
	return &c.rep.copy, err
}

// extendedLocked answers a woken request of the extension.
func (c *conn) extendedLocked(r *request) {
	n := uint64(max(r.n, 0))
	if r.kind == wire.Tallocate {
		c.replyLocked(r.tag, &wire.MsgRallocate{Count: n})
		return
	}
	m := &wire.MsgRcopy{Count: n}
	if n == 0 {
		m.Again = 1
	}
	c.replyLocked(r.tag, m)
}
