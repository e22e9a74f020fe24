package server

import (
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"sliod/server/wire"
)

// flushModel is what a client may expect of its tags: a reply comes before its Rflush
// or never, and only for a request that is under way.
type flushModel struct {
	t    *testing.T
	c    *client
	sent map[uint16]wire.Type // request tags without a reply
	of   map[uint16]uint16    // flush tag -> flushed tag
	held map[uint16]int       // tags that must not be used again yet, by how many flushes
	free []uint16
}

func newFlushModel(t *testing.T, c *client, tags uint16) *flushModel {
	m := &flushModel{t: t, c: c, sent: map[uint16]wire.Type{}, of: map[uint16]uint16{}, held: map[uint16]int{}}
	for tag := range tags {
		m.free = append(m.free, 100+tag)
	}
	return m
}

func (m *flushModel) take(r *rand.Rand) uint16 {
	i := r.IntN(len(m.free))
	tag := m.free[i]
	m.free[i] = m.free[len(m.free)-1]
	m.free = m.free[:len(m.free)-1]
	return tag
}

// release frees tag once it has been answered or flushed, and nobody flushes it.
func (m *flushModel) release(tag uint16) {
	_, sent := m.sent[tag]
	_, flush := m.of[tag]
	if !sent && !flush && m.held[tag] == 0 {
		delete(m.held, tag)
		m.free = append(m.free, tag)
	}
}

func (m *flushModel) step(r *rand.Rand, out []byte) []byte {
	tag := m.take(r)
	switch k := r.IntN(10); {
	case k < 4:
		m.sent[tag] = wire.Tread
		return m.c.c.Append(out, tag, &wire.MsgTread{Fid: 1, Offset: uint64(r.IntN(12)), Count: 4})
	case k < 6:
		m.sent[tag] = wire.Twrite
		return append(wire.AppendTwrite(out, tag, 1, 0, 3), "abc"...)
	default:
		old := uint16(100 + r.IntN(40)) // any tag: parked, answered, free, a flush
		m.of[tag] = old
		m.held[old]++
		// A client must not use old again before the Rflush.
		for i, f := range m.free {
			if f == old {
				m.free[i] = m.free[len(m.free)-1]
				m.free = m.free[:len(m.free)-1]
				break
			}
		}
		return m.c.c.Append(out, tag, &wire.MsgTflush{OldTag: old})
	}
}

// reply takes one reply and judges it.
func (m *flushModel) reply() {
	h, body := m.c.recv()
	if old, ok := m.of[h.Tag]; ok && h.Type == wire.Rflush {
		delete(m.of, h.Tag)
		delete(m.sent, old) // it will never be answered
		m.held[old]--
		m.release(old)
		if old != h.Tag {
			m.release(h.Tag)
		}
		return
	}
	typ, ok := m.sent[h.Tag]
	if !ok {
		m.t.Fatalf("%v for tag %d, which waits for nothing: it was flushed or answered", h.Type, h.Tag)
	}
	if h.Type != typ.Reply() && h.Type != wire.Rlerror {
		m.t.Fatalf("%v for a %v", h.Type, typ)
	}
	if h.Type == wire.Rwrite && body[0] == 0 {
		m.t.Fatal("count 0")
	}
	delete(m.sent, h.Tag)
	m.release(h.Tag)
}

// TestFlushStress mixes requests, flushes, flushes of flushes, wakes, failures, new
// sessions and disconnects at random.
func TestFlushStress(t *testing.T) {
	e := newEnv(t)
	f := e.fs.add("f", []byte("0123456789"))
	var stop atomic.Bool
	wakers := make(chan struct{})
	for i := range uint64(2) {
		go func() {
			defer func() { wakers <- struct{}{} }()
			r := rand.New(rand.NewPCG(i, 7))
			for !stop.Load() {
				f.setAbsent(r.IntN(4) != 0)
				if w := f.take(); w != nil {
					if r.IntN(3) == 0 {
						runtime.Gosched()
					}
					if r.IntN(5) == 0 {
						wake(w, linux.EIO)
					} else {
						wake(w, nil)
					}
				}
				runtime.Gosched()
			}
		}()
	}
	rounds, steps := 30, 1000
	if testing.Short() {
		rounds = 5
	}
	for round := range rounds {
		r := rand.New(rand.NewPCG(uint64(round), 1))
		c := e.dial()
		c.open(1, "f", p9.ReadWrite)
		m := newFlushModel(t, c, 40)
		for range steps {
			var out []byte
			for range 1 + r.IntN(4) {
				if len(m.free) > 0 {
					out = m.step(r, out)
				}
			}
			c.bytes(out)
			for len(m.sent)+len(m.of) > r.IntN(30) {
				m.reply()
			}
		}
		switch round % 3 {
		case 0: // all is answered in the end
			for len(m.sent)+len(m.of) > 0 {
				m.reply()
			}
			c.sync()
		case 1: // replies until Rversion, none after it
			c.send(wire.NoTag, &wire.MsgTversion{Msize: 8192, Version: []byte(wire.Version)})
			for {
				if h, _ := c.recv(); h.Type == wire.Rversion {
					break
				}
			}
			c.ok(1, attach(0, ""))
			for range 50 {
				c.sync()
			}
		}
		if err := c.nc.Close(); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	for range 2 {
		<-wakers
	}
	f.deliver(nil)
}
