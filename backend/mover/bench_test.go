package mover

import (
	"math/rand"
	"sync"
	"testing"
	"time"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
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

// BenchmarkEstimates recalls slivers of three volumes in two drives, in no order, from a
// library 300 times as fast as a real one, and tells how good the estimates are that are made
// when all are queued. All times are those of a real library.
func BenchmarkEstimates(b *testing.B) {
	const speed = 300
	r := newRig(b, setup{drives: 2, slots: 4, capacity: 128 * mib, cache: 512 * mib, speed: speed, cfg: Config{ReadAhead: -1}})
	files := r.fill(90, 4*mib)
	r.archive(files...)
	var all Accuracy
	r.evict(files...)
	for i := range 9 { // what the library takes is learned first
		r.check(files[10*i])
	}
	r.m.mu.Lock()
	r.m.est.accuracy = Accuracy{}
	r.m.mu.Unlock()
	for b.Loop() {
		r.evict(files...)
		rnd := rand.New(rand.NewSource(1))
		var wait sync.WaitGroup
		for _, i := range rnd.Perm(len(files)) {
			for no := range sliver.No(4) {
				wait.Add(1)
				r.parkAs(keyOf(files[i], no), vfs.Client, func(sliver.Key) { wait.Done() })
			}
		}
		r.eventually("all are queued", func(Status) bool {
			r.m.mu.Lock()
			defer r.m.mu.Unlock()
			return len(r.m.inbox)+r.m.locating == 0
		})
		r.m.mu.Lock()
		now := time.Now()
		r.m.est.begins = nil
		for _, rc := range r.m.recalls {
			if eta, ok := r.m.etaLocked(rc, now); ok {
				rc.estimated, rc.estimatedAt = eta, now
			}
		}
		r.m.mu.Unlock()
		wait.Wait()
	}
	r.m.mu.Lock()
	all = r.m.est.accuracy
	r.m.mu.Unlock()
	if all.Compared == 0 {
		b.Fatal("nothing was compared")
	}
	n := float64(all.Compared)
	b.ReportMetric(n, "compared")
	b.ReportMetric(all.Estimated.Seconds()*speed/n, "s-estimated")
	b.ReportMetric(all.Took.Seconds()*speed/n, "s-took")
	b.ReportMetric(all.Off.Seconds()*speed/n, "s-off")
	b.ReportMetric(float64(all.Close)/n*100, "%-close")
}
