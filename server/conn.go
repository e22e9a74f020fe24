package server

import (
	stderrors "errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"sliod/backend/vfs"
	"sliod/export"
	"sliod/server/wire"
	"sliod/socket"
)

// closeGrace is how long a connection that ends may take to send what has been
// answered.
const closeGrace = time.Second

// sendBuffer is asked for on a unix socket, where the kernel takes a fifth of a
// large reply by default and has the server wait for each next part. A TCP socket
// finds its size itself.
const sendBuffer = 512 << 10

// conn is one client's connection.
type conn struct {
	srv  *Server
	nc   net.Conn       // nil: sock is the connection
	sock *socket.Socket // nil: nc is no socket of the system
	id   uint64
	peer Peer
	log  *logrus.Entry

	// The reader's own.
	in         input
	dec        wire.Codec
	msize      uint32 // 0 until a version has been agreed on
	extended   bool   // the extension has been agreed on
	fids       map[uint32]*fid
	last       *export.Export // of the latest attach; nil: the whole archive, or none yet
	xattrBytes int            // held by fids of extended attributes
	spare      *request
	entries    []byte // Treaddir's
	req        requests
	rep        replies
	served     int // bytes of requests served since the last push

	cur *batch // being sent: the owner's who has set writing

	mu   sync.Mutex
	work sync.Cond // the writer waits for something to do
	room sync.Cond // the reader waits for room in the output queue

	// mu guards what follows.
	enc       wire.Codec
	out       *batch // being filled
	writing   bool   // cur is being sent
	handoff   bool   // the reader has begun cur, the writer shall send the rest
	queued    int    // bytes in out and cur
	waiting   int    // replies in out and cur
	tags      map[uint16]*request
	flushes   map[uint16]*request // tags of Tflush that wait, and for whom
	readyHead *request
	readyTail *request
	live      int   // requests that have not ended
	closing   bool  // no more requests are read
	drained   bool  // the reader is gone and has aborted all
	dead      bool  // the socket has failed: nothing is sent any more
	unsent    error // why
}

func newConn(s *Server, nc net.Conn, id uint64, peer Peer, log *logrus.Entry) (*conn, error) {
	c := &conn{
		srv: s, nc: nc, id: id, peer: peer, log: log,
		fids:    make(map[uint32]*fid),
		tags:    make(map[uint16]*request),
		flushes: make(map[uint16]*request),
		cur:     &batch{pins: &s.pins},
		out:     &batch{pins: &s.pins},
	}
	c.in = input{src: receiver{c}, limit: firstMsize}
	c.work.L, c.room.L = &c.mu, &c.mu
	if u, ok := nc.(*net.UnixConn); ok {
		_ = u.SetWriteBuffer(sendBuffer) // it works with any size
	}
	var err error
	if c.sock, err = socket.Take(nc); err != nil {
		return nil, err
	}
	if c.sock != nil {
		c.nc = nil
	}
	return c, nil
}

// serve is the reader. It returns when the connection has ended and holds nothing
// any more.
func (c *conn) serve() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.writer()
	}()
	c.logEnd(c.read())

	c.abort()
	c.mu.Lock()
	c.closing, c.drained = true, true
	c.work.Signal()
	c.mu.Unlock()
	c.outputDeadline(time.Now().Add(closeGrace)) // for what is being sent; the writer sets its own for the rest
	<-done
	c.releaseFids()
	c.cur.reset()
	c.out.reset()
	if c.sock != nil {
		c.sock.Close()
		return
	}
	_ = c.nc.Close() // whatever it says, the connection is over
}

// endInput has the reader end instead of waiting for more. Any goroutine may call it.
func (c *conn) endInput() {
	if past := time.Unix(1, 0); c.sock != nil {
		c.sock.InputDeadline(past)
	} else {
		_ = c.nc.SetReadDeadline(past) // fails only if it is closed
	}
}

