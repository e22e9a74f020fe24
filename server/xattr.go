package server

import (
	"bytes"

	"github.com/hugelgupf/p9/linux"
	"sliod/server/wire"
)

const (
	// maxXattr is the largest value of an extended attribute, and the largest list
	// of names, as in Linux.
	maxXattr = 64 << 10
	// maxXattrBytes bounds what the xattr fids of one connection hold.
	maxXattrBytes = 16 << 20

	xattrCreate  = 1
	xattrReplace = 2
)

// xattr is the extended attribute that a fid stands for. One that is read is a
// snapshot; one that is written is set when its fid is clunked.
type xattr struct {
	value []byte

	write bool
	name  string
	size  int // of the whole value
	flags uint32
	err   error // a write failed: nothing is set
}

// xattrwalk serves Txattrwalk.
func (c *conn) xattrwalk(q *wire.MsgTxattrwalk) (wire.Message, error) {
	f, err := c.node(q.Fid)
	if err != nil {
		return nil, err
	}
	if err := c.fresh(q.NewFid); err != nil {
		return nil, err
	}
	var value []byte
	if len(q.Name) == 0 {
		value, err = f.node.XattrList(f.cred)
	} else if err = checkXattrName(q.Name); err == nil {
		value, err = f.node.Xattr(f.cred, string(q.Name))
	}
	switch {
	case err != nil:
		return nil, err
	case len(value) > maxXattr:
		return nil, linux.E2BIG
	case c.xattrBytes+cap(value) > maxXattrBytes:
		return nil, linux.ENOMEM
	}
	c.xattrBytes += cap(value)
	c.fids[q.NewFid] = &fid{fs: f.fs, cred: f.cred, xattr: &xattr{value: value}}
	c.rep.xattrwalk.Size = uint64(len(value))
	return &c.rep.xattrwalk, nil
}

// xattrcreate serves Txattrcreate: the fid then takes the value by Twrite.
func (c *conn) xattrcreate(q *wire.MsgTxattrcreate) (wire.Message, error) {
	f, err := c.node(q.Fid)
	if err != nil {
		return nil, err
	}
	if err := checkXattrName(q.Name); err != nil {
		return nil, err
	}
	if x, ok := f.fs.(exported); ok { // now, not when the value has been sent
		if err := x.change(); err != nil {
			return nil, err
		}
	}
	switch {
	case f.file != nil:
		return nil, linux.EBUSY
	case q.Flags&^(xattrCreate|xattrReplace) != 0:
		return nil, linux.EINVAL
	case q.Size > maxXattr:
		return nil, linux.E2BIG
	}
	f.xattr = &xattr{write: true, name: string(q.Name), size: int(q.Size), flags: q.Flags}
	return &c.rep.xattrcreate, nil
}

func checkXattrName(b []byte) error {
	switch {
	case len(b) == 0 || len(b) > maxName:
		return linux.ERANGE
	case bytes.IndexByte(b, 0) >= 0:
		return linux.EINVAL
	}
	return nil
}

// read returns a view of the value, which is not changed any more.
func (x *xattr) read(off uint64, n int) ([]byte, error) {
	if x.write {
		return nil, linux.EBADF
	}
	if off >= uint64(len(x.value)) {
		return nil, nil
	}
	p := x.value[off:]
	return p[:min(n, len(p))], nil
}

// writeXattr takes a part of the value; parts come in order.
func (c *conn) writeXattr(x *xattr, off uint64, p []byte) error {
	if !x.write {
		return linux.EBADF
	}
	err := func() error {
		switch {
		case off > uint64(x.size) || uint64(len(p)) > uint64(x.size)-off:
			return linux.ENOSPC
		case off > uint64(len(x.value)):
			return linux.EINVAL // a gap
		}
		if need := int(off) + len(p); need > len(x.value) {
			if c.xattrBytes+need-cap(x.value) > maxXattrBytes {
				return linux.ENOMEM
			}
			c.xattrBytes -= cap(x.value)
			x.value = append(x.value, make([]byte, need-len(x.value))...)
			c.xattrBytes += cap(x.value)
		}
		copy(x.value[off:], p)
		return nil
	}()
	if err != nil {
		x.err = err
	}
	return err
}

// setXattr does at the clunk of f what was asked for by Txattrcreate. v9fs removes an
// attribute by an empty value with XATTR_REPLACE.
func (f *fid) setXattr() error {
	x := f.xattr
	switch {
	case !x.write:
		return nil
	case x.err != nil:
		return x.err
	case len(x.value) != x.size:
		return linux.EINVAL
	case x.size == 0 && x.flags == xattrReplace:
		return f.node.SetXattr(f.cred, x.name, nil, x.flags)
	case x.size == 0:
		return f.node.SetXattr(f.cred, x.name, []byte{}, x.flags)
	}
	return f.node.SetXattr(f.cred, x.name, x.value, x.flags)
}
