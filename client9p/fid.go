package client9p

import (
	"context"
	"io"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/pkg/errors"
)

// Fid is a file of the server. It is used until Clunk, which must be called once.
type Fid struct {
	c    *Client
	fid  uint32
	qid  p9.QID
	unit int // iounit of an open file; 0: as the message size allows
}

// QID returns what the server said when the fid was made or opened.
func (f *Fid) QID() p9.QID { return f.qid }

// make runs a request that gives a new fid. If it fails the number is free again.
func (c *Client) makeFid(ctx context.Context, typ uint8, build func(e *encoder, fid uint32)) (*Fid, *decoder, error) {
	f := &Fid{c: c, fid: c.takeFid()}
	var e encoder
	build(&e, f.fid)
	cl, err := c.do(ctx, typ, &e, nil, nil)
	if err != nil {
		c.giveFid(f.fid)
		return nil, nil, err
	}
	return f, &decoder{b: cl.body}, nil
}

// Attach returns the root of the tree that aname names ("": the archive, "ctl": the
// control tree), for the user uid called uname.
func (c *Client) Attach(ctx context.Context, uname string, uid uint32, aname string) (*Fid, error) {
	f, d, err := c.makeFid(ctx, msgTattach, func(e *encoder, fid uint32) {
		e.u32(fid)
		e.u32(noFid)
		e.str(uname)
		e.str(aname)
		e.u32(uid)
	})
	if err != nil {
		return nil, err
	}
	f.qid = d.qid()
	return f, errors.Wrap(d.err, "answer to attach")
}

