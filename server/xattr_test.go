package server

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"sliod/server/wire"
)

// setxattr does as v9fs: clone, xattrcreate, write, clunk. It returns what the clunk
// was answered with.
func (c *client) setxattr(name string, value []byte, size uint64, flags uint32) linux.Errno {
	c.t.Helper()
	c.ok(1, walkTo(0, 50))
	c.ok(1, &wire.MsgTxattrcreate{Fid: 50, Name: []byte(name), Size: size, Flags: flags})
	if len(value) > 0 {
		c.write(1, 50, 0, value)
	}
	c.send(1, &wire.MsgTclunk{Fid: 50})
	h, b := c.recv()
	if h.Type == wire.Rclunk {
		return 0
	}
	var r wire.MsgRlerror
	if err := c.c.Decode(b, &r); err != nil {
		c.t.Fatal(err)
	}
	return linux.Errno(r.Errno)
}

// getxattr reads an attribute, or with an empty name the list.
func (c *client) getxattr(name string) []byte {
	c.t.Helper()
	var r wire.MsgRxattrwalk
	c.reply(1, &wire.MsgTxattrwalk{Fid: 0, NewFid: 60, Name: []byte(name)}, &r)
	p := c.read(1, 60, 0, uint32(r.Size)+10)
	if uint64(len(p)) != r.Size {
		c.t.Fatalf("size %d, read %d", r.Size, len(p))
	}
	if tail := c.read(1, 60, 1, 2); r.Size > 3 && !bytes.Equal(tail, p[1:3]) {
		c.t.Fatal("read at an offset")
	}
	c.ok(1, &wire.MsgTclunk{Fid: 60})
	return p
}

func TestXattrs(t *testing.T) {
	e := newEnv(t)
	c := e.dial()
	big := bytes.Repeat([]byte("v"), maxXattr)
	for name, v := range map[string][]byte{"user.a": []byte("value"), "user.big": big, "user.empty": {}} {
		if errno := c.setxattr(name, v, uint64(len(v)), 0); errno != 0 {
			t.Fatalf("%s: %v", name, errno)
		}
		if got := c.getxattr(name); !bytes.Equal(got, v) {
			t.Errorf("%s: %d bytes", name, len(got))
		}
	}
	if got := c.getxattr(""); string(got) != "user.a\x00user.big\x00user.empty\x00" {
		t.Errorf("list %q", got)
	}
	for _, x := range []struct {
		name  string
		value string
		size  uint64
		flags uint32
		want  linux.Errno
	}{
		{"user.a", "v", 1, xattrCreate, linux.EEXIST},
		{"user.b", "v", 1, xattrReplace, linux.ENODATA},
		{"user.b", "", 0, xattrReplace, linux.ENODATA},
		{"user.b", "short", 6, 0, linux.EINVAL},
		{"user.a", "new", 3, xattrReplace, 0},
		{"user.empty", "", 0, xattrReplace, 0}, // how v9fs removes
	} {
		if got := c.setxattr(x.name, []byte(x.value), x.size, x.flags); got != x.want {
			t.Errorf("%+v: %v", x, got)
		}
	}
	if got := c.getxattr(""); string(got) != "user.a\x00user.big\x00" {
		t.Errorf("list %q", got)
	}
	c.err(&wire.MsgTxattrcreate{Fid: 0, Name: []byte("user.x"), Size: maxXattr + 1}, linux.E2BIG)
	c.err(&wire.MsgTxattrcreate{Fid: 0, Name: []byte("user.x"), Flags: 4}, linux.EINVAL)
	c.err(&wire.MsgTxattrcreate{Fid: 0, Name: nil}, linux.ERANGE)
	c.err(&wire.MsgTxattrwalk{Fid: 0, NewFid: 60, Name: []byte(strings.Repeat("x", 256))}, linux.ERANGE)
	c.err(&wire.MsgTxattrwalk{Fid: 0, NewFid: 0}, linux.EINVAL)
}

func TestXattrFidIsNoFile(t *testing.T) {
	e := newEnv(t)
	c := e.dial()
	c.ok(1, walkTo(0, 1))
	c.ok(1, &wire.MsgTxattrcreate{Fid: 1, Name: []byte("user.x"), Size: 4})
	for _, m := range []wire.Message{&wire.MsgTgetattr{Fid: 1}, walkTo(1, 2), &wire.MsgTread{Fid: 1, Count: 1}, &wire.MsgTlopen{Fid: 1},
		&wire.MsgTxattrcreate{Fid: 1, Name: []byte("user.y")}} {
		c.err(m, linux.EBADF)
	}
	for _, x := range []struct {
		off  uint64
		p    string
		want linux.Errno
	}{{0, "12345", linux.ENOSPC}, {1 << 63, "1", linux.ENOSPC}, {2, "1", linux.EINVAL}} {
		c.sendWrite(1, 1, x.off, []byte(x.p))
		c.wantErr(1, x.want)
	}
	c.err(&wire.MsgTclunk{Fid: 1}, linux.EINVAL) // a failed write is not forgotten
	c.err(&wire.MsgTclunk{Fid: 1}, linux.EBADF)  // but the fid is gone
	c.ok(1, walkTo(0, 1))
	c.ok(1, &wire.MsgTxattrcreate{Fid: 1, Name: []byte("user.x"), Size: 4})
	c.err(&wire.MsgTremove{Fid: 1}, linux.EBADF)
	e.fs.with(func() {
		if len(e.fs.root.xattrs) != 0 {
			t.Error("an attribute was set")
		}
	})
}

func TestXattrMemoryIsBounded(t *testing.T) {
	e := newEnv(t)
	e.fs.root.xattrs["user.x"] = make([]byte, maxXattr)
	c := e.dial()
	for fid := uint32(1); ; fid++ {
		c.send(1, &wire.MsgTxattrwalk{Fid: 0, NewFid: fid, Name: []byte("user.x")})
		if h, _ := c.recv(); h.Type == wire.Rxattrwalk {
			continue
		}
		if fid > 2*maxXattrBytes/maxXattr || fid < 10 {
			t.Errorf("refused at fid %d", fid)
		}
		c.ok(1, &wire.MsgTclunk{Fid: 1})
		c.ok(1, &wire.MsgTxattrwalk{Fid: 0, NewFid: 1, Name: []byte("user.x")})
		return
	}
}
