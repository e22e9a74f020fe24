package server

import (
	"github.com/hugelgupf/p9/linux"
	"sliod/server/wire"
)

// The bits of a mode: its type, and the others: setuid, setgid and sticky too.
const (
	typeBits       = 0o170000
	permissionBits = 0o7777
)

// getattr serves Tgetattr. All attributes are kept, so all are valid.
func (c *conn) getattr(q *wire.MsgTgetattr) (wire.Message, error) {
	f, err := c.node(q.Fid)
	if err != nil {
		return nil, err
	}
	a, err := f.node.Getattr(f.cred)
	if err != nil {
		return nil, err
	}
	if a.NLink == 0 {
		a.NLink = 1 // of an unlinked open file; Linux warns of an inode without links
	}
	r := &c.rep.getattr
	r.Valid, r.QID, r.Attr = wire.AttrAll, c.qid(f.node.QID()), a
	return r, nil
}

// setattr serves Tsetattr.
func (c *conn) setattr(q *wire.MsgTsetattr) (wire.Message, error) {
	f, err := c.node(q.Fid)
	if err != nil {
		return nil, err
	}
	if q.Valid&^wire.SetAll != 0 {
		return nil, linux.EINVAL
	}
	if q.Valid&wire.SetSize != 0 && q.Attr.Size > maxOffset {
		return nil, linux.EINVAL
	}
	const second = 1_000_000_000
	if q.Valid&wire.SetAtimeTo != 0 && q.Attr.ATimeNanoSeconds >= second ||
		q.Valid&wire.SetMtimeTo != 0 && q.Attr.MTimeNanoSeconds >= second {
		return nil, linux.EINVAL
	}
	q.Attr.Permissions &= permissionBits // Linux sends the type too
	if err := f.node.Setattr(f.cred, q.Mask(), q.Attr, f.writable()); err != nil {
		return nil, err
	}
	return &c.rep.setattr, nil
}

// statfs serves Tstatfs.
func (c *conn) statfs(q *wire.MsgTstatfs) (wire.Message, error) {
	f, err := c.node(q.Fid)
	if err != nil {
		return nil, err
	}
	c.rep.statfs.Stat, err = f.node.Statfs(f.cred)
	if err != nil {
		return nil, err
	}
	return &c.rep.statfs, nil
}

// readlink serves Treadlink.
func (c *conn) readlink(q *wire.MsgTreadlink) (wire.Message, error) {
	f, err := c.node(q.Fid)
	if err != nil {
		return nil, err
	}
	target, err := f.node.Readlink(f.cred)
	if err != nil {
		return nil, err
	}
	if len(target) > int(c.msize)-wire.HeaderSize-2 {
		return nil, linux.ENAMETOOLONG // a reply above msize would end the mount
	}
	c.rep.readlink.Target = []byte(target)
	return &c.rep.readlink, nil
}
