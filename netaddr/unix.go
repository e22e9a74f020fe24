package netaddr

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

const (
	// maxSocketPath is what fits in a sockaddr_un (unix(7)).
	maxSocketPath = 107
	// maxName is the longest name of a socket behind /proc/self/fd/NUMBER/.
	maxName = maxSocketPath - len("/proc/self/fd/1234567/")
)

// short returns a path to the same file that fits in a sockaddr_un, and the directory
// that must stay open while it is used, or nil.
func short(path string) (string, *os.File, error) {
	if len(path) <= maxSocketPath {
		return path, nil, nil
	}
	dir, name := filepath.Split(path)
	fd, err := unix.Open(filepath.Clean(dir), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: filepath.Clean(dir), Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, name), os.NewFile(uintptr(fd), dir), nil
}

// DialUnix connects to the unix socket at path, which may be longer than a socket's
// address can be.
func DialUnix(ctx context.Context, path string) (net.Conn, error) {
	p, dir, err := short(path)
	if err != nil {
		return nil, err
	}
	if dir != nil {
		defer dir.Close()
	}
	return new(net.Dialer).DialContext(ctx, "unix", p)
}

// ListenUnix makes a socket at path and listens on it. Close removes it.
func ListenUnix(path string) (net.Listener, error) {
	p, dir, err := short(path)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", p)
	if dir == nil {
		return l, err
	}
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	return &longListener{Listener: l, dir: dir, path: path}, nil
}

// longListener keeps the directory of its socket open, by which Close removes it.
type longListener struct {
	net.Listener
	path string

	mu  sync.Mutex
	dir *os.File
}

// Addr returns the path that was asked for.
func (l *longListener) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: l.path} }

func (l *longListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dir == nil {
		return errors.Wrap(net.ErrClosed, "close a listener")
	}
	err := l.Listener.Close()
	_ = l.dir.Close()
	l.dir = nil
	return err
}