// outputDeadline ends the writer's wait for the client at t.
func (c *conn) outputDeadline(t time.Time) {
	if c.sock != nil {
		c.sock.OutputDeadline(t)
	} else {
		_ = c.nc.SetWriteDeadline(t) // fails only if it is closed
	}
}

// read serves requests until the connection is to end.
func (c *conn) read() error {
	for {
		frame, err := c.in.next()
		if err != nil {
			if err == errFrameTooLarge {
				h := wire.ParseHeader(frame)
				c.fail(h.Type, h.Tag, errTooLarge)
			}
			return err
		}
		c.served += len(frame)
		h := wire.ParseHeader(frame)
		if err := c.serveRequest(h, frame[wire.HeaderSize:]); err != nil {
			return err
		}
		if !c.awaitRoom() {
			return net.ErrClosed
		}
	}
}

// logEnd says why the reader ended, if someone might want to know.
func (c *conn) logEnd(err error) {
	c.mu.Lock()
	closing, unsent := c.closing, c.unsent
	c.mu.Unlock()
	switch {
	case unsent != nil && !isEnd(unsent): // as when the disk below a page of the cache has an error
		c.log.WithError(unsent).Error("connection closed: a reply could not be sent")
	case closing, isEnd(err):
		c.log.WithError(err).Debug("connection ended")
	default:
		c.log.WithError(err).Warn("connection closed")
	}
}

// isEnd says whether an error is what the end of a connection looks like.
func isEnd(err error) bool {
	return err == io.EOF || stderrors.Is(err, net.ErrClosed) || stderrors.Is(err, os.ErrDeadlineExceeded) ||
		stderrors.Is(err, syscall.ECONNRESET) || stderrors.Is(err, syscall.EPIPE) || stderrors.Is(err, io.ErrClosedPipe) ||
		stderrors.Is(err, syscall.ETIMEDOUT) || stderrors.Is(err, syscall.EHOSTUNREACH) || stderrors.Is(err, syscall.ENETUNREACH)
}

// stop makes the reader end. Any goroutine may call it.
func (c *conn) stop() {
	c.mu.Lock()
	c.closing = true
	c.room.Broadcast()
	c.mu.Unlock()
	c.endInput()
}

// fullLocked says whether no further reply may be queued.
func (c *conn) fullLocked() bool {
	return c.queued >= c.srv.cfg.QueueBytes || c.waiting >= maxReplies || c.queued > 0 && c.srv.pins.crowded()
}

// awaitRoom is called between requests: it sends a batch that has become large, and
// waits while the client does not read its replies. False: the connection ends.
func (c *conn) awaitRoom() bool {
	c.mu.Lock()
	if (c.served >= flushAt || c.out.size >= flushAt || c.out.replies >= flushReplies || c.fullLocked()) && !c.writing && !c.dead {
		c.mu.Unlock()
		c.push()
		c.mu.Lock()
	}
	for c.fullLocked() && !c.dead && !c.closing {
		c.room.Wait()
	}
	ok := !c.dead && !c.closing
	c.mu.Unlock()
	return ok
}

// replyLocked queues a reply.
func (c *conn) replyLocked(tag uint16, m wire.Message) {
	before := c.out.size
	c.out.reply(&c.enc, tag, m)
	c.queuedLocked(before)
}

// readLocked queues an Rread and takes over d's pin.
func (c *conn) readLocked(tag uint16, d vfs.Data) {
	before := c.out.size
	c.out.read(tag, d)
	c.queuedLocked(before)
}

func (c *conn) queuedLocked(before int) {
	c.queued += c.out.size - before
	c.waiting++
}

// errorLocked queues the Rlerror for err. It returns err if that must be logged.
func (c *conn) errorLocked(tag uint16, err error) error {
	e, known := errnoOf(err)
	c.replyLocked(tag, &wire.MsgRlerror{Errno: uint32(e)})
	if known && !refusedRecall(err) {
		return nil
	}
	return err
}

