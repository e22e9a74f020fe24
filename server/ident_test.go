package server

import (
	"context"
	stderrors "errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"
	"sliod/backend/vfs"
	"sliod/server/wire"
)

func TestErrnos(t *testing.T) {
	for _, x := range []struct {
		err   error
		want  linux.Errno
		known bool
	}{
		{linux.ENOENT, linux.ENOENT, true},
		{errors.Wrap(linux.ENOSPC, "cache"), linux.ENOSPC, true},
		{syscall.ENOTEMPTY, linux.ENOTEMPTY, true},
		{&os.PathError{Err: syscall.EACCES}, linux.EACCES, true},
		{os.ErrNotExist, linux.ENOENT, true},
		{os.ErrExist, linux.EEXIST, true},
		{os.ErrPermission, linux.EACCES, true},
		{linux.Errno(0), linux.EIO, false},
		{linux.Errno(512), linux.EIO, false}, // ERESTARTSYS must never be sent
		{linux.Errno(524), linux.EIO, false},
		{vfs.ErrParked, linux.EIO, false},
		{stderrors.New("?"), linux.EIO, false},
		{context.Canceled, linux.EIO, false},
	} {
		if e, known := errnoOf(x.err); e != x.want || known != x.known {
			t.Errorf("%v: %v %v, want %v %v", x.err, e, known, x.want, x.known)
		}
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	sock := filepath.Join(dir, "s.sock")
	for addr, want := range map[string]string{
		"tcp:0.0.0.0:0":                    "loopback",
		"tcp::0":                           "loopback",
		"tcp:[::]:0":                       "loopback",
		"tcp:192.0.2.1:5640":               "loopback",
		"tcp:127.0.0.1":                    "tcp:HOST:PORT",
		"udp:127.0.0.1:1":                  "unix:PATH",
		"":                                 "unix:PATH",
		"unix:":                            "has no path",
		"unix:" + strings.Repeat("x", 108): "at most 85 bytes",
		"tls:127.0.0.1:0":                  "set cert, key and client_ca",
		"vsock:1":                          "lets virtual machines in",
		"port:/dev/virtio-ports/x":         "a serial port is for clients",
		"unix:@abstract":                   "abstract",
		"unix:" + filepath.Join(dir, "no", "dir"): "no such file",
	} {
		l, err := new(Network).Listen(addr)
		if err == nil {
			_ = l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", addr, err, want)
		}
	}
	l, err := new(Network).Listen("tcp:127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()

	l, err = new(Network).Listen("unix:" + sock)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(sock); err != nil || fi.Mode().Perm() != 0o666 {
		t.Error(fi.Mode(), err)
	}
	if _, err := new(Network).Listen("unix:" + sock); err == nil || !strings.Contains(err.Error(), "another server") {
		t.Errorf("a socket in use: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err = new(Network).Listen("unix:" + sock) // left over: replaced
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := os.WriteFile(sock, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := new(Network).Listen("unix:" + sock); err == nil || !strings.Contains(err.Error(), "another kind") {
		t.Errorf("a file: %v", err)
	}
	if b, err := os.ReadFile(sock); string(b) != "precious" {
		t.Error(string(b), err)
	}
}

// TestServe serves both kinds of sockets; who connects is known on each.
func TestServe(t *testing.T) {
	for _, addr := range []string{"tcp:127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s")} {
		peers := make(chan Peer, 1)
		e := newEnv(t, func(c *Config) {
			c.Authorize = func(p Peer, uid uint32, tree string) error { peers <- p; return nil }
		})
		l, err := new(Network).Listen(addr)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- e.s.Serve(ctx, l) }()
		nc, err := net.Dial(l.Addr().Network(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c := &client{t: t, nc: nc}
		c.version(8192)
		c.ok(1, attach(0, ""))
		p := <-peers
		if p.UID != uint32(os.Getuid()) || p.Exact != strings.HasPrefix(addr, "unix") || p.Exact && p.GID != uint32(os.Getgid()) {
			t.Errorf("%s: %+v", addr, p)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		c.sync() // the connection goes on
		if err := e.s.Close(); err != nil {
			t.Error(err)
		}
		c.closed()
		_ = nc.Close()
		if err := e.s.Serve(t.Context(), l); err != ErrClosed {
			t.Errorf("Serve after Close: %v", err)
		}
	}
}

func TestServeEndsByClose(t *testing.T) {
	e := newEnv(t)
	l, err := new(Network).Listen("tcp:127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- e.s.Serve(t.Context(), l) }()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	(&client{t: t, nc: nc}).version(8192)
	if err := e.s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != ErrClosed {
		t.Error(err)
	}
	_ = nc.Close()
}

func TestWhoMayAttach(t *testing.T) {
	own := uint32(os.Geteuid())
	for _, x := range []struct {
		peer, uid uint32
		aname     string
		want      linux.Errno
		acts      uint32
	}{
		{0, wire.NoUname, "", 0, 0},
		{0, 1234, "", 0, 1234},
		{0, 1234, CtlTree, linux.EPERM, 0},
		{0, wire.NoUname, CtlTree, 0, 0},
		{1000, wire.NoUname, "", 0, 1000},
		{1000, 1000, "", 0, 1000},
		{1000, 0, "", linux.EPERM, 0},
		{1000, 1001, "", linux.EPERM, 0},
		{1000, 0, CtlTree, linux.EPERM, 0},
		{own, own, CtlTree, 0, own},
	} {
		if x.peer != own && x.acts == x.peer && x.aname == CtlTree && x.peer != 0 {
			continue
		}
		e := newEnv(t, func(c *Config) {
			c.Identify = func(net.Conn) (Peer, error) { return Peer{UID: x.peer, GID: 77, Groups: []uint32{5}, Exact: true}, nil }
		})
		c := e.raw()
		c.version(8192)
		m := attach(0, x.aname)
		m.NUname = x.uid
		c.send(1, m)
		if x.want != 0 {
			c.wantErr(1, x.want)
			continue
		}
		c.want(1, wire.Rattach)
	}
	// Another user than the server's own and root has no control tree.
	e := newEnv(t, func(c *Config) {
		c.Identify = func(net.Conn) (Peer, error) { return Peer{UID: own + 1}, nil }
	})
	c := e.raw()
	c.version(8192)
	c.err(attach(0, CtlTree), linux.EPERM)
}

func TestUnknownPeerIsRefused(t *testing.T) {
	e := newEnv(t, func(c *Config) {
		c.Identify = func(net.Conn) (Peer, error) { return Peer{}, stderrors.New("who?") }
	})
	e.raw().closed()
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	if _, err := Identify(a); err == nil {
		t.Error("a pipe has no user")
	}
}

func TestCredentials(t *testing.T) {
	now, lookups := time.Unix(1000, 0), 0
	u := NewUsers()
	u.now = func() time.Time { return now }
	u.lookup = func(uid uint32) (uint32, []uint32, bool) {
		lookups++
		return uid + 1, []uint32{7}, uid < 5000
	}
	peer := Peer{UID: 10, GID: 20, Groups: []uint32{30}, Exact: true}
	if c := u.cred(peer, 10); c.GID != 20 || !c.InGroup(30) || lookups != 0 {
		t.Errorf("the peer itself: %+v", c)
	}
	if c := u.cred(peer, 11); c.UID != 11 || c.GID != 12 || !c.InGroup(7) || c.InGroup(30) {
		t.Errorf("another: %+v", c)
	}
	if c := u.cred(peer, 6000); c.GID != nogroup || len(c.Groups) != 0 {
		t.Errorf("unknown: %+v", c)
	}
	if c := u.cred(Peer{UID: 10}, 10); c.GID != 11 || !c.InGroup(7) {
		t.Errorf("the peer over TCP: %+v", c)
	}
	before := lookups
	u.cred(peer, 11)
	if lookups != before {
		t.Error("not cached")
	}
	now = now.Add(userTTL)
	u.cred(peer, 11)
	if lookups != before+1 {
		t.Error("cached for ever")
	}
	for uid := range uint32(3 * maxUsers) {
		u.cred(peer, 10000+uid)
	}
	if len(u.known) > maxUsers {
		t.Errorf("%d users are kept", len(u.known))
	}
	if gid, _, ok := lookupUser(0); !ok || gid != 0 {
		t.Error("root is not known")
	}
}

const tcpTable = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1608 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1 0 100 0 0 10 0
   1: 0100007F:C350 0100007F:1608 01 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 20 4 30 10 -1
   2: 0100007F:1608 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
   3: 0100007F:C351 0100007F:1608 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0
   4: 0000000000000000FFFF00000100007F:C352 0000000000000000FFFF00000100007F:1608 01 00000000:00000000 00:00000000 00000000  1001 0 99 1 0
   5: 00000000000000000000000001000000:C353 00000000000000000000000001000000:1608 01 00000000:00000000 00:00000000 00000000  1002 0 98 1 0
   6: garbage
`

func TestSocketTable(t *testing.T) {
	for _, x := range []struct {
		local, remote string
		want          tcpRow
		ok            bool
	}{
		{"127.0.0.1:50000", "127.0.0.1:5640", tcpRow{1000, "4711", "01"}, true},
		{"127.0.0.1:5640", "127.0.0.1:50000", tcpRow{0, "4712", "01"}, true},
		{"127.0.0.1:50001", "127.0.0.1:5640", tcpRow{0, "0", "06"}, true},
		{"127.0.0.1:50002", "127.0.0.1:5640", tcpRow{1001, "99", "01"}, true},
		{"[::1]:50003", "[::1]:5640", tcpRow{1002, "98", "01"}, true},
		{"127.0.0.1:50000", "127.0.0.1:5641", tcpRow{}, false},
		{"127.0.0.2:50000", "127.0.0.1:5640", tcpRow{}, false},
	} {
		row, ok, err := scanSockets(strings.NewReader(tcpTable), netip.MustParseAddrPort(x.local), netip.MustParseAddrPort(x.remote))
		if row != x.want || ok != x.ok || err != nil {
			t.Errorf("%s -> %s: %+v %v %v", x.local, x.remote, row, ok, err)
		}
	}
}

// TestClosedSocketIsNotRoot is the attack that a row of the kernel's table invites: it
// shows uid 0 once the process has closed its end.
func TestClosedSocketIsNotRoot(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	if _, err := Identify(b); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if p, err := Identify(b); err == nil {
		t.Errorf("a closed socket belongs to %+v", p)
	}
}

func TestNew(t *testing.T) {
	e := newEnv(t)
	for _, cfg := range []Config{{}, {Log: e.s.log}, {Log: e.s.log, Trees: map[string]vfs.FS{"": e.fs}, MaxMsize: 10}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}
