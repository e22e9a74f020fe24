package backend

import (
	"bytes"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend/vfs"
	"sliod/tape/virtual"
)

const stub = 16 << 10

// stubbed is an archive with stubs, in which file f, of size bytes, is on tape, and only its head in the cache.
func stubbed(t *testing.T, size int) (w *world, content []byte, f vfs.File) {
	t.Helper()
	w = newWorld(t, func(o *Options, c *virtual.Config) { o.CacheStub, c.Drives = stub, 1 })
	content = pattern(3, size)
	w.put("f", content)
	w.job(JobArchive, "/f")
	w.job(JobEvict, "/f")
	f, done := w.openFile("/f")
	t.Cleanup(done)
	return w, content, f
}

// now reads what can be read without waiting.
func (w *world) now(f vfs.File, off uint64, n int) ([]byte, error) {
	d, err := f.ReadAt(off, n, nil)
	if err != nil {
		return nil, err
	}
	return gather(&d), nil
}

func (w *world) blocks(path string) uint64 {
	w.t.Helper()
	n := w.node(path)
	defer n.Release()
	a, err := n.Getattr(rootCred)
	if err != nil {
		w.t.Fatal(err)
	}
	return a.Blocks
}

// What lies in the head of a file on tape is read at once; what goes beyond is answered short,
// and the rest waits for the tape.
func TestStub(t *testing.T) {
	w, content, f := stubbed(t, 3*mib+5)
	if s := w.state("/f"); s != string(Migrated) {
		t.Errorf("the file is %s", s)
	}
	if b := w.blocks("/f"); b != stub/512 {
		t.Errorf("it has %d blocks", b)
	}
	check := func(what string) {
		t.Helper()
		for _, x := range []struct{ off, n, want int }{{0, 512, 512}, {0, stub, stub}, {0, mib, stub}, {0, 2 * mib, stub}, {stub - 1, 1, 1}, {stub - 1, 100, 1}} {
			if got, err := w.now(f, uint64(x.off), x.n); err != nil || !bytes.Equal(got, content[x.off:x.off+x.want]) {
				t.Errorf("%s: %d bytes at %d: got %d, want %d (%v)", what, x.n, x.off, len(got), x.want, err)
			}
		}
		for _, off := range []int{stub, mib - 1, mib, 2*mib + 7} {
			if got, err := w.now(f, uint64(off), 100); err != vfs.ErrWouldWait {
				t.Errorf("%s: at %d: %d bytes, %v", what, off, len(got), err)
			}
		}
		if s := w.fs.cache.Stats(); s.Faults != 0 || s.Parks != 0 {
			t.Errorf("%s: something was recalled: %+v", what, s)
		}
	}
	check("evicted")
	if err := w.root.RenameAt(rootCred, "f", w.root, "g"); err != nil {
		t.Fatal(err)
	}
	check("renamed")
	if got := w.read(f, 0, 4*mib); !bytes.Equal(got, content) {
		t.Error("all of it differs")
	}
	if s := w.state("/g"); s != string(Premigrated) {
		t.Errorf("the file is %s when it was read", s)
	}
	if b := w.blocks("/g"); b != uint64(len(content)+511)/512 {
		t.Errorf("it has %d blocks when it was read", b)
	}
}

// The head outlives restarts, until stubs are shorter than it.
func TestStubAfterRestart(t *testing.T) {
	w, content, _ := stubbed(t, 3*mib)
	for _, x := range []struct{ stub, want int }{{stub, stub}, {60 << 10, stub}, {4096, 0}, {0, 0}} {
		w.opts.CacheStub = x.stub
		w.restart()
		func() {
			f, done := w.openFile("/f")
			defer done()
			got, err := w.now(f, 0, mib)
			if x.want == 0 && err != vfs.ErrWouldWait || x.want > 0 && !bytes.Equal(got, content[:x.want]) {
				t.Errorf("with stubs of %d bytes: %d bytes, %v", x.stub, len(got), err)
			}
		}()
	}
}

