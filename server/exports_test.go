package server

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"strings"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/export"
	"sliod/server/wire"
)

// networks parses entries of a list of networks.
func networks(t testing.TB, words ...string) (list []export.Network) {
	t.Helper()
	for _, w := range words {
		n, err := export.ParseNetwork(w)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, n)
	}
	return list
}

// anon is the anonymous user of the tests.
const anon = 4711

// newExport returns an export of /x with the attach name x.
func newExport(t testing.TB, nets string) export.Export {
	return export.Export{Name: "x", Attach: "x", Path: "/x", Map: export.Auto, AnonUID: anon, AnonGID: anon, Networks: networks(t, strings.Fields(nets)...)}
}

// Peers of each kind. That of a certificate is root, a user that every machine has.
var (
	peerUnix  = Peer{UID: 1000, Addr: "unix"}
	peerRoot  = Peer{UID: 0, Addr: "unix"}
	peerLoop  = Peer{UID: 1000, Peer: export.Peer{IP: netip.MustParseAddr("127.0.0.1")}}
	peerLAN   = Peer{UID: wire.NoUname, Peer: export.Peer{Kind: export.TCP, IP: netip.MustParseAddr("10.0.0.9")}}
	peerVM    = Peer{UID: wire.NoUname, Peer: export.Peer{Kind: export.Vsock, CID: 3}}
	peerAlice = Peer{UID: 1000, Peer: export.Peer{Kind: export.TLSUser, IP: netip.MustParseAddr("10.0.0.9"), Name: "alice"}}
	peerRootC = Peer{UID: 0, Peer: export.Peer{Kind: export.TLSUser, IP: netip.MustParseAddr("10.0.0.9"), Name: "root"}}
	peerGhost = Peer{UID: wire.NoUname, Peer: export.Peer{Kind: export.TLSUser, IP: netip.MustParseAddr("10.0.0.9"), Name: "ghost"}}
	peerHost  = Peer{UID: wire.NoUname, Peer: export.Peer{Kind: export.TLSHost, IP: netip.MustParseAddr("10.0.0.9"), Name: "host:h"}}
)

// exportEnv is a server of a tree with /x/sub/deep and /secret, with the exports; who
// connects is peer.
func exportEnv(t testing.TB, peer Peer, exports ...export.Export) *env {
	t.Helper()
	e := newEnv(t, func(c *Config) {
		c.Exports = exports
		c.Identify = func(net.Conn) (Peer, error) { return peer, nil }
	})
	e.fs.with(func() {
		x := e.fs.newFile(e.fs.root, "x", p9.ModeDirectory|0o777)
		sub := e.fs.newFile(x, "sub", p9.ModeDirectory|0o777)
		e.fs.newFile(sub, "deep", p9.ModeRegular|0o666).data = []byte("deep")
		e.fs.newFile(e.fs.root, "secret", p9.ModeRegular|0o666).data = []byte("secret")
		e.fs.newFile(e.fs.root, "outside", p9.ModeDirectory|0o777)
	})
	return e
}

// owner returns whose a file is in the tree.
func (e *env) owner(name string) (uid, gid uint32) {
	e.fs.with(func() { uid, gid = e.fs.files[name].uid, e.fs.files[name].gid })
	return uid, gid
}

func attachAs(fid uint32, aname string, uid uint32) *wire.MsgTattach {
	m := attach(fid, aname)
	m.NUname = uid
	return m
}

