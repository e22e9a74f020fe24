package backend

import (
	"bytes"
	stderrors "errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend/vfs"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// The tests called TestSlash2_ are the races and faults that the I/O server of
// SLASH2 had, each through cache, catalog, mover and library. docs/testing.md has
// the table of which test is for which.

// small makes a cache of n MiB.
func small(n int64) func(*Options, *virtual.Config) {
	return func(o *Options, _ *virtual.Config) { o.CacheBytes = n * mib }
}

// tiny is so many volumes of 24 MiB, whose index partition is a quarter of that: with
// larger blocks it would have no room for any index.
func tiny(volumes int) func(*Options, *virtual.Config) {
	return func(o *Options, c *virtual.Config) {
		c.Slots, c.Capacity, o.Mover.BlockSize = volumes, 24*mib, mib/2
	}
}

// Readers come while the fault is being completed: each is answered, whether it
// was in the list before the completion, during it, or after.
func TestSlash2_CompletionBeforeWaiterIsRegistered(t *testing.T) {
	w := newWorld(t, oneDrive)
	content := pattern(1, 2*mib)
	w.archived("f", content)
	f, done := w.openFile("f")
	defer done()
	for round := range 20 {
		base := round % 2 * mib
		want := content[base : base+mib]
		g := w.hold(at(scsi.OpRead6, true))
		first := w.readReq(f, uint64(base), mib).mustPark()
		g.wait()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 20 {
					off := i*1000 + j
					if got, err := readOnce(f, uint64(base+off), 5000); err != nil || !bytes.Equal(got, want[off:off+5000]) {
						t.Errorf("round %d: %d bytes, %v", round, len(got), err)
					}
				}
			})
		}
		g.release()
		wg.Wait()
		first.wantRead(want)
		w.job(JobEvict, "/f")
	}
	w.quiet()
}

// Of a request over two slivers the one that is resident keeps no reference, and
// the one that faults is not forgotten.
func TestSlash2_RequestOverTwoSlivers(t *testing.T) {
	w := newWorld(t, oneDrive)
	want := pattern(1, 2*mib)
	w.archived("f", want)
	f, done := w.openFile("f")
	defer done()
	for _, resident := range []int{0, 1} {
		w.read(f, uint64(resident*mib), 10)
		r := w.readReq(f, 0, 2*mib)
		if r.parked != (resident == 1) {
			t.Fatalf("sliver %d is resident: parked is %v", resident, r.parked)
		}
		got, err := r.read()
		if err != nil || len(got) < mib || !bytes.Equal(got, want[:len(got)]) {
			t.Errorf("sliver %d is resident: %d bytes, %v", resident, len(got), err)
		}
		w.job(JobEvict, "/f")
		if got := w.state("f"); got != string(Migrated) {
			t.Fatalf("after a read over two slivers the file is %s: one is still referred to", got)
		}
	}
	// The same with a write that is given up.
	w.read(f, mib, 10)
	g := w.hold(at(scsi.OpRead6, false))
	wr := w.writeReq(f, mib-10, pattern(2, 20)).mustPark()
	g.wait()
	if !wr.cancel() {
		t.Error("the write could not be cancelled")
	}
	g.release()
	w.quiet()
	w.job(JobEvict, "/f")
	if got := w.state("f"); got != string(Migrated) {
		t.Fatalf("after a cancelled write over two slivers the file is %s", got)
	}
	w.wantContent("f", want)
}

