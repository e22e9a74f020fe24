package server

import (
	"bytes"
	stderrors "errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"sliod/server/wire"
)

// The tests of this file are the rules of 9P2000.L that cost a Linux client its mount
// or its data when a server breaks them.

func isReset(err error) bool { return stderrors.Is(err, syscall.ECONNRESET) }

func TestReplyFitsMsizeAndCount(t *testing.T) {
	e := newEnv(t)
	e.fs.add("f", bytes.Repeat([]byte("x"), 100000))
	for i := range 100 {
		e.fs.add(fmt.Sprintf("file-with-a-long-name-%03d", i), nil)
	}
	c := e.raw()
	if r := c.version(4096); r.Msize != 4096 {
		t.Fatalf("msize %d", r.Msize)
	}
	c.ok(1, attach(0, ""))
	c.open(1, "f", p9.ReadOnly)
	if n := len(c.read(1, 1, 0, 100)); n != 100 {
		t.Errorf("count 100: %d bytes", n)
	}
	if n := len(c.read(1, 1, 0, 1<<31)); n != 4096-wire.ReadOverhead {
		t.Errorf("count above msize: %d bytes", n)
	}
	c.ok(1, walkTo(0, 2))
	c.ok(1, &wire.MsgTlopen{Fid: 2})
	for _, count := range []uint32{60, 500, 1 << 31} {
		p, err := wire.ParseData(c.ok(1, &wire.MsgTreaddir{Fid: 2, Count: count}))
		if err != nil || len(p) == 0 || len(p) > int(min(count, 4096-wire.ReadOverhead)) {
			t.Errorf("readdir of %d: %d bytes, %v", count, len(p), err)
		}
	}
	c.err(&wire.MsgTreaddir{Fid: 2, Count: 10}, linux.EINVAL)
	link := e.fs.add("link", nil)
	e.fs.with(func() { link.target = strings.Repeat("t", 4095) })
	c.ok(1, walkTo(0, 3, "link"))
	c.err(&wire.MsgTreadlink{Fid: 3}, linux.ENAMETOOLONG)
}

func TestWriteIsNeverAnsweredWithZero(t *testing.T) {
	e := newEnv(t)
	f := e.fs.add("f", nil)
	f.zero = true
	c := e.dial()
	c.open(1, "f", p9.ReadWrite)
	c.sendWrite(1, 1, 0, []byte("x"))
	c.wantErr(1, linux.EIO)
	c.sync() // it is logged after the answer
	if !strings.Contains(e.log.String(), "write of 1 bytes completed with 0") {
		t.Errorf("not logged: %s", e.log)
	}
	e.fs.with(func() { f.zero, f.absent = false, true })
	c.sendWrite(2, 1, 0, []byte("x"))
	c.sync()
	f.take().Waker.Wake(0, nil)
	c.wantErr(2, linux.EIO)
}

func TestUnknownMessageIsEOPNOTSUPP(t *testing.T) {
	c := newEnv(t).dial()
	for _, typ := range []byte{0, 6, 126, 200, 255, byte(wire.Rread)} {
		c.bytes([]byte{7, 0, 0, 0, typ, 5, 0})
		c.wantErr(5, linux.EOPNOTSUPP)
	}
}

func TestAuthIsRefusedWithENOENT(t *testing.T) {
	newEnv(t).dial().err(&wire.MsgTauth{Afid: 3}, linux.ENOENT)
}

func TestNlinkIsNeverZero(t *testing.T) {
	e := newEnv(t)
	e.fs.add("f", []byte("data"))
	c := e.dial()
	c.open(1, "f", p9.ReadWrite)
	c.ok(1, &wire.MsgTunlinkat{Dir: 0, Name: []byte("f")})
	var r wire.MsgRgetattr
	c.reply(1, &wire.MsgTgetattr{Fid: 1, Mask: wire.AttrAll}, &r)
	if r.Attr.NLink == 0 || r.Valid != wire.AttrAll || r.Attr.Gen != 7 || r.Attr.DataVersion != 9 {
		t.Errorf("%+v", r)
	}
}

