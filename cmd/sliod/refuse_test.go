package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// refusal runs serve with the real archive on dir and expects it to end with status
// failed and with each of want in its message.
func refusal(t *testing.T, dir string, config string, want ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sliod.toml")
	if err := os.WriteFile(file, []byte("[cache]\nsize = \"16MiB\"\n[log]\nlevel = \"error\"\n"+config), 0o600); err != nil {
		t.Fatal(err)
	}
	a, out, stderr := newApp()
	a.open = openArchive
	status := a.run(t.Context(), []string{"serve", "--state", dir, "--config", file, "--listen", "unix:" + socketPath(dir)})
	for _, w := range want {
		if status != exitFailed || !strings.Contains(stderr.String(), w) {
			t.Errorf("status %d, %s%s\nwant %s", status, out, stderr, w)
		}
	}
}

// madeState is the state directory of a server that has run once.
func madeState(t *testing.T) string {
	t.Helper()
	dir := shortDir(t)
	realServer(t, dir)()
	if err := os.Remove(filepath.Join(dir, "sliod.toml")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// contents is what lies below dir: names, and the text of small files.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, "/lock") || strings.HasSuffix(path, "/LOCK") {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %d\n", path, fi.Size())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func patch(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestServeRefusesDamage: what a start cannot use it says and leaves as it is, and
// once it is put back the server starts.
func TestServeRefusesDamage(t *testing.T) {
	cut := func(b []byte) []byte { return b[:len(b)/2] }
	for _, tc := range []struct {
		name, file string
		change     func([]byte) []byte
		want       []string
	}{
		{"volume", "library/volumes/A00003L9/memory", cut, []string{"A00003L9", "damaged"}},
		{"newer volume", "library/volumes/A00003L9/memory", func(b []byte) []byte {
			return []byte(strings.Replace(string(b), `"format": 1`, `"format": 99`, 1))
		}, []string{"A00003L9", "format 99"}},
		{"library", "library/library", cut, []string{"damaged"}},
		{"newer cache", "cache/slots", func(b []byte) []byte {
			for i := range 64 {
				b[i] ^= 0xff
			}
			return b
		}, []string{"slot table"}},
		{"arena", "cache/arena", cut, []string{"it was cut", "restore it"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := madeState(t)
			path := filepath.Join(dir, tc.file)
			good, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			patch(t, path, tc.change)
			before := contents(t, filepath.Join(dir, filepath.Dir(tc.file)))
			refusal(t, dir, "", append(tc.want, dir)...)
			if after := contents(t, filepath.Join(dir, filepath.Dir(tc.file))); after != before {
				t.Errorf("before:\n%safter:\n%s", before, after)
			}
			if err := os.WriteFile(path, good, 0o600); err != nil {
				t.Fatal(err)
			}
			realServer(t, dir)()
		})
	}
}

// TestServeWithoutRoom runs serve in a process that may not write files beyond a
// limit, as on a full disk.
func TestServeWithoutRoom(t *testing.T) {
	if dir := os.Getenv("SLIOD_TEST_STATE"); dir != "" {
		limit := unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
		a, _, stderr := newApp()
		a.open = openArchive
		status := a.run(t.Context(), []string{"serve", "--state", dir, "--listen", "unix:" + socketPath(dir)})
		fmt.Println("status", status, stderr)
		return
	}
	dir := shortDir(t)
	c := exec.Command(os.Args[0], "-test.run", "^TestServeWithoutRoom$")
	c.Env = append(os.Environ(), "SLIOD_TEST_STATE="+dir)
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "status 1") || !strings.Contains(string(out), "cache") || !strings.Contains(string(out), syscall.EFBIG.Error()) {
		t.Fatalf("%v\n%s", err, out)
	}
	realServer(t, dir)() // nothing is left that would be in the way
}

func TestStateDirectoryIsClosed(t *testing.T) {
	dir := filepath.Join(shortDir(t), "a", "b")
	if err := os.MkdirAll(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "s")
	l, err := lockState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.release(); err != nil {
		t.Fatal(err)
	}
	realServer(t, dir)()
	for name, want := range map[string]os.FileMode{"": 0o711, "cache": 0o700, "catalog": 0o700, "library": 0o700, "lock": 0o600} {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil || fi.Mode().Perm() != want {
			t.Errorf("%q: %v, %v, want %v", name, fi.Mode(), err, want)
		}
	}
}

// TestListenRefusals: a listen address that will not do leaves no state directory.
func TestListenRefusals(t *testing.T) {
	dir := filepath.Join(shortDir(t), "s")
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	for _, tc := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"--listen", "tcp:192.0.2.1:5640"}, exitUsage, "only loopback addresses"},
		{[]string{"--listen", "vsock:1:2"}, exitUsage, "no [export.NAME] of the configuration lets virtual machines in"},
		{[]string{"--listen", "tls:127.0.0.1:0"}, exitUsage, "set cert, key and client_ca of [tls]"},
		{[]string{"--listen", "port:/dev/virtio-ports/x"}, exitUsage, "a serial port is for clients"},
		{[]string{"--listen", "unix:/" + strings.Repeat("x", 107)}, exitUsage, "at most 85 bytes, this one has 107"},
		{[]string{"--http", "192.0.2.1:80"}, exitUsage, "only addresses of the loopback interface"},
		{[]string{"--http", busy.Addr().String()}, exitFailed, "another program listens there"},
		{[]string{"--server", "tcp:127.0.0.1:1"}, exitUsage, "sliod serve does not"},
	} {
		status, _, stderr := command(t, append([]string{"serve", "--state", dir}, tc.args...)...)
		if status != tc.status || !strings.Contains(stderr, tc.want) {
			t.Errorf("%v: status %d, %s", tc.args, status, stderr)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%v: the state directory has been made", tc.args)
		}
	}
}

