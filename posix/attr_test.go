package posix

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func (e *env) utimes(name string, atime, mtime unix.Timespec) {
	e.Helper()
	check(e, unix.UtimesNanoAt(unix.AT_FDCWD, e.path(name), []unix.Timespec{atime, mtime}, unix.AT_SYMLINK_NOFOLLOW))
}

var (
	now  = unix.Timespec{Nsec: unix.UTIME_NOW}
	omit = unix.Timespec{Nsec: unix.UTIME_OMIT}
)

func times(e *env) {
	e.put("f", content(1, 10_000))
	before := time.Now().Add(-2 * time.Second)
	e.utimes("f", unix.Timespec{Sec: 1000}, unix.Timespec{Sec: 4102444800})
	st := e.stat(e.path("f"))
	if st.Atim.Sec != 1000 || st.Mtim.Sec != 4102444800 {
		e.Errorf("times %v, %v", st.Atim, st.Mtim)
	}
	if time.Unix(st.Ctim.Unix()).Before(before) {
		e.Errorf("ctime %v does not change with the others", st.Ctim)
	}
	e.utimes("f", omit, unix.Timespec{Sec: 2000})
	if st = e.stat(e.path("f")); st.Atim.Sec != 1000 || st.Mtim.Sec != 2000 {
		e.Errorf("with UTIME_OMIT: %v, %v", st.Atim, st.Mtim)
	}
	e.utimes("f", now, omit)
	if st = e.stat(e.path("f")); time.Unix(st.Atim.Unix()).Before(before) || st.Mtim.Sec != 2000 {
		e.Errorf("with UTIME_NOW: %v, %v", st.Atim, st.Mtim)
	}
	// Each change has its times.
	later := func(what string, changes bool, get func(*unix.Stat_t) unix.Timespec, do func()) {
		e.Helper()
		was := get(e.stat(e.path("f")))
		time.Sleep(12 * time.Millisecond) // coarser than the clock of any file system
		do()
		if is := get(e.stat(e.path("f"))); (is != was) != changes {
			e.Errorf("%s: %v, was %v", what, is, was)
		}
	}
	mtime := func(st *unix.Stat_t) unix.Timespec { return st.Mtim }
	ctime := func(st *unix.Stat_t) unix.Timespec { return st.Ctim }
	write := func() {
		fd := e.open("f", unix.O_WRONLY)
		e.write(fd, []byte("x"), 3)
		e.close(fd)
	}
	later("mtime at a write", true, mtime, write)
	later("ctime at a write", true, ctime, write)
	later("mtime at truncate", true, mtime, func() { check(e, unix.Truncate(e.path("f"), 5000)) })
	later("ctime at chmod", true, ctime, func() { check(e, unix.Chmod(e.path("f"), 0o600)) })
	later("mtime at chmod", false, mtime, func() { check(e, unix.Chmod(e.path("f"), 0o644)) })
	later("ctime at link", true, ctime, func() { check(e, unix.Link(e.path("f"), e.path("g"))) })
	later("mtime at a read", false, mtime, func() { _, _ = os.ReadFile(e.path("f")) })

	check(e, os.Mkdir(e.path("d"), 0o755))
	check(e, unix.UtimesNanoAt(unix.AT_FDCWD, e.path("d"), []unix.Timespec{{Sec: 5}, {Sec: 6}}, 0))
	e.put("d/f", nil)
	if st := e.stat(e.path("d")); time.Unix(st.Mtim.Unix()).Before(before) {
		e.Errorf("mtime %v of a directory in which a file was made", st.Mtim)
	}
	check(e, os.Symlink("f", e.path("l")))
	e.utimes("l", unix.Timespec{Sec: 7}, unix.Timespec{Sec: 8})
	if st := e.stat(e.path("l")); st.Mtim.Sec != 8 {
		e.Errorf("mtime %v of a symbolic link", st.Mtim)
	}
}

func timesNano(e *env) {
	e.put("f", content(1, 10_000))
	for _, want := range []unix.Timespec{{Sec: 1_700_000_000, Nsec: 123_456_789}, {Sec: 1, Nsec: 1}, {Sec: 0, Nsec: 999_999_999}, {Sec: -5, Nsec: 5}} {
		e.utimes("f", want, want)
		if st := e.stat(e.path("f")); st.Mtim != want || st.Atim != want {
			e.Errorf("times %v, %v, want %v", st.Atim, st.Mtim, want)
		}
	}
}

func birth(e *env) {
	before := time.Now().Add(-2 * time.Second)
	e.put("f", []byte("f"))
	get := func() time.Time {
		var st unix.Statx_t
		check(e, unix.Statx(unix.AT_FDCWD, e.path("f"), unix.AT_STATX_SYNC_AS_STAT, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st))
		if st.Mask&unix.STATX_BTIME == 0 {
			e.Fatal("no time of birth")
		}
		return time.Unix(st.Btime.Sec, int64(st.Btime.Nsec))
	}
	born := get()
	if born.Before(before) || born.After(time.Now().Add(2*time.Second)) {
		e.Errorf("born %v", born)
	}
	e.utimes("f", unix.Timespec{Sec: 1}, unix.Timespec{Sec: 1})
	check(e, os.WriteFile(e.path("f"), []byte("more"), 0o644))
	if again := get(); !again.Equal(born) {
		e.Errorf("born %v, then %v", born, again)
	}
}

