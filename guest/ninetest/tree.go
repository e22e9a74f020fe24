package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// A sparse file has this many pieces of data of this many bytes.
const (
	sparsePieces = 3
	sparsePiece  = 5000
)

type treeOptions struct {
	seed     uint64
	files    int
	total    int64
	noXattrs bool
	seconds  bool
}

// makeTree makes the planned tree in dir. Owners are set only when it runs as
// root.
func makeTree(dir string, o treeOptions) error {
	plan := planTree(o.seed, o.files, o.total)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return errors.Wrap(err, "make the tree's root")
	}
	var dirs held
	defer dirs.release()
	if err := dirs.hold(dir); err != nil {
		return err
	}
	var bytes int64
	for _, e := range plan {
		if err := makeEntry(dir, e); err != nil {
			return err
		}
		if e.kind == kindDir {
			if err := dirs.hold(filepath.Join(dir, e.path)); err != nil {
				return err
			}
		}
		bytes += dataBytes(e)
	}
	// Making entries changes their directories, so times come last, and
	// directories after what is in them.
	for _, e := range slices.Backward(plan) {
		if err := setAttributes(filepath.Join(dir, e.path), e, o); err != nil {
			return err
		}
	}
	fmt.Printf("made %d entries with %d bytes of data\n", len(plan), bytes)
	return nil
}

func makeEntry(dir string, e entry) error {
	path := filepath.Join(dir, e.path)
	switch e.kind {
	case kindDir:
		return errors.Wrap(os.Mkdir(path, 0o755), "make a directory")
	case kindHardLink:
		return errors.Wrap(os.Link(filepath.Join(dir, e.target), path), "make a hard link")
	case kindSymlink:
		return errors.Wrap(os.Symlink(e.target, path), "make a symlink")
	case kindFifo:
		return errors.Wrapf(unix.Mkfifo(path, 0o600), "make the fifo %q", path)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return errors.Wrap(err, "make a file")
	}
	defer f.Close()
	if e.kind == kindSparse {
		err = f.Truncate(e.size)
		for i := int64(0); i < sparsePieces && err == nil; i++ {
			off := e.size / sparsePieces * i
			err = writeContent(f, e.seed, off, min(off+sparsePiece, e.size))
		}
	} else {
		err = writeContent(f, e.seed, 0, e.size)
	}
	if err == nil {
		err = f.Close()
	}
	return errors.Wrapf(err, "write %q", path)
}

// writeContent writes the bytes [off, end) of a file's content.
func writeContent(f *os.File, seed uint64, off, end int64) error {
	buf := make([]byte, min(1<<20, max(0, end-off)))
	for off < end {
		p := buf[:min(int64(len(buf)), end-off)]
		fill(p, seed+uint64(off))
		if _, err := f.WriteAt(p, off); err != nil {
			return err
		}
		off += int64(len(p))
	}
	return nil
}

// fill makes bytes from a seed (splitmix64): fast under emulation, and no two
// pieces alike.
func fill(p []byte, seed uint64) {
	var word [8]byte
	for len(p) > 0 {
		seed += 0x9e3779b97f4a7c15
		z := (seed ^ seed>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(word[:], z^z>>31)
		p = p[copy(p, word[:]):]
	}
}

func setAttributes(path string, e entry, o treeOptions) error {
	if e.kind == kindHardLink {
		return nil // its file has them
	}
	var this held
	defer this.release()
	if err := this.hold(path); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(path, e.uid, e.gid); err != nil {
			return errors.Wrap(err, "set the owner")
		}
	}
	if e.kind != kindSymlink {
		// After the owner: changing that clears setuid and setgid.
		if err := unix.Chmod(path, e.mode); err != nil {
			return errors.Wrapf(err, "set the mode of %q", path)
		}
	}
	if !o.noXattrs {
		for name, value := range e.xattrs {
			if err := unix.Setxattr(path, name, value, 0); err != nil {
				return errors.Wrapf(err, "set the xattr %s of %q", name, path)
			}
		}
	}
	if o.seconds {
		e.nsec = 0
	}
	times := []unix.Timespec{{Sec: e.sec, Nsec: e.nsec}, {Sec: e.sec, Nsec: e.nsec}}
	return errors.Wrapf(unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW), "set the times of %q", path)
}
