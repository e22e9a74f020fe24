package client9p

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/hugelgupf/p9/linux"

	"sliod/server/wire"
)

// call is one request in flight. Its owner is the goroutine of the caller, but
// for the writer while the call is queued and the reader while it has the tag.
type call struct {
	typ   wire.Type
	tag   uint16
	codec wire.Codec
	frame []byte // the message, or its head
	data  []byte // of Twrite: follows frame, not copied
	dst   []byte // where the data of Rread and Rreaddir goes
	sent  bool   // out, or on its way; guarded by Client.mu

	flushing bool // a Tflush names its tag; guarded by Client.mu

	forgets bool // a Tclunk of fid that nobody waits for
	fid     uint32

	// Of a call whose caller waits for ready; guarded by Client.mu. See waiting.go.
	waits      bool
	leads      bool // ready has told that the caller is to take in what comes
	prev, next *call

	// The answer, told by ready.
	body  []byte
	n     int // bytes in dst
	err   error
	ready chan struct{} // capacity 1
}

var callPool = sync.Pool{New: func() any { return &call{ready: make(chan struct{}, 1)} }}

// maxKept is the size of the buffers that a call in the pool may hold.
const maxKept = 64 << 10

// free gives a call back whose answer has been taken.
func (cl *call) free() {
	cl.data, cl.dst, cl.err, cl.n, cl.sent, cl.forgets, cl.flushing = nil, nil, nil, 0, false, false, false
	if cap(cl.body) > maxKept || cap(cl.frame) > maxKept {
		cl.body, cl.frame = nil, nil
	}
	callPool.Put(cl)
}

// isCall says whether a caller made the request, and not the Client for itself.
func (cl *call) isCall() bool { return cl.typ != wire.Tflush && !cl.forgets }

// countLocked counts the call in (1) or out (-1).
func (c *Client) countLocked(cl *call, by int) {
	if cl.isCall() {
		c.inflight += by
	}
	if !cl.forgets {
		c.due += by
	}
	if len(cl.dst) >= largeRead {
		c.large.Add(int32(by))
	}
}

// start queues a request, which push sends. After it, finish must be called once. dst, of a Tread or
// Treaddir, belongs to the client until then.
func (c *Client) start(req wire.Message, dst []byte) (*call, error) {
	if !fits(req) {
		return nil, &Error{Op: opName(req.Type()), Errno: linux.ENAMETOOLONG}
	}
	cl := callPool.Get().(*call)
	cl.typ, cl.dst = req.Type(), dst
	return c.register(cl, func() []byte { return cl.codec.Append(cl.frame[:0], cl.tag, req) })
}

// startWrite is start for a Twrite of data, which belongs to the client until
// finish.
func (c *Client) startWrite(fid uint32, off uint64, data []byte) (*call, error) {
	cl := callPool.Get().(*call)
	cl.typ, cl.data = wire.Twrite, data
	return c.register(cl, func() []byte { return wire.AppendTwrite(cl.frame[:0], cl.tag, fid, off, len(data)) })
}

// register gives the call a tag and queues the message, whose head is made by
// encode.
func (c *Client) register(cl *call, encode func() []byte) (*call, error) {
	c.mu.Lock()
	err := c.registerLocked(cl, encode)
	c.mu.Unlock()
	if err != nil {
		cl.free()
		return nil, err
	}
	return cl, nil
}

func (c *Client) registerLocked(cl *call, encode func() []byte) error {
	if err := c.takeTag(cl); err != nil {
		return err
	}
	cl.frame = encode()
	if len(cl.frame)+len(cl.data) > int(c.msize) {
		c.freeTags = append(c.freeTags, cl.tag)
		return &Error{Op: opName(cl.typ), Errno: linux.EMSGSIZE}
	}
	c.calls[cl.tag] = cl
	c.countLocked(cl, 1)
	c.queue = append(c.queue, cl)
	return nil
}

// takeTag finds a free tag. c.mu is held.
func (c *Client) takeTag(cl *call) error {
	n := len(c.freeTags)
	switch {
	case c.err != nil:
		return c.err
	case cl.isCall() && c.inflight >= maxCalls:
		return ErrBusy
	case n > 0:
		cl.tag, c.freeTags = c.freeTags[n-1], c.freeTags[:n-1]
	case len(c.calls) < maxTags:
		cl.tag = uint16(len(c.calls))
		c.calls = append(c.calls, nil)
	default:
		return ErrBusy
	}
	return nil
}

// fits says whether the strings of a message fit their length fields.
func fits(req wire.Message) bool {
	ok := func(bs ...[]byte) bool {
		for _, b := range bs {
			if len(b) > math.MaxUint16 {
				return false
			}
		}
		return true
	}
	switch m := req.(type) {
	case *wire.MsgTattach:
		return ok(m.Uname, m.Aname)
	case *wire.MsgTwalk:
		return ok(m.Names[:m.N]...)
	case *wire.MsgTlcreate:
		return ok(m.Name)
	case *wire.MsgTsymlink:
		return ok(m.Name, m.Target)
	case *wire.MsgTmknod:
		return ok(m.Name)
	case *wire.MsgTmkdir:
		return ok(m.Name)
	case *wire.MsgTlink:
		return ok(m.Name)
	case *wire.MsgTrenameat:
		return ok(m.OldName, m.NewName)
	case *wire.MsgTunlinkat:
		return ok(m.Name)
	case *wire.MsgTxattrwalk:
		return ok(m.Name)
	case *wire.MsgTxattrcreate:
		return ok(m.Name)
	case *wire.MsgTlock:
		return ok(m.ClientID)
	case *wire.MsgTgetlock:
		return ok(m.ClientID)
	}
	return true
}

