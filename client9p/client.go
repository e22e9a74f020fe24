package client9p

import (
	"bufio"
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"sliod/server/wire"
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

// opNames are the operations whose messages have a name that people do not use.
var opNames = map[wire.Type]string{
	wire.Tlopen: "open", wire.Tlcreate: "create", wire.Trenameat: "rename", wire.Tunlinkat: "unlink",
}

// opName names a request for people.
func opName(t wire.Type) string {
	if s, ok := opNames[t]; ok {
		return s
	}
	return strings.TrimPrefix(t.String(), "T")
}

const (
	// DefaultMsize is what New asks for if it is told 0: data of 1 MiB is read in
	// one message where the server allows it.
	DefaultMsize = 1<<20 + 4096
	minMsize     = 4096
	// maxTags is the number of tags; as many again must not be open for flushes, so
	// calls get half of them.
	maxTags  = wire.NoTag
	maxCalls = maxTags / 2
	// readBuffer takes in small answers several at a time; file data goes past it.
	readBuffer = 64 << 10
	// sendBuffer is asked for on a unix socket, where the kernel takes a fifth of a large
	// write by default.
	sendBuffer = 512 << 10
)

// Client is a connection to a 9P2000.L server. Its methods are safe for
// concurrent use.
type Client struct {
	conn  net.Conn
	msize uint32 // changed only before New returns
	// extended: the server knows the extension; as msize.
	extended bool
	done     chan struct{} // closed when both goroutines have ended
	wake     chan struct{} // capacity 1: something is queued, or the connection is gone

	// sock sends without waiting; nil: conn is no socket of the system.
	sock   syscall.RawConn
	sendFn func(fd uintptr) bool

	// The owner's who has set writing.
	batch []*call
	small []byte      // heads and small data of batch
	space net.Buffers // the whole of bufs
	bufs  net.Buffers // what of batch has not been sent
	sent  bool        // all of it has

	mu       sync.Mutex
	queue    []*call   // to be written, in order
	writing  bool      // batch is being sent
	pushing  bool      // by a caller, not by the writer
	handoff  bool      // the writer shall send the rest
	pushed   sync.Cond // pushing ended
	calls    []*call   // in flight, by tag; nil: the tag is free, or kept by a flush
	inflight int       // calls, flushes apart
	freeTags []uint16
	freeFids []uint32
	nextFid  uint32
	err      error // why the connection is gone; nil: it is not
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
	c := &Client{conn: conn, msize: max(msize, minMsize), done: make(chan struct{}), wake: make(chan struct{}, 1)}
	c.pushed.L, c.sendFn = &c.mu, c.sendNow
	switch s := conn.(type) {
	case *net.UnixConn:
		_ = s.SetWriteBuffer(sendBuffer) // it works with any size
		c.sock, _ = s.SyscallConn()      // it works without
	case *net.TCPConn:
		c.sock, _ = s.SyscallConn()
	}
	if err := c.version(ctx); err != nil {
		_ = conn.Close() // the error to tell is that of the agreement
		return nil, err
	}
	var wg sync.WaitGroup
	wg.Add(2)
	go func() { defer wg.Done(); c.read() }()
	go func() { defer wg.Done(); c.write() }()
	go func() { wg.Wait(); c.endCalls(); close(c.done) }()
	return c, nil
}

// version is the first exchange, before there are goroutines. It cannot be
// flushed: the end of ctx closes the connection.
func (c *Client) version(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.Close() })
	defer stop()
	msize, version, err := c.agree(wire.ExtendedVersion)
	var refused *Error
	if err == nil && version == unknownVersion || stderrors.As(err, &refused) {
		// A server that does not see that the version begins with one that it knows.
		msize, version, err = c.agree(wire.Version)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return err
	case version != wire.Version && version != wire.ExtendedVersion:
		return errors.Errorf("the server answers with protocol %q; this client needs %s", version, wire.Version)
	case msize < minMsize || msize > c.msize:
		return errors.Errorf("the server wants messages of %d bytes; from %d to %d were possible", msize, minMsize, c.msize)
	}
	c.msize, c.extended = msize, version == wire.ExtendedVersion
	return nil
}

// unknownVersion is the answer of a server that does not know the protocol.
const unknownVersion = "unknown"

