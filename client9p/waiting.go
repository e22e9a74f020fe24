package client9p

import (
	"context"
	"fmt"

	"sliod/socket"
)

// Of the callers that wait for an answer, one at a time takes in what comes: who finds that
// nobody does so. It hands the others theirs, and with its own it leaves the rest to one of them. So an
// answer wakes one thread, that of its caller. What takes longer than a moment, from tape,
// say, is left to the reader goroutine.

// readingBy says who takes in answers.
type readingBy uint8

const (
	byNobody readingBy = iota
	byCaller           // one who waits, or has been told to
	byReader           // the reader goroutine
)

// dueLocked says whether something is to be read.
func (c *Client) dueLocked() bool { return c.due > 0 || c.hungUp }

// listLocked adds a call to those whose callers wait.
func (c *Client) listLocked(cl *call) {
	cl.waits, cl.prev, cl.next = true, nil, c.waiting
	if c.waiting != nil {
		c.waiting.prev = cl
	}
	c.waiting = cl
}

// unlistLocked takes a call from them, if it is there.
func (c *Client) unlistLocked(cl *call) {
	if !cl.waits {
		return
	}
	if cl.next != nil {
		cl.next.prev = cl.prev
	}
	if cl.prev != nil {
		cl.prev.next = cl.next
	} else {
		c.waiting = cl.next
	}
	cl.waits, cl.prev, cl.next = false, nil, nil
}

// wait waits until a call has been answered, or, false, ctx has ended.
func (c *Client) wait(ctx context.Context, cl *call) (answered bool) {
	select {
	case <-cl.ready:
		return true
	default:
	}
	for soon := true; ; {
		c.mu.Lock()
		if soon && len(cl.ready) == 0 {
			c.listLocked(cl)
		}
		c.mu.Unlock()
		ended := false
		select {
		case <-cl.ready:
		case <-ctx.Done():
			d, ok := ctx.(Doubtful)
			ended = !ok || d.Confirm(cl.ready)
		}
		c.mu.Lock()
		c.unlistLocked(cl)
		leads := cl.leads
		cl.leads = false
		if leads && ended {
			<-cl.ready // what told it
			c.leaveLocked(false)
		}
		c.mu.Unlock()
		switch {
		case ended:
			return false
		case !leads:
			return true
		}
		soon = c.take(cl)
	}
}

// readOwn waits a moment for the answer to a call, if nobody else takes in what comes.
func (c *Client) readOwn(cl *call) {
	if c.sock == nil {
		return
	}
	c.mu.Lock()
	free := c.reading == byNobody && c.err == nil
	if free {
		c.reading = byCaller
	}
	c.mu.Unlock()
	if free {
		c.take(cl)
	}
}

// take takes in what comes until a call has been answered, or, false, nothing has come for a
// moment.
func (c *Client) take(cl *call) bool {
	var err error
	for len(cl.ready) == 0 && err == nil {
		err = c.receive(true)
	}
	if err != nil && err != socket.ErrNothing {
		c.fail(fmt.Errorf("%w: %w", ErrClosed, err))
	}
	c.mu.Lock()
	c.leaveLocked(err == nil)
	c.mu.Unlock()
	return err == nil
}

// leaveLocked ends the caller's taking in. What is due is left to another who waits if next, and
// there is one; else to the reader.
func (c *Client) leaveLocked(next bool) {
	// The last who came: those who have waited for long may have to wait on.
	if w := c.waiting; next && w != nil && c.err == nil && !c.hungUp {
		c.unlistLocked(w)
		w.leads = true
		w.ready <- struct{}{}
		return
	}
	c.reading = byNobody
	c.released.Signal()
	if c.dueLocked() {
		c.wakeReader()
	}
}
