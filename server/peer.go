package server

import (
	"crypto/tls"
	"fmt"
	"net"
	"syscall"
	"unsafe"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"sliod/export"
	"sliod/netaddr"
	"sliod/server/wire"
)

// Peer is the user or the machine at the other end of a connection.
type Peer struct {
	export.Peer
	// UID is the user if the peer is a process of this machine, or a certificate that
	// names a user of it; else, and for a peer that only claims who it is, wire.NoUname.
	UID uint32
	// GID and Groups are what the peer's process had when it connected, if Exact;
	// otherwise only UID is known.
	GID    uint32
	Groups []uint32
	Exact  bool
	// Addr names the other end for log lines.
	Addr string
}

// who names the peer, acting as uid, for log lines.
func (p *Peer) who(uid uint32) string {
	switch {
	case p.Kind == export.TLSUser:
		return "the certificate of " + p.Name + " (" + p.Fingerprint + ") at " + p.Addr
	case uid == wire.NoUname:
		return "an unnamed user at " + p.Addr
	}
	return fmt.Sprintf("user %d at %s", uid, p.Addr)
}

// Identify finds out who is at the other end of a connection that a listener of this
// package has accepted. A connection of TLS has its handshake here, which takes
// handshakeTime at most. What cannot be known is an error.
func Identify(nc net.Conn) (Peer, error) {
	switch nc := nc.(type) {
	case *net.UnixConn:
		return identifyUnix(nc)
	case *tls.Conn:
		return identifyTLS(nc)
	case *net.TCPConn:
		local, ok1 := nc.LocalAddr().(*net.TCPAddr)
		remote, ok2 := nc.RemoteAddr().(*net.TCPAddr)
		if !ok1 || !ok2 {
			return Peer{}, errors.Errorf("connection from %v to %v has no addresses", nc.RemoteAddr(), nc.LocalAddr())
		}
		p := Peer{Addr: "tcp:" + remote.String()}
		p.IP = remote.AddrPort().Addr().Unmap().WithZone("")
		if !local.IP.IsLoopback() || !remote.IP.IsLoopback() {
			p.Kind, p.UID = export.TCP, wire.NoUname
			return p, nil
		}
		var err error
		p.UID, err = socketOwner(remote.AddrPort(), local.AddrPort())
		return p, err
	}
	if a, ok := nc.RemoteAddr().(netaddr.VsockAddr); ok {
		return Peer{Peer: export.Peer{Kind: export.Vsock, CID: a.CID}, UID: wire.NoUname, Addr: "vsock:" + a.String()}, nil
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
