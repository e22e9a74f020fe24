package server

import (
	"bytes"

	"github.com/hugelgupf/p9/linux"
)

// maxName is the longest name of an entry, in bytes.
const maxName = 255

// checkName judges a name that a client sent, "." and ".." included.
func checkName(b []byte) error {
	switch {
	case len(b) == 0:
		return linux.EINVAL
	case len(b) > maxName:
		return linux.ENAMETOOLONG
	case bytes.IndexByte(b, 0) >= 0 || bytes.IndexByte(b, '/') >= 0:
		return linux.EINVAL
	}
	return nil
}

func isDot(b []byte) bool    { return len(b) == 1 && b[0] == '.' }
func isDotDot(b []byte) bool { return len(b) == 2 && b[0] == '.' && b[1] == '.' }

// checkEntry judges the name of an entry to make, remove or move; dots is the
// error for "." and "..".
func checkEntry(b []byte, dots error) error {
	if err := checkName(b); err != nil {
		return err
	}
	if isDot(b) || isDotDot(b) {
		return dots
	}
	return nil
}
