package guest

import (
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/pkg/errors"
)

// File types of a cpio header, as in st_mode.
const (
	cpioDir     = 0o040000
	cpioRegular = 0o100000
	cpioSymlink = 0o120000
)

// cpioWriter writes the "newc" archive that the kernel unpacks as its first
// root file system (Documentation/driver-api/early-userspace/buffer-format).
// Parent directories are written once, before the first entry that needs them.
// The first error sticks and is told by Close.
type cpioWriter struct {
	w    io.Writer
	ino  int
	dirs map[string]bool
	err  error
}

func newCpioWriter(w io.Writer) *cpioWriter {
	return &cpioWriter{w: w, dirs: map[string]bool{".": true}}
}

// Dir adds a directory and its parents.
func (c *cpioWriter) Dir(name string) {
	name = cpioName(name)
	if c.dirs[name] {
		return
	}
	c.Dir(path.Dir(name))
	c.dirs[name] = true
	c.entry(name, cpioDir|0o755, 0, strings.NewReader(""))
}

// File adds a regular file of size bytes, executable by all.
func (c *cpioWriter) File(name string, size int64, r io.Reader) {
	name = cpioName(name)
	c.Dir(path.Dir(name))
	c.entry(name, cpioRegular|0o755, size, r)
}

// Symlink adds a symbolic link.
func (c *cpioWriter) Symlink(name, target string) {
	name = cpioName(name)
	c.Dir(path.Dir(name))
	c.entry(name, cpioSymlink|0o777, int64(len(target)), strings.NewReader(target))
}

// Close writes the trailer. It does not close the writer below.
func (c *cpioWriter) Close() error {
	c.entry("TRAILER!!!", 0, 0, strings.NewReader(""))
	return c.err
}

// cpioName makes a name relative to the archive's root.
func cpioName(name string) string {
	return path.Clean(strings.TrimLeft(name, "/"))
}

func (c *cpioWriter) entry(name string, mode uint32, size int64, r io.Reader) {
	if c.err != nil {
		return
	}
	if size > 1<<32-1 {
		c.err = errors.Errorf("guest: %s is too large for the root file system: %d bytes", name, size)
		return
	}
	c.ino++
	// magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor,
	// rdevmajor, rdevminor, namesize with its NUL, check.
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		c.ino, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0) + name + "\x00"
	header += strings.Repeat("\x00", -len(header)&3)
	if _, err := io.WriteString(c.w, header); err != nil {
		c.err = errors.Wrap(err, "guest: write the root file system")
		return
	}
	n, err := io.Copy(c.w, io.LimitReader(r, size))
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		_, err = c.w.Write(make([]byte, -size&3))
	}
	if err != nil {
		c.err = errors.Wrapf(err, "guest: write %s into the root file system", name)
	}
}
