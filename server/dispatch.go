package server

import (
	stderrors "errors"

	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"
	"sliod/server/wire"
)

// requests and replies hold one struct of each kind that a reader uses again and
// again, so that a request allocates nothing for its own frame.
type requests struct {
	version     wire.MsgTversion
	auth        wire.MsgTauth
	attach      wire.MsgTattach
	flush       wire.MsgTflush
	walk        wire.MsgTwalk
	lopen       wire.MsgTlopen
	lcreate     wire.MsgTlcreate
	symlink     wire.MsgTsymlink
	mknod       wire.MsgTmknod
	rename      wire.MsgTrename
	readlink    wire.MsgTreadlink
	getattr     wire.MsgTgetattr
	setattr     wire.MsgTsetattr
	xattrwalk   wire.MsgTxattrwalk
	xattrcreate wire.MsgTxattrcreate
	readdir     wire.MsgTreaddir
	read        wire.MsgTread
	fsync       wire.MsgTfsync
	lock        wire.MsgTlock
	getlock     wire.MsgTgetlock
	link        wire.MsgTlink
	mkdir       wire.MsgTmkdir
	renameat    wire.MsgTrenameat
	unlinkat    wire.MsgTunlinkat
	clunk       wire.MsgTclunk
	remove      wire.MsgTremove
	statfs      wire.MsgTstatfs

	seek     wire.MsgTseek
	allocate wire.MsgTallocate
	copy     wire.MsgTcopy
}

type replies struct {
	version     wire.MsgRversion
	attach      wire.MsgRattach
	walk        wire.MsgRwalk
	lopen       wire.MsgRlopen
	lcreate     wire.MsgRlcreate
	symlink     wire.MsgRsymlink
	mknod       wire.MsgRmknod
	rename      wire.MsgRrename
	readlink    wire.MsgRreadlink
	getattr     wire.MsgRgetattr
	setattr     wire.MsgRsetattr
	xattrwalk   wire.MsgRxattrwalk
	xattrcreate wire.MsgRxattrcreate
	write       wire.MsgRwrite
	fsync       wire.MsgRfsync
	lock        wire.MsgRlock
	getlock     wire.MsgRgetlock
	link        wire.MsgRlink
	mkdir       wire.MsgRmkdir
	renameat    wire.MsgRrenameat
	unlinkat    wire.MsgRunlinkat
	clunk       wire.MsgRclunk
	remove      wire.MsgRremove
	statfs      wire.MsgRstatfs

	seek     wire.MsgRseek
	allocate wire.MsgRallocate
	copy     wire.MsgRcopy
}

// errQueued is what a handler returns if its reply has been queued, or will be.
var errQueued = stderrors.New("reply queued")

// errTooLarge answers a frame that is larger than msize.
const errTooLarge = linux.EMSGSIZE

// serveRequest serves one request. An error ends the connection.
func (c *conn) serveRequest(h wire.Header, body []byte) error {
	if c.busyTag(h.Tag) && h.Type != wire.Tversion {
		return errors.Errorf("protocol error: %v uses tag %d, whose request has not been answered", h.Type, h.Tag)
	}
	m, err := c.handle(h, body)
	if err == errQueued {
		return nil
	}
	if err != nil {
		c.fail(h.Type, h.Tag, err)
		return nil
	}
	c.mu.Lock()
	c.replyLocked(h.Tag, m)
	c.mu.Unlock()
	return nil
}

