package backend

import (
	"encoding/binary"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend/acl"
	"sliod/backend/vfs"
)

// aclValue makes a list: permissions of the owner, of user 65, of the group, of the
// mask, of others.
func aclValue(owner, user, group, mask, other uint16) []byte {
	v := []byte{2, 0, 0, 0}
	add := func(tag, perm uint16, id uint32) {
		v = binary.LittleEndian.AppendUint16(v, tag)
		v = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint16(v, perm), id)
	}
	add(1, owner, 1<<32-1)
	add(2, user, 65)
	add(4, group, 1<<32-1)
	add(0x10, mask, 1<<32-1)
	add(0x20, other, 1<<32-1)
	return v
}

// The server goes by lists itself, whatever the client's kernel does, and keeps them with the
// mode through a restart, the tape and a rebuild (package rebuild).
func TestACL(t *testing.T) {
	w := newWorld(t)
	w.put("f", []byte("content"))
	n := w.node("/f")
	if err := n.SetXattr(rootCred, acl.Access, aclValue(6, 7, 0, 4, 0), 0); err != nil {
		t.Fatal(err)
	}
	n.Release()
	w.restart()
	n = w.node("/f")
	defer n.Release()
	user, member := &vfs.Cred{UID: 65, GID: 65}, &vfs.Cred{UID: 66}
	open := func(c *vfs.Cred, flags p9.OpenFlags) error {
		f, err := n.Open(c, flags)
		if err == nil {
			f.Close()
		}
		return err
	}
	if a := w.attr("/f"); a.Mode&0o777 != 0o640 {
		t.Errorf("mode %o", a.Mode)
	}
	wantErr(t, "the user reads", open(user, 0), nil)
	wantErr(t, "the user writes", open(user, openReadWrite), linux.EACCES)
	wantErr(t, "a member of the group", open(member, 0), linux.EACCES)
	wantErr(t, "set by another", n.SetXattr(user, acl.Access, nil, 0), linux.EPERM)
	wantErr(t, "default list of a file", n.SetXattr(rootCred, acl.Default, aclValue(6, 7, 0, 4, 0), 0), linux.EACCES)
	// v9fs removes by an empty value, with and without XATTR_REPLACE.
	for range 2 {
		wantErr(t, "removed", n.SetXattr(rootCred, acl.Access, []byte{}, 0), nil)
		wantErr(t, "removed", n.SetXattr(rootCred, acl.Access, nil, xattrReplace), nil)
	}
	_, err := n.Xattr(rootCred, acl.Access)
	wantErr(t, "what was removed", err, linux.ENODATA)
	wantErr(t, "the user reads", open(user, 0), linux.EACCES)

	// A default list decides instead of the umask, which comes in the mode.
	const umask027 = 0o027 << vfs.UmaskShift
	if _, err := w.root.Mkdir(rootCred, "d", 0o777|umask027, 0); err != nil {
		t.Fatal(err)
	}
	if a := w.attr("/d"); a.Mode&0o777 != 0o750 {
		t.Errorf("mode %o with umask 027", a.Mode)
	}
	dir := w.node("/d")
	defer dir.Release()
	if err := dir.SetXattr(rootCred, acl.Default, aclValue(7, 7, 5, 7, 5), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Mknod(rootCred, "node", modeFIFO|0o666|umask027, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if a := w.attr("/d/node"); a.Mode != modeFIFO|0o664 {
		t.Errorf("mode %o below a default list", a.Mode)
	}
}
