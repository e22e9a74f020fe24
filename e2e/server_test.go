package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	stderrors "errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sliod/backend"
	"sliod/guest"
	"sliod/guest/child"
)

// program is the program under test. TestMain builds it once.
var program string

func TestMain(m *testing.M) {
	if dir := os.Getenv(touchEnv); dir != "" {
		os.Exit(touch(dir))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sliod-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory may stay behind
	// Other users run the program too.
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	guest.BuildIn(filepath.Join(dir, "guest"))
	program = filepath.Join(dir, "sliod")
	args := append([]string{"build", "-buildvcs=false", "-o", program}, raceArgs...)
	if out, err := exec.Command("go", append(args, "sliod/cmd/sliod")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the server: %v\n%s", err, out)
		return 1
	}
	status := m.Run()
	if err := goleak.Find(); status == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

const (
	// startPatience and stopPatience bound what a broken server may take.
	startPatience = 2 * time.Minute
	stopPatience  = 2 * time.Minute
	// patience bounds a command or a reply.
	patience = 5 * time.Minute
)

// output collects what a process prints and tells who waits for it.
type output struct {
	mu      sync.Mutex
	b       bytes.Buffer
	written chan struct{}
}

func newOutput() *output { return &output{written: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b.Write(p)
	select {
	case o.written <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// settings are the lines of a configuration that tests differ in.
type settings struct {
	speed string // of the library; "" is "instant"
	cache string // size; "" is "64MiB"
	stub  string // cache.stub; "" is "0"
	mount string // directory to mount on by FUSE; "": none
	// library are lines of the section [library]; "": capacity = "8GiB".
	library string
	more    string   // further sections
	listen  []string // further addresses
}

func (o settings) toml() string {
	speed := o.speed
	if speed == "" {
		speed = `"instant"`
	}
	cache := o.cache
	if cache == "" {
		cache = "64MiB"
	}
	library := cmp.Or(o.library, "capacity = \"8GiB\"\n")
	// Nothing goes to tape but by a command.
	return fmt.Sprintf("[cache]\nsize = %q\nstub = %q\n[archive]\nidle = \"10h\"\ndirty = 0.9\n[library]\nspeed = %s\n%s%s", cache, cmp.Or(o.stub, "0"), speed, library, o.more)
}

// server is a running sliod.
type server struct {
	t        *testing.T
	dir      string // the state directory
	proc     *child.Child
	out, log *output
	addr     string // of TCP: HOST:PORT
	socket   string // path
}

// start starts a server on a state directory and waits until it serves. It is
// killed when the test ends, if it has not been stopped before.
func start(t *testing.T, dir string, o settings) *server {
	t.Helper()
	s := &server{t: t, dir: dir, out: newOutput(), log: newOutput(), socket: filepath.Join(dir, "sliod.sock")}
	config := filepath.Join(filepath.Dir(dir), filepath.Base(dir)+".toml")
	if err := os.WriteFile(config, []byte(o.toml()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", "--state", dir, "--config", config, "--listen", "tcp:127.0.0.1:0", "--listen", "unix:"+s.socket)
	for _, addr := range o.listen {
		cmd.Args = append(cmd.Args, "--listen", addr)
	}
	if o.mount != "" {
		cmd.Args = append(cmd.Args, "--mount", o.mount)
	}
	cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1")
	cmd.Stdout, cmd.Stderr = s.out, s.log
	var err error
	if s.proc, err = child.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.proc.Kill() // judged by stop, if the test stops it
		if log := s.log.String(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic:") {
			t.Errorf("the server said:\n%s", log)
		} else if t.Failed() {
			t.Logf("the server said:\n%s", log)
		}
	})
	timer := time.NewTimer(startPatience)
	defer timer.Stop()
	for !strings.Contains(s.out.String(), "mount -t 9p") { // the banner comes in one piece
		select {
		case <-s.out.written:
		case <-s.proc.Done():
			t.Fatalf("the server has ended: %v\n%s", s.proc.Wait(), s.log)
		case <-timer.C:
			t.Fatalf("the server does not serve after %v:\n%s%s", startPatience, s.out, s.log)
		}
	}
	found := regexp.MustCompile(`listening on tcp:(\S+)`).FindStringSubmatch(s.out.String())
	if found == nil {
		t.Fatalf("no TCP address in\n%s", s.out)
	}
	s.addr = found[1]
	return s
}

// port is the number of the server's TCP port.
func (s *server) port() int { return s.portOf(s.addr) }

// tlsPort is the number of the one on which it speaks TLS.
func (s *server) tlsPort() int {
	s.t.Helper()
	found := regexp.MustCompile(`listening on tls:(\S+)`).FindStringSubmatch(s.out.String())
	if found == nil {
		s.t.Fatalf("no TLS address in\n%s", s.out)
	}
	return s.portOf(found[1])
}

func (s *server) portOf(addr string) int {
	s.t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		s.t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// stop ends the server by SIGTERM, which must do, and returns how long it took.
func (s *server) stop() time.Duration {
	s.t.Helper()
	begin := time.Now()
	polite, err := s.proc.Stop(stopPatience)
	if !polite || err != nil {
		s.t.Fatalf("the server ended by itself: %v, %v; it said:\n%s", polite, err, s.log)
	}
	return time.Since(begin)
}

// pid is the server's process.
func (s *server) pid() int { return s.proc.Process().Pid }

// result is what a command left behind.
type result struct {
	status         int
	stdout, stderr string
}

// sliod runs a command of the program.
func sliod(t *testing.T, change func(*exec.Cmd), args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if change != nil {
		change(cmd)
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !stderrors.As(err, &exit) {
		t.Fatalf("sliod %v: %v", args, err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// must runs a command against the server; it has to succeed.
func (s *server) must(args ...string) string {
	s.t.Helper()
	r := sliod(s.t, nil, append(args, "--server", "tcp:"+s.addr)...)
	if r.status != 0 {
		s.t.Fatalf("sliod %v: status %d\n%s%s", args, r.status, r.stdout, r.stderr)
	}
	return r.stdout
}

// status is the object of `sliod status --json`.
func (s *server) status() backend.Status {
	s.t.Helper()
	var st backend.Status
	if err := json.Unmarshal([]byte(s.must("status", "--json")), &st); err != nil {
		s.t.Fatal(err)
	}
	return st
}

// toTape archives and evicts a path and checks that nothing of it is left in the
// cache. Empty files have nothing that could be on tape. What a drive was reading ahead comes after an
// evict: that is evicted again.
func (s *server) toTape(path string) {
	s.t.Helper()
	s.must("archive", "--wait", path)
	for end := time.Now().Add(patience); ; {
		s.must("evict", path)
		left := s.inCache(path)
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			s.t.Errorf("%d files below %s are not on tape only:\n%s", len(left), path, strings.Join(left[:min(5, len(left))], ""))
			return
		}
	}
}

// inCache returns the lines of the files below a path that are not on tape alone.
func (s *server) inCache(path string) (left []string) {
	s.t.Helper()
	files := 0
	for line := range strings.Lines(s.must("ls", "-R", path)) {
		if !strings.HasPrefix(line, "- ") {
			files++
		}
		if !onTapeOnly(line) {
			left = append(left, line)
		}
	}
	if files == 0 {
		s.t.Errorf("sliod ls -R %s lists no files", path)
	}
	return left
}

// onTapeOnly says whether a line of sliod ls is that of a file of which nothing is in the cache, or of none.
func onTapeOnly(line string) bool {
	state, rest, _ := strings.Cut(line, " ")
	_, rest, _ = strings.Cut(strings.TrimSpace(rest), " ") // missing copies
	return state == "-" || state == "migrated" || strings.HasPrefix(strings.TrimSpace(rest), "0 B ")
}

// stateDir is a new state directory whose socket has a path that is short enough.
func stateDir(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "state")
}
