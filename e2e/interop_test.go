package e2e

import (
	"bytes"
	stderrors "errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/guest"
	"sliod/server/wire"
)

// nobody is a user without rights; diod's tools and sliod run as him.
const nobody = 65534

// p9root attaches with the client of hugelgupf/p9.
func p9root(t *testing.T, s *server) p9.File {
	t.Helper()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := p9.NewClient(nc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the server may be gone
	root, err := c.Attach("")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// p9write writes all of p, in pieces of odd sizes.
func p9write(f p9.File, p []byte, off int64) error {
	for size := 1; len(p) > 0; size = size*7 + 3 {
		if size > 300_000 {
			size = 4097
		}
		n, err := f.WriteAt(p[:min(size, len(p))], off)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("a write of %d bytes was answered with 0", min(size, len(p)))
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// p9read reads the whole file in pieces of an odd size.
func p9read(f p9.File, piece int) ([]byte, error) {
	var all []byte
	for buf := make([]byte, piece); ; {
		n, err := f.ReadAt(buf, int64(len(all)))
		all = append(all, buf[:n]...)
		if err == io.EOF || err == nil && n == 0 {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

func p9names(t *testing.T, dir p9.File) []string {
	t.Helper()
	_, d, err := dir.Walk(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Open(p9.ReadOnly); err != nil {
		t.Fatal(err)
	}
	var names []string
	for off := uint64(0); ; {
		list, err := d.Readdir(off, 700) // several messages
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		for _, e := range list {
			names, off = append(names, e.Name), e.Offset
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	slices.Sort(names)
	return names
}

// TestInterop has clients that others wrote use the server.
func TestInterop(t *testing.T) {
	t.Parallel()
	s := start(t, stateDir(t), settings{})
	t.Run("p9.Client", func(t *testing.T) { testP9(t, s) })
	t.Run("diod", func(t *testing.T) { testDiod(t, s) })
	s.stop()
}

func testP9(t *testing.T, s *server) {
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	root := p9root(t, s)
	_, err := root.Mkdir("p9", 0o755, p9.NoUID, p9.NoGID)
	ok(err)
	_, dir, err := root.Walk([]string{"p9"})
	ok(err)
	want := content(4, 5<<20+12345)
	_, base, err := dir.Walk(nil)
	ok(err)
	f, _, _, err := base.Create("file", p9.ReadWrite, 0o640, p9.NoUID, p9.NoGID)
	ok(err)
	ok(p9write(f, want, 0))
	for _, piece := range []int{1<<20 + 1, 99_991, 1 << 16} {
		if got, err := p9read(f, piece); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("pieces of %d: %d bytes of %d, %v", piece, len(got), len(want), err)
		}
	}
	ok(f.FSync())
	for i := range 60 {
		_, base, err := dir.Walk(nil)
		ok(err)
		g, _, _, err := base.Create(fmt.Sprintf("small%02d", i), p9.WriteOnly, 0o600, p9.NoUID, p9.NoGID)
		ok(err)
		ok(p9write(g, want[:i], 0))
		ok(g.Close())
	}
	if names := p9names(t, dir); len(names) != 63 || names[0] != "." || names[1] != ".." || names[2] != "file" || names[62] != "small59" {
		t.Errorf("%d names: %q", len(names), names)
	}

	// To tape; then the open file is read over its slivers' boundaries.
	s.toTape("/p9")
	got := make([]byte, 1000)
	for at := 0; at < len(got); {
		n, err := f.ReadAt(got[at:], 2<<20-500+int64(at))
		ok(err)
		if n == 0 {
			t.Fatal("nothing was read at a boundary")
		}
		at += n
	}
	if !bytes.Equal(got, want[2<<20-500:2<<20+500]) {
		t.Error("other bytes at a sliver's boundary")
	}
	// A write over a boundary: both slivers come from tape around it.
	s.toTape("/p9/file")
	change := content(5, 70_000)
	ok(p9write(f, change, 3<<20-30_000))
	copy(want[3<<20-30_000:], change)
	ok(p9write(f, change, int64(len(want))))
	want = append(want, change...)
	s.toTape("/p9/file")
	if got, err := p9read(f, 77_777); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("after a write to a file on tape: %d bytes of %d, %v", len(got), len(want), err)
	}

	ok(dir.RenameAt("file", root, "moved"))
	if _, _, err := dir.Walk([]string{"file"}); !stderrors.Is(err, linux.ENOENT) {
		t.Errorf("the old name: %v", err)
	}
	_, moved, err := root.Walk([]string{"moved"})
	ok(err)
	_, _, attr, err := moved.GetAttr(p9.AttrMaskAll)
	ok(err)
	if attr.Size != uint64(len(want)) || attr.Mode != p9.ModeRegular|0o640 || attr.NLink != 1 {
		t.Errorf("attributes %+v", attr)
	}
	// An open file outlives its name, on tape too.
	s.toTape("/moved")
	ok(root.UnlinkAt("moved", 0))
	if got, err := p9read(f, 1<<19); err != nil || !bytes.Equal(got, want) {
		t.Errorf("after unlink: %d bytes of %d, %v", len(got), len(want), err)
	}
	for _, x := range []p9.File{f, moved, dir, root} {
		ok(x.Close())
	}
}

// diodTool runs diodls or diodcat against addr as a user of the host.
func diodTool(t *testing.T, uid uint32, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = "/usr/sbin/" + name // not in the PATH of all users
	}
	cmd := exec.CommandContext(t.Context(), path, append([]string{"-t", "120"}, args...)...)
	if uid != uint32(os.Geteuid()) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s %v: %w: %s", name, args, err, strings.TrimSpace(stderr.String()))
	}
	return string(out), err
}

func testDiod(t *testing.T, s *server) {
	if _, err := os.Stat("/usr/sbin/diodls"); err != nil {
		if _, err := exec.LookPath("diodls"); err != nil {
			guest.SkipOrFail(t, "no diodls: install the package diod")
		}
	}
	if os.Geteuid() != 0 {
		guest.SkipOrFail(t, "diod's tools are run as two users, which only root can")
	}
	want := content(6, 3<<20+1)
	c := dial(t, s)
	c.ok(&wire.MsgTmkdir{Dir: fidRoot, Name: []byte("diod"), Mode: 0o755})
	c.walk(fidRoot, fidDir, "diod")
	for name, mode := range map[string]p9.FileMode{"public": 0o644, "private": 0o600} {
		c.create(fidSpare, fidDir, name, mode)
		c.writeAt(fidSpare, 0, want)
		c.clunk(fidSpare)
	}
	me := uint32(os.Geteuid())
	for _, tc := range []struct {
		name   string
		server string
		msize  string
		uid    uint32 // who runs the tool
		as     string // as whom it attaches
		ok     bool   // to read the private file
		attach bool
	}{
		{"root, TCP", s.addr, "65536", me, "0", true, true},
		{"root, socket", s.socket, "1048576", me, "0", true, true},
		{"root, small messages", s.addr, "4096", me, "0", true, true},
		{"root as another", s.addr, "65536", me, "65534", false, true},
		{"nobody", s.addr, "65536", nobody, "65534", false, true},
		{"nobody as root", s.addr, "65536", nobody, "0", false, false},
		{"nobody as another", s.addr, "65536", nobody, "1000", false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.toTape("/diod")
			base := []string{"-s", tc.server, "-m", tc.msize, "-u", tc.as, "-a", "/diod"}
			out, err := diodTool(t, tc.uid, "diodls", append(slices.Clone(base), "-l", ".")...)
			if !tc.attach {
				if err == nil || !strings.Contains(err.Error(), "attach") {
					t.Errorf("attach: %v\n%s", err, out)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range []string{`(?m)^-rw-r--r--\.? .* 3145729 .*public$`, `(?m)^-rw-------\.? .* 3145729 .*private$`} {
				if !regexp.MustCompile(line).MatchString(out) {
					t.Errorf("diodls: no %s in\n%s", line, out)
				}
			}
			if got, err := diodTool(t, tc.uid, "diodcat", append(slices.Clone(base), "public")...); err != nil || got != string(want) {
				t.Errorf("diodcat: %d bytes of %d, %v", len(got), len(want), err)
			}
			got, err := diodTool(t, tc.uid, "diodcat", append(slices.Clone(base), "private")...)
			if tc.ok && (err != nil || got != string(want)) {
				t.Errorf("diodcat of the private file: %d bytes of %d, %v", len(got), len(want), err)
			}
			if !tc.ok && (err == nil || got != "") {
				t.Errorf("diodcat may read the private file: %d bytes", len(got))
			}
		})
	}
	t.Run("sliod as nobody", func(t *testing.T) {
		as := func(cmd *exec.Cmd) {
			cmd.Dir = filepath.Dir(program)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		if r := sliod(t, as, "ls", "/diod", "--server", "tcp:"+s.addr); r.status != 0 || !strings.Contains(r.stdout, "public") {
			t.Errorf("ls: status %d\n%s%s", r.status, r.stdout, r.stderr)
		}
		if r := sliod(t, as, "evict", "/diod", "--server", "tcp:"+s.addr); r.status != 1 {
			t.Errorf("evict: status %d\n%s%s", r.status, r.stdout, r.stderr)
		}
	})
}
