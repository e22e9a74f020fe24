package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// stateLock is the claim of one server on a state directory: flock(2) on the file
// "lock" in it. The kernel drops it when the process ends, however it ends.
type stateLock struct{ f *os.File }

// makeState makes the state directory if need be. Other users may pass through it to
// the socket, where the server knows who they are; what lies in it beside the socket
// is closed to them.
func makeState(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o711)
	if os.IsExist(err) {
		return os.MkdirAll(dir, 0o711) // a file of this name is an error
	}
	return err
}

// lockState makes the state directory if need be and claims it.
func lockState(dir string) (*stateLock, error) {
	if err := makeState(dir); err != nil {
		if os.IsPermission(err) {
			return nil, fmt.Errorf("you may not make the state directory %s; choose another with --state", dir)
		}
		return nil, errors.WithMessage(err, "make the state directory")
	}
	name := filepath.Join(dir, "lock")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		if os.IsPermission(err) {
			return nil, fmt.Errorf("you may not use the state directory %s; run the server as its owner, or choose another with --state", dir)
		}
		return nil, errors.Wrap(err, "lock the state directory")
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder := "an unknown process"
		if text, rerr := io.ReadAll(io.LimitReader(f, 32)); rerr == nil {
			if pid, perr := strconv.Atoi(strings.TrimSpace(string(text))); perr == nil {
				holder = "pid " + strconv.Itoa(pid)
			}
		}
		_ = f.Close() // nothing was written
		if err == unix.EWOULDBLOCK {
			return nil, fmt.Errorf("the state directory %s is in use by another server: %s; stop that one, or choose another directory with --state", dir, holder)
		}
		return nil, errors.Wrapf(err, "lock %s", name)
	}
	if err := writePID(f); err != nil {
		_ = f.Close() // the error to tell is that of the write
		return nil, errors.Wrapf(err, "write %s", name)
	}
	return &stateLock{f}, nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// release gives the directory up. The file stays: removing it would let two
// servers lock two files of the same name.
func (l *stateLock) release() error {
	_ = l.f.Truncate(0) // a stale pid does no harm: only the lock counts
	return errors.Wrap(l.f.Close(), "unlock the state directory")
}
