package server

import (
	"context"
	stderrors "errors"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/pkg/errors"
)

// maxSocketPath is the longest path of a unix socket on Linux.
const maxSocketPath = 107

// Listen opens an address to serve: "unix:PATH" or "tcp:HOST:PORT". TCP is refused
// on anything but loopback, because a user is known there only by the machine's own
// tables. A unix socket that is left over from a server that died is replaced; one
// that is in use, or another kind of file, is an error. The socket is open to every
// user (mode 0666): who connects is known by its credentials.
func Listen(addr string) (net.Listener, error) {
	if err := CheckAddr(addr); err != nil {
		return nil, err
	}
	kind, rest, _ := strings.Cut(addr, ":")
	if kind == "unix" {
		return listenUnix(rest)
	}
	l, err := net.Listen("tcp", rest)
	return l, errors.Wrapf(err, "listen on tcp:%s", rest)
}

// CheckAddr says what Listen would have against an address, without touching it.
func CheckAddr(addr string) error {
	kind, rest, _ := strings.Cut(addr, ":")
	switch kind {
	case "unix":
		return checkUnix(rest)
	case "tcp":
		return checkTCP(rest)
	}
	return errors.Errorf("listen on %q: an address is unix:PATH or tcp:HOST:PORT", addr)
}

func checkTCP(hostPort string) error {
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
				"because users are not authenticated over a network; use 127.0.0.1, or a unix socket", hostPort)
		}
	}
	return nil
}

func checkUnix(path string) error {
	if path == "" || len(path) > maxSocketPath {
		return errors.Errorf("listen on unix:%s: the path of a socket has 1 to %d bytes, this has %d; choose a shorter one",
			path, maxSocketPath, len(path))
	}
	if strings.HasPrefix(path, "@") {
		return errors.Errorf("listen on unix:%s: abstract sockets are not served; give a path", path)
	}
	return nil
}

func listenUnix(path string) (net.Listener, error) {
	l, err := net.Listen("unix", path)
	if stderrors.Is(err, syscall.EADDRINUSE) {
		if err := removeStale(path); err != nil {
			return nil, err
		}
		l, err = net.Listen("unix", path)
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
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close()
	}
	if !stderrors.Is(err, syscall.ECONNREFUSED) {
		return errors.Errorf("listen on unix:%s: another server listens there; stop it or choose another path", path)
	}
	return errors.Wrapf(os.Remove(path), "listen on unix:%s: remove the socket of a server that is gone", path)
}
