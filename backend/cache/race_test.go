package cache

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cespare/xxhash/v2"
	"github.com/hugelgupf/p9/linux"
	"golang.org/x/sys/unix"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// slash2: completion arrives before the waiter is registered.
func TestSlash2CompletionBeforeWaiterIsRegistered(t *testing.T) {
	c, r := open(t)
	tape := pattern(1, 1000)
	r.onFault = func(k sliver.Key, seq uint64) { deliver(t, c, k, seq, tape) }
	a := parkRead(t, c, k0, absent(1000))
	if x := a.got(t); x.err != nil || x.n != 0 {
		t.Fatal(x)
	}
	k := sliver.Key{File: 5, No: 1}
	// And while the bytes of a write are being copied: the last copy ends the fault.
	inCopy := false
	c.st.arena.fail = func(op string, off, n int64) error {
		if n == 77 && !inCopy {
			inCopy = true
			seq, _ := c.Want(k, Behind{}, vfs.Client)
			deliver(t, c, k, seq, tape)
			if alive, _, _ := c.FaultWanted(k, seq); alive {
				t.Error("a delivered fault is still wanted")
			}
			if err := c.Deliver(k, seq, tape, 1, 1); err != ErrStale {
				t.Errorf("second delivery: %v", err)
			}
			c.Fail(k, seq, linux.EIO) // too late: changes nothing
		}
		return nil
	}
	r.onFault = nil
	w := newAnswer()
	n, err := c.Write(k, absent(1000), 100, pattern(7, 77), &w.Waiter)
	if n != 77 || err != nil || !inCopy {
		t.Fatal(n, err, inCopy)
	}
	w.none(t)
	want := bytes.Clone(tape)
	copy(want[100:], pattern(7, 77))
	if !bytes.Equal(mustRead(t, c, k, 0, 1000), want) {
		t.Fatal("content")
	}
}

// slash2: wrong buffer offset in a multi-part I/O; and overlapping writes.
func TestSlash2MergeOffsetsAndOverlaps(t *testing.T) {
	c, r := open(t)
	tape := make([]byte, 5000)
	for i := range tape {
		tape[i] = byte(i * 7)
	}
	b := absent(len(tape))
	want := bytes.Clone(tape)
	want = append(want, make([]byte, 4000)...)
	w1 := parkWrite(t, c, k0, b, 4000, pattern(1, 100))
	w2 := parkWrite(t, c, k0, b, 10, pattern(2, 100))
	w3 := parkWrite(t, c, k0, b, 50, pattern(3, 3000)) // overlaps w2
	w4 := parkWrite(t, c, k0, b, 300, pattern(4, 20))  // overlaps what is kept of w3
	w5 := parkWrite(t, c, k0, b, 7000, pattern(5, 1000))
	rd := parkRead(t, c, k0, b)
	deliver(t, c, k0, r.lastFault(), tape)
	for i, x := range []struct {
		a *answer
		n int
	}{{w1, 100}, {w2, 100}, {w3, vfs.MaxPrefix}, {w4, 20}, {w5, 1000}, {rd, 0}} {
		if g := x.a.got(t); g.n != x.n || g.err != nil {
			t.Errorf("waiter %d: %+v, want %d", i, g, x.n)
		}
	}
	copy(want[4000:], pattern(1, 100))
	copy(want[10:], pattern(2, 100))
	copy(want[50:], pattern(3, vfs.MaxPrefix))
	copy(want[300:], pattern(4, 20))
	copy(want[7000:], pattern(5, 1000))
	if got := mustRead(t, c, k0, 0, 9000); !bytes.Equal(got, want) {
		t.Fatal("content is wrong")
	}
	var ends []int
	for _, m := range r.merged {
		ends = append(ends, m.end)
	}
	if len(ends) != 5 || ends[3] != 50+vfs.MaxPrefix || ends[4] != 320 {
		t.Fatalf("merged: %v", ends)
	}
}

// slash2: a transient error pins a sliver for ever; EIO during a fault.
func TestSlash2ErrorIsNotSticky(t *testing.T) {
	c, r := open(t)
	rd, wr := parkRead(t, c, k0, absent(100)), parkWrite(t, c, k0, absent(100), 5, []byte("x"))
	c.Fail(k0, r.lastFault(), linux.EIO)
	if rd.got(t).err != linux.EIO || wr.got(t).err != linux.EIO {
		t.Fatal("error lost")
	}
	if len(r.merged) > 0 || c.Stats().UsedBytes != 0 {
		t.Fatal("a failed write has left something")
	}
	again := parkRead(t, c, k0, absent(100))
	deliver(t, c, k0, r.lastFault(), pattern(3, 100))
	if again.got(t).err != nil || mustRead(t, c, k0, 0, 1)[0] != 3 {
		t.Fatal("second try")
	}
}

