package main

import (
	"cmp"
	"context"
	stderrors "errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"sliod/client9p"
	"sliod/client9p/bridge"
	"sliod/client9p/dial"
	"sliod/netaddr"
)

func (a *app) newMount() *cobra.Command {
	var lists []string
	var foreground, kernel bool
	c := &cobra.Command{
		Use: "mount ADDR MOUNTPOINT", Short: "Mount an archive by FUSE", Args: cobra.ExactArgs(2),
		Long: `Mount the archive that a server at ADDR serves on the directory MOUNTPOINT, by FUSE,
and go to the background. "umount MOUNTPOINT", "fusermount3 -u MOUNTPOINT" or SIGTERM
ends it. With --foreground it stays, and tells systemd when it is ready.

In fstab, with sliod linked as /sbin/mount.sliod:
  tcp:127.0.0.1:5640  /archive  sliod  _netdev,nofail  0  0

If the server goes away, requests wait until it is back (or for -o wait=SECONDS); what
can be repeated is repeated. A file with locks, or, after a crash of the server, with
writes that were not synced, fails with EIO until it is opened again.

With --kernel the kernel's own client does the work and this program only relays, for
addresses that the kernel does not know. Options of -o are v9fs' then. The kernel cannot
connect again: when the server goes away, unmount and mount again.

Options of -o: ro, allow_other (the default for root), noallow_other, aname=PATH (mount a
directory of the archive), uname=NAME, attr_timeout=SECONDS (how long the kernel keeps
attributes and names; default 1), wait=SECONDS, log=FILE, debug, for tls: addresses
tls_cert=FILE, tls_key=FILE, tls_ca=FILE, tls_name=NAME, and those of mount(8).`,
		RunE: func(c *cobra.Command, args []string) error {
			return a.mount(c.Context(), args[0], args[1], lists, kernel, foreground)
		},
	}
	c.Flags().StringArrayVarP(&lists, "options", "o", nil, "mount options, a `LIST` with commas; may be given again")
	c.Flags().BoolVar(&kernel, "kernel", false, "mount by Linux' own 9P client (v9fs) and relay its connection; for root")
	c.Flags().BoolVarP(&foreground, "foreground", "f", false, "stay in the foreground")
	return c
}

// mountArgs turns the command line of a mount helper, as mount(8) calls it
// (mount.sliod SPEC DIR [-sfnv] [-o OPTIONS] [-t TYPE]), into that of "sliod mount".
// Other command lines stay as they are.
func mountArgs(self string, args []string) []string {
	switch filepath.Base(self) {
	case "mount.sliod", "mount.fuse.sliod", "mount.fuse3.sliod":
	default:
		return args
	}
	out := []string{"mount"}
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case (arg == "-o" || arg == "-t" || arg == "-N") && i+1 < len(args):
			if i++; arg == "-o" {
				out = append(out, "-o", args[i])
			}
		case strings.HasPrefix(arg, "-") && strings.Trim(arg, "-sfnv") == "": // sloppy, fake, no mtab, verbose
		default:
			out = append(out, arg)
		}
	}
	return out
}

// mount serves a mount until it ends. In the background it is the child that does so.
func (a *app) mount(ctx context.Context, addr, dir string, lists []string, kernel, foreground bool) error {
	if dir == "" {
		return &usageError{"the mountpoint is empty: name a directory"}
	}
	dir, err := filepath.Abs(dir) // a mount in the background leaves the directory
	if err != nil {
		return fmt.Errorf("the current directory cannot be found: %w", err)
	}
	if kernel {
		o, err := parseKernelOptions(lists)
		if err != nil {
			return err
		}
		if addr, err = a.connectAs(addr, &o.mountOptions); err != nil {
			return err
		}
		return a.inBackground(ctx, o.mountOptions, foreground, func(log *logrus.Entry) error {
			return a.mountKernel(ctx, addr, dir, o, log)
		})
	}
	o, err := parseMountOptions(lists, os.Geteuid() == 0)
	if err != nil {
		return err
	}
	if addr, err = a.connectAs(addr, &o); err != nil {
		return err
	}
	return a.inBackground(ctx, o, foreground, func(log *logrus.Entry) error { return a.mountFuse(ctx, addr, dir, o, log) })
}