// TestMountpoints: what cannot be a mountpoint is refused with what to do, and what would
// be hidden is told.
func TestMountpoints(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "state", "catalog"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "state", "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, err, warning string
	}{
		{"state", "is the state directory of a server", ""},
		{"none", "does not exist; make it with: mkdir -p " + filepath.Join(dir, "none"), ""},
		{"file", "is not a directory", ""},
		{"file/x", "something in its path is not a directory", ""},
		{strings.Repeat("x", 300), "cannot be used: file name too long; if a dead mount is there", ""},
		{".", "", "is not empty: what is in it is hidden"},
		{"empty", "", ""},
	} {
		var out strings.Builder
		l := logrus.New()
		l.SetOutput(&out)
		err := checkMountpoint(filepath.Join(dir, tc.name), logrus.NewEntry(l))
		if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) || (out.Len() == 0) != (tc.warning == "") || !strings.Contains(out.String(), tc.warning) {
			t.Errorf("%s: %v, %s; want %q, %q", tc.name, err, out.String(), tc.err, tc.warning)
		}
	}
}

// TestRebuildWithoutLibrary: the emulated library is not made anew, as if the archive had
// been empty, because the state directory or the configuration is the wrong one.
func TestRebuildWithoutLibrary(t *testing.T) {
	dir := filepath.Join(shortDir(t), "s")
	file := filepath.Join(t.TempDir(), "sliod.toml")
	if err := os.WriteFile(file, []byte("[library]\ndir = \""+dir+"/lib\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, dir + "/library has none; name the archive's configuration with --config, or the right directory with --state"},
		{[]string{"--config", file}, file + " describes an emulated one in " + dir + "/lib, and there is none"},
	} {
		status, _, stderr := command(t, append([]string{"rebuild", "--state", dir}, tc.args...)...)
		if status != exitFailed || !strings.Contains(stderr, tc.want) {
			t.Errorf("%v: status %d, %s", tc.args, status, stderr)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%v: the state directory has been made", tc.args)
		}
	}
}
