package server

import (
	"bytes"
	"runtime"
	"testing"
	"unsafe"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"sliod/backend/vfs"
	"sliod/server/wire"
)

// parkedEnv has a file "f" that is not here, open as fid 1.
func parkedEnv(t testing.TB) (*env, *memFile, *client) {
	e := newEnv(t)
	f := e.fs.add("f", []byte("0123456789"))
	f.setAbsent(true)
	c := e.dial()
	c.open(1, "f", p9.ReadWrite)
	return e, f, c
}

func readReq(count uint32) *wire.MsgTread { return &wire.MsgTread{Fid: 1, Count: count} }

func TestParkedRequestsAreAnsweredWhenDelivered(t *testing.T) {
	e, f, c := parkedEnv(t)
	c.send(20, readReq(4))
	c.sync()
	f.deliver(nil)
	if p, err := wire.ParseData(c.want(20, wire.Rread)); string(p) != "0123" || err != nil {
		t.Fatal(p, err)
	}
	f.setAbsent(true)
	c.sendWrite(21, 1, 0, []byte("ABC"))
	c.sync()
	f.deliver(nil)
	if b := c.want(21, wire.Rwrite); b[0] != 3 {
		t.Fatal(b)
	}
	e.fs.with(func() { f.stuck = true })
	c.send(22, &wire.MsgTfsync{Fid: 1})
	c.sync()
	f.deliver(nil)
	c.want(22, wire.Rfsync)
}

func TestFailedFaultAnswersEveryWaiter(t *testing.T) {
	_, f, c := parkedEnv(t)
	c.send(20, readReq(4))
	c.sendWrite(21, 1, 0, []byte("ABC"))
	c.sync()
	f.deliver(linux.EIO)
	c.wantErr(20, linux.EIO)
	c.wantErr(21, linux.EIO)
	c.send(22, readReq(4)) // it is not sticky
	c.sync()
	f.deliver(nil)
	c.want(22, wire.Rread)
}

func TestCompletionBeforeTheCallReturns(t *testing.T) {
	e, f, c := parkedEnv(t)
	e.fs.with(func() { f.early = true })
	c.sendWrite(20, 1, 0, []byte("AB"))
	c.want(20, wire.Rwrite)
	e.fs.with(func() { f.early = true }) // the read is repeated at once, and parks again
	c.send(21, readReq(4))
	c.sync()
	for f.parked() == 0 {
		runtime.Gosched()
	}
	f.deliver(nil)
	c.want(21, wire.Rread)
}

func TestReadParksAgain(t *testing.T) {
	_, f, c := parkedEnv(t)
	c.send(20, readReq(4))
	c.sync()
	for range 5 {
		w := f.take()
		w.Waker.Wake(0, nil)
		for f.parked() == 0 {
			runtime.Gosched()
		}
	}
	f.deliver(nil)
	c.want(20, wire.Rread)
}

func TestErrnoAndSizeThatEqualACode(t *testing.T) {
	// A tree's EAGAIN is an error like others, and no number means "parked".
	e, f, c := parkedEnv(t)
	f.setAbsent(false)
	for _, errno := range []linux.Errno{linux.EAGAIN, linux.EINPROGRESS, linux.EINTR} {
		e.fs.with(func() { f.fail = errno })
		c.err(readReq(4), errno)
	}
	e.fs.with(func() { f.fail = nil })
	for _, n := range []int{11, 35, 115, 512} {
		e.fs.with(func() { f.data = make([]byte, n) })
		if got := len(c.read(1, 1, 0, 4096)); got != n {
			t.Errorf("read %d of %d", got, n)
		}
		if got := c.write(1, 1, 0, make([]byte, n)); got != n {
			t.Errorf("wrote %d of %d", got, n)
		}
	}
}

func TestStateOfAnEarlierRequestIsNotUsedAgain(t *testing.T) {
	_, f, c := parkedEnv(t)
	c.send(20, readReq(4))
	c.sync()
	old := f.take()
	wake(old, nil)
	c.send(21, readReq(8)) // another object, though the first has been woken
	c.sync()
	f.deliver(nil)
	got := map[uint16]int{}
	for range 2 {
		h, b := c.recv()
		got[h.Tag] = len(b) - 4
	}
	if got[20] != 4 || got[21] != 8 {
		t.Fatal(got)
	}
	old.Waker.Wake(3, linux.EIO) // a second wake is ignored
	c.sync()
}

func TestFlushCancelsAParkedRequest(t *testing.T) {
	_, f, c := parkedEnv(t)
	c.send(20, readReq(4))
	c.sendWrite(21, 1, 0, []byte("ABC"))
	c.sync()
	c.ok(30, &wire.MsgTflush{OldTag: 21})
	c.ok(31, &wire.MsgTflush{OldTag: 20})
	if f.parked() != 0 {
		t.Fatal("still parked")
	}
	f.deliver(nil)
	c.send(20, readReq(2)) // the tags are free; nothing came for their old requests
	c.want(20, wire.Rread)
}

func TestFlushOfUnknownAnsweredAndSelf(t *testing.T) {
	_, _, c := parkedEnv(t)
	c.ok(30, &wire.MsgTflush{OldTag: 999})
	c.ok(30, &wire.MsgTflush{OldTag: 30})
	c.ok(30, &wire.MsgTflush{OldTag: 1})
}

