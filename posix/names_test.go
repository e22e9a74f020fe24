package posix

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

func unlinkedOpen(e *env) {
	want := content(1, 300_000)
	e.put("f", want)
	fd := e.open("f", unix.O_RDWR)
	defer e.close(fd)
	check(e, unix.Unlink(e.path("f")))
	e.errno("stat", unix.Lstat(e.path("f"), new(unix.Stat_t)), unix.ENOENT)
	e.put("f", []byte("another file of the name"))
	e.expectFD(fd, want)
	e.write(fd, []byte("written later"), 100_000)
	copy(want[100_000:], "written later")
	check(e, unix.Ftruncate(fd, 200_000))
	e.expectFD(fd, want[:200_000])
	check(e, unix.Fsync(fd))
	check(e, unix.Fchmod(fd, 0o600))
	var st unix.Stat_t
	check(e, unix.Fstat(fd, &st))
	if st.Size != 200_000 || st.Mode&0o777 != 0o600 {
		e.Errorf("%d bytes, mode %o", st.Size, st.Mode)
	}
	e.expect(e.path("f"), []byte("another file of the name"))
}

func unlinkedNlink(e *env) {
	for _, how := range []string{"unlink", "rename", "rmdir"} {
		e.put("other", []byte("x"))
		flags := unix.O_RDONLY
		if how == "rmdir" {
			check(e, os.Mkdir(e.path("f"), 0o755))
			flags |= unix.O_DIRECTORY
		} else {
			e.put("f", []byte("f"))
		}
		fd := e.open("f", flags)
		switch how {
		case "unlink":
			check(e, unix.Unlink(e.path("f")))
		case "rename":
			check(e, unix.Rename(e.path("other"), e.path("f")))
			check(e, unix.Unlink(e.path("f")))
		case "rmdir":
			check(e, unix.Rmdir(e.path("f")))
		}
		var st unix.Stat_t
		check(e, unix.Fstat(fd, &st))
		if st.Nlink != 0 {
			e.Errorf("%s: %d links", how, st.Nlink)
		}
		e.close(fd)
	}
}

func renameOverOpen(e *env) {
	oldData, newData := content(1, 150_000), content(2, 90_000)
	e.put("old", oldData)
	e.put("new", newData)
	fd := e.open("old", unix.O_RDWR)
	defer e.close(fd)
	ino := e.stat(e.path("new")).Ino
	check(e, unix.Rename(e.path("new"), e.path("old")))
	e.expectFD(fd, oldData)
	e.expect(e.path("old"), newData)
	if got := e.stat(e.path("old")).Ino; got != ino {
		e.Errorf("inode %d after the rename, was %d", got, ino)
	}
	e.errno("stat", unix.Lstat(e.path("new"), new(unix.Stat_t)), unix.ENOENT)
	e.write(fd, []byte("to the old one"), 0)
	e.expect(e.path("old"), newData)
}

func hardLinks(e *env) {
	want := content(1, 100_000)
	e.put("a", want)
	for i, name := range []string{"b", "c"} {
		check(e, unix.Link(e.path("a"), e.path(name)))
		for _, n := range []string{"a", name} {
			if st := e.stat(e.path(n)); int(st.Nlink) != i+2 || st.Ino != e.stat(e.path("a")).Ino {
				e.Errorf("%s has %d links", n, st.Nlink)
			}
		}
	}
	fd := e.open("b", unix.O_WRONLY)
	e.write(fd, []byte("by another name"), 5000)
	e.close(fd)
	copy(want[5000:], "by another name")
	e.expect(e.path("c"), want)
	// Two names of one file: rename does nothing.
	check(e, unix.Rename(e.path("a"), e.path("b")))
	if st := e.stat(e.path("a")); st.Nlink != 3 {
		e.Errorf("%d links after a rename onto itself", st.Nlink)
	}
	check(e, unix.Unlink(e.path("a")))
	check(e, unix.Unlink(e.path("b")))
	if st := e.stat(e.path("c")); st.Nlink != 1 {
		e.Errorf("%d links are left", st.Nlink)
	}
	e.expect(e.path("c"), want)
	check(e, os.Mkdir(e.path("d"), 0o755))
	e.errno("link of a directory", unix.Link(e.path("d"), e.path("d2")), unix.EPERM)
	e.errno("link to a name that is there", unix.Link(e.path("c"), e.path("d")), unix.EEXIST)
	if st := e.stat(e.path("d")); st.Nlink != 2 {
		e.Errorf("an empty directory has %d links", st.Nlink)
	}
	check(e, os.Mkdir(e.path("d/sub"), 0o755))
	if st := e.stat(e.path("d")); st.Nlink != 3 {
		e.Errorf("a directory with a directory has %d links", st.Nlink)
	}
	check(e, unix.Rmdir(e.path("d/sub")))
	if st := e.stat(e.path("d")); st.Nlink != 2 {
		e.Errorf("%d links after rmdir", st.Nlink)
	}
}

