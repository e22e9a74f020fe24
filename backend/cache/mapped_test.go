package cache

import (
	"bytes"
	"runtime/debug"
	"testing"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// A write from another slot, that waits, does not touch the mapping: a page that cannot be read is an
// error of the write, and not the end of the process.
func TestParkedWriteFromAnotherSlot(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	c, r := open(t)
	w, from := newAnswer(), sliver.Key{File: 6}
	if _, err := c.Write(from, hole, 0, pattern(3, sliver.Size), &w.Waiter); err != nil {
		t.Fatal(err)
	}
	d, err := c.Read(from, hole, 2000, 5000, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Release()
	// It overlaps a write that waits for the tape, and waits with its first bytes.
	parkWrite(t, c, k0, absent(9000), 100, pattern(1, 200))
	a := parkWrite(t, c, k0, absent(9000), 150, d.Bytes)
	if !bytes.Equal(a.Prefix, pattern(3, vfs.MaxPrefix)) {
		t.Fatal("the bytes that it waits with")
	}
	deliver(t, c, k0, r.lastFault(), pattern(2, 9000))
	if got := a.got(t); got.n != vfs.MaxPrefix || got.err != nil {
		t.Fatal(got)
	}
	if !bytes.Equal(mustRead(t, c, k0, 150, vfs.MaxPrefix), pattern(3, vfs.MaxPrefix)) {
		t.Fatal("content")
	}
	// And so if the disk cannot be read: here, as it ends before.
	k := sliver.Key{File: 7}
	parkWrite(t, c, k, absent(9000), 100, pattern(1, 200))
	if err := c.st.arena.f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	n, err := c.Write(k, absent(9000), 150, d.Bytes, &newAnswer().Waiter)
	if err := c.st.arena.f.Truncate(MinSizeBytes); err != nil {
		t.Fatal(err)
	}
	if n != 0 || err == nil || err == vfs.ErrParked {
		t.Fatal(n, err)
	}
}
