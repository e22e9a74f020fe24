package client9p

import (
	"bytes"
	"context"
	"encoding/binary"
	stderrors "errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hugelgupf/p9/fsimpl/localfs"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"sliod/server/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Numbers of messages, as a peer sees them.
const (
	headerSize  = wire.HeaderSize
	noTag       = wire.NoTag
	msgRlerror  = uint8(wire.Rlerror)
	msgTclunk   = uint8(wire.Tclunk)
	msgTflush   = uint8(wire.Tflush)
	msgTgetattr = uint8(wire.Tgetattr)
	msgTread    = uint8(wire.Tread)
	msgTreaddir = uint8(wire.Treaddir)
	msgTversion = uint8(wire.Tversion)
	msgTwalk    = uint8(wire.Twalk)
	msgTwrite   = uint8(wire.Twrite)
	msgTxattr   = uint8(wire.Txattrwalk)
)

// peer is the other end of a Client: a server that the test plays.
type peer struct {
	t    *testing.T
	conn net.Conn
}

// newPeer returns a Client that has agreed on msize with the test's server.
func newPeer(t *testing.T, msize uint32) (*Client, *peer) {
	t.Helper()
	a, b := socketPair(t)
	p := &peer{t, b}
	agreed := make(chan struct{})
	go func() {
		defer close(agreed)
		typ, tag, body := p.next()
		if typ != msgTversion || tag != noTag || !bytes.HasSuffix(body, []byte("9P2000.L.sliod")) {
			t.Errorf("the first message is %d %d %q", typ, tag, body)
		}
		p.version(msize)
	}()
	c, err := New(t.Context(), a, msize)
	<-agreed
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = b.Close()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, p
}

// socketPair returns two ends of a unix socket.
func socketPair(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		_ = f.Close() // FileConn has its own
	}
	return ends[0], ends[1]
}

func (p *peer) next() (typ uint8, tag uint16, body []byte) {
	var h [headerSize]byte
	if _, err := io.ReadFull(p.conn, h[:]); err != nil {
		return 0, 0, nil
	}
	body = make([]byte, binary.LittleEndian.Uint32(h[:])-headerSize)
	if _, err := io.ReadFull(p.conn, body); err != nil {
		return 0, 0, nil
	}
	return h[4], binary.LittleEndian.Uint16(h[5:]), body
}

func (p *peer) send(typ uint8, tag uint16, body []byte) {
	frame := binary.LittleEndian.AppendUint32(nil, uint32(headerSize+len(body)))
	frame = append(frame, typ)
	frame = binary.LittleEndian.AppendUint16(frame, tag)
	_, _ = p.conn.Write(append(frame, body...)) // a client that is gone is part of some tests
}

func (p *peer) version(msize uint32) {
	p.agree(msize, "9P2000.L")
}

func (p *peer) agree(msize uint32, version string) {
	m := wire.MsgRversion{Msize: msize, Version: []byte(version)}
	_, _ = p.conn.Write(new(wire.Codec).Append(nil, noTag, &m))
}

func (p *peer) read(tag uint16, data string) {
	p.send(msgTread+1, tag, append(binary.LittleEndian.AppendUint32(nil, uint32(len(data))), data...))
}

func (p *peer) errno(tag uint16, e linux.Errno) {
	p.send(msgRlerror, tag, binary.LittleEndian.AppendUint32(nil, uint32(e)))
}

// file is a Fid that the server does not need to know.
func file(c *Client) *Fid { return &Fid{c: c, fid: 7} }

func TestAnswersInAnyOrder(t *testing.T) {
	c, p := newPeer(t, 8192)
	const calls = 20
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() {
			buf := make([]byte, 100)
			n, err := file(c).Read(t.Context(), buf, uint64(i))
			if want := fmt.Sprint("answer ", i); err != nil || string(buf[:n]) != want {
				t.Errorf("%q, %v; want %q", buf[:n], err, want)
			}
		})
	}
	type ask struct {
		tag uint16
		off uint64
	}
	var asks []ask
	for range calls {
		_, tag, body := p.next()
		asks = append(asks, ask{tag, binary.LittleEndian.Uint64(body[4:])})
	}
	slices.Reverse(asks)
	for _, a := range asks {
		p.read(a.tag, fmt.Sprint("answer ", a.off))
	}
	wg.Wait()
}