// slash2: the cache disk fails under a delivery or a staged write.
func TestSlash2DiskErrorAnswersEverybody(t *testing.T) {
	c, r := open(t)
	rd := parkRead(t, c, k0, absent(100))
	c.st.arena.fail = func(string, int64, int64) error { return unix.EIO }
	if err := c.Deliver(k0, r.lastFault(), pattern(1, 100), 1, 1); err == nil {
		t.Fatal("no error")
	}
	if rd.got(t).err == nil || c.State(k0, absent(100)) != sliver.Absent {
		t.Fatal("waiter of a fault that could not be stored")
	}
	w := newAnswer()
	if _, err := c.Write(k0, absent(100), 3, []byte("abc"), &w.Waiter); err == nil || err == vfs.ErrParked {
		t.Fatal(err)
	}
	if _, err := c.Write(k0, hole, 3, []byte("abc"), &w.Waiter); err == nil {
		t.Fatal("write to a hole on a bad disk")
	}
	c.st.arena.fail = nil
	c.DropFault(k0, r.lastFault())
	if s := c.Stats(); s.UsedBytes != 0 || s.Faulting != 0 || s.Parked != 0 {
		t.Fatalf("left over: %+v", s)
	}
}

// A write that was to cover the sliver fails while a read waits: a fault must start.
func TestFailedCoveringWriteStartsFault(t *testing.T) {
	c, r := open(t)
	var rd *answer
	c.st.arena.fail = func(op string, off, n int64) error {
		if rd == nil {
			rd = parkRead(t, c, k0, absent(100))
			return unix.EIO
		}
		return nil
	}
	w := newAnswer()
	if _, err := c.Write(k0, absent(100), 0, pattern(1, 100), &w.Waiter); err == nil {
		t.Fatal("no error")
	}
	rd.none(t)
	deliver(t, c, k0, r.lastFault(), pattern(9, 100))
	if rd.got(t).err != nil {
		t.Fatal("read")
	}
}

// slash2: N requests on one faulting sliver take all worker threads.
func TestSlash2WaitersCostNoGoroutines(t *testing.T) {
	c, r := open(t)
	before := runtime.NumGoroutine()
	var as []*answer
	for i := range 2000 {
		if i%2 == 0 {
			as = append(as, parkRead(t, c, k0, absent(sliver.Size)))
		} else {
			as = append(as, parkWrite(t, c, k0, absent(sliver.Size), i*500, pattern(1, 400)))
		}
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Fatalf("%d goroutines more", n-before)
	}
	if len(r.faults) != 1 {
		t.Fatalf("%d faults for one sliver", len(r.faults))
	}
	deliver(t, c, k0, r.lastFault(), pattern(0, sliver.Size))
	for _, a := range as {
		if g := a.got(t); g.err != nil {
			t.Fatal(g)
		}
	}
}

// slash2: the buffer changes while the reply is sent from it.
func TestSlash2PinnedBufferIsNotReused(t *testing.T) {
	for name, letGo := range map[string]func(*Cache) error{
		"evicted": func(c *Cache) error { return c.Evict(k0) },
		"dropped": func(c *Cache) error { c.Drop(k0.File, 0); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			c, r := open(t)
			parkRead(t, c, k0, absent(sliver.Size))
			deliver(t, c, k0, r.lastFault(), pattern(0xAB, sliver.Size))
			d, err := c.Read(k0, hole, 0, sliver.Size, nil)
			if err != nil {
				t.Fatal(err)
			}
			// Fill the cache, let the sliver go, fill again: the pinned bytes must stay.
			fill := func(f sliver.FileID) (full bool) {
				for i := range 300 {
					w := newAnswer()
					_, err := c.Write(sliver.Key{File: f, No: sliver.No(i)}, hole, 0, pattern(1, sliver.Size), &w.Waiter)
					if err == vfs.ErrParked {
						c.Cancel(&w.Waiter)
						return true
					}
				}
				return false
			}
			fill(6)
			if c.State(k0, absent(sliver.Size)) != sliver.Clean {
				t.Fatal("what is being read went to make room, and made none")
			}
			used := c.Stats().UsedBytes
			if err := letGo(c); err != nil || c.State(k0, absent(sliver.Size)) != sliver.Absent {
				t.Fatalf("%v while pinned: %v", name, err)
			}
			if n := c.Stats().UsedBytes; n != used {
				t.Fatalf("%d bytes are in use, not %d, while the sliver is still read", n, used)
			}
			if !fill(7) {
				t.Fatal("the cache never fills")
			}
			if !bytes.Equal(d.Bytes, pattern(0xAB, sliver.Size)) {
				t.Fatal("pinned bytes changed")
			}
			wait := parkWrite(t, c, sliver.Key{File: 8}, hole, 0, pattern(8, 2000))
			d.Release() // the last pin frees the slot, and the writer that waits gets it
			if g := wait.got(t); g.n != vfs.MaxPrefix || g.err != nil {
				t.Fatalf("waiter for space: %+v", g)
			}
		})
	}
}