// TestWhoMayAttachToExports is the table of peers against exports: as whom the server
// acts, or the error.
func TestWhoMayAttachToExports(t *testing.T) {
	const no = wire.NoUname
	with := func(nets string, change func(e *export.Export)) export.Export {
		e := newExport(t, nets)
		if change != nil {
			change(&e)
		}
		return e
	}
	asIs := func(e *export.Export) { e.Map = export.AsIs }
	all := func(e *export.Export) { e.Map = export.AllSquash }
	insecure := func(e *export.Export) { e.Map, e.InsecureRoot = export.AsIs, true }
	ranges := func(e *export.Export) {
		e.Map, e.UIDs, e.GIDs = export.Ranges, []export.Range{{Client: 500, Server: 1000, Count: 10}}, []export.Range{{Client: 500, Server: 1000, Count: 10}}
	}
	admin := func(e *export.Export) { e.Admin, e.Users = true, []string{"alice"} }
	own := uint32(os.Geteuid())
	for i, x := range []struct {
		peer  Peer
		x     export.Export
		aname string
		uid   uint32
		want  linux.Errno // 0: it may
		acts  uint32
	}{
		// Local peers have the whole archive, and exports by name.
		{peerUnix, with("10.0.0.0/8", nil), "", no, 0, 1000},
		{peerUnix, with("10.0.0.0/8", nil), "/x", no, 0, 1000},
		{peerUnix, with("10.0.0.0/8", nil), "x", no, 0, 1000}, // not let in: a path of the archive
		{peerUnix, with("unix", nil), "x", no, 0, 1000},
		{peerUnix, with("unix", all), "x", no, 0, anon},
		{peerUnix, with("", all), "x/sub", no, 0, anon},
		{peerUnix, with("", all), "/x/sub", no, 0, 1000}, // with a slash: the archive
		{peerUnix, with("", nil), "x", 1001, linux.EPERM, 0},
		{peerRoot, with("", nil), "x", no, 0, anon},
		{peerRoot, with("", asIs), "x", no, 0, 0},
		{peerRoot, with("", nil), "x", 1234, 0, 1234},
		{peerLoop, with("127.0.0.0/8", all), "x", no, 0, anon},
		{peerLoop, with("unix", all), "x", no, 0, 1000}, // a path
		// Plain TCP: claims.
		{peerLAN, with("10.0.0.0/8", nil), "x", 1234, 0, 1234},
		{peerLAN, with("10.0.0.0/8", nil), "/x", 1234, 0, 1234},
		{peerLAN, with("10.0.0.0/8", nil), "x", 0, 0, anon},
		{peerLAN, with("10.0.0.0/8", nil), "x", no, 0, anon},
		{peerLAN, with("10.0.0.0/8", asIs), "x", 0, 0, anon},
		{peerLAN, with("10.0.0.0/8", insecure), "x", 0, 0, 0},
		{peerLAN, with("10.0.0.0/8", ranges), "x", 503, 0, 1003},
		{peerLAN, with("10.0.0.0/8", ranges), "x", 1003, 0, anon},
		{peerLAN, with("10.0.0.0/8", nil), "", no, linux.EACCES, 0},
		{peerLAN, with("10.0.0.0/8", nil), "/", no, linux.EACCES, 0},
		{peerLAN, with("10.0.0.0/8", nil), "/outside", no, linux.EACCES, 0},
		{peerLAN, with("10.0.0.0/8", nil), "xx", no, linux.EACCES, 0},
		{peerLAN, with("10.0.0.0/8", nil), "x/../outside", no, linux.EACCES, 0},
		{peerLAN, with("10.0.0.0/8", nil), CtlTree, 0, linux.EPERM, 0},
		{peerLAN, with("10.0.0.0/8", func(e *export.Export) { e.Users = []string{"1234"} }), "x", 1235, linux.EACCES, 0},
		{peerLAN, with("10.0.0.0/8", func(e *export.Export) { e.Attach = "" }), "", 1234, 0, 1234},
		{peerLAN, with("10.0.0.0/8", func(e *export.Export) { e.Attach = "" }), "/sub", 1234, 0, 1234},
		{peerLAN, with("10.0.0.0/8", func(e *export.Export) { e.Path = "/none" }), "x", 1234, linux.ENOENT, 0},
		{peerLAN, with("10.0.0.0/8", func(e *export.Export) { e.Path = "/secret" }), "x", 1234, linux.ENOTDIR, 0},
		// Virtual machines.
		{peerVM, with("vsock", nil), "x", 1234, 0, anon},
		{peerVM, with("vsock:3", func(e *export.Export) { e.Map = export.RootSquash }), "x", 1234, 0, 1234},
		{peerVM, with("vsock", nil), CtlTree, 0, linux.EPERM, 0},
		// Certificates of users.
		{peerAlice, with("tls", nil), "x", no, 0, 1000},
		{peerAlice, with("tls", nil), "x", 1000, 0, 1000},
		{peerAlice, with("tls", nil), "x", 1001, linux.EPERM, 0},
		{peerAlice, with("tls", nil), "x", 0, linux.EPERM, 0},
		{peerAlice, with("tls", asIs), "x", 0, linux.EPERM, 0},
		{peerAlice, with("tls", all), "x", 55, 0, anon},
		{peerAlice, with("tls", ranges), "x", 500, 0, 1000},
		{peerAlice, with("tls", ranges), "x", 501, linux.EPERM, 0},
		{peerAlice, with("10.0.0.0/8", nil), "x", no, 0, 1000},
		{peerAlice, with("tls", func(e *export.Export) { e.Users = []string{"bob"} }), "x", no, linux.EACCES, 0},
		{peerAlice, with("tls", func(e *export.Export) { e.Users = []string{"alice"} }), "x", no, 0, 1000},
		{peerAlice, with("tls", nil), CtlTree, no, linux.EPERM, 0},
		{peerAlice, with("tls", admin), CtlTree, no, 0, own},
		{peerRootC, with("tls", admin), CtlTree, no, linux.EPERM, 0},
		{peerRootC, with("tls", nil), "x", no, linux.EPERM, 0},
		{peerRootC, with("tls", asIs), "x", no, 0, 0},
		{peerRootC, with("tls", all), "x", no, 0, anon},
		{peerGhost, with("tls", nil), "x", no, linux.EACCES, 0},
		{peerGhost, with("tls", all), "x", no, 0, anon},
		// Certificates of machines.
		{peerHost, with("tls", nil), "x", 1234, 0, 1234},
		{peerHost, with("tls", nil), "x", 0, 0, anon},
		{peerHost, with("tls", asIs), "x", 0, 0, 0},
		{peerHost, with("tls", func(e *export.Export) { e.Users = []string{"host:h"} }), "x", 7, 0, 7},
		{peerHost, with("tls", admin), CtlTree, 0, linux.EPERM, 0},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			e := exportEnv(t, x.peer, x.x)
			c := e.raw()
			c.version(8192)
			c.send(1, attachAs(0, x.aname, x.uid))
			if x.want != 0 {
				c.wantErr(1, x.want)
				if x.want != linux.ENOENT && x.want != linux.ENOTDIR && !strings.Contains(e.log.String(), "attach refused") {
					t.Errorf("the log does not say why: %s", e.log)
				}
				return
			}
			c.want(1, wire.Rattach)
			if x.aname == CtlTree {
				return
			}
			c.ok(1, walkTo(0, 1))
			c.ok(1, &wire.MsgTlcreate{Fid: 1, Name: []byte("made"), Flags: p9.ReadWrite, Mode: 0o644, GID: 0})
			if uid, _ := e.owner("made"); uid != x.acts {
				t.Errorf("%+v attaches to %q as %d and acts as %d, not %d", x.peer, x.aname, x.uid, uid, x.acts)
			}
		})
	}
}

