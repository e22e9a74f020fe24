package main

import (
	"cmp"
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/hugelgupf/p9/linux"

	"sliod/client9p"
	"sliod/netaddr"
)

// usageError is a wrong command line that cobra could not find out.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

// errReported is an error whose whole story has been printed.
var errReported = stderrors.New("reported")

// report prints err and returns the exit status. It is the one place that turns
// errors into exit statuses.
func (a *app) report(err error) int {
	if err == nil {
		return exitDone
	}
	if stderrors.Is(err, errReported) {
		return exitFailed
	}
	_, _ = fmt.Fprintln(a.err, "sliod:", strings.TrimRight(err.Error(), "\n"))
	if stderrors.Is(err, syscall.ENOSPC) && !strings.Contains(err.Error(), "room") {
		_, _ = fmt.Fprintln(a.err, "The disk is full: make room on it, and start again.")
	}
	var usage *usageError
	if !a.began || stderrors.As(err, &usage) {
		_, _ = fmt.Fprintln(a.err, `Try "sliod help" or "sliod COMMAND --help".`)
		return exitUsage
	}
	return exitFailed
}

// explainDial says what to do about a server that cannot be reached. start is what to do if none
// runs at a unix socket; empty: start one that listens there.
func explainDial(err error, at netaddr.Addr, start string) error {
	addr := at.String()
	start = cmp.Or(start, "start one there with: sliod serve --listen "+addr)
	switch {
	case stderrors.Is(err, context.Canceled):
		return stderrors.New("interrupted")
	case at.Kind == netaddr.Unix && (stderrors.Is(err, os.ErrNotExist) || stderrors.Is(err, syscall.ECONNREFUSED)):
		return fmt.Errorf("no server runs at %s; %s", addr, start)
	case stderrors.Is(err, syscall.ECONNREFUSED), at.Kind == netaddr.Vsock && stderrors.Is(err, syscall.ECONNRESET): // vsock(7) has no refusal
		return fmt.Errorf("no server answers at %s; start one there with: sliod serve --listen %s", addr, addr)
	case at.Kind == netaddr.Unix && stderrors.Is(err, os.ErrPermission):
		return fmt.Errorf("you may not use the server's socket %s; run the command as %s or as root", at.Path, socketOwner(at.Path))
	case at.Kind == netaddr.Port && stderrors.Is(err, syscall.EBUSY):
		return fmt.Errorf("the serial port %s is in use: one program at a time can have it", at.Path)
	case at.Kind == netaddr.Port && stderrors.Is(err, io.EOF):
		return fmt.Errorf("nothing is connected to the other end of the serial port %s: start the server, and have the virtual machine's monitor connect to it (%w)", at.Path, err)
	case at.Kind == netaddr.Port && stderrors.Is(err, os.ErrNotExist):
		return fmt.Errorf("there is no serial port %s; ls /dev/virtio-ports shows those of this machine", at.Path)
	case at.Kind == netaddr.Vsock && (stderrors.Is(err, syscall.EAFNOSUPPORT) || stderrors.Is(err, syscall.ENODEV)):
		return fmt.Errorf("this machine has no vsock for %s: load its module (modprobe vmw_vsock_virtio_transport in a guest, vsock_loopback for CID 1): %w", addr, err)
	}
	return err
}

// socketOwner names the user who runs the server of a socket, as far as can be
// told.
func socketOwner(path string) string {
	if st, err := os.Stat(path); err == nil {
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			return userName(sys.Uid)
		}
	}
	return "the user who runs the server"
}

// inArchive is said to who names a path of this machine's.
const inArchive = "a PATH is one in the archive, whose root is /, and not one below a mountpoint"

// plainly is why the server refuses a path, without the protocol's word for what was asked.
func plainly(err error, path string) error {
	var refused *client9p.Error
	switch {
	case !stderrors.As(err, &refused):
		return err
	case refused.Errno == linux.ENOENT && isHere(path):
		return fmt.Errorf("%w; %s", refused.Errno, inArchive)
	}
	return refused.Errno
}

// isHere says whether a path that the archive does not have is one of this machine.
func isHere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// errnoIs says whether the server refused with one of the error numbers.
func errnoIs(err error, list ...linux.Errno) bool {
	var e linux.Errno
	if !stderrors.As(err, &e) {
		return false
	}
	for _, want := range list {
		if e == want {
			return true
		}
	}
	return false
}
