package main

import (
	"context"
	stderrors "errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"sliod/backend/config"
	"sliod/backend/vfs"
	"sliod/export"
	"sliod/netaddr"
	"sliod/server"
	"sliod/server/local"
)

// stopTimeout bounds a clean stop: the volumes get their indexes and go back to
// their slots, which takes a real library minutes.
const stopTimeout = 15 * time.Minute

func (a *app) newServe() *cobra.Command {
	var o serveOptions
	c := &cobra.Command{
		Use: "serve", Short: "Run the server", Args: cobra.NoArgs,
		Long: `Run the server in the foreground until Ctrl-C or SIGTERM; a second one exits at once.

Without --config an emulated tape library in the state directory is used, which
answers at once: good for a first try. Without --listen the server listens on
tcp:127.0.0.1:5640 and on the socket sliod.sock in the state directory.`,
		RunE: func(c *cobra.Command, _ []string) error { return a.serve(c.Context(), o) },
	}
	c.Flags().StringVar(&o.configFile, "config", "", "configuration `FILE` (TOML)")
	c.Flags().StringArrayVar(&o.listen, "listen", nil, "listen on `ADDR`: tcp:HOST:PORT, tls:HOST:PORT, unix:PATH or vsock:[CID:]PORT; may be given again")
	c.Flags().StringVar(&o.mount, "mount", "", "mount the archive on `DIR` by FUSE, in the same process; the directory is made if it is not there")
	c.Flags().StringVar(&o.http, "http", "", "answer /healthz and /status over HTTP on `HOST:PORT`, loopback only")
	return c
}

type serveOptions struct {
	configFile string
	listen     []string
	http       string
	mount      string
}

// serve runs a server until ctx ends. Each step that succeeds has a step that
// undoes it, run in the opposite order.
func (a *app) serve(ctx context.Context, o serveOptions) (err error) {
	outliveReaders()
	cfg := config.Default()
	if o.configFile != "" {
		if cfg, err = config.Load(o.configFile); err != nil {
			return err
		}
	}
	dir, err := filepath.Abs(a.state())
	if err != nil {
		return errors.Wrap(err, "state directory")
	}
	if o.mount != "" {
		if o.mount, err = filepath.Abs(o.mount); err != nil {
			return errors.Wrap(err, "--mount")
		}
	}
	log := a.newLog(cfg)
	network, err := newNetwork(cfg, log)
	if err != nil {
		return err
	}
	addrs, err := listenAddrs(o.listen, o.configFile, cfg, network, dir)
	if err != nil {
		return err
	}

	if o.mount != "" {
		if err := checkMountHides(o.mount, dir, cfg, addrs); err != nil {
			return err
		}
	}

	stopped := func() error {
		if err == nil {
			log.Info("stopped")
		}
		return nil
	}
	var undo []func() error
	defer func() {
		for i := len(undo) - 1; i >= 0; i-- {
			if uerr := undo[i](); err == nil {
				err = uerr
			}
		}
	}()
	var web net.Listener
	if o.http != "" {
		if web, err = listenHTTP(o.http); err != nil {
			return err
		}
		undo = append(undo, func() error { return closeListener(web) })
	}
	lock, err := lockState(dir)
	if err != nil {
		return err
	}
	undo = append(undo, lock.release)

	var listeners []net.Listener
	var names []string
	for _, addr := range addrs {
		l, name, err := listen(network, addr)
		if err != nil {
			return err
		}
		undo = append(undo, func() error { return closeListener(l) })
		listeners, names = append(listeners, l), append(names, name)
	}

	archive, err := a.open(ctx, cfg, dir, names, log)
	if ctx.Err() != nil && stderrors.Is(err, ctx.Err()) {
		return errors.New("interrupted before the archive was open")
	}
	if err != nil {
		return err
	}
	undo = append(undo, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		return archive.Close(ctx)
	})
	if web != nil {
		undo = append(undo, serveHTTP(web, archive, log))
		names = append(names, "http://"+web.Addr().String())
	}
	recalls := server.NewRecalls(log)
	s, err := startServing(archive, archive, cfg, listeners, recalls, log)
	if err != nil {
		return err
	}
	undo = append(undo, s.stop)
	if o.mount != "" {
		unmount, err := a.mountHere(ctx, archive, dir, o.mount, recalls, &cfg.Recall.Clients, log)
		if err != nil {
			return err
		}
		undo = append(undo, unmount)
	}
	a.banner(cfg, dir, names, o.mount)
	select {
	case <-ctx.Done():
		log.Info("stopping: volumes go back to their slots; a second signal exits at once, and loses nothing that was confirmed")
		undo = append([]func() error{stopped}, undo...)
		return nil
	case err := <-s.failed:
		return err
	}
}

