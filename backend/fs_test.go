package backend

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/hugelgupf/p9/p9"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"sliod/backend/catalog/catalogcheck"
	"sliod/backend/vfs"
	"sliod/tape/virtual"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is an archive over a virtual library, for tests.
type world struct {
	t    testing.TB
	opts Options
	cfg  virtual.Config // of lib
	lib  *virtual.Library
	fs   *FS
	root vfs.Node
}

func newWorld(t testing.TB, change ...func(*Options, *virtual.Config)) *world {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	if testing.Verbose() {
		log.SetOutput(testWriter{t})
		log.SetLevel(logrus.DebugLevel)
	}
	dir := t.TempDir()
	w := &world{t: t, opts: Options{Dir: dir, Log: logrus.NewEntry(log), CacheBytes: 64 << 20, ArchiveIdle: -1, SyncInterval: time.Hour, Look: time.Hour}}
	w.opts.Mover.Log = w.opts.Log
	w.cfg = virtual.Config{Dir: dir + "/library", Drives: 2, Slots: 8, Cartridge: "LTO-9", Capacity: 1 << 30, Log: w.opts.Log}
	for _, c := range change {
		c(&w.opts, &w.cfg)
	}
	var err error
	if w.lib, err = virtual.Open(w.cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.lib.Close() })
	w.open()
	t.Cleanup(w.close)
	return w
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

func (w *world) open() {
	w.t.Helper()
	w.opts.Library = w.lib.Tape()
	var err error
	if w.fs, err = Open(w.opts); err != nil {
		w.t.Fatal(err)
	}
	w.root = w.node("/")
}