// The second sliver of a request comes first, as it lies before the other on tape.
func TestSlash2_SecondSliverCompletesFirst(t *testing.T) {
	w := newWorld(t, oneDrive)
	want := pattern(1, 2*mib)
	w.put("f", want)
	w.job(JobArchive, "/f")
	f, done := w.openFile("f")
	defer done()
	want = overlay(want, 0, pattern(2, mib))
	w.write(f, 0, want[:mib])
	w.job(JobArchive, "/f")
	w.job(JobEvict, "/f")
	_, p0, _ := w.placeOf("f", 0)
	_, p1, _ := w.placeOf("f", 1)
	if p1.Block >= p0.Block {
		t.Fatalf("the first sliver is at %v, the second at %v", p0, p1)
	}
	w.restart()
	f2, done2 := w.openFile("f")
	defer done2()
	g := w.hold(at(scsi.OpMoveMedium, false))
	both := w.readReq(f2, mib-5000, 10_000).mustPark()
	over := w.writeReq(f2, mib-100, pattern(3, 200)).mustPark()
	second := w.readReq(f2, mib, mib).mustPark()
	g.wait()
	g.release()
	n, err := over.wrote()
	if err != nil || n < 100 {
		t.Fatalf("the write over both slivers: %d, %v", n, err)
	}
	if got, err := second.read(); err != nil || len(got) != mib || !bytes.Equal(got[100:], want[mib+100:]) {
		t.Errorf("the second sliver: %d bytes, %v", len(got), err)
	}
	if got, err := both.read(); err != nil || !bytes.Equal(got[:4900], want[mib-5000:mib-100]) {
		t.Errorf("the read over both slivers: %d bytes, %v", len(got), err)
	}
	w.wantContent("f", overlay(want, mib-100, pattern(3, 200)[:n]))
	w.quiet()
}

func TestSlash2_RequestsOnAFaultingSliverTakeNoThreads(t *testing.T) {
	w := newWorld(t, oneDrive)
	want := pattern(1, mib)
	w.archived("f", want)
	f, done := w.openFile("f")
	defer done()
	g := w.hold(at(scsi.OpRead6, false))
	first := w.readReq(f, 0, 1).mustPark()
	g.wait()
	before := runtime.NumGoroutine()
	var reads, writes []*pend
	for i := range 2000 {
		off := i * 500
		reads = append(reads, w.readReq(f, uint64(off), 100).mustPark())
		p := pattern(i, 300)
		writes = append(writes, w.writeReq(f, uint64(off), p).mustPark())
		want = overlay(want, off, p)
	}
	if now := runtime.NumGoroutine(); now > before {
		t.Errorf("4000 parked requests have %d goroutines", now-before)
	}
	if n := w.fs.Status().Parked; n != 4001 {
		t.Errorf("the status shows %d parked requests", n)
	}
	g.release()
	for _, p := range writes {
		p.wantWrote(300)
	}
	for _, p := range reads {
		p.wantRead(want[p.off : p.off+100])
	}
	first.wantRead(want[:1])
	w.quiet()
}

// One waiter is used for several requests, one after the other: nothing of an
// earlier one shows in a later one.
func TestSlash2_StateOfAnEarlierRequestIsNotUsedAgain(t *testing.T) {
	w := newWorld(t, oneDrive)
	want := pattern(1, mib)
	w.archived("f", want)
	f, done := w.openFile("f")
	defer done()
	g := w.hold(at(scsi.OpRead6, false))
	var wt vfs.Waiter
	use := func() *waiter {
		a := newWaiter()
		wt.Waker = a
		return a
	}
	use()
	if _, err := f.WriteAt(100, pattern(2, 5000), &wt); err != vfs.ErrParked {
		t.Fatal(err)
	}
	g.wait()
	if !f.Cancel(&wt) {
		t.Fatal("the write could not be cancelled")
	}
	other := w.writeReq(f, 200, pattern(3, 1000)).mustPark()
	use() // a write that overlaps another, and so keeps a prefix
	if _, err := f.WriteAt(300, pattern(4, 5000), &wt); err != vfs.ErrParked {
		t.Fatal(err)
	}
	if !f.Cancel(&wt) {
		t.Fatal("the second write could not be cancelled")
	}
	a := use()
	if _, err := f.ReadAt(0, 1000, &wt); err != vfs.ErrParked {
		t.Fatal(err)
	}
	g.release()
	soon(t, a.woken, "the read is not answered")
	if a.n != 0 || a.err != nil {
		t.Errorf("the read was woken with %d, %v: that is a write's answer", a.n, a.err)
	}
	other.wantWrote(1000)
	w.wantContent("f", overlay(want, 200, pattern(3, 1000)))
	// The completed read's waiter, once more.
	w.job(JobArchive, "/f")
	w.job(JobEvict, "/f")
	a = use()
	if _, err := f.WriteAt(7, []byte("x"), &wt); err != vfs.ErrParked {
		t.Fatal(err)
	}
	soon(t, a.woken, "the write is not answered")
	if a.n != 1 || a.err != nil {
		t.Errorf("the write was woken with %d, %v", a.n, a.err)
	}
	w.quiet()
}

