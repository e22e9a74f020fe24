package guest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pkg/errors"
)

// RequireAll is the environment variable that turns a missing requirement from
// a skipped test into a failed one; `make test` sets it to 1.
const RequireAll = "SLIOD_REQUIRE_ALL"

// EmulateAll is the environment variable that has Boot emulate guests in user mode too.
const EmulateAll = "SLIOD_EMULATE_ALL"

func emulateAll() bool { return os.Getenv(EmulateAll) == "1" }

// Run boots a guest, runs one script and ends the guest.
func Run(ctx context.Context, script string, o Options) (Result, error) {
	m, err := Start(ctx, o)
	if err != nil {
		return Result{}, err
	}
	defer m.Close()
	return m.Sh(ctx, script)
}

// Missing says what keeps a guest from running here, on an emulated machine or in user
// mode, or returns nil. It downloads the kernel if that is all that is missing.
func Missing(ctx context.Context, userMode bool) error {
	if _, err := os.Stat(busybox); err != nil {
		return errors.Errorf("guest: no %s: install the package busybox-static", busybox)
	}
	kind := kindOf(userMode)
	if err := kind.missing(); err != nil {
		return err
	}
	_, err := kind.kernel.get(ctx)
	return err
}

// Require skips the test when guests, emulated or in user mode, cannot run here, with the
// reason, and fails it when SLIOD_REQUIRE_ALL=1 is set.
func Require(t testing.TB, userMode bool) {
	t.Helper()
	if err := Missing(t.Context(), userMode && !emulateAll()); err != nil {
		SkipOrFail(t, err.Error())
	}
}

// SkipOrFail skips the test for a missing requirement, or fails it when
// SLIOD_REQUIRE_ALL=1 is set: nothing is skipped in silence there.
func SkipOrFail(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv(RequireAll) == "1" {
		t.Fatalf("%s=1 and this test cannot run: %s", RequireAll, reason)
	}
	t.Skip(reason)
}

// Boot starts a guest for a test, which ends with it. Output of scripts goes to
// the test's log unless Options.Output is set. A complaint of the guest's
// kernel about itself fails the test.
func Boot(t testing.TB, o Options) *Machine {
	t.Helper()
	Require(t, o.UserMode)
	o.UserMode = o.UserMode && !emulateAll()
	if o.Output == nil {
		o.Output = t.Output()
	}
	m, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Close()
		for _, line := range m.KernelFaults() {
			t.Errorf("the guest's kernel said: %s", line)
		}
	})
	return m
}

// Must runs a script that has to end with status 0 and returns its output.
func (m *Machine) Must(t testing.TB, script string) string {
	t.Helper()
	r, err := m.Sh(t.Context(), script)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != 0 {
		t.Fatalf("guest: %q ended with status %d:\n%s", firstLine(script), r.Status, r.Output)
	}
	return r.Output
}

// shared are the programs that the tests of this process have built.
var shared struct {
	sync.Mutex
	dir   string
	built map[string]string // by the arguments of go
}

// BuildIn has all tests of this process share what Build and BuildTest make, in a directory
// that is the caller's to remove. Without it each test builds anew.
func BuildIn(dir string) {
	shared.Lock()
	defer shared.Unlock()
	shared.dir, shared.built = dir, map[string]string{}
}

// Build compiles a command of this module as a static program for Options.Bins
// and returns its path. It is removed when the test ends, or see BuildIn.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	return build(t, filepath.Base(pkg), "build", pkg)
}

// BuildTest compiles the tests of a package of this module, with build tags, as
// Build does with a command: "tape/sg" gives the program sg.test.
func BuildTest(t testing.TB, pkg, tags string) string {
	t.Helper()
	return build(t, filepath.Base(pkg)+".test", "test", "-c", "-tags="+tags, pkg)
}

func build(t testing.TB, name string, args ...string) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	key := strings.Join(args, " ")
	if bin, ok := shared.built[key]; ok {
		return bin
	}
	dir := t.TempDir()
	if shared.dir != "" {
		dir = filepath.Join(shared.dir, strconv.Itoa(len(shared.built)))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(dir, name)
	last := len(args) - 1
	args = append(args[:last:last], "-trimpath", "-ldflags=-s -w", "-o", bin, args[last])
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s for the guest: %v\n%s", name, err, out)
	}
	if shared.built != nil {
		shared.built[key] = bin
	}
	return bin
}

// Mount9P mounts a server on a TCP port of the host's loopback. options are further mount
// options, such as "cache=none,access=user"; without an msize among them it is 1 MiB.
func (m *Machine) Mount9P(t testing.TB, port int, options, mountpoint string) {
	t.Helper()
	if options != "" {
		options = "," + options
	}
	addr, err := m.Host(port)
	if err != nil {
		t.Fatal(err)
	}
	host, _, _ := strings.Cut(addr, ":")
	m.Must(t, fmt.Sprintf("mkdir -p %[4]s && mount -t 9p -o trans=tcp,port=%[2]d,version=9p2000.L,msize=1048576%[3]s %[1]s %[4]s",
		host, port, options, mountpoint))
}