// logOdd writes the one log line about an error that no tree should return.
func (c *conn) logOdd(kind wire.Type, tag uint16, err error) {
	if refusedRecall(err) {
		c.srv.cfg.Recalls.Say(err)
		return
	}
	if err != nil {
		c.log.WithFields(logrus.Fields{fieldOp: kind.String(), fieldTag: tag}).
			Errorf("request failed with an error that has no errno, EIO sent: %+v", err)
	}
}

// logOddLocked is logOdd with conn.mu held, which is released and taken again.
func (c *conn) logOddLocked(kind wire.Type, tag uint16, err error) {
	if err != nil {
		c.mu.Unlock()
		c.logOdd(kind, tag, err)
		c.mu.Lock()
	}
}

// fail queues the Rlerror for err.
func (c *conn) fail(kind wire.Type, tag uint16, err error) {
	c.mu.Lock()
	odd := c.errorLocked(tag, err)
	c.mu.Unlock()
	c.logOdd(kind, tag, odd)
}

// push sends what is queued as far as the socket takes it at once; the writer gets
// the rest. The reader calls it before it waits, which saves the switch to another
// goroutine for most replies.
func (c *conn) push() {
	c.served = 0
	c.mu.Lock()
	if c.out.empty() || c.writing || c.dead {
		c.mu.Unlock()
		return // who writes now will look again
	}
	if c.sock == nil {
		c.work.Signal()
		c.mu.Unlock()
		return
	}
	c.beginLocked()
	c.mu.Unlock()
	done, err := c.send(false)
	if !done && err == nil {
		c.mu.Lock()
		c.handoff = true
		c.work.Signal()
		c.mu.Unlock()
		return
	}
	c.cur.reset()
	c.mu.Lock()
	c.finishLocked(err)
	if !c.out.empty() || c.readyHead != nil {
		c.work.Signal()
	}
	c.mu.Unlock()
	if err != nil {
		c.endInput() // the caller closes, instead of waiting for a client that waits for its answer
	}
}

// beginLocked makes the caller the owner of cur, with all that is queued in it.
func (c *conn) beginLocked() {
	c.writing = true
	c.cur, c.out = c.out, c.cur
	c.cur.seal()
}

// finishLocked gives cur back, which the caller has reset.
func (c *conn) finishLocked(err error) {
	c.writing = false
	c.queued = c.out.size
	c.waiting = c.out.replies
	if err != nil {
		c.dead, c.unsent = true, err
	}
	c.room.Signal()
}

// send sends cur, waiting for the client to read if wait.
func (c *conn) send(wait bool) (done bool, err error) {
	if c.sock == nil {
		return true, c.cur.sendConn(c.nc)
	}
	for {
		if done, err = c.cur.send(c.sock); done || err != nil || !wait {
			return done, err
		}
		if err := c.sock.AwaitRoom(); err != nil {
			return false, err // a deadline, or no memory for it
		}
	}
}

// writer is the connection's second goroutine: it settles woken requests and sends
// what the reader could not. It ends when the reader has and no request is left.
func (c *conn) writer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	graced := c.sock != nil // which tries first, whatever the deadline
	for {
		if c.out.size < flushAt {
			if r := c.popReadyLocked(); r != nil {
				c.settle(r)
				continue
			}
		}
		switch {
		case c.handoff || !c.writing && !c.out.empty() && !c.dead:
			if !c.handoff {
				c.beginLocked()
			}
			c.handoff = false
			if c.drained && !graced {
				graced = true
				c.outputDeadline(time.Now().Add(closeGrace)) // the grace is the client's, not this goroutine's
			}
			c.mu.Unlock()
			_, err := c.send(true)
			c.cur.reset()
			c.mu.Lock()
			c.finishLocked(err)
			if err != nil {
				c.mu.Unlock()
				c.endInput() // it closes, and knows why
				c.mu.Lock()
			}
		case c.readyHead != nil && c.dead:
			r := c.popReadyLocked()
			c.settle(r)
		case c.drained && c.live == 0 && !c.writing && (c.dead || c.out.empty()):
			return
		default:
			c.work.Wait()
		}
	}
}
