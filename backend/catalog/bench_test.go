package catalog

import (
	"fmt"
	"testing"

	"sliod/backend/sliver"
)

// benchCatalog fills a catalog on disk with a directory of n files, each with a
// fully archived bmap. With flush, all is in tables, as after a restart.
func benchCatalog(b *testing.B, n int, flush bool) *Catalog {
	c, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := c.Close(); err != nil {
			b.Error(err)
		}
	})
	for i := 0; i < n; {
		err := c.Update(func(t *Tx) error {
			for range 200 {
				id := sliver.FileID(i + 10)
				t.PutInode(&Inode{ID: id, Mode: 0o100644, UID: 1000, GID: 1000, NLink: 1, Size: 128 << 20, Mtime: Time{Sec: 1 << 30, Nsec: 5e8}, Parent: 1})
				t.PutDirent(1, Dirent{Name: fmt.Sprintf("file-%06d", i), ID: id, Cookie: uint64(i) + FirstCookie})
				t.PutBmap(id, 0, archivedBmap(uint64(i)))
				i++
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if flush {
		if err := c.kv.(*pebbleKV).db.Flush(); err != nil {
			b.Fatal(err)
		}
	}
	return c
}

// archivedBmap is a bmap archived in one go on one volume.
func archivedBmap(seed uint64) *Bmap {
	m := new(Bmap)
	for i := range m.Slivers {
		m.Slivers[i] = SliverRec{Len: sliver.Size, ArchLen: sliver.Size, Version: sliver.Version(seed*128 + uint64(i)),
			Sum: (seed*128 + uint64(i) + 1) * 0x9E3779B97F4A7C15, HasSum: true,
			Copies: []Copy{{Volume: 3, Pieces: []Piece{{Partition: 1, Block: 5 + 256*seed + 2*uint64(i), Len: sliver.Size}}}}}
	}
	return m
}

func BenchmarkRead(b *testing.B) {
	const files = 10000
	for _, flush := range []bool{false, true} {
		where := "memtable"
		if flush {
			where = "table"
		}
		c := benchCatalog(b, files, flush)
		names := make([]string, files)
		for i := range names {
			names[i] = fmt.Sprintf("file-%06d", i*7919%files)
		}
		run := func(what string, fn func(t *Tx, i int) error) {
			b.Run(what+"/"+where, func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					if err := c.View(func(t *Tx) error { return fn(t, i) }); err != nil {
						b.Fatal(err)
					}
					i++
				}
			})
		}
		run("Lookup", func(t *Tx, i int) error { _, err := t.Lookup(1, names[i%files]); return err })
		run("LookupMissing", func(t *Tx, i int) error {
			if _, err := t.Lookup(2, names[i%files]); err != ErrNotFound {
				return fmt.Errorf("got %v", err)
			}
			return nil
		})
		run("Inode", func(t *Tx, i int) error { _, err := t.Inode(sliver.FileID(10 + i*7919%files)); return err })
		run("Bmap", func(t *Tx, i int) error { _, err := t.Bmap(sliver.FileID(10+i*7919%files), 0); return err })
		run("Readdir100", func(t *Tx, i int) error {
			n := 0
			return t.Readdir(1, uint64(i*7919%(files-200)), func(Dirent) bool { n++; return n < 100 })
		})
	}
}

func BenchmarkUpdate(b *testing.B) {
	c := benchCatalog(b, 200, false)
	b.ReportAllocs()
	i := uint64(1000)
	for b.Loop() {
		err := c.Update(func(t *Tx) error {
			id, err := t.NextFileID()
			if err != nil {
				return err
			}
			i++
			t.PutInode(&Inode{ID: id, Mode: 0o100644, NLink: 1})
			return t.PutDirent(1, Dirent{Name: fmt.Sprintf("f%d", i), ID: id, Cookie: i})
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBmapCodec(b *testing.B) {
	m := archivedBmap(77)
	rec, err := encodeBmap(nil, m)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			rec, _ = encodeBmap(rec[:0], m)
		}
		b.ReportMetric(float64(len(rec)), "bytes/record")
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := decodeBmap(new(Bmap), rec); err != nil {
				b.Fatal(err)
			}
		}
	})
}
