package main

import (
	"cmp"
	"context"
	stderrors "errors"
	"fmt"
	stdlog "log"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"sliod/client9p"
	"sliod/client9p/bridge"
	"sliod/client9p/virtiofs"
)

type virtiofsOptions struct {
	socket string
	group  string
	lists  []string
}

func (a *app) newVirtiofs() *cobra.Command {
	var o virtiofsOptions
	c := &cobra.Command{
		Use: "virtiofs --socket PATH ADDR", Short: "Give a virtual machine the archive as a virtio-fs device", Args: cobra.ExactArgs(1),
		Long: `Offer the archive that a server at ADDR serves to one virtual machine, as a virtio-fs
device, until Ctrl-C or SIGTERM: for guests without network or without 9P. The machine's
monitor (QEMU, cloud-hypervisor) connects to the socket PATH by vhost-user, and must share
the guest's memory. In the guest:
  mount -t virtiofs TAG /mnt
docs/guests.md has the command lines.

The guest's kernel checks permissions, and the guest's root may do everything that the user
who runs this may: let only guests have it that may change the whole archive, or
export less (-o ro, aname=PATH). Only this user may use the socket, and the group of --group.

Another machine can connect when the first has ended. Options of -o: ro, aname=PATH,
uname=NAME, attr_timeout=SECONDS, wait=SECONDS, log=FILE, debug, and tls_cert=FILE and others
for tls: addresses, as of "sliod mount".`,
		RunE: func(c *cobra.Command, args []string) error { return a.virtiofs(c.Context(), args[0], o) },
	}
	c.Flags().StringVar(&o.socket, "socket", "", "the socket `PATH` that the machine's monitor connects to; made here")
	c.Flags().StringVar(&o.group, "group", "", "let members of `GROUP` (such as kvm) use the socket too")
	c.Flags().StringArrayVarP(&o.lists, "options", "o", nil, "options, a `LIST` with commas; may be given again")
	return c
}

// parseVirtiofsOptions reads the options that mean something without a mount here.
func parseVirtiofsOptions(lists []string) (mountOptions, error) {
	for _, list := range lists {
		for word := range strings.SplitSeq(list, ",") {
			switch key, _, _ := strings.Cut(strings.TrimSpace(word), "="); key {
			case "", "ro", "rw", "aname", "uname", "attr_timeout", "wait", "log", "debug", "tls_cert", "tls_key", "tls_ca", "tls_name":
			default:
				return mountOptions{}, &usageError{fmt.Sprintf("-o %s: there is no such option of sliod virtiofs; there are ro, aname=PATH, uname=NAME, "+
					"attr_timeout=SECONDS, wait=SECONDS, log=FILE, debug, tls_cert=FILE, tls_key=FILE, tls_ca=FILE, tls_name=NAME; the guest has its own options of mount(8)", word)}
			}
		}
	}
	return parseMountOptions(lists, true)
}

// virtiofs serves a virtual machine until ctx ends.
func (a *app) virtiofs(ctx context.Context, addr string, vo virtiofsOptions) (err error) {
	if vo.socket == "" {
		return &usageError{"--socket PATH is missing: where the virtual machine's monitor connects"}
	}
	o, err := parseVirtiofsOptions(vo.lists)
	if err != nil {
		return err
	}
	if addr, err = a.connectAs(addr, &o); err != nil {
		return err
	}
	outliveReaders()
	log, err := a.mountLog(o, true)
	if err != nil {
		return err
	}
	open := func(ctx context.Context) (virtiofs.Session, error) { return a.openSession(ctx, addr, o, log) }
	first, err := open(ctx) // so that a wrong address is said now, and not in the guest
	if err != nil {
		return err
	}
	first.Close()
	l, err := listenMonitor(vo.socket, vo.group)
	if err != nil {
		return err
	}
	log.WithField("socket", vo.socket).Info("waiting for a virtual machine")
	notifySystemd("READY=1", log)
	return virtiofs.Serve(ctx, l, virtiofs.Options{Log: log, Open: open})
}

// guestSession is the file system of one mount of a guest.
type guestSession struct {
	server *fuse.ProtocolServer
	fs     *bridge.FS
	tree   *bridge.Remote

	mu      sync.Mutex
	closed  bool
	serving sync.WaitGroup // requests; none begins when closed
}

