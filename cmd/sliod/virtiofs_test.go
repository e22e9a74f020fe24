package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestVirtiofsOptions(t *testing.T) {
	o, err := parseVirtiofsOptions([]string{"ro,aname=/a", "wait=2"})
	if err != nil || !o.readOnly || o.aname != "/a" || o.wait.Seconds() != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, list := range []string{"allow_other", "noatime", "cache=none", "ro,nosuid"} {
		if _, err := parseVirtiofsOptions([]string{list}); err == nil || !strings.Contains(err.Error(), "there is no such option of sliod virtiofs") {
			t.Errorf("-o %s: %v", list, err)
		}
	}
}

func TestMonitorSocket(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "s")
	mode := func() os.FileMode {
		t.Helper()
		st, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		return st.Mode()
	}
	l, err := listenMonitor(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := mode(); got != os.ModeSocket|0o600 {
		t.Errorf("the socket has mode %v", got)
	}
	if _, err := listenMonitor(path, ""); err == nil || !strings.Contains(err.Error(), "another program listens there") {
		t.Errorf("a socket in use: %v", err)
	}
	l.SetUnlinkOnClose(false) // as after kill -9
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		l, err = listenMonitor(path, "nogroup")
	} else {
		l, err = listenMonitor(path, "")
	}
	if err != nil {
		t.Fatalf("a socket of an earlier run: %v", err)
	}
	if got := mode(); os.Geteuid() == 0 && got != os.ModeSocket|0o660 {
		t.Errorf("the socket for a group has mode %v", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, group, want string }{
		{path, "", "is there and is not a socket"},
		{filepath.Join(dir, "none", "s"), "", "no such file or directory"},
		{filepath.Join(dir, strings.Repeat("x", 100)), "", "at most 107 bytes"},
		{filepath.Join(dir, "t"), "no-such-group", "there is no such group"},
	} {
		if _, err := listenMonitor(c.path, c.group); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.path, err, c.want)
		}
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "mine" {
		t.Errorf("a file of another kind is %q, %v", b, err)
	}
}

// TestVirtiofsRefused: what is wrong is said before a machine comes.
func TestVirtiofsRefused(t *testing.T) {
	dir := shortDir(t)
	socket := filepath.Join(dir, "s")
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"unix:" + dir + "/none"}, exitUsage, "--socket PATH is missing"},
		{[]string{"--socket", socket}, exitUsage, "accepts 1 arg"},
		{[]string{"--socket", socket, "-o", "suid", "unix:" + dir + "/none"}, exitUsage, "-o suid"},
		{[]string{"--socket", socket, "unix:" + dir + "/none"}, exitFailed, "no server runs at unix:" + dir + "/none"},
		{[]string{"--socket", socket, "here"}, exitUsage, "here"},
	} {
		a, _, stderr := newApp()
		if status := a.run(t.Context(), append([]string{"virtiofs"}, c.args...)); status != c.status || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("sliod virtiofs %v: status %d, %s", c.args, status, stderr)
		}
		if conn, err := net.Dial("unix", socket); err == nil {
			_ = conn.Close()
			t.Errorf("sliod virtiofs %v listens", c.args)
		}
	}
}