// agree asks for one protocol.
func (c *Client) agree(ask string) (msize uint32, version string, err error) {
	var codec wire.Codec
	frame := codec.Append(nil, wire.NoTag, &wire.MsgTversion{Msize: c.msize, Version: []byte(ask)})
	if _, err := c.conn.Write(frame); err != nil {
		return 0, "", fmt.Errorf("%w: %w", ErrClosed, errors.WithStack(err))
	}
	head := make([]byte, wire.HeaderSize)
	if _, err := io.ReadFull(c.conn, head); err != nil {
		return 0, "", fmt.Errorf("%w: %w", ErrClosed, errors.WithStack(err))
	}
	h := wire.ParseHeader(head)
	if h.Size < wire.HeaderSize || h.Size > minMsize || h.Tag != wire.NoTag {
		return 0, "", fmt.Errorf("%w: the answer to version is no 9P message", ErrClosed)
	}
	body := make([]byte, h.Size-wire.HeaderSize)
	if _, err := io.ReadFull(c.conn, body); err != nil {
		return 0, "", fmt.Errorf("%w: %w", ErrClosed, errors.WithStack(err))
	}
	switch h.Type {
	case wire.Rversion:
		var m wire.MsgRversion
		if err := codec.Decode(body, &m); err != nil {
			return 0, "", errors.Wrap(err, "answer to version")
		}
		return m.Msize, string(m.Version), nil
	case wire.Rlerror:
		var m wire.MsgRlerror
		if err := codec.Decode(body, &m); err != nil {
			return 0, "", errors.Wrap(err, "answer to version")
		}
		return 0, "", &Error{Op: opName(wire.Tversion), Errno: linux.Errno(m.Errno)}
	}
	return 0, "", errors.Errorf("the server answers version with message type %v", h.Type)
}

// Msize returns the message size that was agreed on, in bytes.
func (c *Client) Msize() int { return int(c.msize) }

// maxIO is the number of bytes that fit in one Rread or Twrite.
func (c *Client) maxIO() int { return c.Msize() - wire.WriteOverhead }

// Done is closed when the connection is gone and no call is in flight any more.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the connection is gone, nil if it is not.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection and waits for its goroutines. Calls in flight get
// ErrClosed. It may be called again.
func (c *Client) Close() error {
	c.fail(ErrClosed)
	<-c.done
	return nil
}

// fail ends the connection; the first reason stays.
func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	_ = c.conn.Close() // a connection that failed is of no use to anyone
	c.wakeWriter()
}

func (c *Client) wakeWriter() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// endCalls tells every call in flight that the connection is gone. Both
// goroutines have ended, so nobody touches the callers' slices any more, once no caller
// sends.
func (c *Client) endCalls() {
	c.mu.Lock()
	for c.pushing {
		c.pushed.Wait()
	}
	why := c.err
	calls := c.calls
	c.calls, c.queue = nil, nil
	c.mu.Unlock()
	for _, cl := range calls {
		if cl != nil {
			cl.err = why
			cl.ready <- struct{}{}
		}
	}
}

// coalesce is up to which size frames are copied together; what is larger goes
// to writev from where it lies.
const coalesce = 4 << 10

// push sends what is queued as far as the socket takes it at once; the writer gets the
// rest. That a caller does so itself saves a switch to another goroutine.
func (c *Client) push() {
	c.mu.Lock()
	if c.writing || c.err != nil || len(c.queue) == 0 {
		c.mu.Unlock()
		return // who writes now will look again
	}
	if c.sock == nil {
		c.mu.Unlock()
		c.wakeWriter()
		return
	}
	c.pushing = true
	c.beginLocked()
	c.mu.Unlock()
	err := c.sock.Write(c.sendFn) // the writer finds the same error
	c.mu.Lock()
	c.pushing = false
	c.writing = err != nil || !c.sent
	c.handoff = c.writing
	more := c.writing || len(c.queue) > 0
	c.pushed.Signal()
	c.mu.Unlock()
	if more {
		c.wakeWriter()
	}
}

// sendNow sends what the socket takes without waiting.
func (c *Client) sendNow(fd uintptr) bool {
	for c.sent = false; len(c.bufs) > 0; {
		n, err := unix.SendmsgBuffers(int(fd), c.bufs, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return true
		}
		for n > 0 {
			k := min(n, len(c.bufs[0]))
			c.bufs[0] = c.bufs[0][k:]
			n -= k
			if len(c.bufs[0]) == 0 {
				c.bufs[0] = nil // it is the caller's
				c.bufs = c.bufs[1:]
			}
		}
	}
	c.sent = true
	return true
}

