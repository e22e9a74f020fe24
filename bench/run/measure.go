package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// measurement is one row of the table. Those of several servers have one connection
// and eight requests in flight.
type measurement struct {
	Name   string
	op     string
	msize  int
	unit   string  // "MB/s" or "ops/s", as ninebench names them
	versus string  // the server that the target is held against
	target float64 // 0: none
}

var measurements = []measurement{
	{"read 64 KiB", "read", 64 << 10, "MB/s", "null9p", 0.90},
	{"read 1 MiB", "read", 1 << 20, "MB/s", "null9p", 0.90},
	{"write 64 KiB", "write", 64 << 10, "MB/s", "null9p", 0.60},
	{"write 1 MiB", "write", 1 << 20, "MB/s", "null9p", 0.60},
	{"getattr", "getattr", 64 << 10, "ops/s", "null9p", 0.70},
	{"walk+open+clunk", "walkopen", 64 << 10, "ops/s", "null9p", 0.60},
	{"create", "create", 64 << 10, "ops/s", "diod", 2},
	{"write and fsync 1 MiB", "fsync", 1 << 20, "MB/s", "diod", 0},
}

// patience is how long one run of ninebench may take.
const patience = 2 * time.Minute

// loader runs ninebench.
type loader struct {
	bin string
	o   options
}

// prepare writes the file that is read later: ninebench calls it big.0.
func (l loader) prepare(ctx context.Context, s *server) error {
	_, err := l.ninebench(ctx, s, "-op", "write", "-file", "big", "-msize", "1048576", "-once", "-secs", "60")
	return err
}

// measure returns one figure.
func (l loader) measure(ctx context.Context, s *server, m measurement) (float64, error) {
	args := []string{"-op", m.op, "-file", "big.0", "-msize", strconv.Itoa(m.msize), "-secs", fmt.Sprint(l.o.secs)}
	switch m.op {
	case "write":
		args[3] = "written"
	case "fsync": // one pass over the file and one fsync
		args = []string{"-op", "write", "-file", "synced", "-msize", strconv.Itoa(m.msize), "-secs", "100", "-once", "-fsync"}
	}
	out, err := l.ninebench(ctx, s, args...)
	if err != nil {
		return 0, err
	}
	return figure(out, m.unit)
}

// settle lets the disk finish what earlier measurements wrote, so that no server
// pays for another one's data.
func settle(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return errors.Wrap(err, "open the directory of the servers")
	}
	defer d.Close()
	return errors.Wrap(unix.Syncfs(int(d.Fd())), "sync the disk between measurements")
}

// figure finds "unit=1234" in ninebench's line.
func figure(out, unit string) (float64, error) {
	match := regexp.MustCompile(regexp.QuoteMeta(unit) + `=([0-9.]+)`).FindStringSubmatch(out)
	if match == nil {
		return 0, errors.Errorf("ninebench printed no %s: %q", unit, out)
	}
	f, err := strconv.ParseFloat(match[1], 64)
	return f, errors.Wrapf(err, "read %s from ninebench's %q", unit, out)
}

func (l loader) ninebench(ctx context.Context, s *server, args ...string) (string, error) {
	// A flag that is given twice has its last value.
	args = append([]string{"-addr", "unix:" + s.sock, "-aname", s.aname, "-depth", "8", "-conns", "1", "-size", strconv.FormatInt(l.o.fileBytes, 10)}, args...)
	// A server that stops answering must not stop the comparison.
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.Errorf("no end within %v: the server stopped answering", patience))
	defer cancel()
	out, err := exec.CommandContext(ctx, l.bin, args...).CombinedOutput()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return "", errors.Wrapf(err, "ninebench %s on %s: %s(%s said: %s)", strings.Join(args, " "), s.name, out, s.name, strings.TrimSpace(s.logEnd()))
	}
	return string(out), nil
}
