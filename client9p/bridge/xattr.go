package bridge

import (
	"context"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/p9"

	"sliod/client9p"
)

// GetXAttr serves getxattr(2).
func (fs *FS) GetXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	v, err := fs.node(in.NodeId).file.Xattr(fs.interruptible(cancel, in.Pid), name)
	n, s := fs.copyOut("getxattr", v, dest, err)
	if s == fuse.Status(syscall.EOPNOTSUPP) && strings.HasPrefix(name, "system.posix_acl_") {
		// The kernel asks for the list before it permits anything, and would fail with that.
		s = fuse.ENODATA
	}
	return n, s
}

// ListXAttr serves listxattr(2).
func (fs *FS) ListXAttr(cancel <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	v, err := fs.node(in.NodeId).file.Xattr(fs.interruptible(cancel, in.Pid), "")
	return fs.copyOut("listxattr", v, dest, err)
}

// copyOut tells the size of v, and v itself if there is room.
func (fs *FS) copyOut(op string, v, dest []byte, err error) (uint32, fuse.Status) {
	switch {
	case err != nil:
		return 0, fs.status(op, err)
	case len(v) > len(dest):
		return uint32(len(v)), fuse.ERANGE
	}
	return uint32(copy(dest, v)), fuse.OK
}

// SetXAttr serves setxattr(2).
func (fs *FS) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	if !fs.mayChange() {
		return fuse.EROFS
	}
	defer fs.changed()
	ctx := fs.interruptible(cancel, in.Pid)
	file := fs.node(in.NodeId).file
	err := file.SetXattr(ctx, name, data, in.Flags)
	if err == nil && in.SetXAttrFlags&fuse.SETXATTR_ACL_KILL_SGID != 0 {
		err = killSetgid(ctx, file)
	}
	return fs.status("setxattr", err)
}

// killSetgid takes the setgid bit away, after an access control list was set by somebody who is not
// in the file's group. Only the kernel knows all groups of a process.
func killSetgid(ctx context.Context, file File) error {
	a, err := file.Getattr(ctx)
	if err != nil || a.Mode&syscall.S_ISGID == 0 {
		return err
	}
	return file.Setattr(ctx, client9p.SetMode, p9.SetAttr{Permissions: a.Mode & 0o7777 &^ syscall.S_ISGID})
}

// RemoveXAttr serves removexattr(2).
func (fs *FS) RemoveXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	if !fs.mayChange() {
		return fuse.EROFS
	}
	defer fs.changed()
	return fs.status("removexattr", fs.node(in.NodeId).file.RemoveXattr(fs.interruptible(cancel, in.Pid), name))
}
