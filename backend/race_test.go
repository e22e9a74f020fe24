package backend

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/vfs"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// The tests called TestSlash2_ are the races and faults that the I/O server of
// SLASH2 had, each through cache, catalog, mover and library. docs/testing.md has
// the table of which test is for which. Here are those of requests that wait, and of their
// completion; racespace_test.go has those of space and failures, racefile_test.go those of the
// file's bytes and attributes.

// small makes a cache of n MiB.

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
