package main

import (
	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// held are names that are kept in the kernel's cache, together with the
// directories on the way. Without that, Linux' 9p client asks for each part of a
// path again, with each system call: a deep tree takes several times as long.
type held []int

// hold keeps what path names until release; a symlink itself, not its target.
func (h *held) hold(path string) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.Wrapf(err, "hold %q", path)
	}
	*h = append(*h, fd)
	return nil
}

func (h *held) release() {
	for _, fd := range *h {
		_ = unix.Close(fd) // an O_PATH descriptor has nothing to lose
	}
	*h = nil
}
