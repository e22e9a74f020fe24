package server

import (
	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"
	"sliod/backend/vfs"
	"sliod/server/wire"
)

// reqState says where a deferred request is; doc.go draws it.
type reqState uint8

const (
	reqCalling reqState = iota // a call into the tree runs
	reqParked                  // the tree has it
	reqReady                   // woken, and in conn.ready
	reqEnded                   // answered or dropped
)

// request is one Tread, Twrite, Tfsync, Tlock, Tallocate or Tcopy that is or may become deferred.
// It is the Waker of its own Waiter. An object that has been parked is never used
// for another request, so a late wake can meet no stranger.
type request struct {
	vfs.Waiter
	c    *conn
	file *openFile

	// The request.
	off   uint64
	count uint32
	tag   uint16
	kind  wire.Type

	// conn.mu guards what follows.
	state   reqState
	early   bool // woken while calling
	aborted bool // by Tversion or the end of the connection: never answered
	n       int  // the result that Wake brought
	err     error
	flushes []uint16 // tags of Tflush whose Rflush follows this request's end
	next    *request // in conn.ready
}

// openFile is an open file and the references to it: its fid's and one for each
// request parked on it.
type openFile struct {
	vfs.File
	refs int // conn.mu
}

// Wake implements vfs.Waker.
func (r *request) Wake(n int, err error) {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r.state {
	case reqCalling:
		r.n, r.err, r.early = n, err, true
	case reqParked:
		r.n, r.err = n, err
		c.readyLocked(r)
	case reqReady, reqEnded:
		c.log.WithField(fieldTag, r.tag).Error("a request was woken that is not parked; ignored")
	}
}

// newRequest readies the reader's request object for a call.
func (c *conn) newRequest(kind wire.Type, tag uint16, f *openFile) *request {
	r := c.spare
	if r == nil {
		r = new(request)
		c.spare = r
	}
	*r = request{c: c, file: f, tag: tag, kind: kind}
	r.Waker = r
	return r
}

// park takes the reader's request object, whose first call has returned ErrParked,
// into the tag table.
func (c *conn) park(r *request) {
	c.spare = nil
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live++
	r.file.refs++
	c.tags[r.tag] = r
	c.parkedLocked(r)
}

// parkedLocked moves on a request whose call has returned ErrParked.
func (c *conn) parkedLocked(r *request) {
	if r.early {
		r.early = false
		c.readyLocked(r)
		return
	}
	r.state = reqParked
}

// readyLocked hands r to the writer.
func (c *conn) readyLocked(r *request) {
	r.state = reqReady
	if c.readyTail == nil {
		c.readyHead = r
	} else {
		c.readyTail.next = r
	}
	c.readyTail = r
	c.work.Signal()
}

// popReadyLocked returns the next request for the writer, or nil if there is none
// or if it is a read for whose answer there is no room.
func (c *conn) popReadyLocked() *request {
	r := c.readyHead
	if r == nil || (r.callsAgain() && c.fullLocked() && !c.dead) {
		return nil
	}
	if c.dead {
		r.aborted = true
	}
	if c.readyHead = r.next; c.readyHead == nil {
		c.readyTail = nil
	}
	r.next = nil
	return r
}

// callsAgain says whether r is a read that the writer will repeat.
func (r *request) callsAgain() bool {
	return r.kind == wire.Tread && r.err == nil && r.state == reqReady && !r.aborted && len(r.flushes) == 0
}

// settle ends a woken request, or repeats it. The caller is the writer and holds
// conn.mu, which is released and taken again.
func (c *conn) settle(r *request) {
	if r.callsAgain() {
		c.repeat(r)
		return
	}
	var odd error
	if r.state == reqReady && !r.aborted {
		switch {
		case r.kind == wire.Tread && len(r.flushes) > 0:
			// Dropped: the client has given it up and nothing has happened.
		case r.err != nil && r.kind == wire.Tlock && isAgain(r.err):
			c.replyLocked(r.tag, &wire.MsgRlock{Status: wire.LockBlocked})
		case r.err != nil:
			odd = c.errorLocked(r.tag, r.err)
		case r.kind == wire.Twrite && (r.n <= 0 || r.n > int(r.count)):
			odd = c.errorLocked(r.tag, badCount("parked write", r.n, int(r.count)))
		case r.kind == wire.Twrite:
			c.replyLocked(r.tag, &wire.MsgRwrite{Count: uint32(r.n)})
		case r.kind == wire.Tfsync:
			c.replyLocked(r.tag, &wire.MsgRfsync{})
		case r.kind == wire.Tlock:
			c.replyLocked(r.tag, &wire.MsgRlock{Status: wire.LockSuccess})
		case r.kind.Extended():
			c.extendedLocked(r)
		}
	}
	c.endLocked(r)
	c.logOddLocked(r.kind, r.tag, odd)
}

