package server

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"sliod/server/wire"
)

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestMalformedFrames(t *testing.T) {
	e := newEnv(t)
	c := e.dial()
	for typ := 0; typ < 256; typ++ {
		known := wire.Type(typ) != wire.Tversion && wire.Type(typ).String()[0] == 'T' && !wire.Type(typ).Extended()
		for _, body := range [][]byte{{}, {1}, {1, 0, 0}, make([]byte, 3000)} {
			want := linux.EOPNOTSUPP
			if known {
				want = linux.EINVAL
			}
			f := binary.LittleEndian.AppendUint32(nil, uint32(7+len(body)))
			c.bytes(append(append(f, byte(typ), 5, 0), body...))
			if wire.Type(typ) == wire.Tversion {
				c.wantErr(5, linux.EINVAL)
				continue
			}
			c.wantErr(5, want)
		}
	}
	c.sync()
}

func TestSizeBeyondMsizeCloses(t *testing.T) {
	for _, size := range []uint32{1<<20 + 1, 1 << 31, 1<<32 - 1} {
		c := newEnv(t).dial()
		f := binary.LittleEndian.AppendUint32(nil, size)
		c.bytes(append(f, byte(wire.Twrite), 5, 0))
		c.wantErr(5, linux.EMSGSIZE)
		c.closed()
	}
}

func TestSizeBelowAHeaderCloses(t *testing.T) {
	for size := range byte(wire.HeaderSize) {
		c := newEnv(t).dial()
		c.bytes([]byte{size, 0, 0, 0, byte(wire.Tclunk), 5, 0})
		c.closed()
	}
}

func TestNothingBeforeVersion(t *testing.T) {
	c := newEnv(t).raw()
	c.err(attach(0, ""), linux.EPROTO)
	c.err(&wire.MsgTversion{Msize: 100, Version: []byte(wire.Version)}, linux.EINVAL)
	for v, want := range map[string]string{"9P2000": "unknown", "9P2000.u": "unknown", "": "unknown", "9P2000.Lx": "unknown",
		"9P2000.L": wire.Version, "9P2000.L.Google.7": wire.Version, "9P2000.L.sliodx": wire.Version,
		"9P2000.L.sliod": wire.ExtendedVersion} {
		var r wire.MsgRversion
		c.reply(wire.NoTag, &wire.MsgTversion{Msize: 1 << 30, Version: []byte(v)}, &r)
		if string(r.Version) != want || r.Msize != LargestMsize {
			t.Errorf("%q: %q, msize %d", v, r.Version, r.Msize)
		}
	}
}

func TestBusyTagCloses(t *testing.T) {
	e, f, c := parkedEnv(t)
	c.send(20, readReq(4))
	c.send(20, &wire.MsgTgetattr{Fid: 1})
	c.closed()
	for f.parked() > 0 {
		runtime.Gosched()
	}
	if !strings.Contains(e.log.String(), "tag 20") {
		t.Errorf("not in the log: %s", e.log)
	}
}

