package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"sliod/guest/child"
)

// mountNames are the file systems that --mounts takes, in the order of the table; those
// of --old come first there.
var mountNames = []string{"serve", "mount", "loopback", "passthrough", "libfuse"}

// oldPrefix begins the names of the mounts of an earlier sliod.
const oldPrefix = "old-"

const (
	mountVersus = "loopback" // what the bridge is held against
	mountTarget = 0.8
)

// libfuseExample is what Debian's libfuse3-dev has of libfuse's examples: sources.
const libfuseExample = "/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c"

// mounted is one file system under load.
type mounted struct {
	name string
	at   string // where it is mounted
	dir  string // in it, where the load has its files
	proc *child.Child
	log  string
}

// mounts is what runs for the comparison.
type mounts struct {
	o     options
	dir   string // for all
	bin   string // where the programs are
	all   []*mounted
	procs []*child.Child // in the order of their start
}

// columns are the names of all mounts, in the order of the table.
func columns() []string {
	return slices.Concat([]string{oldPrefix + "serve", oldPrefix + "mount"}, mountNames)
}

// wantsMount says whether a file system is to be measured.
func (o options) wantsMount(name string) bool {
	return slices.Contains(strings.Split(o.mounts, ","), strings.TrimPrefix(name, oldPrefix))
}

// canMount says why nothing can be mounted here, or "".
func canMount() string {
	switch _, err := os.Stat("/dev/fuse"); {
	case err != nil:
		return "there is no /dev/fuse"
	case os.Geteuid() != 0:
		return "it is for root"
	}
	return ""
}

// compareMounts measures the mounts that o names.
func compareMounts(ctx context.Context, bin string, o options) (*mountReport, error) {
	m, err := startMounts(ctx, bin, o)
	defer m.stop()
	if err != nil {
		return nil, err
	}
	figures, err := m.compare(ctx)
	if err != nil {
		return nil, err
	}
	return newMountReport(figures), nil
}

// startMounts mounts everything. What it returns has to be stopped, also on an error.
func startMounts(ctx context.Context, bin string, o options) (*mounts, error) {
	m := &mounts{o: o, dir: filepath.Join(bin, "mounts"), bin: bin}
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		return m, errors.Wrap(err, "make a directory for the mounts")
	}
	if o.wantsMount("serve") || o.wantsMount("mount") {
		if err := m.sliod(ctx, filepath.Join(bin, "sliod"), ""); err != nil {
			return m, err
		}
		if o.old != "" {
			if err := m.sliod(ctx, o.old, oldPrefix); err != nil {
				return m, err
			}
		}
	}
	loopback := filepath.Join(bin, "loopback")
	for _, name := range []string{"loopback", "passthrough", "libfuse"} {
		if !o.wantsMount(name) {
			continue
		}
		below := filepath.Join(m.dir, name+"-files")
		if err := os.Mkdir(below, 0o755); err != nil {
			return m, errors.Wrapf(err, "make the directory for %s", name)
		}
		at, err := m.mountpoint(name)
		if err != nil {
			return m, err
		}
		var command []string
		switch name {
		case "loopback":
			command = []string{loopback, below, at}
		case "passthrough":
			command = []string{loopback, "--passthrough", below, at}
		case "libfuse":
			program, err := m.buildLibfuse(ctx)
			if err != nil {
				fmt.Fprintln(os.Stderr, "libfuse's example is left out:", err)
				continue
			}
			command = []string{program, "-f", "-o", "source=" + below, at}
		}
		if err := m.start(ctx, name, at, "", command...); err != nil {
			return m, err
		}
	}
	return m, nil
}

// sliod starts a server that mounts itself, and a second process that mounts it over a
// socket. Each has a directory of its own. prefix begins the names of both.
func (m *mounts) sliod(ctx context.Context, sliod, prefix string) error {
	config, sock := filepath.Join(m.dir, prefix+"sliod.toml"), filepath.Join(m.dir, prefix+"sliod.sock")
	// The cache holds what both write, and nothing goes to tape meanwhile.
	text := fmt.Sprintf("[cache]\nsize = \"%dMiB\"\n\n[archive]\nidle = \"1h\"\n", max(1024, 8*m.o.fileBytes>>20))
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return errors.Wrap(err, "write the configuration of sliod")
	}
	at, err := m.mountpoint(prefix + "serve")
	if err != nil {
		return err
	}
	err = m.start(ctx, prefix+"serve", at, "in-process", sliod, "serve", "--state", filepath.Join(m.dir, prefix+"state"),
		"--listen", "unix:"+sock, "--config", config, "--mount", at)
	if err != nil || !m.o.wantsMount("mount") {
		return err
	}
	if at, err = m.mountpoint(prefix + "mount"); err != nil {
		return err
	}
	return m.start(ctx, prefix+"mount", at, "two-processes", sliod, "mount", "-f", "unix:"+sock, at)
}

func (m *mounts) mountpoint(name string) (string, error) {
	at := filepath.Join(m.dir, name)
	return at, errors.Wrapf(os.Mkdir(at, 0o755), "make the mountpoint of %s", name)
}

