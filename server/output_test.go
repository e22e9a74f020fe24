package server

import (
	"bytes"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"golang.org/x/sys/unix"
	"sliod/server/wire"
)

func TestHolesAreZeros(t *testing.T) {
	e := newEnv(t)
	f := e.fs.add("f", bytes.Repeat([]byte("d"), 1000))
	e.fs.with(func() { f.hole = 300000 })
	c := e.dial()
	c.open(1, "f", p9.ReadOnly)
	all := append(bytes.Repeat([]byte("d"), 1000), make([]byte, 300000)...)
	for _, off := range []uint64{0, 500, 1000, 200000, 300999, 301000} {
		if got := c.read(1, 1, off, 1<<19); !bytes.Equal(got, all[off:]) {
			t.Errorf("at %d: %d bytes of %d, or others", off, len(got), len(all[off:]))
		}
	}
}

// TestManyVectors makes batches of more vectors than one writev takes, and a client
// that reads slowly, so that they are sent in parts.
func TestManyVectors(t *testing.T) {
	e := newEnv(t)
	data := make([]byte, 1<<16)
	for i := range data {
		data[i] = byte(i >> 8)
	}
	e.fs.add("f", data)
	c := e.dial()
	c.open(1, "f", p9.ReadOnly)
	var out []byte
	const n = 6000
	for i := range uint16(n) {
		out = c.c.Append(out, i, &wire.MsgTread{Fid: 1, Offset: uint64(i % 256 << 8), Count: 200})
	}
	done := make(chan error, 1)
	go func() {
		_, err := c.nc.Write(out)
		done <- err
	}()
	for i := range uint16(n) {
		p, err := wire.ParseData(c.want(i, wire.Rread))
		if err != nil || len(p) != 200 || p[0] != byte(i%256) || p[199] != byte(i%256) {
			t.Fatalf("reply %d: %d bytes, %v", i, len(p), err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestConnectionWithoutASocket serves a connection that has no file descriptor, as TLS
// has none.
func TestConnectionWithoutASocket(t *testing.T) {
	e := newEnv(t, func(c *Config) {
		c.Identify = func(net.Conn) (Peer, error) { return Peer{UID: uint32(os.Getuid())}, nil }
	})
	content := make([]byte, 300000) // a third of it a hole: several pieces, of both kinds
	for i := range content[:200000] {
		content[i] = byte(i * 31 >> 3)
	}
	f := e.fs.add("f", content[:200000:200000])
	f.hole = 100000
	a, b := net.Pipe()
	e.s.ServeConn(b)
	c := &client{t: t, nc: a}
	c.version(1 << 20)
	c.ok(1, attach(0, ""))
	c.open(1, "f", p9.ReadWrite)
	if p := c.read(1, 1, 0, 1<<19); !bytes.Equal(p, content) {
		t.Errorf("%d bytes, or other ones than the file has", len(p))
	}
	f.setAbsent(true)
	c.sendWrite(20, 1, 0, []byte("xyz"))
	c.sync()
	f.deliver(nil)
	c.want(20, wire.Rwrite)
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

func TestNoSpaceIsAnswered(t *testing.T) {
	_, f, c := parkedEnv(t)
	c.sendWrite(20, 1, 0, []byte("xyz"))
	c.sync()
	f.deliver(linux.ENOSPC)
	c.wantErr(20, linux.ENOSPC)
}

// TestBrokenDataEndsTheConnection: what cannot be sent, as the disk below its page has an error, is
// not waited for.
func TestBrokenDataEndsTheConnection(t *testing.T) {
	e := newEnv(t)
	page, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(page) })
	e.fs.add("f", page)
	c := e.dial()
	c.open(1, "f", p9.ReadOnly)
	c.send(20, &wire.MsgTread{Fid: 1, Count: uint32(len(page))})
	c.closed()
	if err := e.s.Close(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(e.log.String(), "a reply could not be sent") || !strings.Contains(e.log.String(), "bad address") {
		t.Errorf("not logged: %s", e.log)
	}
}

// lateConn stands for one whose writer gets no processor for longer than closeGrace: the first
// deadline of writes is over at once, and no other comes.
type lateConn struct {
	net.Conn
	first sync.Once
	asked chan struct{}
}

func (c *lateConn) SetWriteDeadline(time.Time) error {
	var t time.Time
	c.first.Do(func() {
		t = time.Unix(1, 0)
		close(c.asked)
	})
	return c.Conn.SetWriteDeadline(t)
}

// TestGraceIsTheClients: a connection that ends has the time to send its last answers, although
// the goroutine that sends them comes late.
func TestGraceIsTheClients(t *testing.T) {
	e := newEnv(t, func(c *Config) {
		c.Identify = func(net.Conn) (Peer, error) { return Peer{UID: uint32(os.Getuid())}, nil }
	})
	f := e.fs.add("f", []byte("data"))
	a, b := socketpair(t)
	t.Cleanup(func() { _ = a.Close() })
	late := &lateConn{Conn: b, asked: make(chan struct{})}
	e.s.ServeConn(late)
	c := &client{t: t, nc: a}
	c.version(1 << 20)
	c.ok(1, attach(0, ""))
	c.open(1, "f", p9.ReadWrite)
	f.setAbsent(true)
	c.send(20, readReq(4))
	c.sync()
	entered, leave := make(chan struct{}), make(chan struct{})
	f.setAbsent(false)
	e.fs.with(func() { e.fs.onRead = func() { close(entered); <-leave } })
	wake(f.take(), nil)
	<-entered // the writer reads for tag 20
	c.send(30, &wire.MsgTgetattr{Fid: 1})
	if err := a.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	<-late.asked
	close(leave)
	c.want(30, wire.Rgetattr)
}
