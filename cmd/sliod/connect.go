package main

import (
	"cmp"
	"context"
	"encoding/json"
	stderrors "errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/spf13/pflag"

	"sliod/client9p"
	"sliod/client9p/dial"
	"sliod/netaddr"
	"sliod/server"
	"sliod/server/wire"
)

// maxReport is more than any report of the control tree has.
const maxReport = 256 << 20

// connect returns a connection to the server that --server or --state names.
func (a *app) connect(ctx context.Context) (*client9p.Client, error) {
	addr, start := a.serverAddr, ""
	if addr == "" {
		addr = "unix:" + socketPath(a.state())
		start = "start one with: sliod serve"
		if a.stateDir != "" {
			start += " --state " + shellWord(a.stateDir)
		}
		start += ", or name its address with --server"
	}
	c, err := a.dial(ctx, addr, start)
	var usage *usageError
	if stderrors.As(err, &usage) {
		err = &usageError{"--server: " + usage.msg}
	}
	return c, err
}

// dial connects to the server at addr, and agrees on the protocol. start is for explainDial.
func (a *app) dial(ctx context.Context, addr, start string) (*client9p.Client, error) {
	conn, err := a.dialConn(ctx, addr, start)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, dial.Timeout, fmt.Errorf("no answer in %v", dial.Timeout))
	defer cancel()
	c, err := client9p.New(ctx, conn, 0)
	if stderrors.Is(err, context.DeadlineExceeded) {
		err = context.Cause(ctx)
	}
	var refused *dial.Refused
	switch {
	case stderrors.As(err, &refused):
		return nil, refused
	case stderrors.Is(err, io.EOF), stderrors.Is(err, io.ErrUnexpectedEOF), stderrors.Is(err, syscall.ECONNRESET):
		return nil, fmt.Errorf("the server at %s ends the connection at once: its log says why. Perhaps no [export.NAME] of its configuration lets you in, or it wants tls: there (%w)", addr, err)
	case err != nil:
		return nil, fmt.Errorf("connect to the server at %s: %w", addr, err)
	}
	return c, nil
}

// dialConn opens a connection to the server at addr.
func (a *app) dialConn(ctx context.Context, addr, start string) (net.Conn, error) {
	at, err := netaddr.Parse(addr)
	if err != nil {
		return nil, &usageError{err.Error()}
	}
	conn, err := dial.Dial(ctx, addr, a.dialing)
	var refused *dial.Refused
	switch {
	case stderrors.As(err, &refused):
		return nil, refused
	case stderrors.Is(err, dial.ErrOptions):
		return nil, &usageError{err.Error()}
	case err != nil:
		return nil, explainDial(err, at, start)
	}
	return conn, nil
}

// tlsFlags are the flags of everything that connects.
func (a *app) tlsFlags(f *pflag.FlagSet) {
	f.StringVar(&a.dialing.TLS.Cert, "tls-cert", "", "your certificate `FILE`, for a server at tls:HOST:PORT")
	f.StringVar(&a.dialing.TLS.Key, "tls-key", "", "the key `FILE` of --tls-cert (default the same name with .key)")
	f.StringVar(&a.dialing.TLS.CA, "tls-ca", "", "certificate `FILE` of the CA that signed the server's certificate")
	f.StringVar(&a.dialing.ServerName, "tls-name", "", "the `NAME` that the server's certificate has, if it is not the host of the address")
}