func TestFlush(t *testing.T) {
	for _, answered := range []bool{false, true} {
		t.Run(fmt.Sprint("answered=", answered), func(t *testing.T) {
			c, p := newPeer(t, 8192)
			ctx, cancel := context.WithCancel(t.Context())
			type result struct {
				n   int
				err error
			}
			done := make(chan result)
			buf := make([]byte, 10)
			go func() {
				n, err := file(c).Read(ctx, buf, 0)
				done <- result{n, err}
			}()
			_, tag, _ := p.next()
			cancel()
			typ, flushTag, body := p.next()
			if typ != msgTflush || binary.LittleEndian.Uint16(body) != tag || flushTag == tag {
				t.Fatalf("message %d tag %d %v, want a flush of %d", typ, flushTag, body, tag)
			}
			select {
			case r := <-done:
				t.Fatalf("the call returned before Rflush: %v", r)
			default:
			}
			if answered {
				p.read(tag, "late")
			}
			p.send(msgTflush+1, flushTag, nil)
			r := <-done
			if answered && (r.n != 4 || r.err != nil || string(buf[:4]) != "late") {
				t.Errorf("the answer came before Rflush, but the call returned %v", r)
			}
			if !answered && !stderrors.Is(r.err, context.Canceled) {
				t.Errorf("cancelled, but the call returned %v", r)
			}
			// The connection is as good as before.
			go func() {
				_, tag, _ := p.next()
				p.read(tag, "more")
			}()
			if n, err := file(c).Read(t.Context(), buf, 0); n != 4 || err != nil {
				t.Errorf("after the flush: %d, %v", n, err)
			}
		})
	}
}

func TestCancelledBefore(t *testing.T) {
	c, _ := newPeer(t, 8192)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := file(c).Read(ctx, make([]byte, 1), 0); !stderrors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestServerGone(t *testing.T) {
	c, p := newPeer(t, 8192)
	done := make(chan error)
	go func() {
		_, err := file(c).Read(t.Context(), make([]byte, 1), 0)
		done <- err
	}()
	p.next()
	_ = p.conn.Close()
	if err := <-done; !stderrors.Is(err, ErrClosed) || !stderrors.Is(err, io.EOF) {
		t.Errorf("the call in flight: %v", err)
	}
	if err := file(c).Clunk(t.Context()); !stderrors.Is(err, ErrClosed) {
		t.Errorf("a later call: %v", err)
	}
}

func TestGoneDuringFlush(t *testing.T) {
	c, p := newPeer(t, 8192)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := file(c).Read(ctx, make([]byte, 1), 0)
		done <- err
	}()
	p.next()
	cancel()
	p.next()
	_ = p.conn.Close()
	if err := <-done; !stderrors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
}

func TestCloseEndsCalls(t *testing.T) {
	c, p := newPeer(t, 8192)
	done := make(chan error)
	go func() {
		_, err := file(c).Read(t.Context(), make([]byte, 1), 0)
		done <- err
	}()
	p.next()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !stderrors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
}

