package main

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestOutliveReaders: programs that are run are ended by SIGPIPE still. That this one is not, e2e TestStopUnread shows.
func TestOutliveReaders(t *testing.T) {
	outliveReaders()
	out, err := exec.Command("cat", "/proc/self/status").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, mask, _ := strings.Cut(string(out), "\nSigIgn:\t")
	mask, _, _ = strings.Cut(mask, "\n")
	if n, err := strconv.ParseUint(mask, 16, 64); err != nil || n&(1<<(syscall.SIGPIPE-1)) != 0 {
		t.Errorf("they ignore %s, %v", mask, err)
	}
}
