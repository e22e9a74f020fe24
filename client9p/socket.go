package client9p

import (
	stderrors "errors"
	"io"
	"net"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// socket is a connected socket that the runtime's poller does not watch: who waits for
// it does so in a system call. An answer then wakes one thread, which is that of the
// caller, where the poller's would wake a second one first. Each method but close is
// safe for concurrent use, one sender and one receiver at a time.
type socket struct{ fd int }

// maxWait is how long recv waits.
const maxWait = time.Millisecond

// errNothing says that nothing has come in.
var errNothing = stderrors.New("nothing has come in")

// takeSocket returns the socket of a connection and ends conn; nil if it is no socket of
// the system, and conn stays.
func takeSocket(conn net.Conn) (*socket, error) {
	var raw interface {
		Control(func(fd uintptr)) error
	}
	var err error
	switch c := conn.(type) {
	case *net.UnixConn:
		raw, err = c.SyscallConn()
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	default:
		return nil, nil
	}
	if err != nil {
		return nil, errors.WithStack(err)
	}
	s := &socket{-1}
	var dupErr error
	err = raw.Control(func(fd uintptr) {
		s.fd, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err == nil {
		err = dupErr
	}
	if err == nil {
		wait := unix.NsecToTimeval(int64(maxWait))
		if err = unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err == nil {
			err = unix.SetNonblock(s.fd, false)
		}
		if err != nil {
			s.close()
		}
	}
	if err != nil {
		return nil, errors.Wrap(err, "take over the socket of the connection")
	}
	_ = conn.Close() // of two descriptors of the socket, the poller's
	return s, nil
}

// send sends what the socket takes without waiting, and takes it off bufs.
func (s *socket) send(bufs *net.Buffers) error {
	for len(*bufs) > 0 {
		n, err := unix.SendmsgBuffers(s.fd, *bufs, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return nil
		case err != nil:
			return errors.Wrap(err, "send")
		}
		for b := *bufs; n > 0; b = *bufs {
			k := min(n, len(b[0]))
			b[0] = b[0][k:]
			n -= k
			if len(b[0]) == 0 {
				b[0] = nil // it is the caller's
				*bufs = b[1:]
			}
		}
	}
	return nil
}

// recv receives what there is, waiting for it up to maxWait, or not at all: errNothing
// then. io.EOF says that the server has ended the connection.
func (s *socket) recv(p []byte, wait bool) (int, error) {
	flags := 0
	if !wait {
		flags = unix.MSG_DONTWAIT
	}
	for {
		n, _, err := unix.Recvfrom(s.fd, p, flags)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, errNothing
		case err != nil:
			return 0, errors.Wrap(err, "receive")
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// await waits until one of events (poll(2)) has come, or the connection has ended.
func (s *socket) await(events int16) {
	for {
		fds := []unix.PollFd{{Fd: int32(s.fd), Events: events}}
		if _, err := unix.Poll(fds, -1); err != unix.EINTR {
			return // if it cannot wait, the next call on the socket will say why
		}
	}
}

// shutdown ends the connection, and every wait for it.
func (s *socket) shutdown() { _ = unix.Shutdown(s.fd, unix.SHUT_RDWR) } // it may have ended already

// close gives the socket back. No other method may be under way.
func (s *socket) close() { _ = unix.Close(s.fd) } // nothing is left that could be lost
