package server

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"sliod/backend/vfs"
	"sliod/server/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logBuffer collects log lines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// env is a server of a memFS.
type env struct {
	t   testing.TB
	fs  *memFS
	ctl *memFS
	s   *Server
	log *logBuffer
}

// newEnv makes a server; when the test ends it is closed, and nothing may be left of
// fids, open files and pins.
func newEnv(t testing.TB, change ...func(*Config)) *env {
	t.Helper()
	e := &env{t: t, fs: newMemFS(), ctl: newMemFS(), log: new(logBuffer)}
	log := logrus.New()
	log.SetOutput(e.log)
	cfg := Config{Log: logrus.NewEntry(log), Trees: map[string]vfs.FS{"": e.fs, CtlTree: e.ctl}}
	for _, f := range change {
		f(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	e.s = s
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if n, o, p := e.fs.leaks(); n != 0 || o != 0 || p != 0 {
			t.Errorf("left after Close: %d nodes, %d open files, %d pins", n, o, p)
		}
	})
	return e
}

// socketpair returns the two ends of a unix socket.
func socketpair(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return ends[0], ends[1]
}

// client speaks the wire by hand.
type client struct {
	t  testing.TB
	nc net.Conn
	c  wire.Codec
}

// raw connects and says nothing.
func (e *env) raw() *client {
	e.t.Helper()
	a, b := socketpair(e.t)
	e.s.ServeConn(b)
	c := &client{t: e.t, nc: a}
	e.t.Cleanup(func() { _ = a.Close() }) // some tests close it themselves
	return c
}

// dial connects and attaches fid 0 to the root.
func (e *env) dial() *client {
	e.t.Helper()
	c := e.raw()
	c.version(1 << 20)
	c.ok(1, attach(0, ""))
	return c
}

func attach(fid uint32, aname string) *wire.MsgTattach {
	return &wire.MsgTattach{Fid: fid, Afid: wire.NoFid, Uname: []byte("nobody"), Aname: []byte(aname), NUname: wire.NoUname}
}

func (c *client) version(msize uint32) *wire.MsgRversion {
	c.t.Helper()
	r := new(wire.MsgRversion)
	c.reply(wire.NoTag, &wire.MsgTversion{Msize: msize, Version: []byte(wire.Version)}, r)
	return r
}

func (c *client) bytes(p []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(p); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) send(tag uint16, m wire.Message) {
	c.t.Helper()
	c.bytes(c.c.Append(nil, tag, m))
}

func (c *client) sendWrite(tag uint16, fid uint32, off uint64, p []byte) {
	c.t.Helper()
	c.bytes(append(wire.AppendTwrite(nil, tag, fid, off, len(p)), p...))
}

const patience = 2 * time.Minute // only a test that fails waits for it

func (c *client) recv() (wire.Header, []byte) {
	c.t.Helper()
	h, b, err := c.tryRecv()
	if err != nil {
		c.t.Fatalf("no reply: %v", err)
	}
	return h, b
}

func (c *client) tryRecv() (wire.Header, []byte, error) {
	if err := c.nc.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return wire.Header{}, nil, err
	}
	b := make([]byte, wire.HeaderSize)
	if _, err := io.ReadFull(c.nc, b); err != nil {
		return wire.Header{}, nil, err
	}
	h := wire.ParseHeader(b)
	body := make([]byte, h.Size-wire.HeaderSize)
	_, err := io.ReadFull(c.nc, body)
	return h, body, err
}

// want receives the reply for tag, which must be of type typ.
func (c *client) want(tag uint16, typ wire.Type) []byte {
	c.t.Helper()
	h, b := c.recv()
	if h.Tag != tag || h.Type != typ {
		c.t.Fatalf("got %v for tag %d (%x), want %v for tag %d", h.Type, h.Tag, b, typ, tag)
	}
	return b
}

// wantErr receives the Rlerror for tag.
func (c *client) wantErr(tag uint16, want linux.Errno) {
	c.t.Helper()
	h, b := c.recv()
	var r wire.MsgRlerror
	if h.Tag != tag || h.Type != wire.Rlerror || c.c.Decode(b, &r) != nil || linux.Errno(r.Errno) != want {
		c.t.Fatalf("got %v for tag %d (%d %v), want error %v for tag %d", h.Type, h.Tag, r.Errno, linux.Errno(r.Errno), want, tag)
	}
}

// ok sends m and wants its reply.
func (c *client) ok(tag uint16, m wire.Message) []byte {
	c.t.Helper()
	c.send(tag, m)
	return c.want(tag, m.Type().Reply())
}

// reply sends m and decodes its reply into r.
func (c *client) reply(tag uint16, m, r wire.Message) {
	c.t.Helper()
	if err := c.c.Decode(c.ok(tag, m), r); err != nil {
		c.t.Fatalf("%v: %v", r.Type(), err)
	}
}

// err sends m and wants an error.
func (c *client) err(m wire.Message, want linux.Errno) {
	c.t.Helper()
	c.send(9, m)
	c.wantErr(9, want)
}

func walkTo(fid, newFid uint32, names ...string) *wire.MsgTwalk {
	m := &wire.MsgTwalk{Fid: fid, NewFid: newFid, N: len(names)}
	for i, n := range names {
		m.Names[i] = []byte(n)
	}
	return m
}

// open makes newFid an open file below the root.
func (c *client) open(newFid uint32, name string, flags p9.OpenFlags) {
	c.t.Helper()
	c.ok(1, walkTo(0, newFid, name))
	c.ok(1, &wire.MsgTlopen{Fid: newFid, Flags: flags})
}

func (c *client) read(tag uint16, fid uint32, off uint64, count uint32) []byte {
	c.t.Helper()
	p, err := wire.ParseData(c.ok(tag, &wire.MsgTread{Fid: fid, Offset: off, Count: count}))
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

func (c *client) write(tag uint16, fid uint32, off uint64, p []byte) int {
	c.t.Helper()
	c.sendWrite(tag, fid, off, p)
	var r wire.MsgRwrite
	if err := c.c.Decode(c.want(tag, wire.Rwrite), &r); err != nil {
		c.t.Fatal(err)
	}
	return int(r.Count)
}

// sync makes sure that all requests sent before it have been served.
func (c *client) sync() {
	c.t.Helper()
	c.ok(0x7fff, &wire.MsgTgetattr{Fid: 0})
}

// closed wants the end of the connection, with no reply before it.
func (c *client) closed() {
	c.t.Helper()
	if h, b, err := c.tryRecv(); err != io.EOF && !isReset(err) {
		c.t.Fatalf("want the connection closed, got %v %x %v", h, b, err)
	}
}