// release takes an answered or flushed call's tag back. It is free at once, but for that of
// a call that is being flushed: the flush would hit another call.
func (c *Client) release(cl *call) {
	c.mu.Lock()
	c.unlistLocked(cl)
	if c.calls != nil && c.calls[cl.tag] == cl {
		c.calls[cl.tag] = nil
		if !cl.flushing {
			c.freeTags = append(c.freeTags, cl.tag)
		}
		c.countLocked(cl, -1)
	}
	c.mu.Unlock()
}

// Doubtful is a context whose end may be a false alarm: an interrupt of the kernel,
// say, that comes with any signal.
type Doubtful interface {
	context.Context
	// Confirm is called when Done is closed and a request is in flight. It returns
	// false when it has received from answered, true if the request is to be given up.
	Confirm(answered <-chan struct{}) bool
}

// exchange sends what is queued, and reads the answer to the last of the caller's calls if
// it comes soon.
func (c *Client) exchange(last *call) {
	c.push()
	c.readOwn(last)
}

// finish waits for the answer of a call; see the package comment for what the end
// of ctx does. rep, which may be nil, takes the answer; []byte fields of it are the
// caller's. n is the number of bytes in dst.
func (c *Client) finish(ctx context.Context, cl *call, rep wire.Message) (n int, err error) {
	if !c.wait(ctx, cl) && !c.flush(cl) {
		cl.free()
		return 0, cancelled(ctx)
	}
	defer cl.free()
	if cl.err != nil {
		return 0, cl.err
	}
	if rep != nil {
		if err := cl.codec.Decode(cl.body, rep); err != nil {
			err = fmt.Errorf("%w: answer to %s: %w", ErrClosed, opName(cl.typ), err)
			c.fail(err)
			return 0, err
		}
		if cl.typ == wire.Treadlink || cl.typ == wire.Tgetlock {
			cl.body = nil // rep has views of it
		}
	}
	return cl.n, nil
}

// cancelled is why a call was given up.
func cancelled(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return context.Canceled
}

// do sends one request and waits for its answer.
func (c *Client) do(ctx context.Context, req, rep wire.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	cl, err := c.start(req, nil)
	if err != nil {
		return err
	}
	c.exchange(cl)
	_, err = c.finish(ctx, cl, rep)
	return err
}

// step is one of several requests that are sent together.
type step struct {
	req, rep wire.Message
	err      error
}

// together sends requests of which each may need what the one before does, and waits
// for all answers. A server that knows the extension serves the requests of a connection
// in order, so they go out at once; to another, each goes when the one before has
// succeeded, and those after one that failed have its error.
func (c *Client) together(ctx context.Context, steps ...*step) {
	if !c.extended {
		var err error
		for _, s := range steps {
			if err == nil {
				err = c.do(ctx, s.req, s.rep)
			}
			s.err = err
		}
		return
	}
	err := ctx.Err()
	calls := make([]*call, len(steps))
	for i, s := range steps {
		if err == nil {
			calls[i], err = c.start(s.req, nil)
		}
		s.err = err
	}
	for i := len(calls) - 1; i >= 0; i-- {
		if calls[i] != nil {
			c.exchange(calls[i])
			break
		}
	}
	for i, s := range steps {
		if calls[i] != nil {
			_, s.err = c.finish(ctx, calls[i], s.rep)
		}
	}
}

// flush cancels a call and says whether its answer came all the same, which then
// has been taken from ready.
func (c *Client) flush(cl *call) (answered bool) {
	// Without a context: the tag, and the caller's slice, are free only after Rflush.
	fl := callPool.Get().(*call)
	fl.typ, fl.dst = wire.Tflush, nil
	c.mu.Lock()
	var err error
	if answered = c.calls == nil || c.calls[cl.tag] != cl; !answered {
		if err = c.registerLocked(fl, func() []byte { return fl.codec.Append(fl.frame[:0], fl.tag, &wire.MsgTflush{OldTag: cl.tag}) }); err == nil {
			cl.flushing = true
		}
	}
	c.mu.Unlock()
	if answered || err != nil {
		fl.free()
		if err == ErrBusy { // no tag for a flush: as many flushes as calls are under way
			c.fail(fmt.Errorf("%w: %w", ErrClosed, err))
		}
		<-cl.ready // it has been answered, or the connection is gone, which ends the call
		return true
	}
	c.push()
	c.wakeReader()
	<-fl.ready
	ferr := fl.err
	fl.free()
	c.mu.Lock()
	cl.flushing = false
	if answered = c.calls == nil || c.calls[cl.tag] != cl; answered {
		c.freeTags = append(c.freeTags, cl.tag)
	}
	c.mu.Unlock()
	switch {
	case answered:
		<-cl.ready
	case ferr != nil:
		// The server refused a flush, which it must not: nothing more can be relied on.
		c.fail(fmt.Errorf("%w: %w", ErrClosed, ferr))
		<-cl.ready
		return true
	default:
		c.release(cl)
	}
	return answered
}
