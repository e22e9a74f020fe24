package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pkg/errors"
)

// What is measured of sliod alone, on a virtual library without delays. Every
// byte is checked: each 512 bytes hold their own offset, and the server checks
// its own checksums on the way.
var tapeRows = []measurement{
	{Name: "archive", unit: "MB/s"},
	{Name: "recall", unit: "MB/s"},
	{Name: "read from tape", unit: "MB/s"},
	{Name: "archive small files", unit: "files/s"},
	{Name: "read small files from tape", unit: "files/s"},
	{Name: "parked request", unit: "bytes"},
}

const (
	smallBytes = 4 << 10
	smallFiles = 4000
	smallDepth = 64    // reads of small files in flight
	parked     = 60000 // requests, for the memory of each
)

// tape measures rows of tapeRows on a server of its own.
func (l loader) tape(ctx context.Context, dir string, figures map[string]map[string][]float64) error {
	state := filepath.Join(dir, "tape-state")
	start := func(speed string) (*server, error) {
		config := filepath.Join(dir, "tape.toml")
		text := fmt.Sprintf("[cache]\nsize = \"%dMiB\"\n\n[archive]\nidle = \"1h\"\n\n[library]\nspeed = %s\n", max(256, 2*l.o.fileBytes>>20), speed)
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			return nil, errors.Wrap(err, "write the configuration of sliod")
		}
		return startServer(ctx, dir, "tape", []string{filepath.Join(dir, "sliod"), "serve", "--state", state,
			"--listen", "unix:" + filepath.Join(dir, "tape.sock"), "--config", config})
	}
	s, err := start(`"instant"`)
	if err != nil {
		return err
	}
	defer func() { s.stop() }()
	add := func(name string, f float64) {
		if figures[name] == nil {
			figures[name] = map[string][]float64{}
		}
		figures[name]["sliod"] = append(figures[name]["sliod"], f)
	}
	for round := range l.o.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d: tape\n", round+1, l.o.rounds)
		if err := l.tapeRound(ctx, s, round, add); err != nil {
			return err
		}
	}
	// The drives of a real library's speed keep the requests waiting.
	fmt.Fprintln(os.Stderr, "parked requests")
	if err := l.job(ctx, s, "evict", "/", nil); err != nil {
		return err
	}
	s.stop()
	if s, err = start("1.0"); err != nil {
		return err
	}
	bytesEach, err := l.park(ctx, s)
	if err != nil {
		return err
	}
	add("parked request", bytesEach)
	_ = s.proc.Kill() // an unload would take its real time, and nothing is kept
	return nil
}

// tapeRound takes one large file and many small ones to tape and back.
func (l loader) tapeRound(ctx context.Context, s *server, round int, add func(string, float64)) error {
	name := fmt.Sprintf("t%d", round)
	large := []string{"-file", name + ".0", "-msize", "1048576", "-once", "-stamp", "-secs", "100"}
	small := func(op string, depth int) []string {
		return []string{"-op", op, "-file", name, "-msize", "65536", "-bs", strconv.Itoa(smallBytes), "-once", "-stamp", "-secs", "100",
			"-size", strconv.Itoa(smallFiles * smallBytes), "-depth", strconv.Itoa(depth)}
	}
	megabytes := func(row string) func(*job) {
		return func(j *job) { add(row, float64(j.BytesDone)/1e6/j.seconds()) }
	}
	if _, err := l.ninebench(ctx, s, "-op", "write", "-file", name, "-msize", "1048576", "-once", "-stamp", "-secs", "100"); err != nil {
		return err
	}
	if err := l.job(ctx, s, "archive", "/"+name+".0", megabytes("archive")); err != nil {
		return err
	}
	if err := l.job(ctx, s, "evict", "/"+name+".0", nil); err != nil {
		return err
	}
	if err := l.job(ctx, s, "recall", "/"+name+".0", megabytes("recall")); err != nil {
		return err
	}
	for _, row := range []string{"", "read from tape"} { // the first reads what was recalled
		out, err := l.ninebench(ctx, s, append([]string{"-op", "read"}, large...)...)
		if err != nil {
			return err
		}
		if row != "" {
			f, err := figure(out, "MB/s")
			if err != nil {
				return err
			}
			add(row, f)
		}
		if err := l.job(ctx, s, "evict", "/"+name+".0", nil); err != nil {
			return err
		}
	}
	if _, err := l.ninebench(ctx, s, small("put", 8)...); err != nil {
		return err
	}
	err := l.job(ctx, s, "archive", "/", func(j *job) { add("archive small files", float64(j.FilesDone)/j.seconds()) })
	if err != nil {
		return err
	}
	if err := l.job(ctx, s, "evict", "/", nil); err != nil {
		return err
	}
	out, err := l.ninebench(ctx, s, small("get", smallDepth)...)
	if err != nil {
		return err
	}
	f, err := figure(out, "ops/s")
	if err != nil {
		return err
	}
	add("read small files from tape", f)
	return nil
}