// connectAs takes over what -o says of TLS, and makes all names of files absolute: a
// mount in the background leaves the directory, and may have to connect again. It returns
// the address that way.
func (a *app) connectAs(addr string, o *mountOptions) (string, error) {
	d := &a.dialing
	d.TLS.Cert, d.TLS.Key = cmp.Or(o.tls.TLS.Cert, d.TLS.Cert), cmp.Or(o.tls.TLS.Key, d.TLS.Key)
	d.TLS.CA, d.ServerName = cmp.Or(o.tls.TLS.CA, d.TLS.CA), cmp.Or(o.tls.ServerName, d.ServerName)
	at, err := netaddr.Parse(addr)
	if err != nil {
		return "", &usageError{err.Error()} // before anything goes to the background
	}
	if at.Kind == netaddr.TLS && (d.TLS.Cert == "" || d.TLS.CA == "") {
		return "", &usageError{dial.ErrOptions.Error()}
	}
	for _, name := range []*string{&d.TLS.Cert, &d.TLS.Key, &d.TLS.CA, &at.Path} {
		if *name == "" {
			continue
		}
		if *name, err = filepath.Abs(*name); err != nil {
			return "", fmt.Errorf("the current directory cannot be found: %w", err)
		}
	}
	// Everybody in the mount acts as the certificate's user, so others must be asked for.
	o.allowOther = o.allowOther && (o.others || !d.AsUser(addr))
	return at.String(), nil
}

// inBackground runs serve here, if this is the child or the mount is to stay in the
// foreground, else in a child.
func (a *app) inBackground(ctx context.Context, o mountOptions, foreground bool, serve func(*logrus.Entry) error) error {
	if !foreground && os.Getenv(readyEnv) == "" {
		return a.background(ctx)
	}
	outliveReaders()
	log, err := a.mountLog(o, foreground)
	if err != nil {
		return err
	}
	return serve(log)
}

// mountFuse mounts by FUSE.
func (a *app) mountFuse(ctx context.Context, addr, dir string, o mountOptions, log *logrus.Entry) error {
	if err := checkMountpoint(dir, log); err != nil {
		return err
	}
	tree, err := bridge.NewRemote(ctx, bridge.RemoteOptions{
		Log: log, Uname: cmp.Or(o.uname, ownName()), Aname: o.aname, Wait: o.wait, AsConnected: a.dialing.AsUser(addr),
		Dial: func(ctx context.Context) (*client9p.Client, error) { return a.dial(ctx, addr, "") },
	})
	if err != nil {
		return err
	}
	defer func() { _ = tree.Close() }() // nothing is lost with it: the kernel has had all answers
	m, err := newFuseMount(ctx, tree, dir, addr, o, log)
	if err != nil {
		return a.explainAttach(err, addr, o.aname)
	}
	tellReady(log)
	return m.serve(ctx)
}

// fuseMount is an archive that is mounted.
type fuseMount struct {
	mountpoint
	log    *logrus.Entry
	fs     *bridge.FS
	server *fuse.Server
	gone   chan struct{} // closed when it is unmounted
}

// newFuseMount mounts tree on dir.
func newFuseMount(ctx context.Context, tree bridge.Tree, dir, source string, o mountOptions, log *logrus.Entry) (*fuseMount, error) {
	fs, err := bridge.New(ctx, tree, uint32(os.Geteuid()), bridge.Options{Log: log, AttrTimeout: o.attrTime, ReadOnly: o.readOnly})
	if err != nil {
		return nil, err
	}
	var words []string
	if os.Geteuid() != 0 {
		words = o.words // fusermount takes words, mount(2) flags
	}
	if o.readOnly {
		words = append(words, "ro")
	}
	at := mountpointOf(dir)
	s, err := bridge.Mount(fs, dir, bridge.MountOptions{AllowOther: o.allowOther, Source: source, Flags: o.flags, Options: words, Debug: o.debug})
	if err != nil {
		return nil, explainMount(err, dir, o)
	}
	log.WithField("dir", dir).Info("mounted")
	at.mounted()
	m := &fuseMount{mountpoint: at, log: log, fs: fs, server: s, gone: make(chan struct{})}
	go func() { s.Wait(); close(m.gone) }()
	return m, nil
}

