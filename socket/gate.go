package socket

import (
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// gate is where a goroutine waits in the runtime's poller for one kind of event of a socket:
// an epoll instance, which the poller watches. It is armed for each wait and tells of one
// event, so nothing that the socket does otherwise wakes the poller.
type gate struct {
	events uint32

	mu       sync.Mutex
	file     *os.File // nil: nobody has waited yet
	raw      syscall.RawConn
	deadline time.Time
	closed   bool
}

// open makes the epoll instance for the socket fd, and has the deadline hold.
func (g *gate) open(fd int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.file != nil {
		return nil
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return errors.Wrap(err, "wait for a socket")
	}
	err = unix.SetNonblock(ep, true) // of no meaning to epoll: it has package os use the poller
	if err == nil {
		err = unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLONESHOT})
	}
	if err != nil {
		_ = unix.Close(ep) // nobody has used it
		return errors.Wrap(err, "wait for a socket")
	}
	file := os.NewFile(uintptr(ep), "epoll")
	err = file.SetReadDeadline(g.deadline) // says as well whether the poller takes it
	if err == nil {
		g.raw, err = file.SyscallConn()
	}
	if err != nil {
		_ = file.Close()
		return errors.Wrap(err, "wait for a socket")
	}
	g.file = file
	return nil
}

// wait waits for an event of the socket fd, or a hang-up. It may return without one. The error
// is os.ErrDeadlineExceeded if the deadline has come.
func (g *gate) wait(fd int) error {
	if err := g.open(fd); err != nil {
		return err
	}
	armed := false
	var epErr error
	err := g.raw.Read(func(ep uintptr) bool {
		if !armed {
			// Not before Read: it forgets what has happened until it calls.
			armed = true
			epErr = unix.EpollCtl(int(ep), unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: g.events | unix.EPOLLONESHOT})
			return epErr != nil
		}
		// To take the event is what disarms; and one that is not taken hides the next.
		var n int
		var events [1]unix.EpollEvent
		if n, epErr = unix.EpollWait(int(ep), events[:], 0); epErr == unix.EINTR {
			epErr = nil
		}
		return n > 0 || epErr != nil
	})
	if err == nil {
		err = errors.Wrap(epErr, "wait for a socket")
	}
	return err
}

// setDeadline ends each wait at t, also one that is under way. The zero time: none.
func (g *gate) setDeadline(t time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.deadline = t
	if g.file != nil && !g.closed {
		_ = g.file.SetReadDeadline(t) // it is open
	}
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	if g.file != nil {
		_ = g.file.Close() // nothing is in it
	}
}

// AwaitInput waits in the runtime's poller until something may have come in, or the
// connection has ended, or InputDeadline has come: os.ErrDeadlineExceeded.
func (s *Socket) AwaitInput() error { return s.in.wait(s.fd) }

// AwaitRoom waits in the runtime's poller until there may be room for what is to go out, or
// the connection has ended, or OutputDeadline has come: os.ErrDeadlineExceeded.
func (s *Socket) AwaitRoom() error { return s.out.wait(s.fd) }

// InputDeadline ends AwaitInput, now and later, at t. It has an effect after Close, which
// is none.
func (s *Socket) InputDeadline(t time.Time) { s.in.setDeadline(t) }

// OutputDeadline is InputDeadline for AwaitRoom.
func (s *Socket) OutputDeadline(t time.Time) { s.out.setDeadline(t) }