func TestFidsSurviveUnlink(t *testing.T) {
	e := newEnv(t)
	e.fs.add("f", []byte("data"))
	c := e.dial()
	c.ok(1, walkTo(0, 2, "f")) // a path fid
	c.open(1, "f", p9.ReadWrite)
	c.ok(1, &wire.MsgTunlinkat{Dir: 0, Name: []byte("f")})
	for _, fid := range []uint32{1, 2} {
		c.ok(1, &wire.MsgTsetattr{Fid: fid, Valid: wire.SetSize, Attr: p9.SetAttr{Size: 2}})
		c.ok(1, &wire.MsgTgetattr{Fid: fid})
	}
	if p := c.read(1, 1, 0, 10); string(p) != "da" {
		t.Errorf("read %q", p)
	}
	c.write(1, 1, 0, []byte("new"))
	c.ok(1, &wire.MsgTfsync{Fid: 1})
	c.ok(1, &wire.MsgTlopen{Fid: 2})
}

func TestReaddirHasDotsAndStableCookies(t *testing.T) {
	e := newEnv(t)
	for i := range 20 {
		e.fs.add(fmt.Sprint("f", i), nil)
	}
	c := e.dial()
	c.ok(1, walkTo(0, 1))
	c.ok(1, &wire.MsgTlopen{Fid: 1})
	seen := map[string]int{}
	for off, n := uint64(0), 0; ; n++ {
		p, err := wire.ParseData(c.ok(1, &wire.MsgTreaddir{Fid: 1, Offset: off, Count: 100}))
		if err != nil {
			t.Fatal(err)
		}
		if len(p) == 0 {
			break
		}
		for len(p) > 0 {
			d, rest, err := wire.ParseDirent(p)
			if err != nil {
				t.Fatal(err)
			}
			if d.QID.Version == 0 {
				t.Errorf("%s has version 0", d.Name)
			}
			if want := p9.QIDType(8); strings.HasPrefix(d.Name, "f") && d.Type != want || d.Name[0] == '.' && d.Type != dtDir {
				t.Errorf("%s has type %d", d.Name, d.Type)
			}
			seen[d.Name]++
			off, p = d.Offset, rest
		}
		if n == 2 { // entries come and go
			c.ok(1, &wire.MsgTunlinkat{Dir: 0, Name: []byte("f1")})
			e.fs.add("late", nil)
		}
	}
	for _, name := range []string{".", "..", "f0", "f19", "late"} {
		if seen[name] != 1 {
			t.Errorf("%s was seen %d times", name, seen[name])
		}
	}
}

func TestSecondVersionEndsTheSession(t *testing.T) {
	e := newEnv(t)
	f := e.fs.add("f", []byte("data"))
	f.setAbsent(true)
	c := e.dial()
	c.open(1, "f", p9.ReadWrite)
	for tag := range uint16(10) {
		c.send(20+tag, &wire.MsgTread{Fid: 1, Count: 4})
	}
	c.sync()
	on := f.take() // its wake is on the way
	c.version(8192)
	wake(on, nil)
	f.deliver(nil)
	if n := f.parked(); n != 0 {
		t.Errorf("%d requests are still parked", n)
	}
	c.err(&wire.MsgTgetattr{Fid: 0}, linux.EBADF) // and no late reply before this
	c.ok(1, attach(0, ""))
	c.open(1, "f", p9.ReadOnly)
	if p := c.read(20, 1, 0, 4); string(p) != "data" {
		t.Errorf("%q", p)
	}
}