// job is a job as sliod queue --json shows it.
type job struct {
	ID         uint64    `json:"id"`
	Kind       string    `json:"kind"`
	State      string    `json:"state"`
	FilesDone  int64     `json:"files_done"`
	BytesDone  int64     `json:"bytes_done"`
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"`
}

func (j *job) seconds() float64 { return j.FinishedAt.Sub(j.StartedAt).Seconds() }

// job runs sliod's command kind for path to its end, and shows the job to done.
func (l loader) job(ctx context.Context, s *server, kind, path string, done func(*job)) error {
	command := []string{kind, path, "--server", "unix:" + s.sock}
	if kind != "evict" { // which waits anyway
		command = append(command, "--wait")
	}
	sliod := filepath.Join(filepath.Dir(l.bin), "sliod")
	if out, err := exec.CommandContext(ctx, sliod, command...).CombinedOutput(); err != nil {
		return errors.Wrapf(err, "sliod %s: %s(the server said: %s)", strings.Join(command, " "), out, strings.TrimSpace(s.logEnd()))
	}
	if done == nil {
		return nil
	}
	out, err := exec.CommandContext(ctx, sliod, "queue", "--json", "--server", "unix:"+s.sock).Output()
	if err != nil {
		return errors.Wrap(err, "sliod queue --json")
	}
	j, err := lastJob(out, kind)
	if err != nil {
		return err
	}
	done(j)
	return nil
}

// lastJob finds the newest job of a kind in what sliod queue --json printed.
func lastJob(queue []byte, kind string) (*job, error) {
	var q struct {
		Jobs []*job `json:"jobs"`
	}
	if err := json.Unmarshal(queue, &q); err != nil {
		return nil, errors.Wrap(err, "read what sliod queue --json printed")
	}
	var last *job
	for _, j := range q.Jobs {
		if j.Kind == kind && (last == nil || j.ID > last.ID) {
			last = j
		}
	}
	if last == nil || last.State != "done" || last.seconds() <= 0 {
		return nil, errors.Errorf("sliod queue --json shows no %s job that is done: %s", kind, queue)
	}
	return last, nil
}

// park returns how many bytes the server's own memory grows by for one read that
// waits for tape.
func (l loader) park(ctx context.Context, s *server) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	before, err := ownMemory(s.proc.Process().Pid)
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, l.bin, "-op", "park", "-file", "t0.0", "-addr", "unix:"+s.sock, "-msize", "65536",
		"-size", strconv.FormatInt(l.o.fileBytes, 10), "-depth", strconv.Itoa(parked))
	var said bytes.Buffer
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, errors.Wrap(err, "start ninebench")
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, errors.Wrap(err, "start ninebench")
	}
	if err := cmd.Start(); err != nil {
		return 0, errors.Wrap(err, "start ninebench")
	}
	line, readErr := bufio.NewReader(out).ReadString('\n')
	after, err := ownMemory(s.proc.Process().Pid)
	in.Close()
	io.Copy(io.Discard, out)
	if e := cmd.Wait(); e != nil || readErr != nil {
		return 0, errors.Errorf("ninebench park: %v, %v: %s", e, readErr, said.String())
	}
	if err != nil {
		return 0, err
	}
	n, err := figure(line, "parked")
	if err != nil {
		return 0, err
	}
	if n < parked/2 {
		return 0, errors.Errorf("only %.0f of %d reads waited for tape", n, parked)
	}
	return (after - before) / n, nil
}

// ownMemory returns the bytes of anonymous memory that a process has resident:
// not the mapped cache.
func ownMemory(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, errors.Wrap(err, "read the memory of sliod")
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			return kib * 1024, errors.Wrapf(err, "read %q", line)
		}
	}
	return 0, errors.New("the kernel does not tell RssAnon in /proc/PID/status")
}