// slash2: a late reclaim wipes a new generation; a file is reclaimed while a fault
// is in flight.
func TestSlash2LateFaultAfterTruncateAndRewrite(t *testing.T) {
	c, r := open(t)
	rd := parkRead(t, c, k0, absent(1000))
	st := parkWrite(t, c, k0, absent(1000), 500, pattern(5, 10))
	old := r.lastFault()
	c.Drop(k0.File, 0)
	if g := rd.got(t); g.err != nil || g.n != 0 {
		t.Fatal(g)
	}
	if g := st.got(t); g.err != nil || g.n != 10 {
		t.Fatal(g)
	}
	w := newAnswer()
	if n, err := c.Write(k0, hole, 0, []byte("new"), &w.Waiter); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	if err := c.Deliver(k0, old, pattern(1, 1000), 1, 1); err != ErrStale {
		t.Fatal(err)
	}
	c.Fail(k0, old, linux.EIO)
	if c.DropFault(k0, old) || c.Reserve(k0, old) != ErrStale {
		t.Fatal("an old fault is not over")
	}
	want := make([]byte, 600)
	copy(want, "new")
	copy(want[500:], pattern(5, 10))
	if got := mustRead(t, c, k0, 0, 600); !bytes.Equal(got, want) {
		t.Fatal("content of the new generation")
	}
	if len(r.unwanted) != 1 || r.unwanted[0] != old {
		t.Fatal("mover not told", r.unwanted)
	}
}

// A truncate or a drop in the middle of a delivery.
func TestTruncateDuringDelivery(t *testing.T) {
	for _, drop := range []bool{false, true} {
		c, r := open(t)
		st := parkWrite(t, c, k0, absent(1000), 800, pattern(5, 10))
		rd := parkRead(t, c, k0, absent(1000))
		once := false
		c.st.arena.fail = func(op string, off, n int64) error {
			if !once {
				once = true
				if c.Cancel(&st.Waiter) || c.Cancel(&rd.Waiter) {
					t.Error("cancelled in the middle of its completion")
				}
				if drop {
					c.Drop(k0.File, 0)
				} else {
					c.Truncate(k0, 100)
				}
			}
			return nil
		}
		deliver(t, c, k0, r.lastFault(), pattern(1, 1000))
		want := make([]byte, 1000)
		if !drop {
			copy(want, pattern(1, 100))
		}
		copy(want[800:], pattern(5, 10))
		if !bytes.Equal(mustRead(t, c, k0, 0, 1000), want) {
			t.Fatalf("drop %v: content", drop)
		}
		if st.got(t).n != 10 || rd.got(t).err != nil {
			t.Fatal("waiters")
		}
	}
}

// A delivery of what a truncate has cut is Clean with the sum of what is left.
func TestDeliverAfterTruncate(t *testing.T) {
	c, r := open(t)
	parkRead(t, c, k0, absent(1000))
	c.Truncate(k0, 300)
	if err := c.Deliver(k0, r.lastFault(), pattern(1, 200), 1, 1); err == nil {
		t.Fatal("a short delivery was taken")
	}
	deliver(t, c, k0, r.lastFault(), pattern(1, 1000))
	e := c.lookup(k0)
	if e.state != sliver.Clean || e.len != 300 || e.sum != xxhash.Sum64(pattern(1, 300)) {
		t.Fatal(e.state, e.len)
	}
}