// A file that is no longer than a stub stays: it is read and written without the tape.
func TestSmallFileStays(t *testing.T) {
	w, content, f := stubbed(t, stub)
	if s := w.state("/f"); s != string(Premigrated) {
		t.Errorf("the file is %s", s)
	}
	if n, err := f.WriteAt(5, []byte("abc"), nil); n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	copy(content[5:], "abc")
	w.job(JobArchive, "/")
	w.job(JobEvict, "/")
	if got, err := w.now(f, 0, mib); !bytes.Equal(got, content) || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// What wants the sliver itself is not content with the head.
func TestStubIsNotTheSliver(t *testing.T) {
	w, content, f := stubbed(t, 2*mib)
	if _, err := f.WriteAt(5, []byte("abc"), nil); err != vfs.ErrWouldWait {
		t.Errorf("a write into the head: %v", err)
	}
	x := f.(vfs.Extended)
	if _, err := x.Allocate(vfs.ZeroRange, 7, 5, nil); err != vfs.ErrWouldWait {
		t.Errorf("zeros into the head: %v", err)
	}
	w.write(f, 5, []byte("abc")) // waits for the tape
	copy(content[5:], "abc")
	if got := w.content("/f"); !bytes.Equal(got, content) {
		t.Error("it differs after a write")
	}
	w.job(JobArchive, "/")
	w.job(JobEvict, "/")
	if got, err := w.now(f, 0, mib); err != nil || !bytes.Equal(got, content[:stub]) {
		t.Errorf("the head is not that of the new content: %v", err)
	}
	w.job(JobRecall, "/f")
	if s := w.state("/f"); s != string(Premigrated) {
		t.Errorf("after a recall the file is %s", s)
	}
}

func TestStubAndTruncate(t *testing.T) {
	for _, x := range []struct{ to, again, head int }{
		{stub / 2, 0, 0}, {stub / 2, mib, 0}, {stub, 0, stub}, {mib + 5, 0, stub}, {mib + 5, 2 * mib, stub}, {0, mib, mib}, {3 * mib, 0, stub},
	} {
		w, content, f := stubbed(t, 2*mib)
		want := append(content[:min(x.to, 2*mib):min(x.to, 2*mib)], make([]byte, max(0, max(x.to, x.again)-2*mib))...)
		n := w.node("/f")
		for _, size := range []int{x.to, x.again} {
			if size == 0 && x.to != 0 {
				continue
			}
			if err := n.Setattr(rootCred, p9.SetAttrMask{Size: true}, p9.SetAttr{Size: uint64(size)}, false); err != nil {
				t.Fatal(err)
			}
		}
		n.Release()
		want = append(want, make([]byte, max(0, max(x.to, x.again)-len(want)))...)
		got, err := w.now(f, 0, mib)
		if x.head == 0 && err != vfs.ErrWouldWait || x.head > 0 && (err != nil || !bytes.Equal(got, want[:x.head])) {
			t.Errorf("cut to %d and %d: %d bytes, %v", x.to, x.again, len(got), err)
		}
		w.restart()
		if got := w.content("/f"); !bytes.Equal(got, want) {
			t.Errorf("cut to %d and %d: %d bytes, want %d, or they differ", x.to, x.again, len(got), len(want))
		}
	}
}

// Where recalls are refused, heads are read, and nothing is asked for them.
func TestStubWhereRecallsAreDenied(t *testing.T) {
	w, content, _ := stubbed(t, 2*mib)
	g := &askGate{err: linux.EAGAIN}
	n := w.node("/f")
	defer n.Release()
	f, err := n.Open(&vfs.Cred{Recalls: g}, openReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := readOnce(f, 0, mib); err != nil || !bytes.Equal(got, content[:stub]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	g.wants(t)
	if _, err := readOnce(f, stub, 10); err != linux.EAGAIN {
		t.Errorf("behind the head: %v", err)
	}
}

// A copy of the range is a copy of what is there, then of what the tape brings.
func TestStubIsCopied(t *testing.T) {
	w, content, f := stubbed(t, mib)
	n, to := w.create("copy")
	defer n.Release()
	defer to.Close()
	if n, err := to.(vfs.Extended).CopyFrom(f, 0, 0, mib, nil); n != stub || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if got := w.read(to, 0, mib); !bytes.Equal(got, content[:stub]) {
		t.Error("the copy differs")
	}
}

// BenchmarkReadBegin reads the first bytes of a file that is in the cache, without and with stubs, and of one whose
// head is.
func BenchmarkReadBegin(b *testing.B) {
	for _, bc := range []struct {
		name    string
		stub    int
		evicted bool
	}{{"resident", 0, false}, {"resident-stub", stub, false}, {"head", stub, true}} {
		b.Run(bc.name, func(b *testing.B) {
			w := newWorld(b, func(o *Options, c *virtual.Config) { o.CacheStub, c.Drives = bc.stub, 1 })
			w.put("f", pattern(3, 3*mib))
			w.job(JobArchive, "/f")
			if bc.evicted {
				w.job(JobEvict, "/f")
			}
			f, done := w.openFile("/f")
			defer done()
			for b.Loop() {
				d, err := f.ReadAt(0, 4096, nil)
				if err != nil {
					b.Fatal(err)
				}
				d.Release()
			}
		})
	}
}
