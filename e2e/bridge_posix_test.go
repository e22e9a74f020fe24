package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sliod/guest"
)

// What each way to mount does not have, as posix.test's -lacks; docs/mount.md has the
// reasons.
const (
	lacksLocal  = "separate-flock,Tmpfile"
	lacksRemote = lacksLocal + ",nlink0,NlinkZero,FstatDeleted,unknown-groups"
	lacksV9fs   = "separate-flock,nlink0,nanoseconds,btime,mmap-shared,mmap-append,ofd,killpriv,empty-xattr,unknown-groups,client-groups," +
		"flock-of-copies,NlinkZero,FstatDeleted,Fallocate,FallocateKeepSize,LseekHoleSeeksToEOF,LseekEnxioCheck,Tmpfile"
	// inGuest is what FUSE of the guest's kernel does not have, older than Linux 6.6, and what
	// takes minutes where a processor is emulated: TestBridgePosixHere has that.
	inGuest = ",btime,mmap-append,OpenSymlinkRace,DirSeek"
)

// guestServer starts a server in the guest that is mounted on /mnt/a, and mounts it by its
// socket on /mnt/b and, by the kernel's client, on /mnt/c.
const guestServer = `set -e
cd /tmp; mkdir -p /mnt/a /mnt/b /mnt/c
cat >c.toml <<END
[cache]
size = "96MiB"
[archive]
idle = "10h"
dirty = 0.9
[library]
speed = "instant"
capacity = "1GiB"
END
sliod serve --state /tmp/state --config c.toml --listen unix:/tmp/s --mount /mnt/a >serve.log 2>&1 &
n=0; until grep -q 'mount it by FUSE' serve.log; do n=$((n+1)); if [ $n = 3000 ]; then cat serve.log; exit 1; fi; usleep 100000; done
sliod mount -o log=/tmp/mount.log unix:/tmp/s /mnt/b
mount -t 9p -o trans=unix,version=9p2000.L,msize=1048576,access=client,posixacl,cache=none,uname=root /tmp/s /mnt/c
`

// TestBridgePosix runs the suite of package posix in a guest: on the archive mounted in the
// server's process, on one mounted over a socket, and over v9fs.
func TestBridgePosix(t *testing.T) {
	guest.Require(t, true)
	t.Parallel()
	m := guest.Boot(t, guest.Options{UserMode: true, MemoryMiB: 2048, Output: new(bytes.Buffer),
		Bins: []string{guest.Build(t, "sliod/cmd/sliod"), guest.BuildTest(t, "sliod/posix", "")}})
	m.Must(t, guestServer)
	for _, way := range []struct{ name, args string }{
		{"local, from tape", "-dir /mnt/a -other /mnt/b -tape -entries 100 -lacks " + lacksLocal},
		{"remote", "-dir /mnt/b -other /mnt/a -entries 200 -lacks " + lacksRemote},
		{"v9fs", "-dir /mnt/c -other /mnt/b -entries 100 -lacks " + lacksV9fs},
	} {
		t.Run(way.name, func(t *testing.T) {
			r, err := m.Sh(t.Context(), "cd /tmp; posix.test -test.v -test.run 'Suite|GoFuse' "+way.args+inGuest+" >out 2>&1; s=$?; grep -v '^=== ' out; rm -rf /mnt/a/*; exit $s")
			if err != nil {
				t.Fatal(err)
			}
			judge(t, r.Output, r.Status)
		})
	}
	t.Run("the end", func(t *testing.T) {
		m.Must(t, `umount /mnt/b && umount /mnt/c && kill $(pidof sliod) && n=0; while pidof sliod >/dev/null; do n=$((n+1)); [ $n -lt 3000 ] || exit 1; usleep 100000; done
if grep -q ' /mnt/a ' /proc/mounts; then echo "still mounted"; exit 1; fi`)
	})
}

// judge looks at what a test program printed.
func judge(t *testing.T, output string, status int) {
	t.Helper()
	if status != 0 || strings.Contains(output, "--- SKIP") || !strings.Contains(output, "--- PASS: TestGoFuse") {
		t.Errorf("status %d:\n%s", status, withoutPassed(output))
		return
	}
	t.Logf("%d tests passed", strings.Count(output, "    --- PASS"))
}

