package posix

import (
	"os"

	"golang.org/x/sys/unix"
)

const (
	alice, bob = 65001, 65002 // users that no machine has
	team       = 65003        // a group
)

func permissions(e *env) {
	f := e.put("f", content(1, 10_000))
	check(e, os.Chmod(f, 0o640))
	check(e, os.Mkdir(e.path("closed"), 0o700))
	e.put("closed/f", nil)
	check(e, os.Mkdir(e.path("public"), 0o755))
	try := func(path string, flags int) error {
		fd, err := unix.Open(path, flags, 0o644)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	e.as(alice, alice, func() {
		e.errno("open", try(f, unix.O_RDONLY), unix.EACCES)
		e.errno("open for writing", try(f, unix.O_WRONLY), unix.EACCES)
		e.errno("search", unix.Lstat(e.path("closed/f"), new(unix.Stat_t)), unix.EACCES)
		e.errno("create", try(e.path("public/x"), unix.O_CREAT|unix.O_WRONLY), unix.EACCES)
		e.errno("mkdir", unix.Mkdir(e.path("public/x"), 0o755), unix.EACCES)
		e.errno("chmod", unix.Chmod(f, 0o666), unix.EPERM)
		e.errno("chown", unix.Chown(f, alice, alice), unix.EPERM)
		e.errno("truncate", unix.Truncate(f, 0), unix.EACCES)
		e.errno("utimes", unix.UtimesNano(f, []unix.Timespec{{Sec: 1}, {Sec: 1}}), unix.EPERM)
		e.errno("unlink", unix.Unlink(e.path("closed/f")), unix.EACCES)
		e.errno("mknod of a device", unix.Mknod(e.path("dev"), unix.S_IFCHR|0o666, 0x103), unix.EPERM)
		// What they make is theirs.
		e.errno("create", try(e.path("mine"), unix.O_CREAT|unix.O_RDWR), 0)
		e.errno("mkdir", unix.Mkdir(e.path("minedir"), 0o755), 0)
		e.errno("symlink", unix.Symlink("x", e.path("minelink")), 0)
		e.errno("mkfifo", unix.Mkfifo(e.path("minefifo"), 0o600), 0)
		e.errno("chmod", unix.Chmod(e.path("mine"), 0o600), 0)
	})
	for _, name := range []string{"mine", "minedir", "minelink", "minefifo"} {
		if st := e.stat(e.path(name)); st.Uid != alice || st.Gid != alice && !e.lacking("unknown-groups") {
			e.Errorf("%s belongs to %d:%d", name, st.Uid, st.Gid)
		}
	}
	e.as(bob, team, func() {
		e.errno("another's file", try(e.path("mine"), unix.O_RDONLY), unix.EACCES)
		e.errno("another's directory", unix.Mkdir(e.path("minedir/x"), 0o755), unix.EACCES)
	})
	check(e, os.Chown(f, 0, team))
	e.as(bob, team, func() {
		if !e.lacking("client-groups") {
			e.errno("by the group", try(f, unix.O_RDONLY), 0)
		}
		e.errno("by the group, writing", try(f, unix.O_RDWR), unix.EACCES)
	})
	// A file that may not be written by who makes it, and is written all the same.
	e.as(alice, alice, func() {
		fd, err := unix.Open(e.path("readonly"), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o400)
		e.errno("create of a file for reading", err, 0)
		if err == nil {
			_, err = unix.Write(fd, []byte("x"))
			e.errno("write", err, 0)
			e.errno("fchmod", unix.Fchmod(fd, 0o444), 0)
			unix.Close(fd)
		}
	})
}

// madeByOthers: what a user has made is no more theirs for the others than any file is.
func madeByOthers(e *env) {
	e.as(alice, alice, func() {
		check(e, unix.Mkdir(e.path("d"), 0o755))
		check(e, unix.Chmod(e.path("d"), 0o777))
		check(e, os.WriteFile(e.path("f"), []byte("hers"), 0o600))
		check(e, unix.Mkfifo(e.path("p"), 0o600))
		check(e, unix.Symlink("f", e.path("l")))
	})
	for _, name := range []string{"f", "p", "l"} {
		check(e, unix.Lchown(e.path(name), bob, bob))
		if st := e.stat(e.path(name)); st.Uid != bob {
			e.Errorf("%s belongs to %d after it was given away", name, st.Uid)
		}
	}
	e.as(bob, bob, func() {
		fd, err := unix.Open(e.path("f"), unix.O_RDWR, 0)
		e.errno("open of what was given away", err, 0)
		unix.Close(fd)
		e.errno("chmod of what was given away", unix.Chmod(e.path("f"), 0o640), 0)
		// Below a directory of another's.
		check(e, os.WriteFile(e.path("d/bob"), []byte("his"), 0o600))
		_, err = os.ReadFile(e.path("d/bob"))
		check(e, err)
		check(e, unix.Mkdir(e.path("d/sub"), 0o700))
		check(e, os.WriteFile(e.path("d/sub/f"), nil, 0o600))
	})
	check(e, os.WriteFile(e.path("d/root"), nil, 0o600))
	check(e, unix.Mkdir(e.path("d/rootdir"), 0o700))
	check(e, os.WriteFile(e.path("d/sub/root"), nil, 0o600))
	for name, uid := range map[string]uint32{"d": alice, "d/bob": bob, "d/sub": bob, "d/sub/f": bob, "d/root": 0, "d/rootdir": 0, "d/sub/root": 0} {
		if st := e.stat(e.path(name)); st.Uid != uid {
			e.Errorf("%s belongs to %d, want %d", name, st.Uid, uid)
		}
	}
}

func sticky(e *env) {
	check(e, os.Mkdir(e.path("d"), 0o755))
	check(e, unix.Chmod(e.path("d"), 0o1777))
	if st := e.stat(e.path("d")); st.Mode&0o7777 != 0o1777 {
		e.Errorf("mode %o", st.Mode)
	}
	e.as(alice, alice, func() { check(e, os.WriteFile(e.path("d/alice"), nil, 0o666)) })
	e.as(bob, bob, func() {
		e.errno("unlink of another's", unix.Unlink(e.path("d/alice")), unix.EPERM)
		e.errno("rename of another's", unix.Rename(e.path("d/alice"), e.path("d/bob")), unix.EPERM)
		check(e, os.WriteFile(e.path("d/bob"), nil, 0o666))
		e.errno("rename over another's", unix.Rename(e.path("d/bob"), e.path("d/alice")), unix.EPERM)
	})
	e.as(alice, alice, func() { e.errno("unlink of one's own", unix.Unlink(e.path("d/alice")), 0) })
}

func setgidDirectory(e *env) {
	check(e, os.Mkdir(e.path("d"), 0o755))
	check(e, os.Chown(e.path("d"), 0, team))
	check(e, unix.Chmod(e.path("d"), 0o2777))
	e.as(alice, alice, func() {
		check(e, os.WriteFile(e.path("d/f"), nil, 0o644))
		check(e, unix.Mkdir(e.path("d/sub"), 0o755))
		check(e, unix.Symlink("x", e.path("d/l")))
	})
	for _, name := range []string{"f", "sub", "l"} {
		if st := e.stat(e.path("d/" + name)); st.Uid != alice || st.Gid != team {
			e.Errorf("%s belongs to %d:%d", name, st.Uid, st.Gid)
		}
	}
	if st := e.stat(e.path("d/sub")); st.Mode&unix.S_ISGID == 0 {
		e.Errorf("a directory below one with setgid has mode %o", st.Mode)
	}
	// Who is not in the group cannot make a program run in it.
	check(e, os.WriteFile(e.path("g"), nil, 0o755))
	check(e, os.Chown(e.path("g"), alice, team))
	e.as(alice, alice, func() { check(e, unix.Chmod(e.path("g"), 0o2755)) })
	if st := e.stat(e.path("g")); st.Mode&unix.S_ISGID != 0 {
		e.Errorf("chmod by who is not in the group: mode %o", st.Mode)
	}
}

func setuidCleared(e *env) {
	make := func(name string) string {
		p := e.put(name, content(1, 5000))
		check(e, os.Chown(p, alice, alice))
		check(e, unix.Chmod(p, 0o6777))
		return p
	}
	f := make("write")
	e.as(bob, bob, func() {
		fd, err := unix.Open(f, unix.O_WRONLY, 0)
		e.errno("open", err, 0)
		if err == nil {
			_, err = unix.Pwrite(fd, []byte("x"), 0)
			e.errno("write", err, 0)
			unix.Close(fd)
		}
	})
	t := make("truncate")
	e.as(bob, bob, func() { e.errno("truncate", unix.Truncate(t, 10), 0) })
	o := make("open")
	e.as(bob, bob, func() {
		fd, err := unix.Open(o, unix.O_WRONLY|unix.O_TRUNC, 0)
		e.errno("open with O_TRUNC", err, 0)
		unix.Close(fd)
	})
	c := make("chown")
	check(e, os.Chown(c, bob, bob))
	same := make("chown to the same")
	check(e, os.Chown(same, alice, alice))
	for _, path := range []string{f, t, o, c, same} {
		if st := e.stat(path); st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
			e.Errorf("%s: mode %o", path, st.Mode)
		}
	}
	p := make("capability")
	value := netRaw()
	check(e, unix.Setxattr(p, "security.capability", value, 0))
	e.as(bob, bob, func() { e.errno("write", os.WriteFile(p, []byte("x"), 0), 0) })
	if n, err := unix.Getxattr(p, "security.capability", value); err != unix.ENODATA {
		e.Errorf("after a write the file has capabilities: %d bytes, %v", n, err)
	}
	r := make("by root")
	fd := e.openAt(r, unix.O_WRONLY)
	e.write(fd, []byte("x"), 0)
	e.close(fd)
	if st := e.stat(r); st.Mode&unix.S_ISUID == 0 {
		e.Errorf("a write by root clears setuid: mode %o", st.Mode)
	}
}

// netRaw returns CAP_NET_RAW, permitted and effective, as struct vfs_cap_data has it.
func netRaw() []byte {
	v := make([]byte, 20)
	v[0], v[3], v[5] = 1, 2, 1<<(13-8)
	return v
}

func umask(e *env) {
	old := unix.Umask(0o027)
	defer unix.Umask(old)
	check(e, os.WriteFile(e.path("f"), nil, 0o666))
	check(e, os.Mkdir(e.path("d"), 0o777))
	check(e, unix.Mkfifo(e.path("p"), 0o666))
	for name, want := range map[string]uint32{"f": 0o640, "d": 0o750, "p": 0o640} {
		if st := e.stat(e.path(name)); st.Mode&0o777 != want {
			e.Errorf("%s: mode %o, want %o", name, st.Mode&0o777, want)
		}
	}
}