// beginLocked makes the caller the owner of all that is queued.
func (c *Client) beginLocked() {
	c.writing = true
	c.batch, c.queue = c.queue, c.batch[:0]
	c.small, c.bufs = gather(c.batch, c.small[:0], c.space[:0])
	c.space = c.bufs
	clear(c.batch)
}

// write is the writer goroutine. It sends what callers could not.
func (c *Client) write() {
	for {
		c.mu.Lock()
		gone := c.err != nil
		work := c.handoff
		if !c.writing && len(c.queue) > 0 {
			c.beginLocked()
			work = true
		}
		c.handoff = false
		c.mu.Unlock()
		if gone {
			return
		}
		if !work {
			<-c.wake
			continue
		}
		if _, err := c.bufs.WriteTo(c.conn); err != nil {
			c.fail(fmt.Errorf("%w: %w", ErrClosed, errors.WithStack(err)))
			return
		}
		c.mu.Lock()
		c.writing = false
		c.mu.Unlock()
	}
}

// gather makes of a batch what writev takes: heads and small data are copied
// together into small. Client.mu is held: from here on a call may be answered, and
// its frame used for the next.
func gather(batch []*call, small []byte, bufs net.Buffers) ([]byte, net.Buffers) {
	need := 0
	for _, cl := range batch {
		need += len(cl.frame) + min(len(cl.data), coalesce)
	}
	if cap(small) < need {
		small = make([]byte, 0, need) // it must not move once bufs points into it
	}
	start := 0
	for _, cl := range batch {
		cl.sent = true
		small = append(small, cl.frame...)
		if len(cl.data) <= coalesce {
			small = append(small, cl.data...)
			continue
		}
		bufs = append(bufs, small[start:], cl.data)
		start = len(small)
	}
	if start < len(small) {
		bufs = append(bufs, small[start:])
	}
	return small, bufs
}

// read is the reader goroutine.
func (c *Client) read() {
	in := bufio.NewReaderSize(c.conn, readBuffer)
	head := make([]byte, wire.HeaderSize)
	for {
		if err := c.readFrame(in, head); err != nil {
			c.fail(fmt.Errorf("%w: %w", ErrClosed, err))
			return
		}
	}
}

// readFrame reads one message and hands it to its call. An error ends the
// connection.
func (c *Client) readFrame(in *bufio.Reader, head []byte) error {
	if _, err := io.ReadFull(in, head); err != nil {
		return errors.WithStack(err)
	}
	h := wire.ParseHeader(head)
	if h.Size < wire.HeaderSize || h.Size > c.msize {
		return errors.Errorf("the server sent a message of %d bytes", h.Size)
	}
	n := int(h.Size) - wire.HeaderSize
	c.mu.Lock()
	var cl *call
	if int(h.Tag) < len(c.calls) {
		cl = c.calls[h.Tag]
	}
	if cl != nil && !cl.sent {
		cl = nil
	}
	c.mu.Unlock()
	if cl == nil {
		return errors.Errorf("the server answered tag %d, which asks for nothing", h.Tag)
	}
	switch h.Type {
	case cl.typ.Reply():
		if cl.dst != nil {
			if err := cl.readData(in, n); err != nil {
				return err
			}
			break
		}
		cl.body = slices.Grow(cl.body[:0], n)[:n]
		if _, err := io.ReadFull(in, cl.body); err != nil {
			return errors.WithStack(err)
		}
	case wire.Rlerror:
		body := make([]byte, n)
		if _, err := io.ReadFull(in, body); err != nil {
			return errors.WithStack(err)
		}
		var m wire.MsgRlerror
		if err := new(wire.Codec).Decode(body, &m); err != nil {
			return errors.Wrap(err, "error message of the server")
		}
		cl.err = &Error{Op: opName(cl.typ), Errno: linux.Errno(m.Errno)}
	default:
		return errors.Errorf("the server answered %s with message type %v", opName(cl.typ), h.Type)
	}
	c.release(cl)
	cl.ready <- struct{}{}
	return nil
}
