package server

import (
	"context"
	"crypto/tls"
	stderrors "errors"
	"net"
	"os"
	"syscall"

	"github.com/pkg/errors"

	"sliod/cert"
	"sliod/export"
	"sliod/netaddr"
)

// Network is what listening on the network needs. The zero value serves this machine
// alone.
type Network struct {
	// Exports say which networks may be listened on.
	Exports []export.Export
	// TLS has the server's certificate; nil: there is none.
	TLS *cert.Source
}

// Listen opens an address to serve. TCP beyond loopback, TLS and vsock are refused
// unless an export lets such peers in. A unix socket that is left over from a server that
// died is replaced; one that is in use, or another kind of file, is an error. The socket
// is open to every user (mode 0666): who connects is known by its credentials.
func (w *Network) Listen(addr string) (net.Listener, error) {
	if err := w.Check(addr); err != nil {
		return nil, err
	}
	a, err := netaddr.Parse(addr)
	if err != nil {
		return nil, err
	}
	var l net.Listener
	switch a.Kind {
	case netaddr.Unix:
		return listenUnix(a.Path)
	case netaddr.Vsock:
		l, err = netaddr.ListenVsock(a.CID, a.VPort)
		if stderrors.Is(err, syscall.EAFNOSUPPORT) {
			return nil, errors.Wrapf(err, "listen on %s: the kernel has no vsock; load its module (modprobe vhost_vsock on a host)", addr)
		}
	case netaddr.TLS:
		if l, err = net.Listen("tcp", a.HostPort); err == nil {
			l = tls.NewListener(l, w.TLS.Config())
		}
	default:
		l, err = net.Listen("tcp", a.HostPort)
	}
	return l, errors.Wrapf(err, "listen on %s", addr)
}

// Check says what Listen would have against an address, without touching it.
func (w *Network) Check(addr string) error {
	a, err := netaddr.Parse(addr)
	if err != nil {
		return errors.WithStack(err)
	}
	const example = "docs/network.md has examples"
	switch a.Kind {
	case netaddr.TCP:
		return w.checkTCP(a.HostPort)
	case netaddr.TLS:
		if w.TLS == nil {
			return errors.Errorf("listen on %s: the configuration has no certificate: set cert, key and client_ca of [tls]; %s", addr, example)
		}
		if !export.LetsIn(w.Exports, export.TLSUser) {
			return errors.Errorf("listen on %s: no [export.NAME] of the configuration lets users with certificates in: write networks = [\"tls\"]; %s", addr, example)
		}
	case netaddr.Vsock:
		if !export.LetsIn(w.Exports, export.Vsock) {
			return errors.Errorf("listen on %s: no [export.NAME] of the configuration lets virtual machines in: write networks = [\"vsock\"]; %s", addr, example)
		}
	case netaddr.Port:
		return errors.Errorf("listen on %s: a serial port is for clients; on its other side, outside of the virtual machine, is a unix socket: listen on that", addr)
	}
	return nil
}

func (w *Network) checkTCP(hostPort string) error {
	if export.LetsIn(w.Exports, export.TCP) {
		return nil
	}
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return errors.Wrapf(err, "listen on tcp:%s: an address is tcp:HOST:PORT", hostPort)
	}
	ips := []net.IP{net.ParseIP(host)}
	if ips[0] == nil && host != "" {
		if ips, err = net.LookupIP(host); err != nil {
			return errors.Wrapf(err, "listen on tcp:%s", hostPort)
		}
	}
	for _, ip := range ips {
		if !ip.IsLoopback() {
			return errors.Errorf("listen on tcp:%s: only loopback addresses (127.0.0.1, ::1) are served, "+
				"because users are not authenticated over plain TCP; use 127.0.0.1, a unix socket, or tls:; "+
				"or name the networks that you trust in an [export.NAME] of the configuration", hostPort)
		}
	}
	return nil
}

func listenUnix(path string) (net.Listener, error) {
	l, err := netaddr.ListenUnix(path)
	if stderrors.Is(err, syscall.EADDRINUSE) {
		if err := removeStale(path); err != nil {
			return nil, err
		}
		l, err = netaddr.ListenUnix(path)
	}
	if err != nil {
		return nil, errors.Wrapf(err, "listen on unix:%s", path)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		_ = l.Close() // the first error counts
		return nil, errors.Wrapf(err, "listen on unix:%s: open the socket to all users", path)
	}
	return l, nil
}

// removeStale removes a socket on which nobody listens.
func removeStale(path string) error {
	fi, err := os.Lstat(path)
	if err != nil {
		return errors.Wrapf(err, "listen on unix:%s", path)
	}
	if fi.Mode().Type() != os.ModeSocket {
		return errors.Errorf("listen on unix:%s: there is a file of another kind (%v); it is left alone, choose another path or remove it",
			path, fi.Mode().Type())
	}
	c, err := netaddr.DialUnix(context.Background(), path) // which never waits
	switch {
	case err == nil:
		_ = c.Close()
		fallthrough
	case stderrors.Is(err, syscall.EAGAIN): // many others wait
		return errors.Errorf("listen on unix:%s: another server listens there; stop it or choose another path", path)
	case stderrors.Is(err, syscall.ECONNREFUSED):
		return errors.Wrapf(os.Remove(path), "listen on unix:%s: remove the socket of a server that is gone", path)
	default:
		return errors.Wrapf(err, "listen on unix:%s: ask whether another server listens there", path)
	}
}
