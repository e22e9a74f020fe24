package bridge

import (
	"context"
	stderrors "errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"go.uber.org/goleak"

	"sliod/client9p"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeTree counts what is open. Its files are those that are asked for by "1", "2" ...
type fakeTree struct {
	mu      sync.Mutex
	files   int // open Files
	walked  int // files that were walked to
	handles int
	locks   []client9p.Lock
	version uint32
	size    uint64 // of each file
	readdir func(off uint64) ([]p9.Dirent, error)
	write   func(p []byte) (int, error)
	by      p9.OpenFlags // of the handle that wrote last

	takenFor string // as whom the server takes who asks; "": it does not say
}

type fakeFile struct {
	staleFile
	t    *fakeTree
	path uint64
}

func (t *fakeTree) file(path uint64) *fakeFile {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.files++
	return &fakeFile{t: t, path: path}
}

func (t *fakeTree) Attach(context.Context, uint32) (File, error) { return t.file(1), nil }
func (t *fakeTree) Close() error                                 { return nil }

func (f *fakeFile) Xattr(_ context.Context, name string) ([]byte, error) {
	if name == "user.sliod.uid" && f.t.takenFor != "" {
		return []byte(f.t.takenFor), nil
	}
	return nil, linux.ENODATA
}
func (f *fakeFile) QID() p9.QID { return p9.QID{Path: f.path} }

func (f *fakeFile) Close() {
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	f.t.files--
}

func (f *fakeFile) Walk(_ context.Context, name string) (Entry, error) {
	var path uint64
	if _, err := fmt.Sscan(name, &path); err != nil {
		return Entry{}, linux.ENOENT
	}
	f.t.mu.Lock()
	f.t.walked++
	f.t.mu.Unlock()
	return Entry{File: f.t.file(path), Attr: p9.Attr{Mode: p9.ModeRegular | 0o644, NLink: 1, Size: f.t.size}}, nil
}

func (f *fakeFile) WalkAll(ctx context.Context, names []string) []Walked {
	list := make([]Walked, len(names))
	for i, name := range names {
		list[i].Entry, list[i].Err = f.Walk(ctx, name)
	}
	return list
}

func (f *fakeFile) Open(_ context.Context, flags p9.OpenFlags) (Handle, error) {
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	f.t.handles++
	return &fakeHandle{t: f.t, qid: p9.QID{Path: f.path, Version: f.t.version}, flags: flags}, nil
}

type fakeHandle struct {
	Handle // what is not used here
	t      *fakeTree
	qid    p9.QID
	flags  p9.OpenFlags
}

func (h *fakeHandle) QID() p9.QID { return h.qid }

func (h *fakeHandle) Close() {
	h.t.mu.Lock()
	defer h.t.mu.Unlock()
	h.t.handles--
}

func (h *fakeHandle) Readdir(_ context.Context, off uint64) ([]p9.Dirent, error) {
	return h.t.readdir(off)
}

func (h *fakeHandle) WriteAt(_ context.Context, p []byte, _ uint64) (int, error) {
	h.t.by = h.flags
	return h.t.write(p)
}

func (h *fakeHandle) ReadAt(_ context.Context, p []byte, _ uint64) (int, error) {
	return copy(p, "content"), nil
}

func (h *fakeHandle) SetLock(_ context.Context, l client9p.Lock, _ bool) error {
	h.t.mu.Lock()
	defer h.t.mu.Unlock()
	h.t.locks = append(h.t.locks, l)
	return nil
}

func newFake(t *testing.T) (*fakeTree, *FS) {
	t.Helper()
	tree := &fakeTree{version: 7}
	fs, err := New(t.Context(), tree, uint32(os.Getuid()), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		fs.OnUnmount()
		if tree.files != 0 || tree.handles != 0 {
			t.Errorf("after the unmount %d files and %d handles are open", tree.files, tree.handles)
		}
	})
	return tree, fs
}

// header is one of a process that is alive: ours.
func header(node uint64) fuse.InHeader {
	return fuse.InHeader{NodeId: node, Caller: fuse.Caller{Owner: fuse.Owner{Uid: uint32(os.Getuid())}, Pid: uint32(os.Getpid())}}
}