func nodes(e *env) {
	for _, tc := range []struct {
		name string
		mode uint32
		dev  uint64
	}{
		{"fifo", unix.S_IFIFO | 0o640, 0},
		{"socket", unix.S_IFSOCK | 0o600, 0},
		{"char", unix.S_IFCHR | 0o666, unix.Mkdev(1, 3)},
		{"block", unix.S_IFBLK | 0o660, unix.Mkdev(259, 0x12345)},
		{"regular", unix.S_IFREG | 0o604, 0},
	} {
		check(e, unix.Mknod(e.path(tc.name), tc.mode, int(tc.dev)))
		check(e, unix.Chmod(e.path(tc.name), tc.mode&0o7777)) // without the umask
		for _, path := range []string{e.path(tc.name), e.theirs(tc.name)} {
			if st := e.stat(path); st.Mode != tc.mode || st.Rdev != tc.dev {
				e.Errorf("%s: mode %o, device %x; want %o, %x", path, st.Mode, st.Rdev, tc.mode, tc.dev)
			}
		}
	}
	for _, d := range must(os.ReadDir(e.dir)) {
		if i, err := d.Info(); err != nil || i.Mode().Type() != d.Type() {
			e.Errorf("%s is listed with type %v: %v", d.Name(), d.Type(), err)
		}
	}
	// A pipe works, through the kernel.
	got := make(chan string)
	go func() {
		p, err := os.ReadFile(e.path("fifo"))
		got <- fmt.Sprint(string(p), err)
	}()
	check(e, os.WriteFile(e.path("fifo"), []byte("through the pipe"), 0))
	if s := <-got; s != "through the pipe<nil>" {
		e.Errorf("the pipe gives %q", s)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func sockets(e *env) {
	// The path of a socket has at most 108 bytes.
	old := must(os.Getwd())
	check(e, os.Chdir(e.dir))
	defer func() { check(e, os.Chdir(old)) }()
	l, err := net.Listen("unix", "s")
	check(e, err)
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = c.Write([]byte("hello"))
			c.Close()
		}
	}()
	c, err := net.Dial("unix", "s")
	check(e, err)
	defer c.Close()
	buf := make([]byte, 10)
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "hello" {
		e.Errorf("the socket gives %q, %v", buf[:n], err)
	}
}

func xattrLimits(e *env) {
	f := e.put("f", content(1, 5000))
	check(e, os.Mkdir(e.path("d"), 0o755))
	check(e, os.Symlink("f", e.path("l")))
	get := func(path, name string) ([]byte, error) {
		buf := make([]byte, 70_000)
		n, err := unix.Lgetxattr(path, name, buf)
		return buf[:max(n, 0)], err
	}
	longest := "user." + strings.Repeat("n", 250)
	large := content(2, 64<<10)
	if e.lacking("large-xattr") {
		large = large[:1000]
	}
	for _, path := range []string{f, e.path("d")} {
		check(e, unix.Setxattr(path, longest, []byte("v"), 0))
		check(e, unix.Setxattr(path, "user.large", large, 0))
		check(e, unix.Setxattr(path, "trusted.of.root", []byte{0, 1, 255}, unix.XATTR_CREATE))
		for name, want := range map[string][]byte{longest: []byte("v"), "user.large": large, "trusted.of.root": {0, 1, 255}} {
			for _, p := range []string{path, strings.Replace(path, e.dir, e.other, 1)} {
				if got, err := get(p, name); err != nil || !bytes.Equal(got, want) {
					e.Errorf("%s of %s: %d bytes, want %d, %v", name[:10], p, len(got), len(want), err)
				}
			}
		}
		buf := make([]byte, 1000)
		n, err := unix.Listxattr(path, buf)
		check(e, err)
		got := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
		want := []string{longest, "user.large", "trusted.of.root"}
		if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			e.Errorf("list of %s: %q", path, got)
		}
	}
	e.errno("long name", unix.Setxattr(f, longest+"n", []byte("v"), 0), unix.ERANGE)
	e.errno("large value", unix.Setxattr(f, "user.x", make([]byte, 64<<10+1), 0), unix.E2BIG)
	e.errno("XATTR_CREATE", unix.Setxattr(f, "user.large", []byte("v"), unix.XATTR_CREATE), unix.EEXIST)
	e.errno("XATTR_REPLACE", unix.Setxattr(f, "user.no", []byte("v"), unix.XATTR_REPLACE), unix.ENODATA)
	e.errno("removexattr", unix.Removexattr(f, "user.no"), unix.ENODATA)
	_, err := get(f, "user.no")
	e.errno("getxattr", err, unix.ENODATA)
	e.errno("of a symbolic link", unix.Lsetxattr(e.path("l"), "user.x", []byte("v"), 0), unix.EPERM)
	_, err = unix.Getxattr(f, "user.large", make([]byte, 10))
	e.errno("small buffer", err, unix.ERANGE)
	check(e, unix.Removexattr(f, "user.large"))
	_, err = get(f, "user.large")
	e.errno("what was removed", err, unix.ENODATA)
	e.as(65534, 65534, func() {
		e.errno("another user's", unix.Setxattr(e.path("d"), "user.x", []byte("v"), 0), unix.EACCES)
		e.errno("trusted", unix.Setxattr(f, "trusted.x", []byte("v"), 0), unix.EPERM)
	})
}

func xattrEmpty(e *env) {
	f := e.put("f", []byte("f"))
	check(e, unix.Setxattr(f, "user.empty", nil, 0))
	if n, err := unix.Getxattr(f, "user.empty", make([]byte, 10)); n != 0 || err != nil {
		e.Errorf("%d bytes, %v", n, err)
	}
}

func statfs(e *env) {
	var st unix.Statfs_t
	check(e, unix.Statfs(e.dir, &st))
	if st.Bsize <= 0 || st.Blocks == 0 || st.Bfree > st.Blocks || st.Bavail > st.Bfree || st.Namelen != 255 {
		e.Errorf("%+v", st)
	}
}
