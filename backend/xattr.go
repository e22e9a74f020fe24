package backend

import (
	"strconv"
	"strings"

	stderrors "errors"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/acl"
	"sliod/backend/catalog"
	"sliod/backend/vfs"
)

// Limits of extended attributes, as Linux has them.
const (
	maxXattrName  = 255
	maxXattrValue = 64 << 10
	xattrCreate   = 1
	xattrReplace  = 2
)

// ownXattr is the prefix of the attributes by which SLIOD shows and controls
// residency. They are not listed, so that copies do not carry them along.
const ownXattr = "user.sliod."

func (n *node) Xattr(c *vfs.Cred, name string) ([]byte, error) {
	r := n.ino.attr()
	if isDir(&r) { // what clients ask for themselves, whatever they may read
		switch name {
		case ownXattr + "instance":
			return n.ino.fs.instance.xattr(), nil
		case ownXattr + "uid": // as whom the server takes the one who asks
			return strconv.AppendUint(nil, uint64(c.UID), 10), nil
		}
	}
	if err := xattrAccess(c, &r, name, mayRead); err != nil {
		return nil, err
	}
	if strings.HasPrefix(name, ownXattr) && name != policyXattr {
		return n.ino.residencyXattr(name)
	}
	if acl.IsName(name) {
		return aclXattr(&r, name)
	}
	var v []byte
	err := n.ino.fs.cat.View(func(tx *catalog.Tx) (err error) {
		v, err = tx.Xattr(n.ino.id, name)
		return err
	})
	if stderrors.Is(err, catalog.ErrNotFound) {
		return nil, linux.ENODATA
	}
	return v, err
}

func (n *node) XattrList(c *vfs.Cred) ([]byte, error) {
	var list []byte
	r := n.ino.attr()
	r.ListXattrs(func(name string, _ []byte) { list = append(append(list, name...), 0) })
	err := n.ino.fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Xattrs(n.ino.id, func(name string, _ []byte) bool {
			if name == policyXattr {
				return true
			}
			if c.UID == 0 || !strings.HasPrefix(name, "trusted.") {
				list = append(append(list, name...), 0)
			}
			return true
		})
	})
	return list, err
}

func (n *node) SetXattr(c *vfs.Cred, name string, value []byte, flags uint32) error {
	ino := n.ino
	switch {
	case name == "" || len(name) > maxXattrName:
		return linux.ERANGE
	case len(value) > maxXattrValue:
		return linux.E2BIG
	}
	ino.mu.Lock()
	defer ino.mu.Unlock()
	r := ino.record()
	if strings.HasPrefix(name, ownXattr) {
		if !owns(c, &r) {
			return linux.EPERM
		}
		if name != policyXattr {
			return ino.setResidencyXattr(name, value)
		}
		if value != nil {
			if err := ino.fs.checkPolicy(value); err != nil {
				return err
			}
		}
		defer ino.fs.rules.changed()
	}
	if err := xattrAccess(c, &r, name, mayWrite); err != nil {
		return err
	}
	if acl.IsName(name) {
		return ino.setACLLocked(c, name, value)
	}
	now := ino.fs.now()
	change := func(r *catalog.Inode) {
		changedAt(r, now)
		r.Flags &^= catalog.FlagNoXattrs
	}
	change(&r)
	err := ino.putLocked(&r, func(tx *catalog.Tx) error {
		_, err := tx.Xattr(ino.id, name)
		exists := err == nil
		if err != nil && !stderrors.Is(err, catalog.ErrNotFound) {
			return err
		}
		switch {
		case value == nil && !exists, flags&xattrReplace != 0 && !exists:
			return linux.ENODATA
		case flags&xattrCreate != 0 && exists:
			return linux.EEXIST
		case value == nil:
			err = tx.DeleteXattr(ino.id, name)
		default:
			err = tx.PutXattr(ino.id, name, value)
		}
		if err != nil || r.NLink == 0 {
			return err
		}
		return tx.PutPending(ino.id)
	})
	if err != nil {
		return err
	}
	ino.apply(change)
	if r.NLink > 0 {
		ino.fs.pending.add(ino.id)
	}
	return nil
}

// xattrAccess applies the rules of xattr(7) for each name space.
func xattrAccess(c *vfs.Cred, r *catalog.Inode, name string, want uint32) error {
	space, _, _ := strings.Cut(name, ".")
	switch space {
	case "user":
		if !isFile(r) && !isDir(r) {
			if want == mayRead {
				return linux.ENODATA
			}
			return linux.EPERM
		}
		if strings.HasPrefix(name, ownXattr) {
			return nil
		}
		if want == mayWrite && isDir(r) && r.Mode&modeSticky != 0 && !owns(c, r) {
			return linux.EPERM
		}
		return access(c, r, want)
	case "trusted":
		if c.UID != 0 {
			if want == mayRead {
				return linux.ENODATA
			}
			return linux.EPERM
		}
		return nil
	case "security":
		if want == mayWrite && c.UID != 0 {
			return linux.EPERM
		}
		return nil
	case "system":
		if !acl.IsName(name) || r.Mode&modeType == modeLink {
			return linux.EOPNOTSUPP
		}
		if want == mayWrite && !owns(c, r) {
			return linux.EPERM
		}
		return nil
	}
	return linux.EOPNOTSUPP
}
