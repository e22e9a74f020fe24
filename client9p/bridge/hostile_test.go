package bridge

import (
	"context"
	"os"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/p9"
)

// What only the kernel of a virtual machine would ask for, that breaks the rules.

// TestHostileNames: no name leads out of the tree, or past a directory.
func TestHostileNames(t *testing.T) {
	_, fs := newFake(t)
	root := header(fuse.FUSE_ROOT_ID)
	entry := new(fuse.EntryOut)
	calls := map[string]func(name string) fuse.Status{
		"lookup": func(name string) fuse.Status { return fs.Lookup(nil, &root, name, entry) },
		"create": func(name string) fuse.Status {
			return fs.Create(nil, &fuse.CreateIn{InHeader: root}, name, new(fuse.CreateOut))
		},
		"mkdir":   func(name string) fuse.Status { return fs.Mkdir(nil, &fuse.MkdirIn{InHeader: root}, name, entry) },
		"mknod":   func(name string) fuse.Status { return fs.Mknod(nil, &fuse.MknodIn{InHeader: root}, name, entry) },
		"symlink": func(name string) fuse.Status { return fs.Symlink(nil, &root, "target", name, entry) },
		"link": func(name string) fuse.Status {
			return fs.Link(nil, &fuse.LinkIn{InHeader: root, Oldnodeid: fuse.FUSE_ROOT_ID}, name, entry)
		},
		"unlink": func(name string) fuse.Status { return fs.Unlink(nil, &root, name) },
		"rmdir":  func(name string) fuse.Status { return fs.Rmdir(nil, &root, name) },
		"rename from": func(name string) fuse.Status {
			return fs.Rename(nil, &fuse.RenameIn{InHeader: root, Newdir: fuse.FUSE_ROOT_ID}, name, "5")
		},
		"rename to": func(name string) fuse.Status {
			return fs.Rename(nil, &fuse.RenameIn{InHeader: root, Newdir: fuse.FUSE_ROOT_ID}, "5", name)
		},
	}
	for what, call := range calls {
		for name, want := range map[string]fuse.Status{"": fuse.ENOENT, ".": fuse.EINVAL, "..": fuse.EINVAL, "5/6": fuse.EINVAL, "/": fuse.EINVAL, "5\x00": fuse.EINVAL} {
			if st := call(name); st != want {
				t.Errorf("%s of %q: %v, want %v", what, name, st, want)
			}
		}
	}
	if st := fs.Lookup(nil, &root, "5", entry); st != fuse.OK {
		t.Errorf("a name in order: %v", st)
	}
}

// flagsFile keeps the flags that it was opened with last.
type flagsFile struct {
	*fakeFile
	flags p9.OpenFlags
	set   int // changes of attributes
}

func (f *flagsFile) Open(ctx context.Context, flags p9.OpenFlags) (Handle, error) {
	f.flags = flags
	return f.fakeFile.Open(ctx, flags)
}

func (f *flagsFile) Getattr(context.Context) (p9.Attr, error) {
	return p9.Attr{Mode: p9.ModeRegular | 0o4755}, nil
}

func (f *flagsFile) Setattr(context.Context, uint32, p9.SetAttr) error {
	f.set++
	return nil
}

// TestHostileReadOnly: no open file changes anything on a mount that is read-only, and to open
// a directory never does.
func TestHostileReadOnly(t *testing.T) {
	tree, fs := newFake(t)
	fs.ro = true
	tree.write = func(p []byte) (int, error) {
		t.Errorf("%d bytes were written", len(p))
		return len(p), nil
	}
	node := lookup(t, fs, "5")
	f := &flagsFile{fakeFile: fs.node(node).file.(*fakeFile)}
	fs.node(node).file = f
	fs.node(node).mode = p9.ModeRegular | 0o4755

	var dir fuse.OpenOut
	if st := fs.OpenDir(nil, &fuse.OpenIn{InHeader: header(node), Flags: syscall.O_RDWR | syscall.O_TRUNC}, &dir); st != fuse.OK {
		t.Fatal(st)
	}
	if f.flags != syscall.O_DIRECTORY {
		t.Errorf("a directory is opened with %#o", uint32(f.flags))
	}
	fh, _ := open(t, fs, node, uint32(os.O_RDONLY))
	if st := fs.Open(nil, &fuse.OpenIn{InHeader: header(node), Mode: fuse.OPEN_KILL_SUIDGID}, new(fuse.OpenOut)); st != fuse.EROFS {
		t.Errorf("open that drops setuid: %v", st)
	}
	for _, fh := range []uint64{dir.Fh, fh} {
		for _, flags := range []uint32{0, fuse.WRITE_CACHE, fuse.WRITE_KILL_SUIDGID} {
			if _, st := fs.Write(nil, &fuse.WriteIn{InHeader: header(node), Fh: fh, WriteFlags: flags}, []byte("x")); st != fuse.EROFS {
				t.Errorf("write with flags %d: %v", flags, st)
			}
		}
		in := header(node)
		in.Uid = 1 // for which setuid is dropped
		if st := fs.Fallocate(nil, &fuse.FallocateIn{InHeader: in, Fh: fh, Length: 10}); st != fuse.EROFS {
			t.Errorf("fallocate: %v", st)
		}
		if _, st := fs.CopyFileRange(nil, &fuse.CopyFileRangeIn{InHeader: in, FhIn: fh, FhOut: fh, Len: 10}); st != fuse.EROFS {
			t.Errorf("copy_file_range: %v", st)
		}
		fs.release(fh)
	}
	if f.set != 0 {
		t.Errorf("attributes were changed %d times", f.set)
	}
}
