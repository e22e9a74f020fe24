package client9p

import (
	"context"
	"encoding/binary"
	stderrors "errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"
)

// ErrClosed is in every error of a connection that is gone.
var ErrClosed = stderrors.New("the connection to the server is closed")

// ErrBusy says that all tags of a connection are in use.
var ErrBusy = stderrors.New("too many requests are in flight on one connection")

// Error is a request that the server refused.
type Error struct {
	Op    string // "walk", "open"
	Errno linux.Errno
}

func (e *Error) Error() string { return e.Op + ": " + e.Errno.Error() }

// Unwrap returns the linux.Errno.
func (e *Error) Unwrap() error { return e.Errno }

const (
	// DefaultMsize is what New asks for if it is told 0: data of 1 MiB is read in
	// one message where the server allows it.
	DefaultMsize = 1<<20 + 4096
	minMsize     = 4096
	// maxCalls leaves as many tags for flushes.
	maxCalls = 1 << 15
)

// Client is a connection to a 9P2000.L server. Its methods are safe for
// concurrent use.
type Client struct {
	conn  net.Conn
	msize uint32

	// sending is held by who writes a frame. A channel, so that a context can end
	// the wait for it.
	sending chan struct{}
	done    chan struct{} // closed when the reader has ended

	mu       sync.Mutex
	calls    map[uint16]*call // by tag
	nextTag  uint16
	freeFids []uint32
	nextFid  uint32
	err      error // why the connection is gone; nil: it is not
}

// call is one request in flight.
type call struct {
	typ uint8
	dst []byte // where the data of Rread goes
	// The answer. Written by the reader before ready is closed.
	body  []byte
	n     int // bytes in dst
	err   error
	ready chan struct{}
}

// Dial connects to a server and agrees on the protocol. network and addr are as
// in package net: "tcp" or "unix".
func Dial(ctx context.Context, network, addr string) (*Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, errors.WithStack(err)
	}
	return New(ctx, conn, 0)
}

// New agrees on 9P2000.L and the message size with the server at the other end of
// conn, which belongs to the Client from then on, also if New fails. msize is the
// largest message in bytes, 0 for DefaultMsize.
func New(ctx context.Context, conn net.Conn, msize uint32) (*Client, error) {
	if msize == 0 {
		msize = DefaultMsize
	}
	c := &Client{
		conn: conn, msize: max(msize, minMsize), sending: make(chan struct{}, 1), done: make(chan struct{}),
		calls: make(map[uint16]*call),
	}
	go c.read()
	if err := c.version(ctx); err != nil {
		_ = c.Close() // the error to tell is that of the agreement
		return nil, err
	}
	return c, nil
}

func (c *Client) version(ctx context.Context) error {
	var e encoder
	e.u32(c.msize)
	e.str("9P2000.L")
	// The context cannot be turned into a flush before there is an agreement: it
	// closes the connection instead.
	stop := context.AfterFunc(ctx, func() { _ = c.conn.Close() })
	defer stop()
	cl, err := c.send(ctx, msgTversion, noTag, &e, nil, nil)
	if err != nil {
		return err
	}
	<-cl.ready
	if cl.err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return cl.err
	}
	d := decoder{b: cl.body}
	msize, version := d.u32(), d.str()
	switch {
	case d.err != nil:
		return errors.Wrap(d.err, "answer to version")
	case version != "9P2000.L":
		return errors.Errorf("the server answers with protocol %q; this client needs 9P2000.L", version)
	case msize < minMsize || msize > c.msize:
		return errors.Errorf("the server wants messages of %d bytes; from %d to %d were possible", msize, minMsize, c.msize)
	}
	c.mu.Lock()
	c.msize = msize
	c.mu.Unlock()
	return nil
}

// Msize returns the message size that was agreed on, in bytes.
func (c *Client) Msize() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int(c.msize)
}

// maxIO is the number of bytes that fit in one Rread or Twrite.
func (c *Client) maxIO() int { return c.Msize() - ioHeader }

// Close ends the connection and waits for the reader. Calls in flight get
// ErrClosed. It may be called again.
func (c *Client) Close() error {
	c.fail(ErrClosed)
	err := c.conn.Close()
	<-c.done
	if err != nil && !stderrors.Is(err, net.ErrClosed) {
		return errors.Wrap(err, "close the connection")
	}
	return nil
}

// fail notes why the connection is gone; the first reason stays.
func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

// read is the reader goroutine.
func (c *Client) read() {
	defer close(c.done)
	var err error
	for err == nil {
		err = c.readFrame()
	}
	c.fail(fmt.Errorf("%w: %w", ErrClosed, err))
	_ = c.conn.Close() // a broken stream is of no use to anyone
	c.mu.Lock()
	why := c.err
	calls := c.calls
	c.calls = nil
	c.mu.Unlock()
	for _, cl := range calls {
		cl.err = why
		close(cl.ready)
	}
}

