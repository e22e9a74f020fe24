package ltfsimport

import (
	"context"
	"fmt"
	"testing"

	"sliod/backend/catalog"
	"sliod/tape/ltfs"
)

// BenchmarkBuild imports 100,000 small files, on disk.
func BenchmarkBuild(b *testing.B) {
	const files = 100_000
	x := ltfs.NewIndex("u", ltfs.Time{})
	for i := range files {
		f := &ltfs.File{Length: 5000, Extents: []ltfs.Extent{{ByteCount: 5000, Partition: 'b', StartBlock: uint64(4 + i)}}}
		if err := x.Put(fmt.Sprintf("d%d/f%d", i%100, i), f); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		cat, err := catalog.Open(b.TempDir(), catalog.Options{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Build(context.Background(), cat, &source{x, 524288}, options); err != nil {
			b.Fatal(err)
		}
		if err := cat.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(files*float64(b.N)/b.Elapsed().Seconds(), "files/s")
}
