package cache

import (
	stderrors "errors"
	"testing"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/sliver"
)

// pin pins or unpins a file of three slivers, if the limit lets it.
func pin(c *Cache, f sliver.FileID, on bool) {
	if on {
		_ = c.Pin(f, 3*sliver.Size)
	} else {
		c.Unpin(f)
	}
}

// fillClean brings slivers of f to the cache, clean.
func fillClean(t *testing.T, c *Cache, r *rec, f sliver.FileID, n int) {
	t.Helper()
	for no := range sliver.No(n) {
		k := sliver.Key{File: f, No: no}
		if c.State(k, absent(sliver.Size)).Resident() {
			continue
		}
		a := parkRead(t, c, k, absent(sliver.Size))
		deliver(t, c, k, r.lastFault(), pattern(byte(f), sliver.Size))
		if x := a.got(t); x.err != nil {
			t.Fatal(x.err)
		}
		mustRead(t, c, k, 0, 1)
	}
}

// TestPinsHaveALimit: half of the arena's 16 slots, and no more.
func TestPinsHaveALimit(t *testing.T) {
	c, r := open(t)
	resident := func(f sliver.FileID, n int) (have int) {
		for no := range sliver.No(n) {
			if c.State(sliver.Key{File: f, No: no}, absent(sliver.Size)).Resident() {
				have++
			}
		}
		return have
	}
	if err := c.Pin(1, 5*sliver.Size); err != nil {
		t.Fatal(err)
	}
	if err := c.Pin(2, 4*sliver.Size); !stderrors.Is(err, ErrPinned) || !stderrors.Is(err, linux.ENOSPC) {
		t.Fatalf("a pin beyond the limit: %v", err)
	}
	if err := c.Pin(2, 3*sliver.Size); err != nil {
		t.Fatal(err)
	}
	if err := c.Pin(1, 5*sliver.Size); err != nil {
		t.Fatal("a second pin of the same file counts twice:", err)
	}
	fillClean(t, c, r, 1, 5)
	fillClean(t, c, r, 2, 3)
	// Everything else goes through what is left, for ever.
	fillClean(t, c, r, 9, 40)
	if resident(1, 5) != 5 || resident(2, 3) != 3 {
		t.Fatal("pinned slivers were evicted")
	}
	// File 2 has grown to 12 slivers since: what is beyond the limit is evicted.
	fillClean(t, c, r, 2, 12)
	fillClean(t, c, r, 9, 40)
	if resident(1, 5) != 5 || resident(2, 12) > 8 {
		t.Fatalf("pins hold %d and %d slivers", resident(1, 5), resident(2, 12))
	}
	c.Unpin(1)
	c.Unpin(2)
	c.Unpin(2)
	fillClean(t, c, r, 9, 40)
	if c.pins != (pins{limit: c.pins.limit}) {
		t.Fatalf("left over: %+v", c.pins)
	}
	// After a restart with a smaller limit the pins are there, and hold what they may.
	c.RestorePin(1, 100*sliver.Size)
	fillClean(t, c, r, 1, 30)
	if n := resident(1, 30); n < 8 {
		t.Fatalf("a pin beyond the limit holds %d slivers", n)
	}
	fillClean(t, c, r, 9, 40)
	if n := resident(1, 30); n > 8 {
		t.Fatalf("a pin beyond the limit holds %d slivers", n)
	}
	if err := c.Pin(3, 1); !stderrors.Is(err, ErrPinned) {
		t.Fatal(err)
	}
}

func TestSlotBytes(t *testing.T) {
	for n, want := range map[int64]int64{0: 4 << 10, 1: 4 << 10, 5000: 16 << 10, sliver.Size: sliver.Size, sliver.Size + 1: sliver.Size + 4<<10, 3 * sliver.Size: 3 * sliver.Size} {
		if got := slotBytes(n); got != want {
			t.Errorf("%d bytes take %d, want %d", n, got, want)
		}
	}
}