// TestBadServer: what a broken server sends ends the connection, nothing else.
func TestBadServer(t *testing.T) {
	for _, tc := range []struct {
		name string
		send func(p *peer, tag uint16)
		want string
	}{
		{"unknown tag", func(p *peer, tag uint16) { p.read(tag+1, "x") }, "which asks for nothing"},
		{"other type", func(p *peer, tag uint16) { p.send(msgTclunk+1, tag, nil) }, "answered read with message type Rclunk"},
		{"too much data", func(p *peer, tag uint16) { p.read(tag, strings.Repeat("x", 11)) }, "a read of 10 bytes with 11"},
		{"count lies", func(p *peer, tag uint16) { p.send(msgTread+1, tag, []byte{5, 0, 0, 0, 'x'}) }, "a read of 10 bytes with 5"},
		{"short read", func(p *peer, tag uint16) { p.send(msgTread+1, tag, []byte{5}) }, "malformed 9P message"},
		{"short error", func(p *peer, tag uint16) { p.send(msgRlerror, tag, []byte{5}) }, "malformed 9P message"},
		{"tiny frame", func(p *peer, _ uint16) { _, _ = p.conn.Write([]byte{6, 0, 0, 0, 0, 0, 0}) }, "a message of 6 bytes"},
		{"huge frame", func(p *peer, _ uint16) { _, _ = p.conn.Write([]byte{0, 0, 0, 255, 117, 0, 0}) }, "a message of"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, p := newPeer(t, 8192)
			go func() {
				_, tag, _ := p.next()
				tc.send(p, tag)
			}()
			_, err := file(c).Read(t.Context(), make([]byte, 10), 0)
			if !stderrors.Is(err, ErrClosed) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %s", err, tc.want)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	for _, tc := range []struct {
		version string
		msize   uint32
		want    string
	}{
		{"unknown", 8192, `the server answers with protocol "unknown"`},
		{"9P2000.L", 8193, "messages of 8193 bytes"},
		{"9P2000.L", 100, "messages of 100 bytes"},
	} {
		a, b := net.Pipe()
		go func() {
			p := &peer{t, b}
			p.next()
			p.agree(tc.msize, tc.version)
			if tc.version == "unknown" {
				p.next() // asked again, without the extension
				p.agree(tc.msize, tc.version)
			}
		}()
		if _, err := New(t.Context(), a, 8192); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v, want %s", err, tc.want)
		}
		_ = b.Close()
	}
}

func TestVersionCancelled(t *testing.T) {
	a, b := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		(&peer{t, b}).next()
		cancel()
	}()
	if _, err := New(ctx, a, 0); !stderrors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	_ = b.Close()
}

func TestErrno(t *testing.T) {
	c, p := newPeer(t, 8192)
	go func() {
		_, tag, _ := p.next()
		p.errno(tag, linux.EACCES)
	}()
	err := file(c).Open(t.Context(), p9.ReadOnly)
	var e *Error
	if !stderrors.As(err, &e) || e.Op != "open" || !stderrors.Is(err, linux.EACCES) {
		t.Errorf("%v", err)
	}
	if _, err := file(c).Walk(t.Context(), strings.Repeat("x", 1<<16)); !stderrors.Is(err, linux.ENAMETOOLONG) {
		t.Errorf("a name that is too long: %v", err)
	}
}

// TestWalkStops: a walk that finds only the first names has made no fid.
func TestWalkStops(t *testing.T) {
	c, p := newPeer(t, 8192)
	go func() {
		_, tag, _ := p.next()
		p.send(msgTwalk+1, tag, append([]byte{1, 0}, make([]byte, 13)...))
	}()
	if _, err := file(c).Walk(t.Context(), "a", "b"); !stderrors.Is(err, linux.ENOENT) {
		t.Errorf("%v", err)
	}
	if len(c.freeFids) != 1 {
		t.Errorf("the fid was not given back: %v", c.freeFids)
	}
}

func TestXattr(t *testing.T) {
	c, p := newPeer(t, 8192)
	go func() {
		_, tag, body := p.next()
		if !bytes.HasSuffix(body, []byte("user.sliod.state")) {
			t.Errorf("%q", body)
		}
		p.send(msgTxattr+1, tag, binary.LittleEndian.AppendUint64(nil, 8))
		for _, part := range []string{"migr", "ated", ""} {
			_, tag, _ := p.next()
			p.read(tag, part)
		}
		typ, tag, _ := p.next()
		if typ != msgTclunk {
			t.Errorf("message %d, want a clunk", typ)
		}
		p.send(msgTclunk+1, tag, nil)
	}()
	if v, err := file(c).Xattr(t.Context(), "user.sliod.state"); err != nil || string(v) != "migrated" {
		t.Errorf("%q, %v", v, err)
	}
}