// The sizes are the numbers of EAGAIN, of the kernel's own codes, and the like.
func TestSlash2_SizeThatEqualsAWaitCode(t *testing.T) {
	w := newWorld(t, oneDrive)
	want := pattern(1, mib)
	w.archived("f", want)
	f, done := w.openFile("f")
	defer done()
	g := w.hold(at(scsi.OpRead6, false))
	var all []*pend
	for i, n := range []int{1, 4, 5, 11, 115, 140, 511, 512, 513, 516, 529, 1 << 16} {
		off := i * 70_000
		p := pattern(i, n)
		all = append(all, w.writeReq(f, uint64(off), p).mustPark())
		want = overlay(want, off, p)
	}
	g.wait()
	g.release()
	for _, p := range all {
		p.wantWrote(p.count)
	}
	w.wantContent("f", want)
}

// Cancel after the answer is nothing, and a mover's late word on a fault that is
// over changes nothing.
func TestSlash2_NothingIsUsedAfterCompletion(t *testing.T) {
	w := newWorld(t, oneDrive)
	want := pattern(1, mib)
	w.archived("f", want)
	f, done := w.openFile("f")
	defer done()
	_, _, k := w.placeOf("f", 0)
	for round := range 10 {
		r := w.readReq(f, 0, 100).mustPark()
		p := pattern(round, 100)
		off := 5000 * (round + 1)
		wr := w.writeReq(f, uint64(off), p) // the fault may be over by now
		want = overlay(want, off, p)
		wr.wantWrote(100)
		r.wantRead(want[:100])
		if r.cancel() || wr.parked && wr.cancel() {
			t.Error("a request was cancelled after its answer")
		}
		for seq := range uint64(3) {
			w.fs.cache.Fail(k, seq, linux.EIO)
			_ = w.fs.cache.Deliver(k, seq, make([]byte, mib), 1, 1)
			w.fs.mover.Unwanted(k, seq)
		}
		w.wantContent("f", want)
		w.job(JobArchive, "/f")
		w.job(JobEvict, "/f")
	}
	w.quiet()
}

// A medium error: every waiter gets EIO, the log and the queue say where, and the
// next access has the data.
func TestSlash2_ErrorDuringFault(t *testing.T) {
	w := newWorld(t, oneDrive)
	log := w.logged()
	want := pattern(1, 3*mib)
	w.archived("f", want)
	volume, pos, _ := w.placeOf("f", 1)
	w.lib.SetUnreadable(volume, pos, true)
	f, done := w.openFile("f")
	defer done()
	g := w.hold(at(scsi.OpLocate16, false))
	var all []*pend
	for i := range 50 {
		all = append(all, w.readReq(f, mib+uint64(i), 100).mustPark(), w.writeReq(f, mib+uint64(i*60), pattern(i, 100)).mustPark())
	}
	g.wait()
	g.release()
	for _, p := range all {
		soon(t, p.woken, "a request is not answered after the medium error")
		var e linux.Errno
		if !stderrors.As(p.err, &e) || e != linux.EIO {
			t.Fatalf("a waiter gets %v, which has no EIO", p.err)
		}
	}
	drive := w.fs.Drives()[0].Serial
	if !log.has(string(volume), drive, pos.String()) {
		t.Errorf("no line of the log names %s, %s and %s: %q", volume, drive, pos, log.lines)
	}
	es := w.fs.Queue().Errors
	if len(es) != 1 || es[0].Volume != string(volume) || es[0].Drive != drive || es[0].Position != pos.String() || es[0].Message == "" {
		t.Errorf("the queue shows %+v", es)
	}
	w.quiet()
	if st := w.fs.cache.Stats(); st.UsedBytes != 0 {
		t.Errorf("%d bytes of the cache are in use after the failure", st.UsedBytes)
	}
	w.lib.SetUnreadable(volume, pos, false)
	w.wantContent("f", want)
}

