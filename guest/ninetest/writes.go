package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/pkg/errors"
	"golang.org/x/sync/errgroup"
)

// writeSize is the size of one random write in bytes.
const writeSize = 64 << 10

type writesOptions struct {
	seed       uint64
	ops, files int
	maxFile    int64
	parallel   int
	truncate   bool
	ref        string
}

// randomWrites writes at random offsets of files below dir, does the same to
// reference copies, and compares them at the end. One file has one writer;
// several files are written at the same time.
func randomWrites(dir string, o writesOptions) error {
	names, err := chooseFiles(dir, o)
	if err != nil {
		return err
	}
	ref := o.ref
	if ref == "" {
		if ref, err = os.MkdirTemp("", "ninetest-"); err != nil {
			return errors.Wrap(err, "make a directory for the copies")
		}
		defer os.RemoveAll(ref)
	}
	var g errgroup.Group
	g.SetLimit(max(1, o.parallel))
	for i, name := range names {
		path, copied := filepath.Join(dir, name), filepath.Join(ref, name)
		if o.ref == "" {
			copied = filepath.Join(ref, fmt.Sprint(i))
			if err := copyFile(path, copied); err != nil {
				return err
			}
		}
		g.Go(func() error {
			ops := o.ops / len(names)
			if i < o.ops%len(names) {
				ops++
			}
			r := rand.New(rand.NewPCG(o.seed, uint64(i)))
			return writeBoth(path, copied, ops, r, o)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	fmt.Printf("%d operations on %d files: all the same\n", o.ops, len(names))
	return nil
}

// chooseFiles picks the files that are written, always the same for a seed.
// Only the first name of a file with hard links counts.
func chooseFiles(dir string, o writesOptions) ([]string, error) {
	var names []string
	var infos []fs.FileInfo
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Size() > o.maxFile {
			return err
		}
		for _, other := range infos {
			if os.SameFile(other, info) {
				return nil
			}
		}
		name, err := filepath.Rel(dir, path)
		names, infos = append(names, name), append(infos, info)
		return err
	})
	if err != nil {
		return nil, errors.Wrapf(err, "walk %s", dir)
	}
	if len(names) == 0 {
		return nil, errors.Errorf("%s has no files of at most %d bytes", dir, o.maxFile)
	}
	slices.Sort(names)
	r := rand.New(rand.NewPCG(o.seed, 0xf11e))
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names[:min(max(1, o.files), len(names))], nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return errors.Wrap(err, "open a file to copy")
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return errors.Wrap(err, "make a copy")
	}
	defer out.Close()
	_, err = io.Copy(out, in)
	return errors.Wrapf(err, "copy %q", from)
}

// writeBoth does the same operations on a file and its copy, then compares.
func writeBoth(path, copied string, ops int, r *rand.Rand, o writesOptions) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return errors.Wrap(err, "open a file to write")
	}
	defer file.Close()
	ref, err := os.OpenFile(copied, os.O_RDWR, 0)
	if err != nil {
		return errors.Wrap(err, "open a copy to write")
	}
	defer ref.Close()
	buf := make([]byte, writeSize)
	for range ops {
		st, err := ref.Stat()
		if err != nil {
			return errors.Wrap(err, "stat a copy")
		}
		size := st.Size()
		do := func(f *os.File, off int64, p []byte) error {
			_, err := f.WriteAt(p, off)
			return errors.Wrapf(err, "write %d bytes at %d of %q", len(p), off, f.Name())
		}
		off := r.Int64N(size + 1)
		p := buf
		switch n := r.IntN(16); {
		case n < 3: // append
			off = size
		case n < 6: // a small write, not aligned
			p = buf[:1+r.IntN(4096)]
		case n == 6 && o.truncate:
			off = r.Int64N(size + writeSize)
			do = func(f *os.File, off int64, _ []byte) error {
				return errors.Wrapf(f.Truncate(off), "truncate %q to %d", f.Name(), off)
			}
		}
		fill(p, r.Uint64())
		if err := do(file, off, p); err != nil {
			return err
		}
		if err := do(ref, off, p); err != nil {
			return err
		}
	}
	if err := file.Sync(); err != nil {
		return errors.Wrapf(err, "fsync %q", path)
	}
	return compare(file, ref)
}

// compare reads both files from their beginning and says where they differ.
func compare(file, ref *os.File) error {
	a, b := make([]byte, 256<<10), make([]byte, 256<<10)
	for off := int64(0); ; {
		n, errA := io.ReadFull(io.NewSectionReader(file, off, int64(len(a))), a)
		m, errB := io.ReadFull(io.NewSectionReader(ref, off, int64(len(b))), b)
		for _, err := range []error{errA, errB} {
			if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
				return errors.Wrapf(err, "read %q at %d", file.Name(), off)
			}
		}
		if !bytes.Equal(a[:n], b[:m]) {
			i := 0
			for i < min(n, m) && a[i] == b[i] {
				i++
			}
			return errors.Errorf("%q is wrong at offset %d: it has %d bytes from %d on, its copy %d", file.Name(), off+int64(i), n, off, m)
		}
		if n < len(a) {
			return nil
		}
		off += int64(n)
	}
}