func (w *world) close() {
	if w.fs == nil {
		return
	}
	w.t.Helper()
	w.root.Release()
	if err := w.fs.Close(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	w.fs = nil
	if err := catalogcheck.Check(filepath.Join(w.opts.Dir, "catalog"), w.opts.CatalogDisk); err != nil {
		w.t.Error(err)
	}
}

func (w *world) restart() {
	w.t.Helper()
	w.close()
	w.open()
}

func (w *world) node(path string) vfs.Node {
	w.t.Helper()
	n, err := w.fs.Attach(rootCred, path)
	if err != nil {
		w.t.Fatalf("%s: %v", path, err)
	}
	return n
}

// create makes a file and returns it open.
func (w *world) create(name string) (vfs.Node, vfs.File) {
	w.t.Helper()
	n, f, err := w.root.Create(rootCred, name, openReadWrite, 0o644, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return n, f
}

// put makes a file with content.
func (w *world) put(name string, content []byte) {
	w.t.Helper()
	n, f := w.create(name)
	defer n.Release()
	defer f.Close()
	w.write(f, 0, content)
}

// waiter is a parked request of a test.
type waiter struct {
	vfs.Waiter
	woken chan struct{}
	n     int
	err   error
}

func newWaiter() *waiter {
	w := &waiter{woken: make(chan struct{})}
	w.Waker = w
	return w
}

func (w *waiter) Wake(n int, err error) {
	w.n, w.err = n, err
	close(w.woken)
}

// write writes all of p, waiting for tape where it must.
func (w *world) write(f vfs.File, off uint64, p []byte) {
	w.t.Helper()
	for len(p) > 0 {
		wt := newWaiter()
		n, err := f.WriteAt(off, p, &wt.Waiter)
		if err == vfs.ErrParked {
			<-wt.woken
			n, err = wt.n, wt.err
		}
		if err != nil {
			w.t.Fatalf("write at %d: %v", off, err)
		}
		if n == 0 {
			w.t.Fatalf("write at %d: count 0", off)
		}
		p = p[n:]
		off += uint64(n)
	}
}

func gather(d *vfs.Data) []byte {
	var b []byte
	for s := d; s != nil; s = s.More {
		b = append(b, s.Bytes...)
		b = append(b, make([]byte, s.Zeros)...)
	}
	d.Release()
	return b
}

// readOnce is one read, to its end.
func readOnce(f vfs.File, off uint64, n int) ([]byte, error) {
	for {
		wt := newWaiter()
		d, err := f.ReadAt(off, n, &wt.Waiter)
		if err != vfs.ErrParked {
			return gather(&d), err
		}
		<-wt.woken
		if wt.err != nil {
			return nil, wt.err
		}
	}
}

// read reads n bytes, or up to the end of the file.
func (w *world) read(f vfs.File, off uint64, n int) []byte {
	w.t.Helper()
	var all []byte
	for n > 0 {
		b, err := readOnce(f, off, n)
		if err != nil {
			w.t.Fatalf("read at %d: %v", off, err)
		}
		if len(b) == 0 {
			break
		}
		all = append(all, b...)
		off += uint64(len(b))
		n -= len(b)
	}
	return all
}

// openFile opens a path for reading and writing.
func (w *world) openFile(path string) (vfs.File, func()) {
	w.t.Helper()
	n := w.node(path)
	f, err := n.Open(rootCred, openReadWrite)
	if err != nil {
		w.t.Fatal(err)
	}
	return f, func() {
		f.Close()
		n.Release()
	}
}

func (w *world) content(path string) []byte {
	w.t.Helper()
	f, done := w.openFile(path)
	defer done()
	return w.read(f, 0, 1<<30)
}

// job runs a job to its end, which must be a good one.
func (w *world) job(kind JobKind, paths ...string) JobStatus {
	w.t.Helper()
	s := w.ended(kind, paths...)
	if s.State != "done" {
		w.t.Fatalf("%s %v: %+v", kind, paths, s)
	}
	return s
}

// ended runs a job to its end, whatever comes of it.
func (w *world) ended(kind JobKind, paths ...string) JobStatus {
	w.t.Helper()
	id, err := w.fs.StartJob(kind, paths)
	if err != nil {
		w.t.Fatal(err)
	}
	w.fs.jobs.mu.Lock()
	j := w.fs.jobs.m[id]
	w.fs.jobs.mu.Unlock()
	<-j.finished
	return j.status()
}

func (w *world) state(path string) string {
	w.t.Helper()
	n := w.node(path)
	defer n.Release()
	v, err := n.Xattr(rootCred, "user.sliod.state")
	if err != nil {
		w.t.Fatal(err)
	}
	return string(v)
}

func fsync(f vfs.File) error {
	wt := newWaiter()
	err := f.Fsync(false, &wt.Waiter)
	if err == vfs.ErrParked {
		<-wt.woken
		err = wt.err
	}
	return err
}

// pattern is content that differs everywhere.
func pattern(seed, n int) []byte {
	b := make([]byte, n)
	x := uint64(seed)*0x9E3779B97F4A7C15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

func TestWriteReadRestart(t *testing.T) {
	w := newWorld(t)
	for name, n := range map[string]int{"empty": 0, "one": 1, "page": 4096, "small": 70_000, "sliver": 1 << 20, "long": 3<<20 + 17} {
		w.put(name, pattern(n, n))
	}
	check := func() {
		t.Helper()
		for name, n := range map[string]int{"empty": 0, "one": 1, "page": 4096, "small": 70_000, "sliver": 1 << 20, "long": 3<<20 + 17} {
			if !bytes.Equal(w.content(name), pattern(n, n)) {
				t.Errorf("%s differs", name)
			}
		}
	}
	check()
	w.restart()
	check()
	before := w.fs.cache.Stats()
	if before.UsedBytes == 0 {
		t.Error("the cache is cold after a clean restart")
	}
}

// The main job, without server and kernel: archive, evict, fault back, compare.
func TestArchiveEvictFault(t *testing.T) {
	w := newWorld(t)
	sizes := map[string]int{"empty": 0, "one": 1, "small": 70_000, "long": 5<<20 + 17}
	for name, n := range sizes {
		w.put(name, pattern(n, n))
	}
	if s := w.job(JobArchive, "/"); s.Bytes == 0 || s.BytesDone != s.Bytes || s.FilesDone != s.Files {
		t.Errorf("the job's progress at its end: %+v", s)
	}
	for name, want := range map[string]string{"one": "premigrated", "long": "premigrated", "empty": "migrated"} {
		if got := w.state(name); got != want {
			t.Errorf("%s is %s after archive, want %s", name, got, want)
		}
	}
	w.job(JobEvict, "/")
	if got := w.state("long"); got != "migrated" {
		t.Errorf("long is %s after evict", got)
	}
	for name, n := range sizes {
		if !bytes.Equal(w.content(name), pattern(n, n)) {
			t.Errorf("%s differs after the fault", name)
		}
	}
	w.job(JobEvict, "/")
	w.restart()
	w.job(JobRecall, "/")
	if got := w.state("long"); got != "premigrated" {
		t.Errorf("long is %s after recall", got)
	}
	for name, n := range sizes {
		if !bytes.Equal(w.content(name), pattern(n, n)) {
			t.Errorf("%s differs after recall", name)
		}
	}
}

// A write into an archived file merges with what the tape delivers.
func TestWriteMergesWithTape(t *testing.T) {
	w := newWorld(t)
	want := pattern(1, 4<<20+100)
	w.put("f", want)
	w.job(JobArchive, "/f")
	w.job(JobEvict, "/f")
	f, done := w.openFile("f")
	defer done()
	for i, off := range []int{100_000, 1<<20 - 7, 3 << 20, 4 << 20, len(want)} {
		p := pattern(100+i, 64<<10)
		w.write(f, uint64(off), p)
		want = append(want[:off], append(p, want[min(len(want), off+len(p)):]...)...)
	}
	if !bytes.Equal(w.read(f, 0, 1<<30), want) {
		t.Fatal("differs before archive")
	}
	w.job(JobArchive, "/f")
	w.job(JobEvict, "/f")
	if !bytes.Equal(w.content("f"), want) {
		t.Fatal("differs after archive and evict")
	}
}

func TestTruncateOfArchivedFile(t *testing.T) {
	w := newWorld(t)
	want := pattern(1, 3<<20)
	w.put("f", want)
	w.job(JobArchive, "/f")
	w.job(JobEvict, "/f")
	n := w.node("f")
	defer n.Release()
	truncate := func(size int) {
		t.Helper()
		if err := n.Setattr(rootCred, p9.SetAttrMask{Size: true}, p9.SetAttr{Size: uint64(size)}, false); err != nil {
			t.Fatal(err)
		}
		if size < len(want) {
			want = want[:size:size]
		} else {
			want = append(want, make([]byte, size-len(want))...)
		}
	}
	truncate(1<<20 + 1000)
	truncate(2 << 20)
	if !bytes.Equal(w.content("f"), want) {
		t.Fatal("bytes behind the cut are not zero")
	}
	truncate(500)
	truncate(5000)
	w.restart()
	n.Release()
	n = w.node("f")
	if !bytes.Equal(w.content("f"), want) {
		t.Fatal("differs after the restart")
	}
}

// Files are archived without a command when they have been quiet for long enough,
// and when the cache holds too much that is not on tape.
func TestArchivesByItself(t *testing.T) {
	for name, idle := range map[string]time.Duration{"quiet": time.Nanosecond, "dirty share": -1} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(o *Options, _ *virtual.Config) {
				o.ArchiveIdle, o.ArchiveDirty = idle, 0.1
			})
			want := pattern(7, 10<<20)
			w.put("f", want)
			w.fs.archivePending(t.Context(), false) // as the syncer's timer does
			eventually(t, "it is on tape", func() bool { return w.state("f") == "premigrated" })
			w.job(JobEvict, "/f")
			if !bytes.Equal(w.content("f"), want) {
				t.Error("differs")
			}
		})
	}
}

// Files whose slots fill the cache, though their bytes are few, are archived when
// a writer finds no slot, whatever archive.idle says.
func TestWritersWaitForTheMover(t *testing.T) {
	w := newWorld(t)
	for i := range 150 {
		w.put(fmt.Sprintf("f%d", i), pattern(i, 256<<10))
	}
	for i := range 150 {
		if !bytes.Equal(w.content(fmt.Sprintf("f%d", i)), pattern(i, 256<<10)) {
			t.Errorf("file %d differs", i)
		}
	}
}

// A file that is one hole has nothing to sync and nothing in the cache: once it has
// been archived it stays so.
func TestHoleStaysArchived(t *testing.T) {
	w := newWorld(t)
	w.put("f", nil)
	n := w.node("f")
	defer n.Release()
	if err := n.Setattr(rootCred, p9.SetAttrMask{Size: true}, p9.SetAttr{Size: 3<<20 + 5}, false); err != nil {
		t.Fatal(err)
	}
	w.job(JobArchive, "/f")
	for range 2 {
		if got := w.state("f"); got != "migrated" {
			t.Errorf("the file is %s", got)
		}
		if err := w.fs.syncAll(); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(w.content("f"), make([]byte, 3<<20+5)) {
		t.Error("differs")
	}
}