// One request over several slivers: each part comes from its own offset.
func TestSlash2_BufferOffsetsOfAMultiPartRequest(t *testing.T) {
	w := newWorld(t, oneDrive)
	want := pattern(1, 5*mib)
	w.archived("f", want)
	f, done := w.openFile("f")
	defer done()
	w.read(f, mib, 1)
	w.read(f, 2*mib, 1)
	w.read(f, 3*mib, 1)
	r := w.readReq(f, mib+123, 3*mib-123)
	if r.parked || len(r.data) != 3*mib-123 || !bytes.Equal(r.data, want[mib+123:4*mib]) {
		t.Errorf("a read over three resident slivers: parked %v, %d bytes", r.parked, len(r.data))
	}
	p := pattern(2, 2*mib+1)
	wr := w.writeReq(f, mib+777, p)
	wr.wantWrote(len(p))
	want = overlay(want, mib+777, p)
	// From a faulting sliver into resident ones, and back into a faulting one.
	w.write(f, 5000, pattern(3, 5*mib-9000))
	want = overlay(want, 5000, pattern(3, 5*mib-9000))
	w.wantContent("f", want)
	w.job(JobArchive, "/f")
	w.job(JobEvict, "/f")
	w.wantContent("f", want)
}

// More faults fail than the cache has slots: none keeps one.
func TestSlash2_TransientErrorsPinNothing(t *testing.T) {
	w := newWorld(t, oneDrive, small(16))
	want := pattern(1, 3*mib)
	w.archived("f", want)
	f, done := w.openFile("f")
	defer done()
	for round := range 60 {
		remove := w.lib.SetFault(virtual.Fault{Device: virtual.AnyDrive, Opcode: scsi.OpRead6, Times: -1,
			Sense: scsi.Sense{Key: scsi.MediumErrorKey, Code: scsi.CodeReadError}})
		g := w.hold(at(scsi.OpRead6, false))
		rd := w.readReq(f, uint64(round%2)*mib, 100).mustPark()
		g.wait()
		wr := w.writeReq(f, uint64(round%2)*mib+50, pattern(2, 100)).mustPark()
		g.release()
		if _, err := rd.read(); !stderrors.Is(err, linux.EIO) {
			t.Fatalf("round %d: read: %v", round, err)
		}
		if _, err := wr.wrote(); !stderrors.Is(err, linux.EIO) {
			t.Fatalf("round %d: write: %v", round, err)
		}
		remove()
		if st := w.fs.cache.Stats(); st.UsedBytes != 0 || st.Parked != 0 {
			t.Fatalf("round %d: %+v", round, st)
		}
		if round%10 == 9 {
			w.wantContent("f", want)
			w.job(JobEvict, "/f")
		}
	}
	w.wantContent("f", want)
}

// Writes that overlap, within slivers and over their boundaries, from many
// goroutines, while slivers go and come: all end, and every byte is from one of
// the last writes to it.
func TestSlash2_OverlappingWrites(t *testing.T) {
	w := newWorld(t, oneDrive)
	const size = 4 * mib
	base := make([]byte, size)
	w.archived("f", base)
	f, done := w.openFile("f")
	defer done()
	for round := range 6 {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(round), uint64(i)))
				for range 10 {
					off := uint64(r.IntN(4))*mib + mib - uint64(r.IntN(200_000))
					off = min(off, size-100_000)
					w.write(f, off, bytes.Repeat([]byte{byte(16*round + i + 1)}, 1+r.IntN(100_000)))
				}
			})
		}
		wg.Wait()
		got := w.read(f, 0, size)
		for j, b := range got {
			if b != 0 && (b > byte(16*round+8)) {
				t.Fatalf("round %d: byte %d is %d, which nobody wrote", round, j, b)
			}
		}
		w.job(JobArchive, "/f")
		w.job(JobEvict, "/f")
		w.wantContent("f", got)
		w.job(JobEvict, "/f")
	}
	w.quiet()
}

