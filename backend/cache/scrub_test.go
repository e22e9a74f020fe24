package cache

import (
	"bytes"
	"slices"
	"testing"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// TestScrub has slots of several classes changed by the disk: the scrubber finds those that are clean,
// and a reader gets a fault, not the wrong bytes.
func TestScrub(t *testing.T) {
	c, _ := open(t)
	keys := map[sliver.Key]int{}
	for i, n := range []int{1, 5000, 60_000, 200_000, sliver.Size, sliver.Size - 1, 4000} {
		k := sliver.Key{File: 7, No: sliver.No(i)}
		keys[k] = n
		seq, _ := c.Want(k, absent(n), vfs.Client)
		deliver(t, c, k, seq, pattern(byte(i), n))
	}
	dirty := sliver.Key{File: 8}
	c.Write(dirty, hole, 0, pattern(9, 3000), nil)
	total := int64(0)
	for _, n := range keys {
		total += int64(n)
	}
	if _, read, bad := c.Scrub(5, 1<<40); read != total || bad != nil {
		t.Errorf("%d bytes of %d, bad are %v", read, total, bad)
	}
	for _, k := range []sliver.Key{{File: 7, No: 1}, {File: 7, No: 4}, dirty} {
		s := c.lookup(k).slot
		if err := c.st.arena.pwrite([]byte{77, 78}, s.off()+100); err != nil {
			t.Fatal(err)
		}
	}
	var bad []sliver.Key
	at, all := 3, int64(0)
	for range c.Chunks() {
		next, read, wrong := c.Scrub(at, 1)
		at, all, bad = next, all+read, append(bad, wrong...)
	}
	slices.SortFunc(bad, func(a, b sliver.Key) int { return int(a.No) - int(b.No) })
	if !slices.Equal(bad, []sliver.Key{{File: 7, No: 1}, {File: 7, No: 4}}) || all < total {
		t.Errorf("bad are %v, of %d bytes", bad, all)
	}
	for k, n := range keys {
		if slices.Contains(bad, k) {
			a := parkRead(t, c, k, absent(n))
			c.Cancel(&a.Waiter)
		} else if !bytes.Equal(mustRead(t, c, k, 0, n), pattern(byte(k.No), n)) {
			t.Errorf("sliver %v", k)
		}
	}
	if c.Stats().VerifyFailed != 2 || c.lookup(dirty).state != sliver.Dirty {
		t.Errorf("%+v", c.Stats())
	}
}