// TestAgainstP9 talks to a server that was written by others.
func TestAgainstP9(t *testing.T) {
	dir := t.TempDir()
	content := bytes.Repeat([]byte("0123456789"), 20_000)
	if err := os.WriteFile(filepath.Join(dir, "big"), content, 0o640); err != nil {
		t.Fatal(err)
	}
	deep := dir
	var names []string
	for i := range 40 { // more than one Twalk takes
		names = append(names, fmt.Sprint("d", i))
		deep = filepath.Join(deep, names[i])
	}
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("big", filepath.Join(deep, "link")); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		if err := os.WriteFile(filepath.Join(deep, fmt.Sprint("file", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := l.Accept()
		if err == nil {
			_ = p9.NewServer(localfs.Attacher(dir)).Handle(conn, conn)
			_ = conn.Close()
		}
	}()
	ctx := t.Context()
	c, err := Dial(ctx, "unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = c.Close()
		_ = l.Close()
		<-served
	}()
	root, err := c.Attach(ctx, "nobody", 65534, "")
	if err != nil {
		t.Fatal(err)
	}
	f, err := root.Walk(ctx, "big")
	if err != nil {
		t.Fatal(err)
	}
	if _, a, err := f.Getattr(ctx); err != nil || a.Size != uint64(len(content)) || a.Mode.Permissions() != 0o640 {
		t.Errorf("getattr: %v, %v", a, err)
	}
	if err := f.Open(ctx, p9.ReadWrite); err != nil {
		t.Fatal(err)
	}
	if got, err := f.ReadAll(ctx, 1<<20); err != nil || !bytes.Equal(got, content) {
		t.Errorf("read: %d bytes, %v", len(got), err)
	}
	if _, err := f.ReadAll(ctx, 1000); err == nil {
		t.Error("a limit of 1000 bytes was not kept")
	}
	if n, err := f.Write(ctx, []byte("abc"), 5); n != 3 || err != nil {
		t.Errorf("write: %d, %v", n, err)
	}
	if n, err := f.Read(ctx, make([]byte, 9), uint64(len(content))); n != 0 || err != io.EOF {
		t.Errorf("read at the end: %d, %v", n, err)
	}
	if err := f.Clunk(ctx); err != nil {
		t.Error(err)
	}

	d, err := root.Walk(ctx, names...)
	if err != nil {
		t.Fatal(err)
	}
	link, err := d.Walk(ctx, "link")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := link.Readlink(ctx); s != "big" || err != nil {
		t.Errorf("readlink: %q, %v", s, err)
	}
	if _, err := d.Statfs(ctx); err != nil && !stderrors.Is(err, linux.ENOSYS) {
		t.Errorf("statfs: %v", err)
	}
	if err := d.Open(ctx, p9.ReadOnly); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for off := uint64(0); ; {
		list, err := d.Readdir(ctx, off)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		for _, e := range list {
			seen[e.Name], off = true, e.Offset
		}
	}
	if !seen["file0"] || !seen["file299"] || !seen["link"] {
		t.Errorf("%d names", len(seen))
	}
	if _, err := root.Walk(ctx, "d0", "none"); !stderrors.Is(err, linux.ENOENT) {
		t.Errorf("walk to nothing: %v", err)
	}
}

// FuzzServer: whatever a server sends, calls return, and nothing panics.
func FuzzServer(f *testing.F) {
	frame := func(typ uint8, tag uint16, body ...byte) []byte {
		b := binary.LittleEndian.AppendUint32(nil, uint32(headerSize+len(body)))
		return append(binary.LittleEndian.AppendUint16(append(b, typ), tag), body...)
	}
	f.Add(frame(msgTgetattr+1, 0, make([]byte, 153)...))
	f.Add(slices.Concat(frame(msgTgetattr+1, 0, make([]byte, 20)...), frame(msgTreaddir+1, 1, 24, 0, 0, 0)))
	f.Add(slices.Concat(frame(msgRlerror, 0, 2, 0, 0, 0), frame(msgTreaddir+1, 1, append([]byte{25, 0, 0, 0}, make([]byte, 25)...)...)))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, answers []byte) {
		a, b := net.Pipe()
		go func() {
			p := &peer{t, b}
			p.next()
			p.version(8192)
			p.next()
			_, _ = b.Write(answers)
			_ = b.Close()
		}()
		c, err := New(t.Context(), a, 8192)
		if err != nil {
			t.Fatal(err)
		}
		_, _, _ = file(c).Getattr(t.Context())
		_, _ = file(c).Readdir(t.Context(), 0)
		_, _ = file(c).Walk(t.Context(), "a")
		_ = c.Close()
		_ = b.Close()
	})
}
