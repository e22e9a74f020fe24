package posix

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// unlinkedEmpty uses files that were empty when they lost their names.
func unlinkedEmpty(e *env) {
	create := func() int {
		e.Helper()
		fd := e.open("f", unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
		check(e, unix.Unlink(e.path("f")))
		return fd
	}
	for i, change := range []func(fd int, want []byte){
		func(int, []byte) {},
		func(fd int, want []byte) { check(e, unix.Fsync(fd)) },
		func(fd int, want []byte) { check(e, unix.Fchmod(fd, 0o600)) },
		func(fd int, want []byte) { check(e, unix.Fsetxattr(fd, "user.a", []byte("b"), 0)) },
		func(fd int, want []byte) { check(e, unix.Ftruncate(fd, int64(len(want)))) },
	} {
		fd := create()
		want := content(byte(i), 100_000)
		change(fd, want)
		e.write(fd, want, 0)
		e.expectFD(fd, want)
		check(e, unix.Fsync(fd))
		change(fd, want)
		e.expectFD(fd, want)
		e.close(fd)
	}
	e.errno("stat", unix.Lstat(e.path("f"), new(unix.Stat_t)), unix.ENOENT)
}

// removalSeen looks at a directory after each removal from it.
func removalSeen(e *env) {
	check(e, os.Mkdir(e.path("d"), 0o755))
	before := time.Now().Add(-2 * time.Second)
	for _, c := range []struct {
		what   string
		make   func(name string)
		remove func(name string) error
	}{
		{"unlink", func(name string) { e.put(name, nil) }, func(name string) error { return unix.Unlink(e.path(name)) }},
		{"rmdir", func(name string) { check(e, os.Mkdir(e.path(name), 0o755)) }, func(name string) error { return unix.Rmdir(e.path(name)) }},
		{"rename over", func(name string) { e.put(name, nil); e.put("new", nil) }, func(name string) error { return unix.Rename(e.path("new"), e.path(name)) }},
	} {
		c.make("d/a")
		c.make("d/b")
		for _, name := range []string{"d/a", "d/b"} {
			links := e.stat(e.path("d")).Nlink
			if c.what == "rename over" {
				e.put("new", nil)
			}
			check(e, unix.UtimesNanoAt(unix.AT_FDCWD, e.path("d"), []unix.Timespec{{Sec: 5}, {Sec: 6}}, 0))
			check(e, c.remove(name))
			st := e.stat(e.path("d"))
			if time.Unix(st.Mtim.Unix()).Before(before) {
				e.Errorf("%s: mtime %v of the directory", c.what, st.Mtim)
			}
			if c.what == "rmdir" {
				links--
			}
			if st.Nlink != links {
				e.Errorf("%s: the directory has %d links, want %d", c.what, st.Nlink, links)
			}
		}
	}
	// Of two removals one after the other, and what comes in between.
	check(e, os.Mkdir(e.path("d/x"), 0o755))
	check(e, os.Mkdir(e.path("d/y"), 0o755))
	check(e, unix.Rmdir(e.path("d/x")))
	check(e, unix.Chmod(e.path("d"), 0o711))
	if st := e.stat(e.path("d")); st.Nlink != 3 || st.Mode&0o777 != 0o711 {
		e.Errorf("%d links, mode %o", st.Nlink, st.Mode)
	}
	check(e, unix.Rmdir(e.path("d/y")))
	check(e, os.Mkdir(e.path("d/z"), 0o755))
	if st := e.stat(e.path("d")); st.Nlink != 3 {
		e.Errorf("%d links, want 3", st.Nlink)
	}
}
