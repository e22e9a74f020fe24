package client9p

import (
	"bytes"
	"context"
	"encoding/binary"
	stderrors "errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"pgregory.net/rapid"

	"sliod/server/wire"
)

// store is a server that holds one file. It gathers requests and answers them in
// any order, short, or with an error.
type store struct {
	t     *rapid.T
	peer  *peer
	file  []byte
	errAt int64 // offset from which on requests fail; -1: none
}

// serve answers until the connection ends. Up to batch requests are gathered
// before one of them is answered.
func (s *store) serve(batch int, rnd *rand.Rand) {
	type ask struct {
		typ  uint8
		tag  uint16
		body []byte
	}
	var asks []ask
	incoming := make(chan ask, 64)
	go func() {
		defer close(incoming)
		for {
			typ, tag, body := s.peer.next()
			if typ == 0 {
				return
			}
			incoming <- ask{typ, tag, body}
		}
	}()
	for open := true; open || len(asks) > 0; {
		for open && len(asks) < batch {
			var a ask
			if len(asks) == 0 {
				a, open = <-incoming
			} else {
				select {
				case a, open = <-incoming:
				default:
					a.typ = 0
				}
			}
			if !open || a.typ == 0 {
				break
			}
			asks = append(asks, a)
		}
		if len(asks) == 0 {
			return
		}
		i := rnd.IntN(len(asks))
		a := asks[i]
		asks = slices.Delete(asks, i, i+1)
		s.answer(a.typ, a.tag, a.body, rnd)
	}
}

func (s *store) answer(typ uint8, tag uint16, body []byte, rnd *rand.Rand) {
	off := int64(binary.LittleEndian.Uint64(body[4:]))
	if s.errAt >= 0 && off >= s.errAt {
		s.peer.errno(tag, linux.EIO)
		return
	}
	short := func(n int) int {
		if n > 1 && rnd.IntN(3) == 0 {
			return 1 + rnd.IntN(n)
		}
		return n
	}
	switch typ {
	case msgTread:
		n := min(int64(binary.LittleEndian.Uint32(body[12:])), max(0, int64(len(s.file))-off))
		n = int64(short(int(n)))
		s.peer.read(tag, string(s.file[min(off, int64(len(s.file))):][:n]))
	case msgTwrite:
		_, _, data, err := wire.ParseTwrite(body)
		if err != nil {
			s.t.Errorf("a bad Twrite: %v", err)
		}
		n := short(len(data))
		if grow := off + int64(n) - int64(len(s.file)); grow > 0 {
			s.file = append(s.file, make([]byte, grow)...)
		}
		copy(s.file[off:], data[:n])
		s.peer.send(msgTwrite+1, tag, binary.LittleEndian.AppendUint32(nil, uint32(n)))
	}
}

// TestTransfers: whatever the order and size of the answers, a large read is the
// file's bytes, and a large write makes them.
func TestTransfers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := net.Pipe()
		s := &store{t: t, peer: &peer{nil, b}, errAt: -1}
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		s.file = make([]byte, rapid.IntRange(0, 60_000).Draw(t, "size"))
		for i := range s.file {
			s.file[i] = byte(rnd.Uint32()) // before the server runs: rnd is its own then
		}
		if rapid.IntRange(0, 3).Draw(t, "fails") == 0 {
			s.errAt = int64(rapid.IntRange(0, 60_000).Draw(t, "errAt"))
		}
		batch := rapid.IntRange(1, 20).Draw(t, "batch")
		served := make(chan struct{})
		go func() {
			defer close(served)
			s.peer.next()
			s.peer.version(minMsize)
			s.serve(batch, rnd)
		}()
		c, err := New(context.Background(), a, minMsize)
		if err != nil {
			t.Fatal(err)
		}
		off := rapid.IntRange(0, 50_000).Draw(t, "off")
		p := make([]byte, rapid.IntRange(0, 50_000).Draw(t, "n"))
		if rapid.Bool().Draw(t, "write") {
			for i := range p {
				p[i] = byte(i)
			}
			n, err := file(c).WriteFull(context.Background(), p, uint64(off))
			_ = c.Close()
			<-served
			if (err == nil) != (n == len(p)) || err != nil && s.errAt < 0 {
				t.Errorf("wrote %d of %d: %v", n, len(p), err)
			}
			if n > 0 && !bytes.Equal(s.file[off:off+n], p[:n]) {
				t.Error("other bytes are in the file")
			}
			return
		}
		n, err := file(c).ReadFull(context.Background(), p, uint64(off))
		_ = c.Close()
		<-served
		switch {
		case !bytes.Equal(p[:n], s.file[min(off, len(s.file)):][:n]):
			t.Error("other bytes than the file's")
		case n < len(p) && err == nil:
			t.Errorf("%d of %d bytes without an error", n, len(p))
		case stderrors.Is(err, io.EOF) && off+n < len(s.file):
			t.Errorf("end of file at %d of %d", off+n, len(s.file))
		case err != nil && err != io.EOF && s.errAt < 0:
			t.Error(err)
		}
	})
}

// TestTransferCancelled: when the context ends, every part is flushed before the
// caller has its buffer back.
func TestTransferCancelled(t *testing.T) {
	c, p := newPeer(t, minMsize)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := file(c).ReadFull(ctx, make([]byte, 100_000), 0)
		done <- err
	}()
	for range window {
		p.next()
	}
	cancel()
	for range window {
		typ, tag, _ := p.next()
		if typ != msgTflush {
			t.Fatalf("message %d, want a flush", typ)
		}
		p.send(msgTflush+1, tag, nil)
	}
	if err := <-done; !stderrors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if c.inflight != 0 {
		t.Errorf("%d calls are left", c.inflight)
	}
}

func TestLocks(t *testing.T) {
	c, p := newPeer(t, 8192)
	go func() {
		for _, status := range []byte{wire.LockSuccess, wire.LockBlocked, wire.LockError} {
			_, tag, body := p.next()
			if !bytes.HasSuffix(body, []byte("me")) {
				t.Errorf("%q", body)
			}
			p.send(uint8(wire.Rlock), tag, []byte{status})
		}
		_, tag, _ := p.next()
		m := wire.MsgRgetlock{LockType: uint8(WriteLock), Start: 1, Length: 2, ProcID: 3, ClientID: []byte("other")}
		_, _ = p.conn.Write(new(wire.Codec).Append(nil, tag, &m))
	}()
	l := Lock{Type: WriteLock, ClientID: "me"}
	for _, want := range []error{nil, linux.EAGAIN, linux.ENOLCK} {
		if err := file(c).SetLock(t.Context(), l, false); !stderrors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	if got, err := file(c).GetLock(t.Context(), l); err != nil || got != (Lock{WriteLock, 1, 2, 3, "other"}) {
		t.Errorf("%+v, %v", got, err)
	}
}