// Walk returns the file that names lead to from f; without names, f again. It is
// all or nothing: ENOENT if any name is missing.
func (f *Fid) Walk(ctx context.Context, names ...string) (*Fid, error) {
	from := f
	for {
		step := names[:min(len(names), maxWalk)]
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
	next, d, err := f.c.makeFid(ctx, msgTwalk, func(e *encoder, fid uint32) {
		e.u32(f.fid)
		e.u32(fid)
		e.u16(uint16(len(names)))
		for _, name := range names {
			e.str(name)
		}
	})
	if err != nil {
		return nil, err
	}
	n := int(d.u16())
	next.qid = f.qid
	for range n {
		next.qid = d.qid()
	}
	if d.err != nil || n > len(names) {
		return nil, errors.Wrap(errShort, "answer to walk")
	}
	if n < len(names) {
		// A walk that stops on the way has made no fid.
		f.c.giveFid(next.fid)
		return nil, &Error{Op: "walk", Errno: linux.ENOENT}
	}
	return next, nil
}

// Open opens the file with Linux open flags.
func (f *Fid) Open(ctx context.Context, flags p9.OpenFlags) error {
	var e encoder
	e.u32(f.fid)
	e.u32(uint32(flags))
	cl, err := f.c.do(ctx, msgTlopen, &e, nil, nil)
	if err != nil {
		return err
	}
	d := decoder{b: cl.body}
	f.qid = d.qid()
	f.unit = int(min(d.u32(), 1<<30))
	return errors.Wrap(d.err, "answer to open")
}

// ioSize is how much of n bytes goes into one message.
func (f *Fid) ioSize(n int) int {
	n = min(n, f.c.maxIO())
	if f.unit > 0 {
		n = min(n, f.unit)
	}
	return n
}

// Read reads at most len(p) bytes at off with one request. A short answer is no
// end of file; 0 bytes of a non-empty p are, and io.EOF.
func (f *Fid) Read(ctx context.Context, p []byte, off uint64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	p = p[:f.ioSize(len(p))]
	var e encoder
	e.u32(f.fid)
	e.u64(off)
	e.u32(uint32(len(p)))
	cl, err := f.c.do(ctx, msgTread, &e, nil, p)
	if err != nil {
		return 0, err
	}
	if cl.n == 0 {
		return 0, io.EOF
	}
	return cl.n, nil
}

// ReadAll reads the file from the start to its end, but no more than limit bytes.
func (f *Fid) ReadAll(ctx context.Context, limit int) ([]byte, error) {
	var all []byte
	buf := make([]byte, min(f.c.maxIO(), 64<<10))
	for {
		n, err := f.Read(ctx, buf, uint64(len(all)))
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if all = append(all, buf[:n]...); len(all) > limit {
			return nil, errors.Errorf("the server's answer is larger than %d bytes", limit)
		}
	}
}

// Write writes a part of p at off with one request and returns how much.
func (f *Fid) Write(ctx context.Context, p []byte, off uint64) (int, error) {
	p = p[:f.ioSize(len(p))]
	var e encoder
	e.u32(f.fid)
	e.u64(off)
	e.u32(uint32(len(p)))
	cl, err := f.c.do(ctx, msgTwrite, &e, p, nil)
	if err != nil {
		return 0, err
	}
	d := decoder{b: cl.body}
	n := d.u32()
	if d.err != nil || int64(n) > int64(len(p)) {
		return 0, errors.Errorf("the server answered a write of %d bytes with %d", len(p), n)
	}
	return int(n), nil
}

// Readdir returns the entries after the cookie off that fit in one message; none
// at the end of the directory. The Offset of the last is the next off.
func (f *Fid) Readdir(ctx context.Context, off uint64) ([]p9.Dirent, error) {
	var e encoder
	e.u32(f.fid)
	e.u64(off)
	e.u32(uint32(f.ioSize(128 << 10)))
	cl, err := f.c.do(ctx, msgTreaddir, &e, nil, nil)
	if err != nil {
		return nil, err
	}
	d := decoder{b: cl.body}
	if n := d.u32(); d.err == nil && int64(n) != int64(len(d.b)) {
		return nil, errors.Errorf("the server announced %d bytes of a directory and sent %d", n, len(d.b))
	}
	list := d.dirents()
	return list, errors.Wrap(d.err, "answer to readdir")
}

// Getattr returns the attributes.
func (f *Fid) Getattr(ctx context.Context) (p9.QID, p9.Attr, error) {
	var e encoder
	e.u32(f.fid)
	e.u64(getattrAll)
	cl, err := f.c.do(ctx, msgTgetattr, &e, nil, nil)
	if err != nil {
		return p9.QID{}, p9.Attr{}, err
	}
	d := decoder{b: cl.body}
	q, a := d.attr()
	return q, a, errors.Wrap(d.err, "answer to getattr")
}

// Statfs returns the sizes of the file system.
func (f *Fid) Statfs(ctx context.Context) (p9.FSStat, error) {
	var e encoder
	e.u32(f.fid)
	cl, err := f.c.do(ctx, msgTstatfs, &e, nil, nil)
	if err != nil {
		return p9.FSStat{}, err
	}
	d := decoder{b: cl.body}
	s := d.statfs()
	return s, errors.Wrap(d.err, "answer to statfs")
}

// Readlink returns the target of a symbolic link.
func (f *Fid) Readlink(ctx context.Context) (string, error) {
	var e encoder
	e.u32(f.fid)
	cl, err := f.c.do(ctx, msgTreadlink, &e, nil, nil)
	if err != nil {
		return "", err
	}
	d := decoder{b: cl.body}
	s := d.str()
	return s, errors.Wrap(d.err, "answer to readlink")
}

// maxXattr is the largest attribute that Linux knows.
const maxXattr = 64 << 10

// Xattr returns the value of an extended attribute; with name "" the list of
// names, each followed by a NUL. An attribute that is not there is ENODATA.
func (f *Fid) Xattr(ctx context.Context, name string) ([]byte, error) {
	x, d, err := f.c.makeFid(ctx, msgTxattr, func(e *encoder, fid uint32) {
		e.u32(f.fid)
		e.u32(fid)
		e.str(name)
	})
	if err != nil {
		return nil, err
	}
	size := d.u64()
	if d.err != nil {
		return nil, errors.Wrap(d.err, "answer to xattrwalk")
	}
	var value []byte
	if size > 0 {
		value, err = x.ReadAll(ctx, maxXattr)
	}
	if cerr := x.Clunk(context.WithoutCancel(ctx)); err == nil {
		err = cerr
	}
	return value, err
}

// Clunk gives the file back to the server. The Fid must not be used afterwards,
// whatever the answer.
func (f *Fid) Clunk(ctx context.Context) error {
	var e encoder
	e.u32(f.fid)
	_, err := f.c.do(ctx, msgTclunk, &e, nil, nil)
	if ctx.Err() == nil {
		// The server has forgotten the fid even if it told an error. After a flush
		// nobody knows, and the number is not used again.
		f.c.giveFid(f.fid)
	}
	return err
}
