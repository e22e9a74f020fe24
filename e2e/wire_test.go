package e2e

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/server/wire"
)

// conn speaks the wire by hand, so that each message is sent just as the test
// wants it. It has one request in flight beside the parked ones, and no goroutine.
type conn struct {
	t      *testing.T
	nc     net.Conn
	r      *bufio.Reader
	c      wire.Codec
	parked map[uint16]string // tag -> what it is; answering one is an error
	doing  string            // for messages
}

// requestTag is the tag of all requests that are answered at once.
const requestTag = 1

// dial connects and attaches fid 0 to the archive's root.
func dial(t *testing.T, s *server) *conn {
	t.Helper()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() }) // some tests close it themselves
	c := &conn{t: t, nc: nc, r: bufio.NewReaderSize(nc, 1<<16), parked: map[uint16]string{}, doing: "attach"}
	c.send(wire.NoTag, &wire.MsgTversion{Msize: 1 << 20, Version: []byte(wire.Version)})
	c.await(wire.NoTag, wire.Rversion)
	c.ok(&wire.MsgTattach{Fid: 0, Afid: wire.NoFid, Uname: []byte("root"), NUname: wire.NoUname})
	return c
}

func (c *conn) write(p []byte) {
	c.t.Helper()
	if err := c.nc.SetDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.nc.Write(p); err != nil {
		c.t.Fatalf("%s: %v", c.doing, err)
	}
}

func (c *conn) send(tag uint16, m wire.Message) {
	c.t.Helper()
	c.write(c.c.Append(nil, tag, m))
}

// park sends a request that must not be answered.
func (c *conn) park(tag uint16, what string, m wire.Message) {
	c.t.Helper()
	c.parked[tag] = what
	c.send(tag, m)
}

// parkWrite sends a write that must not be answered.
func (c *conn) parkWrite(tag uint16, what string, fid uint32, off uint64, p []byte) {
	c.t.Helper()
	c.parked[tag] = what
	c.write(append(wire.AppendTwrite(nil, tag, fid, off, len(p)), p...))
}

// cancel flushes a parked request: Rflush must come, and no answer before it.
func (c *conn) cancel(tag uint16) {
	c.t.Helper()
	c.ok(&wire.MsgTflush{OldTag: tag})
	delete(c.parked, tag)
}

// receive returns the next reply, which must not be that of a parked request.
func (c *conn) receive() (wire.Header, []byte, error) {
	var head [wire.HeaderSize]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return wire.Header{}, nil, err
	}
	h := wire.ParseHeader(head[:])
	body := make([]byte, h.Size-wire.HeaderSize)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return wire.Header{}, nil, err
	}
	return h, body, nil
}

// await returns the body of the next reply, which must be the one for tag.
func (c *conn) await(tag uint16, want wire.Type) []byte {
	c.t.Helper()
	h, body, err := c.receive()
	if err != nil {
		c.t.Fatalf("%s: no reply: %v", c.doing, err)
	}
	if what, ok := c.parked[h.Tag]; ok {
		c.t.Fatalf("%s: %s was answered before it was cancelled: %v %x", c.doing, what, h.Type, body[:min(len(body), 16)])
	}
	if h.Type == wire.Rlerror {
		var r wire.MsgRlerror
		_ = c.c.Decode(body, &r) // errno 0 is told
		c.t.Fatalf("%s: %v is refused: %v (errno %d)", c.doing, want, linux.Errno(r.Errno), r.Errno)
	}
	if h.Tag != tag || h.Type != want {
		c.t.Fatalf("%s: got %v for tag %d, want %v for tag %d", c.doing, h.Type, h.Tag, want, tag)
	}
	return body
}

// ok sends m and wants its reply.
func (c *conn) ok(m wire.Message) []byte {
	c.t.Helper()
	c.send(requestTag, m)
	return c.await(requestTag, m.Type().Reply())
}

// into sends m and decodes its reply into r.
func (c *conn) into(m, r wire.Message) {
	c.t.Helper()
	if err := c.c.Decode(c.ok(m), r); err != nil {
		c.t.Fatalf("%s: %v: %v", c.doing, r.Type(), err)
	}
}

func (c *conn) walk(from, to uint32, names ...string) {
	c.t.Helper()
	m := &wire.MsgTwalk{Fid: from, NewFid: to, N: len(names)}
	for i, n := range names {
		m.Names[i] = []byte(n)
	}
	var r wire.MsgRwalk
	if c.into(m, &r); r.N != len(names) {
		c.t.Fatalf("%s: walk to %q found %d names", c.doing, names, r.N)
	}
}

// open makes fid an open file.
func (c *conn) open(fid uint32, flags p9.OpenFlags, names ...string) {
	c.t.Helper()
	c.walk(0, fid, names...)
	c.ok(&wire.MsgTlopen{Fid: fid, Flags: flags})
}

// create makes fid a new open file in the directory.
func (c *conn) create(fid, dir uint32, name string, mode p9.FileMode) {
	c.t.Helper()
	c.walk(dir, fid)
	c.ok(&wire.MsgTlcreate{Fid: fid, Name: []byte(name), Flags: p9.ReadWrite, Mode: mode})
}

func (c *conn) clunk(fid uint32) {
	c.t.Helper()
	c.ok(&wire.MsgTclunk{Fid: fid})
}

func (c *conn) size(fid uint32) uint64 {
	c.t.Helper()
	var r wire.MsgRgetattr
	c.into(&wire.MsgTgetattr{Fid: fid, Mask: wire.AttrAll}, &r)
	return r.Attr.Size
}

// read reads once.
func (c *conn) read(fid uint32, off uint64, count int) []byte {
	c.t.Helper()
	p, err := wire.ParseData(c.ok(&wire.MsgTread{Fid: fid, Offset: off, Count: uint32(count)}))
	if err != nil {
		c.t.Fatalf("%s: %v", c.doing, err)
	}
	return p
}

// writeAt writes all of p, with as many messages as it takes.
func (c *conn) writeAt(fid uint32, off uint64, p []byte) {
	c.t.Helper()
	for len(p) > 0 {
		part := p[:min(len(p), 512<<10)]
		c.write(append(wire.AppendTwrite(nil, requestTag, fid, off, len(part)), part...))
		var r wire.MsgRwrite
		if err := c.c.Decode(c.await(requestTag, wire.Rwrite), &r); err != nil || r.Count == 0 || int(r.Count) > len(part) {
			c.t.Fatalf("%s: a write of %d bytes was answered with %d, %v", c.doing, len(part), r.Count, err)
		}
		off, p = off+uint64(r.Count), p[r.Count:]
	}
}

// readAll reads the whole open file.
func (c *conn) readAll(fid uint32) []byte {
	c.t.Helper()
	var all []byte
	for {
		p := c.read(fid, uint64(len(all)), 512<<10)
		if len(p) == 0 {
			return all
		}
		all = append(all, p...)
	}
}

// content is n bytes that follow from the seed.
func content(seed byte, n int) []byte {
	p := make([]byte, n)
	fill(p, seed)
	return p
}