func TestAttachForAPathHasItsQID(t *testing.T) {
	e := newEnv(t)
	c := e.dial()
	c.ok(1, &wire.MsgTmkdir{Dir: 0, Name: []byte("dir"), Mode: 0o755})
	var w wire.MsgRwalk
	c.reply(1, walkTo(0, 1, "dir"), &w)
	for i, aname := range []string{"dir", "/dir", "/dir/", "//dir/."} {
		var a wire.MsgRattach
		c.reply(1, attach(uint32(10+i), aname), &a)
		if a.QID != w.QIDs[0] {
			t.Errorf("%q: %v, want %v", aname, a.QID, w.QIDs[0])
		}
	}
	c.err(attach(5, "/missing"), linux.ENOENT)
	c.err(attach(5, "a\x00b"), linux.EINVAL)
	c.err(attach(5, "/dir/"+strings.Repeat("n", 256)), linux.ENAMETOOLONG)
	c.err(attach(5, strings.Repeat("n/", 3000)), linux.ENAMETOOLONG)
	c.err(attach(0, ""), linux.EINVAL) // fid in use
	c.ok(1, attach(6, CtlTree))
	c.err(&wire.MsgTlink{Dir: 6, Fid: 1, Name: []byte("x")}, linux.EXDEV)
}

func TestMissingXattrIsENODATA(t *testing.T) {
	e := newEnv(t)
	c := e.dial()
	for range 3 {
		c.err(&wire.MsgTxattrwalk{Fid: 0, NewFid: 1, Name: []byte("security.capability")}, linux.ENODATA)
	}
	c.err(&wire.MsgTgetattr{Fid: 1}, linux.EBADF) // newfid was not made
}

func TestSetuidSetgidStickyPass(t *testing.T) {
	e := newEnv(t)
	c := e.dial()
	c.ok(1, &wire.MsgTmkdir{Dir: 0, Name: []byte("d"), Mode: 0o3777})
	c.ok(1, walkTo(0, 2, "d"))
	var r wire.MsgRgetattr
	c.reply(1, &wire.MsgTgetattr{Fid: 2}, &r)
	if r.Attr.Mode != p9.ModeDirectory|0o3777 {
		t.Errorf("mode %o", r.Attr.Mode)
	}
	c.ok(1, walkTo(0, 1))
	c.ok(1, &wire.MsgTlcreate{Fid: 1, Name: []byte("f"), Flags: p9.ReadWrite, Mode: 0o6755})
	c.reply(1, &wire.MsgTgetattr{Fid: 1}, &r)
	if r.Attr.Mode != p9.ModeRegular|0o6755 {
		t.Errorf("mode %o", r.Attr.Mode)
	}
	c.ok(1, &wire.MsgTsetattr{Fid: 1, Valid: wire.SetMode, Attr: p9.SetAttr{Permissions: 0o7711}})
	c.reply(1, &wire.MsgTgetattr{Fid: 1}, &r)
	if r.Attr.Mode&0o7777 != 0o7711 {
		t.Errorf("mode %o", r.Attr.Mode)
	}
}

func TestGetlockAsksWithUnlock(t *testing.T) {
	e := newEnv(t)
	e.fs.add("f", nil)
	c := e.dial()
	c.open(1, "f", p9.ReadWrite)
	c.open(2, "f", p9.ReadWrite)
	lock := func(fid uint32, who string, typ uint8) *wire.MsgTlock {
		return &wire.MsgTlock{Fid: fid, LockType: typ, ClientID: []byte(who), ProcID: 77}
	}
	status := func(m *wire.MsgTlock) uint8 {
		var r wire.MsgRlock
		c.reply(1, m, &r)
		return r.Status
	}
	if s := status(lock(1, "a", 1)); s != wire.LockSuccess {
		t.Fatalf("status %d", s)
	}
	if s := status(lock(2, "b", 1)); s != wire.LockBlocked {
		t.Fatalf("status %d for a conflict", s)
	}
	var g wire.MsgRgetlock
	c.reply(1, &wire.MsgTgetlock{Fid: 2, LockType: 2, ClientID: []byte("b")}, &g)
	if g.LockType != 1 || g.ProcID != 77 || string(g.ClientID) != "a" {
		t.Errorf("%+v", g)
	}
	c.reply(1, &wire.MsgTgetlock{Fid: 1, LockType: 2, ClientID: []byte("a")}, &g)
	if g.LockType != 2 {
		t.Errorf("own lock: %+v", g)
	}
	m := lock(2, "b", 1)
	m.Flags = wire.LockBlock
	c.send(30, m) // the reply is held until the lock is granted
	c.sync()
	e.fs.file("f").deliver(nil)
	if b := c.want(30, wire.Rlock); b[0] != wire.LockSuccess {
		t.Errorf("status %d", b[0])
	}
	c.err(&wire.MsgTlock{Fid: 1, LockType: 3}, linux.EINVAL)
	c.err(&wire.MsgTlock{Fid: 1, Start: 1 << 63}, linux.EINVAL)
	c.err(&wire.MsgTlock{Fid: 1, Start: 5, Length: 1<<64 - 1}, linux.EOVERFLOW)
	c.err(&wire.MsgTlock{Fid: 0}, linux.EBADF)
}

