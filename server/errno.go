package server

import (
	stderrors "errors"
	"io/fs"
	"syscall"

	"github.com/hugelgupf/p9/linux"
	"sliod/backend/vfs"
)

// maxErrno is the highest number that goes to a client. The kernel's own numbers
// above it (512 and on, ERESTARTSYS among them) must never be sent.
const maxErrno = 133

// errnoOf chooses the errno that a client sees for err. known is false if err is
// none that a tree is meant to return; then the errno is EIO, and err wants to be
// logged with its stack.
func errnoOf(err error) (e linux.Errno, known bool) {
	var le linux.Errno
	var se syscall.Errno
	switch {
	case stderrors.Is(err, vfs.ErrParked):
		return linux.EIO, false // parked without a waiter
	case stderrors.As(err, &le):
		e = le
	case stderrors.As(err, &se):
		e = linux.Errno(se)
	case stderrors.Is(err, fs.ErrNotExist):
		return linux.ENOENT, true
	case stderrors.Is(err, fs.ErrExist):
		return linux.EEXIST, true
	case stderrors.Is(err, fs.ErrPermission):
		return linux.EACCES, true
	}
	if e == 0 || e > maxErrno {
		return linux.EIO, false
	}
	return e, true
}
