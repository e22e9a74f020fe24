package bridge

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"
)

// interrupted is the context of one request. The kernel's interrupt, for which
// any signal is reason enough, closes its Done; Confirm finds out whether the
// request is to be given up.
type interrupted struct {
	context.Context
	cancel <-chan struct{}
	pid    uint32
}

// interruptible returns the context of a request of the thread pid, whose interrupt
// closes cancel.
func interruptible(cancel <-chan struct{}, pid uint32) context.Context {
	return &interrupted{context.Background(), cancel, pid}
}

// Done implements context.Context.
func (c *interrupted) Done() <-chan struct{} { return c.cancel }

// Err implements context.Context. An interrupt alone is no reason to give up.
func (c *interrupted) Err() error {
	select {
	case <-c.cancel:
		if dying(c.pid) {
			return context.Canceled
		}
	default:
	}
	return nil
}

// pollDying is how often an interrupted request looks whether its program is to die.
// The kernel interrupts a request once, by the first signal: what comes later has to
// be looked for.
const pollDying = 50 * time.Millisecond

// Confirm implements client9p.Doubtful.
func (c *interrupted) Confirm(answered <-chan struct{}) bool {
	t := time.NewTicker(pollDying)
	defer t.Stop()
	for {
		if dying(c.pid) {
			return true
		}
		select {
		case <-answered:
			return false
		case <-t.C:
		}
	}
}

// dying says whether a thread has a fatal signal pending, or is gone: the kernel adds
// SIGKILL to the pending signals of every thread of a program that a signal will end
// (complete_signal in kernel/signal.c).
func dying(pid uint32) bool {
	if pid == 0 {
		return false // of the kernel itself, or of a process outside our pid namespace
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return os.IsNotExist(err)
	}
	const sigkill = 1 << (9 - 1)
	_, rest, ok := bytes.Cut(status, []byte("\nSigPnd:\t"))
	if !ok {
		return false
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	mask, err := strconv.ParseUint(string(line), 16, 64)
	return err == nil && mask&sigkill != 0
}