// serve waits until the file system is unmounted, by others or because ctx ended.
func (m *fuseMount) serve(ctx context.Context) error {
	select {
	case <-m.gone:
		m.log.Info("unmounted")
		return nil
	case <-ctx.Done():
	}
	err := m.unmount()
	<-m.gone
	return err
}

// unmount takes the mount away. If it is in use, it is taken out of the tree at once,
// and served until the last program has left it.
func (m *fuseMount) unmount() error {
	if !m.ours() {
		return nil
	}
	if err := m.server.Unmount(); err == nil {
		return nil
	}
	m.log.Warnf("%s is in use: it is detached, and served until the last program has left it; a second signal ends it at once", m.dir)
	if err := detach(m.dir); err != nil {
		return fmt.Errorf("unmount %s: %w", m.dir, err)
	}
	return nil
}

// end is unmount for an archive that is about to close: who still uses the mount gets
// ENOTCONN from now on.
func (m *fuseMount) end() error {
	select {
	case <-m.gone: // somebody has unmounted it; what is on the directory now is not ours
		return nil
	default:
	}
	if !m.ours() { // somebody has just unmounted it, maybe while programs were in it
		m.takeAway()
		return nil
	}
	if m.unmountOrLeave() {
		return nil
	}
	m.log.Warnf("%s is in use: it is taken away from the programs in it", m.dir)
	err := m.abort()
	switch {
	case err == nil:
		err = detach(m.dir)
	case os.Geteuid() == 0:
		// Without fusectl, as in many containers: by force, FUSE aborts its connection
		// (fuse_umount_begin in fs/fuse/inode.c).
		err = unix.Unmount(m.dir, unix.MNT_FORCE|unix.MNT_DETACH)
	}
	if err != nil {
		return fmt.Errorf("unmount %s, which is in use: %w", m.dir, err)
	}
	m.fs.Stop()
	<-m.gone
	return nil
}

// copyPatience is how long a mount that has left the tree may be there still, before it counts as
// one of which another mount namespace has a copy.
const copyPatience = time.Second

// unmountOrLeave unmounts, and says whether the mount is gone from here. Who has a copy of it in another mount
// namespace, as containers do, would keep it for as long as he lives: it is taken away from him.
func (m *fuseMount) unmountOrLeave() bool {
	ended := make(chan error, 1)
	go func() { ended <- m.server.Unmount() }() // it waits until all copies are gone
	tick := time.NewTicker(copyPatience)
	defer tick.Stop()
	for there := true; ; {
		select {
		case err := <-ended:
			if err == nil {
				<-m.gone
			}
			return err == nil
		case <-tick.C:
			if !there {
				m.log.Warnf("%s is unmounted, but others have a copy of the mount, such as a container: it is taken away from them", m.dir)
				m.takeAway()
				return true
			}
			there = m.ours()
		}
	}
}

// takeAway has those who use a mount that has left the tree get errors: by an abort, without fusectl (as in
// many containers) when this process ends.
func (m *fuseMount) takeAway() {
	_ = m.abort() // there may be nothing any more
	m.fs.Stop()
	select {
	case <-m.gone:
	case <-time.After(time.Second): // they lose it with this process
	}
}

// abort ends the connection of the file system with the kernel: its requests, and
// all later ones, fail (Documentation/filesystems/fuse.rst, "Aborting").
func (m *fuseMount) abort() error {
	_, minor, ok := strings.Cut(m.device, ":")
	if !ok {
		return stderrors.New("the number of the file system is not known")
	}
	return os.WriteFile(fmt.Sprintf("/sys/fs/fuse/connections/%s/abort", minor), []byte("1"), 0)
}