func lookup(t *testing.T, fs *FS, name string) uint64 {
	t.Helper()
	in := header(fuse.FUSE_ROOT_ID)
	var out fuse.EntryOut
	if st := fs.Lookup(nil, &in, name, &out); st != fuse.OK {
		t.Error(st)
	}
	return out.NodeId
}

func open(t *testing.T, fs *FS, node uint64, flags uint32) (uint64, uint32) {
	t.Helper()
	var out fuse.OpenOut
	if st := fs.Open(nil, &fuse.OpenIn{InHeader: header(node), Flags: flags}, &out); st != fuse.OK {
		t.Fatal(st)
	}
	return out.Fh, out.OpenFlags
}

// Lookups and forgets of the same files run into each other: the counts are right at the
// end, and each file is held once.
func TestForget(t *testing.T) {
	tree, fs := newFake(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 500 {
				fs.Forget(lookup(t, fs, fmt.Sprint(2+i%3)), 1)
			}
		})
	}
	wg.Wait()
	fs.closing.Wait()
	if len(fs.nodes) != 1 || len(fs.byPath) != 1 || tree.files != 1 {
		t.Errorf("%d nodes, %d paths, %d files are left; want the root alone", len(fs.nodes), len(fs.byPath), tree.files)
	}
	a, b := lookup(t, fs, "5"), lookup(t, fs, "5")
	fs.Forget(a, 1)
	if a != b || fs.node(a) == stale {
		t.Error("a file is forgotten before its last lookup")
	}
	fs.Forget(a, 1)
	if fs.node(a) != stale {
		t.Error("a file is not forgotten")
	}
	in := header(a)
	if st := fs.Lookup(nil, &in, "1", new(fuse.EntryOut)); st != fuse.Status(syscall.ESTALE) {
		t.Errorf("lookup below a number that is not known: %v", st)
	}
	fs.Forget(fuse.FUSE_ROOT_ID, 100)
	if fs.node(fuse.FUSE_ROOT_ID) == stale {
		t.Error("the root is forgotten")
	}
}

func openDir(t *testing.T, fs *FS) uint64 {
	t.Helper()
	var out fuse.OpenOut
	if st := fs.OpenDir(nil, &fuse.OpenIn{InHeader: header(fuse.FUSE_ROOT_ID)}, &out); st != fuse.OK {
		t.Fatal(st)
	}
	return out.Fh
}

// twenty is a directory with the names from "101" to "120".
func twenty(off uint64) (list []p9.Dirent, _ error) {
	for i := off + 1; i <= 20; i++ {
		list = append(list, p9.Dirent{QID: p9.QID{Path: 100 + i}, Offset: i, Name: fmt.Sprint(100 + i)})
	}
	return list, nil
}

// What does not fit in the kernel's buffer counts as no lookup, and is not walked to.
func TestReadDirPlusCounts(t *testing.T) {
	tree, fs := newFake(t)
	tree.readdir = twenty
	fh := openDir(t, fs)
	buf := make([]byte, 1000)
	in := &fuse.ReadIn{InHeader: header(fuse.FUSE_ROOT_ID), Fh: fh, Size: 1000}
	if st := fs.ReadDirPlus(nil, in, fuse.NewDirEntryList(buf, 0)); st != fuse.OK {
		t.Fatal(st)
	}
	told := len(fs.nodes) - 1
	if told == 0 || told == 20 {
		t.Fatalf("%d names were told", told)
	}
	if tree.walked != told {
		t.Errorf("%d files were walked to, and %d told", tree.walked, told)
	}
	in.Offset = 0 // rewinddir
	if st := fs.ReadDirPlus(nil, in, fuse.NewDirEntryList(buf, 0)); st != fuse.OK {
		t.Fatal(st)
	}
	for id, n := range fs.nodes {
		if id != fuse.FUSE_ROOT_ID && n.lookups != 2 {
			t.Errorf("%d lookups of a name that was told twice", n.lookups)
		}
	}
	fs.ReleaseDir(&fuse.ReleaseIn{InHeader: header(fuse.FUSE_ROOT_ID), Fh: fh})
	fs.closing.Wait()
	if tree.files != told+1 || tree.handles != 0 {
		t.Errorf("%d files and %d handles are open after the release, want %d and none", tree.files, tree.handles, told+1)
	}
}