// What a reply points to stays as it was while the sliver is evicted, cut, the
// file unlinked, and its place in the cache wanted by others.
func TestSlash2_BufferIsKeptWhileTheReplyIsSent(t *testing.T) {
	w := newWorld(t, oneDrive, small(16))
	want := pattern(1, 2*mib)
	w.archived("f", want)
	n := w.node("f")
	f, err := n.Open(rootCred, openReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	w.read(f, 0, 2*mib)
	d, err := f.ReadAt(0, 2*mib, &newWaiter().Waiter)
	if err != nil || d.Len() != 2*mib {
		t.Fatal(d.Len(), err)
	}
	w.job(JobEvict, "/f")
	if err := n.Setattr(rootCred, p9.SetAttrMask{Size: true}, p9.SetAttr{}, true); err != nil {
		t.Fatal(err)
	}
	w.write(f, 0, pattern(2, mib))
	if err := w.root.UnlinkAt(rootCred, "f", 0); err != nil {
		t.Fatal(err)
	}
	f.Close()
	n.Release()
	for i := range 40 {
		name := fmt.Sprint("other", i)
		w.put(name, pattern(100+i, mib))
	}
	if got := gather(&d); !bytes.Equal(got, want) {
		t.Errorf("the pinned bytes changed at %d", firstDifference(got, want))
	}
}

// A fault of the old content comes late: the file has been emptied and written
// anew, or is another file of the same name.
func TestSlash2_LateCompletionMeetsNewGeneration(t *testing.T) {
	for _, how := range []string{"truncate", "unlink", "rename over"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t, oneDrive)
			old, fresh := pattern(1, 2*mib), pattern(2, 2*mib-100)
			w.archived("f", old)
			f, done := w.openFile("f")
			defer done()
			g := w.hold(at(scsi.OpRead6, true))
			rd := w.readReq(f, 0, mib).mustPark()
			g.wait()
			switch how {
			case "truncate":
				n := w.node("f")
				if err := n.Setattr(rootCred, p9.SetAttrMask{Size: true}, p9.SetAttr{}, true); err != nil {
					t.Fatal(err)
				}
				n.Release()
				w.write(f, 0, fresh)
			case "unlink":
				if err := w.root.UnlinkAt(rootCred, "f", 0); err != nil {
					t.Fatal(err)
				}
				w.put("f", fresh)
			case "rename over":
				w.put("g", fresh)
				if err := w.root.RenameAt(rootCred, "g", w.root, "f"); err != nil {
					t.Fatal(err)
				}
			}
			g.release()
			got, err := rd.read()
			// The new content, or the end of the file between the two.
			if how == "truncate" && (err != nil || len(got) != 0 && !bytes.Equal(got, fresh[:mib])) ||
				how != "truncate" && (err != nil || !bytes.Equal(got, old[:mib])) {
				t.Errorf("the read that waited: %d bytes, %v", len(got), err)
			}
			w.wantContent("f", fresh)
			w.job(JobArchive, "/")
			w.job(JobEvict, "/")
			w.wantContent("f", fresh)
			w.quiet()
		})
	}
}

// The cache is full of what is not on tape, and tape has no room: whoever needs a
// slot is told so, and nobody is left without an answer.
func TestSlash2_NoSpaceIsAnswered(t *testing.T) {
	w := newWorld(t, oneDrive, small(16), tiny(1))
	old := pattern(1, 3*mib)
	w.archived("old", old)
	content := map[string][]byte{}
	var full error
	last := 0
	// What a sync gives back, such as a slot that was too small, is filled as well.
	for i, settled := 0, false; !settled; i++ {
		last = i
		if i > 100 {
			t.Fatal("100 MiB were written to a library of 24 and a cache of 16")
		}
		name := fmt.Sprint("f", i)
		n, f := w.create(name)
		p := pattern(10+i, mib)
		r := w.writeReq(f, 0, p)
		// A write that waited is short; the rest follows.
		m, err := r.wrote()
		for err == nil && m < len(p) {
			var k int
			k, err = w.writeReq(f, uint64(m), p[m:]).wrote()
			m += k
		}
		content[name] = p[:m]
		settled = full != nil && err != nil && m == 0
		full = err
		f.Close()
		n.Release()
		if err := w.fs.syncAll(); err != nil {
			t.Fatal(err)
		}
	}
	if !stderrors.Is(full, linux.ENOSPC) {
		t.Fatalf("the write that finds no room gets %v", full)
	}
	for name, want := range content {
		w.wantContentNow(name, want)
	}
	f, done := w.openFile("old")
	defer done()
	rd, wr := w.readReq(f, 0, 100), w.writeReq(f, mib+5, pattern(3, 100))
	if _, err := rd.read(); !stderrors.Is(err, linux.ENOSPC) {
		t.Errorf("a read that needs a slot gets %v", err)
	}
	if _, err := wr.wrote(); !stderrors.Is(err, linux.ENOSPC) {
		t.Errorf("a parked write that needs a slot gets %v", err)
	}
	w.quiet()
	// Room in the cache is room for them.
	for i := range 6 {
		name := fmt.Sprint("f", last-i)
		if err := w.root.UnlinkAt(rootCred, name, 0); err != nil {
			t.Fatal(err)
		}
		delete(content, name)
	}
	if err := w.fs.syncAll(); err != nil {
		t.Fatal(err)
	}
	w.wantContent("old", old)
	for name, want := range content {
		w.wantContent(name, want)
	}
}