// start runs a command and waits until it has mounted. The load uses the directory
// sub of the mount.
func (m *mounts) start(ctx context.Context, name, at, sub string, command ...string) error {
	f := &mounted{name: name, at: at, dir: filepath.Join(at, sub), log: filepath.Join(m.dir, name+".log")}
	log, err := os.Create(f.log)
	if err != nil {
		return errors.Wrapf(err, "make the log of %s", name)
	}
	defer log.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	if f.proc, err = child.Start(cmd); err != nil {
		return err
	}
	m.procs = append(m.procs, f.proc)
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !isMount(at) {
		select {
		case <-tick.C:
		case <-f.proc.Done():
			return errors.Errorf("%s ended at once; it said:\n%s", strings.Join(command, " "), f.logEnd())
		case <-ctx.Done():
			return errors.Errorf("%s does not mount %s (%v); it said:\n%s", strings.Join(command, " "), at, ctx.Err(), f.logEnd())
		}
	}
	if sub != "" {
		if err := os.Mkdir(f.dir, 0o755); err != nil {
			return errors.Wrapf(err, "make a directory in %s", name)
		}
	}
	if m.o.wantsMount(name) {
		m.all = append(m.all, f)
	}
	return nil
}

// isMount says whether a file system is mounted on a directory.
func isMount(dir string) bool {
	var here, above unix.Stat_t
	return unix.Stat(dir, &here) == nil && unix.Stat(filepath.Dir(dir), &above) == nil && here.Dev != above.Dev
}

// stop unmounts everything, the last mount first.
func (m *mounts) stop() {
	for _, p := range slices.Backward(m.procs) {
		if polite, _ := p.Stop(stopTime); !polite {
			fmt.Fprintln(os.Stderr, "a file system does not end after SIGTERM: killed")
		}
	}
	for _, name := range columns() {
		// Of a program that was killed the mount is still there.
		_ = unix.Unmount(filepath.Join(m.dir, name), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
}

// kill ends everything at once: who waits for a mount gets an error.
func (m *mounts) kill() {
	for _, p := range m.procs {
		_ = p.Kill() // it may have ended
	}
}

// buildLibfuse compiles libfuse's example passthrough.
func (m *mounts) buildLibfuse(ctx context.Context) (string, error) {
	if _, err := os.Stat(libfuseExample); err != nil {
		return "", errors.New("its source is not there (package libfuse3-dev)")
	}
	program := filepath.Join(m.dir, "passthrough_ll")
	script := `gcc -O2 -w "$1" -o "$2" $(pkg-config --cflags --libs fuse3)`
	if out, err := exec.CommandContext(ctx, "sh", "-c", script, "sh", libfuseExample, program).CombinedOutput(); err != nil {
		return "", errors.Errorf("compile %s (packages gcc, pkg-config, libfuse3-dev): %v: %s", libfuseExample, err, out)
	}
	return program, nil
}

func (f *mounted) logEnd() string {
	text, _ := os.ReadFile(f.log)
	return string(text[max(0, len(text)-2000):])
}

// compare loads all mounts, in turn, round after round.
func (m *mounts) compare(ctx context.Context) (map[string]map[string][]float64, error) {
	end := context.AfterFunc(ctx, m.kill)
	defer end()
	loads := map[*mounted]*fileLoad{}
	for _, f := range m.all {
		l := &fileLoad{dir: f.dir, size: m.o.fileBytes, time: time.Duration(m.o.secs / 3 * float64(time.Second))}
		if err := l.prepare(); err != nil {
			return nil, errors.WithMessage(err, f.name)
		}
		loads[f] = l
	}
	figures := map[string]map[string][]float64{}
	order := slices.Clone(m.all)
	for round := range m.o.rounds {
		if len(order) > 0 {
			order = append(order[1:], order[0]) // nobody is always first
		}
		for _, row := range mountRows {
			if !m.o.rows.MatchString(row.name) {
				continue
			}
			if figures[row.name] == nil {
				figures[row.name] = map[string][]float64{}
			}
			fmt.Fprintf(os.Stderr, "round %d of %d: mounts: %s\n", round+1, m.o.rounds, row.name)
			for _, f := range order {
				if err := settle(m.dir); err != nil {
					return nil, err
				}
				got, err := m.one(ctx, f, func() (float64, error) { return row.run(loads[f], row.block) })
				if err != nil {
					return nil, errors.WithMessagef(err, "%s on %s (it said: %s)", row.name, f.name, strings.TrimSpace(f.logEnd()))
				}
				figures[row.name][f.name] = append(figures[row.name][f.name], got)
			}
		}
	}
	return figures, nil
}

// one takes one figure. A file system that hangs is killed, with all others.
func (m *mounts) one(ctx context.Context, f *mounted, run func() (float64, error)) (float64, error) {
	t := time.AfterFunc(patience, m.kill)
	defer t.Stop()
	got, err := run()
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return got, err
}