// mountHere mounts the archive without a socket between.
func (a *app) mountHere(ctx context.Context, fs vfs.FS, state, dir string, recalls *server.Recalls, rule *export.Recall, log *logrus.Entry) (unmount func() error, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil && !stderrors.Is(err, syscall.ENOTCONN) && !stderrors.Is(err, os.ErrExist) {
		return nil, errors.Wrap(err, "--mount")
	}
	if err := checkMountpoint(dir, log); err != nil {
		return nil, err
	}
	o, err := parseMountOptions(nil, os.Geteuid() == 0)
	if err != nil {
		return nil, err
	}
	tree := local.New(fs)
	tree.Limit(recalls, rule)
	m, err := newFuseMount(ctx, tree, dir, state, o, log)
	if err != nil {
		return nil, err
	}
	return m.end, nil
}

func (a *app) newLog(cfg *config.Config) *logrus.Entry {
	l := logrus.New()
	l.SetOutput(a.err)
	l.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, DisableColors: !a.term, TimestampFormat: "2006-01-02T15:04:05.000Z07:00"})
	if level, err := logrus.ParseLevel(cfg.Log.Level); err == nil { // config has checked it
		l.SetLevel(level)
	}
	return logrus.NewEntry(l)
}

// listenAddrs chooses where to listen: the command line, else the configuration,
// else the defaults.
func listenAddrs(flags []string, configFile string, cfg *config.Config, network *server.Network, stateDir string) ([]string, error) {
	addrs := flags
	if len(addrs) == 0 {
		addrs = cfg.Server.Listen
	}
	if len(addrs) == 0 {
		addrs = []string{"tcp:127.0.0.1:5640", "unix:" + socketPath(stateDir)}
	}
	for _, addr := range addrs {
		err := network.Check(addr)
		switch {
		case err != nil && len(flags) > 0:
			return nil, &usageError{"--listen: " + err.Error()}
		case err != nil && len(cfg.Server.Listen) > 0:
			return nil, fmt.Errorf("%s: key listen of [server]: %w", configFile, err)
		case err != nil:
			return nil, fmt.Errorf("%w; --listen unix:PATH names another", err)
		}
	}
	return addrs, nil
}

// maxLinuxMsize is the largest msize of Linux over a socket.
const maxLinuxMsize = 1 << 20

