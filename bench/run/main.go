// Run compares sliod with null9p (the limit: a server with nothing behind it)
// and with diod (a C server that exports a directory) on this machine, now:
// every server gets the same load from ninebench, in turn, round after round,
// and the medians are compared. Absolute figures say little; the ratios do. Then
// sliod alone takes files to tape and back, in a virtual library without delays, and
// the mounts by FUSE are compared with other FUSE file systems.
//
//	go run ./bench/run [--rounds N] [--secs S] [--dir DIR] [--size BYTES] [--servers NAME,...] [--mounts NAME,...] [--rows REGEXP] [--old PROGRAM] [--tape=false] [--json] [--check]
//
// Run it from the project's top directory. Progress goes to standard error,
// the table or the JSON object to standard output. Exit status: 0 done, 1
// failed, or with --check a target was missed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/pkg/errors"
)

type options struct {
	rounds      int
	secs        float64
	dir         string
	json, check bool
	fileBytes   int64
	servers     string
	mounts      string
	tape        bool
	rows        *regexp.Regexp
	old         string // an earlier sliod
}

// wants says whether a server is to be measured.
func (o options) wants(name string) bool {
	return slices.Contains(strings.Split(o.servers, ","), name)
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "rounds; the median counts")
	flag.Float64Var(&o.secs, "secs", 1.5, "seconds of each measurement")
	flag.StringVar(&o.dir, "dir", "", "directory on the disk to measure on (default: the temporary directory)")
	flag.BoolVar(&o.json, "json", false, "print one JSON object in place of the table")
	flag.BoolVar(&o.check, "check", false, "fail if a target is missed")
	flag.Int64Var(&o.fileBytes, "size", 256<<20, "size of the file that is read and written, in bytes")
	flag.StringVar(&o.servers, "servers", "null9p,diod,sliod", "which servers to measure")
	flag.StringVar(&o.mounts, "mounts", strings.Join(mountNames, ","), "which mounts to measure, as root")
	flag.BoolVar(&o.tape, "tape", true, "measure archive and recall of sliod too")
	flag.StringVar(&o.old, "old", "", "an earlier sliod program, to measure it in the same run (9P rows: old-sliod, mounts: old-serve, old-mount)")
	rows := flag.String("rows", "", "measure only the rows whose names match this regular expression")
	flag.Parse()
	var err error
	if o.rows, err = regexp.Compile(*rows); err != nil {
		fmt.Fprintln(os.Stderr, "--rows:", err)
		os.Exit(2)
	}
	if flag.NArg() != 0 || o.rounds < 1 || o.secs <= 0 || o.secs > 60 || o.fileBytes < 1<<20 {
		fmt.Fprintln(os.Stderr, "usage: go run ./bench/run [--rounds N] [--secs S] [--dir DIR] [--size BYTES] [--servers NAME,...] [--mounts NAME,...] [--rows REGEXP] [--old PROGRAM] [--tape=false] [--json] [--check]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	missed, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if missed && o.check {
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (missed bool, err error) {
	dir, err := os.MkdirTemp(o.dir, "sliod-bench-")
	if err != nil {
		return false, errors.Wrap(err, "make a directory for the servers")
	}
	defer os.RemoveAll(dir)
	packages := []string{"./bench/ninebench", "./bench/null9p"}
	if why := canMount(); o.mounts != "" && why != "" {
		fmt.Fprintf(os.Stderr, "mounts by FUSE are not measured: %s\n", why)
		o.mounts = ""
	}
	if o.mounts != "" {
		packages = append(packages, "./bench/loopback")
	}
	if o.wants("sliod") || o.wantsMount("serve") || o.wantsMount("mount") {
		packages = append(packages, "./cmd/sliod")
	}
	for _, pkg := range packages {
		fmt.Fprintln(os.Stderr, "build", pkg)
		build := exec.CommandContext(ctx, "go", "build", "-o", dir, pkg)
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return false, errors.Wrapf(err, "build %s (run this from the project's top directory)", pkg)
		}
	}
	servers, err := startAll(ctx, dir, o)
	defer func() {
		for _, s := range servers {
			s.stop()
		}
	}()
	if err != nil {
		return false, err
	}
	load := loader{bin: filepath.Join(dir, "ninebench"), o: o}
	for _, s := range servers {
		if err := load.prepare(ctx, s); err != nil {
			return false, err
		}
	}
	figures := map[string]map[string][]float64{} // measurement -> server -> a figure a round
	order := slices.Clone(servers)
	for round := range o.rounds {
		if len(order) > 0 {
			order = append(order[1:], order[0]) // nobody is always first
		}
		for _, m := range measurements {
			if !o.rows.MatchString(m.Name) {
				continue
			}
			if figures[m.Name] == nil {
				figures[m.Name] = map[string][]float64{}
			}
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, o.rounds, m.Name)
			for _, s := range order {
				if err := settle(dir); err != nil {
					return false, err
				}
				f, err := load.measure(ctx, s, m)
				if err != nil {
					return false, err
				}
				figures[m.Name][s.name] = append(figures[m.Name][s.name], f)
			}
		}
	}
	for _, s := range servers {
		s.stop()
	}
	if o.tape && o.wants("sliod") {
		if err := load.tape(ctx, dir, figures); err != nil {
			return false, err
		}
	}
	r := newReport(figures, servers, o)
	if o.mounts != "" {
		if r.Mounts, err = compareMounts(ctx, dir, o); err != nil {
			return false, err
		}
	}
	if o.json {
		err = r.printJSON(os.Stdout)
	} else {
		err = r.printTable(os.Stdout)
	}
	return r.missed(), err
}
