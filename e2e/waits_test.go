package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hugelgupf/p9/p9"

	"sliod/backend/sliver"
	"sliod/server/wire"
)

func fill(p []byte, seed byte) {
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(p) // never fails
}

// The fids of a connection; spare ones are free between two operations.
const (
	fidRoot     = iota
	fidDir      // /dir
	fidList     // /dir, open
	fidFile     // /dir/parked: its slivers 0 to 2 are on tape only, 3 is in the cache
	fidOpen     // the same, open
	fidResident // /dir/resident, open
	fidTape     // /dir/tape, on tape only, open
	fidMine     // a directory of this connection
	fidSpare
	fidSpare2
)

// names of tags that wait for tape.
const (
	tagParked  = 100
	tagFlushed = 101
	tagHalf    = 102 // and 103
)

// operation is done rounds times, i counts them.
type operation struct {
	name string
	do   func(c *conn, i int)
}

// operations are all kinds of requests, on the file whose sliver is waited for
// wherever that is possible.
var operations = []operation{
	{"getattr", func(c *conn, _ int) { c.size(fidFile) }},
	{"walk", func(c *conn, _ int) {
		c.walk(fidRoot, fidSpare, "dir", "parked")
		c.clunk(fidSpare)
	}},
	{"open", func(c *conn, i int) {
		c.open(fidSpare, []p9.OpenFlags{p9.ReadOnly, p9.WriteOnly, p9.ReadWrite}[i%3], "dir", "parked")
		c.clunk(fidSpare)
	}},
	{"create", func(c *conn, i int) {
		c.create(fidSpare, fidMine, fmt.Sprintf("created%d", i), 0o644)
		c.clunk(fidSpare)
	}},
	{"read of a resident file", func(c *conn, i int) {
		if p := c.read(fidResident, uint64(i), 4096); len(p) != 4096 {
			c.t.Fatalf("%d bytes", len(p))
		}
	}},
	{"read of a resident sliver of the parked file", func(c *conn, i int) {
		if p := c.read(fidOpen, 3<<20+uint64(i), 4096); len(p) != 4096 {
			c.t.Fatalf("%d bytes", len(p))
		}
	}},
	{"write to a resident file", func(c *conn, i int) { c.writeAt(fidResident, uint64(i)*512, make([]byte, 4096)) }},
	{"write to a resident sliver of the parked file", func(c *conn, i int) { c.writeAt(fidOpen, 3<<20+uint64(i)*512, make([]byte, 4096)) }},
	{"readdir", func(c *conn, _ int) {
		if p, err := wire.ParseData(c.ok(&wire.MsgTreaddir{Fid: fidList, Count: 8192})); err != nil || len(p) == 0 {
			c.t.Fatalf("%d bytes, %v", len(p), err)
		}
	}},
	{"setattr", func(c *conn, i int) {
		c.ok(&wire.MsgTsetattr{Fid: fidFile, Valid: wire.SetMode | wire.SetMtime | wire.SetMtimeTo,
			Attr: p9.SetAttr{Permissions: p9.FileMode(0o600 + i%8), MTimeSeconds: uint64(i)}})
	}},
	{"truncate of another file on tape", func(c *conn, i int) {
		c.ok(&wire.MsgTsetattr{Fid: fidTape, Valid: wire.SetSize, Attr: p9.SetAttr{Size: uint64(2<<20 - i*1001%(1<<20))}})
	}},
	{"truncate of the parked file", func(c *conn, i int) { // behind the sliver that is waited for
		c.ok(&wire.MsgTsetattr{Fid: fidOpen, Valid: wire.SetSize, Attr: p9.SetAttr{Size: uint64(4<<20 - i*1001%(1<<20))}})
	}},
	{"setxattr", func(c *conn, i int) {
		value := fmt.Appendf(nil, "value %d", i)
		c.walk(fidFile, fidSpare)
		c.ok(&wire.MsgTxattrcreate{Fid: fidSpare, Name: []byte("user.e2e"), Size: uint64(len(value))})
		c.writeAt(fidSpare, 0, value)
		c.clunk(fidSpare)
	}},
	{"getxattr", func(c *conn, i int) {
		var r wire.MsgRxattrwalk
		name := []string{"user.sliod.state", "user.e2e", "", "user.sliod.volumes"}[i%4]
		c.into(&wire.MsgTxattrwalk{Fid: fidFile, NewFid: fidSpare, Name: []byte(name)}, &r)
		if p := c.read(fidSpare, 0, 4096); uint64(len(p)) != r.Size || r.Size == 0 {
			c.t.Fatalf("%s has %d bytes of %d", name, len(p), r.Size)
		}
		c.clunk(fidSpare)
	}},
	{"statfs", func(c *conn, _ int) { c.ok(&wire.MsgTstatfs{Fid: fidFile}) }},
	{"fsync", func(c *conn, i int) { c.ok(&wire.MsgTfsync{Fid: []uint32{fidOpen, fidResident}[i%2]}) }},
	{"lock", func(c *conn, i int) {
		for _, typ := range []uint8{1, 2} { // a write lock, and away with it
			var r wire.MsgRlock
			c.into(&wire.MsgTlock{Fid: fidOpen, LockType: typ, Start: uint64(i), Length: 10, ProcID: 7, ClientID: []byte("e2e")}, &r)
			if r.Status != wire.LockSuccess {
				c.t.Fatalf("lock of type %d: status %d", typ, r.Status)
			}
		}
	}},
	{"getlock", func(c *conn, _ int) {
		c.ok(&wire.MsgTgetlock{Fid: fidOpen, LockType: 2, ProcID: 8, ClientID: []byte("e2e")})
	}},
	{"rename in the same directory", func(c *conn, i int) {
		names := [2][]byte{[]byte("parked"), []byte("renamed")}
		c.ok(&wire.MsgTrenameat{OldDir: fidDir, OldName: names[i%2], NewDir: fidDir, NewName: names[(i+1)%2]})
	}},
	{"rename to another directory", func(c *conn, i int) {
		names := [2][]byte{[]byte("parked"), []byte("renamed")}
		dirs := [2]uint32{fidDir, fidMine}
		c.ok(&wire.MsgTrenameat{OldDir: dirs[i%2], OldName: names[i%2], NewDir: dirs[(i+1)%2], NewName: names[(i+1)%2]})
	}},
	{"link and unlink", func(c *conn, i int) {
		c.ok(&wire.MsgTlink{Dir: fidMine, Fid: fidFile, Name: []byte("link")})
		c.ok(&wire.MsgTunlinkat{Dir: fidMine, Name: []byte("link")})
	}},
	{"unlink", func(c *conn, i int) { c.ok(&wire.MsgTunlinkat{Dir: fidMine, Name: fmt.Appendf(nil, "created%d", i)}) }},
	{"remove", func(c *conn, i int) {
		c.create(fidSpare, fidMine, "removed", 0o600)
		c.ok(&wire.MsgTremove{Fid: fidSpare})
	}},
	{"mkdir and rmdir", func(c *conn, i int) {
		c.ok(&wire.MsgTmkdir{Dir: fidMine, Name: []byte("sub"), Mode: 0o755})
		c.ok(&wire.MsgTunlinkat{Dir: fidMine, Name: []byte("sub"), Flags: 0x200})
	}},
	{"symlink and readlink", func(c *conn, i int) {
		name := fmt.Sprintf("symlink%d", i)
		c.ok(&wire.MsgTsymlink{Dir: fidMine, Name: []byte(name), Target: []byte("../parked")})
		c.walk(fidMine, fidSpare, name)
		c.ok(&wire.MsgTreadlink{Fid: fidSpare})
		c.clunk(fidSpare)
	}},
	{"mknod", func(c *conn, i int) {
		c.ok(&wire.MsgTmknod{Dir: fidMine, Name: fmt.Appendf(nil, "fifo%d", i), Mode: p9.ModeNamedPipe | 0o600})
	}},
	{"attach", func(c *conn, _ int) {
		c.ok(&wire.MsgTattach{Fid: fidSpare, Afid: wire.NoFid, Uname: []byte("root"), NUname: wire.NoUname, Aname: []byte("/dir")})
		c.clunk(fidSpare)
	}},
	{"flush of nothing", func(c *conn, i int) { c.ok(&wire.MsgTflush{OldTag: uint16(1000 + i)}) }},
	{"flush of a parked read", func(c *conn, i int) {
		c.park(tagFlushed, "a read that is flushed", &wire.MsgTread{Fid: fidOpen, Offset: uint64(i), Count: 4096})
		c.cancel(tagFlushed)
	}},
	{"flush of a parked write", func(c *conn, i int) {
		c.parkWrite(tagFlushed, "a write that is flushed", fidOpen, uint64(100+i), []byte("must never be seen"))
		c.cancel(tagFlushed)
	}},
	{"open and unlink of the parked file's other name", func(c *conn, i int) {
		c.ok(&wire.MsgTlink{Dir: fidMine, Fid: fidFile, Name: []byte("link")})
		c.walk(fidMine, fidSpare, "link")
		c.ok(&wire.MsgTlopen{Fid: fidSpare, Flags: p9.ReadWrite})
		c.ok(&wire.MsgTunlinkat{Dir: fidMine, Name: []byte("link")})
		c.ok(&wire.MsgTfsync{Fid: fidSpare})
		c.clunk(fidSpare)
	}},
}

