package client9p

import (
	"context"

	"github.com/hugelgupf/p9/linux"

	"sliod/server/wire"
)

// UmaskShift is where the modes of Create, Mkdir and Mknod may have a umask in them, if
// the server has agreed on the extension.
const UmaskShift = wire.UmaskShift

// Extended says whether the server has agreed on the extension (docs/protocol.md).
// Without it the calls below are EOPNOTSUPP, and nothing is sent.
func (c *Client) Extended() bool { return c.extended }

// ask sends a request of the extension.
func (f *Fid) ask(ctx context.Context, req, rep wire.Message) error {
	if !f.c.extended {
		return &Error{Op: opName(req.Type()), Errno: linux.EOPNOTSUPP}
	}
	return f.c.do(ctx, req, rep)
}

// Seek returns the first offset from off on that is in data (whence 3, SEEK_DATA) or in
// a hole (4, SEEK_HOLE); f must be open.
func (f *Fid) Seek(ctx context.Context, off uint64, whence uint32) (uint64, error) {
	var r wire.MsgRseek
	err := f.ask(ctx, &wire.MsgTseek{Fid: f.fid, Offset: off, Whence: whence}, &r)
	return r.Offset, err
}

// Allocate does what fallocate(2) does with n bytes from off on; f must be open for
// writing. After an error the bytes up to done have been dealt with.
func (f *Fid) Allocate(ctx context.Context, mode uint32, off, n uint64) (done uint64, err error) {
	for done < n || n == 0 {
		var r wire.MsgRallocate
		err := f.ask(ctx, &wire.MsgTallocate{Fid: f.fid, Mode: mode, Offset: off + done, Length: n - done}, &r)
		if err != nil {
			return done, err
		}
		done += min(r.Count, n-done)
	}
	return done, nil
}

// CopyTo copies at most n bytes at off to the offset toOff of another open file of the
// same connection. done is less than n at the end of f, or with an error.
func (f *Fid) CopyTo(ctx context.Context, off uint64, to *Fid, toOff, n uint64) (done uint64, err error) {
	for done < n {
		var r wire.MsgRcopy
		err := f.ask(ctx, &wire.MsgTcopy{Fid: f.fid, Offset: off + done, ToFid: to.fid, ToOffset: toOff + done, Count: n - done}, &r)
		if err != nil {
			return done, err
		}
		if r.Count == 0 && r.Again == 0 {
			break
		}
		done += min(r.Count, n-done)
	}
	return done, nil
}