// attach connects and attaches to a tree as the user who runs the command.
func (a *app) attach(ctx context.Context, tree string) (*client9p.Client, *client9p.Fid, error) {
	c, err := a.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	uid := uint32(os.Geteuid())
	name := ownName()
	if a.dialing.AsUser(a.serverAddr) {
		uid, name = wire.NoUname, "of the certificate "+a.dialing.TLS.Cert
	}
	root, err := c.Attach(ctx, name, uid, tree)
	if err != nil {
		_ = c.Close() // the error to tell is that of the attach
		if errnoIs(err, linux.EPERM, linux.EACCES) && tree == server.CtlTree && a.isRemote() {
			return nil, nil, fmt.Errorf("permission denied: over a network the server lets only users administer it whose certificates are listed in an [export.NAME] with admin = true, not the user %s", name)
		}
		if errnoIs(err, linux.EPERM, linux.EACCES) && tree == server.CtlTree {
			return nil, nil, fmt.Errorf("permission denied: the server lets %s administer it, not %s", rootAnd(a.serverUser()), name)
		}
		if errnoIs(err, linux.EPERM, linux.EACCES) && a.isRemote() {
			return nil, nil, fmt.Errorf("the server at %s shows the user %s no files: its log says why; over a network \"sliod ls\" and \"sliod policy\" need an [export.NAME] with attach = \"/\"", a.serverAddr, name)
		}
		return nil, nil, fmt.Errorf("the server refuses the user %s: %w", name, plainly(err, ""))
	}
	return c, root, nil
}

// isRemote says whether the commands reach the server over a network.
func (a *app) isRemote() bool {
	return a.serverAddr != "" && !isLocal(a.serverAddr)
}

// explainAttach says what to do about a server that refuses a user.
func (a *app) explainAttach(err error, addr, aname string) error {
	if aname != "" && errnoIs(err, linux.ENOENT, linux.ENOTDIR) {
		return fmt.Errorf("the server at %s has no directory %q, and no [export.NAME] with that attach name: make the directory, or correct aname (%w)", addr, aname, err)
	}
	if !errnoIs(err, linux.EPERM, linux.EACCES) {
		return err
	}
	who := "you"
	if a.dialing.AsUser(addr) {
		who = "the user of the certificate " + a.dialing.TLS.Cert
	}
	return fmt.Errorf("the server at %s does not let %s attach to %q: its log says why; an [export.NAME] of its configuration must let you in, and aname (-o aname=NAME) be its attach name (%w)", addr, who, aname, err)
}

// serverUser names the user who runs the server, as far as can be told.
func (a *app) serverUser() string {
	addr := cmp.Or(a.serverAddr, "unix:"+socketPath(a.state()))
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return socketOwner(path)
	}
	return "the user who runs it"
}

// readFile reads a whole file of a tree.
func readFile(ctx context.Context, root *client9p.Fid, names ...string) ([]byte, error) {
	f, err := root.Walk(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(names, "/"), err)
	}
	defer func() { _ = f.Clunk(context.WithoutCancel(ctx)) }() // a failure shows at the next request
	if err := f.Open(ctx, p9.ReadOnly); err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(names, "/"), err)
	}
	text, err := f.ReadAll(ctx, maxReport)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", strings.Join(names, "/"), err)
	}
	return text, nil
}

// readReport reads a report of the control tree into v and returns its text.
func readReport(ctx context.Context, root *client9p.Fid, v any, names ...string) ([]byte, error) {
	text, err := readFile(ctx, root, names...)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return nil, fmt.Errorf("the server's report %s is not what this version of sliod expects: %w", strings.Join(names, "/"), err)
	}
	return text, nil
}

// report connects, reads one report into v and prints it: as the server wrote it
// with --json, else with show.
func (a *app) showReport(ctx context.Context, name string, v any, asJSON bool, show func()) error {
	c, root, err := a.attach(ctx, server.CtlTree)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing is lost with it
	text, err := readReport(ctx, root, v, name)
	if err != nil {
		return err
	}
	if asJSON {
		_, err := a.out.Write(text)
		return err
	}
	show()
	return nil
}

// rootAnd names root and another user, who may be root, too.
func rootAnd(user string) string {
	if user == userName(0) {
		return "root"
	}
	return "root and " + user
}

// userName returns the name of a user, or "uid N".
func userName(uid uint32) string {
	if u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil {
		return "user " + u.Username
	}
	return fmt.Sprintf("uid %d", uid)
}
