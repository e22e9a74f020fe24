package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

type sumOptions struct{ noTimes, noXattrs bool }

// sumTree prints one line for each name below dir, sorted by name:
//
//	NAME TYPE mode=… uid=… gid=… size=… mtime=… nlink=… xattrs=… xxh64=… target=… same-as=…
//
// Names are quoted Go strings. What differs between file systems by right (the
// size and links of a directory) is left out. A second name of a file says
// same-as with the first one.
func sumTree(w io.Writer, dir string, o sumOptions) error {
	var names []string
	var dirs held
	defer dirs.release()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path != dir {
			names = append(names, path)
		}
		if d.IsDir() {
			return dirs.hold(path)
		}
		return nil
	})
	if err != nil {
		return errors.Wrapf(err, "walk %s", dir)
	}
	slices.Sort(names)
	type inode struct{ dev, ino uint64 }
	type first struct{ name, sum string }
	seen := map[inode]first{}
	sumOne := func(path string) error {
		var this held
		defer this.release()
		if err := this.hold(path); err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return errors.Wrapf(err, "stat %q", path)
		}
		name := strconv.QuoteToASCII(strings.TrimPrefix(path, dir+"/"))
		typ := typeName(st.Mode)
		line := []string{name, typ, fmt.Sprintf("mode=%04o uid=%d gid=%d", st.Mode&0o7777, st.Uid, st.Gid)}
		if typ != "dir" {
			line = append(line, fmt.Sprintf("size=%d nlink=%d", st.Size, st.Nlink))
		}
		if !o.noTimes {
			line = append(line, fmt.Sprintf("mtime=%d.%09d", st.Mtim.Sec, st.Mtim.Nsec))
		}
		if !o.noXattrs && (typ == "dir" || typ == "file") {
			x, err := xattrs(path)
			if err != nil {
				return err
			}
			line = append(line, "xattrs={"+x+"}")
		}
		id := inode{uint64(st.Dev), st.Ino}
		switch typ {
		case "file":
			f, again := seen[id]
			if !again {
				if f.sum, err = fileSum(path); err != nil {
					return err
				}
				f.name = name
				seen[id] = f
			}
			line = append(line, "xxh64="+f.sum)
			if again {
				line = append(line, "same-as="+f.name)
			}
		case "symlink":
			target, err := os.Readlink(path)
			if err != nil {
				return errors.Wrap(err, "read a symlink")
			}
			line = append(line, "target="+strconv.QuoteToASCII(target))
		}
		_, err := fmt.Fprintln(w, strings.Join(line, " "))
		return errors.Wrap(err, "print the sums")
	}
	for _, path := range names {
		if err := sumOne(path); err != nil {
			return err
		}
	}
	return nil
}

func typeName(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "dir"
	case unix.S_IFREG:
		return "file"
	case unix.S_IFLNK:
		return "symlink"
	case unix.S_IFIFO:
		return "fifo"
	}
	return fmt.Sprintf("type-%o", mode&unix.S_IFMT)
}

func fileSum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", errors.Wrap(err, "open a file")
	}
	defer f.Close()
	h := xxhash.New() // SHA-256 takes ten times as long as all the rest under emulation
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		return "", errors.Wrapf(err, "read %q", path)
	}
	return fmt.Sprintf("%016x", h.Sum64()), nil
}

// xattrs lists the attributes that make-tree sets, with their values. The
// server's own (user.sliod.*) change with residency and are left out.
func xattrs(path string) (string, error) {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if err != nil {
		return "", errors.Wrapf(err, "list the xattrs of %q", path)
	}
	var out []string
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if !strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "user.sliod.") {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", errors.Wrapf(err, "read the xattr %s of %q", name, path)
		}
		out = append(out, fmt.Sprintf("%s:%x", strconv.QuoteToASCII(name), value[:n]))
	}
	slices.Sort(out)
	return strings.Join(out, ","), nil
}
