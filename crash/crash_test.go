package crash

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	stderrors "errors"

	"sliod/backend"
	"sliod/backend/catalog/catalogcheck"
	"sliod/client9p"
	"sliod/guest/child"
)

const writers = 3

// patience bounds what must come by itself: a round takes about a second.
const patience = 5 * time.Minute

// Operation codes of SSC and SMC.
const (
	opRead      = 0x08
	opWrite     = 0x0A
	opFilemarks = 0x10
	opLoad      = 0x1B
	opLocate    = 0x92
	opMove      = 0xA5
)

// run is the state of the whole test.
type run struct {
	t       *testing.T
	dir     string
	r       *rand.Rand
	slots   int
	writers []*writer
	counts  counts
	kills   map[string]int
}

func number(t *testing.T, name string, normal uint64) uint64 {
	s := os.Getenv(name)
	if s == "" {
		return normal
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s=%s: give a number", name, s)
	}
	return n
}

func TestCrashRounds(t *testing.T) {
	rounds := int(number(t, "SLIOD_CRASH_ROUNDS", 100))
	seed := number(t, "SLIOD_CRASH_SEED", rand.Uint64()>>16)
	dir, err := os.MkdirTemp("", "sliod-crash-") // a short path, for the socket
	if err != nil {
		t.Fatal(err)
	}
	x := &run{t: t, dir: dir, r: rand.New(rand.NewPCG(seed, 0)), slots: 24 + rounds/8, kills: map[string]int{}}
	for i := range writers {
		x.writers = append(x.writers, newWriter(i, seed, &x.counts))
	}
	begin := time.Now()
	n := 0
	for ; n < rounds; n++ {
		err := x.round(n)
		if err == nil {
			err = catalogcheck.Check(filepath.Join(dir, "state", "catalog"), nil)
		}
		if err != nil {
			t.Errorf("round %d of SLIOD_CRASH_SEED=%d: %v\nthe state is in %s", n, seed, err, dir)
			break
		}
	}
	var phases []string
	for name, k := range x.kills {
		phases = append(phases, fmt.Sprintf("%s %d", name, k))
	}
	sort.Strings(phases)
	c := &x.counts
	t.Logf("%d rounds in %v, seed %d: %d operations, %d reads, %d fsyncs, %d renames, %d jobs; kills: %s", n, time.Since(begin).Round(time.Second), seed,
		c.ops.Load(), c.reads.Load(), c.fsyncs.Load(), c.renames.Load(), c.jobs.Load(), strings.Join(phases, ", "))
	if !t.Failed() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}
}

// served is a child.
type served struct {
	*child.Child
	stderr bytes.Buffer // read it after the end
	ready  chan bool
}

func (x *run) start(k *killPoint) (*served, error) { return x.startWith(k) }

// startWith is start with more in the child's environment.
func (x *run) startWith(k *killPoint, env ...string) (*served, error) {
	s := &served{ready: make(chan bool, 1)}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envChild+"="+x.dir, envSlots+"="+strconv.Itoa(x.slots))
	cmd.Env = append(cmd.Env, env...)
	if k != nil {
		cmd.Env = append(cmd.Env, envKill+"="+k.encode())
	}
	cmd.Stderr = &s.stderr
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = w
	s.Child, err = child.Start(cmd)
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	go func() {
		defer r.Close()
		line, _ := bufio.NewReader(r).ReadString('\n')
		s.ready <- line == "ready\n"
	}()
	return s, nil
}

// killed ends the child, if it has not ended itself, and says whether its end and
// its log are as they must be.
func (s *served) killed() error {
	_ = s.Kill() // the status tells more
	var exit *exec.ExitError
	err := s.Wait()
	if !stderrors.As(err, &exit) {
		return fmt.Errorf("the server ended by itself: %v\n%s", err, s.tail())
	}
	if st, ok := exit.Sys().(syscall.WaitStatus); !ok || st.Signal() != syscall.SIGKILL {
		return fmt.Errorf("the server ended by itself: %v\n%s", err, s.tail())
	}
	if bad := badLines(s.stderr.String()); len(bad) > 0 {
		return fmt.Errorf("the server's log has\n%s", strings.Join(bad, "\n"))
	}
	return nil
}

func (s *served) tail() string {
	lines := strings.Split(s.stderr.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-60):], "\n")
}