// TestStrangersAreNotConnected: a peer that no export lets in gets no version.
func TestStrangersAreNotConnected(t *testing.T) {
	for _, p := range []Peer{peerLAN, peerVM, peerAlice, peerHost} {
		e := exportEnv(t, p, newExport(t, "192.168.1.0/24 vsock:9 unix"))
		e.raw().closed()
		if !strings.Contains(e.log.String(), "no [export.NAME] of the configuration has networks") {
			t.Errorf("the log does not say why: %s", e.log)
		}
	}
}

// TestExportIsAllThereIs tries the ways out of an export.
func TestExportIsAllThereIs(t *testing.T) {
	e := exportEnv(t, peerLAN, newExport(t, "10.0.0.0/8"))
	id := func(name string) string { return fmt.Sprint("id:", e.fs.file(name).qid.Path) }
	c := e.raw()
	c.version(8192)
	// By number: nothing before the attach names an export, and nothing outside of it ever.
	c.err(attachAs(0, id("deep"), 1), linux.ENOENT)
	c.ok(1, attachAs(0, "x", 1))
	c.ok(1, attachAs(10, id("deep"), 1))
	c.ok(1, attachAs(11, id("x"), 1))
	for _, name := range []string{"secret", "outside"} {
		c.err(attachAs(12, id(name), 1), linux.ENOENT)
	}
	c.err(attachAs(12, fmt.Sprint("id:", e.fs.root.qid.Path), 1), linux.ENOENT)
	c.err(attachAs(12, "id:x", 1), linux.ENOENT)
	// Up.
	top := e.fs.file("x").qid.Path
	for _, up := range [][]string{{".."}, {"..", ".."}, {"sub", "..", ".."}, {"sub", "..", "..", "..", ".."}} {
		var r wire.MsgRwalk
		c.reply(1, walkTo(0, 20, up...), &r)
		if r.N != len(up) || r.QIDs[r.N-1].Path != top {
			t.Errorf("%v leads to %+v", up, r)
		}
		c.err(walkTo(20, 21, "secret"), linux.ENOENT)
		c.ok(1, &wire.MsgTclunk{Fid: 20})
	}
	var r wire.MsgRwalk
	if c.reply(1, walkTo(0, 20, "..", "secret"), &r); r.N != 1 {
		t.Errorf("a walk out of it found %d names", r.N)
	}
	// The directory's own entry "..".
	c.ok(1, walkTo(0, 20))
	c.ok(1, &wire.MsgTlopen{Fid: 20, Flags: p9.ReadOnly})
	if b := c.ok(1, &wire.MsgTreaddir{Fid: 20, Count: 8000}); strings.Count(string(b), string(qidBytes(top))) != 2 {
		t.Errorf("the export's directory and its parent are not the same in %x", b)
	}
	// Its own name is in a directory that is not the client's.
	c.ok(1, walkTo(0, 21))
	c.err(&wire.MsgTremove{Fid: 21}, linux.EBUSY)
	c.ok(1, walkTo(0, 21, "sub"))
	c.err(&wire.MsgTrename{Fid: 11, Dir: 21, Name: []byte("y")}, linux.EBUSY)
	// A directory that has been moved out meanwhile: no way up from it.
	e.fs.with(func() {
		sub := e.fs.files["sub"]
		delete(e.fs.files["x"].children, "sub")
		sub.parent = e.fs.files["outside"]
		sub.parent.put("sub", sub)
	})
	c.err(walkTo(21, 22, ".."), linux.ESTALE)
	c.err(attachAs(12, id("deep"), 1), linux.ENOENT)
}

