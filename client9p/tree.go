package client9p

import (
	"context"

	"github.com/hugelgupf/p9/p9"

	"sliod/server/wire"
)

// NoGID, as the group of a new file, leaves the choice to the server.
const NoGID = 0

// Create makes and opens the regular file name in the directory f with Linux open
// flags. The Fid is the new file's; f stays the directory's.
func (f *Fid) Create(ctx context.Context, name string, flags p9.OpenFlags, mode p9.FileMode, gid uint32) (*Fid, error) {
	// Tlcreate turns the directory's fid into the file's: it gets a copy.
	n, err := f.Walk(ctx)
	if err != nil {
		return nil, err
	}
	var r wire.MsgRlcreate
	err = f.c.do(ctx, &wire.MsgTlcreate{Fid: n.fid, Name: []byte(name), Flags: flags, Mode: mode, GID: gid}, &r)
	if err != nil {
		_ = n.Clunk(context.WithoutCancel(ctx)) // the error to tell is that of the create
		return nil, err
	}
	n.opened(r.QID, r.IOUnit, flags)
	return n, nil
}

// Mkdir makes the directory name in the directory f.
func (f *Fid) Mkdir(ctx context.Context, name string, mode p9.FileMode, gid uint32) (p9.QID, error) {
	var r wire.MsgRmkdir
	err := f.c.do(ctx, &wire.MsgTmkdir{Dir: f.fid, Name: []byte(name), Mode: mode, GID: gid}, &r)
	return r.QID, err
}

// Symlink makes the symbolic link name in the directory f.
func (f *Fid) Symlink(ctx context.Context, name, target string, gid uint32) (p9.QID, error) {
	var r wire.MsgRsymlink
	err := f.c.do(ctx, &wire.MsgTsymlink{Dir: f.fid, Name: []byte(name), Target: []byte(target), GID: gid}, &r)
	return r.QID, err
}

// Mknod makes a device, a pipe, a socket or an empty file, as the type bits of mode
// say.
func (f *Fid) Mknod(ctx context.Context, name string, mode p9.FileMode, major, minor, gid uint32) (p9.QID, error) {
	var r wire.MsgRmknod
	err := f.c.do(ctx, &wire.MsgTmknod{Dir: f.fid, Name: []byte(name), Mode: mode, Major: major, Minor: minor, GID: gid}, &r)
	return r.QID, err
}

// Link makes name in the directory f a hard link to target.
func (f *Fid) Link(ctx context.Context, target *Fid, name string) error {
	return f.c.do(ctx, &wire.MsgTlink{Dir: f.fid, Fid: target.fid, Name: []byte(name)}, &wire.MsgRlink{})
}

// Rename moves an entry of the directory f to newName in the directory dir, as
// rename(2) does.
func (f *Fid) Rename(ctx context.Context, oldName string, dir *Fid, newName string) error {
	return f.c.do(ctx, &wire.MsgTrenameat{OldDir: f.fid, OldName: []byte(oldName), NewDir: dir.fid, NewName: []byte(newName)}, &wire.MsgRrenameat{})
}

// Unlink removes an entry of the directory f that is no directory.
func (f *Fid) Unlink(ctx context.Context, name string) error { return f.unlinkat(ctx, name, false) }

// Rmdir removes an empty directory in the directory f.
func (f *Fid) Rmdir(ctx context.Context, name string) error { return f.unlinkat(ctx, name, true) }

func (f *Fid) unlinkat(ctx context.Context, name string, dir bool) error {
	return f.c.do(ctx, f.unlinking(name, dir), &wire.MsgRunlinkat{})
}

// unlinking is the request for a removal.
func (f *Fid) unlinking(name string, dir bool) *wire.MsgTunlinkat {
	const removeDir = 0x200 // AT_REMOVEDIR of unlinkat(2)
	m := &wire.MsgTunlinkat{Dir: f.fid, Name: []byte(name)}
	if dir {
		m.Flags = removeDir
	}
	return m
}