// plan chooses how a round ends: at a stop point, or after a number of operations.
func (x *run) plan() (*killPoint, int64) {
	ops := int64(3 + x.r.IntN(150))
	points := []killPoint{
		{name: "write", opcode: opWrite}, {name: "flush", opcode: opFilemarks}, {name: "index", opcode: opWrite, index: true},
		{name: "recall", opcode: opRead}, {name: "locate", opcode: opLocate}, {name: "move", opcode: opMove}, {name: "load", opcode: opLoad},
		{name: "start", any: true},
	}
	span := []int{25, 5, 3, 25, 12, 3, 3, 40}
	k := x.r.IntN(len(points) + 4)
	if k >= len(points) {
		return nil, ops
	}
	p := points[k]
	p.n, p.after = int64(1+x.r.IntN(span[k])), x.r.IntN(2) == 0
	return &p, 400
}

// round is one life of a server.
func (x *run) round(n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	point, ops := x.plan()
	s, err := x.start(point)
	if err != nil {
		return err
	}
	defer func() {
		for _, w := range x.writers {
			w.close()
		}
	}()
	if point == nil && ops%8 == 0 {
		// Any moment of the start, not only where it touches the library.
		stop := time.AfterFunc(time.Duration(x.r.IntN(60))*time.Millisecond, func() { _ = s.Process().Kill() })
		defer stop.Stop()
	}
	select {
	case ok := <-s.ready:
		if !ok {
			<-s.Done()
			x.kills["before ready"]++
			return s.killed()
		}
	case <-ctx.Done():
		_ = s.Process().Signal(syscall.SIGQUIT)
		<-s.Done()
		return fmt.Errorf("the server did not start for %v\n%s", patience, s.tail())
	}
	phase := "verify"
	err = x.live(ctx, s, n, ops, &phase)
	if err != nil && stderrors.Is(err, context.DeadlineExceeded) {
		_ = s.Process().Signal(syscall.SIGQUIT)
		<-s.Done()
		return fmt.Errorf("%s: no answer for %v\n%s", phase, patience, s.stderr.String())
	}
	if err != nil && !gone(err) {
		_ = s.killed()
		return fmt.Errorf("%s: %w\n%s", phase, err, s.tail())
	}
	select {
	case <-s.Done(): // at the stop point
		if point != nil {
			phase += " at " + point.name
		}
	default:
	}
	x.kills[phase]++
	return s.killed()
}

// gone says that an error is the server's end, and no answer.
func gone(err error) bool {
	return stderrors.Is(err, client9p.ErrClosed) || stderrors.Is(err, syscall.ECONNREFUSED) || stderrors.Is(err, syscall.ECONNRESET) || stderrors.Is(err, syscall.EPIPE)
}

// live verifies, loads the server, and kills it if it does not do so itself. The
// error is what ended it; nil if the kill did.
func (x *run) live(ctx context.Context, s *served, n int, ops int64, phase *string) error {
	for _, w := range x.writers {
		if err := w.connect(ctx, filepath.Join(x.dir, "sock")); err != nil {
			return err
		}
	}
	if err := x.all(func(w *writer) error { return w.verify(ctx) }); err != nil {
		return err
	}
	if n%10 == 9 {
		*phase = "archive all"
		w := x.writers[0]
		for _, kind := range []backend.JobKind{backend.JobArchive, backend.JobEvict} {
			end, err := w.finish(ctx, kind, "/")
			if err != nil {
				return err
			}
			if kind == backend.JobArchive && !strings.Contains(end, `"done"`) {
				return fmt.Errorf("archive: %s", end)
			}
		}
		if err := x.all(func(w *writer) error { return w.verify(ctx) }); err != nil {
			return err
		}
	}
	*phase = "load"
	var done atomic.Int64
	return x.all(func(w *writer) error {
		return w.load(ctx, func() {
			if done.Add(1) == ops {
				_ = s.Process().Kill()
			}
		})
	})
}

// all runs fn for all writers at once, and returns the first error that is not the
// server's end, else one that is.
func (x *run) all(fn func(*writer) error) error {
	errs := make([]error, len(x.writers))
	var wg sync.WaitGroup
	for i, w := range x.writers {
		wg.Go(func() {
			if err := fn(w); err != nil {
				errs[i] = fmt.Errorf("writer %d: %w", i, err)
			}
		})
	}
	wg.Wait()
	var first error
	for _, err := range errs {
		if err != nil && (first == nil || gone(first) && !gone(err)) {
			first = err
		}
	}
	return first
}
