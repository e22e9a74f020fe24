// Package acl has the rules of POSIX access control lists, acl(5), as Linux keeps them
// in the extended attributes system.posix_acl_access and system.posix_acl_default: what
// a list permits, how it goes with the mode bits, and what a new file inherits.
package acl

import (
	"encoding/binary"

	"github.com/hugelgupf/p9/linux"
)

// Names of the extended attributes.
const (
	Access  = "system.posix_acl_access"
	Default = "system.posix_acl_default"
)

// IsName says whether an extended attribute is a list.
func IsName(name string) bool { return name == Access || name == Default }

// MaxSize is the size in bytes of the longest list: 511 entries, as FUSE allows.
const MaxSize = 4096

// ACL is a list in the form of its extended attribute (posix_acl_xattr.h of Linux), all
// numbers little-endian:
//
//	version[4] of 2, then for each entry: tag[2] permissions[2] id[4]
//
// Entries are in the order of their tags. Every ACL is "", which is no list, or one that
// Parse has accepted.
type ACL string

const (
	headerSize = 4
	entrySize  = 8
	version    = 2
)

// Tags of entries.
const (
	tagOwner     = 0x01
	tagUser      = 0x02
	tagGroup     = 0x04 // the file's
	tagUserGroup = 0x08
	tagMask      = 0x10
	tagOther     = 0x20
)

// entry is one line of a list.
type entry struct {
	tag, perm uint16
	id        uint32 // of tagUser and tagUserGroup
}

func (a ACL) len() int { return max(0, (len(a)-headerSize)/entrySize) }

func (a ACL) at(i int) entry {
	p := a[headerSize+i*entrySize:][:entrySize]
	return entry{
		tag: uint16(p[0]) | uint16(p[1])<<8, perm: uint16(p[2]) | uint16(p[3])<<8,
		id: uint32(p[4]) | uint32(p[5])<<8 | uint32(p[6])<<16 | uint32(p[7])<<24,
	}
}

// Parse checks the value of an attribute as Linux does (posix_acl_from_xattr and
// posix_acl_valid). Without entries there is no list.
func Parse(value []byte) (ACL, error) {
	switch {
	case len(value) == 0:
		return "", nil
	case len(value) < headerSize:
		return "", linux.EINVAL
	case binary.LittleEndian.Uint32(value) != version:
		return "", linux.EOPNOTSUPP
	case (len(value)-headerSize)%entrySize != 0:
		return "", linux.EINVAL
	case len(value) == headerSize:
		return "", nil
	case len(value) > MaxSize:
		return "", linux.E2BIG
	}
	a := ACL(value)
	var seen, last uint16
	for i := range a.len() {
		e := a.at(i)
		named := e.tag == tagUser || e.tag == tagUserGroup
		switch {
		case e.perm&^7 != 0, e.tag < last, seen&e.tag != 0 && !named, named && e.id == noID:
			return "", linux.EINVAL
		}
		switch e.tag {
		case tagOwner, tagUser, tagGroup, tagUserGroup, tagMask, tagOther:
		default:
			return "", linux.EINVAL
		}
		seen, last = seen|e.tag, e.tag
	}
	const base = tagOwner | tagGroup | tagOther
	if seen&base != base || seen&(tagUser|tagUserGroup) != 0 && seen&tagMask == 0 {
		return "", linux.EINVAL
	}
	return a, nil
}

// noID is the id of entries that need none.
const noID = 1<<32 - 1

// Mode returns the nine permission bits that stand for the list. minimal says that they
// say all.
func (a ACL) Mode() (mode uint32, minimal bool) {
	minimal = true
	for i := range a.len() {
		switch e := a.at(i); e.tag {
		case tagOwner:
			mode |= uint32(e.perm) << 6
		case tagGroup:
			mode |= uint32(e.perm) << 3
		case tagMask:
			mode, minimal = mode&^0o070|uint32(e.perm)<<3, false
		case tagOther:
			mode |= uint32(e.perm)
		default:
			minimal = false
		}
	}
	return mode, minimal
}

// Chmod returns the list after chmod(2): the group bits are the mask's, if there is one.
func (a ACL) Chmod(mode uint32) ACL {
	return a.change(mode, func(_, bits uint16) uint16 { return bits })
}

// Inherit returns what a new file gets of its directory's default list: its own list, ""
// if the mode says all, and its mode. mode is what the maker asks for.
func (a ACL) Inherit(mode uint32) (ACL, uint32) {
	own := a.change(mode, func(perm, bits uint16) uint16 { return perm & bits })
	bits, minimal := own.Mode()
	if minimal {
		own = ""
	}
	return own, mode&^0o777 | bits
}

// change has combine say, for each entry that stands behind bits of the mode, what
// its permissions become.
func (a ACL) change(mode uint32, combine func(perm, bits uint16) uint16) ACL {
	if a == "" {
		return ""
	}
	group := uint16(tagGroup)
	for i := range a.len() {
		if a.at(i).tag == tagMask {
			group = tagMask
		}
	}
	b := []byte(a)
	for i := range a.len() {
		e := a.at(i)
		bits := uint16(mode & 7)
		switch e.tag {
		case tagOwner:
			bits = uint16(mode >> 6 & 7)
		case group:
			bits = uint16(mode >> 3 & 7)
		case tagOther:
		default:
			continue
		}
		binary.LittleEndian.PutUint16(b[headerSize+i*entrySize+2:], combine(e.perm, bits))
	}
	return ACL(b)
}

// Permits says whether a list allows want, bits of access(2), to the user uid, with
// inGroup for their groups. owner and group are the file's. The order is Linux'
// (posix_acl_permission): one entry decides for a user, any of several for a group.
func (a ACL) Permits(uid uint32, inGroup func(gid uint32) bool, owner, group uint32, want uint32) bool {
	mask, need := uint16(7), uint16(want&7)
	for i := range a.len() {
		if e := a.at(i); e.tag == tagMask {
			mask = e.perm
		}
	}
	member := false
	for i := range a.len() {
		e := a.at(i)
		switch e.tag {
		case tagOwner:
			if uid == owner {
				return e.perm&need == need
			}
		case tagUser:
			if uid == e.id {
				return e.perm&mask&need == need
			}
		case tagGroup, tagUserGroup:
			if e.tag == tagGroup {
				e.id = group
			}
			if inGroup(e.id) {
				member = true
				if e.perm&need == need {
					return e.perm&mask&need == need
				}
			}
		case tagOther:
			return !member && e.perm&need == need
		}
	}
	return false
}
