package rebuild

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"sliod/tape"
	"sliod/tape/ltfs"
	"sliod/tape/virtual"
)

// BenchmarkRebuild rebuilds the catalog of SLIOD_REBUILD_FILES files of 4 KiB, by
// default 100,000, on four volumes that two drives read. It tells the largest heap.
func BenchmarkRebuild(b *testing.B) {
	files := 100_000
	if s := os.Getenv("SLIOD_REBUILD_FILES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		files = n
	}
	const volumes = 4
	r := newRig(b, b.TempDir(), func(c *virtual.Config) { c.Capacity, c.Slots = 16<<30, volumes })
	defer r.end()
	ctx := context.Background()
	for v := range volumes {
		barcode := tape.Barcode(fmt.Sprintf("A%05dL9", v+1))
		d, home := r.load(barcode)
		r.ok(ltfs.Format(ctx, d, ltfs.FormatOptions{Barcode: barcode, UUID: fmt.Sprintf("01234567-89ab-4def-8123-%012x", v), Log: r.log}))
		lv, err := ltfs.Mount(ctx, d, ltfs.MountOptions{Log: r.log})
		r.ok(err)
		put := func(path string, e ltfs.Entry, m *ltfs.Meta) {
			m.Mtime, m.Ctime, m.Atime, m.Btime = ltfs.Time{Sec: 1 << 30}, ltfs.Time{Sec: 1 << 30}, ltfs.Time{Sec: 1 << 30}, ltfs.Time{Sec: 1 << 30}
			m.Generation, m.DataVersion = 1, 1
			r.ok(m.Apply(e))
			r.ok(lv.Index().Put(path, e))
		}
		for i := v; i < files; i += volumes {
			dir := 2 + i/1000
			if i%1000 < volumes {
				put(fmt.Sprintf("d%d", dir), &ltfs.Dir{}, &ltfs.Meta{FileID: uint64(dir), Mode: 0o40755, Dirs: []uint64{1}})
			}
			put(fmt.Sprintf("d%d/file%d", dir, i), &ltfs.File{Extents: []ltfs.Extent{{StartBlock: uint64(4 + i/128), ByteOffset: uint32(i % 128 * 4096), ByteCount: 4096, Partition: 'b'}}},
				&ltfs.Meta{FileID: uint64(1_000_000 + i), Mode: 0o100644, Size: 4096, Dirs: []uint64{uint64(dir)},
					Slivers: []ltfs.SliverMeta{{Version: 1<<40 + uint64(i), Sum: uint64(i) * 0x9e3779b97f4a7c15, Len: 4096}}})
		}
		r.ok(lv.WriteIndex(ctx))
		home()
	}
	runtime.GC()
	for b.Loop() {
		b.StopTimer()
		r.ok(os.RemoveAll(filepath.Join(r.dir, "catalog")))
		stop := heapPeak()
		b.StartTimer()
		o := r.options()
		o.batch = 0
		rep, err := Run(ctx, o)
		r.ok(err)
		b.StopTimer()
		if rep.Files != int64(files) || rep.LostFiles != 0 {
			b.Fatalf("%+v", rep.Totals)
		}
		b.ReportMetric(float64(stop())/mib, "MiB-heap")
		b.StartTimer()
	}
	b.ReportMetric(float64(files)*float64(b.N)/b.Elapsed().Seconds(), "files/s")
}

// heapPeak watches the heap until the function that it returns is called, which tells
// the most that was in use, garbage included.
func heapPeak() func() uint64 {
	var peak uint64
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		var s runtime.MemStats
		for {
			runtime.ReadMemStats(&s)
			peak = max(peak, s.HeapInuse)
			select {
			case <-end:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	return func() uint64 {
		close(end)
		wg.Wait()
		return peak
	}
}
