package client9p

import (
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"

	"sliod/server/wire"
	"sliod/socket"
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
	// sendBuffer is asked for on a unix socket, where the kernel takes a fifth of a large
	// write by default.
	sendBuffer = 512 << 10
)

// Client is a connection to a 9P2000.L server. Its methods are safe for
// concurrent use.
type Client struct {
	conn  net.Conn       // nil: sock is the connection
	sock  *socket.Socket // nil: conn is no socket of the system
	msize uint32         // changed only before New returns
	// extended: the server knows the extension; as msize.
	extended bool
	done     chan struct{} // closed when no goroutine of the Client is left
	wake     chan struct{} // capacity 1: something is queued, or the connection is gone
	wakeRead chan struct{} // capacity 1: answers are to be read, or the connection is gone

	out outbox // the owner's who has set writing
	in  inbox  // whose reading it is

	large atomic.Int32 // reads of largeRead and more that are in flight

	mu       sync.Mutex
	queue    []*call  // to be written, in order
	dropped  []uint32 // fids to clunk, with the next that is written
	dropping bool     // dropLater will write them
	writing  bool     // out is being sent
	pushing  bool     // by a caller, not by the writer
	handoff  bool     // the writer shall send the rest
	reading  readingBy
	waiting  *call     // those whose callers wait, the last first
	hungUp   bool      // the server has: the reader shall see to it
	released sync.Cond // pushing, or reading by a caller, ended
	calls    []*call   // in flight, by tag; nil: the tag is free, or kept by a flush
	inflight int       // calls, flushes and clunks that nobody waits for apart
	due      int       // answers that somebody waits for
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
	c := &Client{
		conn: conn, msize: max(msize, minMsize),
		done: make(chan struct{}), wake: make(chan struct{}, 1), wakeRead: make(chan struct{}, 1),
	}
	c.released.L = &c.mu
	if u, ok := conn.(*net.UnixConn); ok {
		_ = u.SetWriteBuffer(sendBuffer) // it works with any size
	}
	err := c.version(ctx)
	if err == nil {
		c.sock, err = socket.Take(conn)
	}
	if err != nil {
		_ = conn.Close() // the error to tell is that of the agreement
		return nil, err
	}
	var wg sync.WaitGroup
	wg.Go(c.write)
	wg.Go(c.read)
	if c.sock != nil {
		c.conn = nil
		wg.Go(c.watch)
	}
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
	first := c.err == nil
	if first {
		c.err = err
	}
	if c.sock != nil && first {
		c.sock.Shutdown() // with mu held: later the socket's number may be another's
	}
	c.mu.Unlock()
	if c.sock == nil {
		_ = c.conn.Close() // a connection that failed is of no use to anyone
	}
	c.wakeWriter()
	c.wakeReader()
}

func (c *Client) wakeReader() {
	select {
	case c.wakeRead <- struct{}{}:
	default:
	}
}

func (c *Client) wakeWriter() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// endCalls tells every call in flight that the connection is gone. The goroutines have
// ended, so nobody touches the callers' slices any more, once no caller sends or reads.
func (c *Client) endCalls() {
	c.mu.Lock()
	for c.pushing || c.reading == byCaller {
		c.released.Wait()
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
	if c.sock != nil {
		c.sock.Close()
	}
}