// repeat calls a woken read again. As settle for the lock.
func (c *conn) repeat(r *request) {
	r.state = reqCalling
	c.mu.Unlock()
	r.Prefix, r.Off, r.N, r.Kind, r.Owner = nil, 0, 0, 0, nil // nothing of the last wait stays
	data, err := r.file.ReadAt(r.off, int(r.count), &r.Waiter)
	c.mu.Lock()
	if err == vfs.ErrParked {
		c.parkedLocked(r)
		if r.state == reqParked && (r.aborted || len(r.flushes) > 0) {
			c.cancel(r) // given up while the call ran
		}
		return
	}
	if err == nil && data.Len() > int(r.count) {
		c.mu.Unlock()
		data.Release()
		c.mu.Lock()
		err = badCount("read", data.Len(), int(r.count))
	}
	var odd error
	switch {
	case err != nil && !r.aborted:
		odd = c.errorLocked(r.tag, err)
	case err != nil:
	case r.aborted:
		c.mu.Unlock()
		data.Release()
		c.mu.Lock()
	default:
		c.readLocked(r.tag, data)
	}
	c.endLocked(r)
	c.logOddLocked(r.kind, r.tag, odd)
}

// badCount is the error for a tree that breaks the contract of vfs.
func badCount(what string, n, want int) error {
	return errors.Errorf("%s of %d bytes completed with %d; the client is told EIO", what, want, n)
}

// cancel unhooks a parked request and ends it without an answer, unless its wake is
// on the way: then the writer will. It is called once for a request, with conn.mu
// held, which is released and taken again.
func (c *conn) cancel(r *request) {
	f := r.file
	f.refs++ // a wake may end r meanwhile
	c.mu.Unlock()
	ok := f.Cancel(&r.Waiter)
	c.mu.Lock()
	if ok {
		c.endLocked(r)
	}
	c.unrefLocked(f)
}

// endLocked takes r out of everything, after its answer or without one, and sends
// the Rflush that wait for it. conn.mu may be released and taken again.
func (c *conn) endLocked(r *request) {
	c.forgetLocked(r)
	r.state = reqEnded
	c.live--
	c.unrefLocked(r.file)
}

// forgetLocked frees r's tag and answers the flushes that wait for r.
func (c *conn) forgetLocked(r *request) {
	if c.tags[r.tag] == r {
		delete(c.tags, r.tag)
	}
	for _, tag := range r.flushes {
		if !r.aborted {
			delete(c.flushes, tag)
			c.replyLocked(tag, &wire.MsgRflush{})
		}
	}
	r.flushes = nil
}

// unrefLocked gives a reference back; conn.mu is released and taken again if it was
// the last.
func (c *conn) unrefLocked(f *openFile) {
	if f.refs--; f.refs == 0 {
		c.mu.Unlock()
		f.Close()
		c.mu.Lock()
	}
}

// busyTag says whether a request or a flush that has not been answered has tag.
func (c *conn) busyTag(tag uint16) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live == 0 {
		return false
	}
	return c.tags[tag] != nil || c.flushes[tag] != nil
}

// flushRequest serves Tflush.
func (c *conn) flushRequest(tag, old uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.tags[old]
	if r == nil {
		r = c.flushes[old] // a flush of a flush waits for the same request
	}
	if r == nil {
		c.replyLocked(tag, &wire.MsgRflush{})
		return
	}
	r.flushes = append(r.flushes, tag)
	c.flushes[tag] = r
	switch {
	case r.state == reqReady && r.kind == wire.Tread:
		c.forgetLocked(r) // the writer finds it ended
		r.state = reqEnded
	case r.state == reqParked && len(r.flushes) == 1:
		c.cancel(r)
	}
}

// abort drops every request without an answer.
func (c *conn) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var parked []*request
	for _, r := range c.tags {
		r.aborted = true
		if r.state == reqParked && len(r.flushes) == 0 {
			parked = append(parked, r)
		}
	}
	clear(c.tags)
	clear(c.flushes)
	for _, r := range parked {
		// An earlier cancel releases the lock: the wake may have come by now.
		if r.state == reqParked {
			c.cancel(r)
		}
	}
}

func isAgain(err error) bool {
	e, _ := errnoOf(err)
	return e == linux.EAGAIN
}
