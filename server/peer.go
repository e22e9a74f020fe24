package server

import (
	"net"
	"syscall"
	"unsafe"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// Peer is the user at the other end of a connection.
type Peer struct {
	UID uint32
	// GID and Groups are what the peer's process had when it connected, if Exact;
	// otherwise only UID is known.
	GID    uint32
	Groups []uint32
	Exact  bool
	// Addr names the other end for log lines.
	Addr string
}

// Identify finds out whose process is at the other end of a unix socket or of a TCP
// connection over loopback. Anything else is an error.
func Identify(nc net.Conn) (Peer, error) {
	switch nc := nc.(type) {
	case *net.UnixConn:
		return identifyUnix(nc)
	case *net.TCPConn:
		local, ok1 := nc.LocalAddr().(*net.TCPAddr)
		remote, ok2 := nc.RemoteAddr().(*net.TCPAddr)
		if !ok1 || !ok2 || !local.IP.IsLoopback() || !remote.IP.IsLoopback() {
			return Peer{}, errors.Errorf("connection from %v to %v is not over loopback", nc.RemoteAddr(), nc.LocalAddr())
		}
		uid, err := socketOwner(remote.AddrPort(), local.AddrPort())
		return Peer{UID: uid, Addr: "tcp:" + remote.String()}, err
	}
	return Peer{}, errors.Errorf("connection of kind %T: the user at its other end cannot be known", nc)
}

func identifyUnix(nc *net.UnixConn) (Peer, error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return Peer{}, errors.Wrap(err, "ask for the credentials of a unix socket's peer")
	}
	p := Peer{Exact: true, Addr: "unix"}
	var cred *unix.Ucred
	var credErr, groupsErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		p.Groups, groupsErr = peerGroups(fd)
	})
	for _, e := range []error{err, credErr, groupsErr} {
		if e != nil {
			return Peer{}, errors.Wrap(e, "ask for the credentials of a unix socket's peer")
		}
	}
	p.UID, p.GID = cred.Uid, cred.Gid
	return p, nil
}

// peerGroups returns the supplementary groups of a unix socket's peer (SO_PEERGROUPS,
// unix(7)). A kernel that does not know the option (before 4.13) gives none.
func peerGroups(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(4 * len(groups))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch errno {
		case 0:
			return groups[:size/4], nil
		case syscall.ERANGE: // size is what is needed
			groups = make([]uint32, max(int(size/4), 2*len(groups)))
		case syscall.ENOPROTOOPT, syscall.ENODATA:
			return nil, nil
		default:
			return nil, errno
		}
	}
}
