package netaddr

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// past is a deadline that ends every wait.
var past = time.Unix(1, 0)

// hostCID is VMADDR_CID_HOST.
const hostCID = 2

// VsockAddr is one end of a vsock connection.
type VsockAddr struct{ CID, Port uint32 }

// Network implements net.Addr.
func (a VsockAddr) Network() string { return "vsock" }

func (a VsockAddr) String() string {
	if a.CID == AnyCID {
		return fmt.Sprint(a.Port)
	}
	return fmt.Sprintf("%d:%d", a.CID, a.Port)
}

func vsockSocket() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	return os.NewFile(uintptr(fd), "vsock"), nil
}

// control runs f with the file's descriptor.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := raw.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return err
	}
	return ferr
}

// vsockEnds returns the addresses of a connected socket.
func vsockEnds(fd int) (local, remote VsockAddr, err error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return local, remote, os.NewSyscallError("getsockname", err)
	}
	l, ok1 := sa.(*unix.SockaddrVM)
	if sa, err = unix.Getpeername(fd); err != nil {
		return local, remote, os.NewSyscallError("getpeername", err)
	}
	r, ok2 := sa.(*unix.SockaddrVM)
	if !ok1 || !ok2 {
		return local, remote, errors.New("a vsock socket has addresses of another kind")
	}
	return VsockAddr{l.CID, l.Port}, VsockAddr{r.CID, r.Port}, nil
}

// DialVsock connects to a port of the machine cid; AnyCID stands for the host.
func DialVsock(ctx context.Context, cid, port uint32) (net.Conn, error) {
	if cid == AnyCID {
		cid = hostCID
	}
	f, err := vsockSocket()
	if err != nil {
		return nil, err
	}
	c := &fileConn{File: f}
	begun := false
	var cerr error
	err = await(ctx, f, true, func(fd int) bool {
		if !begun {
			begun = true
			cerr = unix.Connect(fd, &unix.SockaddrVM{CID: cid, Port: port})
			if cerr == unix.EINPROGRESS || cerr == unix.EINTR || cerr == unix.EAGAIN {
				return false // the poller says when it is over
			}
			cerr = os.NewSyscallError("connect", cerr)
			return true
		}
		// The poller may say so for no reason: only the peer's name proves it.
		n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && n != 0 {
			err = unix.Errno(n)
		}
		if err == nil {
			if _, err = unix.Getpeername(fd); err == unix.ENOTCONN {
				return false
			}
		}
		cerr = os.NewSyscallError("connect", err)
		return true
	})
	if err == nil {
		err = cerr
	}
	if err == nil {
		err = control(f, func(fd int) error {
			l, r, err := vsockEnds(fd)
			c.local, c.remote = l, r
			return err
		})
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return c, nil
}

// vsockListener implements net.Listener.
type vsockListener struct {
	f      *os.File
	addr   VsockAddr
	closed atomic.Bool
}

// ListenVsock listens on a port of the machine's own cid, AnyCID for every one. Port
// AnyCID (VMADDR_PORT_ANY) takes a free one.
func ListenVsock(cid, port uint32) (net.Listener, error) {
	f, err := vsockSocket()
	if err != nil {
		return nil, err
	}
	l := &vsockListener{f: f}
	err = control(f, func(fd int) error {
		if err := unix.Bind(fd, &unix.SockaddrVM{CID: cid, Port: port}); err != nil {
			return os.NewSyscallError("bind", err)
		}
		sa, err := unix.Getsockname(fd)
		if err != nil {
			return os.NewSyscallError("getsockname", err)
		}
		if vm, ok := sa.(*unix.SockaddrVM); ok {
			l.addr = VsockAddr{vm.CID, vm.Port}
		}
		return os.NewSyscallError("listen", unix.Listen(fd, 128))
	})
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return l, nil
}

func (l *vsockListener) Addr() net.Addr { return l.addr }

func (l *vsockListener) Close() error {
	again := l.closed.Swap(true)
	err := l.f.Close()
	if !again {
		return err
	}
	return netErr(err, &l.closed)
}

func (l *vsockListener) Accept() (net.Conn, error) {
	c := new(fileConn)
	var aerr error
	err := await(context.Background(), l.f, false, func(fd int) bool {
		nfd, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		switch err {
		case nil:
		case unix.EAGAIN, unix.EINTR, unix.ECONNABORTED:
			return false
		default:
			aerr = os.NewSyscallError("accept", err)
			return true
		}
		l, r, err := vsockEnds(nfd)
		if err != nil {
			_ = unix.Close(nfd)
			aerr = err
			return true
		}
		c.File, c.local, c.remote = os.NewFile(uintptr(nfd), "vsock"), l, r
		return true
	})
	if err != nil {
		return nil, netErr(err, &l.closed)
	}
	if aerr != nil {
		return nil, aerr
	}
	return c, nil
}
