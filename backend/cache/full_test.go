package cache

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cespare/xxhash/v2"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
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

// Who only has a sliver brought keeps no slot.
func TestLastSlotOfNobody(t *testing.T) {
	c, r := open(t)
	for i := range 16 {
		k := sliver.Key{File: 20, No: sliver.No(i)}
		a := newAnswer()
		a.NoRead = true
		if _, err := c.Read(k, absent(sliver.Size), 0, 1, &a.Waiter); err != vfs.ErrParked {
			t.Fatal(err)
		}
		deliver(t, c, k, r.lastFault(), pattern(1, sliver.Size))
	}
	if n, err := c.Write(sliver.Key{File: 7}, hole, 0, pattern(3, sliver.Size), &newAnswer().Waiter); n != sliver.Size || err != nil {
		t.Fatal("a write beside them: ", n, err)
	}
}

// lastSlot is a cache in which all but one slot are dirty, and the answers of two who read slivers that are on tape.
// freed counts how often the mover was told of space.
func lastSlot(t *testing.T) (c *Cache, r *rec, keys [2]sliver.Key, readers [2]*answer, seqs [2]uint64, freed *atomic.Int32) {
	c, r = open(t)
	freed = new(atomic.Int32)
	c.OnSpaceFreed(func() { freed.Add(1) })
	for i := range 15 {
		if _, err := c.Write(sliver.Key{File: 7, No: sliver.No(i)}, hole, 0, pattern(3, sliver.Size), &newAnswer().Waiter); err != nil {
			t.Fatal(err)
		}
	}
	for i := range keys {
		keys[i] = sliver.Key{File: sliver.FileID(20 + i)}
		readers[i] = parkRead(t, c, keys[i], absent(sliver.Size))
		seqs[i] = r.lastFault()
	}
	if err := c.Reserve(keys[0], seqs[0]); err != nil {
		t.Fatal(err)
	}
	if err := c.Reserve(keys[1], seqs[1]); err != ErrFull {
		t.Fatal(err)
	}
	deliver(t, c, keys[0], seqs[0], pattern(1, sliver.Size))
	if g := readers[0].got(t); g.err != nil {
		t.Fatal(g)
	}
	return
}

// Readers who share the last slot do not take it from each other before they have read: none of them would get on.
func TestLastSlotIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a slow machine is no reader who does not come
		c, _, keys, readers, seqs, freed := lastSlot(t)
		// The mover is told that a slot may be free, and is faster than the reader.
		if err := c.Reserve(keys[1], seqs[1]); err != ErrFull {
			t.Fatalf("the slot of a sliver that is about to be read: %v, want ErrFull", err)
		}
		told := freed.Load()
		d, err := c.Read(keys[0], absent(sliver.Size), 0, 10, &readers[0].Waiter)
		if err != nil {
			t.Fatal(err)
		}
		d.Release()
		if freed.Load() == told {
			t.Fatal("nobody is told that the slot can be had")
		}
		deliver(t, c, keys[1], seqs[1], pattern(2, sliver.Size))
		if g := readers[1].got(t); g.err != nil {
			t.Fatal(g)
		}
	})
}

// A reader who does not come keeps the slot for a short time only, and who waits for it is told.
func TestLastSlotIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, keys, _, seqs, freed := lastSlot(t)
		if err := c.Reserve(keys[1], seqs[1]); err != ErrFull {
			t.Fatal(err)
		}
		told := freed.Load()
		time.Sleep(dueTime)
		synctest.Wait()
		if freed.Load() == told {
			t.Fatal("nobody is told that the slot can be had")
		}
		if err := c.Reserve(keys[1], seqs[1]); err != nil {
			t.Fatal(err)
		}
		c.Fail(keys[1], seqs[1], ErrNoSpace)
	})
}
