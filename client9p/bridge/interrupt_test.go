package bridge

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestFatal(t *testing.T) {
	status := func(thread, process, blocked, ignored, caught string) []byte {
		return []byte("Name:\tcat\nSigQ:\t0/1\nSigPnd:\t" + thread + "\nShdPnd:\t" + process + "\nSigBlk:\t" + blocked + "\nSigIgn:\t" + ignored + "\nSigCgt:\t" + caught + "\n")
	}
	const none, kill, intr, quit, urg = "0000000000000000", "0000000000000100", "0000000000000002", "0000000000000004", "0000000000400000"
	for _, tc := range []struct {
		name string
		in   []byte
		want bool
	}{
		{"nothing", status(none, none, none, none, none), false},
		{"SIGKILL for the thread, as the kernel adds it", status(kill, intr, none, none, none), true},
		{"SIGINT alone: it is handled", status(none, intr, none, none, intr), false},
		{"SIGURG that is handled", status(urg, none, none, none, urg), false},
		{"SIGQUIT without a handler", status(none, quit, none, none, none), true},
		{"SIGINT behind a handled SIGURG", status(none, "0000000000400002", none, none, urg), true},
		{"a stop", status(none, "0000000000080000", none, none, none), false},
		{"SIGQUIT that is handled", status(none, quit, none, none, quit), false},
		{"SIGQUIT that is blocked", status(quit, none, quit, none, none), false},
		{"SIGQUIT that is ignored", status(quit, none, none, quit, none), false},
		{"a mask that is none", status("x", none, none, none, none), false},
		{"no masks", []byte("Name:\tcat\n"), false},
		{"empty", nil, false},
	} {
		if got := fatal(tc.in); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

func TestDying(t *testing.T) {
	if dying(0) {
		t.Error("the kernel does not die")
	}
	if dying(uint32(os.Getpid())) {
		t.Error("this process does not die")
	}
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if !dying(uint32(cmd.Process.Pid)) {
		t.Error("a process that is gone is not told")
	}
}

func TestInterrupted(t *testing.T) {
	fs := &FS{gone: make(chan struct{})}
	cancel := make(chan struct{})
	ctx := fs.interruptible(cancel, uint32(os.Getpid())).(*interrupted)
	if ctx.Err() != nil {
		t.Error("an error without an interrupt")
	}
	close(cancel)
	<-ctx.Done()
	if ctx.Err() != nil {
		t.Error("a signal that does not end the program gives the request up")
	}
	answered := make(chan struct{}, 1)
	answered <- struct{}{}
	if ctx.Confirm(answered) || len(answered) != 0 {
		t.Error("an answer is there, and was not taken")
	}
	time.AfterFunc(time.Millisecond, fs.Stop)
	if !ctx.Confirm(answered) || ctx.Err() == nil {
		t.Error("a stopped file system waits on")
	}
	fs.Stop()
}

func FuzzFatal(f *testing.F) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(strings.Repeat("SigPnd:\t", 3)))
	f.Fuzz(func(t *testing.T, b []byte) { fatal(b) })
}
