package cache

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/cespare/xxhash/v2"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

const stub = 16 << 10

// openStub opens a cache with heads of n bytes.
func openStub(t testing.TB, dir string, n int) *Cache {
	t.Helper()
	c, err := Open(Config{Dir: dir, SizeBytes: MinSizeBytes, HighWater: 1, LowWater: 1, Stub: n})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Recover(keepAll); err != nil {
		t.Fatal(err)
	}
	return c
}

func withHeads(t testing.TB) *Cache {
	c := openStub(t, t.TempDir(), stub)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// bring puts what is on tape of a first sliver in the cache. Its content is uneven.
func bring(t testing.TB, c *Cache, f sliver.FileID, n int) []byte {
	t.Helper()
	p := uneven(f, n)
	seq, _ := c.Want(sliver.Key{File: f}, absent(n), vfs.Client)
	if err := c.Deliver(sliver.Key{File: f}, seq, p, 1, xxhash.Sum64(p)); err != nil {
		t.Fatal(err)
	}
	return p
}

func uneven(f sliver.FileID, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i>>8) ^ byte(i) ^ byte(f)
	}
	return p
}

// headOf returns what ReadHead has, nil for nothing.
func headOf(c *Cache, f sliver.FileID, off, n int) []byte {
	d, ok := c.ReadHead(f, 1, off, n)
	if !ok {
		return nil
	}
	defer d.Release()
	return bytes.Clone(d.Bytes)
}

func TestHeadStays(t *testing.T) {
	c := withHeads(t)
	p := bring(t, c, 5, 300_000)
	if headOf(c, 5, 0, 10) != nil {
		t.Error("a head is read while its sliver is there")
	}
	if n, _, clean, _ := c.FileStats(5); n != 300_000 || clean != 1 {
		t.Errorf("%d bytes, %d clean", n, clean)
	}
	if n, _ := c.EvictFile(5); n != 1 {
		t.Errorf("%d slivers evicted", n)
	}
	if n, _, clean, _ := c.FileStats(5); n != stub || clean != 0 {
		t.Errorf("%d bytes, %d clean", n, clean)
	}
	for _, x := range []struct{ off, n, want int }{{0, 512, 512}, {0, stub, stub}, {100, stub, stub - 100}, {stub - 1, 9, 1}, {stub, 1, 0}} {
		if got := headOf(c, 5, x.off, x.n); !bytes.Equal(got, p[x.off:x.off+x.want]) {
			t.Errorf("%d bytes at %d: got %d, want %d", x.n, x.off, len(got), x.want)
		}
	}
	if _, ok := c.ReadHead(5, 2, 0, 1); ok {
		t.Error("a head of another version is read")
	}
	if c.State(sliver.Key{File: 5}, absent(300_000)) != sliver.Absent {
		t.Error("the sliver is not absent")
	}
	// While it is on its way the head serves; then the sliver does, and the head is not made again.
	h := c.lookup(sliver.Key{File: 5, No: headNo})
	a := parkRead(t, c, sliver.Key{File: 5}, absent(300_000))
	if got := headOf(c, 5, 0, 100); !bytes.Equal(got, p[:100]) {
		t.Error("no head while the sliver is faulting")
	}
	bring(t, c, 5, 300_000)
	if g := a.got(t); g.err != nil || c.lookup(h.key) != h {
		t.Errorf("%v, the head was made again", g.err)
	}
	if s := c.Stats(); s.HeadBytes != stub || s.HeadHits == 0 {
		t.Errorf("%+v", s)
	}
}

// What is no longer than a head stays as it is, and is written without the tape.
func TestSmallFileStays(t *testing.T) {
	c := withHeads(t)
	p := bring(t, c, 5, 9000)
	if n, _ := c.EvictFile(5); n != 0 || !bytes.Equal(mustRead(t, c, sliver.Key{File: 5}, 0, 9000), p) {
		t.Errorf("%d slivers evicted", n)
	}
	if _, err := c.Write(sliver.Key{File: 5}, absent(9000), 10, []byte{1}, nil); err != nil {
		t.Error(err)
	}
	if c.Stats().HeadBytes != 0 {
		t.Error("a dirty sliver is counted")
	}
	// Other slivers than the first have no head.
	k := sliver.Key{File: 6, No: 1}
	seq, _ := c.Want(k, absent(9000), vfs.Client)
	deliver(t, c, k, seq, p)
	if n, _ := c.EvictFile(6); n != 1 {
		t.Error("a sliver that is not the first stays")
	}
}