// handle decodes a request and calls its handler, which returns the reply, an error
// for Rlerror, or errQueued.
func (c *conn) handle(h wire.Header, body []byte) (wire.Message, error) {
	if c.msize == 0 && h.Type != wire.Tversion {
		return nil, linux.EPROTO // nothing before a version has been agreed on
	}
	if h.Type.Extended() && !c.extended {
		return nil, linux.EOPNOTSUPP
	}
	q := &c.req
	switch h.Type {
	case wire.Twrite:
		fid, off, data, err := wire.ParseTwrite(body)
		if err != nil {
			return nil, linux.EINVAL
		}
		return c.write(h.Tag, fid, off, data)
	case wire.Tread:
		return run(c, body, &q.read, func() (wire.Message, error) { return c.readFile(h.Tag, &q.read) })
	case wire.Tgetattr:
		return run(c, body, &q.getattr, func() (wire.Message, error) { return c.getattr(&q.getattr) })
	case wire.Twalk:
		return run(c, body, &q.walk, func() (wire.Message, error) { return c.walk(&q.walk) })
	case wire.Tclunk:
		return run(c, body, &q.clunk, func() (wire.Message, error) { return c.clunk(&q.clunk) })
	case wire.Tlopen:
		return run(c, body, &q.lopen, func() (wire.Message, error) { return c.lopen(&q.lopen) })
	case wire.Tlcreate:
		return run(c, body, &q.lcreate, func() (wire.Message, error) { return c.lcreate(&q.lcreate) })
	case wire.Tsetattr:
		return run(c, body, &q.setattr, func() (wire.Message, error) { return c.setattr(&q.setattr) })
	case wire.Treaddir:
		return run(c, body, &q.readdir, func() (wire.Message, error) { return c.readdir(h.Tag, &q.readdir) })
	case wire.Tfsync:
		return run(c, body, &q.fsync, func() (wire.Message, error) { return c.fsync(h.Tag, &q.fsync) })
	case wire.Txattrwalk:
		return run(c, body, &q.xattrwalk, func() (wire.Message, error) { return c.xattrwalk(&q.xattrwalk) })
	case wire.Txattrcreate:
		return run(c, body, &q.xattrcreate, func() (wire.Message, error) { return c.xattrcreate(&q.xattrcreate) })
	case wire.Tlock:
		return run(c, body, &q.lock, func() (wire.Message, error) { return c.lock(h.Tag, &q.lock) })
	case wire.Tgetlock:
		return run(c, body, &q.getlock, func() (wire.Message, error) { return c.getlock(&q.getlock) })
	case wire.Tflush:
		return run(c, body, &q.flush, func() (wire.Message, error) {
			c.flushRequest(h.Tag, q.flush.OldTag)
			return nil, errQueued
		})
	case wire.Tmkdir:
		return run(c, body, &q.mkdir, func() (wire.Message, error) { return c.mkdir(&q.mkdir) })
	case wire.Tsymlink:
		return run(c, body, &q.symlink, func() (wire.Message, error) { return c.symlink(&q.symlink) })
	case wire.Tmknod:
		return run(c, body, &q.mknod, func() (wire.Message, error) { return c.mknod(&q.mknod) })
	case wire.Tlink:
		return run(c, body, &q.link, func() (wire.Message, error) { return c.link(&q.link) })
	case wire.Tunlinkat:
		return run(c, body, &q.unlinkat, func() (wire.Message, error) { return c.unlinkat(&q.unlinkat) })
	case wire.Trenameat:
		return run(c, body, &q.renameat, func() (wire.Message, error) { return c.renameat(&q.renameat) })
	case wire.Trename:
		return run(c, body, &q.rename, func() (wire.Message, error) { return c.rename(&q.rename) })
	case wire.Tremove:
		return run(c, body, &q.remove, func() (wire.Message, error) { return c.remove(&q.remove) })
	case wire.Treadlink:
		return run(c, body, &q.readlink, func() (wire.Message, error) { return c.readlink(&q.readlink) })
	case wire.Tstatfs:
		return run(c, body, &q.statfs, func() (wire.Message, error) { return c.statfs(&q.statfs) })
	case wire.Tattach:
		return run(c, body, &q.attach, func() (wire.Message, error) { return c.attach(&q.attach) })
	case wire.Tversion:
		return run(c, body, &q.version, func() (wire.Message, error) { return c.version(&q.version) })
	case wire.Tseek:
		return run(c, body, &q.seek, func() (wire.Message, error) { return c.seek(&q.seek) })
	case wire.Tallocate:
		return run(c, body, &q.allocate, func() (wire.Message, error) { return c.allocate(h.Tag, &q.allocate) })
	case wire.Tcopy:
		return run(c, body, &q.copy, func() (wire.Message, error) { return c.copy(h.Tag, &q.copy) })
	case wire.Tauth:
		// diod's clients take ENOENT for "no authentication needed" and fail on ENOSYS.
		return run(c, body, &q.auth, func() (wire.Message, error) { return nil, linux.ENOENT })
	}
	// The errno on which a Linux client falls back to an older message.
	return nil, linux.EOPNOTSUPP
}

// run decodes body into m and calls handler, which does not escape.
func run(c *conn, body []byte, m wire.Message, handler func() (wire.Message, error)) (wire.Message, error) {
	if err := c.dec.Decode(body, m); err != nil {
		return nil, linux.EINVAL
	}
	return handler()
}
