package bridge

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// make runs what makes an entry, in the directory as the user who asks sees it.
func (fs *FS) make(op string, cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut, do func(context.Context, File) (Entry, error)) fuse.Status {
	if st := checkName(name); st != fuse.OK {
		return st
	}
	if !fs.mayChange() {
		return fuse.EROFS
	}
	defer fs.changed()
	ctx := fs.interruptible(cancel, in.Pid)
	dir, err := fs.maker(ctx, in)
	if err != nil {
		return fs.status(op, err)
	}
	e, err := do(ctx, dir)
	if err == nil {
		err = fs.adopt(ctx, in, &e)
	}
	if err != nil {
		return fs.status(op, err)
	}
	fs.entry(e, out)
	return fuse.OK
}

// newMode is the mode of what a program makes, with its umask in it.
func newMode(mode, umask uint32) p9.FileMode {
	return p9.FileMode(mode | umask&0o777<<umaskShift)
}

// Mkdir serves mkdir(2).
func (fs *FS) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return fs.make("mkdir", cancel, &in.InHeader, name, out, func(ctx context.Context, dir File) (Entry, error) {
		return dir.Mkdir(ctx, name, newMode(in.Mode&0o7777, in.Umask), in.Gid)
	})
}

// Mknod serves mknod(2), for regular files too.
func (fs *FS) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return fs.make("mknod", cancel, &in.InHeader, name, out, func(ctx context.Context, dir File) (Entry, error) {
		return dir.Mknod(ctx, name, newMode(in.Mode, in.Umask), major(in.Rdev), minor(in.Rdev), in.Gid)
	})
}

// Symlink serves symlink(2).
func (fs *FS) Symlink(cancel <-chan struct{}, in *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return fs.make("symlink", cancel, in, name, out, func(ctx context.Context, dir File) (Entry, error) {
		return dir.Symlink(ctx, name, target, in.Gid)
	})
}

// Link serves link(2).
func (fs *FS) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	if st := checkName(name); st != fuse.OK {
		return st
	}
	if !fs.mayChange() {
		return fuse.EROFS
	}
	defer fs.changed()
	ctx := fs.interruptible(cancel, in.Pid)
	dir, target := fs.node(in.NodeId).file, fs.node(in.Oldnodeid)
	if target == stale {
		return fs.status("link", linux.ESTALE)
	}
	if err := dir.Link(ctx, target.file, name); err != nil {
		return fs.status("link", err)
	}
	e, err := dir.Walk(ctx, name)
	if err != nil {
		return fs.status("link", err)
	}
	fs.entry(e, out)
	return fuse.OK
}

// Rename serves rename(2). The protocol has no way to say what renameat2 adds.
func (fs *FS) Rename(cancel <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	for _, name := range []string{oldName, newName} {
		if st := checkName(name); st != fuse.OK {
			return st
		}
	}
	if !fs.mayChange() {
		return fuse.EROFS
	}
	defer fs.changed()
	if in.Flags != 0 {
		return fuse.EINVAL
	}
	dir := fs.node(in.Newdir)
	if dir == stale {
		return fs.status("rename", linux.ESTALE)
	}
	return fs.status("rename", fs.node(in.NodeId).file.Rename(fs.interruptible(cancel, in.Pid), oldName, dir.file, newName))
}

// Unlink serves unlink(2).
func (fs *FS) Unlink(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return fs.remove("unlink", cancel, in, name, false)
}

// Rmdir serves rmdir(2).
func (fs *FS) Rmdir(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return fs.remove("rmdir", cancel, in, name, true)
}

// Tmpfile is not in the protocol; the C library falls back.
func (fs *FS) Tmpfile(cancel <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	return fuse.Status(syscall.EOPNOTSUPP)
}
