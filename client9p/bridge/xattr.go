package bridge

import (
	"bytes"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// isACL says whether an attribute is a POSIX ACL. The kernel would store them here but
// not go by them, so there are none on the bridge.
func isACL(name []byte) bool { return bytes.HasPrefix(name, []byte("system.posix_acl_")) }

const errNoACL = fuse.Status(syscall.EOPNOTSUPP)

// GetXAttr serves getxattr(2).
func (fs *FS) GetXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if isACL([]byte(name)) {
		return 0, errNoACL
	}
	v, err := fs.node(in.NodeId).file.Xattr(fs.interruptible(cancel, in.Pid), name)
	return fs.copyOut("getxattr", v, dest, err)
}

// ListXAttr serves listxattr(2).
func (fs *FS) ListXAttr(cancel <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	v, err := fs.node(in.NodeId).file.Xattr(fs.interruptible(cancel, in.Pid), "")
	shown := v[:0]
	for name := range bytes.SplitAfterSeq(v, []byte{0}) {
		if !isACL(name) {
			shown = append(shown, name...)
		}
	}
	return fs.copyOut("listxattr", shown, dest, err)
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
	if fs.ro {
		return fuse.EROFS
	}
	if isACL([]byte(name)) {
		return errNoACL
	}
	return fs.status("setxattr", fs.node(in.NodeId).file.SetXattr(fs.interruptible(cancel, in.Pid), name, data, in.Flags))
}

// RemoveXAttr serves removexattr(2).
func (fs *FS) RemoveXAttr(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	if fs.ro {
		return fuse.EROFS
	}
	if isACL([]byte(name)) {
		return errNoACL
	}
	return fs.status("removexattr", fs.node(in.NodeId).file.RemoveXattr(fs.interruptible(cancel, in.Pid), name))
}
