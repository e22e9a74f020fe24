package backend

import (
	"bytes"
	stderrors "errors"
	"fmt"
	"sync"
	"testing"

	"github.com/hugelgupf/p9/linux"

	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

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
