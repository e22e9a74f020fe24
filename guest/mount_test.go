package guest_test

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sliod/guest"
	"sliod/guest/child"
)

// startDiod serves dir on a loopback port with Debian's diod until the test
// ends.
func startDiod(t *testing.T, dir string) (port int) {
	t.Helper()
	path, err := exec.LookPath("diod")
	if err != nil {
		guest.SkipOrFail(t, "no diod: install the package diod")
	}
	addr, err := guest.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	port = int(at.Port())
	cmd := exec.Command(path, "-f", "-n", "-c", "/dev/null", "-L", "stderr", "-l", addr, "-e", dir)
	diod, err := child.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { diod.Kill() })
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return port
		}
		select {
		case <-diod.Done(): // somebody has taken the port meanwhile, maybe
			t.Fatalf("diod has ended: %v", diod.Wait())
		case <-tick.C:
		case <-deadline:
			t.Fatalf("diod does not listen on %s", addr)
		}
	}
}

// TestMount shows that the harness works with a server that is known to be
// good: what ninetest sees through a kernel mount is what lies in the
// directory that diod exports.
func TestMount(t *testing.T) { kinds(t, testMount) }

func testMount(t *testing.T, userMode bool) {
	guest.Require(t, userMode)
	if os.Geteuid() != 0 {
		t.Skip("diod keeps owners only as root")
	}
	dir := t.TempDir()
	port := startDiod(t, dir)
	ninetest := guest.Build(t, "sliod/guest/ninetest")
	host := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), ninetest, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ninetest %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	var discard bytes.Buffer
	m := guest.Boot(t, guest.Options{UserMode: userMode, Bins: []string{ninetest}, Output: &discard})
	m.Mount9P(t, port, "cache=none,uname=root,access=0,aname="+dir, "/mnt")

	// A tree of the host, read through the mount.
	host("make-tree", "-total", "1000000", filepath.Join(dir, "host"), "4", "60")
	want := host("sum", filepath.Join(dir, "host"))
	if got := m.Must(t, "ninetest sum /mnt/host"); got != want {
		t.Errorf("the host's tree differs through the mount: %s", firstDifference(got, want))
	}
	// The same tree, made through the mount.
	m.Must(t, "ninetest make-tree -total 1000000 /mnt/tree 4 60")
	reference := filepath.Join(t.TempDir(), "tree")
	host("make-tree", "-seconds", "-total", "1000000", reference, "4", "60")
	want = host("sum", reference)
	if got := host("sum", filepath.Join(dir, "tree")); got != want {
		t.Errorf("the tree made through the mount differs: %s", firstDifference(got, want))
	}
	m.Must(t, "ninetest random-writes -ops 40 -files 10 -truncate /mnt/tree 6")
	m.Must(t, "mkfifo /tmp/fifo && ninetest interrupt -max 1m /tmp/fifo && umount /mnt")
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "got\n" + g[i] + "\nwant\n" + w[i]
		}
	}
	return "one has more lines"
}
