package client9p

import (
	"context"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/server/wire"
)

// What a file system does all the time takes several messages of 9P. Here they go out
// together where the server allows it, so that only one answer has to be waited for.

// walking is the request for a new fid, that name leads to from f; without a name, f
// again.
func (f *Fid) walking(names ...string) (*Fid, *step, *wire.MsgRwalk) {
	next := &Fid{c: f.c, fid: f.c.takeFid(), qid: f.qid}
	m := &wire.MsgTwalk{Fid: f.fid, NewFid: next.fid, N: len(names)}
	for i, name := range names {
		m.Names[i] = []byte(name)
	}
	r := &wire.MsgRwalk{}
	return next, &step{req: m, rep: r}, r
}

// walked takes the answer to walking: an error means that there is no new fid, whose number
// is free again then. All requests that name it must have ended.
func (f *Fid) walked(next *Fid, s *step, r *wire.MsgRwalk) error {
	n := s.req.(*wire.MsgTwalk).N
	if s.err == nil && r.N < n {
		s.err = &Error{Op: opName(wire.Twalk), Errno: linux.ENOENT}
	}
	if s.err != nil {
		f.c.giveFid(next.fid)
		return s.err
	}
	if r.N > 0 {
		next.qid = r.QIDs[r.N-1]
	}
	return nil
}

// drop clunks a fid that nobody gets, as another error is to be told.
func (f *Fid) drop(ctx context.Context) { _ = f.Clunk(context.WithoutCancel(ctx)) }

// Lookup is Walk to name, and Getattr of what is there.
func (f *Fid) Lookup(ctx context.Context, name string) (*Fid, p9.Attr, error) {
	next, walk, found := f.walking(name)
	var attr wire.MsgRgetattr
	get := &step{req: &wire.MsgTgetattr{Fid: next.fid, Mask: wire.AttrAll}, rep: &attr}
	f.c.together(ctx, walk, get)
	if err := f.walked(next, walk, found); err != nil {
		return nil, p9.Attr{}, err
	}
	if get.err != nil {
		next.drop(ctx)
		return nil, p9.Attr{}, get.err
	}
	return next, attr.Attr, nil
}

// OpenCopy opens the file by a new fid.
func (f *Fid) OpenCopy(ctx context.Context, flags p9.OpenFlags) (*Fid, error) {
	next, walk, found := f.walking()
	var opened wire.MsgRlopen
	open := &step{req: &wire.MsgTlopen{Fid: next.fid, Flags: flags}, rep: &opened}
	f.c.together(ctx, walk, open)
	if err := f.walked(next, walk, found); err != nil {
		return nil, err
	}
	if open.err != nil {
		next.drop(ctx)
		return nil, open.err
	}
	next.opened(opened.QID, opened.IOUnit, flags)
	return next, nil
}

// CreateLookup is Create, and Lookup of the same name: the first Fid is open, the second
// is not. They are different files if another client has replaced the new one at once.
func (f *Fid) CreateLookup(ctx context.Context, name string, flags p9.OpenFlags, mode p9.FileMode, gid uint32) (open, file *Fid, attr p9.Attr, err error) {
	// Tlcreate turns the directory's fid into the file's: it gets a copy.
	open, copied, found := f.walking()
	var made wire.MsgRlcreate
	create := &step{req: &wire.MsgTlcreate{Fid: open.fid, Name: []byte(name), Flags: flags, Mode: mode, GID: gid}, rep: &made}
	file, walk, at := f.walking(name)
	var got wire.MsgRgetattr
	get := &step{req: &wire.MsgTgetattr{Fid: file.fid, Mask: wire.AttrAll}, rep: &got}
	f.c.together(ctx, copied, create, walk, get)
	copyErr, walkErr := f.walked(open, copied, found), f.walked(file, walk, at)
	for _, e := range []error{copyErr, create.err, walkErr, get.err} {
		if err == nil {
			err = e
		}
	}
	if err != nil {
		if copyErr == nil {
			open.drop(ctx)
		}
		if walkErr == nil {
			file.drop(ctx)
		}
		return nil, nil, p9.Attr{}, err
	}
	open.opened(made.QID, made.IOUnit, flags)
	return open, file, got.Attr, nil
}

// RemoveGetattr is Rmdir or Unlink of an entry of the directory f, and Getattr of f after it, if the server does both in one
// exchange. ok is false if there are no attributes.
func (f *Fid) RemoveGetattr(ctx context.Context, name string, dir bool) (attr p9.Attr, ok bool, err error) {
	remove := &step{req: f.unlinking(name, dir), rep: &wire.MsgRunlinkat{}}
	if !f.c.extended {
		return p9.Attr{}, false, f.c.do(ctx, remove.req, remove.rep)
	}
	var got wire.MsgRgetattr
	get := &step{req: &wire.MsgTgetattr{Fid: f.fid, Mask: wire.AttrAll}, rep: &got}
	f.c.together(ctx, remove, get)
	return got.Attr, remove.err == nil && get.err == nil, remove.err
}
