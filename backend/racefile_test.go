package backend

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/hugelgupf/p9/p9"

	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// small makes a cache of n MiB.

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