// isLocal says whether every user of this machine can use an address as it is: by a
// unix socket, or loopback TCP.
func isLocal(name string) bool {
	at, err := netaddr.Parse(name)
	if err != nil || at.Kind != netaddr.TCP {
		return err == nil && at.Kind == netaddr.Unix
	}
	host, _, err := net.SplitHostPort(at.HostPort)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// maxKernelSocket is the longest path of a socket that v9fs connects to.
const maxKernelSocket = 107

// banner tells where the server listens, and what to try.
func (a *app) banner(cfg *config.Config, dir string, names []string, mounted string) {
	var b strings.Builder
	fmt.Fprintf(&b, "sliod %s serves the archive in %s\n", version(), dir)
	options := fmt.Sprintf("version=9p2000.L,msize=%d,access=user", min(cfg.Server.MsizeBytes, maxLinuxMsize))
	var mounts []string
	for _, name := range names {
		fmt.Fprintf(&b, "  listening on %s\n", name)
		network, addr, _ := strings.Cut(name, ":")
		if !isLocal(name) {
			continue // docs/network.md says how
		}
		switch network {
		case "tcp":
			host, port, _ := net.SplitHostPort(addr)
			mounts = append(mounts, fmt.Sprintf("mount -t 9p -o trans=tcp,port=%s,%s %s /mnt", port, options, host))
		case "unix":
			if len(addr) > maxKernelSocket {
				continue // the kernel's client cannot connect to it
			}
			mounts = append(mounts, fmt.Sprintf("mount -t 9p -o trans=unix,%s %s /mnt", options, shellWord(addr)))
		}
	}
	self := shellWord(a.self) + serverFlag(dir, names)
	if mounted != "" {
		fmt.Fprintf(&b, "mounted on %s: copy files there and read them. For example, in another terminal:\n", mounted)
		copied := shellWord(filepath.Join(mounted, "bash"))
		lines := [][2]string{
			{"cp /bin/bash " + copied, "a file in the cache"},
			{self + " archive --wait /", "copied to tape"},
			{self + " evict /", "out of the cache: on tape only"},
			{self + " ls /", "migrated"},
			{"cmp /bin/bash " + copied + " && echo the same", "read back from tape"},
			{self + " ls /", "premigrated: in the cache, too"},
		}
		width := 0
		for _, line := range lines {
			width = max(width, len(line[0]))
		}
		for _, line := range lines {
			fmt.Fprintf(&b, "  %-*s  # %s\n", width, line[0], line[1])
		}
	}
	if i := slices.IndexFunc(names, isLocal); i >= 0 {
		if unix := slices.IndexFunc(names, func(n string) bool { return strings.HasPrefix(n, "unix:") }); unix >= 0 {
			i = unix
		}
		also := ""
		if mounted != "" {
			also = "or "
		}
		fmt.Fprintf(&b, also+"mount it by FUSE:\n  mkdir -p /mnt/archive && %s mount %s /mnt/archive\n", shellWord(a.self), shellWord(names[i]))
	}
	if len(mounts) > 0 {
		b.WriteString("or by the kernel's 9P, as root:\n")
	}
	for _, m := range mounts {
		fmt.Fprintf(&b, "  %s\n", m)
	}
	if target := diodTarget(names); target != "" {
		fmt.Fprintf(&b, "or, without a mount, with the tools of diod:\n  diodls -s %s -a / -l\n  diodcat -s %s -a / FILE\n", target, target)
	}
	fmt.Fprintf(&b, "look at the archive, and take files to tape and back:\n  %s status\n  %s ls -R /\n", self, self)
	fmt.Fprintf(&b, "  %s archive --wait /\n  %s evict /\n  %s recall --wait /\n  %s volumes\n", self, self, self, self)
	b.WriteString("Ctrl-C stops the server.\n")
	_, _ = fmt.Fprint(a.out, b.String()) // a server without a terminal is none the worse
}

// serverFlag returns the flag by which the commands find this server.
func serverFlag(dir string, names []string) string {
	if !slices.Contains(names, "unix:"+socketPath(dir)) {
		return " --server " + shellWord(names[0])
	}
	if d, err := filepath.Abs(defaultStateDir()); err == nil && d == dir {
		return "" // they find the socket by themselves
	}
	return " --state " + shellWord(dir)
}

// diodTarget is the address as the tools of diod write it: a socket's path, or
// HOST:PORT. Empty: the server listens on neither.
func diodTarget(names []string) string {
	for _, name := range names {
		if network, addr, _ := strings.Cut(name, ":"); network == "tcp" || network == "unix" {
			return shellWord(addr)
		}
	}
	return ""
}

// shellWord quotes a word if a shell would take it apart.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:+@%,=[]", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
