package server

import (
	"bytes"
	"path"
	"strconv"
	"strings"

	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
	"sliod/backend/vfs"
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
	// A client that knows more than 9P2000.L says so after a further dot.
	if s := q.Version; !bytes.Equal(s, []byte(wire.Version)) && !bytes.HasPrefix(s, []byte(wire.Version+".")) {
		r.Version = []byte("unknown")
		return r, nil
	}
	r.Version = []byte(wire.Version)
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
	name, fs, p := c.srv.tree(string(q.Aname))
	if fs == nil {
		return nil, linux.ENOENT
	}
	cred, err := c.credFor(q.NUname, name)
	if err != nil {
		return nil, err
	}
	n, err := c.attachTo(fs, cred, string(q.Aname), p)
	if err != nil {
		return nil, err
	}
	c.fids[q.Fid] = &fid{fs: fs, node: n, cred: cred}
	c.rep.attach.QID = c.qid(n.QID())
	return &c.rep.attach, nil
}

// byNumber is how an attach name begins that names a file by its FileID, which is
// qid.path: "id:" and a decimal number.
const byNumber = "id:"

// attachTo finds the file that an attach name means: a path, or a number, by which a
// client finds its files again after its connection was lost.
func (c *conn) attachTo(fs vfs.FS, cred *vfs.Cred, aname, p string) (vfs.Node, error) {
	number, ok := strings.CutPrefix(aname, byNumber)
	if !ok {
		return fs.Attach(cred, p)
	}
	finder, ok := fs.(vfs.Finder)
	id, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil {
		return nil, linux.ENOENT
	}
	return finder.Find(cred, id)
}

// credFor decides whether the peer may act as uid in the tree, and as whom.
func (c *conn) credFor(uid uint32, tree string) (*vfs.Cred, error) {
	if uid == wire.NoUname {
		uid = c.peer.UID
	}
	err := error(linux.EPERM)
	switch {
	case c.peer.UID != 0 && uid != c.peer.UID:
	case tree == CtlTree && uid != 0 && uid != c.srv.uid:
	case c.srv.cfg.Authorize != nil:
		err = c.srv.cfg.Authorize(c.peer, uid, tree)
	default:
		err = nil
	}
	if err != nil {
		c.log.WithFields(logrus.Fields{"as": uid, "tree": tree}).WithError(err).Warn("attach refused")
		if _, known := errnoOf(err); !known {
			return nil, errors.Wrap(linux.EPERM, err.Error())
		}
		return nil, err
	}
	return c.srv.users.cred(c.peer, uid), nil
}

// tree finds the tree that an attach name means, and the path in it.
func (s *Server) tree(aname string) (name string, fs vfs.FS, p string) {
	if fs := s.cfg.Trees[aname]; fs != nil && aname != "" {
		return aname, fs, ""
	}
	p = path.Clean("/" + aname)
	if p == "/" {
		p = ""
	}
	return "", s.cfg.Trees[""], strings.TrimSuffix(p, "/")
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