func renameDirs(e *env) {
	for _, d := range []string{"a", "a/b", "a/b/c", "empty", "full", "full/x"} {
		check(e, os.Mkdir(e.path(d), 0o755))
	}
	e.put("file", []byte("f"))
	e.errno("into itself", unix.Rename(e.path("a"), e.path("a/b/a")), unix.EINVAL)
	e.errno("onto a full directory", unix.Rename(e.path("a"), e.path("full")), unix.ENOTEMPTY, unix.EEXIST)
	e.errno("directory onto file", unix.Rename(e.path("a"), e.path("file")), unix.ENOTDIR)
	e.errno("file onto directory", unix.Rename(e.path("file"), e.path("empty")), unix.EISDIR)
	e.errno("onto an empty directory", unix.Rename(e.path("a"), e.path("empty")), 0)
	e.put("empty/b/c/file", []byte("deep"))
	check(e, unix.Rename(e.path("empty/b/c"), e.path("full/c")))
	e.expect(e.path("full/c/file"), []byte("deep"))
	if up, full := e.stat(e.path("full/c/..")), e.stat(e.path("full")); up.Ino != full.Ino {
		e.Errorf(".. of a moved directory is inode %d, want %d", up.Ino, full.Ino)
	}
	e.errno("what is not there", unix.Rename(e.path("nothing"), e.path("x")), unix.ENOENT)
}

