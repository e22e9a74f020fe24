package ltfs

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
)

// BenchmarkMillion writes and reads the index of a million files, and reports the
// seconds that it takes, and the most memory that the process has had: before it
// reads, all of the index that was written is let go.
func BenchmarkMillion(b *testing.B) {
	const files = 1_000_000
	name := filepath.Join(b.TempDir(), "index.xml")
	x := bigIndex(b, files)
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			f, err := os.Create(name)
			if err != nil {
				b.Fatal(err)
			}
			n, err := x.WriteTo(f)
			if err == nil {
				err = f.Close()
			}
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(n)
		}
		b.ReportMetric(float64(peak(b))/(1<<20), "peak-MiB")
	})
	x = nil
	runtime.GC()
	b.Run("read", func(b *testing.B) {
		forget(b)
		for b.Loop() {
			f, err := os.Open(name)
			if err != nil {
				b.Fatal(err)
			}
			y, err := Parse(f)
			if err != nil || y.Files() != files {
				b.Fatal(err)
			}
			_ = f.Close()
		}
		b.ReportMetric(float64(peak(b))/(1<<20), "peak-MiB")
	})
}

// peak returns the most memory in bytes that the process has had since forget, as
// Linux counts it.
func peak(b *testing.B) int64 {
	s, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(s), "VmHWM:")
	n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n << 10
}

// forget lets the peak begin anew.
func forget(b *testing.B) {
	b.Helper()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Fatal(err)
	}
}
