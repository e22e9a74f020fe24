package cache

import (
	"bytes"
	"sync"
	"testing"

	"sliod/backend/sliver"
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
			if c.Evict(k0) == nil {
				t.Error("evicted while its record is being written")
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
