package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/pkg/errors"
)

// interrupt starts cat on a file, waits until it is blocked, sends it SIGINT as
// Ctrl-C does, and returns how long it took to end. It is an error if cat ends
// by itself, or later than limit.
func interrupt(file string, settle, limit time.Duration) (time.Duration, error) {
	cmd := exec.Command("cat", file)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, errors.Wrap(err, "start cat")
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := waitBlocked(cmd.Process.Pid, settle, ended); err != nil {
		cmd.Process.Kill()
		return 0, errors.WithMessage(err, strings.TrimSpace(stderr.String()))
	}
	begin := time.Now()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		return 0, errors.Wrap(err, "send SIGINT to cat")
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		return 0, errors.Errorf("cat %q still runs %v after SIGINT; it waits in %s", file, limit, waitsIn(cmd.Process.Pid))
	}
	took := time.Since(begin)
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !ws.Signaled() || ws.Signal() != syscall.SIGINT {
		return 0, errors.Errorf("cat %q ended with %v and not by SIGINT", file, cmd.ProcessState)
	}
	return took, nil
}

// waitBlocked returns when the process has slept without any progress (CPU
// time, bytes read) for as long as settle.
func waitBlocked(pid int, settle time.Duration, ended <-chan error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last, since := "", time.Now()
	for {
		select {
		case err := <-ended:
			return errors.Errorf("cat ended before it was blocked (%v): is the file on tape only?", err)
		case <-tick.C:
		}
		now, asleep := progress(pid)
		if now != last || !asleep {
			last, since = now, time.Now()
		} else if time.Since(since) >= settle {
			return nil
		}
	}
}

// progress is a text that changes whenever the process does something.
func progress(pid int) (text string, asleep bool) {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	io, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	// The fields after "(cat)": state is the first, utime and stime 12 and 13.
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return "", false
	}
	return strings.Join(f[11:13], " ") + string(io), f[0] == "S" || f[0] == "D"
}

// waitsIn says where in the kernel a process waits, for messages.
func waitsIn(pid int) string {
	where, err := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", pid))
	if err != nil || len(where) == 0 {
		return "an unknown place"
	}
	return string(where)
}