// Writes that together cover all valid bytes need no tape.
func TestStagedWritesThatCoverEndTheFault(t *testing.T) {
	c, r := open(t)
	a := parkWrite(t, c, k0, absent(1000), 500, pattern(2, 700))
	rd := parkRead(t, c, k0, absent(1000))
	w := newAnswer()
	if n, err := c.Write(k0, absent(1000), 0, pattern(1, 500), &w.Waiter); n != 500 || err != nil {
		t.Fatal(n, err)
	}
	if a.got(t).n != 700 || rd.got(t).err != nil || len(r.unwanted) != 1 {
		t.Fatal("not completed")
	}
	if !bytes.Equal(mustRead(t, c, k0, 0, 1200), append(pattern(1, 500), pattern(2, 700)...)) {
		t.Fatal("content")
	}
	// Length 0 is covered by anything.
	if n, err := c.Write(sliver.Key{File: 9}, absent(0), 50, []byte("x"), &w.Waiter); n != 1 || err != nil {
		t.Fatal(n, err)
	}
}

// Cancel at each point of a parked request's life.
func TestCancelAtEachPoint(t *testing.T) {
	c, r := open(t)
	tape := pattern(1, 1000)
	st := parkWrite(t, c, k0, absent(1000), 100, pattern(2, 100))
	pre := parkWrite(t, c, k0, absent(1000), 150, pattern(3, 100))
	rd := parkRead(t, c, k0, absent(1000))
	for i, a := range []*answer{st, pre, rd} {
		if !c.Cancel(&a.Waiter) || c.Cancel(&a.Waiter) {
			t.Fatalf("cancel %d", i)
		}
	}
	if len(r.unwanted) != 1 {
		t.Fatal("nobody waits, and the mover does not know")
	}
	if c.Stats().UsedBytes != 0 {
		t.Fatal("a cancelled write holds its slot")
	}
	deliver(t, c, k0, r.lastFault(), tape) // it had begun
	if !bytes.Equal(mustRead(t, c, k0, 0, 1000), tape) || c.State(k0, hole) != sliver.Clean {
		t.Fatal("a cancelled write has happened")
	}
	for _, a := range []*answer{st, pre, rd} {
		a.none(t)
	}
	// After the wake.
	x := parkRead(t, c, sliver.Key{File: 6}, absent(10))
	deliver(t, c, sliver.Key{File: 6}, r.lastFault(), tape[:10])
	if c.Cancel(&x.Waiter) {
		t.Fatal("cancelled after the wake")
	}
	mustRead(t, c, sliver.Key{File: 6}, 0, 10)
	// Waiting for space.
	for i := range 16 {
		w := newAnswer()
		c.Write(sliver.Key{File: 7, No: sliver.No(i)}, hole, 0, pattern(1, sliver.Size), &w.Waiter)
	}
	for _, f := range []sliver.FileID{5, 6} {
		c.EvictFile(f)
	}
	w := newAnswer()
	c.Write(sliver.Key{File: 7, No: 20}, hole, 0, pattern(1, sliver.Size), &w.Waiter)
	s := parkWrite(t, c, sliver.Key{File: 8}, hole, 0, pattern(1, sliver.Size))
	if !c.Cancel(&s.Waiter) || c.Cancel(&s.Waiter) {
		t.Fatal("cancel of a write that waits for space")
	}
	if r.pressure.Load() == 0 {
		t.Fatal("no pressure")
	}
	c.Cancel(&w.Waiter)
}

