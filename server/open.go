package server

import (
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"sliod/server/wire"
)

// Open flags as 9P2000.L sends them: those of Linux on x86.
const (
	oCreat     = 0o100
	oExcl      = 0o200
	oTrunc     = 0o1000
	oDirectory = 0o200000
)

// lopen serves Tlopen.
func (c *conn) lopen(q *wire.MsgTlopen) (wire.Message, error) {
	f, err := c.node(q.Fid)
	if err != nil {
		return nil, err
	}
	qid := f.node.QID()
	dir := qid.Type&p9.TypeDir != 0
	flags := q.Flags &^ (oCreat | oExcl) // the file is there
	switch {
	case f.file != nil:
		return nil, linux.EBUSY
	case flags.Mode() == p9.OpenFlagsModeMask:
		return nil, linux.EINVAL
	case flags&oDirectory != 0 && !dir:
		return nil, linux.ENOTDIR
	case dir && (flags.Mode() != p9.ReadOnly || flags&oTrunc != 0):
		return nil, linux.EISDIR
	}
	file, err := f.node.Open(f.cred, flags)
	if err != nil {
		return nil, err
	}
	f.opened(file, flags, dir)
	c.rep.lopen.QID = c.qid(f.node.QID()) // O_TRUNC may have changed the version
	return &c.rep.lopen, nil
}

// lcreate serves Tlcreate: the directory's fid becomes the new, open file.
func (c *conn) lcreate(q *wire.MsgTlcreate) (wire.Message, error) {
	f, err := c.node(q.Fid)
	if err != nil {
		return nil, err
	}
	dots := error(linux.EISDIR)
	if q.Flags&oExcl != 0 {
		dots = linux.EEXIST
	}
	switch err := checkEntry(q.Name, dots); {
	case err != nil:
		return nil, err
	case f.file != nil:
		return nil, linux.EBUSY
	case q.Flags.Mode() == p9.OpenFlagsModeMask:
		return nil, linux.EINVAL
	case f.node.QID().Type&p9.TypeDir == 0:
		return nil, linux.ENOTDIR
	}
	n, file, err := f.node.Create(f.cred, string(q.Name), q.Flags, c.newMode(q.Mode)&^typeBits, q.GID)
	if err != nil {
		return nil, err
	}
	f.node.Release()
	f.node = n
	f.opened(file, q.Flags, false)
	c.rep.lcreate.QID = c.qid(n.QID())
	return &c.rep.lcreate, nil
}
