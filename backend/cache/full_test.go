package cache

import (
	"testing"

	"github.com/cespare/xxhash/v2"

	"sliod/backend/sliver"
)

// A clean sliver of a few bytes is no room for a whole one if dirty ones share its chunk: with
// no tape left a fault is told so, and does not wait for ever.
func TestNoSpaceBesideDirtyNeighbours(t *testing.T) {
	c, r := open(t)
	small := func(no int) sliver.Key { return sliver.Key{File: 5, No: sliver.No(no)} }
	put := func(k sliver.Key, n int) {
		t.Helper()
		a := newAnswer()
		if _, err := c.Write(k, hole, 0, pattern(3, n), &a.Waiter); err != nil {
			t.Fatal(err)
		}
	}
	put(small(0), 100)
	put(small(1), 100)
	for i := range 15 {
		put(sliver.Key{File: 7, No: sliver.No(i)}, sliver.Size)
	}
	buf := make([]byte, sliver.Size)
	n, v, err := c.BeginArchive(small(0), buf)
	if err != nil || !c.EndArchive(small(0), v, xxhash.Sum64(buf[:n]), true) {
		t.Fatal("not archived: ", err)
	}
	c.SetNoTapeSpace(true)
	whole := sliver.Key{File: 11}
	rd := parkRead(t, c, whole, absent(sliver.Size))
	seq := r.lastFault()
	if err := c.Reserve(whole, seq); err != ErrNoSpace {
		t.Fatalf("a whole slot beside a dirty sliver: %v, want ErrNoSpace", err)
	}
	c.Fail(whole, seq, ErrNoSpace)
	if g := rd.got(t); g.err != ErrNoSpace {
		t.Fatal(g)
	}
	// For a small one it is room enough.
	k := sliver.Key{File: 9}
	rd = parkRead(t, c, k, absent(100))
	deliver(t, c, k, r.lastFault(), pattern(1, 100))
	if g := rd.got(t); g.err != nil {
		t.Fatal(g)
	}
}