func TestFidRules(t *testing.T) {
	e := newEnv(t, func(c *Config) { c.MaxFids = 10 })
	e.fs.add("f", []byte("data"))
	c := e.dial()
	for _, m := range []wire.Message{
		walkTo(77, 78), &wire.MsgTgetattr{Fid: 77}, &wire.MsgTsetattr{Fid: 77}, &wire.MsgTlopen{Fid: 77}, &wire.MsgTread{Fid: 77},
		&wire.MsgTreaddir{Fid: 77}, &wire.MsgTclunk{Fid: 77}, &wire.MsgTremove{Fid: 77}, &wire.MsgTfsync{Fid: 77},
		&wire.MsgTstatfs{Fid: 77}, &wire.MsgTreadlink{Fid: 77}, &wire.MsgTxattrwalk{Fid: 77, NewFid: 78},
		&wire.MsgTxattrcreate{Fid: 77, Name: []byte("x")}, &wire.MsgTlock{Fid: 77}, &wire.MsgTgetlock{Fid: 77},
		&wire.MsgTlink{Dir: 0, Fid: 77, Name: []byte("x")}, &wire.MsgTmkdir{Dir: 77, Name: []byte("x")},
		&wire.MsgTrenameat{OldDir: 0, OldName: []byte("f"), NewDir: 77, NewName: []byte("g")},
		&wire.MsgTrename{Fid: 0, Dir: 77, Name: []byte("g")}, &wire.MsgTunlinkat{Dir: 77, Name: []byte("f")},
		&wire.MsgTlcreate{Fid: 77, Name: []byte("x")}, &wire.MsgTsymlink{Dir: 77, Name: []byte("x"), Target: []byte("y")},
		&wire.MsgTmknod{Dir: 77, Name: []byte("x")},
	} {
		c.err(m, linux.EBADF)
	}
	c.open(1, "f", p9.ReadOnly)
	c.err(walkTo(0, 1, "f"), linux.EINVAL)          // newfid in use
	c.err(walkTo(1, 1), linux.EINVAL)               // an open fid cannot walk itself
	c.err(walkTo(0, wire.NoFid), linux.EINVAL)      // not a fid
	c.err(&wire.MsgTlopen{Fid: 1}, linux.EBUSY)     // open already
	c.err(walkTo(1, 2, "x"), linux.ENOTDIR)         // not a directory
	c.err(walkTo(0, 2, "missing"), linux.ENOENT)    // the first name fails
	c.err(&wire.MsgTgetattr{Fid: 2}, linux.EBADF)   // so newfid is not made
	c.ok(1, walkTo(1, 2))                           // an open fid can be cloned
	c.err(&wire.MsgTread{Fid: 2}, linux.EBADF)      // and the clone is not open
	c.err(&wire.MsgTreaddir{Fid: 1}, linux.ENOTDIR) // not a directory
	c.sendWrite(5, 1, 0, []byte("x"))
	c.wantErr(5, linux.EBADF) // open for reading
	c.ok(1, walkTo(0, 3))
	c.ok(1, &wire.MsgTlopen{Fid: 3})
	c.err(&wire.MsgTread{Fid: 3, Count: 1}, linux.EISDIR)
	c.ok(1, walkTo(0, 4))
	c.err(&wire.MsgTlopen{Fid: 4, Flags: p9.ReadWrite}, linux.EISDIR)
	c.err(&wire.MsgTlopen{Fid: 4, Flags: 3}, linux.EINVAL)
	c.err(&wire.MsgTlopen{Fid: 2, Flags: oDirectory}, linux.ENOTDIR)
	c.ok(1, walkTo(4, 4, "f")) // newfid is fid
	c.ok(1, &wire.MsgTlopen{Fid: 4, Flags: p9.WriteOnly | oCreat | oExcl})
	c.err(&wire.MsgTread{Fid: 4, Count: 1}, linux.EBADF)
	for i := range uint32(5) {
		c.ok(1, walkTo(0, 20+i))
	}
	c.err(walkTo(0, 30), linux.EMFILE)
	c.ok(1, &wire.MsgTclunk{Fid: 20})
	c.ok(1, walkTo(0, 30))
	c.ok(1, &wire.MsgTremove{Fid: 2})
	c.err(&wire.MsgTgetattr{Fid: 2}, linux.EBADF)
}

func TestPartialWalk(t *testing.T) {
	e := newEnv(t)
	c := e.dial()
	c.ok(1, &wire.MsgTmkdir{Dir: 0, Name: []byte("a"), Mode: 0o755})
	var r wire.MsgRwalk
	c.reply(1, walkTo(0, 1, "a", "..", "a", "missing", "b"), &r)
	if r.N != 3 {
		t.Errorf("%d QIDs", r.N)
	}
	c.err(&wire.MsgTgetattr{Fid: 1}, linux.EBADF)
	c.reply(1, walkTo(0, 1, "a", ".."), &r)
	if r.N != 2 || r.QIDs[1].Path != e.fs.root.qid.Path {
		t.Errorf("%+v", r)
	}
}

