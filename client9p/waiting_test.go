package client9p

import (
	"context"
	"encoding/binary"
	stderrors "errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

// TestTurns has many callers at a time, of whom each in turn takes in the others' answers,
// in any order, while some give up.
func TestTurns(t *testing.T) {
	const callers, calls, most = 8, 400, 5
	c, p := newPeer(t, 8192)
	type ask struct {
		typ      uint8
		tag, old uint16
		off      uint64
	}
	asks := make(chan ask, callers*2)
	go func() {
		defer close(asks)
		for {
			switch typ, tag, body := p.next(); typ {
			case msgTread:
				asks <- ask{typ: typ, tag: tag, off: binary.LittleEndian.Uint64(body[4:])}
			case msgTflush:
				asks <- ask{typ: typ, tag: tag, old: binary.LittleEndian.Uint16(body)}
			default:
				return
			}
		}
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r := rand.New(rand.NewPCG(1, 2))
		var due []ask
		for more := true; more; {
			var a ask
			if len(due) == 0 {
				a, more = <-asks
			} else {
				select {
				case a, more = <-asks:
				default:
					i := r.IntN(len(due))
					p.read(due[i].tag, fmt.Sprint(due[i].off))
					due = append(due[:i], due[i+1:]...)
					continue
				}
			}
			switch a.typ {
			case msgTread:
				due = append(due, a)
			case msgTflush:
				for i := range due {
					if due[i].tag == a.old {
						due = append(due[:i], due[i+1:]...)
						break
					}
				}
				p.send(msgTflush+1, a.tag, nil)
			}
		}
	}()
	var wg sync.WaitGroup
	for n := range callers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(3, uint64(n)))
			for i := range calls {
				ctx, cancel := context.WithCancel(t.Context())
				if r.IntN(most) == 0 {
					go cancel()
				}
				off := uint64(n*calls + i)
				buf := make([]byte, 20)
				got, err := file(c).Read(ctx, buf, off)
				if err == nil && string(buf[:got]) != fmt.Sprint(off) || err != nil && !stderrors.Is(err, context.Canceled) {
					t.Errorf("read at %d: %q, %v", off, buf[:got], err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	c.mu.Lock()
	if c.waiting != nil || c.due != 0 || c.reading == byCaller {
		t.Errorf("%d answers are due, taken in by %d; somebody waits: %v", c.due, c.reading, c.waiting != nil)
	}
	c.mu.Unlock()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	_ = p.conn.Close()
	<-done
}

// TestLeave leaves the taking in to the one who came last, who gives up just then: it is
// nobody's afterwards.
func TestLeave(t *testing.T) {
	c, _ := newPeer(t, 8192)
	for range 20 { // the end of ctx and what leave tells are seen in any order
		ctx, cancel := context.WithCancel(t.Context())
		c.mu.Lock()
		c.reading = byCaller
		c.mu.Unlock()
		var waits sync.WaitGroup
		calls := [2]*call{}
		for i := range calls {
			calls[i] = &call{ready: make(chan struct{}, 1)}
			waits.Go(func() {
				if c.wait(ctx, calls[i]) {
					t.Error("an answer came that nobody sent")
				}
			})
			c.awaitListed(calls[i])
		}
		first, last := calls[0], calls[1]
		c.mu.Lock()
		c.leaveLocked(true)
		if !last.leads || first.leads || c.reading != byCaller || c.waiting != first {
			t.Error("it is not left to the last")
		}
		c.mu.Unlock()
		cancel()
		waits.Wait()
		c.mu.Lock()
		if c.reading != byNobody || last.leads || last.waits || len(last.ready) > 0 || c.waiting != nil {
			t.Error("it was not given up")
		}
		c.mu.Unlock()
	}
}

// awaitListed waits until a call's caller waits.
func (c *Client) awaitListed(cl *call) {
	for {
		c.mu.Lock()
		waits := cl.waits
		c.mu.Unlock()
		if waits {
			return
		}
		runtime.Gosched()
	}
}
