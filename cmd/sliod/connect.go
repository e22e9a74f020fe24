package main

import (
	"cmp"
	"context"
	"encoding/json"
	stderrors "errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend/config"
	"sliod/client9p"
	"sliod/server"
)

// dialTimeout bounds the wait for a server that does not answer the first message.
const dialTimeout = 15 * time.Second

// maxReport is more than any report of the control tree has.
const maxReport = 256 << 20

// connect returns a connection to the server that --server or --state names.
func (a *app) connect(ctx context.Context) (*client9p.Client, error) {
	addr, stateDir := a.serverAddr, ""
	if addr == "" {
		addr = "unix:" + socketPath(a.state())
		stateDir = a.stateDir
	}
	c, err := a.dial(ctx, addr, stateDir)
	var usage *usageError
	if stderrors.As(err, &usage) {
		err = &usageError{"--server: " + usage.msg}
	}
	return c, err
}

// dial connects to the server at addr, the one of stateDir if that is not empty, and
// agrees on the protocol.
func (a *app) dial(ctx context.Context, addr, stateDir string) (*client9p.Client, error) {
	conn, err := a.dialConn(ctx, addr, stateDir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, fmt.Errorf("no answer in %v", dialTimeout))
	defer cancel()
	c, err := client9p.New(ctx, conn, 0)
	if stderrors.Is(err, context.DeadlineExceeded) {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to the server at %s: %w", addr, err)
	}
	return c, nil
}

// dialConn opens a connection to the server at addr.
func (a *app) dialConn(ctx context.Context, addr, stateDir string) (net.Conn, error) {
	network, path, err := config.ParseAddr(addr)
	if err != nil {
		return nil, &usageError{err.Error()}
	}
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, path)
	if err != nil {
		return nil, explainDial(err, addr, network, path, stateDir)
	}
	return conn, nil
}

// attach connects and attaches to a tree as the user who runs the command.
func (a *app) attach(ctx context.Context, tree string) (*client9p.Client, *client9p.Fid, error) {
	c, err := a.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	uid := uint32(os.Geteuid())
	name := ownName()
	root, err := c.Attach(ctx, name, uid, tree)
	if err != nil {
		_ = c.Close() // the error to tell is that of the attach
		if errnoIs(err, linux.EPERM, linux.EACCES) && tree == server.CtlTree {
			return nil, nil, fmt.Errorf("permission denied: the server lets root and %s administer it, not %s", a.serverUser(), name)
		}
		return nil, nil, fmt.Errorf("the server refuses user %s: %w", name, err)
	}
	return c, root, nil
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

// userName returns the name of a user, or "uid N".
func userName(uid uint32) string {
	if u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil {
		return "user " + u.Username
	}
	return fmt.Sprintf("uid %d", uid)
}
