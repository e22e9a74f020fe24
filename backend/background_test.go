package backend

import (
	"testing"

	"sliod/backend/cache"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
	"sliod/tape/virtual"
)

// classOf is the class of the fault of a sliver.
func (w *world) classOf(k sliver.Key) vfs.Class {
	w.t.Helper()
	seq, started := w.fs.cache.Want(k, cache.Behind{State: sliver.Absent}, vfs.Background)
	alive, _, class := w.fs.cache.FaultWanted(k, seq)
	if started || !alive {
		w.t.Fatalf("sliver %v is not on its way", k)
	}
	return class
}

// TestUpkeepRecallsInTheBackground: what reclaiming and copying recall lets clients go first, unless a client
// waits for it.
func TestUpkeepRecallsInTheBackground(t *testing.T) {
	w := newWorld(t, oneDrive)
	w.archived("a", pattern(1, 1000))
	w.archived("b", pattern(2, 1000))
	_, _, a := w.placeOf("a", 0)
	_, _, b := w.placeOf("b", 0)
	g := w.hold(func(virtual.Event) bool { return true })
	woken := make(chan *holder, 1)
	if _, err := w.fs.holdOne(newHolder(a, woken)); err != vfs.ErrParked {
		t.Fatal(err)
	}
	f := new(fetched)
	if !w.fs.fetch(f, b) {
		t.Fatal("it is there")
	}
	for _, k := range []sliver.Key{a, b} {
		if class := w.classOf(k); class != vfs.Background {
			t.Errorf("sliver %v is recalled for class %v", k, class)
		}
	}
	file, done := w.openFile("b")
	defer done()
	r := w.readReq(file, 0, 10).mustPark()
	if class := w.classOf(b); class != vfs.Client {
		t.Errorf("a client waits, and the class is %v", class)
	}
	g.release()
	r.wantRead(pattern(2, 1000)[:10])
	if err := f.wait(); err != nil {
		t.Error(err)
	}
	if h := <-woken; h.err != nil {
		t.Error(h.err)
	}
}