// readFrame reads one message and hands it to its call. An error ends the
// connection.
func (c *Client) readFrame() error {
	var h [headerSize]byte
	if _, err := io.ReadFull(c.conn, h[:]); err != nil {
		return errors.WithStack(err)
	}
	size, typ, tag := binary.LittleEndian.Uint32(h[:]), h[4], binary.LittleEndian.Uint16(h[5:])
	if size < headerSize || int64(size) > int64(c.Msize()) {
		return errors.Errorf("the server sent a message of %d bytes", size)
	}
	n := int(size) - headerSize
	c.mu.Lock()
	cl := c.calls[tag]
	c.mu.Unlock()
	if cl == nil {
		return errors.Errorf("the server answered tag %d, which asks for nothing", tag)
	}
	switch {
	case typ == cl.typ+1 && typ == msgTread+1:
		if err := c.readData(cl, n); err != nil {
			return err
		}
	case typ == cl.typ+1, typ == msgRlerror:
		cl.body = make([]byte, n)
		if _, err := io.ReadFull(c.conn, cl.body); err != nil {
			return errors.WithStack(err)
		}
		if typ == msgRlerror {
			d := decoder{b: cl.body}
			cl.err = &Error{Op: msgNames[cl.typ], Errno: linux.Errno(d.u32())}
			if d.err != nil {
				return errors.Wrap(d.err, "error message of the server")
			}
		}
	default:
		return errors.Errorf("the server answered %s with message type %d", msgNames[cl.typ], typ)
	}
	c.mu.Lock()
	delete(c.calls, tag)
	c.mu.Unlock()
	close(cl.ready)
	return nil
}

// readData reads the n bytes of an Rread into the slice of the call.
func (c *Client) readData(cl *call, n int) error {
	var count [4]byte
	if n < len(count) {
		return errors.WithStack(errShort)
	}
	if _, err := io.ReadFull(c.conn, count[:]); err != nil {
		return errors.WithStack(err)
	}
	cl.n = int(binary.LittleEndian.Uint32(count[:]))
	if cl.n != n-len(count) || cl.n > len(cl.dst) {
		return errors.Errorf("the server answered a read of %d bytes with %d", len(cl.dst), cl.n)
	}
	_, err := io.ReadFull(c.conn, cl.dst[:cl.n])
	return errors.WithStack(err)
}

// send registers a call and writes its message: the body e and then data, which
// is not copied. tag is noTag for Tversion; any other value is ignored, and a free
// one is taken.
func (c *Client) send(ctx context.Context, typ uint8, tag uint16, e *encoder, data, dst []byte) (*call, error) {
	cl, _, err := c.sendTag(ctx, typ, tag == noTag, e, data, dst)
	return cl, err
}

func (c *Client) sendTag(ctx context.Context, typ uint8, versionTag bool, e *encoder, data, dst []byte) (*call, uint16, error) {
	if e.err != nil {
		return nil, 0, &Error{Op: msgNames[typ], Errno: linux.ENAMETOOLONG}
	}
	size := headerSize + len(e.b) + len(data)
	if size > c.Msize() {
		return nil, 0, &Error{Op: msgNames[typ], Errno: linux.EMSGSIZE}
	}
	select {
	case c.sending <- struct{}{}:
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	defer func() { <-c.sending }()

	cl := &call{typ: typ, dst: dst, ready: make(chan struct{})}
	tag, err := c.register(cl, versionTag)
	if err != nil {
		return nil, 0, err
	}
	frame := make([]byte, headerSize, headerSize+len(e.b))
	binary.LittleEndian.PutUint32(frame, uint32(size))
	frame[4] = typ
	binary.LittleEndian.PutUint16(frame[5:], tag)
	bufs := net.Buffers{append(frame, e.b...)}
	if len(data) > 0 {
		bufs = append(bufs, data)
	}
	if _, err := bufs.WriteTo(c.conn); err != nil {
		// Half a frame may be out. The reader ends the call with this reason.
		c.fail(fmt.Errorf("%w: %w", ErrClosed, errors.WithStack(err)))
		_ = c.conn.Close()
	}
	return cl, tag, nil
}

// register gives the call a tag.
func (c *Client) register(cl *call, versionTag bool) (uint16, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.calls == nil {
		return 0, c.err
	}
	if versionTag {
		c.calls[noTag] = cl
		return noTag, nil
	}
	if len(c.calls) >= maxCalls && cl.typ != msgTflush {
		return 0, ErrBusy
	}
	for {
		tag := c.nextTag
		c.nextTag++
		if tag == noTag {
			continue
		}
		if _, used := c.calls[tag]; !used {
			c.calls[tag] = cl
			return tag, nil
		}
	}
}

// do sends one request and waits for its answer; see the package comment for
// what the end of ctx does.
func (c *Client) do(ctx context.Context, typ uint8, e *encoder, data, dst []byte) (*call, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cl, tag, err := c.sendTag(ctx, typ, false, e, data, dst)
	if err != nil {
		return nil, err
	}
	select {
	case <-cl.ready:
	case <-ctx.Done():
		if !c.flush(cl, tag) {
			return nil, ctx.Err()
		}
	}
	if cl.err != nil {
		return nil, cl.err
	}
	return cl, nil
}

// flush cancels a call and says whether its answer came all the same.
func (c *Client) flush(cl *call, tag uint16) (answered bool) {
	var e encoder
	e.u16(tag)
	// Without a context: the tag, and the caller's slice, are free only after Rflush.
	fl, _, err := c.sendTag(context.Background(), msgTflush, false, &e, nil, nil)
	if err != nil {
		<-cl.ready // the connection is gone: the reader ends the call
		return true
	}
	<-fl.ready
	select {
	case <-cl.ready:
		return true
	default:
	}
	if fl.err != nil {
		// The server refused a flush, which it must not: nothing more can be relied on.
		c.fail(fmt.Errorf("%w: %w", ErrClosed, fl.err))
		_ = c.conn.Close()
		<-cl.ready
		return true
	}
	c.mu.Lock()
	delete(c.calls, tag)
	c.mu.Unlock()
	return false
}

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
