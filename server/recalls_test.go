package server

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/sirupsen/logrus"

	"sliod/export"
	"sliod/server/wire"
)

// clock is a clock that stands still until told.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}

// recallEnv is a server of files f0 to f9 of 10 bytes, which are on tape, with a rule
// for the export x and another for those who use none. Root may attach as anybody.
func recallEnv(t *testing.T, rule, local export.Recall) (*env, *clock) {
	t.Helper()
	e := newEnv(t, func(c *Config) {
		c.Exports = []export.Export{{Name: "x", Attach: "x", Path: "/", Networks: networks(t, "unix"), Map: export.AsIs, Recall: rule}}
		c.Recall = local
		c.Identify = func(net.Conn) (Peer, error) { return peerRoot, nil }
	})
	clock := &clock{now: time.Unix(1e9, 0)}
	e.s.cfg.Recalls.now = clock.Now
	for i := range 10 {
		f := e.fs.add(fmt.Sprint("f", i), []byte("0123456789"))
		e.fs.with(func() { f.mode |= 0o777 })
		f.setAbsent(true)
	}
	return e, clock
}

// as connects as a user of the tree aname.
func (e *env) as(aname string, uid uint32) *client {
	e.t.Helper()
	c := e.raw()
	c.version(1 << 20)
	c.ok(1, attachAs(0, aname, uid))
	return c
}

// recalls reads a file, and says what it got: 0 if the request is parked. It is given
// up then.
func (e *env) recalls(c *client, i int) linux.Errno {
	e.t.Helper()
	fid := uint32(100 + i)
	c.open(fid, fmt.Sprint("f", i), p9.ReadWrite)
	defer c.ok(3, &wire.MsgTclunk{Fid: fid})
	c.send(20, &wire.MsgTread{Fid: fid, Count: 5})
	c.send(21, &wire.MsgTflush{OldTag: 20})
	h, body := c.recv()
	if h.Tag == 21 {
		return 0
	}
	c.want(21, wire.Rflush)
	var r wire.MsgRlerror
	if err := new(wire.Codec).Decode(body, &r); h.Type != wire.Rlerror || err != nil {
		e.t.Fatalf("%v of a read: %v", h.Type, err)
	}
	return linux.Errno(r.Errno)
}

// TestRecallRules is the table of rules against users: how many of ten files each may
// bring before a refusal, and which.
func TestRecallRules(t *testing.T) {
	for _, x := range []struct {
		name  string
		rule  export.Recall
		aname string
		uid   uint32
		may   int
		errno linux.Errno
	}{
		{"allow", export.Recall{Mode: export.RecallAllow}, "x", 1000, 10, 0},
		{"nothing said", export.Recall{}, "x", 1000, 10, 0},
		{"deny", export.Recall{Mode: export.RecallDeny, Error: "EACCES"}, "x", 1000, 0, linux.EACCES},
		{"deny, error by default", export.Recall{Mode: export.RecallDeny}, "x", 1000, 0, linux.EAGAIN},
		{"files", export.Recall{Mode: export.RecallLimit, Files: 3, Error: "EIO"}, "x", 1000, 3, linux.EIO},
		{"bytes", export.Recall{Mode: export.RecallLimit, Bytes: 45, Error: "EAGAIN"}, "x", 1000, 4, linux.EAGAIN},
		{"both", export.Recall{Mode: export.RecallLimit, Files: 8, Bytes: 25}, "x", 1000, 2, linux.EAGAIN},
		{"a user who may", export.Recall{Mode: export.RecallDeny, Users: []string{"1001=deny", "1000=allow"}}, "x", 1000, 10, 0},
		{"a user who may not", export.Recall{Mode: export.RecallAllow, Users: []string{"1000=deny"}}, "x", 1000, 0, linux.EAGAIN},
		{"another user", export.Recall{Mode: export.RecallAllow, Users: []string{"1000=deny"}}, "x", 1001, 10, 0},
		{"by name", export.Recall{Mode: export.RecallAllow, Users: []string{"root=limit"}, Files: 1}, "x", 0, 1, linux.EAGAIN},
		{"without an export", export.Recall{Mode: export.RecallDeny}, "", 1000, 10, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			e, _ := recallEnv(t, x.rule, export.Recall{})
			c := e.as(x.aname, x.uid)
			for i := range 10 {
				want := linux.Errno(0)
				if i >= x.may {
					want = x.errno
				}
				if got := e.recalls(c, i); got != want {
					t.Fatalf("file %d: %v, want %v", i, got, want)
				}
			}
		})
	}
}