// setUp gives the connection its fids.
func (c *conn) setUp(mine string) {
	c.t.Helper()
	c.doing = "set up"
	c.walk(fidRoot, fidDir, "dir")
	c.open(fidList, p9.ReadOnly, "dir")
	c.walk(fidRoot, fidFile, "dir", "parked")
	c.open(fidOpen, p9.ReadWrite, "dir", "parked")
	c.open(fidResident, p9.ReadWrite, "dir", "resident")
	c.open(fidTape, p9.ReadWrite, "dir", "tape")
	c.ok(&wire.MsgTmkdir{Dir: fidRoot, Name: []byte(mine), Mode: 0o755})
	c.walk(fidRoot, fidMine, mine)
}

// TestNothingWaits has a read wait for a library with a real one's times. All other
// operations are done meanwhile, on the connection of that read and on another, and
// none may wait for it: the read is still parked at the end, when it is cancelled.
func TestNothingWaits(t *testing.T) {
	dir := stateDir(t)
	s := start(t, dir, settings{})
	want := content(1, 4*sliver.Size)
	c := dial(t, s)
	c.ok(&wire.MsgTmkdir{Dir: fidRoot, Name: []byte("dir"), Mode: 0o755})
	c.walk(fidRoot, fidDir, "dir")
	for _, name := range []string{"parked", "tape"} {
		c.create(fidSpare, fidDir, name, 0o644)
		c.writeAt(fidSpare, 0, want)
		c.clunk(fidSpare)
	}
	s.toTape("/dir")
	s.stop()

	s = start(t, dir, settings{speed: "0.01"}) // real drives might be done before a slow machine is
	if st := s.status(); st.Cache.UsedBytes != 0 {
		t.Errorf("%d bytes are in the cache", st.Cache.UsedBytes)
	}
	c = dial(t, s)
	c.walk(fidRoot, fidDir, "dir")
	c.create(fidSpare, fidDir, "resident", 0o644)
	c.writeAt(fidSpare, 0, content(2, sliver.Size))
	c.clunk(fidSpare)
	// Writes that cover what is there need no tape: sliver 3 is in the cache then.
	c.open(fidSpare, p9.ReadWrite, "dir", "parked")
	c.doing = "write of a whole sliver"
	c.writeWhole(fidSpare, 3, content(3, sliver.Size))
	c.clunk(fidSpare)

	same, other := dial(t, s), dial(t, s)
	same.setUp("same")
	other.setUp("other")
	same.park(tagParked, "the read that needs the tape", &wire.MsgTread{Fid: fidOpen, Count: 4096})
	for _, c := range []struct {
		name string
		*conn
	}{{"same connection", same}, {"another connection", other}} {
		for _, op := range operations {
			c.doing = op.name + ", " + c.name
			for i := range rounds {
				op.do(c.conn, i)
			}
		}
	}
	// All is done, and the read still waits.
	same.doing = "the end"
	if st := s.status(); st.Parked != 1 || st.FaultsDone != 0 || st.Tape.ReadBytes > 1<<20 {
		t.Errorf("at the end: %d parked requests, %d faults done, %d bytes read from tape; want 1 parked and nothing from tape",
			st.Parked, st.FaultsDone, st.Tape.ReadBytes)
	}
	same.cancel(tagParked)
	if st := s.status(); st.Parked != 0 {
		t.Errorf("%d parked requests after the flush", st.Parked)
	}
	if err := s.proc.Kill(); err == nil {
		t.Error("the server ended before it was killed")
	}

	// What was flushed has not happened, and nothing else has changed what is on tape.
	s = start(t, dir, settings{})
	c = dial(t, s)
	c.doing = "the parked file"
	c.open(fidOpen, p9.ReadOnly, "dir", "parked")
	if got := c.readAll(fidOpen); len(got) < 3*sliver.Size || !bytes.Equal(got[:3*sliver.Size], want[:3*sliver.Size]) {
		t.Errorf("the first 3 slivers of the parked file are not what they were; %d bytes in all", len(got))
	}
	s.stop()
}

// writeWhole writes all bytes of a sliver that is on tape, in two messages at the
// same time, so that nothing of the old content is needed.
func (c *conn) writeWhole(fid uint32, no int, p []byte) {
	c.t.Helper()
	half := len(p) / 2
	for i, part := range [][]byte{p[:half], p[half:]} {
		c.write(append(wire.AppendTwrite(nil, tagHalf+uint16(i), fid, uint64(no*sliver.Size+i*half), len(part)), part...))
	}
	for range 2 {
		h, body, err := c.receive()
		var r wire.MsgRwrite
		if err != nil || h.Type != wire.Rwrite || h.Tag&^1 != tagHalf || c.c.Decode(body, &r) != nil || int(r.Count) != half {
			c.t.Fatalf("%s: got %v for tag %d, %d bytes, %v", c.doing, h.Type, h.Tag, r.Count, err)
		}
	}
}