// slash2: ENOSPC leaves the client without a reply.
func TestSlash2NoSpaceIsAnswered(t *testing.T) {
	c, r := open(t)
	var parked []*answer
	for i := range 20 {
		a := newAnswer()
		if _, err := c.Write(sliver.Key{File: 7, No: sliver.No(i)}, hole, 0, pattern(byte(i), sliver.Size), &a.Waiter); err == vfs.ErrParked {
			parked = append(parked, a)
		}
	}
	if len(parked) != 4 {
		t.Fatalf("%d parked", len(parked))
	}
	// A fault does not wait for those; it is told.
	rd := parkRead(t, c, k0, absent(1000))
	if err := c.Reserve(k0, r.lastFault()); err != ErrFull {
		t.Fatal(err)
	}
	// One archived sliver makes room: for small prefixes, for all of them.
	buf := make([]byte, sliver.Size)
	n, v, err := c.BeginArchive(sliver.Key{File: 7, No: 3}, buf)
	if err != nil || n != sliver.Size {
		t.Fatal(err)
	}
	if !c.EndArchive(sliver.Key{File: 7, No: 3}, v, xxhash.Sum64(buf), true) {
		t.Fatal("not clean")
	}
	for _, a := range parked {
		if g := a.got(t); g.err != nil || g.n != vfs.MaxPrefix {
			t.Fatal(g)
		}
	}
	for i := 30; ; i++ { // full again
		a := newAnswer()
		if _, err := c.Write(sliver.Key{File: 7, No: sliver.No(i)}, hole, 0, pattern(1, 4096), &a.Waiter); err == vfs.ErrParked {
			c.SetNoTapeSpace(true)
			if g := a.got(t); g.err != ErrNoSpace {
				t.Fatal(g)
			}
			if _, err := c.Write(sliver.Key{File: 8}, hole, 0, pattern(1, 4096), &a.Waiter); err != ErrNoSpace {
				t.Fatal(err)
			}
			break
		}
	}
	c.WakeAll(linux.ESHUTDOWN)
	if g := rd.got(t); g.err != linux.ESHUTDOWN {
		t.Fatal(g)
	}
	if _, err := c.Read(k0, absent(10), 0, 1, &rd.Waiter); err != linux.ESHUTDOWN {
		t.Fatalf("parks after WakeAll: %v", err)
	}
}

// slash2: eviction versus pins; just delivered slivers are not the first to go.
func TestSlash2DeliveredSliverWaitsForItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a slow machine is no reader who does not come
		c, r := open(t)
		a := parkRead(t, c, k0, absent(sliver.Size))
		deliver(t, c, k0, r.lastFault(), pattern(1, sliver.Size))
		a.got(t)
		for i := range 15 { // clean slivers that nobody waits for
			k := sliver.Key{File: 6, No: sliver.No(i)}
			seq, _ := c.Want(k, absent(sliver.Size), vfs.Client)
			deliver(t, c, k, seq, pattern(2, sliver.Size))
		}
		for i := range 8 {
			w := newAnswer()
			if _, err := c.Write(sliver.Key{File: 7, No: sliver.No(i)}, hole, 0, pattern(3, sliver.Size), &w.Waiter); err != nil {
				t.Fatal(err)
			}
		}
		if s := c.State(k0, absent(sliver.Size)); s != sliver.Clean {
			t.Fatalf("the delivered sliver is %v before its reader came", s)
		}
	})
}

// Everything at once, for the race detector, for lost wake-ups, and for writes that come
// late: every copy and every record may be held up while others go on.
func TestParallel(t *testing.T) {
	t.Run("without heads", func(t *testing.T) {
		c, r := open(t)
		parallel(t, c, r)
	})
	t.Run("with heads", func(t *testing.T) {
		c, r := withHeads(t), &rec{}
		c.SetEvents(r)
		parallel(t, c, r)
		t.Logf("%d reads from heads", c.Stats().HeadHits)
	})
}

