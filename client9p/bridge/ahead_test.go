package bridge

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// countedFile is a directory that counts how often its attributes are asked for. Its size is the number of
// removals.
type countedFile struct {
	*fakeFile
	asked, removed int
	alone          bool // the attributes do not come with the removal
	during         func()
}

func (f *countedFile) attr() p9.Attr {
	return p9.Attr{Mode: p9.ModeDirectory | 0o755, Size: uint64(f.removed)}
}

func (f *countedFile) Getattr(context.Context) (p9.Attr, error) {
	f.asked++
	return f.attr(), nil
}

func (f *countedFile) Setattr(context.Context, uint32, p9.SetAttr) error      { return nil }
func (f *countedFile) SetXattr(context.Context, string, []byte, uint32) error { return nil }
func (f *countedFile) RemoveXattr(context.Context, string) error              { return nil }
func (f *countedFile) Rename(context.Context, string, File, string) error     { return nil }
func (f *countedFile) Link(context.Context, File, string) error               { return nil }
func (f *countedFile) Mkdir(ctx context.Context, name string, _ p9.FileMode, _ uint32) (Entry, error) {
	return f.Walk(ctx, name)
}

func (f *countedFile) Create(ctx context.Context, name string, _ p9.OpenFlags, _ p9.FileMode, _ uint32) (Entry, Handle, error) {
	e, err := f.Walk(ctx, name)
	if err != nil {
		return e, nil, err
	}
	h, err := f.Open(ctx, 0)
	return e, h, err
}

func (f *countedFile) Remove(_ context.Context, name string, dir bool) (p9.Attr, bool, error) {
	if name == "none" {
		return p9.Attr{}, false, linux.ENOENT
	}
	f.removed++
	a := f.attr()
	if f.during != nil {
		f.during()
	}
	return a, !f.alone, nil
}

// TestAttributesAhead: the attributes that come with a removal answer the kernel's next question, and only while
// they are as good as others.
func TestAttributesAhead(t *testing.T) {
	in := func(id uint64) fuse.InHeader {
		h := header(id)
		h.Uid = uint32(os.Getuid())
		return h
	}
	unlink := func(fs *FS, d uint64) {
		t.Helper()
		h := in(d)
		if st := fs.Unlink(nil, &h, "f"); st != fuse.OK {
			t.Fatal(st)
		}
	}
	changes := map[string]func(fs *FS, d uint64){
		"mkdir": func(fs *FS, d uint64) { fs.Mkdir(nil, &fuse.MkdirIn{InHeader: in(d)}, "7", new(fuse.EntryOut)) },
		"create": func(fs *FS, d uint64) {
			var out fuse.CreateOut
			fs.Create(nil, &fuse.CreateIn{InHeader: in(d)}, "7", &out)
			fs.release(out.Fh)
		},
		"link": func(fs *FS, d uint64) {
			fs.Link(nil, &fuse.LinkIn{InHeader: in(d), Oldnodeid: d}, "7", new(fuse.EntryOut))
		},
		"rename": func(fs *FS, d uint64) { fs.Rename(nil, &fuse.RenameIn{InHeader: in(d), Newdir: d}, "a", "b") },
		"setattr": func(fs *FS, d uint64) {
			fs.SetAttr(nil, &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: in(d)}}, new(fuse.AttrOut))
		},
		"setxattr": func(fs *FS, d uint64) {
			fs.SetXAttr(nil, &fuse.SetXAttrIn{InHeader: in(d)}, "user.a", nil)
		},
		"removexattr": func(fs *FS, d uint64) { h := in(d); fs.RemoveXAttr(nil, &h, "user.a") },
	}
	for _, c := range []struct {
		name  string
		do    func(fs *FS, d, other uint64, f *countedFile)
		asked int // in answer to the kernel's next question
		keep  time.Duration
	}{
		{"unlink", func(fs *FS, d, _ uint64, _ *countedFile) { unlink(fs, d) }, 0, time.Second},
		{"rmdir", func(fs *FS, d, _ uint64, _ *countedFile) { h := in(d); fs.Rmdir(nil, &h, "d") }, 0, time.Second},
		{"twice", func(fs *FS, d, _ uint64, _ *countedFile) { unlink(fs, d); unlink(fs, d) }, 0, time.Second},
		{"in vain", func(fs *FS, d, _ uint64, _ *countedFile) { h := in(d); fs.Unlink(nil, &h, "none") }, 1, time.Second},
		{"asked before", func(fs *FS, d, _ uint64, f *countedFile) {
			unlink(fs, d)
			fs.GetAttr(nil, &fuse.GetAttrIn{InHeader: in(d)}, new(fuse.AttrOut))
		}, 1, time.Second},
		{"in another directory", func(fs *FS, d, other uint64, _ *countedFile) { unlink(fs, d); unlink(fs, other) }, 1, time.Second},
		{"a while ago", func(fs *FS, d, _ uint64, _ *countedFile) { unlink(fs, d); time.Sleep(300 * time.Millisecond) }, 0, 700 * time.Millisecond},
		{"long ago", func(fs *FS, d, _ uint64, _ *countedFile) { unlink(fs, d); time.Sleep(time.Second) }, 1, time.Second},
		{"not told", func(fs *FS, d, _ uint64, f *countedFile) { f.alone = true; unlink(fs, d) }, 1, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) { testAhead(t, c.do, c.asked, c.keep) })
	}
	for name, change := range changes {
		t.Run("and then "+name, func(t *testing.T) {
			testAhead(t, func(fs *FS, d, _ uint64, f *countedFile) {
				unlink(fs, d)
				change(fs, d)
				f.asked = 0
			}, 1, time.Second)
		})
		t.Run("and meanwhile "+name, func(t *testing.T) {
			testAhead(t, func(fs *FS, d, _ uint64, f *countedFile) {
				f.during = func() { change(fs, d) }
				unlink(fs, d)
				f.asked = 0
			}, 1, time.Second)
		})
	}
	t.Run("during a change", func(t *testing.T) {
		testAhead(t, func(fs *FS, d, _ uint64, f *countedFile) {
			if !fs.mayChange() {
				t.Error("read-only")
			}
			unlink(fs, d)
			fs.changed()
		}, 1, time.Second)
	})
}

func testAhead(t *testing.T, do func(fs *FS, d, other uint64, f *countedFile), asked int, keep time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		_, fs := newFake(t)
		d, other := lookup(t, fs, "2"), lookup(t, fs, "3")
		f := &countedFile{fakeFile: fs.node(d).file.(*fakeFile)}
		fs.node(d).file = f
		fs.node(other).file = &countedFile{fakeFile: fs.node(other).file.(*fakeFile)}
		do(fs, d, other, f)
		before := f.asked
		var out fuse.AttrOut
		if st := fs.GetAttr(nil, &fuse.GetAttrIn{InHeader: header(d)}, &out); st != fuse.OK {
			t.Fatal(st)
		}
		if got := f.asked - before; got != asked || out.Attr.Size != uint64(f.removed) {
			t.Errorf("the server was asked %d times, want %d; %d removals, the attributes are after %d", got, asked, f.removed, out.Attr.Size)
		}
		if got := time.Duration(out.AttrValid)*time.Second + time.Duration(out.AttrValidNsec); got != keep {
			t.Errorf("the kernel may keep them for %v, want %v", got, keep)
		}
	})
}
