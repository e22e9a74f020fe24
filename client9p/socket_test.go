package client9p

import (
	"context"
	"encoding/binary"
	stderrors "errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hugelgupf/p9/linux"

	"sliod/server/wire"
)

// TestReadOwn has answers that the caller takes in itself, answers that come so late that
// the reader does, and answers in pieces, whose rest the reader takes over in the middle.
func TestReadOwn(t *testing.T) {
	c, p := newPeer(t, 1<<20)
	want := strings.Repeat("0123456789abcdef", 5000) // 80000 bytes: past the buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			typ, tag, body := p.next()
			if typ == 0 {
				return
			}
			size := int(binary.LittleEndian.Uint32(body[12:]))
			frame := binary.LittleEndian.AppendUint32(nil, uint32(wire.HeaderSize+4+size))
			frame = append(frame, msgTread+1)
			frame = binary.LittleEndian.AppendUint16(frame, tag)
			frame = binary.LittleEndian.AppendUint32(frame, uint32(size))
			frame = append(frame, want[:size]...)
			for cut := range pieces(n, len(frame)) {
				if len(frame) < cut {
					break
				}
				_, _ = p.conn.Write(frame[:cut])
				frame = frame[cut:]
				c.awaitReader(t)
			}
			_, _ = p.conn.Write(frame)
		}
	}()
	buf := make([]byte, len(want))
	for n := range 40 {
		size := []int{1, 5000, len(want)}[n%3]
		got, err := file(c).Read(t.Context(), buf[:size], 0)
		if err != nil || string(buf[:got]) != want[:size] {
			t.Fatalf("read %d: %d of %d bytes, %v", n, got, size, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	<-done
}

// pieces are the sizes in which the n-th frame comes: whole, after a while, or cut in the
// head, behind it, and in the data.
func pieces(n, size int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for _, cut := range [][]int{nil, {0}, {3}, {wire.HeaderSize, 4}, {wire.HeaderSize + 2, 2, size / 3}}[n%5] {
			if !yield(cut) {
				return
			}
		}
	}
}

// awaitReader waits until the reader goroutine has taken over.
func (c *Client) awaitReader(t *testing.T) {
	for end := time.Now().Add(2 * time.Minute); ; { // only a test that fails waits for it
		c.mu.Lock()
		by := c.reading
		c.mu.Unlock()
		if by == byReader {
			return
		}
		if time.Now().After(end) {
			t.Error("the reader does not take over")
			return
		}
		time.Sleep(50 * time.Microsecond) // polling a state that nothing announces
	}
}

// TestHangUp has the server go away while nothing is asked: the client notices by itself.
func TestHangUp(t *testing.T) {
	c, p := newPeer(t, 8192)
	if err := p.conn.Close(); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if err := c.Err(); !stderrors.Is(err, ErrClosed) {
		t.Errorf("the connection ended with %v", err)
	}
}

// TestLastAnswers has the server answer and hang up at once: the answers count.
func TestLastAnswers(t *testing.T) {
	c, p := newPeer(t, 8192)
	const calls = 10
	go func() {
		var tags []uint16
		for range calls {
			_, tag, _ := p.next()
			tags = append(tags, tag)
		}
		for _, tag := range tags {
			p.read(tag, "the last")
		}
		_ = p.conn.Close()
	}()
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			buf := make([]byte, 8)
			if n, err := file(c).Read(context.Background(), buf, 0); err != nil || string(buf[:n]) != "the last" {
				t.Errorf("%q, %v", buf[:n], err)
			}
		})
	}
	wg.Wait()
	<-c.Done()
}

// TestDrop drops fids: they are clunked with the next request, or soon without one, and
// their numbers are free then.
func TestDrop(t *testing.T) {
	c, p := newPeer(t, 8192)
	fids := func(n int) (list []*Fid) {
		for range n {
			list = append(list, &Fid{c: c, fid: c.takeFid()})
		}
		return list
	}
	clunked := func(n int) {
		t.Helper()
		for range n {
			typ, tag, _ := p.next()
			if typ != msgTclunk {
				t.Errorf("message %d in place of a clunk", typ)
			}
			p.send(msgTclunk+1, tag, nil)
		}
	}
	list := fids(3)
	list[0].Drop()
	list[1].Drop()
	answered := make(chan error)
	go func() {
		_, _, err := file(c).Getattr(t.Context())
		answered <- err
	}()
	clunked(2)
	typ, tag, _ := p.next()
	if typ != msgTgetattr {
		t.Errorf("message %d after the clunks", typ)
	}
	p.errno(tag, linux.EIO)
	if err := <-answered; !stderrors.Is(err, linux.EIO) {
		t.Error(err)
	}
	list[2].Drop() // nothing follows
	clunked(1)
	list = fids(2)
	list[0].DropNow()
	clunked(1)
	for _, f := range fids(maxDropped) {
		f.Drop()
	}
	clunked(maxDropped)
	list[1].Drop()
	if err := c.Close(); err != nil { // with one that nobody has sent
		t.Error(err)
	}
}

// TestDropRefused has the server refuse a clunk: nobody is told, and nothing hangs.
func TestDropRefused(t *testing.T) {
	c, p := newPeer(t, 8192)
	(&Fid{c: c, fid: c.takeFid()}).DropNow()
	_, tag, _ := p.next()
	p.errno(tag, linux.EBADF)
	answered := make(chan error)
	go func() {
		_, err := file(c).Read(t.Context(), make([]byte, 4), 0)
		answered <- err
	}()
	_, tag, _ = p.next()
	p.read(tag, "here")
	if err := <-answered; err != nil {
		t.Error(err)
	}
	c.mu.Lock()
	free := fmt.Sprint(c.freeFids)
	c.mu.Unlock()
	if free != "[1]" {
		t.Errorf("free fids: %s", free)
	}
}

// BenchmarkExchange is the cost of one request over a unix socket.
func BenchmarkExchange(b *testing.B) {
	a, other := socketPair(b)
	p := &peer{nil, other}
	go func() {
		p.next()
		p.version(8192)
		for {
			typ, tag, _ := p.next()
			if typ == 0 {
				return
			}
			p.read(tag, "answer")
		}
	}()
	c, err := New(b.Context(), a, 8192)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 6)
	for b.Loop() {
		if _, err := file(c).Read(b.Context(), buf, 0); err != nil {
			b.Fatal(err)
		}
	}
	_ = other.Close()
	_ = c.Close()
}
