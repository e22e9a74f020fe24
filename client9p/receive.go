package client9p

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"sliod/server/wire"
	"sliod/socket"
)

const (
	// readBuffer takes in small answers several at a time.
	readBuffer = 64 << 10
	// largeRead is from which size on the data of a read is not to go through the buffer:
	// while one is under way, little is taken in at a time.
	largeRead  = 16 << 10
	smallFirst = 1 << 10
)

// inbox is what has come in. It can be left at any point, as who reads may have to
// leave the rest to another.
type inbox struct {
	buf  []byte
	r, w int   // buf[r:w] has not been looked at
	data *call // whose data comes in, past buf
	left int   // of it
}

// recv receives into p; from a socket what there is, which may be socket.ErrNothing, also if
// it waits a moment.
func (c *Client) recv(p []byte, wait bool) (int, error) {
	if c.sock == nil {
		n, err := c.conn.Read(p)
		return n, errors.WithStack(err)
	}
	if wait {
		return c.sock.RecvSoon(p)
	}
	return c.sock.Recv(p)
}

// receive takes in once what the connection brings, and hands whole answers to their
// calls. Any error but socket.ErrNothing ends the connection.
func (c *Client) receive(wait bool) error {
	in := &c.in
	if cl := in.data; cl != nil {
		n, err := c.recv(cl.dst[cl.n:cl.n+in.left], wait)
		if err != nil {
			return err
		}
		cl.n += n
		if in.left -= n; in.left == 0 {
			in.data = nil
			c.answered(cl)
		}
		return nil
	}
	switch {
	case in.buf == nil:
		in.buf = make([]byte, readBuffer)
	case in.r > 0:
		in.w = copy(in.buf, in.buf[in.r:in.w]) // part of a frame, if anything
		in.r = 0
	}
	room := in.buf[in.w:]
	if c.large.Load() > 0 {
		room = room[:min(len(room), smallFirst)]
	}
	n, err := c.recv(room, wait)
	if err != nil {
		return err
	}
	in.w += n
	for {
		if more, err := c.frame(); err != nil || !more {
			return err
		}
	}
}

// frame hands the next answer to its call, if it is there. more says that another may be.
func (c *Client) frame() (more bool, err error) {
	in := &c.in
	have := in.buf[in.r:in.w]
	if len(have) < wire.HeaderSize {
		return false, nil
	}
	h := wire.ParseHeader(have)
	if h.Size < wire.HeaderSize || h.Size > c.msize {
		return false, errors.Errorf("the server sent a message of %d bytes", h.Size)
	}
	cl := c.inFlight(h.Tag)
	if cl == nil {
		return false, errors.Errorf("the server answered tag %d, which asks for nothing", h.Tag)
	}
	if h.Type == cl.typ.Reply() && cl.dst != nil {
		return c.dataFrame(cl, int(h.Size), have)
	}
	if len(have) < int(h.Size) {
		if int(h.Size) > len(in.buf) {
			in.buf, in.r, in.w = append(make([]byte, 0, h.Size), have...)[:h.Size], 0, len(have)
		}
		return false, nil
	}
	body := have[wire.HeaderSize:h.Size]
	in.r += int(h.Size)
	switch h.Type {
	case cl.typ.Reply():
		cl.body = append(slices.Grow(cl.body[:0], len(body)), body...)
	case wire.Rlerror:
		var m wire.MsgRlerror
		if err := new(wire.Codec).Decode(body, &m); err != nil {
			return false, errors.Wrap(err, "error message of the server")
		}
		cl.err = &Error{Op: opName(cl.typ), Errno: linux.Errno(m.Errno)}
	default:
		return false, errors.Errorf("the server answered %s with message type %v", opName(cl.typ), h.Type)
	}
	c.answered(cl)
	return true, nil
}

// dataFrame takes an Rread or Rreaddir, whose data goes to where the caller wants it.
func (c *Client) dataFrame(cl *call, size int, have []byte) (more bool, err error) {
	const head = wire.HeaderSize + 4
	if size < head {
		return false, errors.WithStack(wire.ErrMalformed)
	}
	if len(have) < head {
		return false, nil
	}
	count := binary.LittleEndian.Uint32(have[wire.HeaderSize:])
	if int64(count) != int64(size-head) || int64(count) > int64(len(cl.dst)) {
		return false, errors.Errorf("the server answered a %s of %d bytes with %d", opName(cl.typ), len(cl.dst), count)
	}
	in := &c.in
	cl.n = copy(cl.dst[:count], have[head:])
	in.r += head + cl.n
	if in.left = int(count) - cl.n; in.left > 0 {
		in.data = cl
		return false, nil
	}
	c.answered(cl)
	return true, nil
}

// inFlight returns the call that has a tag, nil if none has been sent.
func (c *Client) inFlight(tag uint16) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	if int(tag) >= len(c.calls) {
		return nil
	}
	if cl := c.calls[tag]; cl != nil && cl.sent {
		return cl
	}
	return nil
}

// answered tells the caller.
func (c *Client) answered(cl *call) {
	c.release(cl)
	if cl.forgets {
		// The server has forgotten the fid even if it told an error.
		c.giveFid(cl.fid)
		cl.free()
		return
	}
	cl.ready <- struct{}{}
}

// read is the reader goroutine: it takes in what callers do not.
func (c *Client) read() {
	for {
		if c.sock != nil {
			<-c.wakeRead
		}
		for {
			on, gone := c.readOn()
			if gone {
				return
			}
			if !on {
				break
			}
			switch err := c.receive(false); {
			case err == socket.ErrNothing:
				c.sock.Await(unix.POLLIN | unix.POLLRDHUP)
			case err != nil:
				c.fail(fmt.Errorf("%w: %w", ErrClosed, err))
			}
		}
	}
}

// readOn says whether the reader has to read, and whether the connection is gone.
func (c *Client) readOn() (on, gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reading == byCaller {
		return false, c.err != nil // the caller wakes the reader when it leaves
	}
	c.reading = byNobody
	if c.err != nil {
		return false, true
	}
	if on = c.sock == nil || c.dueLocked(); on {
		c.reading = byReader
	}
	return on, false
}

// watch sees the server hang up while nothing is due.
func (c *Client) watch() {
	c.sock.Await(unix.POLLRDHUP)
	c.mu.Lock()
	c.hungUp = true
	c.mu.Unlock()
	c.wakeReader()
}
