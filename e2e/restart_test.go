package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hugelgupf/p9/p9"

	"sliod/backend/sliver"
	"sliod/guest"
	"sliod/guest/child"
	"sliod/server/wire"
)

// TestRestart stops and starts servers of one state directory.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	s := start(t, dir, settings{})
	onTape, resident := content(7, 3*sliver.Size+5), content(8, 2*sliver.Size+7)
	c := dial(t, s)
	c.ok(&wire.MsgTmkdir{Dir: fidRoot, Name: []byte("dir"), Mode: 0o755})
	c.walk(fidRoot, fidDir, "dir")
	put := func(name string, p []byte) {
		c.create(fidSpare, fidDir, name, 0o644)
		c.writeAt(fidSpare, 0, p)
		c.clunk(fidSpare)
	}
	put("tape", onTape)
	put("both", resident)
	s.toTape("/dir/tape")
	s.must("archive", "--wait", "/dir/both")
	put("dirty", resident)
	s.stop()

	// A second server on the directory is told who has it.
	s = start(t, dir, settings{speed: "5"})
	r := sliod(t, nil, "serve", "--state", dir, "--listen", "tcp:127.0.0.1:0")
	if want := fmt.Sprintf("pid %d", s.pid()); r.status != 1 || !strings.Contains(r.stderr, want) {
		t.Errorf("a second server: status %d, no %q in\n%s", r.status, want, r.stderr)
	}

	// Stopped while requests wait for tape, of one client that goes on listening and
	// of one that does not. The library takes about a minute to mount a volume: the
	// server finishes that, and brings the volume home.
	a, b := dial(t, s), dial(t, s)
	for _, c := range []*conn{a, b} {
		c.open(fidOpen, p9.ReadWrite, "dir", "tape")
		c.open(fidResident, p9.ReadOnly, "dir", "dirty")
		for i := range uint16(20) {
			c.park(tagParked+i, "a read", &wire.MsgTread{Fid: fidOpen, Offset: uint64(i) * 1000, Count: 1000})
		}
		c.parkWrite(tagParked+20, "a write", fidOpen, sliver.Size+100, []byte("not confirmed"))
		c.doing = "a read of resident data beside parked requests"
		if got := c.readAll(fidResident); !bytes.Equal(got, resident) {
			t.Errorf("%d bytes of %d", len(got), len(resident))
		}
	}
	if st := s.status(); st.Parked != 42 {
		t.Errorf("%d requests are parked", st.Parked)
	}
	t.Logf("SIGTERM with 42 parked requests: ended after %v", s.stop())
	for {
		h, _, err := a.receive()
		if err != nil {
			break // the end of the connection
		}
		if h.Type != wire.Rlerror {
			t.Errorf("a parked request was answered with %v when the server stopped", h.Type)
		}
	}

	// What was in the cache is there without tape: this library would take hours.
	s = start(t, dir, settings{speed: "0.01"})
	c = dial(t, s)
	c.doing = "resident data after the restart"
	for _, name := range []string{"both", "dirty"} {
		c.open(fidSpare, p9.ReadOnly, "dir", name)
		if got := c.readAll(fidSpare); !bytes.Equal(got, resident) {
			t.Errorf("%s after the restart: %d bytes of %d", name, len(got), len(resident))
		}
		c.clunk(fidSpare)
	}
	if st := s.status(); st.Tape.ReadBytes != 0 || st.FaultsDone+st.Faults != 0 {
		t.Errorf("resident data was read from tape: %d bytes, %d faults", st.Tape.ReadBytes, st.FaultsDone+st.Faults)
	}
	out := s.must("ls", "-R", "/dir")
	for _, want := range []string{`(?m)^migrated .* tape$`, `(?m)^premigrated .* both$`, `(?m)^resident .* dirty$`} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("after the restart no %s in\n%s", want, out)
		}
	}
	t.Logf("SIGTERM without work: ended after %v", s.stop())

	s = start(t, dir, settings{})
	c = dial(t, s)
	c.doing = "a file on tape after the restart"
	c.open(fidSpare, p9.ReadOnly, "dir", "tape")
	if got := c.readAll(fidSpare); !bytes.Equal(got, onTape) {
		t.Errorf("the file on tape: %d bytes of %d, or others", len(got), len(onTape))
	}
	s.stop()
	if _, err := os.Stat(s.socket); !os.IsNotExist(err) {
		t.Errorf("the socket of a stopped server: %v", err)
	}
}

// TestBanner runs the mount command that the server prints in a guest, and the
// commands that it prints here.
func TestBanner(t *testing.T) {
	guest.Require(t, false)
	s := start(t, filepath.Join(t.TempDir(), "state"), settings{})
	found := regexp.MustCompile(`(?m)^\s*(mount -t 9p -o trans=tcp,\S+) (\S+) (/\S+)$`).FindStringSubmatch(s.out.String())
	if found == nil {
		t.Fatalf("no mount command in\n%s", s.out)
	}
	options, host, mountpoint := found[1], found[2], found[3]
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		t.Errorf("the mount command names the host %q", host)
	}
	m := guest.Boot(t, guest.Options{})
	// The guest's name for the loopback of the host.
	m.Must(t, "mkdir -p "+mountpoint+"; "+options+" 10.0.2.2 "+mountpoint)
	m.Must(t, "echo hello >"+mountpoint+"/file && cat "+mountpoint+"/file && umount "+mountpoint)
	commands := regexp.MustCompile(`(?m)^ +((?:\S*/)?(?:sliod|diodls|diodcat)) .*$`).FindAllStringSubmatch(s.out.String(), -1)
	if len(commands) == 0 {
		t.Errorf("no command to try in\n%s", s.out)
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:"+filepath.Dir(program)) // as root has it, and where sliod is installed
	for _, c := range commands {
		if _, err := exec.LookPath(c[1]); err != nil {
			guest.SkipOrFail(t, "no "+c[1]+": install the package diod")
		}
		line := strings.TrimSpace(strings.ReplaceAll(c[0], "FILE", "file"))
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", line).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	if out := s.must("ls", "/"); !strings.Contains(out, " file\n") {
		t.Errorf("ls:\n%s", out)
	}
	s.stop()
}

// TestStopUnread stops a server whose output nobody reads any longer, as Ctrl-C does with "sliod serve | tee log": it ends as
// cleanly as any.
func TestStopUnread(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", "--state", dir, "--listen", "unix:"+dir+"/s")
	cmd.Stdout, cmd.Stderr = w, w
	c, err := child.Start(cmd)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Kill()
	lines := bufio.NewScanner(r)
	for lines.Scan() && !strings.Contains(lines.Text(), "Ctrl-C stops") {
	}
	r.Close()
	if polite, err := c.Stop(stopPatience); !polite || err != nil {
		t.Errorf("%v, %v", polite, err)
	}
}
