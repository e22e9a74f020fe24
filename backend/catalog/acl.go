package catalog

import "sliod/backend/acl"

// Access control lists are a part of the inode, as they go with its mode. Outside of the
// catalog, on tape and in the protocol, they are extended attributes.

func (d *decoder) acl() acl.ACL {
	p := d.bytes(d.uint())
	a, err := acl.Parse(p)
	if err != nil || len(a) != len(p) {
		d.fail("bad access list")
	}
	return a
}

// ListXattrs calls fn for each access control list of the inode as an extended attribute.
func (n *Inode) ListXattrs(fn func(name string, value []byte)) {
	if n.ACL != "" {
		fn(acl.Access, []byte(n.ACL))
	}
	if n.DefaultACL != "" {
		fn(acl.Default, []byte(n.DefaultACL))
	}
}

// TakeXattr says whether an extended attribute is an access control list, and takes it into the
// inode. ok is false if it is a bad one, which is left out.
func (n *Inode) TakeXattr(name string, value []byte) (isACL, ok bool) {
	if !acl.IsName(name) {
		return false, true
	}
	a, err := acl.Parse(value)
	if err != nil {
		return true, false
	}
	if name == acl.Access {
		n.ACL = a
	} else {
		n.DefaultACL = a
	}
	return true, true
}