// qidBytes is a directory's QID on the wire.
func qidBytes(path uint64) []byte {
	b := []byte{byte(p9.TypeDir), 1, 0, 0, 0} // its version is never 0
	return binary.LittleEndian.AppendUint64(b, path)
}

// TestTwoExports keeps the files of exports apart, and those of one together.
func TestTwoExports(t *testing.T) {
	y := newExport(t, "10.0.0.0/8")
	y.Name, y.Attach, y.Path = "y", "y/deep", "/outside"
	e := exportEnv(t, peerLAN, newExport(t, "10.0.0.0/8"), y)
	c := e.raw()
	c.version(8192)
	c.ok(1, attachAs(0, "x", 1))
	c.ok(1, attachAs(1, "x/sub", 2))
	c.ok(1, attachAs(2, "y/deep", 1))
	c.err(attachAs(3, "y", 1), linux.EACCES)
	c.ok(1, walkTo(1, 3, "deep"))
	c.err(&wire.MsgTlink{Dir: 2, Fid: 3, Name: []byte("n")}, linux.EXDEV)
	c.err(&wire.MsgTrenameat{OldDir: 1, OldName: []byte("deep"), NewDir: 2, NewName: []byte("n")}, linux.EXDEV)
	c.err(&wire.MsgTrename{Fid: 3, Dir: 2, Name: []byte("n")}, linux.EXDEV)
	// Two attaches to one export are one tree.
	c.ok(1, &wire.MsgTlink{Dir: 0, Fid: 3, Name: []byte("n")})
	c.ok(1, &wire.MsgTrenameat{OldDir: 0, OldName: []byte("n"), NewDir: 1, NewName: []byte("n")})
}

// TestReadOnlyExport: every change is EROFS, and reading works.
func TestReadOnlyExport(t *testing.T) {
	x := newExport(t, "10.0.0.0/8")
	x.ReadOnly = true
	e := exportEnv(t, peerLAN, x)
	c := e.raw()
	c.version(8192)
	c.ok(1, attachAs(0, "x", 1))
	c.ok(1, walkTo(0, 1, "sub", "deep"))
	c.ok(1, walkTo(0, 2, "sub"))
	name := []byte("n")
	for _, m := range []wire.Message{
		&wire.MsgTlopen{Fid: 1, Flags: p9.WriteOnly},
		&wire.MsgTlopen{Fid: 1, Flags: p9.ReadWrite},
		&wire.MsgTlopen{Fid: 1, Flags: p9.ReadOnly | oTrunc},
		&wire.MsgTlcreate{Fid: 0, Name: name, Flags: p9.ReadOnly},
		&wire.MsgTmkdir{Dir: 0, Name: name},
		&wire.MsgTsymlink{Dir: 0, Name: name, Target: name},
		&wire.MsgTmknod{Dir: 0, Name: name},
		&wire.MsgTlink{Dir: 0, Fid: 1, Name: name},
		&wire.MsgTunlinkat{Dir: 2, Name: []byte("deep")},
		&wire.MsgTrenameat{OldDir: 2, OldName: []byte("deep"), NewDir: 0, NewName: name},
		&wire.MsgTrename{Fid: 1, Dir: 0, Name: name},
		&wire.MsgTsetattr{Fid: 1, Valid: wire.SetMode},
		&wire.MsgTsetattr{Fid: 1, Valid: wire.SetSize},
		&wire.MsgTxattrcreate{Fid: 1, Name: []byte("user.sliod.recall"), Size: 1},
	} {
		c.err(m, linux.EROFS)
	}
	c.ok(1, walkTo(1, 3))
	c.err(&wire.MsgTremove{Fid: 3}, linux.EROFS)
	c.ok(1, &wire.MsgTlopen{Fid: 1, Flags: p9.ReadOnly})
	if p := c.read(1, 1, 0, 10); string(p) != "deep" {
		t.Errorf("%q", p)
	}
	c.sendWrite(9, 1, 0, []byte("x"))
	c.wantErr(9, linux.EBADF)
	e.fs.with(func() {
		if string(e.fs.files["deep"].data) != "deep" {
			t.Error("it has been changed")
		}
	})
}

