package posix

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Access control lists, in the form of acl(5): "u::rw-,u:65001:r--,g::r--,m::rw-,o::---".
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

// aclTags are the tags of entries in posix_acl.h, for those with an id and without.
var aclTags = map[bool]map[string]uint16{true: {"u": 0x02, "g": 0x08}, false: {"u": 0x01, "g": 0x04, "m": 0x10, "o": 0x20}}

// aclValue is the value of the attribute for a list.
func aclValue(text string) []byte {
	b := []byte{2, 0, 0, 0}
	for line := range strings.SplitSeq(text, ",") {
		f := strings.Split(line, ":")
		id := uint32(1<<32 - 1)
		if f[1] != "" {
			must(fmt.Sscan(f[1], &id))
		}
		perm := uint16(0)
		for i, c := range f[2] {
			if c != '-' {
				perm |= 4 >> i
			}
		}
		b = binary.LittleEndian.AppendUint16(b, aclTags[f[1] != ""][f[0]])
		b = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint16(b, perm), id)
	}
	return b
}

// aclText is the list of a value.
func aclText(b []byte) string {
	var lines []string
	for b = b[4:]; len(b) >= 8; b = b[8:] {
		tag, perm, id := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:]), ""
		for named, tags := range aclTags {
			for name, t := range tags {
				if t != tag {
					continue
				}
				if named {
					id = fmt.Sprint(binary.LittleEndian.Uint32(b[4:]))
				}
				rwx := []byte("---")
				for i := range rwx {
					if perm&(4>>i) != 0 {
						rwx[i] = "rwx"[i]
					}
				}
				lines = append(lines, name+":"+id+":"+string(rwx))
			}
		}
	}
	return strings.Join(lines, ",")
}

func (e *env) setACL(name, attr, text string) {
	e.Helper()
	if err := unix.Setxattr(e.path(name), attr, aclValue(text), 0); err != nil {
		e.Fatalf("set %s of %s to %s: %v", attr, name, text, err)
	}
}

// expectACL looks at a list and the mode, by both mounts. "" is no list.
func (e *env) expectACL(name, attr, text string, mode uint32) {
	e.Helper()
	for _, path := range []string{e.path(name), e.theirs(name)} {
		got, buf := "", make([]byte, 1000)
		n, err := unix.Lgetxattr(path, attr, buf)
		if err == nil && n > 0 {
			got = aclText(buf[:n])
		}
		if got != text || (text == "") != (err == unix.ENODATA || err == unix.EOPNOTSUPP) {
			e.Errorf("%s of %s: %q, %v; want %q", attr, path, got, err, text)
		}
		if st := e.stat(path); st.Mode&0o7777 != mode {
			e.Errorf("%s: mode %o, want %o", path, st.Mode&0o7777, mode)
		}
	}
}

// aclSet sets, shows, and removes lists; the mode goes with them.
func aclSet(e *env) {
	e.put("f", content(1, 5000))
	check(e, os.Chmod(e.path("f"), 0o640))
	e.setACL("f", aclAccess, "u::rw-,u:65001:rwx,g::r--,g:65003:-w-,m::rwx,o::---")
	e.settle("f")
	e.expectACL("f", aclAccess, "u::rw-,u:65001:rwx,g::r--,g:65003:-w-,m::rwx,o::---", 0o670)
	buf := make([]byte, 1000)
	n, err := unix.Listxattr(e.path("f"), buf)
	if err != nil || !slices.Contains(strings.Split(string(buf[:n]), "\x00"), aclAccess) {
		e.Errorf("the list is not listed: %q, %v", buf[:n], err)
	}
	// A list that says no more than a mode is none.
	e.put("g", nil)
	e.setACL("g", aclAccess, "u::r-x,g::-w-,o::--x")
	e.expectACL("g", aclAccess, "", 0o521)
	// Without its list a file keeps the mode, and with it the mask as its group bits.
	e.put("h", nil)
	e.setACL("h", aclAccess, "u::rw-,u:65001:rwx,g::---,m::rw-,o::---")
	check(e, unix.Removexattr(e.path("h"), aclAccess))
	e.expectACL("h", aclAccess, "", 0o660)
	e.errno("removed again", unix.Removexattr(e.path("h"), aclAccess), 0, unix.ENODATA)

	check(e, os.Mkdir(e.path("d"), 0o750))
	e.setACL("d", aclDefault, "u::rwx,g::---,o::--x")
	e.expectACL("d", aclDefault, "u::rwx,g::---,o::--x", 0o750)
	check(e, os.Mkdir(e.path("e"), 0o750))
	e.setACL("e", aclDefault, "u::rwx,g::---,o::--x")
	check(e, unix.Removexattr(e.path("e"), aclDefault))
	e.expectACL("e", aclDefault, "", 0o750)
}