func TestQIDVersionIsNeverZero(t *testing.T) {
	e := newEnv(t)
	e.fs.add("f", nil) // the tree says version 0
	c := e.dial()
	var w wire.MsgRwalk
	c.reply(1, walkTo(0, 1, "f"), &w)
	var o wire.MsgRlopen
	c.reply(1, &wire.MsgTlopen{Fid: 1}, &o)
	var a wire.MsgRgetattr
	c.reply(1, &wire.MsgTgetattr{Fid: 1}, &a)
	if w.QIDs[0].Version == 0 || o.QID.Version == 0 || a.QID.Version == 0 || o.IOUnit != 0 {
		t.Errorf("%v %v %v", w.QIDs[0], o, a.QID)
	}
}

func TestMetadataDoesNotWaitForParkedRequests(t *testing.T) {
	e := newEnv(t)
	f := e.fs.add("f", []byte("data"))
	f.setAbsent(true)
	c := e.dial()
	c.open(1, "f", p9.ReadWrite)
	c.send(20, &wire.MsgTread{Fid: 1, Count: 4})
	c.sendWrite(21, 1, 0, []byte("new"))
	c.ok(1, walkTo(0, 2, "f"))
	c.ok(1, &wire.MsgTgetattr{Fid: 1})
	c.ok(1, &wire.MsgTfsync{Fid: 1})
	c.ok(1, &wire.MsgTrenameat{OldDir: 0, OldName: []byte("f"), NewDir: 0, NewName: []byte("g")})
	c.ok(1, &wire.MsgTunlinkat{Dir: 0, Name: []byte("g")})
	c.ok(1, &wire.MsgTclunk{Fid: 2})
	c.ok(1, walkTo(0, 3))
	c.ok(1, &wire.MsgTlopen{Fid: 3})
	c.ok(1, &wire.MsgTreaddir{Fid: 3, Count: 1000})
	f.deliver(nil)
	got := map[uint16]wire.Type{}
	for range 2 {
		h, _ := c.recv()
		got[h.Tag] = h.Type
	}
	if got[20] != wire.Rread || got[21] != wire.Rwrite {
		t.Errorf("%v", got)
	}
}

func TestLocksDieWithTheFidAndTheConnection(t *testing.T) {
	e := newEnv(t)
	f := e.fs.add("f", nil)
	c := e.dial()
	for _, end := range []func(){
		func() { c.ok(1, &wire.MsgTclunk{Fid: 1}) },
		func() { c.version(8192) },
		func() {
			if err := c.nc.Close(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		c.ok(1, &wire.MsgTgetattr{Fid: 0})
		c.open(1, "f", p9.ReadWrite)
		c.ok(1, &wire.MsgTlock{Fid: 1, LockType: 1, ClientID: []byte("a")})
		end()
		for held := true; held; runtime.Gosched() {
			e.fs.with(func() { held = f.lock != nil })
		}
		if _, err := c.nc.Write(nil); err == nil {
			c.send(1, attach(0, "")) // after Tversion the root is gone; else the fid is in use
			c.recv()
		}
	}
}
