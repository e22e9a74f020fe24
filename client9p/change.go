package client9p

import (
	"context"

	"github.com/hugelgupf/p9/p9"
	"github.com/pkg/errors"
)

// simple runs a request whose answer says only that it was done.
func (c *Client) simple(ctx context.Context, typ uint8, e *encoder) error {
	_, err := c.do(ctx, typ, e, nil, nil)
	return err
}

// Create makes and opens the regular file name in the directory f with Linux open
// flags. The Fid is the new file's; f stays the directory's.
func (f *Fid) Create(ctx context.Context, name string, flags p9.OpenFlags, mode p9.FileMode) (*Fid, error) {
	// Tlcreate turns the directory's fid into the file's: it gets a copy.
	n, err := f.Walk(ctx)
	if err != nil {
		return nil, err
	}
	var e encoder
	e.u32(n.fid)
	e.str(name)
	e.u32(uint32(flags))
	e.u32(uint32(mode))
	e.u32(0) // the group: the server takes the user's if this is not one of them
	cl, err := f.c.do(ctx, msgTlcreate, &e, nil, nil)
	if err != nil {
		_ = n.Clunk(context.WithoutCancel(ctx)) // the error to tell is that of the create
		return nil, err
	}
	d := decoder{b: cl.body}
	n.qid = d.qid()
	n.unit = int(min(d.u32(), 1<<30))
	return n, errors.Wrap(d.err, "answer to create")
}

// Mkdir makes the directory name in the directory f.
func (f *Fid) Mkdir(ctx context.Context, name string, mode p9.FileMode) error {
	var e encoder
	e.u32(f.fid)
	e.str(name)
	e.u32(uint32(mode))
	e.u32(0)
	return f.c.simple(ctx, msgTmkdir, &e)
}

// Truncate sets the file's size in bytes.
func (f *Fid) Truncate(ctx context.Context, size uint64) error {
	const setSize = 8
	var e encoder
	e.u32(f.fid)
	e.u32(setSize)
	for range 3 { // mode, uid, gid
		e.u32(0)
	}
	e.u64(size)
	for range 4 { // times
		e.u64(0)
	}
	return f.c.simple(ctx, msgTsetattr, &e)
}

// Fsync makes what was written to the file durable; f must be open.
func (f *Fid) Fsync(ctx context.Context) error {
	var e encoder
	e.u32(f.fid)
	e.u32(0)
	return f.c.simple(ctx, msgTfsync, &e)
}

// Rename moves an entry of the directory f to newName in the directory dir, as
// rename(2) does.
func (f *Fid) Rename(ctx context.Context, oldName string, dir *Fid, newName string) error {
	var e encoder
	e.u32(f.fid)
	e.str(oldName)
	e.u32(dir.fid)
	e.str(newName)
	return f.c.simple(ctx, msgTrenameat, &e)
}

// Unlink removes an entry of the directory f that is no directory.
func (f *Fid) Unlink(ctx context.Context, name string) error {
	var e encoder
	e.u32(f.fid)
	e.str(name)
	e.u32(0)
	return f.c.simple(ctx, msgTunlinkat, &e)
}