// aclChmod changes the mode of files with lists: its group bits are the mask.
func aclChmod(e *env) {
	const list = "u::rwx,u:65001:rwx,g::r-x,m::rwx,o::r--"
	for name, tc := range map[string]struct {
		mode uint32
		want string
	}{
		"a": {0o640, "u::rw-,u:65001:rwx,g::r-x,m::r--,o::---"},
		"b": {0o707, "u::rwx,u:65001:rwx,g::r-x,m::---,o::rwx"},
		"c": {0o1070, "u::---,u:65001:rwx,g::r-x,m::rwx,o::---"},
	} {
		e.put(name, content(2, 3000))
		e.setACL(name, aclAccess, list)
		e.settle(name)
		check(e, unix.Chmod(e.path(name), tc.mode))
		e.expectACL(name, aclAccess, tc.want, tc.mode)
	}
	// A truncate by another than the owner clears setuid; the list stays.
	e.put("t", content(2, 3000))
	e.setACL("t", aclAccess, list)
	check(e, os.Chown(e.path("t"), alice, alice))
	e.expectACL("t", aclAccess, list, 0o774)
	// Who is not in the file's group can make no program run in it by a list either.
	e.put("s", nil)
	check(e, os.Chown(e.path("s"), alice, team))
	check(e, unix.Chmod(e.path("s"), 0o2755))
	e.as(alice, alice, func() { check(e, unix.Setxattr(e.path("s"), aclAccess, aclValue(list), 0)) })
	e.expectACL("s", aclAccess, list, 0o774)
}

// aclErrors are lists that are none, and files that have none.
func aclErrors(e *env) {
	f := e.put("f", nil)
	check(e, os.Mkdir(e.path("d"), 0o777))
	check(e, os.Symlink("f", e.path("l")))
	for what, text := range map[string]string{
		"a named user without a mask": "u::rw-,u:65001:rwx,g::r--,o::---",
		"no owner":                    "g::r--,o::---",
		"no others":                   "u::rw-,g::r--",
		"two masks":                   "u::rw-,g::r--,m::rwx,m::rwx,o::---",
		"another order":               "u::rw-,o::---,g::r--",
	} {
		for _, attr := range []string{aclAccess, aclDefault} {
			e.errno(what, unix.Setxattr(e.path("d"), attr, aclValue(text), 0), unix.EINVAL)
		}
	}
	good := aclValue("u::rw-,u:65001:rwx,g::r--,m::rwx,o::---")
	e.errno("half an entry", unix.Setxattr(f, aclAccess, good[:len(good)-3], 0), unix.EINVAL)
	e.errno("another version", unix.Setxattr(f, aclAccess, append([]byte{3}, good[1:]...), 0), unix.EOPNOTSUPP, unix.EINVAL)
	e.errno("default list of a file", unix.Setxattr(f, aclDefault, good, 0), unix.EACCES, unix.EINVAL)
	e.errno("of a symbolic link", unix.Lsetxattr(e.path("l"), aclAccess, good, 0), unix.EOPNOTSUPP, unix.EPERM)
	e.expectACL("f", aclAccess, "", 0o666)
	e.as(alice, alice, func() {
		e.errno("of another's file", unix.Setxattr(f, aclAccess, good, 0), unix.EPERM)
		e.errno("of another's directory", unix.Setxattr(e.path("d"), aclDefault, good, 0), unix.EPERM)
		e.errno("removed from another's file", unix.Removexattr(f, aclAccess), unix.EPERM)
	})
}