func (a *app) openSession(ctx context.Context, addr string, o mountOptions, log *logrus.Entry) (*guestSession, error) {
	tree, err := bridge.NewRemote(ctx, bridge.RemoteOptions{
		Log: log, Uname: cmp.Or(o.uname, ownName()), Aname: o.aname, Wait: o.wait, AsConnected: a.dialing.AsUser(addr),
		Dial: func(ctx context.Context) (*client9p.Client, error) { return a.dial(ctx, addr, "") },
	})
	if err != nil {
		return nil, err
	}
	fs, err := bridge.New(ctx, tree, uint32(os.Geteuid()), bridge.Options{Log: log, AttrTimeout: o.attrTime, ReadOnly: o.readOnly})
	if err != nil {
		_ = tree.Close() // the error to tell is that of the attach
		return nil, a.explainAttach(err, addr, o.aname)
	}
	fo := bridge.MountOptions{Debug: o.debug}.Fuse()
	fo.Logger = stdlog.New(fuseLog{log}, "", 0)
	return &guestSession{server: fuse.NewProtocolServer(fs, fo), fs: fs, tree: tree}, nil
}

// fuseLog takes what go-fuse has to say about requests.
type fuseLog struct{ log *logrus.Entry }

func (l fuseLog) Write(line []byte) (int, error) {
	l.log.Info(strings.TrimSpace(string(line)))
	return len(line), nil
}

// HandleRequest implements virtiofs.Session.
func (s *guestSession) HandleRequest(in, out [][]byte) (int, fuse.Status) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return 0, fuse.Status(syscall.ENOTCONN)
	}
	s.serving.Add(1)
	s.mu.Unlock()
	defer s.serving.Done()
	return s.server.HandleRequest(in, out)
}

// Close implements virtiofs.Session. The connection goes first: what waits on it ends
// with it, and the server forgets its files and locks.
func (s *guestSession) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.fs.Stop()
	_ = s.tree.Close() // nothing is lost with it: the guest has had all answers
	s.serving.Wait()
	s.fs.OnUnmount()
}

// listenMonitor makes the socket, which gives whoever may use it the whole archive. One
// that nobody listens on any more is replaced.
func listenMonitor(path, group string) (*net.UnixListener, error) {
	gid := -1
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return nil, &usageError{fmt.Sprintf("--group %s: there is no such group", group)}
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return nil, fmt.Errorf("--group %s: %w", group, err)
		}
	}
	path = filepath.Clean(path)
	old := unix.Umask(0o177)
	l, err := listenSocket(path)
	unix.Umask(old)
	if err != nil {
		return nil, err
	}
	if gid >= 0 {
		if err = os.Chown(path, -1, gid); err == nil {
			err = os.Chmod(path, 0o660)
		}
		if err != nil {
			_ = l.Close() // the error to tell is that of the group
			return nil, fmt.Errorf("--group %s: let it use the socket: %w", group, err)
		}
	}
	return l, nil
}

// maxSocketPath is the longest path of a socket (unix(7)).
const maxSocketPath = 107

func listenSocket(path string) (*net.UnixListener, error) {
	if len(path) > maxSocketPath {
		return nil, &usageError{fmt.Sprintf("--socket %s: the path of a socket has at most %d bytes, this one has %d", path, maxSocketPath, len(path))}
	}
	addr := &net.UnixAddr{Name: path, Net: "unix"}
	l, err := net.ListenUnix("unix", addr)
	if !stderrors.Is(err, syscall.EADDRINUSE) {
		return l, explainListen(err, path)
	}
	if st, serr := os.Lstat(path); serr != nil || st.Mode().Type() != os.ModeSocket {
		return nil, fmt.Errorf("--socket %s is there and is not a socket; choose another path", path)
	}
	if conn, derr := net.DialUnix("unix", nil, addr); derr == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("--socket %s: another program listens there; stop it, or choose another path", path)
	} else if !stderrors.Is(derr, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("--socket %s is there and may be in use: %w", path, derr)
	}
	if err := os.Remove(path); err != nil {
		return nil, fmt.Errorf("--socket: remove what an earlier run left: %w", err)
	}
	l, err = net.ListenUnix("unix", addr)
	return l, explainListen(err, path)
}

func explainListen(err error, path string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("--socket %s: %w", path, err)
}
