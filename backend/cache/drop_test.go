package cache

import (
	"bytes"
	"testing"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

const half = sliver.Size / 2

// A file ends in the middle of a sliver for who drops that, and a parked write behind its end is merged before: the
// sliver stays. A write within what is dropped goes with it.
func TestDropRangeAndMergedWrite(t *testing.T) {
	for _, x := range []struct {
		name string
		off  int
		stop sliver.No
	}{{"behind the end", half + 1000, 1}, {"up to the end", half - 100, 2}} {
		t.Run(x.name, func(t *testing.T) {
			c, r := open(t)
			k := sliver.Key{File: 5, No: 1}
			a := parkWrite(t, c, k, absent(half), x.off, pattern(7, 100))
			deliver(t, c, k, r.lastFault(), pattern(1, half))
			if got := a.got(t); got.n != 100 || got.err != nil {
				t.Fatal(got)
			}
			if stop := c.DropRange(5, 0, sliver.Size+half); stop != x.stop {
				t.Fatalf("stopped before sliver %d, want %d", stop, x.stop)
			}
			want := pattern(1, sliver.Size)
			clear(want[half:])
			copy(want[x.off:], pattern(7, 100))
			if x.stop == 2 {
				clear(want)
			}
			if !bytes.Equal(mustRead(t, c, k, 0, sliver.Size), want) {
				t.Fatal("content")
			}
		})
	}
}

// A drop while a write that kept its first bytes is being done.
func TestDropRangeDuringRetry(t *testing.T) {
	c, r := open(t)
	k := sliver.Key{File: 5, No: 1}
	staged := parkWrite(t, c, k, absent(half), 10, pattern(6, half-20))
	prefix := parkWrite(t, c, k, absent(half), half-100, pattern(7, 700)) // overlaps
	stop := sliver.No(0)
	c.st.arena.fail = func(op string, _, n int64) error {
		if op == "write" && n == vfs.MaxPrefix {
			stop = c.DropRange(5, 1, sliver.Size+half)
		}
		return nil
	}
	deliver(t, c, k, r.lastFault(), pattern(1, half))
	if staged.got(t).n != half-20 || prefix.got(t).n != vfs.MaxPrefix || stop != 1 {
		t.Fatal("stopped before sliver", stop)
	}
	if got := mustRead(t, c, k, half-100, 512); !bytes.Equal(got, pattern(7, 512)) {
		t.Fatal("an answered write is gone")
	}
}
