package dial

import (
	"crypto/tls"
	"net"
	"syscall"
	"testing"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"sliod/cert"
)

// TestSilenceEnds looks at what the kernel was told about networks that go silent.
func TestSilenceEnds(t *testing.T) {
	ca := &cert.CA{Dir: t.TempDir()}
	made := func(p cert.Pair, err error) cert.Pair {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	root, own, servers := made(ca.Init()), made(ca.Client(cert.Name{Name: "alice"})), made(ca.Server("127.0.0.1"))
	source, err := cert.NewServer(cert.Files{Cert: servers.Cert, Key: servers.Key, CA: root.Cert}, logrus.NewEntry(logrus.New()))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"tcp", "tls", "irreplaceable"} {
		t.Run(kind, func(t *testing.T) {
			o := Options{TLS: cert.Files{Cert: own.Cert, CA: root.Cert}}
			timeout := 60_000
			if kind == "irreplaceable" {
				kind, timeout, o.Irreplaceable = "tls", 0, true
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if kind == "tls" {
				l = tls.NewListener(l, source.Config())
			}
			done := make(chan struct{})
			defer func() { _ = l.Close(); <-done }()
			go func() {
				defer close(done)
				c, err := l.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = c.Read(make([]byte, 1)) // the handshake, and the end
				_ = c.Close()
			}()
			c, err := Dial(t.Context(), kind+":"+l.Addr().String(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if s, ok := c.(*conn); ok {
				c = s.NetConn()
			}
			raw, err := c.(syscall.Conn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range []struct {
				name          string
				level, number int
				min, max      int
			}{
				{"TCP_USER_TIMEOUT, in ms", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, timeout, timeout},
				{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1, 1},
				{"TCP_KEEPIDLE, in s", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 1, 59},
				{"TCP_KEEPINTVL, in s", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 1, 59},
			} {
				var got int
				if cerr := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), o.level, o.number) }); cerr != nil || err != nil {
					t.Fatal(cerr, err)
				}
				if got < o.min || got > o.max {
					t.Errorf("%s is %d, not from %d to %d", o.name, got, o.min, o.max)
				}
			}
		})
	}
}