func errnos(e *env) {
	check(e, os.Mkdir(e.path("d"), 0o755))
	e.put("d/f", []byte("f"))
	e.put("f", []byte("f"))
	check(e, os.Symlink("loop", e.path("loop")))
	check(e, os.Symlink("f", e.path("link")))
	try := func(path string, flags int) error {
		fd, err := unix.Open(path, flags, 0o644)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	for _, tc := range []struct {
		what string
		err  error
		want []unix.Errno
	}{
		{"mkdir of what is there", unix.Mkdir(e.path("d"), 0o755), []unix.Errno{unix.EEXIST}},
		{"mkdir below a file", unix.Mkdir(e.path("f/x"), 0o755), []unix.Errno{unix.ENOTDIR}},
		{"mkdir below nothing", unix.Mkdir(e.path("no/x"), 0o755), []unix.Errno{unix.ENOENT}},
		{"rmdir of a full directory", unix.Rmdir(e.path("d")), []unix.Errno{unix.ENOTEMPTY}},
		{"rmdir of a file", unix.Rmdir(e.path("f")), []unix.Errno{unix.ENOTDIR}},
		{"unlink of a directory", unix.Unlink(e.path("d")), []unix.Errno{unix.EISDIR}},
		{"unlink of nothing", unix.Unlink(e.path("no")), []unix.Errno{unix.ENOENT}},
		{"open of nothing", try(e.path("no"), unix.O_RDONLY), []unix.Errno{unix.ENOENT}},
		{"open of a loop", try(e.path("loop"), unix.O_RDONLY), []unix.Errno{unix.ELOOP}},
		{"O_NOFOLLOW", try(e.path("link"), unix.O_NOFOLLOW), []unix.Errno{unix.ELOOP}},
		{"O_DIRECTORY of a file", try(e.path("f"), unix.O_DIRECTORY), []unix.Errno{unix.ENOTDIR}},
		{"write to a directory", try(e.path("d"), unix.O_RDWR), []unix.Errno{unix.EISDIR}},
		{"O_EXCL", try(e.path("f"), unix.O_CREAT|unix.O_EXCL), []unix.Errno{unix.EEXIST}},
		{"O_EXCL of a link", try(e.path("link"), unix.O_CREAT|unix.O_EXCL), []unix.Errno{unix.EEXIST}},
		{"O_CREAT of a directory", try(e.path("d"), unix.O_CREAT|unix.O_WRONLY), []unix.Errno{unix.EISDIR}},
		{"truncate of a directory", unix.Truncate(e.path("d"), 0), []unix.Errno{unix.EISDIR}},
		{"truncate to less than nothing", unix.Truncate(e.path("f"), -1), []unix.Errno{unix.EINVAL}},
		{"symlink over a file", unix.Symlink("x", e.path("f")), []unix.Errno{unix.EEXIST}},
	} {
		e.errno(tc.what, tc.err, tc.want...)
	}
	_, err := unix.Readlink(e.path("f"), make([]byte, 10))
	e.errno("readlink of a file", err, unix.EINVAL)
}

func openFlags(e *env) {
	e.put("f", []byte("0123456789"))
	fd := e.open("f", unix.O_WRONLY|unix.O_TRUNC)
	e.expect(e.path("f"), nil)
	_, err := unix.Read(fd, make([]byte, 1))
	e.errno("read of what is open for writing", err, unix.EBADF)
	e.close(fd)
	fd = e.open("f", unix.O_RDONLY)
	_, err = unix.Write(fd, []byte("x"))
	e.errno("write of what is open for reading", err, unix.EBADF)
	e.close(fd)
	e.put("a", []byte("01234"))
	fd = e.open("a", unix.O_RDWR|unix.O_APPEND)
	e.write(fd, []byte("56"), 0) // Linux appends even so
	e.expectFD(fd, []byte("0123456"))
	e.close(fd)
	// The last place of a file that may be: nothing is stored on the way.
	fd = e.open("a", unix.O_RDWR)
	if n, err := unix.Pread(fd, make([]byte, 10), 1<<40); n != 0 || err != nil {
		e.Errorf("read far behind the end: %d, %v", n, err)
	}
	e.close(fd)
}

// list reads the names of a directory in the order that they come.
func (e *env) list(path string) []string {
	e.Helper()
	f, err := os.Open(path)
	check(e, err)
	defer f.Close()
	l, err := f.Readdirnames(-1)
	check(e, err)
	return l
}

func names(e *env) {
	var want []string
	for b := 1; b < 256; b++ {
		if b == '/' || b == '.' {
			continue
		}
		name := string([]byte{byte(b)})
		fd := e.open(name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY)
		e.write(fd, []byte{byte(b)}, 0)
		e.close(fd)
		want = append(want, name)
	}
	for _, name := range []string{"...", ".x", " ", "a\nb", "-rf", "\xff\xfe", "grün", "e\u0301", "\u00e9"} {
		if !slices.Contains(want, name) {
			check(e, os.WriteFile(e.path(name), nil, 0o644))
			want = append(want, name)
		}
	}
	slices.Sort(want)
	for _, dir := range []string{e.dir, e.other} {
		got := e.list(dir)
		if slices.Sort(got); !slices.Equal(got, want) {
			e.Fatalf("%s lists %d names, want %d:\n%q\n%q", dir, len(got), len(want), got, want)
		}
	}
	for b := 1; b < 256; b++ {
		if b != '/' && b != '.' {
			e.expect(e.theirs(string([]byte{byte(b)})), []byte{byte(b)})
		}
	}
}

func longNames(e *env) {
	long := strings.Repeat("n", 255)
	e.put(long, []byte("long"))
	check(e, unix.Rename(e.path(long), e.path(strings.Repeat("m", 255))))
	long = strings.Repeat("m", 255)
	check(e, unix.Link(e.path(long), e.path(strings.Repeat("ö", 127)+"l")))
	check(e, unix.Symlink(long, e.path(strings.Repeat("s", 255))))
	check(e, unix.Mkdir(e.path(strings.Repeat("d", 255)), 0o755))
	e.expect(e.path(strings.Repeat("s", 255)), []byte("long"))
	more := e.path(long + "m")
	e.errno("stat", unix.Lstat(more, new(unix.Stat_t)), unix.ENAMETOOLONG)
	e.errno("mkdir", unix.Mkdir(more, 0o755), unix.ENAMETOOLONG)
	e.errno("rename", unix.Rename(e.path(long), more), unix.ENAMETOOLONG)
	e.errno("link", unix.Link(e.path(long), more), unix.ENAMETOOLONG)
	target := strings.Repeat("t/", 2000)
	check(e, unix.Symlink(target, e.path("long target")))
	buf := make([]byte, 5000)
	if n, err := unix.Readlink(e.path("long target"), buf); err != nil || string(buf[:n]) != target {
		e.Errorf("readlink: %d bytes, %v", n, err)
	}
}

// A directory is read while names in it come and go: those that stay are told, each once.
func largeDirectory(e *env) {
	n := *entries
	stay := func(i int) string { return fmt.Sprintf("stays-%06d", i) }
	for i := range n {
		e.close(e.open(stay(i), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY))
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			name := e.theirs(fmt.Sprintf("goes-%d", i%50))
			if err := os.WriteFile(name, nil, 0o600); err != nil {
				e.Error(err)
				return
			}
			if err := os.Remove(name); err != nil {
				e.Error(err)
				return
			}
		}
	})
	for range 3 {
		seen := map[string]int{}
		for _, name := range e.list(e.dir) {
			seen[name]++
		}
		for i := range n {
			if seen[stay(i)] != 1 {
				e.Errorf("%s is told %d times", stay(i), seen[stay(i)])
				break
			}
		}
	}
	close(stop)
	wg.Wait()
	// Removing while reading leaves nothing out.
	f, err := os.Open(e.dir)
	check(e, err)
	defer f.Close()
	left := map[string]bool{}
	for {
		l, err := f.Readdirnames(100)
		for _, name := range l {
			if err := os.Remove(e.path(name)); err != nil && !os.IsNotExist(err) {
				e.Fatal(err)
			}
			left[name] = true
		}
		if err != nil {
			break
		}
	}
	if l := e.list(e.dir); len(l) > 0 || len(left) < n {
		e.Errorf("%d names were removed while reading, %d are left", len(left), len(l))
	}
}
