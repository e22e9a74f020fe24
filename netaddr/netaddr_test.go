package netaddr

import (
	"context"
	stderrors "errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	deep := "/" + strings.Repeat("d/", 100) + "s"
	for _, tc := range []struct {
		in   string
		want Addr
		err  string
	}{
		{"tcp:127.0.0.1:5640", Addr{Kind: TCP, HostPort: "127.0.0.1:5640"}, ""},
		{"tcp:[::1]:0", Addr{Kind: TCP, HostPort: "[::1]:0"}, ""},
		{"tcp::5640", Addr{Kind: TCP, HostPort: ":5640"}, ""},
		{"tls:tape.example:564", Addr{Kind: TLS, HostPort: "tape.example:564"}, ""},
		{"unix:/run/s.sock", Addr{Kind: Unix, Path: "/run/s.sock"}, ""},
		{"unix:" + deep, Addr{Kind: Unix, Path: deep}, ""},
		{"port:/dev/virtio-ports/org.sliod", Addr{Kind: Port, Path: "/dev/virtio-ports/org.sliod"}, ""},
		{"vsock:5640", Addr{Kind: Vsock, CID: AnyCID, VPort: 5640}, ""},
		{"vsock:2:5640", Addr{Kind: Vsock, CID: 2, VPort: 5640}, ""},
		{"", Addr{}, "has no kind"},
		{"tcp:", Addr{}, "write tcp:HOST:PORT"},
		{"tcp:h:port", Addr{}, "not a number from 0 to 65535"},
		{"tls:h:65536", Addr{}, "not a number from 0 to 65535"},
		{"tls:h", Addr{}, "write tls:HOST:PORT"},
		{"unix:", Addr{}, "has no path"},
		{"unix:@s", Addr{}, "abstract"},
		{"unix:/a\x00b", Addr{}, "zero byte"},
		{"unix:/" + strings.Repeat("x", 107), Addr{}, "at most 85 bytes, this one has 107"},
		{"unix:/" + strings.Repeat("x/", 2100), Addr{}, "4095 are possible"},
		{"vsock:", Addr{}, "write vsock:PORT"},
		{"vsock:4294967295", Addr{}, "write vsock:PORT"},
		{"vsock:x:1", Addr{}, `the CID "x" is not a number`},
		{"vsock:4294967295:1", Addr{}, "is not a number below"},
		{"vsock:1:2:3", Addr{}, "write vsock:PORT"},
		{"ftp:h:21", Addr{}, `"ftp" is not a kind of address`},
	} {
		a, err := Parse(tc.in)
		if a != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%q: %+v, %v", tc.in, a, err)
		}
		if err == nil && a.String() != tc.in {
			t.Errorf("%q is written %q", tc.in, a.String())
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"tcp:127.0.0.1:5640", "tls:[::1]:1", "unix:/run/s", "vsock:2:1", "port:/dev/x", "a:b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			return
		}
		if again, err := Parse(a.String()); err != nil || again != a {
			t.Fatalf("%q is %+v, which is written %q and read %+v, %v", s, a, a.String(), again, err)
		}
	})
}

// talk sends a word from one end to the other and back.
func talk(t *testing.T, l net.Listener, dial func() (net.Conn, error)) {
	t.Helper()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	c, err := dial()
	if err != nil {
		_ = l.Close()
		<-accepted
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	s := <-accepted
	defer func() { _ = s.Close() }()
	for _, way := range [][2]net.Conn{{c, s}, {s, c}} {
		b := make([]byte, 5)
		if _, err := way[0].Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(way[1], b); err != nil || string(b) != "hello" {
			t.Fatal(string(b), err)
		}
	}
}

// TestUnix uses sockets with short and with long paths.
func TestUnix(t *testing.T) {
	dir := t.TempDir()
	long := filepath.Join(dir, strings.Repeat("d", 120), strings.Repeat("e", 120))
	if err := os.MkdirAll(long, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "s"), filepath.Join(long, "sliod.sock")} {
		l, err := ListenUnix(path)
		if err != nil {
			t.Fatal(err)
		}
		if l.Addr().String() != path {
			t.Errorf("it is at %s, not %s", l.Addr(), path)
		}
		talk(t, l, func() (net.Conn, error) { return DialUnix(t.Context(), path) })
		if _, err := ListenUnix(path); !stderrors.Is(err, unix.EADDRINUSE) {
			t.Errorf("twice: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := l.Close(); !stderrors.Is(err, net.ErrClosed) {
			t.Errorf("closed twice: %v", err)
		}
		if _, err := os.Lstat(path); !stderrors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
		if _, err := DialUnix(t.Context(), path); !stderrors.Is(err, os.ErrNotExist) {
			t.Errorf("nobody listens: %v", err)
		}
	}
	if _, err := ListenUnix(filepath.Join(long, "no", strings.Repeat("f", 80), "s")); !stderrors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

// TestPort uses a terminal in the place of a serial port: both are character devices
// that can be polled.
func TestPort(t *testing.T) {
	master, err := OpenPort("/dev/ptmx")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = master.Close() }()
	var n int
	if err := control(master.(*fileConn).File, func(fd int) (err error) {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	c, err := OpenPort(filepath.Join("/dev/pts", strconv.Itoa(n)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(master, b); err != nil || string(b) != "hello" {
		t.Fatal(string(b), err)
	}
	// Close ends a read that waits.
	ended := make(chan error, 1)
	go func() {
		_, err := c.Read(b)
		ended <- err
	}()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !stderrors.Is(err, net.ErrClosed) {
		t.Errorf("a read of a closed port: %v", err)
	}
	plain := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPort(plain); !stderrors.Is(err, unix.ENOTTY) {
		t.Errorf("a plain file: %v", err)
	}
}

// TestVsockWaits needs no vsock device: what waits ends by its context, or by Close.
func TestVsockWaits(t *testing.T) {
	l, err := ListenVsock(AnyCID, AnyCID)
	if err != nil {
		t.Fatal(err) // the machine has no AF_VSOCK at all
	}
	ended := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !stderrors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c, err := DialVsock(ctx, 1, 5640); err == nil {
		_ = c.Close()
		t.Error("connected with a context that has ended")
	}
}
