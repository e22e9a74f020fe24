// Package child starts processes that end with this one. Linux can kill a
// process when its parent dies (Pdeathsig), but it means the parent's thread,
// and Go's threads come and go; so each child has a goroutine that keeps its
// thread until the child has ended. The owner of a Child calls Stop or Kill.
package child

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/pkg/errors"
)

// Child is a started process.
type Child struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Start starts cmd, which must not be started. If this process dies in any
// way, the child is killed.
func Start(cmd *exec.Cmd) (*Child, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	c := &Child{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.err = cmd.Wait()
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, errors.Wrapf(err, "start %s", cmd.Path)
	}
	return c, nil
}

// Process is the child's process, for its pid and for signals.
func (c *Child) Process() *os.Process { return c.cmd.Process }

// Done is closed when the child has ended and its output has been read.
func (c *Child) Done() <-chan struct{} { return c.done }

// Wait waits for the end and returns what exec.Cmd.Wait does.
func (c *Child) Wait() error {
	<-c.done
	return c.err
}

// Kill ends the child by SIGKILL and waits. It may be called again.
func (c *Child) Kill() error {
	c.cmd.Process.Kill() // an error means that it has ended already
	return c.Wait()
}

// Stop asks the child to end by SIGTERM and waits; after patience it is
// killed. It says whether it ended by itself.
func (c *Child) Stop(patience time.Duration) (polite bool, err error) {
	c.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.done:
		return true, c.err
	case <-timer.C:
		return false, c.Kill()
	}
}
