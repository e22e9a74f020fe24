package socket

import (
	stderrors "errors"
	"io"
	"net"
	"syscall"
	"unsafe"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// ErrNothing says that nothing has come in, or that there is no room for what is to go out.
var ErrNothing = stderrors.New("the socket is not ready")

// Socket is a connected socket, which the runtime's poller does not watch.
type Socket struct {
	fd      int
	rhythm  rhythm
	in, out gate
}

// Take returns the socket of a connection, which it ends otherwise. nil: it is no stream
// socket of the system, and conn stays as it is, as it does with an error.
func Take(conn net.Conn) (*Socket, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil, nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, errors.Wrap(err, "take over a socket")
	}
	s := &Socket{fd: -1}
	var kind int
	var dupErr error
	err = raw.Control(func(fd uintptr) {
		if kind, dupErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE); dupErr == nil && kind == unix.SOCK_STREAM {
			s.fd, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
		}
	})
	if err == nil {
		err = dupErr
	}
	switch {
	case err == unix.ENOTSOCK, err == nil && kind != unix.SOCK_STREAM:
		return nil, nil
	case err != nil:
		return nil, errors.Wrap(err, "take over a socket")
	}
	if err := unix.SetNonblock(s.fd, true); err != nil {
		_ = unix.Close(s.fd) // conn has the socket still
		return nil, errors.Wrap(err, "take over a socket")
	}
	s.in.events, s.out.events = unix.EPOLLIN|unix.EPOLLRDHUP, unix.EPOLLOUT
	_ = conn.Close() // of two descriptors of the socket, the poller's
	return s, nil
}

// Send sends what the socket takes without waiting, and takes it off bufs.
func (s *Socket) Send(bufs *net.Buffers) error {
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

// Writev sends what the socket takes of v without waiting: ErrNothing if that is nothing.
// There must be no more vectors than IOV_MAX (writev(2)). They may point into a mapping that is not in memory.
func (s *Socket) Writev(v []unix.Iovec) (int, error) {
	for {
		n, _, errno := unix.Syscall(unix.SYS_WRITEV, uintptr(s.fd), uintptr(unsafe.Pointer(&v[0])), uintptr(len(v)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, ErrNothing
		default:
			return 0, errors.Wrap(errno, "send")
		}
	}
}

// Recv receives what there is without waiting: ErrNothing if that is nothing. io.EOF says
// that the other end has ended the connection.
func (s *Socket) Recv(p []byte) (int, error) {
	for {
		n, _, err := unix.Recvfrom(s.fd, p, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, ErrNothing
		case err != nil:
			return 0, errors.Wrap(err, "receive")
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Await waits in a system call until one of events (poll(2)) has come, or the connection
// has ended.
func (s *Socket) Await(events int16) { s.poll(events, -1) }

// poll waits for events, ms milliseconds at most. If it cannot wait, the next call on the
// socket will say why.
func (s *Socket) poll(events int16, ms int) {
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: events}}
	for {
		if _, err := unix.Poll(fds, ms); err != unix.EINTR {
			return
		}
	}
}

// Shutdown ends the connection, and every wait for it but those in the poller, which
// find its end. The socket must not have been closed.
func (s *Socket) Shutdown() { _ = unix.Shutdown(s.fd, unix.SHUT_RDWR) } // it may have ended already

// Close gives the socket back.
func (s *Socket) Close() {
	s.in.close()
	s.out.close()
	_ = unix.Close(s.fd) // nothing is left that could be lost
}