// The kernel is told attributes of the time of its request, not those that came with an earlier
// one: it would go back to them.
func TestReadDirPlusFresh(t *testing.T) {
	tree, fs := newFake(t)
	tree.readdir = twenty
	fh := openDir(t, fs)
	in := &fuse.ReadIn{InHeader: header(fuse.FUSE_ROOT_ID), Fh: fh, Size: 1000}
	for in.Offset < 20 {
		tree.size++
		list := fuse.NewDirEntryList(make([]byte, 1000), in.Offset)
		if st := fs.ReadDirPlus(nil, in, list); st != fuse.OK {
			t.Fatal(st)
		}
		names, attrs, err := fuse.ParseDirLookupEntries(list.Bytes())
		if err != nil || len(names) == 0 {
			t.Fatalf("%d names, %v", len(names), err)
		}
		for i, a := range attrs {
			if a.Attr.Size != tree.size {
				t.Errorf("%s is told to have %d bytes, and has %d", names[i].Name, a.Attr.Size, tree.size)
			}
		}
		in.Offset = names[len(names)-1].Off
	}
	fs.ReleaseDir(&fuse.ReleaseIn{InHeader: header(fuse.FUSE_ROOT_ID), Fh: fh})
}

// An error is not the end of the directory, however often it is asked.
func TestReadDirError(t *testing.T) {
	tree, fs := newFake(t)
	tree.readdir = func(off uint64) ([]p9.Dirent, error) {
		if off == 0 {
			return []p9.Dirent{{Offset: 1, Name: "101"}}, nil
		}
		return nil, linux.EIO
	}
	fh := openDir(t, fs)
	in := &fuse.ReadIn{InHeader: header(fuse.FUSE_ROOT_ID), Fh: fh}
	if st := fs.ReadDir(nil, in, fuse.NewDirEntryList(make([]byte, 1000), 0)); st != fuse.OK {
		t.Errorf("the names before the error: %v", st)
	}
	in.Offset = 1
	for range 2 {
		if st := fs.ReadDir(nil, in, fuse.NewDirEntryList(make([]byte, 1000), 1)); st != fuse.EIO {
			t.Errorf("the error: %v", st)
		}
	}
	fs.ReleaseDir(&fuse.ReleaseIn{InHeader: header(fuse.FUSE_ROOT_ID), Fh: fh})
}

// The kernel may keep a file's pages only if an earlier open of the same version has
// reached it.
func TestKeepCache(t *testing.T) {
	tree, fs := newFake(t)
	n := lookup(t, fs, "5")
	kept := func(want bool, what string) uint64 {
		t.Helper()
		fh, flags := open(t, fs, n, syscall.O_RDONLY)
		if got := flags&fuse.FOPEN_KEEP_CACHE != 0; got != want {
			t.Errorf("%s: kept %v", what, got)
		}
		return fh
	}
	flush := func(fh uint64) {
		if st := fs.Flush(nil, &fuse.FlushIn{InHeader: header(n), Fh: fh}); st != fuse.OK {
			t.Error(st)
		}
	}
	a := kept(false, "the first open")
	kept(false, "an open before the answer to the first has reached the kernel")
	flush(a)
	flush(kept(true, "the same version"))
	tree.version = 8
	b := kept(false, "another version")
	flush(b)
	flush(kept(true, "that version again"))
	tree.version = 0
	flush(kept(false, "version 0"))
	flush(kept(false, "version 0 again"))
}

