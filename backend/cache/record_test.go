package cache

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/cespare/xxhash/v2"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// The record of a small slot is in the arena. While it is being written its place is not
// given to another sliver, or it would end up in that one's bytes: whoever has the sliver
// go meanwhile, and whatever the record is written for.
func TestRecordNeverLandsInAnothersBytes(t *testing.T) {
	small := pattern(1, 3000)
	archive := func(c *Cache) error {
		n, v, err := c.BeginArchive(k0, make([]byte, sliver.Size))
		if err == nil && (n != len(small) || !c.EndArchive(k0, v, 0, true)) {
			t.Error("not archived")
		}
		return err
	}
	for _, x := range []struct {
		name          string
		before, write func(c *Cache, r *rec) error // write has the record written
	}{
		{
			"delivered",
			func(c *Cache, r *rec) error { parkRead(t, c, k0, absent(len(small))); return nil },
			func(c *Cache, r *rec) error { deliver(t, c, k0, r.lastFault(), small); return nil },
		},
		{
			"archived",
			func(c *Cache, r *rec) error { _, err := c.Write(k0, hole, 0, small, nil); return err },
			func(c *Cache, r *rec) error { return archive(c) },
		},
		{
			"cut",
			func(c *Cache, r *rec) error {
				if _, err := c.Write(k0, hole, 0, small, nil); err != nil {
					return err
				}
				return archive(c)
			},
			func(c *Cache, r *rec) error { c.Truncate(k0, 10); return nil },
		},
	} {
		t.Run(x.name, func(t *testing.T) {
			c, r := open(t)
			if err := x.before(c, r); err != nil {
				t.Fatal(err)
			}
			begun, goOn := make(chan struct{}), make(chan struct{})
			var once sync.Once
			c.st.arena.fail = func(op string, off, n int64) error {
				if op == "write" && n == recordSize {
					once.Do(func() {
						close(begun)
						<-goOn
					})
				}
				return nil
			}
			done := make(chan error)
			go func() { done <- x.write(c, r) }()
			<-begun
			if err := c.Evict(k0); x.name != "cut" && err != nil {
				t.Errorf("a clean sliver is not evicted: %v", err)
			}
			c.Drop(k0.File, 0)
			// The place that was freed last is the first to be given out.
			want := bytes.Repeat([]byte{7, 8}, sliver.Size/2)
			k := sliver.Key{File: 6}
			n, err := c.Write(k, hole, 0, want, nil)
			close(goOn)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if err != nil || n != len(want) {
				t.Fatal(n, err)
			}
			if got := mustRead(t, c, k, 0, sliver.Size); !bytes.Equal(got, want) {
				t.Fatalf("the bytes of one sliver begin with the record of another: % x", got[:recordSize])
			}
			if used := c.Stats().UsedBytes; used != sliver.Size {
				t.Errorf("%d bytes of slots are in use, want one sliver", used)
			}
		})
	}
}

// Places go from hand to hand, between slots of all sizes, while records are late. Each of
// many has a sliver of its own: written, archived, perhaps evicted by another,
// delivered again, cut, dropped. Its bytes are nobody else's.
func TestPlacesChangeHands(t *testing.T) {
	const clients, rounds = 48, 20
	c, _ := open(t)
	c.st.arena.fail = func(_ string, _, n int64) error {
		if n == recordSize {
			for range rand.IntN(1000) {
				runtime.Gosched()
			}
		}
		return nil
	}
	sizes := []int{100, 4096, 9000, 60 << 10, 200_000, sliver.Size, sliver.Size}
	var wg sync.WaitGroup
	for g := range clients {
		wg.Go(func() {
			k, a, buf := sliver.Key{File: sliver.FileID(10 + g)}, newAnswer(), make([]byte, sliver.Size)
			for i := range rounds {
				want := pattern(byte(g*rounds+i)|1, sizes[rand.IntN(len(sizes))])
				for n := 0; n < len(want); {
					m, err := c.Write(k, hole, n, want[n:], &a.Waiter)
					if err == vfs.ErrParked {
						x := <-a.ch
						m, err = x.n, x.err
					}
					if err != nil {
						t.Error(err)
						return
					}
					n += m
				}
				n, v, err := c.BeginArchive(k, buf)
				if err != nil || !bytes.Equal(buf[:n], want) {
					t.Errorf("archive %v: %v, or it has not what was written: % x", k, err, buf[:recordSize])
					return
				}
				c.EndArchive(k, v, xxhash.Sum64(want), true)
				for range 2 {
					if !places(t, c, k, a, want, v) {
						return
					}
					_ = c.Evict(sliver.Key{File: sliver.FileID(10 + rand.IntN(clients))}) // if it is clean just now
				}
				if rand.IntN(2) == 0 {
					c.Truncate(k, 50)
				}
				c.Drop(k.File, 0)
			}
		})
	}
	wg.Wait()
	s := c.Stats()
	if t.Logf("%d evictions", s.Evictions); s.UsedBytes != 0 || s.Evictions == 0 {
		t.Errorf("%d bytes of slots are in use, %d evictions", s.UsedBytes, s.Evictions)
	}
}

// places reads an archived sliver, and delivers it where it was evicted.
func places(t *testing.T, c *Cache, k sliver.Key, a *answer, want []byte, v sliver.Version) bool {
	for {
		d, err := c.Read(k, absent(len(want)), 0, len(want), &a.Waiter)
		if err == nil {
			same := bytes.Equal(d.Bytes, want)
			if !same {
				t.Errorf("%v begins with % x", k, d.Bytes[:recordSize])
			}
			d.Release()
			return same
		}
		seq, _ := c.Want(k, absent(len(want)), vfs.Client)
		for err = ErrFull; err == ErrFull; runtime.Gosched() {
			err = c.Deliver(k, seq, want, v, xxhash.Sum64(want))
		}
		if x := <-a.ch; err != nil || x.err != nil {
			t.Errorf("deliver %v: %v, %v", k, err, x.err)
			return false
		}
	}
}
