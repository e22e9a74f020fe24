package server

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sliod/cert"
)

// tlsServer returns a listener's configuration with a CA of its own.
func tlsServer(t *testing.T) *tls.Config {
	t.Helper()
	ca := &cert.CA{Dir: t.TempDir()}
	root, err := ca.Init()
	if err != nil {
		t.Fatal(err)
	}
	p, err := ca.Server("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	src, err := cert.NewServer(cert.Files{Cert: p.Cert, Key: p.Key, CA: root.Cert}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return src.Config()
}

// TestHandshakeTime: a client that does not go on is given up.
func TestHandshakeTime(t *testing.T) {
	cfg := tlsServer(t)
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer func() { _ = a.Close() }()
		begin := time.Now()
		_, err := Identify(tls.Server(b, cfg))
		if err == nil || !strings.Contains(err.Error(), "no TLS handshake in 10s") || time.Since(begin) != handshakeTime {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		_ = b.Close()
	})
}

// TestHostileHandshakes: whatever comes instead of a handshake, the connection ends, and
// says so in one line of the log.
func TestHostileHandshakes(t *testing.T) {
	cfg := tlsServer(t)
	e := newEnv(t, func(c *Config) { c.Exports = append(c.Exports, newExport(t, "tls")) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.s.Serve(ctx, tls.NewListener(l, cfg)) }()
	flood := make([]byte, 1<<20)
	for i := range flood {
		flood[i] = byte(i * 7)
	}
	handshakes := append([]byte{22, 3, 3, 0x40, 0, 1, 0xff, 0xff, 0xff}, flood[:1<<14]...) // says it has 16 MiB
	for _, p := range [][]byte{flood, handshakes, []byte("Tversion"), []byte("GET / HTTP/1.0\r\n\r\n"), {}, {22}} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(p) // the server may hang up before it is all out
		_ = c.(*net.TCPConn).CloseWrite()
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, c); n > 1000 || err != nil && !isReset(err) {
			t.Errorf("%.10q: %d bytes and %v", p, n, err)
		}
		_ = c.Close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := e.s.Close(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(e.log.String(), "connection refused"); n != 6 {
		t.Errorf("%d of 6 are in the log:\n%s", n, e.log)
	}
}

// TestStrangersLeaveRoom: other machines cannot have all connections.
func TestStrangersLeaveRoom(t *testing.T) {
	for _, x := range []struct{ n, want int }{{4096, 3072}, {4, 3}, {1, 1}} {
		if got := strangerShare(x.n); got != x.want {
			t.Errorf("%d of %d", got, x.n)
		}
	}
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	if isStranger(a) {
		t.Error("a pipe is from here")
	}
}