// wantContentNow is wantContent for a file that must be answered without waiting,
// where it is in the cache.
func (w *world) wantContentNow(name string, want []byte) {
	w.t.Helper()
	if w.state(name) != string(Resident) {
		return
	}
	f, done := w.openFile(name)
	defer done()
	if len(want) == 0 {
		return
	}
	r := w.readReq(f, 0, len(want))
	if r.parked || !bytes.Equal(r.data, want) {
		w.t.Errorf("%s is resident: parked %v, %d bytes, %v", name, r.parked, len(r.data), r.err)
	}
}

// With room on tape the writers of a cache full of dirty data wait, and go on.
func TestSlash2_WritersWaitForTheMover(t *testing.T) {
	w := newWorld(t, oneDrive, small(16))
	content := map[string][]byte{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 15 {
				name := fmt.Sprintf("f%d-%d", i, j)
				p := pattern(i*100+j, mib-i)
				w.put(name, p)
				mu.Lock()
				content[name] = p
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for name, want := range content {
		w.wantContent(name, want)
	}
	w.quiet()
}

// Size and times of a parked write are there when it is answered, not before, and
// never if it is cancelled or fails.
func TestSlash2_AttributesChangeAtCompletion(t *testing.T) {
	w := newWorld(t, oneDrive)
	w.archived("f", pattern(1, 5000))
	w.archived("g", pattern(1, 2*mib))
	g0, done := w.openFile("g")
	defer done()
	n := w.node("f")
	defer n.Release()
	f, err := n.Open(rootCred, openReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	attr := func() p9.Attr {
		a, err := n.Getattr(rootCred)
		if err != nil {
			t.Fatal(err)
		}
		a.Blocks = 0 // what the cache holds of it
		return a
	}
	before := attr()
	volume, pos, _ := w.placeOf("f", 0)
	for _, end := range []string{"cancel", "error", "done"} {
		w.job(JobEvict, "/f")
		w.read(g0, 0, 10) // the head, and what the mover keeps of a record, are elsewhere
		w.job(JobEvict, "/g")
		g := w.hold(at(scsi.OpRead6, false))
		w.lib.SetUnreadable(volume, pos, end == "error")
		wr := w.writeReq(f, 4000, pattern(2, 3000)).mustPark()
		g.wait()
		if a := attr(); a != before {
			t.Errorf("%s: while the write is parked the attributes are %+v, before %+v", end, a, before)
		}
		if end == "cancel" && !wr.cancel() {
			t.Error("the write could not be cancelled")
		}
		g.release()
		if end != "cancel" {
			_, _ = wr.wrote()
		}
		w.quiet()
		a := attr()
		switch {
		case end == "done" && (a.Size != 7000 || a.DataVersion == before.DataVersion):
			t.Errorf("after the answer the size is %d", a.Size)
		case end != "done" && a != before:
			t.Errorf("%s: the attributes are %+v, before %+v", end, a, before)
		}
	}
}

// Everything at once, with a cache that is too small: no wake is missed.
func TestSlash2_NoWakeIsMissed(t *testing.T) {
	w := newWorld(t, oneDrive, small(16), func(o *Options, _ *virtual.Config) { o.Mover.ReadAhead = 4 })
	const files, size = 6, 4 * mib
	var fs []vfs.File
	for i := range files {
		name := fmt.Sprint("f", i)
		w.archived(name, bytes.Repeat([]byte{byte(i + 1)}, size))
		f, done := w.openFile(name)
		defer done()
		fs = append(fs, f)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(7, uint64(g)))
			for range 60 {
				i := r.IntN(files)
				off := uint64(r.IntN(size - 70_000))
				switch r.IntN(6) {
				case 0:
					w.write(fs[i], off, bytes.Repeat([]byte{byte(i + 1)}, 1+r.IntN(70_000)))
				case 1:
					if p := w.readReq(fs[i], off, 1000); p.parked && !p.cancel() {
						soon(t, p.woken, "neither cancelled nor woken")
					}
				case 2:
					if p := w.writeReq(fs[i], off, bytes.Repeat([]byte{byte(i + 1)}, 5000)); p.parked && !p.cancel() {
						soon(t, p.woken, "neither cancelled nor woken")
					}
				case 3:
					w.fs.cache.EvictFile(fs[i].(*file).ino.id)
				default:
					got, err := w.readReq(fs[i], off, 70_000).read()
					if err != nil || len(got) == 0 || len(bytes.Trim(got, string([]byte{byte(i + 1)}))) > 0 {
						t.Errorf("file %d at %d: %d bytes, %v", i, off, len(got), err)
					}
				}
			}
		})
	}
	wg.Wait()
	w.quiet()
	for i := range files {
		w.wantContent(fmt.Sprint("f", i), bytes.Repeat([]byte{byte(i + 1)}, size))
	}
}

