package socket

import (
	"bytes"
	stderrors "errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair returns a socket and its other end, of kind "unix" or "tcp".
func pair(t *testing.T, kind string) (*Socket, net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if kind == "unix" {
		address = t.TempDir() + "/s"
	}
	l, err := net.Listen(kind, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial(kind, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Take(a)
	if err != nil || s == nil {
		t.Fatalf("%v, %v", s, err)
	}
	t.Cleanup(func() {
		s.Close()
		_ = b.Close() // some tests close it themselves
	})
	return s, b
}

// both runs a test with both kinds of sockets.
func both(t *testing.T, test func(t *testing.T, s *Socket, other net.Conn)) {
	for _, kind := range []string{"unix", "tcp"} {
		t.Run(kind, func(t *testing.T) {
			s, other := pair(t, kind)
			test(t, s, other)
		})
	}
}

func write(t *testing.T, c net.Conn, p string) {
	t.Helper()
	if _, err := c.Write([]byte(p)); err != nil {
		t.Error(err)
	}
}

// receive waits for input as a server does, and takes it.
func receive(s *Socket, p []byte) (int, error) {
	n, err := s.RecvSoon(p)
	for ; err == ErrNothing; n, err = s.Recv(p) {
		if err := s.AwaitInput(); err != nil {
			return 0, err
		}
	}
	return n, err
}

func TestTake(t *testing.T) {
	a, b := net.Pipe()
	if s, err := Take(a); s != nil || err != nil {
		t.Errorf("of a pipe in this process: %v, %v", s, err)
	}
	write := make(chan error)
	go func() { _, err := a.Write([]byte("x")); write <- err }()
	if _, err := b.Read(make([]byte, 1)); err != nil || <-write != nil {
		t.Error("the connection does not stay as it was")
	}
	_, _ = a.Close(), b.Close()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
	if s, err := Take(fileConn{r}); s != nil || err != nil {
		t.Errorf("of a pipe: %v, %v", s, err)
	}
	_, _ = r.Close(), w.Close()
	if s, err := Take(fileConn{r}); s != nil || err == nil {
		t.Errorf("of a closed one: %v, %v", s, err)
	}
}

// fileConn is a connection that is no socket.
type fileConn struct{ *os.File }

func (fileConn) LocalAddr() net.Addr  { return nil }
func (fileConn) RemoteAddr() net.Addr { return nil }

func TestRecv(t *testing.T) {
	both(t, func(t *testing.T, s *Socket, other net.Conn) {
		p := make([]byte, 8)
		if n, err := s.Recv(p); n != 0 || err != ErrNothing {
			t.Errorf("nothing: %d, %v", n, err)
		}
		for range 3 { // one that spins, and ones that do not
			if n, err := s.RecvSoon(p); n != 0 || err != ErrNothing {
				t.Errorf("nothing, after a moment: %d, %v", n, err)
			}
		}
		for range 100 {
			go write(t, other, "here")
			if n, err := receive(s, p); err != nil || string(p[:n]) != "here" {
				t.Fatalf("%q, %v", p[:n], err)
			}
		}
		write(t, other, "last")
		_ = other.Close()
		if n, err := receive(s, p); err != nil || string(p[:n]) != "last" {
			t.Errorf("%q, %v", p[:n], err)
		}
		if n, err := receive(s, p); n != 0 || err != io.EOF {
			t.Errorf("after the end: %d, %v", n, err)
		}
	})
}

// TestAwaitInput waits longer than RecvSoon does, for data and for a hang-up.
func TestAwaitInput(t *testing.T) {
	both(t, func(t *testing.T, s *Socket, other net.Conn) {
		p := make([]byte, 8)
		for range 20 {
			waits := make(chan error)
			go func() { waits <- s.AwaitInput() }()
			select {
			case err := <-waits:
				t.Fatalf("it came back before there was anything (%v)", err)
			case <-time.After(2 * time.Millisecond): // that something does not happen
			}
			write(t, other, "here")
			if err := <-waits; err != nil {
				t.Fatal(err)
			}
			if err := s.AwaitInput(); err != nil { // it is there still
				t.Fatal(err)
			}
			if n, err := s.Recv(p); err != nil || string(p[:n]) != "here" {
				t.Fatalf("%q, %v", p[:n], err)
			}
		}
		_ = other.Close()
		if err := s.AwaitInput(); err != nil {
			t.Error(err)
		}
		if _, err := s.Recv(p); err != io.EOF {
			t.Error(err)
		}
	})
}

// TestNoWakeForRoom has the other end take in what was sent, which makes room: a wait for
// input does not end by it.
func TestNoWakeForRoom(t *testing.T) {
	s, other := pair(t, "unix")
	if err := s.Send(&net.Buffers{[]byte("asked")}); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 5)
	if err := s.in.open(s.fd); err != nil {
		t.Fatal(err)
	}
	if err := unix.EpollCtl(int(s.in.file.Fd()), unix.EPOLL_CTL_MOD, s.fd, &unix.EpollEvent{Events: s.in.events | unix.EPOLLONESHOT}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(other, p); err != nil {
		t.Fatal(err)
	}
	var events [1]unix.EpollEvent
	if n, err := unix.EpollWait(int(s.in.file.Fd()), events[:], 0); n != 0 || err != nil {
		t.Errorf("%d events (%x), %v", n, events[0].Events, err)
	}
	write(t, other, "more")
	if n, err := unix.EpollWait(int(s.in.file.Fd()), events[:], 0); n != 1 || err != nil {
		t.Errorf("%d events, %v", n, err)
	}
}

// TestDeadlines ends waits, those under way and those that begin afterwards.
func TestDeadlines(t *testing.T) {
	both(t, func(t *testing.T, s *Socket, other net.Conn) {
		fill(t, s)
		for _, w := range []struct {
			wait     func() error
			deadline func(time.Time)
		}{{s.AwaitInput, s.InputDeadline}, {s.AwaitRoom, s.OutputDeadline}} {
			waits := make(chan error)
			go func() { waits <- w.wait() }()
			w.deadline(time.Unix(1, 0))
			// On TCP there may have been room once more, until both ends have their buffers.
			if err := <-waits; err != nil && !stderrors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
			if err := w.wait(); !stderrors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
		}
	})
}

// fill sends until the socket takes no more, and returns how much that was.
func fill(t *testing.T, s *Socket) int {
	t.Helper()
	sent, block := 0, make([]byte, 64<<10)
	for {
		bufs := net.Buffers{block}
		if err := s.Send(&bufs); err != nil {
			t.Fatal(err)
		}
		if sent += len(block); len(bufs) > 0 {
			return sent - len(bufs[0])
		}
	}
}

// TestAwaitRoom sends far more than the socket holds to one who reads it in pieces.
func TestAwaitRoom(t *testing.T) {
	both(t, func(t *testing.T, s *Socket, other net.Conn) {
		data := make([]byte, 16<<20)
		for i := range data {
			data[i] = byte(i >> 4)
		}
		got := make(chan []byte)
		go func() {
			var all []byte
			p := make([]byte, 30000)
			for len(all) < len(data) {
				n, err := other.Read(p)
				if err != nil {
					t.Error(err)
					break
				}
				all = append(all, p[:n]...)
			}
			got <- all
		}()
		for left := data; len(left) > 0; {
			v := unix.Iovec{Base: &left[0]}
			v.SetLen(len(left))
			n, err := s.Writev([]unix.Iovec{v})
			if err == ErrNothing {
				err = s.AwaitRoom()
			}
			if err != nil {
				t.Fatal(err)
			}
			left = left[n:]
		}
		if !bytes.Equal(<-got, data) {
			t.Error("other data came than went")
		}
	})
}

// TestShutdown ends a wait in a system call, and both directions.
func TestShutdown(t *testing.T) {
	both(t, func(t *testing.T, s *Socket, other net.Conn) {
		done := make(chan struct{})
		go func() { defer close(done); s.Await(unix.POLLIN) }()
		s.Shutdown()
		<-done
		if _, err := s.Recv(make([]byte, 1)); err != io.EOF {
			t.Error(err)
		}
		if err := s.Send(&net.Buffers{[]byte("x")}); !stderrors.Is(err, unix.EPIPE) {
			t.Error(err)
		}
	})
}

// TestRhythm counts how often of many waits it is asked again and again, and for how long,
// if something always comes after the same time.
func TestRhythm(t *testing.T) {
	for _, tc := range []struct {
		comes         time.Duration
		hits, misses  int // of 10,000; -1: any number
		shortest, max time.Duration
	}{
		{10 * time.Microsecond, 10000, 0, minSpin, minSpin},
		{60 * time.Microsecond, 9998, 2, 100 * time.Microsecond, 120 * time.Microsecond}, // two to learn
		{150 * time.Microsecond, 9997, 3, maxSpin, maxSpin},
		{250 * time.Microsecond, 0, 18, minSpin, minSpin}, // too long: ever more seldom
		{time.Second, 0, 18, minSpin, minSpin},
	} {
		var r rhythm
		hits, misses := 0, 0
		for range 10000 {
			switch spin := r.next(); {
			case spin == 0:
			case tc.comes < spin:
				hits++
				r.hit(tc.comes)
			default:
				misses++
				r.miss(tc.comes)
			}
		}
		spin := max(r.spin, minSpin)
		if hits != tc.hits || misses != tc.misses || spin < tc.shortest || spin > tc.max {
			t.Errorf("after %v: %d hits, %d misses, %v at the end", tc.comes, hits, misses, spin)
		}
	}
}
