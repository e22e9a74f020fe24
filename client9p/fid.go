package client9p

import (
	"context"

	"github.com/hugelgupf/p9/p9"

	"sliod/server/wire"
)

// Fid is a file of the server. It is used until Clunk, which must be called once.
type Fid struct {
	c      *Client
	fid    uint32
	qid    p9.QID
	unit   int  // iounit of an open file; 0: as the message size allows
	append bool // opened with O_APPEND
}

// QID returns what the server said when the fid was made or opened.
func (f *Fid) QID() p9.QID { return f.qid }

// Client returns the connection that the fid belongs to.
func (f *Fid) Client() *Client { return f.c }

func (c *Client) takeFid() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.freeFids); n > 0 {
		f := c.freeFids[n-1]
		c.freeFids = c.freeFids[:n-1]
		return f
	}
	c.nextFid++
	return c.nextFid
}

func (c *Client) giveFid(f uint32) {
	c.mu.Lock()
	c.freeFids = append(c.freeFids, f)
	c.mu.Unlock()
}

// Attach returns the root of the tree that aname names ("": the archive, "ctl": the
// control tree), for the user uid called uname.
func (c *Client) Attach(ctx context.Context, uname string, uid uint32, aname string) (*Fid, error) {
	f := &Fid{c: c, fid: c.takeFid()}
	var r wire.MsgRattach
	err := c.do(ctx, &wire.MsgTattach{Fid: f.fid, Afid: wire.NoFid, Uname: []byte(uname), Aname: []byte(aname), NUname: uid}, &r)
	if err != nil {
		c.giveFid(f.fid)
		return nil, err
	}
	f.qid = r.QID
	return f, nil
}

// Walk returns the file that names lead to from f; without names, f again. It is
// all or nothing: ENOENT if any name is missing.
func (f *Fid) Walk(ctx context.Context, names ...string) (*Fid, error) {
	from := f
	for {
		step := names[:min(len(names), wire.MaxWalk)]
		names = names[len(step):]
		next, err := from.walk(ctx, step)
		if from != f {
			// The fid between two steps; if it cannot be clunked, the connection is gone.
			_ = from.Clunk(context.WithoutCancel(ctx))
		}
		if err != nil || len(names) == 0 {
			return next, err
		}
		from = next
	}
}

func (f *Fid) walk(ctx context.Context, names []string) (*Fid, error) {
	next, s, r := f.walking(names...)
	s.err = f.c.do(ctx, s.req, s.rep)
	if err := f.walked(next, s, r); err != nil {
		return nil, err // a walk that stops on the way has made no fid
	}
	return next, nil
}

// Open opens the file with Linux open flags.
func (f *Fid) Open(ctx context.Context, flags p9.OpenFlags) error {
	var r wire.MsgRlopen
	if err := f.c.do(ctx, &wire.MsgTlopen{Fid: f.fid, Flags: flags}, &r); err != nil {
		return err
	}
	f.opened(r.QID, r.IOUnit, flags)
	return nil
}

func (f *Fid) opened(q p9.QID, unit uint32, flags p9.OpenFlags) {
	f.qid, f.unit, f.append = q, int(min(unit, 1<<30)), flags&linuxAppend != 0
}

// linuxAppend is O_APPEND of open(2).
const linuxAppend = 0o2000

// Clunk gives the file back to the server. The Fid must not be used afterwards,
// whatever the answer.
func (f *Fid) Clunk(ctx context.Context) error {
	err := f.c.do(ctx, &wire.MsgTclunk{Fid: f.fid}, &wire.MsgRclunk{})
	if ctx.Err() == nil {
		// The server has forgotten the fid even if it told an error. After a flush
		// nobody knows, and the number is not used again.
		f.c.giveFid(f.fid)
	}
	return err
}