// A few bytes in a large slot do not keep that.
func TestFewBytesInLargeSlot(t *testing.T) {
	c := withHeads(t)
	if _, err := c.Write(k0, hole, 0, pattern(7, 300_000), nil); err != nil {
		t.Fatal(err)
	}
	c.Truncate(k0, 100)
	buf := make([]byte, sliver.Size)
	n, v, err := c.BeginArchive(k0, buf)
	if err != nil || !c.EndArchive(k0, v, xxhash.Sum64(buf[:n]), true) {
		t.Fatal(err)
	}
	if n, _ := c.EvictFile(k0.File); n != 1 || c.Stats().UsedBytes != 4096 {
		t.Errorf("%d evicted, %d bytes used", n, c.Stats().UsedBytes)
	}
	if d, ok := c.ReadHead(k0.File, v, 0, 200); !ok || !bytes.Equal(d.Bytes, pattern(7, 100)) {
		t.Error("the head is not what was archived")
	} else {
		d.Release()
	}
}

func TestHeadGoes(t *testing.T) {
	f := sliver.FileID(5)
	k := sliver.Key{File: f}
	b := absent(300_000)
	for _, x := range []struct {
		what  string
		do    func(c *Cache)
		stays bool
	}{
		{"write over all", func(c *Cache) { c.Write(k, b, 0, pattern(1, 300_000), nil) }, false},
		{"parked write", func(c *Cache) {
			parkWrite(t, c, k, b, 10, []byte{1})
			if headOf(c, f, 0, 100) == nil {
				t.Error("a write that has not happened hides the head")
			}
			bring(t, c, f, 300_000)
		}, false},
		{"cut within", func(c *Cache) { c.Truncate(k, stub-1) }, false},
		{"cut behind", func(c *Cache) { c.Truncate(k, stub) }, true},
		{"file cut within", func(c *Cache) { c.TruncateFile(f, 1, nil) }, false},
		{"file cut behind", func(c *Cache) { c.TruncateFile(f, 3<<20, nil) }, true},
		{"file cut to nothing", func(c *Cache) { c.TruncateFile(f, 0, nil) }, false},
		{"hole in front", func(c *Cache) { c.DropRange(f, 0, sliver.Size) }, false},
		{"hole behind", func(c *Cache) { c.DropRange(f, 1, 7*sliver.Size) }, true},
		{"another file", func(c *Cache) { c.Drop(6, 0) }, true},
		{"recalled", func(c *Cache) { bring(t, c, f, 300_000); c.EvictFile(f) }, true},
		{"evicted again", func(c *Cache) { c.EvictFile(f); c.Evict(k) }, true},
	} {
		c := withHeads(t)
		bring(t, c, f, 300_000)
		c.EvictFile(f)
		x.do(c)
		if stays := c.lookup(sliver.Key{File: f, No: headNo}) != nil; stays != x.stays {
			t.Errorf("%s: the head stays: %v", x.what, stays)
		}
		if !x.stays && headOf(c, f, 0, 1) != nil {
			t.Errorf("%s: the head is read", x.what)
		}
	}
}

