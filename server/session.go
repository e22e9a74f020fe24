package server

import (
	"bytes"

	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"
	"sliod/backend/vfs"
	"sliod/export"
	"sliod/server/wire"
)

const (
	noFid = wire.NoFid
	// firstMsize is the largest frame before a version has been agreed on.
	firstMsize = 8 << 10
	// minMsize is the smallest that a client may ask for: every reply but data
	// fits.
	minMsize = 1024
	// maxPath is the longest aname, PATH_MAX.
	maxPath = 4096
)

// version serves Tversion. Every one of them ends what the connection had.
func (c *conn) version(q *wire.MsgTversion) (wire.Message, error) {
	c.abort()
	c.releaseFids()
	c.msize = 0
	c.in.limit = firstMsize
	r := &c.rep.version
	r.Msize = min(q.Msize, c.srv.cfg.MaxMsize)
	if q.Msize < minMsize {
		return nil, linux.EINVAL
	}
	// A client that knows more than 9P2000.L says so after a further dot. What it knows
	// is not known here, but for the extension.
	if s := q.Version; !bytes.Equal(s, []byte(wire.Version)) && !bytes.HasPrefix(s, []byte(wire.Version+".")) {
		r.Version = []byte("unknown")
		return r, nil
	}
	r.Version = []byte(wire.Version)
	if c.extended = string(q.Version) == wire.ExtendedVersion; c.extended {
		r.Version = []byte(wire.ExtendedVersion)
	}
	c.msize = r.Msize
	c.in.limit = r.Msize
	return r, nil
}

// attach serves Tattach.
func (c *conn) attach(q *wire.MsgTattach) (wire.Message, error) {
	if err := c.fresh(q.Fid); err != nil {
		return nil, err
	}
	if q.Afid != noFid {
		return nil, linux.EBADF // no fid of Tauth exists
	}
	if len(q.Aname) > maxPath || len(q.Uname) > maxPath {
		return nil, linux.ENAMETOOLONG
	}
	if bytes.IndexByte(q.Aname, 0) >= 0 {
		return nil, linux.EINVAL
	}
	for name := range bytes.SplitSeq(q.Aname, []byte("/")) {
		if len(name) > maxName {
			return nil, linux.ENAMETOOLONG
		}
	}
	t, err := c.target(string(q.Aname))
	var cred *vfs.Cred
	if err == nil {
		cred, err = c.credFor(q.NUname, &t)
	}
	if err != nil {
		return nil, c.refused(err, q)
	}
	fs, n, err := t.open(cred)
	if err != nil {
		return nil, err
	}
	if t.tree != CtlTree {
		c.last = t.export
	}
	c.fids[q.Fid] = &fid{fs: fs, node: n, cred: cred}
	c.rep.attach.QID = c.qid(n.QID())
	return &c.rep.attach, nil
}

// refused says in the log why an attach was refused, and returns what the client is
// told, which is a number only.
func (c *conn) refused(err error, q *wire.MsgTattach) error {
	log := c.log.WithField("tree", string(q.Aname)).WithError(err)
	if q.NUname != wire.NoUname {
		log = log.WithField("as", q.NUname)
	}
	log.Warn("attach refused")
	if _, known := errnoOf(err); !known {
		return errors.Wrap(linux.EPERM, err.Error())
	}
	return err
}

// credFor decides whether the peer may act as uid in the tree, and as whom.
func (c *conn) credFor(uid uint32, t *target) (*vfs.Cred, error) {
	if t.export != nil {
		cred, err := c.exportCred(t.export, uid)
		if err == nil && c.srv.cfg.Authorize != nil {
			err = c.srv.cfg.Authorize(c.peer, cred.UID, t.tree)
		}
		if err == nil {
			cred.Recalls = c.srv.cfg.Recalls.Gate(&t.export.Recall, t.export.Name, cred.UID)
		}
		return cred, err
	}
	if c.peer.Kind != export.Local {
		// Only the control tree is left: as the server's own user.
		if t.tree != CtlTree || !c.mayAdminister() {
			return nil, errors.Wrapf(linux.EPERM, "%s may not use the tree %q: only users with certificates whom an export with admin = true lists may", c.peer.who(uid), t.tree)
		}
		return &vfs.Cred{UID: c.srv.uid}, nil
	}
	if uid == wire.NoUname {
		uid = c.peer.UID
	}
	switch {
	case c.peer.UID != 0 && uid != c.peer.UID:
		return nil, linux.EPERM
	case t.tree == CtlTree && uid != 0 && uid != c.srv.uid:
		return nil, linux.EPERM
	case c.srv.cfg.Authorize != nil:
		if err := c.srv.cfg.Authorize(c.peer, uid, t.tree); err != nil {
			return nil, err
		}
	}
	cred := c.srv.users.cred(c.peer, uid)
	cred.Recalls = c.srv.cfg.Recalls.Gate(&c.srv.cfg.Recall, "", uid)
	return cred, nil
}

// clunk serves Tclunk. The fid is gone whatever the answer is.
func (c *conn) clunk(q *wire.MsgTclunk) (wire.Message, error) {
	f, err := c.fid(q.Fid)
	if err != nil {
		return nil, err
	}
	delete(c.fids, q.Fid)
	if f.xattr != nil {
		err = f.setXattr()
	}
	c.release(f)
	if err != nil {
		return nil, err
	}
	return &c.rep.clunk, nil
}
