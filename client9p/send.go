package client9p

import (
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"sliod/server/wire"
)

// outbox is what is being sent.
type outbox struct {
	batch []*call
	small []byte      // heads and small data of batch
	space net.Buffers // the whole of bufs
	bufs  net.Buffers // what has not been sent
}

// coalesce is up to which size frames are copied together; what is larger goes
// to writev from where it lies.
const coalesce = 4 << 10

// push sends what is queued as far as the socket takes it at once; the writer gets the
// rest. That a caller does so itself saves a switch to another goroutine.
func (c *Client) push() {
	c.mu.Lock()
	if c.writing || c.err != nil || len(c.queue)+len(c.dropped) == 0 {
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
	err := c.sock.Send(&c.out.bufs) // the writer finds the same error
	c.mu.Lock()
	c.pushing = false
	c.writing = err != nil || len(c.out.bufs) > 0
	c.handoff = c.writing
	more := c.writing || len(c.queue)+len(c.dropped) > 0
	c.released.Signal()
	c.mu.Unlock()
	if more {
		c.wakeWriter()
	}
}

// beginLocked makes the caller the owner of out, with all that is queued in it. It may be
// nothing.
func (c *Client) beginLocked() {
	c.writing = true
	o := &c.out
	o.batch = o.batch[:0]
	c.clunkLocked()
	o.batch = append(o.batch, c.queue...)
	clear(c.queue)
	c.queue = c.queue[:0]
	o.small, o.bufs = gather(o.batch, o.small[:0], o.space[:0])
	o.space = o.bufs
	clear(o.batch)
}

// write is the writer goroutine. It sends what callers could not.
func (c *Client) write() {
	for {
		c.mu.Lock()
		gone := c.err != nil
		work := c.handoff
		if !c.writing && len(c.queue)+len(c.dropped) > 0 {
			c.beginLocked()
			work = len(c.out.bufs) > 0
			c.writing = work
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
		if err := c.sendAll(); err != nil {
			c.fail(fmt.Errorf("%w: %w", ErrClosed, err))
			return
		}
		c.mu.Lock()
		c.writing = false
		c.mu.Unlock()
	}
}

// sendAll sends out, waiting for room in the socket.
func (c *Client) sendAll() error {
	if c.sock == nil {
		_, err := c.out.bufs.WriteTo(c.conn)
		return err
	}
	for len(c.out.bufs) > 0 {
		if err := c.sock.Send(&c.out.bufs); err != nil {
			return err
		}
		if len(c.out.bufs) > 0 {
			c.sock.Await(unix.POLLOUT)
		}
	}
	return nil
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

const (
	// dropDelay is how long a fid that was dropped may wait for another request.
	dropDelay = 10 * time.Millisecond
	// maxDropped is how many may.
	maxDropped = 64
)

// Drop is Clunk for a fid whose answer nobody needs. It does not wait: the request goes
// out with the next one, or soon.
func (f *Fid) Drop() { f.c.drop(f.fid, false) }

// DropNow is Drop, and the request goes out at once.
func (f *Fid) DropNow() { f.c.drop(f.fid, true) }

func (c *Client) drop(fid uint32, now bool) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.dropped = append(c.dropped, fid)
	now = now || len(c.dropped) >= maxDropped
	later := !now && !c.dropping
	c.dropping = c.dropping || later
	c.mu.Unlock()
	if later {
		// It is not stopped when the fids are clunked earlier: to set a timer for each
		// drop would wake a thread each time.
		time.AfterFunc(dropDelay, c.dropLater)
	}
	if now {
		c.push()
	}
}

// dropLater clunks what was dropped, if no request has come since.
func (c *Client) dropLater() {
	c.mu.Lock()
	c.dropping = false
	c.mu.Unlock()
	c.push()
}

// clunkLocked puts a Tclunk of each dropped fid before what is queued. For want of tags they
// wait.
func (c *Client) clunkLocked() {
	for n := len(c.dropped); n > 0; n-- {
		cl := callPool.Get().(*call)
		cl.typ, cl.forgets, cl.fid = wire.Tclunk, true, c.dropped[n-1]
		if c.takeTag(cl) != nil {
			cl.free()
			return
		}
		c.dropped = c.dropped[:n-1]
		cl.frame = cl.codec.Append(cl.frame[:0], cl.tag, &wire.MsgTclunk{Fid: cl.fid})
		c.calls[cl.tag] = cl
		c.out.batch = append(c.out.batch, cl)
	}
}