func TestNames(t *testing.T) {
	e := newEnv(t)
	e.fs.add("f", nil)
	c := e.dial()
	c.ok(1, walkTo(0, 1, "f"))
	long := strings.Repeat("n", 256)
	for name, want := range map[string]linux.Errno{"": linux.EINVAL, "a/b": linux.EINVAL, "a\x00b": linux.EINVAL, long: linux.ENAMETOOLONG,
		".": linux.EEXIST, "..": linux.EEXIST} {
		b := []byte(name)
		if name[:min(1, len(name))] != "." {
			c.err(walkTo(0, 2, name), want)
			c.err(&wire.MsgTunlinkat{Dir: 0, Name: b}, want)
			c.err(&wire.MsgTrenameat{OldDir: 0, OldName: b, NewDir: 0, NewName: []byte("x")}, want)
			c.err(&wire.MsgTrenameat{OldDir: 0, OldName: []byte("f"), NewDir: 0, NewName: b}, want)
			c.err(&wire.MsgTrename{Fid: 1, Dir: 0, Name: b}, want)
		}
		c.err(&wire.MsgTmkdir{Dir: 0, Name: b}, want)
		c.err(&wire.MsgTlcreate{Fid: 0, Name: b, Flags: oExcl}, want)
		c.err(&wire.MsgTsymlink{Dir: 0, Name: b, Target: []byte("t")}, want)
		c.err(&wire.MsgTmknod{Dir: 0, Name: b}, want)
		c.err(&wire.MsgTlink{Dir: 0, Fid: 1, Name: b}, want)
	}
	c.err(&wire.MsgTlcreate{Fid: 0, Name: []byte(".")}, linux.EISDIR)
	c.err(&wire.MsgTunlinkat{Dir: 0, Name: []byte(".")}, linux.EISDIR)
	c.err(&wire.MsgTunlinkat{Dir: 0, Name: []byte("."), Flags: atRemoveDir}, linux.EINVAL)
	c.err(&wire.MsgTunlinkat{Dir: 0, Name: []byte(".."), Flags: atRemoveDir}, linux.ENOTEMPTY)
	c.err(&wire.MsgTunlinkat{Dir: 0, Name: []byte("f"), Flags: 1}, linux.EINVAL)
	c.err(&wire.MsgTrenameat{OldDir: 0, OldName: []byte("."), NewDir: 0, NewName: []byte("x")}, linux.EBUSY)
	c.err(&wire.MsgTsymlink{Dir: 0, Name: []byte("s")}, linux.ENOENT)
	c.err(&wire.MsgTsymlink{Dir: 0, Name: []byte("s"), Target: []byte(strings.Repeat("t", 4096))}, linux.ENAMETOOLONG)
	c.ok(1, &wire.MsgTmkdir{Dir: 0, Name: []byte(long[:255])})
}

func TestOffsets(t *testing.T) {
	e := newEnv(t)
	e.fs.add("f", []byte("data"))
	c := e.dial()
	c.open(1, "f", p9.ReadWrite)
	if p := c.read(1, 1, maxOffset, 10); len(p) != 0 {
		t.Errorf("%q", p)
	}
	c.err(&wire.MsgTread{Fid: 1, Offset: maxOffset + 1, Count: 1}, linux.EINVAL)
	for off, want := range map[uint64]linux.Errno{maxOffset: linux.EFBIG, maxOffset + 1: linux.EINVAL, 1<<64 - 1: linux.EINVAL} {
		c.sendWrite(5, 1, off, []byte("x"))
		c.wantErr(5, want)
	}
	if p := c.read(1, 1, 0, 0); len(p) != 0 {
		t.Errorf("%q", p)
	}
	if n := c.write(1, 1, 0, nil); n != 0 {
		t.Errorf("%d", n)
	}
	c.err(&wire.MsgTsetattr{Fid: 1, Valid: wire.SetSize, Attr: p9.SetAttr{Size: 1 << 63}}, linux.EINVAL)
	c.err(&wire.MsgTsetattr{Fid: 1, Valid: 1 << 20}, linux.EINVAL)
	c.err(&wire.MsgTsetattr{Fid: 1, Valid: wire.SetMtime | wire.SetMtimeTo, Attr: p9.SetAttr{MTimeNanoSeconds: 1e9}}, linux.EINVAL)
	f := wire.AppendTwrite(nil, 5, 1, 0, 100) // count and frame differ
	binary.LittleEndian.PutUint32(f, uint32(len(f)))
	c.bytes(f)
	c.wantErr(5, linux.EINVAL)
}

func TestHalfFramesCostLittle(t *testing.T) {
	e := newEnv(t)
	e.fs.add("f", nil)
	h0 := heap()
	var cs []*client
	for range 50 {
		c := e.raw()
		c.version(LargestMsize)
		f := wire.AppendTwrite(nil, 5, 1, 0, 4<<20) // a large size, and nothing of it
		c.bytes(f)
		cs = append(cs, c)
	}
	for _, c := range cs {
		c.bytes([]byte{0})
	}
	if each := (int64(heap()) - int64(h0)) / 50; each > 128<<10 {
		t.Errorf("%d bytes for each connection", each)
	}
}