// Read-ahead wants slots too: with a cache smaller than the files, readers that go
// forward and backward and writers that fill the cache all come to their end, with
// one drive.
func TestSlash2_ReadAheadAndFault(t *testing.T) {
	w := newWorld(t, oneDrive, small(16), func(o *Options, _ *virtual.Config) { o.Mover.ReadAhead = 16 })
	want := pattern(1, 30*mib)
	w.put("f", want)
	w.job(JobArchive, "/f")
	w.job(JobEvict, "/f")
	f, done := w.openFile("f")
	defer done()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 30 {
				no := i
				if g%2 == 1 {
					no = 29 - i
				}
				got, err := w.readReq(f, uint64(no)*mib, mib).read()
				if err != nil || !bytes.Equal(got, want[no*mib:(no+1)*mib]) {
					t.Errorf("sliver %d: %d bytes, %v", no, len(got), err)
				}
			}
		})
	}
	wg.Go(func() {
		for i := range 20 {
			w.put(fmt.Sprint("dirty", i), pattern(50+i, 2*mib))
		}
	})
	wg.Wait()
	for i := range 20 {
		w.wantContent(fmt.Sprint("dirty", i), pattern(50+i, 2*mib))
	}
	w.quiet()
}

// A file goes for good while faults of it are in flight, again and again: what it
// had in the cache is free, and those that come after it are as they should be.
func TestSlash2_FileReclaimedDuringFault(t *testing.T) {
	w := newWorld(t, oneDrive, small(16))
	for round := range 8 {
		for i := range 3 {
			w.put(fmt.Sprint("f", i), pattern(round*10+i, 2*mib))
		}
		w.job(JobArchive, "/")
		w.job(JobEvict, "/")
		g := w.hold(stopPoints[1+round%3].stop)
		for i := range 3 {
			n := w.node(fmt.Sprint("f", i))
			f, err := n.Open(rootCred, openReadWrite)
			if err != nil {
				t.Fatal(err)
			}
			reqs := []*pend{w.readReq(f, 0, 100), w.writeReq(f, mib+7, pattern(1, 100)), w.readReq(f, mib, 100)}
			if err := w.root.UnlinkAt(rootCred, fmt.Sprint("f", i), 0); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				g.wait()
			}
			for _, p := range reqs {
				if p.mustPark(); !p.cancel() {
					soon(t, p.woken, "neither cancelled nor woken")
				}
			}
			f.Close()
			n.Release()
		}
		g.release()
		w.quiet()
		if err := w.fs.syncAll(); err != nil {
			t.Fatal(err)
		}
		if st := w.fs.cache.Stats(); st.UsedBytes != 0 || st.Parked != 0 {
			t.Fatalf("round %d: %+v", round, st)
		}
	}
	if n := w.fs.Status().Files; n != 0 {
		t.Errorf("%d files are left", n)
	}
}
