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

// BenchmarkUnlink looks files up and unlinks them, each the only reference to it.
func BenchmarkUnlink(b *testing.B) {
	w := newWorld(b)
	name := func(i int) string { return fmt.Sprintf("c%d", i) }
	const batch = 1000
	for i := 0; b.Loop(); i = (i + 1) % batch {
		if i == 0 {
			b.StopTimer()
			for j := range batch {
				n, f := w.create(name(j))
				f.Close()
				n.Release()
			}
			b.StartTimer()
		}
		n, err := w.root.Walk(rootCred, name(i))
		if err != nil {
			b.Fatal(err)
		}
		if err := w.root.UnlinkAt(rootCred, name(i), 0); err != nil {
			b.Fatal(err)
		}
		n.Release()
	}
}