func parallel(t *testing.T, c *Cache, r *rec) {
	late := func(string, int64, int64) error {
		for range rand.IntN(300) {
			runtime.Gosched()
		}
		return nil
	}
	c.st.arena.fail, c.st.slots.fail = late, late
	const files, slivers = 3, 8
	type fault struct {
		k   sliver.Key
		seq uint64
	}
	faults := make(chan fault, 4096)
	r.onFault = func(k sliver.Key, seq uint64) { faults <- fault{k, seq} }
	var locks [files][slivers]sync.Mutex // the inode lock's part in the contract of Behind
	var onTape [files][slivers][]byte
	var version [files]sliver.Version // of the first sliver
	behind := func(f, n int) Behind {
		if p := onTape[f][n]; p != nil {
			return absent(len(p))
		}
		return hole
	}
	stop := make(chan struct{})
	var bg, wg sync.WaitGroup
	bg.Go(func() {
		var again []fault
		buf := make([]byte, sliver.Size)
		for {
			select {
			case <-stop:
				return
			case f := <-faults:
				again = append(again, f)
			default:
			}
			rest := again[:0]
			for _, f := range again {
				fi, n := int(f.k.File)-10, int(f.k.No)
				locks[fi][n].Lock()
				p, v := onTape[fi][n], version[fi]
				locks[fi][n].Unlock()
				if c.Deliver(f.k, f.seq, p, v, xxhash.Sum64(p)) == ErrFull {
					rest = append(rest, f)
				}
			}
			again = rest
			for _, id := range c.DirtyFiles() {
				for _, no := range c.DirtySlivers(id) {
					k := sliver.Key{File: id, No: no}
					n, v, err := c.BeginArchive(k, buf)
					if err != nil {
						continue
					}
					fi := int(id) - 10
					locks[fi][no].Lock()
					if c.ArchiveIs(k, v) {
						onTape[fi][no] = bytes.Clone(buf[:n])
						if no == 0 {
							version[fi] = v
						}
						c.EndArchive(k, v, xxhash.Sum64(buf[:n]), true)
					}
					locks[fi][no].Unlock()
				}
				c.EvictFile(id)
			}
			runtime.Gosched()
		}
	})
	for g := range 6 {
		wg.Go(func() {
			// Each writer has its own bytes of each sliver, and finds them again.
			const part = 100 << 10
			off, mine := g*part, [files][slivers]byte{}
			a := newAnswer()
			for i := range 150 {
				f, n := (i*7+g)%files, (i*5+g*3)%slivers
				k := sliver.Key{File: sliver.FileID(10 + f), No: sliver.No(n)}
				if i%3 != 0 {
					val := byte(i)
					for p := pattern(val, 3000); len(p) > 0; {
						locks[f][n].Lock()
						m, err := c.Write(k, behind(f, n), off+3000-len(p), p, &a.Waiter)
						locks[f][n].Unlock()
						if err == vfs.ErrParked {
							x := <-a.ch
							m, err = x.n, x.err
						}
						if err != nil {
							t.Error(err)
							return
						}
						p = p[m:]
					}
					mine[f][n] = val
					if i%10 == 1 {
						refs, err := c.SyncFile(k.File)
						if err != nil {
							t.Error(err)
						}
						c.Committed(refs)
					}
					continue
				}
				for {
					locks[f][n].Lock()
					var d vfs.Data
					ok, err := false, error(nil)
					if n == 0 && behind(f, n).State == sliver.Absent {
						d, ok = c.ReadHead(k.File, version[f], off, 3000)
					}
					if !ok {
						d, err = c.Read(k, behind(f, n), off, 3000, &a.Waiter)
					}
					locks[f][n].Unlock()
					if err == vfs.ErrParked {
						if x := <-a.ch; x.err != nil {
							t.Error(x.err)
						}
						continue
					}
					got := append(bytes.Clone(d.Bytes), make([]byte, d.Zeros)...)
					d.Release()
					if !bytes.Equal(got, pattern(mine[f][n], 3000)) {
						t.Errorf("writer %d: sliver %v has not what it wrote", g, k)
						return
					}
					break
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	bg.Wait()
	if s := c.Stats(); s.Parked != 0 {
		t.Fatalf("left: %+v", s)
	}
}

// A write without a Waiter never parks, not even behind another one's copy.
func TestNoWaiterNeverParks(t *testing.T) {
	c, r := open(t)
	if _, err := c.Read(k0, absent(100), 0, 1, nil); err != vfs.ErrWouldWait {
		t.Fatal(err)
	}
	if _, err := c.Write(k0, absent(100), 1, []byte("x"), nil); err != vfs.ErrWouldWait {
		t.Fatal(err)
	}
	inner := newAnswer()
	var innerErr error
	started, goOn, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	c.st.arena.fail = func(op string, off, n int64) error {
		switch n {
		case 100: // the covering write lets another one begin
			go func() {
				defer close(done)
				_, innerErr = c.Write(k0, absent(100), 200, pattern(2, 50), &inner.Waiter)
			}()
			<-started
		case 50:
			close(started)
			<-goOn
		}
		return nil
	}
	// Both slots fit 4 KiB, so the second is staged past the first.
	_, err := c.Write(k0, absent(100), 0, pattern(1, 100), nil)
	close(goOn)
	<-done
	c.st.arena.fail = nil
	if err != vfs.ErrWouldWait || innerErr != vfs.ErrParked {
		t.Fatal(err, innerErr)
	}
	deliver(t, c, k0, r.lastFault(), pattern(9, 100))
	if inner.got(t).n != 50 || mustRead(t, c, k0, 0, 1)[0] != 9 {
		t.Fatal("the other write")
	}
}