// withoutPassed is what `go test -v` has printed without the lines of tests that passed and
// said nothing, which would hide the others.
func withoutPassed(output string) string {
	var kept []string
	for l := range strings.Lines(output) {
		begin := strings.HasPrefix(l, "=== RUN")
		if n := len(kept); n > 0 && strings.HasPrefix(kept[n-1], "=== RUN") && (begin || strings.Contains(l, "--- ")) {
			kept = kept[:n-1]
		}
		if !strings.Contains(l, "--- PASS") {
			kept = append(kept, l)
		}
	}
	return strings.Join(kept, "")
}

// requireFUSE skips a test that mounts by FUSE on this machine, with the reason, where that
// cannot be done, and fails it under SLIOD_REQUIRE_ALL=1.
func requireFUSE(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		guest.SkipOrFail(t, "no FUSE on this machine: load the module fuse, or give the container /dev/fuse: "+err.Error())
	}
	_ = f.Close() // nothing was done with it
	if os.Geteuid() != 0 {
		guest.SkipOrFail(t, "mounting for several users needs root")
	}
	if out, err := exec.CommandContext(t.Context(), "unshare", "-m", "true").CombinedOutput(); err != nil {
		guest.SkipOrFail(t, "mounting needs the capability CAP_SYS_ADMIN: "+string(out))
	}
}

// publicDir is a temporary directory that other users can reach.
func publicDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// mountBridge mounts a server by its socket until the test ends.
func mountBridge(t *testing.T, s *server, options string) (dir string) {
	t.Helper()
	dir = publicDir(t)
	r := sliod(t, nil, "mount", "-o", "log="+dir+".log"+options, "unix:"+s.socket, dir)
	if r.status != 0 {
		t.Fatalf("mount: status %d\n%s%s", r.status, r.stdout, r.stderr)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
		if log, err := os.ReadFile(dir + ".log"); err == nil && (bytes.Contains(log, []byte("DATA RACE")) || bytes.Contains(log, []byte("panic"))) {
			t.Errorf("the mount said:\n%s", log)
		}
	})
	return dir
}

// TestBridgePosixHere is TestBridgePosix on this machine, where it is fast: with more
// names, though not as many as TestBridgeManyNamesHere.
func TestBridgePosixHere(t *testing.T) {
	requireFUSE(t)
	suite := guest.BuildTest(t, "sliod/posix", "")
	local := filepath.Join(publicDir(t), "mnt")
	s := start(t, stateDir(t), settings{cache: "256MiB", mount: local})
	remote := mountBridge(t, s, "")
	t.Run("ways", func(t *testing.T) {
		for _, way := range []struct {
			name       string
			dir, other string
			args       []string
		}{
			{"local", local, remote, []string{"-lacks", lacksLocal}},
			{"local, from tape", local, remote, []string{"-lacks", lacksLocal, "-tape"}},
			{"remote", remote, local, []string{"-lacks", lacksRemote}},
			{"remote, from tape", remote, local, []string{"-lacks", lacksRemote, "-tape"}},
		} {
			t.Run(way.name, func(t *testing.T) {
				t.Parallel() // much of it is waiting
				top := strings.ReplaceAll(way.name, ", ", "-")
				if err := os.Mkdir(filepath.Join(way.dir, top), 0o755); err != nil {
					t.Fatal(err)
				}
				args := append(way.args, "-dir", filepath.Join(way.dir, top), "-other", filepath.Join(way.other, top), "-test.v", "-test.run", "Suite|GoFuse")
				cmd := exec.CommandContext(t.Context(), suite, args...)
				out, _ := cmd.CombinedOutput()
				judge(t, string(out), cmd.ProcessState.ExitCode())
			})
		}
	})
	s.stop()
	if b, err := os.ReadFile("/proc/mounts"); err != nil || bytes.Contains(b, []byte(" "+local+" ")) {
		t.Errorf("%s is mounted after the server's end; %v", local, err)
	}
}
