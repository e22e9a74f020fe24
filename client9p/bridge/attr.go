package bridge

import (
	"context"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/p9"

	"sliod/client9p"
)

// fillAttr turns attributes of 9P into the kernel's. Device numbers have the same
// encoding in both.
func (fs *FS) fillAttr(a *p9.Attr, n *node, out *fuse.Attr) {
	n.mu.Lock()
	n.told, n.mode = uint32(a.DataVersion), a.Mode
	n.mu.Unlock()
	n.size.Store(a.Size)
	*out = fuse.Attr{
		Ino: n.path, Size: a.Size, Blocks: a.Blocks,
		Atime: a.ATimeSeconds, Atimensec: uint32(a.ATimeNanoSeconds),
		Mtime: a.MTimeSeconds, Mtimensec: uint32(a.MTimeNanoSeconds),
		Ctime: a.CTimeSeconds, Ctimensec: uint32(a.CTimeNanoSeconds),
		Mode: uint32(a.Mode), Nlink: uint32(a.NLink), Rdev: uint32(a.RDev), Blksize: uint32(a.BlockSize),
		Owner: fuse.Owner{Uid: uint32(a.UID), Gid: uint32(a.GID)},
	}
}

// GetAttr serves stat(2).
func (fs *FS) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if in.Flags()&fuse.FUSE_GETATTR_FH != 0 {
		// The kernel reads what the size says: without this an open file whose data was
		// lost would end early instead of failing.
		if h := fs.handle(in.Fh()); h != nil {
			if c, ok := h.h.(Checker); ok {
				if err := c.Check(fs.interruptible(cancel, in.Pid)); err != nil {
					return fs.status("getattr", err)
				}
			}
		}
	}
	return fs.attrOut(fs.interruptible(cancel, in.Pid), fs.node(in.NodeId), out)
}

func (fs *FS) attrOut(ctx context.Context, n *node, out *fuse.AttrOut) fuse.Status {
	a, keep, err := fs.getattr(ctx, n)
	if err != nil {
		return fs.status("getattr", err)
	}
	fs.fillAttr(&a, n, &out.Attr)
	out.SetTimeout(keep)
	return fuse.OK
}

// SetAttr serves chmod, chown, truncate and utimens.
func (fs *FS) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if !fs.mayChange() {
		return fuse.EROFS
	}
	defer fs.changed()
	n := fs.node(in.NodeId)
	var valid uint32
	var attr p9.SetAttr
	set := func(bit, as uint32) bool {
		if in.Valid&bit == 0 {
			return false
		}
		valid |= as
		return true
	}
	if set(fuse.FATTR_MODE, client9p.SetMode) {
		attr.Permissions = p9.FileMode(in.Mode & 0o7777)
	}
	if set(fuse.FATTR_UID, client9p.SetUID) {
		attr.UID = p9.UID(in.Uid)
	}
	if set(fuse.FATTR_GID, client9p.SetGID) {
		attr.GID = p9.GID(in.Gid)
	}
	if set(fuse.FATTR_SIZE, client9p.SetSize) {
		attr.Size = in.Size
	}
	if set(fuse.FATTR_ATIME, client9p.SetAtime) && in.Valid&fuse.FATTR_ATIME_NOW == 0 {
		valid |= client9p.SetAtimeTo
		attr.ATimeSeconds, attr.ATimeNanoSeconds = in.Atime, uint64(in.Atimensec)
	}
	if set(fuse.FATTR_MTIME, client9p.SetMtime) && in.Valid&fuse.FATTR_MTIME_NOW == 0 {
		valid |= client9p.SetMtimeTo
		attr.MTimeSeconds, attr.MTimeNanoSeconds = in.Mtime, uint64(in.Mtimensec)
	}
	set(fuse.FATTR_CTIME, client9p.SetCtime)
	ctx := fs.interruptible(cancel, in.Pid)
	if in.Valid&fuse.FATTR_KILL_SUIDGID != 0 {
		if err := n.dropSetID(ctx); err != nil {
			return fs.status("setattr", err)
		}
	}
	// A change of the owner drops them whoever makes it.
	if in.Valid&(fuse.FATTR_UID|fuse.FATTR_GID) != 0 && valid&client9p.SetMode == 0 {
		perm, drops, err := n.dropsSetID(ctx)
		if err != nil {
			return fs.status("setattr", err)
		}
		if drops {
			valid |= client9p.SetMode
			attr.Permissions = perm
		}
	}
	if valid != 0 {
		if err := n.file.Setattr(ctx, valid, attr); err != nil {
			return fs.status("setattr", err)
		}
	}
	return fs.attrOut(ctx, n, out)
}

// Statx serves statx(2), which alone tells the time of birth.
func (fs *FS) Statx(cancel <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	n := fs.node(in.NodeId)
	a, err := n.file.Getattr(fs.interruptible(cancel, in.Pid))
	if err != nil {
		return fs.status("statx", err)
	}
	n.mu.Lock()
	n.mode = a.Mode
	n.mu.Unlock()
	const basicStats, btime = 0x7ff, 0x800 // STATX_BASIC_STATS, STATX_BTIME of statx(2)
	time := func(sec, nsec uint64) fuse.SxTime { return fuse.SxTime{Sec: sec, Nsec: uint32(nsec)} }
	out.Statx = fuse.Statx{
		Mask: basicStats | btime, Blksize: uint32(a.BlockSize), Nlink: uint32(a.NLink), Uid: uint32(a.UID), Gid: uint32(a.GID),
		Mode: uint16(a.Mode), Ino: n.path, Size: a.Size, Blocks: a.Blocks,
		Atime: time(a.ATimeSeconds, a.ATimeNanoSeconds), Mtime: time(a.MTimeSeconds, a.MTimeNanoSeconds),
		Ctime: time(a.CTimeSeconds, a.CTimeNanoSeconds), Btime: time(a.BTimeSeconds, a.BTimeNanoSeconds),
		RdevMajor: major(uint32(a.RDev)), RdevMinor: minor(uint32(a.RDev)),
	}
	out.SetTimeout(fs.timeout)
	return fuse.OK
}

// major and minor take a device number apart as Linux' new_encode_dev packs it.
func major(dev uint32) uint32 { return dev & 0xfff00 >> 8 }
func minor(dev uint32) uint32 { return dev&0xff | dev>>12&0xfff00 }

// Readlink serves readlink(2).
func (fs *FS) Readlink(cancel <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	s, err := fs.node(in.NodeId).file.Readlink(fs.interruptible(cancel, in.Pid))
	return []byte(s), fs.status("readlink", err)
}

// Access is not asked with default_permissions: the kernel has decided.
func (fs *FS) Access(cancel <-chan struct{}, in *fuse.AccessIn) fuse.Status { return fuse.OK }
