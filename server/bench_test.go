package server

import (
	"bufio"
	"io"
	"testing"

	"github.com/hugelgupf/p9/p9"
	"sliod/server/wire"
)

// benchmark sends one frame again and again, depth at a time, and reads the replies,
// which are all of one size.
func benchmark(b *testing.B, depth, dataBytes int, frame func(c *client) []byte) {
	e := newEnv(b)
	e.fs.add("f", make([]byte, 1<<20))
	c := e.dial()
	c.open(1, "f", p9.ReadWrite)
	one := frame(c)
	c.bytes(one)
	h, body := c.recv()
	if h.Type == wire.Rlerror {
		b.Fatalf("error %x", body)
	}
	size := int64(h.Size)
	var batch []byte
	for range depth {
		batch = append(batch, one...)
	}
	r := bufio.NewReaderSize(c.nc, 1<<20)
	sent := make(chan struct{}, 1)
	go func() {
		for range sent {
			if _, err := c.nc.Write(batch); err != nil {
				return
			}
		}
	}()
	b.SetBytes(int64(dataBytes * depth))
	b.ReportAllocs()
	for b.Loop() {
		sent <- struct{}{}
		if _, err := io.CopyN(io.Discard, r, size*int64(depth)); err != nil {
			b.Fatal(err)
		}
	}
	close(sent)
}

func BenchmarkGetattr(b *testing.B) {
	benchmark(b, 1, 0, func(c *client) []byte { return c.c.Append(nil, 5, &wire.MsgTgetattr{Fid: 1}) })
}

func BenchmarkGetattrDepth8(b *testing.B) {
	benchmark(b, 8, 0, func(c *client) []byte { return c.c.Append(nil, 5, &wire.MsgTgetattr{Fid: 1}) })
}

func BenchmarkRead64K(b *testing.B) {
	benchmark(b, 8, 64<<10, func(c *client) []byte { return c.c.Append(nil, 5, readReq(64<<10)) })
}

func BenchmarkWrite64K(b *testing.B) {
	benchmark(b, 8, 64<<10, func(*client) []byte {
		return append(wire.AppendTwrite(nil, 5, 1, 0, 64<<10), make([]byte, 64<<10)...)
	})
}

func BenchmarkWrite1M(b *testing.B) {
	benchmark(b, 4, 1<<20-4096, func(*client) []byte {
		return append(wire.AppendTwrite(nil, 5, 1, 0, 1<<20-4096), make([]byte, 1<<20-4096)...)
	})
}
