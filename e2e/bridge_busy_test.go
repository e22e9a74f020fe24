package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pkg/errors"

	"sliod/guest/child"
)

// TestBridgeBusyHere stops a server in whose mount a file is open: the stop is clean, the
// mount is gone, and who has the file open is told. Where the control files of FUSE
// (fusectl) are not mounted, this needs another way than where they are.
func TestBridgeBusyHere(t *testing.T) {
	requireFUSE(t)
	mnt := filepath.Join(publicDir(t), "mnt")
	s := start(t, stateDir(t), settings{mount: mnt})
	name := filepath.Join(mnt, "open")
	if err := os.WriteFile(name, content(1, 3000), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if r := sliod(t, nil, "mount", "tcp:"+s.addr, mnt); r.status != 1 || !strings.Contains(r.stderr, "something is mounted on "+mnt+" already") {
		t.Errorf("a mount over a mount: %+v", r)
	}
	s.stop()
	if b, err := os.ReadFile("/proc/mounts"); err != nil || bytes.Contains(b, []byte(" "+mnt+" ")) {
		t.Errorf("%s is mounted after the server's end; %v", mnt, err)
	}
	if err := syscall.Fstatfs(int(f.Fd()), new(syscall.Statfs_t)); !errors.Is(err, syscall.ENOTCONN) { // the kernel keeps no answer to this one
		t.Errorf("statfs of the open file: %v", err)
	}
}

// TestBridgeCopyHere stops a server of whose mount another mount namespace has a copy, as a container does: the stop does
// not wait for that to end.
func TestBridgeCopyHere(t *testing.T) {
	requireFUSE(t)
	mnt := filepath.Join(publicDir(t), "mnt")
	s := start(t, stateDir(t), settings{mount: mnt})
	out := newOutput()
	cmd := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-c", "grep -c fuse.sliod /proc/mounts; exec sleep 1000")
	cmd.Stdout, cmd.Stderr = out, out
	c, err := child.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Kill()
	until(t, "the copy is there", func() bool { return strings.HasSuffix(out.String(), "\n") })
	s.stop()
	if log := s.log.String(); !strings.Contains(log, "others have a copy of the mount") || strings.HasPrefix(out.String(), "0") {
		t.Errorf("%s\n%s", out, log)
	}
}

// TestBridgeUnmountedHere unmounts what a server has mounted, and mounts something else there: the
// server goes on, and leaves that alone when it ends.
func TestBridgeUnmountedHere(t *testing.T) {
	requireFUSE(t)
	mnt := filepath.Join(publicDir(t), "mnt")
	s := start(t, stateDir(t), settings{mount: mnt})
	if err := syscall.Unmount(mnt, 0); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", mnt, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Unmount(mnt, 0); err != nil {
			t.Errorf("what was mounted later is gone: %v", err)
		}
	}()
	if r := sliod(t, nil, "ls", "/", "--server", "unix:"+s.socket); r.status != 0 {
		t.Errorf("%+v", r)
	}
	s.stop()
	if log := s.log.String(); strings.Contains(log, "in use") {
		t.Error(log)
	}
}