// The scrubber finds a head that the disk has changed, and what is damaged is never read.
func TestDamagedHead(t *testing.T) {
	dir := t.TempDir()
	c := openStub(t, dir, stub)
	for f := sliver.FileID(5); f < 8; f++ {
		bring(t, c, f, 300_000)
		c.EvictFile(f)
	}
	spoil := func(f sliver.FileID) int64 { return c.lookup(sliver.Key{File: f, No: headNo}).slot.off() + 100 }
	if err := c.st.arena.pwrite([]byte{77, 78}, spoil(5)); err != nil {
		t.Fatal(err)
	}
	if _, read, bad := c.Scrub(0, 1<<40); read != 3*stub || len(bad) != 1 || bad[0] != (sliver.Key{File: 5}) {
		t.Errorf("%d bytes read, bad are %v", read, bad)
	}
	if headOf(c, 5, 0, 200) != nil || headOf(c, 6, 0, 200) == nil {
		t.Error("the wrong heads are there")
	}
	at := spoil(6)
	c.st.arena.close(false) // as kill -9 would
	c.st.slots.close(false)
	file, err := os.OpenFile(filepath.Join(dir, "arena"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte{77}, at); err != nil {
		t.Fatal(err)
	}
	file.Close()
	c = openStub(t, dir, stub)
	defer c.Close()
	c.EvictFile(6) // the record of the sliver was still there
	c.EvictFile(7)
	if headOf(c, 6, 0, 200) != nil || !bytes.Equal(headOf(c, 7, 0, 200), uneven(7, 200)) {
		t.Error("the wrong heads are there after a crash")
	}
}

// A sliver that the disk has changed before its head was made gives none, also if its sum
// is not that of the head's bytes alone.
func TestNoHeadOfDamaged(t *testing.T) {
	for _, known := range []bool{true, false} {
		c := withHeads(t)
		bring(t, c, 5, 300_000)
		c.mu.Lock()
		c.dropHead(&post{}, sliver.Key{File: 5}, 0)
		e := c.lookup(sliver.Key{File: 5})
		c.mu.Unlock()
		if !known {
			e.head = headSum{}
		}
		if err := c.st.arena.pwrite([]byte{77}, e.slot.off()+100); err != nil {
			t.Fatal(err)
		}
		c.EvictFile(5)
		if headOf(c, 5, 0, 200) != nil {
			t.Errorf("known sum %v: a head was made of what is damaged", known)
		}
	}
}

func TestHeadsAfterRestart(t *testing.T) {
	dir := t.TempDir()
	c := openStub(t, dir, stub)
	p := bring(t, c, 5, 300_000)
	bring(t, c, 6, 9000)
	c.EvictFile(5)
	c.EvictFile(6)
	restart := func(n int) {
		t.Helper()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c = openStub(t, dir, n)
	}
	restart(stub)
	if !bytes.Equal(headOf(c, 5, 0, stub), p[:stub]) || c.Stats().HeadBytes != 2*stub {
		t.Errorf("after a restart: %+v", c.Stats())
	}
	restart(60 << 10) // a longer one is made when the sliver is there again
	if !bytes.Equal(headOf(c, 5, 0, sliver.Size), p[:stub]) {
		t.Error("with longer heads")
	}
	bring(t, c, 5, 300_000)
	c.EvictFile(5)
	if !bytes.Equal(headOf(c, 5, 0, sliver.Size), p[:60<<10]) {
		t.Error("the head has not grown")
	}
	restart(stub)
	if headOf(c, 5, 0, 10) != nil {
		t.Error("a head longer than the stub stays")
	}
	bring(t, c, 5, 300_000)
	c.EvictFile(5)
	restart(0)
	if u := c.Stats(); u.HeadBytes != 0 || u.UsedBytes != 16<<10 || headOf(c, 5, 0, 10) != nil {
		t.Errorf("without stubs: %+v", u)
	}
	if n, _ := c.EvictFile(6); n != 1 {
		t.Error("a small file stays")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// What was in the cache before there were stubs gets its head from the scrubber.
func TestScrubMakesHeads(t *testing.T) {
	dir := t.TempDir()
	c := openStub(t, dir, 0)
	p := bring(t, c, 5, 300_000)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = openStub(t, dir, stub)
	defer c.Close()
	if _, _, bad := c.Scrub(0, 1<<40); bad != nil {
		t.Errorf("bad are %v", bad)
	}
	if err := c.Evict(sliver.Key{File: 5}); err != nil || !bytes.Equal(headOf(c, 5, 0, stub), p[:stub]) {
		t.Errorf("no head: %v", err)
	}
}

// Heads hold no more than their share; one that is read stays longer.
func TestHeadsKeepToTheirShare(t *testing.T) {
	c := withHeads(t)
	const files = 600 // a quarter of the arena is 256 heads
	for f := sliver.FileID(2); f < 2+files; f++ {
		n := 9000
		if f%2 == 0 {
			n = 100_000
		}
		bring(t, c, f, n)
		c.EvictFile(f)
		if f > 2 && headOf(c, 2, 0, 1) == nil {
			t.Fatalf("after %d files the head that is read each time is gone", f)
		}
	}
	s := c.Stats()
	if limit := s.SizeBytes / 4; s.HeadBytes > limit+stub || s.HeadBytes < limit-stub {
		t.Errorf("heads hold %d bytes of %d", s.HeadBytes, limit)
	}
	if headOf(c, 4, 0, 1) != nil || headOf(c, files, 0, 1) == nil {
		t.Error("not the oldest have gone")
	}
}

// Nobody is told that there is no space while heads hold some.
func TestHeadsGoBeforeSpaceRunsOut(t *testing.T) {
	for _, size := range []int{4096, 200_000, sliver.Size} {
		c := withHeads(t)
		for f := sliver.FileID(2); f < 202; f++ {
			bring(t, c, f, 100_000+int(f))
			c.EvictFile(f)
		}
		had := c.Stats().HeadBytes
		c.SetNoTapeSpace(true)
		written := int64(0)
		for i := 0; ; i++ {
			if _, err := c.Write(sliver.Key{File: 1000 + sliver.FileID(i)}, hole, 0, pattern(1, size), nil); err != nil {
				break
			}
			written += int64(classFor(size).size())
		}
		s := c.Stats()
		if had != 200*stub || s.HeadBytes != 0 || s.DirtyBytes == 0 {
			t.Errorf("slots for %d: heads held %d bytes and hold %d; %d bytes were written", size, had, s.HeadBytes, written)
		}
	}
}

// While writers wait for space nothing is taken for a head.
func TestNoHeadWhileWritersWait(t *testing.T) {
	c := withHeads(t)
	var p post
	bring(t, c, 5, sliver.Size)
	c.mu.Lock()
	c.dropHead(&p, sliver.Key{File: 5}, 0)
	c.mu.Unlock()
	for i := range sliver.No(15) {
		if _, err := c.Write(sliver.Key{File: 7, No: i}, hole, 0, pattern(1, sliver.Size), nil); err != nil {
			t.Fatal(err)
		}
	}
	d, err := c.Read(sliver.Key{File: 5}, absent(sliver.Size), 0, 1, nil) // held, so it is not evicted
	if err != nil {
		t.Fatal(err)
	}
	defer d.Release()
	w := parkWrite(t, c, sliver.Key{File: 8}, hole, 0, pattern(1, sliver.Size))
	if c.makeHead(&p, 5); c.lookup(sliver.Key{File: 5, No: headNo}) != nil {
		t.Error("a head was made")
	}
	if !c.Cancel(&w.Waiter) {
		t.Error("not parked")
	}
}

func TestStubSizesAreChecked(t *testing.T) {
	if _, err := Open(Config{Dir: t.TempDir(), SizeBytes: MinSizeBytes, Stub: 64 << 10}); err == nil {
		t.Error("a stub of 64 KiB is taken")
	}
}

// BenchmarkEvictFile evicts files and brings them back, by the length of the stub.
func BenchmarkEvictFile(b *testing.B) {
	for _, x := range []struct {
		name    string
		n, stub int
	}{{"9KB", 9000, 0}, {"9KB/stub", 9000, stub}, {"300KB", 300_000, 0}, {"300KB/stub", 300_000, stub}, {"300KB/stub60", 300_000, 60 << 10}, {"1MiB", 1 << 20, 0}, {"1MiB/stub60", 1 << 20, 60 << 10}} {
		b.Run(x.name, func(b *testing.B) {
			c := openStub(b, b.TempDir(), x.stub)
			defer c.Close()
			p := pattern(1, x.n)
			sum := xxhash.Sum64(p)
			b.SetBytes(int64(x.n))
			for i := 0; b.Loop(); i++ {
				f := sliver.FileID(2 + i)
				seq, _ := c.Want(sliver.Key{File: f}, absent(x.n), vfs.Client)
				if err := c.Deliver(sliver.Key{File: f}, seq, p, 1, sum); err != nil {
					b.Fatal(err)
				}
				c.EvictFile(f)
			}
		})
	}
}

func BenchmarkReadHead(b *testing.B) {
	c := withHeads(b)
	bring(b, c, 5, 300_000)
	c.EvictFile(5)
	for b.Loop() {
		d, ok := c.ReadHead(5, 1, 0, 4096)
		if !ok {
			b.Fatal("no head")
		}
		d.Release()
	}
}

// BenchmarkHeadMemory says how much of the Go heap a head takes.
func BenchmarkHeadMemory(b *testing.B) {
	c, err := Open(Config{Dir: b.TempDir(), SizeBytes: 256 << 20, Stub: 4096, HighWater: 1, LowWater: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	used := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const files = 15_000
	p := pattern(1, 5000)
	sum := xxhash.Sum64(p)
	for b.Loop() {
		before := used()
		for f := sliver.FileID(2); f < 2+files; f++ {
			seq, _ := c.Want(sliver.Key{File: f}, absent(len(p)), vfs.Client)
			if err := c.Deliver(sliver.Key{File: f}, seq, p, 1, sum); err != nil {
				b.Fatal(err)
			}
			c.EvictFile(f)
		}
		b.ReportMetric(float64(used()-before)/files, "B/head")
		for f := sliver.FileID(2); f < 2+files; f++ {
			c.Drop(f, 0)
		}
	}
}
