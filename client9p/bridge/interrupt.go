package bridge

import (
	"bytes"
	"context"
	stderrors "errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// interrupted is the context of one request. The kernel's interrupt, for which
// any signal is reason enough, closes its Done; Confirm finds out whether the
// request is to be given up.
type interrupted struct {
	context.Context
	cancel <-chan struct{}
	pid    uint32
	fs     *FS
}

// interruptible returns the context of a request of the thread pid, whose interrupt
// closes cancel.
func (fs *FS) interruptible(cancel <-chan struct{}, pid uint32) context.Context {
	return &interrupted{context.Background(), cancel, pid, fs}
}

// Done implements context.Context.
func (c *interrupted) Done() <-chan struct{} { return c.cancel }

// Err implements context.Context. An interrupt alone is no reason to give up.
func (c *interrupted) Err() error {
	select {
	case <-c.cancel:
		select {
		case <-c.fs.gone:
			return context.Canceled
		default:
		}
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
		case <-c.fs.gone:
			return true
		case <-t.C:
			c.fs.lookForMount()
		}
	}
}

// lookForMount calls Stop if the file system is not mounted any longer. The kernel interrupts all requests
// then, as by signals, and there may be some: of the readahead of a file that was closed. It says so nowhere, and go-fuse
// waits for these requests before it tells; but then there is no root whose attributes could be invalidated
// (fuse_reverse_inval_inode in fs/fuse/inode.c).
func (fs *FS) lookForMount() {
	s, last, now := fs.server.Load(), fs.looked.Load(), time.Now().UnixNano()
	if s == nil || now-last < int64(pollDying) && now >= last || !fs.looked.CompareAndSwap(last, now) {
		return
	}
	if s.InodeNotify(fuse.FUSE_ROOT_ID, -1, 0) == fuse.ENOENT {
		fs.Stop()
	}
}

// dying says whether a thread has a fatal signal pending, or is gone.
func dying(pid uint32) bool {
	if pid == 0 {
		return false // of the kernel itself, or of a process outside our pid namespace
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return os.IsNotExist(err) || stderrors.Is(err, syscall.ESRCH)
	}
	return fatal(status)
}

// sigmask is a set of signals as /proc shows it.
func sigmask(signals ...syscall.Signal) (mask uint64) {
	for _, s := range signals {
		mask |= 1 << (s - 1)
	}
	return mask
}

// ending are the signals that end a program which does not handle them (signal(7)).
var ending = ^sigmask(syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU,
	syscall.SIGURG, syscall.SIGWINCH)

// fatal reads /proc/PID/status. Of a program that a signal is to end, the kernel has
// added SIGKILL to the pending signals of every thread (complete_signal in
// kernel/signal.c). It does not where a core is to be dumped, nor where another signal was
// pending before: such a signal is pending itself then, and nobody is to handle it.
func fatal(status []byte) bool {
	var thread, process, blocked, ignored, caught uint64
	for line := range bytes.Lines(status) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		var to *uint64
		switch string(key) {
		case "SigPnd":
			to = &thread
		case "ShdPnd":
			to = &process
		case "SigBlk":
			to = &blocked
		case "SigIgn":
			to = &ignored
		case "SigCgt":
			to = &caught
		default:
			continue
		}
		mask, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 16, 64)
		if err != nil {
			return false // not a kernel that we know
		}
		*to = mask
	}
	return thread&sigmask(syscall.SIGKILL) != 0 || (thread|process)&^blocked&^ignored&^caught&ending != 0
}