// detach takes a mount out of the tree, in use or not.
func detach(dir string) error {
	if err := unix.Unmount(dir, unix.MNT_DETACH); err == nil || os.Geteuid() == 0 {
		return err
	}
	return runFusermount("-u", "-z", "--", dir)
}

// checkMountpoint looks at the directory before anything is done. A mount whose
// program has died is taken away: nothing is lost with it.
func checkMountpoint(dir string, log *logrus.Entry) error {
	// Attributes may come from the kernel's cache, also those of a dead mount.
	err := unix.Statfs(dir, new(unix.Statfs_t))
	var st os.FileInfo
	if err == nil {
		st, err = os.Stat(dir)
	}
	switch {
	case stderrors.Is(err, syscall.ENOTCONN):
		if err := detach(dir); err != nil {
			return fmt.Errorf("%s is the mountpoint of a program that is gone, and could not be unmounted (%w): run fusermount3 -u -z %s, or umount -l %s as root", dir, err, dir, dir)
		}
		st, err = os.Stat(dir)
	case stderrors.Is(err, os.ErrNotExist):
		return fmt.Errorf("the mountpoint %s does not exist; make it with: mkdir -p %s", dir, shellWord(dir))
	case stderrors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("the mountpoint %s cannot be used: something in its path is not a directory", dir)
	}
	if err != nil {
		return fmt.Errorf("the mountpoint %s cannot be used: %w; if a dead mount is there, unmount it first: umount -l %s", dir, err, shellWord(dir))
	}
	if !st.IsDir() {
		return fmt.Errorf("the mountpoint %s is not a directory", dir)
	}
	if isMounted(dir, st) {
		return fmt.Errorf("something is mounted on %s already, by FUSE or 9P: unmount it first (umount %s), or choose another mountpoint", dir, shellWord(dir))
	}
	if isState(dir) {
		return fmt.Errorf("%s is the state directory of a server, which would not find its own files below the mount: choose another mountpoint", dir)
	}
	if f, err := os.Open(dir); err == nil {
		if names, _ := f.Readdirnames(1); len(names) > 0 {
			log.Warnf("%s is not empty: what is in it is hidden until the archive is unmounted", dir)
		}
		_ = f.Close() // it was only read
	}
	return nil
}

// isMounted says whether dir is the root of a mount of the kind that is made here. On
// other file systems' roots a mount is as usual.
func isMounted(dir string, st os.FileInfo) bool {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type != unix.FUSE_SUPER_MAGIC && fs.Type != unix.V9FS_MAGIC {
		return false
	}
	// Of a link's target, so not filepath.Dir.
	up, err := os.Stat(dir + "/..")
	return err == nil && up.Sys().(*syscall.Stat_t).Dev != st.Sys().(*syscall.Stat_t).Dev
}

// explainMount says what to do about a mount that failed.
func explainMount(err error, dir string, o mountOptions) error {
	switch {
	case !deviceThere():
		return fmt.Errorf("there is no /dev/fuse: load the module fuse (modprobe fuse), or give the container the device: %w", err)
	case unix.Access("/dev/fuse", unix.R_OK|unix.W_OK) != nil:
		return fmt.Errorf("you may not open /dev/fuse: as root, chmod 666 /dev/fuse, as udev has it, or mount as root: %w", err)
	case os.Geteuid() == 0 && stderrors.Is(err, unix.EPERM):
		return fmt.Errorf("root may not mount here: a container needs the capability CAP_SYS_ADMIN for it: %w", err)
	case os.Geteuid() != 0 && !haveFusermount():
		return fmt.Errorf("install the package fuse3, without which only root can mount: %w", err)
	case os.Geteuid() != 0 && o.allowOther:
		return fmt.Errorf("allow_other needs the line user_allow_other in /etc/fuse.conf: %w", err)
	}
	return err
}

func deviceThere() bool {
	_, err := os.Stat("/dev/fuse")
	return err == nil
}

// ownName is the name of the user who runs the program, or the number.
func ownName() string {
	name := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(name); err == nil {
		return u.Username
	}
	return name
}