// aclPermits has users do what lists say.
func aclPermits(e *env) {
	try := func(path string, flags int) error {
		fd, err := unix.Open(path, flags, 0o644)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	e.put("user", content(1, 3000))
	e.setACL("user", aclAccess, "u::rw-,u:65001:rw-,g::---,m::r--,o::---")
	e.put("other", content(1, 3000))
	e.setACL("other", aclAccess, "u::rw-,u:65001:---,g::r--,g:65003:---,m::rwx,o::rw-")
	e.put("group", content(1, 3000))
	e.setACL("group", aclAccess, "u::rw-,g::---,g:65003:rw-,m::rw-,o::---")
	e.put("owner", content(1, 3000))
	e.setACL("owner", aclAccess, "u::r--,u:65001:rwx,g::rw-,m::rwx,o::rw-")
	check(e, os.Chown(e.path("owner"), alice, alice))
	check(e, os.Mkdir(e.path("d"), 0o700))
	e.put("d/f", nil)
	e.setACL("d", aclAccess, "u::rwx,u:65001:rwx,u:65002:--x,g::---,m::rwx,o::---")
	for _, at := range []func(string) string{e.path, e.theirs} {
		e.as(alice, alice, func() {
			e.errno("a named user reads", try(at("user"), unix.O_RDONLY), 0)
			e.errno("a named user writes what the mask does not allow", try(at("user"), unix.O_RDWR), unix.EACCES)
			e.errno("a named user is not one of the others", try(at("other"), unix.O_RDONLY), unix.EACCES)
			e.errno("not in the group", try(at("group"), unix.O_RDONLY), unix.EACCES)
			e.errno("the owner is not a named user", try(at("owner"), unix.O_RDWR), unix.EACCES)
			e.errno("the owner reads", try(at("owner"), unix.O_RDONLY), 0)
			e.errno("a named user makes a file", try(at("d/new"), unix.O_CREAT|unix.O_RDWR), 0)
			e.errno("a named user removes it", unix.Unlink(at("d/new")), 0)
			e.errno("a named user makes a directory", unix.Mkdir(at("d/sub"), 0o755), 0)
			e.errno("a named user removes", unix.Rmdir(at("d/sub")), 0)
			e.errno("a named user lists", listable(at("d")), 0)
		})
		e.as(bob, bob, func() {
			e.errno("no named user", try(at("user"), unix.O_RDONLY), unix.EACCES)
			e.errno("one of the others", try(at("other"), unix.O_RDWR), 0)
			e.errno("makes a file without a right to", try(at("d/bob"), unix.O_CREAT|unix.O_RDWR), unix.EACCES)
			e.errno("lists without a right to", listable(at("d")), unix.EACCES)
			e.errno("searches", unix.Lstat(at("d/f"), new(unix.Stat_t)), 0)
		})
		if e.lacking("client-groups") {
			continue
		}
		e.as(bob, team, func() {
			e.errno("by a named group", try(at("group"), unix.O_RDWR), 0)
			e.errno("a member is not one of the others", try(at("other"), unix.O_RDONLY), unix.EACCES)
		})
	}
}

func listable(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// aclInherit makes files in directories with a default list, which decides instead of the umask.
func aclInherit(e *env) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	const list = "u::rwx,u:65001:rwx,g::r-x,m::rwx,o::--x"
	check(e, os.Mkdir(e.path("d"), 0o777))
	e.setACL("d", aclDefault, list)
	check(e, os.WriteFile(e.path("d/f"), nil, 0o666))
	check(e, os.Mkdir(e.path("d/sub"), 0o777))
	check(e, unix.Mkfifo(e.path("d/p"), 0o644))
	check(e, unix.Mknod(e.path("d/n"), unix.S_IFREG|0o606, 0))
	check(e, os.Symlink("f", e.path("d/l")))
	check(e, os.WriteFile(e.path("d/sub/f"), nil, 0o640))
	check(e, os.Mkdir(e.path("d/sub/sub"), 0o700))
	e.settle("d/f")
	e.expectACL("d/f", aclAccess, "u::rw-,u:65001:rwx,g::r-x,m::rw-,o::---", 0o660)
	e.expectACL("d/sub", aclAccess, list, 0o771)
	e.expectACL("d/sub", aclDefault, list, 0o771)
	e.expectACL("d/p", aclAccess, "u::rw-,u:65001:rwx,g::r-x,m::r--,o::---", 0o640)
	e.expectACL("d/n", aclAccess, "u::rw-,u:65001:rwx,g::r-x,m::---,o::---", 0o600)
	e.expectACL("d/l", aclAccess, "", 0o777)
	e.expectACL("d/sub/f", aclAccess, "u::rw-,u:65001:rwx,g::r-x,m::r--,o::---", 0o640)
	e.expectACL("d/sub/sub", aclAccess, "u::rwx,u:65001:rwx,g::r-x,m::---,o::---", 0o700)
	e.expectACL("d/sub/sub", aclDefault, list, 0o700)
	// Made by the other mount.
	check(e, os.Mkdir(e.theirs("d/theirs"), 0o775))
	check(e, os.WriteFile(e.theirs("d/theirs/f"), nil, 0o666))
	e.expectACL("d/theirs", aclAccess, list, 0o771)
	e.expectACL("d/theirs/f", aclAccess, "u::rw-,u:65001:rwx,g::r-x,m::rw-,o::---", 0o660)

	// A default list without more than a mode is one all the same.
	check(e, os.Mkdir(e.path("base"), 0o777))
	e.setACL("base", aclDefault, "u::rwx,g::rwx,o::---")
	check(e, os.WriteFile(e.path("base/f"), nil, 0o666))
	check(e, os.Mkdir(e.path("base/sub"), 0o777))
	e.expectACL("base/f", aclAccess, "", 0o660)
	e.expectACL("base/sub", aclAccess, "", 0o770)
	e.expectACL("base/sub", aclDefault, "u::rwx,g::rwx,o::---", 0o770)
	// Without one the umask counts.
	check(e, os.Mkdir(e.path("none"), 0o777))
	check(e, os.WriteFile(e.path("none/f"), nil, 0o666))
	e.expectACL("none", aclAccess, "", 0o700)
	e.expectACL("none/f", aclAccess, "", 0o600)
}
