package mover

import (
	"testing"

	"sliod/backend/sliver"
)

// BenchmarkRecall archives and recalls with a library that takes no time: what is
// measured is SLIOD's own cost.
func BenchmarkRecall(b *testing.B) {
	const size = 64
	r := newRig(b, setup{cache: 160 * mib, capacity: 1 << 40, ahead: 8})
	f := r.fill(1, size*mib)[0]
	r.archive(f)
	b.SetBytes(size * mib)
	for b.Loop() {
		r.evict(f)
		for no := range sliver.No(size) {
			if _, err := r.read(keyOf(f, no), 4096); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkArchive(b *testing.B) {
	for _, c := range []struct {
		name    string
		n, size int
		sha256  bool
	}{{"large", 1, 64 * mib, false}, {"large-sha256", 1, 64 * mib, true}, {"small", 500, 4096, false}, {"small-sha256", 500, 4096, true}} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, setup{cache: 160 * mib, capacity: 1 << 40, cfg: Config{SHA256: c.sha256}})
			files := r.fill(c.n, c.size)
			b.SetBytes(int64(c.n * c.size))
			for b.Loop() {
				b.StopTimer()
				for _, f := range files {
					if err := r.write(f, 0, r.want[f]); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				r.archive(files...)
			}
			b.ReportMetric(float64(c.n*b.N)/b.Elapsed().Seconds(), "files/s")
		})
	}
}