func TestFlushOfAWriteWhoseWakeIsOnTheWay(t *testing.T) {
	_, f, c := parkedEnv(t)
	c.sendWrite(20, 1, 0, []byte("ABC"))
	c.sync()
	w := f.take()
	c.send(30, &wire.MsgTflush{OldTag: 20})
	c.send(31, &wire.MsgTflush{OldTag: 30}) // a flush of the flush
	c.send(32, &wire.MsgTflush{OldTag: 20})
	c.sync()
	wake(w, nil)
	c.want(20, wire.Rwrite) // it has happened: answer, then Rflush
	c.want(30, wire.Rflush)
	c.want(31, wire.Rflush)
	c.want(32, wire.Rflush)
}

func TestFlushOfAReadWhoseWakeIsOnTheWay(t *testing.T) {
	_, f, c := parkedEnv(t)
	c.send(20, readReq(4))
	c.sync()
	w := f.take()
	c.send(30, &wire.MsgTflush{OldTag: 20})
	c.sync()
	wake(w, nil)
	c.want(30, wire.Rflush)
	c.sync() // and no Rread
}

func TestFlushOfAReadThatIsRepeated(t *testing.T) {
	for _, parks := range []bool{false, true} {
		e, f, c := parkedEnv(t)
		entered, leave := make(chan struct{}), make(chan struct{})
		c.send(20, readReq(4))
		c.sync()
		e.fs.with(func() { e.fs.onRead = func() { entered <- struct{}{}; <-leave } })
		f.setAbsent(parks)
		wake(f.take(), nil)
		<-entered
		e.fs.with(func() { e.fs.onRead = nil })
		c.send(30, &wire.MsgTflush{OldTag: 20})
		c.ok(31, &wire.MsgTgetattr{Fid: 1})
		close(leave)
		if !parks {
			c.want(20, wire.Rread)
		}
		c.want(30, wire.Rflush)
		if f.parked() != 0 {
			t.Error("still parked")
		}
		c.sync()
	}
}

func TestDisconnectCancelsEverything(t *testing.T) {
	e, f, c := parkedEnv(t)
	for tag := range uint16(50) {
		c.send(100+tag, readReq(4))
	}
	c.sync()
	on := f.take()
	if err := c.nc.Close(); err != nil {
		t.Fatal(err)
	}
	for f.parked() > 0 {
		runtime.Gosched()
	}
	wake(on, nil) // the last wake lets the connection end
	if err := e.s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestClunkAnswersAtOnceAndKeepsTheFileOpen(t *testing.T) {
	e, f, c := parkedEnv(t)
	c.send(20, readReq(4))
	c.sendWrite(21, 1, 0, []byte("AB"))
	c.sync()
	c.ok(1, &wire.MsgTclunk{Fid: 1})
	if _, opens, _ := e.fs.leaks(); opens != 1 {
		t.Fatalf("%d open files", opens)
	}
	f.deliver(nil)
	c.want(20, wire.Rread)
	c.want(21, wire.Rwrite)
	c.sync()
	for {
		if _, opens, _ := e.fs.leaks(); opens == 0 {
			break
		}
		runtime.Gosched()
	}
}

func TestCloseDropsParkedAndAnswersTheRest(t *testing.T) {
	e, f, c := parkedEnv(t)
	c.send(20, readReq(4))
	c.sync()
	c.send(21, &wire.MsgTgetattr{Fid: 1})
	if err := e.s.Close(); err != nil {
		t.Fatal(err)
	}
	if h, _, err := c.tryRecv(); err == nil && h.Tag != 21 {
		t.Errorf("%v for tag %d", h.Type, h.Tag)
	} else if err == nil {
		c.closed()
	}
	if f.parked() != 0 {
		t.Error("still parked")
	}
}

func TestBufferIsNotChangedWhileTheReplyIsSent(t *testing.T) {
	// The pin is held until the bytes are in the socket, and given back then.
	e := newEnv(t)
	f := e.fs.add("f", bytes.Repeat([]byte("a"), 1<<20))
	c := e.dial()
	c.open(1, "f", p9.ReadOnly)
	const first, n = 20, 8 * sendBuffer >> 19 // far more than the socket holds
	for i := range uint16(n) {
		c.send(first+i, readReq(1<<19))
	}
	for calls := 0; calls < n; runtime.Gosched() { // all are served, and the socket holds two or three of the replies
		e.fs.with(func() { calls = f.calls })
	}
	_, _, err := c.tryRecv()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, pins := e.fs.leaks(); pins == 0 {
		t.Error("most of the data is still to be sent, and nothing is pinned")
	}
	for i := range uint16(n - 1) {
		c.want(first+1+i, wire.Rread)
	}
	for {
		if _, _, pins := e.fs.leaks(); pins == 0 {
			break
		}
		runtime.Gosched()
	}
}

func TestParkedRequestsAreCheap(t *testing.T) {
	const n = 10000
	_, f, c := parkedEnv(t)
	measure := func() (int, uint64) {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return runtime.NumGoroutine(), m.HeapAlloc
	}
	g0, h0 := measure()
	var out []byte
	for i := range uint16(n) {
		out = c.c.Append(out, 1000+i, readReq(1<<20))
	}
	c.bytes(out)
	c.sync()
	out = nil
	g1, h1 := measure()
	if f.parked() != n {
		t.Fatalf("%d parked", f.parked())
	}
	each := (int64(h1) - int64(h0)) / n
	t.Logf("%d goroutines more, %d bytes each, request object %d bytes", g1-g0, each, unsafe.Sizeof(request{}))
	if g1-g0 >= 100 || each > 4096 {
		t.Errorf("%d goroutines more, %d bytes each", g1-g0, each)
	}
	f.deliver(nil)
	for range n {
		c.recv()
	}
}

func TestRequestObjectIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(request{}); n > 320 {
		t.Errorf("a request has %d bytes", n)
	}
	var _ vfs.Waker = (*request)(nil)
}