// Locks go with the first close by their owner, through whichever open file.
func TestLockOwners(t *testing.T) {
	tree, fs := newFake(t)
	n := lookup(t, fs, "5")
	a, _ := open(t, fs, n, syscall.O_RDWR)
	b, _ := open(t, fs, n, syscall.O_RDONLY)
	lock := func(fh, owner uint64, pid uint32) {
		in := &fuse.LkIn{InHeader: header(n), Fh: fh, Owner: owner, Lk: fuse.FileLock{Start: 1, End: 10, Typ: syscall.F_WRLCK, Pid: pid}}
		if st := fs.SetLk(nil, in); st != fuse.OK {
			t.Fatal(st)
		}
	}
	flush := func(fh, owner uint64) int {
		was := len(tree.locks)
		if st := fs.Flush(nil, &fuse.FlushIn{InHeader: header(n), Fh: fh, LockOwner: owner}); st != fuse.OK {
			t.Fatal(st)
		}
		return len(tree.locks) - was
	}
	lock(a, 77, 1234)
	if flush(b, 78) != 0 {
		t.Error("a close by another unlocks")
	}
	if flush(b, 77) != 1 {
		t.Fatal("a close of another open file of the owner does not unlock")
	}
	first, last := tree.locks[0], tree.locks[1]
	if last.Type != client9p.Unlock || last.Start != 0 || last.Length != 0 || last.ProcID != 1234 || last.ClientID != first.ClientID {
		t.Errorf("locked %+v, unlocked %+v", first, last)
	}
	if flush(a, 77) != 0 {
		t.Error("unlocked twice")
	}
	lock(a, 79, 1) // as flock(2): it ends with the open file
	fs.Release(nil, &fuse.ReleaseIn{InHeader: header(n), Fh: a})
	if o := fs.node(n).owners; len(o) != 0 {
		t.Errorf("%d owners are kept", len(o))
	}
}

// Of a page nobody writes the rest again: it fails if it was not written whole.
func TestShortWrite(t *testing.T) {
	tree, fs := newFake(t)
	n := lookup(t, fs, "5")
	fh, flags := open(t, fs, n, syscall.O_RDWR|syscall.O_APPEND)
	if flags&fuse.FOPEN_DIRECT_IO == 0 {
		t.Error("appending goes through the kernel's pages")
	}
	tree.write = func(p []byte) (int, error) { return len(p) / 2, linux.ENOSPC }
	in := &fuse.WriteIn{InHeader: header(n), Fh: fh, Flags: syscall.O_RDWR | syscall.O_APPEND}
	if c, st := fs.Write(nil, in, make([]byte, 100)); c != 50 || st != fuse.OK {
		t.Errorf("write: %d, %v", c, st)
	}
	in.WriteFlags = 1 // FUSE_WRITE_CACHE
	if _, st := fs.Write(nil, in, make([]byte, 100)); st != fuse.Status(syscall.ENOSPC) {
		t.Errorf("a page: %v", st)
	}
}

func TestStatus(t *testing.T) {
	_, fs := newFake(t)
	for _, tc := range []struct {
		err  error
		want fuse.Status
	}{
		{nil, fuse.OK},
		{linux.ENOENT, fuse.ENOENT},
		{fmt.Errorf("wrapped: %w", linux.EDQUOT), fuse.Status(syscall.EDQUOT)},
		{context.Canceled, fuse.EINTR},
		{stderrors.New("anything"), fuse.EIO},
	} {
		if got := fs.status("test", tc.err); got != tc.want {
			t.Errorf("%v: %v", tc.err, got)
		}
	}
}

// What fcntl(F_SETFL) has made of O_APPEND counts, not how the file was opened.
func TestAppendTakenAway(t *testing.T) {
	tree, fs := newFake(t)
	n := lookup(t, fs, "5")
	fh, _ := open(t, fs, n, syscall.O_WRONLY|syscall.O_APPEND)
	tree.write = func(p []byte) (int, error) { return len(p), nil }
	for _, c := range []struct {
		flags, writeFlags uint32
		want              p9.OpenFlags
	}{
		{syscall.O_WRONLY | syscall.O_APPEND, 0, syscall.O_WRONLY | syscall.O_APPEND},
		{syscall.O_WRONLY, 0, syscall.O_WRONLY},
		{syscall.O_WRONLY | syscall.O_APPEND, 0, syscall.O_WRONLY | syscall.O_APPEND},
		{0, fuse.WRITE_CACHE, syscall.O_WRONLY},
	} {
		in := &fuse.WriteIn{InHeader: header(n), Fh: fh, Offset: 3, Flags: c.flags, WriteFlags: c.writeFlags}
		if k, st := fs.Write(nil, in, []byte("x")); k != 1 || st != fuse.OK {
			t.Fatalf("%d, %v", k, st)
		}
		if tree.by != c.want {
			t.Errorf("a write with the flags %#o, %d went through a file opened with %#o, want %#o", c.flags, c.writeFlags, uint32(tree.by), uint32(c.want))
		}
	}
}
