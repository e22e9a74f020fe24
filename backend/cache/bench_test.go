package cache

import (
	"testing"

	"github.com/cespare/xxhash/v2"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

func BenchmarkRead(b *testing.B) {
	c, _ := open(b)
	w := newAnswer()
	c.Write(k0, hole, 0, pattern(1, sliver.Size), &w.Waiter)
	b.SetBytes(64 << 10)
	for b.Loop() {
		d, err := c.Read(k0, hole, 0, 64<<10, &w.Waiter)
		if err != nil {
			b.Fatal(err)
		}
		d.Release()
	}
}

func benchWrite(b *testing.B, n int) {
	c, _ := open(b)
	w := newAnswer()
	p := pattern(1, n)
	per := sliver.Size / n
	b.SetBytes(int64(n))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		k := sliver.Key{File: 2, No: sliver.No(i / per % 12)}
		if _, err := c.Write(k, hole, i%per*n, p, &w.Waiter); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWrite4K(b *testing.B)  { benchWrite(b, 4<<10) }
func BenchmarkWrite64K(b *testing.B) { benchWrite(b, 64<<10) }
func BenchmarkWrite1M(b *testing.B)  { benchWrite(b, sliver.Size) }

func BenchmarkDeliver(b *testing.B) {
	c, _ := open(b)
	p := pattern(1, sliver.Size)
	sum := xxhash.Sum64(p)
	b.SetBytes(sliver.Size)
	for i := 0; b.Loop(); i++ {
		k := sliver.Key{File: 2, No: sliver.No(i)}
		seq, _ := c.Want(k, absent(sliver.Size), vfs.Client)
		if err := c.Deliver(k, seq, p, 1, sum); err != nil {
			b.Fatal(err)
		}
	}
}
