package backend

import (
	"github.com/hugelgupf/p9/linux"

	"sliod/backend/acl"
	"sliod/backend/catalog"
	"sliod/backend/vfs"
)

// aclXattr returns an access control list as an extended attribute.
func aclXattr(r *catalog.Inode, name string) ([]byte, error) {
	a := r.ACL
	if name == acl.Default {
		a = r.DefaultACL
	}
	if a == "" {
		return nil, linux.ENODATA
	}
	return []byte(a), nil
}

// setACLLocked sets an access control list, or removes it with an empty value, which is
// no error if there is none. One that the mode bits can say is kept in them alone. ino.mu must be held.
func (ino *inode) setACLLocked(c *vfs.Cred, name string, value []byte) error {
	a, err := acl.Parse(value)
	if err != nil {
		return err
	}
	r := ino.record()
	now := ino.fs.now()
	var set func(*catalog.Inode)
	switch {
	case name == acl.Access && a == "":
		set = func(r *catalog.Inode) { r.ACL = "" }
	case name == acl.Access:
		set = func(r *catalog.Inode) {
			bits, minimal := a.Mode()
			r.Mode, r.ACL = r.Mode&^0o777|bits, a
			if minimal {
				r.ACL = ""
			}
			if c.UID != 0 && !c.InGroup(r.GID) {
				r.Mode &^= modeSGID
			}
		}
	case !isDir(&r) && a != "":
		return linux.EACCES
	default:
		set = func(r *catalog.Inode) { r.DefaultACL = a }
	}
	return ino.changeLocked(func(r *catalog.Inode) {
		set(r)
		changedAt(r, now)
	})
}
