package relay

import (
	"bytes"
	"context"
	stderrors "errors"
	"io"
	"net"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sides returns a relay's two connections and their other ends.
func sides() (kernel, server, relayK, relayS net.Conn) {
	kernel, relayK = net.Pipe()
	server, relayS = net.Pipe()
	return
}

func TestRelay(t *testing.T) {
	kernel, server, rk, rs := sides()
	ended := make(chan error, 1)
	go func() { ended <- Run(t.Context(), rk, rs) }()
	for _, n := range []int{1, 7, bufferSize, 3*bufferSize + 5} {
		for _, d := range []struct{ from, to net.Conn }{{kernel, server}, {server, kernel}} {
			sent := bytes.Repeat([]byte{byte(n)}, n)
			go func() { _, _ = d.from.Write(sent) }()
			got := make([]byte, n)
			if _, err := io.ReadFull(d.to, got); err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("%d bytes: %v", n, err)
			}
		}
	}
	_ = kernel.Close() // as umount does
	if err := <-ended; err != nil {
		t.Errorf("after the kernel's end: %v", err)
	}
	if _, err := server.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the server's connection was left open: %v", err)
	}
}

func TestServerGone(t *testing.T) {
	kernel, server, rk, rs := sides()
	ended := make(chan error, 1)
	go func() { ended <- Run(t.Context(), rk, rs) }()
	_ = server.Close()
	if err := <-ended; !stderrors.Is(err, ErrServer) {
		t.Errorf("%v", err)
	}
	if _, err := kernel.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the kernel was not told: %v", err)
	}
}

// TestServerGoneInWrite: the kernel sends what nobody takes any more.
func TestServerGoneInWrite(t *testing.T) {
	kernel, server, rk, rs := sides()
	ended := make(chan error, 1)
	go func() { ended <- Run(t.Context(), rk, rs) }()
	if _, err := kernel.Write([]byte("x")); err != nil { // the relay is in its write to the server now
		t.Fatal(err)
	}
	_ = server.Close()
	if err := <-ended; !stderrors.Is(err, ErrServer) {
		t.Errorf("%v", err)
	}
	_ = kernel.Close()
}

func TestCancelled(t *testing.T) {
	kernel, server, rk, rs := sides()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, rk, rs) }()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("%v", err)
	}
	_, _ = kernel.Close(), server.Close()
}

func TestPair(t *testing.T) {
	ours, kernels, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	if _, err := kernels.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(ours, got); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	_ = kernels.Close()
	if _, err := ours.Read(got); err != io.EOF {
		t.Errorf("after the other end: %v", err)
	}
}
