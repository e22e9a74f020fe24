package bridge

import (
	"context"
	"os"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/p9"
)

// ownedFile acts as a user, and so does what is made in it.
type ownedFile struct {
	*fakeFile
	uid uint32
}

func (f *ownedFile) As(_ context.Context, uid uint32) (File, error) {
	return &ownedFile{f.t.file(f.path), uid}, nil
}

func (f *ownedFile) Walk(ctx context.Context, name string) (Entry, error) {
	e, err := f.fakeFile.Walk(ctx, name)
	if err == nil {
		e.File = &ownedFile{e.File.(*fakeFile), f.uid}
	}
	return e, err
}

func (f *ownedFile) Mkdir(ctx context.Context, name string, _ p9.FileMode, _ uint32) (Entry, error) {
	return f.Walk(ctx, name)
}

func (f *ownedFile) Symlink(ctx context.Context, name, _ string, _ uint32) (Entry, error) {
	return f.Walk(ctx, name)
}

func (f *ownedFile) Mknod(ctx context.Context, name string, _ p9.FileMode, _, _, _ uint32) (Entry, error) {
	return f.Walk(ctx, name)
}

func (f *ownedFile) Create(ctx context.Context, name string, _ p9.OpenFlags, _ p9.FileMode, _ uint32) (Entry, Handle, error) {
	e, err := f.Walk(ctx, name)
	if err != nil {
		return e, nil, err
	}
	h, err := e.File.Open(ctx, 0)
	return e, h, err
}

// TestMadeByOthers: what a user makes is the table's as who mounts sees it, so that it is not
// that user who asks for whatever others want with it.
func TestMadeByOthers(t *testing.T) {
	tree, fs := newFake(t)
	root := fs.node(fuse.FUSE_ROOT_ID)
	root.file = &ownedFile{root.file.(*fakeFile), fs.uid}
	in := header(fuse.FUSE_ROOT_ID)
	in.Uid = fs.uid + 1
	for what, do := range map[string]func(out *fuse.EntryOut) fuse.Status{
		"mkdir":   func(out *fuse.EntryOut) fuse.Status { return fs.Mkdir(nil, &fuse.MkdirIn{InHeader: in}, "5", out) },
		"mknod":   func(out *fuse.EntryOut) fuse.Status { return fs.Mknod(nil, &fuse.MknodIn{InHeader: in}, "5", out) },
		"symlink": func(out *fuse.EntryOut) fuse.Status { return fs.Symlink(nil, &in, "target", "5", out) },
		"create": func(out *fuse.EntryOut) fuse.Status {
			var c fuse.CreateOut
			st := fs.Create(nil, &fuse.CreateIn{InHeader: in}, "5", &c)
			fs.release(c.Fh)
			*out = c.EntryOut
			return st
		},
	} {
		var out fuse.EntryOut
		if st := do(&out); st != fuse.OK {
			t.Fatalf("%s: %v", what, st)
		}
		if got := fs.node(out.NodeId).file.(*ownedFile).uid; got != fs.uid {
			t.Errorf("%s: it is user %d who asks for it, want %d", what, got, fs.uid)
		}
		fs.Forget(out.NodeId, 1)
		if tree.files != 2 || tree.handles != 0 { // the root, as both
			t.Errorf("%s: %d files and %d handles are left", what, tree.files, tree.handles)
		}
	}
}

// TestMadeByOthersSquashed: where the server takes who mounts for nobody, what a user makes stays his: nobody could not touch it.
func TestMadeByOthersSquashed(t *testing.T) {
	for takenFor, adopted := range map[string]bool{"": true, "0": true, "65534": false, "1000": false} {
		tree := &fakeTree{version: 7, takenFor: takenFor}
		fs, err := New(t.Context(), tree, uint32(os.Getuid()), Options{})
		if err != nil {
			t.Fatal(err)
		}
		root := fs.node(fuse.FUSE_ROOT_ID)
		root.file = &ownedFile{root.file.(*fakeFile), fs.uid}
		in := header(fuse.FUSE_ROOT_ID)
		in.Uid = fs.uid + 1
		var out fuse.EntryOut
		if st := fs.Mkdir(nil, &fuse.MkdirIn{InHeader: in}, "5", &out); st != fuse.OK {
			t.Fatal(st)
		}
		want := in.Uid
		if adopted {
			want = fs.uid
		}
		if got := fs.node(out.NodeId).file.(*ownedFile).uid; got != want {
			t.Errorf("taken for %q: it is user %d who asks for it, want %d", takenFor, got, want)
		}
		fs.OnUnmount()
	}
}
