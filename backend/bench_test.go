package backend

import (
	"fmt"
	"testing"
	"time"
)

// The rate at which small files are written, archived and faulted back, through
// the whole backend and an instant library.
func BenchmarkSmallFiles(b *testing.B) {
	w := newWorld(b)
	content := pattern(1, 4096)
	n := 0
	step := func(name string, fn func(i int)) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				fn(n)
				n++
			}
		})
	}
	step("write", func(i int) { w.put(fmt.Sprintf("f%06d", i), content) })
	files := n
	begin := time.Now()
	w.job(JobArchive, "/")
	rate := float64(files) / time.Since(begin).Seconds()
	w.job(JobEvict, "/")
	n = 0
	b.Run("fault", func(b *testing.B) {
		for b.Loop() {
			w.content(fmt.Sprintf("f%06d", n%files))
			n++
		}
		b.ReportMetric(rate, "archived-files/s")
	})
}

func BenchmarkCreate(b *testing.B) {
	w := newWorld(b)
	i := 0
	for b.Loop() {
		n, f := w.create(fmt.Sprintf("c%d", i))
		f.Close()
		n.Release()
		i++
	}
}
