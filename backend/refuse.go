package backend

import (
	"fmt"

	"github.com/hugelgupf/p9/linux"
)

// refusal is the error of a command that makes no sense: its text says all to a person, and a client gets the errno.
type refusal struct {
	text  string
	errno linux.Errno
}

func (e *refusal) Error() string { return e.text }
func (e *refusal) Unwrap() error { return e.errno }

func refusef(errno linux.Errno, format string, args ...any) error {
	return &refusal{fmt.Sprintf(format, args...), errno}
}

// noJob is the refusal of a command on a job that is not there.
func noJob(id uint64) error {
	return refusef(linux.ENOENT, "there is no job %d: see `sliod queue`", id)
}
