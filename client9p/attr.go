package client9p

import (
	"context"

	"github.com/hugelgupf/p9/p9"
	"github.com/pkg/errors"

	"sliod/server/wire"
)

// What Setattr can set. A time is set to the server's clock unless its To bit is
// there too.
const (
	SetMode    = wire.SetMode
	SetUID     = wire.SetUID
	SetGID     = wire.SetGID
	SetSize    = wire.SetSize
	SetAtime   = wire.SetAtime
	SetMtime   = wire.SetMtime
	SetCtime   = wire.SetCtime
	SetAtimeTo = wire.SetAtimeTo
	SetMtimeTo = wire.SetMtimeTo
)

// SetMask returns the bits as p9 has them.
func SetMask(valid uint32) p9.SetAttrMask { return (&wire.MsgTsetattr{Valid: valid}).Mask() }

// Getattr returns the attributes.
func (f *Fid) Getattr(ctx context.Context) (p9.QID, p9.Attr, error) {
	var r wire.MsgRgetattr
	err := f.c.do(ctx, &wire.MsgTgetattr{Fid: f.fid, Mask: wire.AttrAll}, &r)
	return r.QID, r.Attr, err
}

// Setattr sets the attributes that the bits of valid name, all or none.
func (f *Fid) Setattr(ctx context.Context, valid uint32, attr p9.SetAttr) error {
	return f.c.do(ctx, &wire.MsgTsetattr{Fid: f.fid, Valid: valid, Attr: attr}, &wire.MsgRsetattr{})
}

// Truncate sets the file's size in bytes.
func (f *Fid) Truncate(ctx context.Context, size uint64) error {
	return f.Setattr(ctx, SetSize, p9.SetAttr{Size: size})
}

// Statfs returns the sizes of the file system.
func (f *Fid) Statfs(ctx context.Context) (p9.FSStat, error) {
	var r wire.MsgRstatfs
	err := f.c.do(ctx, &wire.MsgTstatfs{Fid: f.fid}, &r)
	return r.Stat, err
}

// Readlink returns the target of a symbolic link.
func (f *Fid) Readlink(ctx context.Context) (string, error) {
	var r wire.MsgRreadlink
	err := f.c.do(ctx, &wire.MsgTreadlink{Fid: f.fid}, &r)
	return string(r.Target), err
}

// maxXattr is the largest attribute that Linux knows.
const maxXattr = 64 << 10

// Xattr returns the value of an extended attribute; with name "" the list of
// names, each followed by a NUL. An attribute that is not there is ENODATA.
func (f *Fid) Xattr(ctx context.Context, name string) ([]byte, error) {
	x := &Fid{c: f.c, fid: f.c.takeFid()}
	var r wire.MsgRxattrwalk
	if err := f.c.do(ctx, &wire.MsgTxattrwalk{Fid: f.fid, NewFid: x.fid, Name: []byte(name)}, &r); err != nil {
		f.c.giveFid(x.fid)
		return nil, err
	}
	var value []byte
	var err error
	if r.Size > 0 {
		value, err = x.ReadAll(ctx, maxXattr)
	}
	if cerr := x.Clunk(context.WithoutCancel(ctx)); err == nil {
		err = cerr
	}
	return value, err
}

// SetXattr sets an extended attribute; flags are XATTR_CREATE (1) and
// XATTR_REPLACE (2) of setxattr(2).
func (f *Fid) SetXattr(ctx context.Context, name string, value []byte, flags uint32) error {
	return f.xattrCreate(ctx, name, value, flags)
}

// RemoveXattr removes an extended attribute: the protocol does so by an empty value
// and XATTR_REPLACE. An attribute that is not there is ENODATA.
func (f *Fid) RemoveXattr(ctx context.Context, name string) error {
	const replace = 2
	return f.xattrCreate(ctx, name, nil, replace)
}

func (f *Fid) xattrCreate(ctx context.Context, name string, value []byte, flags uint32) error {
	// Txattrcreate turns a fid into the attribute's: it gets a copy. The value takes
	// effect with the clunk.
	x, err := f.Walk(ctx)
	if err != nil {
		return err
	}
	err = f.c.do(ctx, &wire.MsgTxattrcreate{Fid: x.fid, Name: []byte(name), Size: uint64(len(value)), Flags: flags}, &wire.MsgRxattrcreate{})
	if err == nil {
		_, err = x.WriteFull(ctx, value, 0)
	}
	cerr := x.Clunk(context.WithoutCancel(ctx))
	if err == nil {
		err = cerr
	}
	return errors.WithStack(err)
}