func TestClientThatDoesNotRead(t *testing.T) {
	const limit = 1 << 20
	e := newEnv(t, func(c *Config) { c.QueueBytes = limit })
	f := e.fs.add("f", make([]byte, 256<<10))
	good, bad := e.dial(), e.dial()
	good.open(1, "f", p9.ReadOnly)
	bad.open(1, "f", p9.ReadOnly)
	f.setAbsent(true)
	for tag := range uint16(200) {
		bad.send(1000+tag, readReq(256<<10)) // parked
	}
	good.sync()
	for f.parked() < 200 {
		runtime.Gosched()
	}
	h0 := heap()
	f.deliver(nil)
	done := make(chan struct{})
	go func() { // it fills the socket, and then waits: its requests are read no more
		defer close(done)
		for tag := range uint16(5000) {
			if _, err := bad.nc.Write(bad.c.Append(nil, 2000+tag, readReq(256<<10))); err != nil {
				return
			}
		}
	}()
	for range 200 { // another client does not notice
		if n := len(good.read(1, 1, 0, 64<<10)); n != 64<<10 {
			t.Fatal(n)
		}
	}
	if _, _, pins := e.fs.leaks(); pins > limit/(256<<10)+3 {
		t.Errorf("%d pins of 256 KiB with a queue of 1 MiB", pins)
	}
	if more := int64(heap()) - int64(h0); more > 2<<20 {
		t.Errorf("heap grew by %d", more)
	}
	if err := bad.nc.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
}

// TestManyConnectionsThatDoNotRead: what they pin together is bounded, others are
// served meanwhile, and all of it comes once they read.
func TestManyConnectionsThatDoNotRead(t *testing.T) {
	const limit, conns, each = 8, 20, 40
	e := newEnv(t, func(c *Config) { c.MaxPinned = limit })
	data := make([]byte, 512<<10)
	for i := range data {
		data[i] = byte(i >> 10)
	}
	e.fs.add("f", data)
	good := e.dial()
	good.open(1, "f", p9.ReadOnly)
	var bad []*client
	var wg sync.WaitGroup
	for range conns {
		c := e.dial()
		c.open(1, "f", p9.ReadOnly)
		bad = append(bad, c)
		var all []byte
		for tag := range uint16(each) {
			all = c.c.Append(all, 100+tag, readReq(512<<10))
		}
		wg.Go(func() { _, _ = c.nc.Write(all) }) // an error shows when the replies are missing
	}
	for {
		if _, _, pins := e.fs.leaks(); pins >= limit {
			break
		}
		runtime.Gosched()
	}
	for range 100 {
		if p := good.read(1, 1, 0, 256<<10); len(p) == 0 || !bytes.Equal(p, data[:len(p)]) {
			t.Fatalf("%d bytes, or others", len(p))
		}
		// One more of each that was looking at the limit just then.
		if _, _, pins := e.fs.leaks(); pins > limit+conns {
			t.Fatalf("%d slots are pinned, the limit is %d", pins, limit)
		}
	}
	for _, c := range bad {
		for tag := range uint16(each) {
			body := c.want(100+tag, wire.Rread)
			if p := body[4:]; len(p) == 0 || !bytes.Equal(p, data[:len(p)]) {
				t.Fatalf("%d bytes, or others", len(p))
			}
		}
	}
	wg.Wait()
	if n := e.s.pins.n.Load(); n < 0 || n > limit {
		t.Errorf("%d pins are counted", n)
	}
}

func TestManySmallRepliesUnread(t *testing.T) {
	e := newEnv(t)
	c := e.dial()
	h0 := heap()
	done := make(chan struct{})
	go func() {
		defer close(done)
		one := c.c.Append(nil, 5, &wire.MsgTgetattr{Fid: 0})
		for range 100000 {
			if _, err := c.nc.Write(one); err != nil {
				return
			}
		}
	}()
	other := e.dial()
	for range 2000 {
		other.sync()
	}
	if more := int64(heap()) - int64(h0); more > 4<<20 {
		t.Errorf("heap grew by %d", more)
	}
	for range 100000 {
		c.want(5, wire.Rgetattr) // all of it comes once it reads
	}
	<-done
}

func TestConnectionLimit(t *testing.T) {
	e := newEnv(t, func(c *Config) { c.MaxConns = 2 })
	a, b := e.dial(), e.dial()
	c := e.raw()
	c.closed()
	a.sync()
	b.sync()
}

func TestUnknownErrorIsEIOAndLoggedOnce(t *testing.T) {
	e := newEnv(t)
	f := e.fs.add("f", nil)
	e.fs.with(func() { f.fail = fmt.Errorf("the disk is on fire") })
	c := e.dial()
	c.open(1, "f", p9.ReadWrite)
	c.err(readReq(1), linux.EIO)
	c.sync()
	if n := strings.Count(e.log.String(), "the disk is on fire"); n != 1 {
		t.Errorf("logged %d times: %s", n, e.log)
	}
}
