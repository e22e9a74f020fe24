package server

import (
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"sliod/backend/vfs"
	"sliod/server/wire"
)

// qid is what goes to the client for q. The version must not be 0: Linux does not
// cache a file of version 0.
func (c *conn) qid(q p9.QID) p9.QID {
	if q.Version == 0 {
		q.Version = 1
	}
	return q
}

// walk serves Twalk. If not the first but a later name fails, the answer is the
// QIDs so far, and newfid stays as it was.
func (c *conn) walk(q *wire.MsgTwalk) (wire.Message, error) {
	f, err := c.node(q.Fid)
	if err != nil {
		return nil, err
	}
	if q.NewFid != q.Fid {
		if err := c.fresh(q.NewFid); err != nil {
			return nil, err
		}
	} else if f.file != nil {
		return nil, linux.EINVAL // an open fid cannot become another file
	}
	r := &c.rep.walk
	r.N = 0
	at, err := c.walkNames(f, q, r)
	if at == nil {
		if err != nil && r.N == 0 {
			return nil, err
		}
		return r, nil
	}
	if q.NewFid == q.Fid {
		f.node.Release()
		f.node = at
	} else {
		c.fids[q.NewFid] = &fid{fs: f.fs, node: at, cred: f.cred}
	}
	return r, nil
}

// walkNames walks from f and returns the node that it reached, or nil and the error
// of the name where it stopped.
func (c *conn) walkNames(f *fid, q *wire.MsgTwalk, r *wire.MsgRwalk) (vfs.Node, error) {
	if q.N == 0 {
		return f.node.Clone(), nil
	}
	at := f.node
	for _, name := range q.Names[:q.N] {
		next, err := walkOne(f.cred, at, name)
		if at != f.node {
			at.Release()
		}
		if err != nil {
			return nil, err
		}
		r.QIDs[r.N] = c.qid(next.QID())
		r.N++
		at = next
	}
	return at, nil
}

func walkOne(cred *vfs.Cred, at vfs.Node, name []byte) (vfs.Node, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if at.QID().Type&p9.TypeDir == 0 {
		return nil, linux.ENOTDIR
	}
	return at.Walk(cred, string(name))
}