// TestRecallLimitOfAnInterval: each user has his own interval, over all connections; a
// file that was counted may go on, what is on its way is not refused, and after the
// interval all begins anew. Each user and interval has one line in the log.
func TestRecallLimitOfAnInterval(t *testing.T) {
	e, clock := recallEnv(t, export.Recall{Mode: export.RecallLimit, Files: 2, Per: time.Hour}, export.Recall{Mode: export.RecallDeny})
	alice, again, bob := e.as("x", 1000), e.as("x", 1000), e.as("x", 1001)
	want := func(c *client, i int, want linux.Errno) {
		t.Helper()
		if got := e.recalls(c, i); got != want {
			t.Fatalf("file %d: %v, want %v", i, got, want)
		}
	}
	want(alice, 0, 0)
	want(again, 1, 0)
	want(alice, 2, linux.EAGAIN)
	want(again, 2, linux.EAGAIN)
	want(alice, 0, 0) // counted already
	want(bob, 2, 0)

	// Bob waits for file 3: whoever else wants it waits with him.
	bob.open(1, "f3", p9.ReadOnly)
	bob.send(20, readReq(4))
	bob.sync()
	want(alice, 3, 0)
	alice.open(2, "f3", p9.ReadWrite)
	alice.sendWrite(30, 2, 0, []byte("AB"))
	alice.sync()
	e.fs.files["f3"].deliver(nil)
	bob.want(20, wire.Rread)
	alice.want(30, wire.Rwrite)
	want(alice, 4, linux.EAGAIN)

	// What is in the cache is nobody's recall.
	e.fs.files["f4"].setAbsent(false)
	alice.open(4, "f4", p9.ReadWrite)
	alice.ok(31, &wire.MsgTread{Fid: 4, Count: 3})
	// A part of what is not is refused for a write too, and nothing is queued.
	alice.open(5, "f5", p9.ReadWrite)
	alice.sendWrite(32, 5, 3, []byte("AB"))
	alice.wantErr(32, linux.EAGAIN)
	if n := e.fs.files["f5"].parked(); n != 0 {
		t.Errorf("%d requests wait for a file that was refused", n)
	}

	if n := strings.Count(e.log.String(), "is refused for user 1000 ([export.x]): the limit of 2 files is reached"); n != 1 {
		t.Errorf("%d lines in the log:\n%s", n, e.log)
	}
	clock.advance(59 * time.Minute)
	want(alice, 6, linux.EAGAIN)
	clock.advance(time.Minute)
	want(alice, 6, 0)
	want(alice, 7, 0)
	want(alice, 8, linux.EAGAIN)
	if n := strings.Count(e.log.String(), "is refused for user 1000"); n != 2 {
		t.Errorf("%d lines in the log:\n%s", n, e.log)
	}

	// A local peer without an export has the other rule.
	local := e.as("", 1000)
	want(local, 9, linux.EAGAIN)
	if !strings.Contains(e.log.String(), "is refused for user 1000 (without an export): recalls are denied") {
		t.Errorf("%s", e.log)
	}
}

// TestRecallUsersAreBounded: the counts of users whose interval is over are forgotten.
func TestRecallUsersAreBounded(t *testing.T) {
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	clock := &clock{now: time.Unix(1e9, 0)}
	r := NewRecalls(logrus.NewEntry(quiet))
	r.now = clock.Now
	rule := &export.Recall{Mode: export.RecallDeny, Per: time.Minute}
	for uid := range uint32(maxRecallUsers + 100) {
		if g := r.Gate(rule, "x", 1<<20+uid); g.Recall(1, 1) == nil {
			t.Fatal("not refused")
		}
		clock.advance(time.Second)
	}
	// Within one interval those beyond the bound are counted together.
	limit := &export.Recall{Mode: export.RecallLimit, Files: 1, Per: time.Hour}
	for uid := range uint32(2*maxRecallUsers + 100) {
		err := r.Gate(limit, "y", 1<<20+uid).Recall(uint64(uid), 1)
		if uid < maxRecallUsers/2 && err != nil {
			t.Fatal(err)
		}
		if uid > 2*maxRecallUsers && err == nil {
			t.Fatal("many users have many limits")
		}
	}
	if len(r.users) > maxRecallUsers+2 {
		t.Errorf("%d users are counted", len(r.users))
	}
}
