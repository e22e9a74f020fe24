package backend

import (
	"github.com/hugelgupf/p9/linux"

	"sliod/backend/catalog"
	"sliod/backend/vfs"
)

// Mode bits of Linux.
const (
	modeType   = 0o170000
	modeSocket = 0o140000
	modeLink   = 0o120000
	modeFile   = 0o100000
	modeBlock  = 0o060000
	modeDir    = 0o040000
	modeChar   = 0o020000
	modeFIFO   = 0o010000
	modeSUID   = 0o4000
	modeSGID   = 0o2000
	modeSticky = 0o1000
	modePerm   = 0o7777
)

// Kinds of access, as in access(2).
const (
	mayExec  = 1
	mayWrite = 2
	mayRead  = 4
)

func isDir(r *catalog.Inode) bool  { return r.Mode&modeType == modeDir }
func isFile(r *catalog.Inode) bool { return r.Mode&modeType == modeFile }

// access checks the mode bits of r for c, and its access control list: EACCES if they do
// not allow want.
// uid 0 may do all, but execute a file that nobody may execute.
func access(c *vfs.Cred, r *catalog.Inode, want uint32) error {
	if c.UID == 0 {
		if want&mayExec != 0 && !isDir(r) && r.Mode&0o111 == 0 {
			return linux.EACCES
		}
		return nil
	}
	bits := r.Mode
	switch {
	case c.UID == r.UID:
		bits >>= 6
	case r.ACL != "" && r.Mode&0o070 != 0: // Linux takes a mask of nothing for no list
		if !r.ACL.Permits(c.UID, c.InGroup, r.UID, r.GID, want) {
			return linux.EACCES
		}
		return nil
	case c.InGroup(r.GID):
		bits >>= 3
	}
	if bits&want != want {
		return linux.EACCES
	}
	return nil
}

// owns says whether c may do what only the owner may.
func owns(c *vfs.Cred, r *catalog.Inode) bool { return c.UID == 0 || c.UID == r.UID }

// mayDelete checks that c may take the name of child out of dir: write and
// search permission, and ownership if the directory is sticky.
func mayDelete(c *vfs.Cred, dir, child *catalog.Inode) error {
	if err := access(c, dir, mayWrite|mayExec); err != nil {
		return err
	}
	if dir.Mode&modeSticky != 0 && !owns(c, dir) && c.UID != child.UID {
		return linux.EPERM
	}
	return nil
}

// noGID is what a client sends that names no group.
const noGID = ^uint32(0)

// inherit returns the group and the mode of a new file in dir: a setgid
// directory gives its group, and its bit to directories. A group that c does not
// belong to, or none, is replaced by c's own.
func inherit(c *vfs.Cred, dir *catalog.Inode, mode, gid uint32) (newMode, newGID uint32) {
	if dir.Mode&modeSGID != 0 {
		gid = dir.GID
		if mode&modeType == modeDir {
			mode |= modeSGID
		}
	} else if gid == noGID || c.UID != 0 && !c.InGroup(gid) {
		gid = c.GID
	}
	if mode&modeType == modeFile && mode&(modeSGID|0o010) == modeSGID|0o010 && c.UID != 0 && !c.InGroup(gid) {
		mode &^= modeSGID
	}
	return mode, gid
}

// inheritACL sets the access control lists of a new file in dir, and its permission
// bits: the default list of the directory says what the mode leaves, or else the maker's
// umask.
func inheritACL(dir, r *catalog.Inode, umask uint32) {
	switch {
	case r.Mode&modeType == modeLink:
	case dir.DefaultACL == "":
		r.Mode &^= umask
	default:
		r.ACL, r.Mode = dir.DefaultACL.Inherit(r.Mode)
		if isDir(r) {
			r.DefaultACL = dir.DefaultACL
		}
	}
}