// TestOwnersAreTranslated both ways by ranges.
func TestOwnersAreTranslated(t *testing.T) {
	x := newExport(t, "10.0.0.0/8")
	x.Map = export.Ranges
	x.UIDs = []export.Range{{Client: 1000, Server: 101000, Count: 1000}}
	x.GIDs = []export.Range{{Client: 100, Server: 200100, Count: 10}}
	e := exportEnv(t, peerLAN, x)
	c := e.raw()
	c.version(8192)
	c.ok(1, attachAs(0, "x", 1005))
	owner := func(fid uint32) (uint32, uint32) {
		var r wire.MsgRgetattr
		c.reply(1, &wire.MsgTgetattr{Fid: fid, Mask: wire.AttrAll}, &r)
		return uint32(r.Attr.UID), uint32(r.Attr.GID)
	}
	if u, g := owner(0); u != 65534 || g != 65534 {
		t.Errorf("root's directory is shown as %d:%d", u, g)
	}
	c.ok(1, walkTo(0, 1))
	c.ok(1, &wire.MsgTlcreate{Fid: 1, Name: []byte("mine"), Flags: p9.ReadWrite, Mode: 0o644, GID: 105})
	if u, g := e.owner("mine"); u != 101005 || g != 200105 {
		t.Errorf("it belongs to %d:%d here", u, g)
	}
	if u, g := owner(1); u != 1005 || g != 105 {
		t.Errorf("it belongs to %d:%d there", u, g)
	}
	set := &wire.MsgTsetattr{Fid: 1, Valid: wire.SetUID | wire.SetGID}
	set.Attr.UID, set.Attr.GID = 1999, 100
	c.ok(1, set)
	if u, g := e.owner("mine"); u != 101999 || g != 200100 {
		t.Errorf("after chown it belongs to %d:%d here", u, g)
	}
	for _, bad := range []p9.UID{0, 999, 101005} {
		set.Attr.UID = bad
		c.err(set, linux.EPERM)
	}
	c.err(&wire.MsgTxattrcreate{Fid: 1, Name: []byte("user.x"), Size: 1}, linux.EBUSY) // open
	c.ok(1, walkTo(0, 2))
	c.ok(1, &wire.MsgTxattrcreate{Fid: 2, Name: []byte("system.posix_acl_access"), Size: 1})
	c.sendWrite(1, 2, 0, []byte("x"))
	c.want(1, wire.Rwrite)
	c.err(&wire.MsgTclunk{Fid: 2}, linux.EOPNOTSUPP)
}

// TestGroupRootIsNotBroughtAlong: the groups of a user are the server's, but not root.
func TestGroupRootIsNotBroughtAlong(t *testing.T) {
	p := Peer{UID: 1000, GID: 0, Groups: []uint32{0, 7}, Exact: true}
	e := exportEnv(t, p, newExport(t, ""))
	c := &conn{srv: e.s, peer: p}
	cred, err := c.exportCred(&e.s.cfg.Exports[0], wire.NoUname)
	if err != nil || cred.UID != 1000 || cred.GID != anon || cred.InGroup(0) || !cred.InGroup(7) {
		t.Errorf("%+v, %v", cred, err)
	}
	if u, err := user.LookupId("0"); err == nil && uidOf(u.Username) != 0 || uidOf("no such user") != wire.NoUname {
		t.Error("users of certificates are not found")
	}
}
