package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// mountRow is a row of the table of mounts.
type mountRow struct {
	name  string
	unit  string
	block int
	run   func(*fileLoad, int) (float64, error)
}

// What is measured of each mount, by one thread with plain system calls.
var mountRows = []mountRow{
	{"read 1 MiB, sequential", "MB/s", 1 << 20, (*fileLoad).read},
	{"read 128 KiB, sequential", "MB/s", 128 << 10, (*fileLoad).read},
	{"read 4 KiB, sequential", "MB/s", 4 << 10, (*fileLoad).read},
	{"read 4 KiB, random", "ops/s", 4 << 10, (*fileLoad).readRandom},
	{"write 1 MiB, sequential", "MB/s", 1 << 20, (*fileLoad).write},
	{"write 128 KiB, sequential", "MB/s", 128 << 10, (*fileLoad).write},
	{"write 4 KiB, sequential", "MB/s", 4 << 10, (*fileLoad).write},
	{"write 4 KiB, random", "ops/s", 4 << 10, (*fileLoad).writeRandom},
	{"create", "files/s", 0, (*fileLoad).create},
	{"stat", "files/s", 0, (*fileLoad).stat},
	{"unlink", "files/s", 0, (*fileLoad).unlink},
}

const (
	manyFiles = 10000
	// forgotten is when the kernel asks again for attributes and names, which all file
	// systems here let it keep for a second.
	forgotten = 1500 * time.Millisecond
)

// fileLoad is the load of one mount.
type fileLoad struct {
	dir   string
	size  int64
	time  time.Duration // of a measurement
	files []string      // that create has made
	made  time.Time
}

// prepare writes the file that is read and written at random.
func (l *fileLoad) prepare() error {
	f, err := os.Create(filepath.Join(l.dir, "big"))
	if err != nil {
		return errors.Wrap(err, "make a file")
	}
	defer f.Close()
	buf := noise(1 << 20)
	for done := int64(0); done < l.size; {
		n, err := f.Write(buf[:min(int64(len(buf)), l.size-done)])
		if err != nil {
			return errors.Wrap(err, "write a file")
		}
		done += int64(n)
	}
	return errors.Wrap(f.Sync(), "write a file")
}

// noise returns bytes that do not repeat.
func noise(n int) []byte {
	buf := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(buf)
	return buf
}

// forget has the kernel drop the pages that it has of f through this mount; those of
// the files below stay, of all file systems alike: it is not the disk that is measured.
func forget(f *os.File) error {
	return errors.Wrap(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), "drop the pages of a file")
}

// repeat calls pass, which returns how much it has done and for how long, until the
// time is up, and returns the rate by the second. A pass does one block at least, however
// short its time: a rate of 0 would say that nothing works.
func (l *fileLoad) repeat(pass func(until time.Duration) (float64, time.Duration, error)) (float64, error) {
	done, spent := 0.0, time.Duration(0)
	for spent < l.time {
		n, t, err := pass(l.time - spent)
		if err != nil {
			return 0, err
		}
		done, spent = done+n, spent+t
	}
	return done / spent.Seconds(), nil
}

func (l *fileLoad) read(block int) (float64, error) {
	f, err := os.Open(filepath.Join(l.dir, "big"))
	if err != nil {
		return 0, errors.Wrap(err, "open a file")
	}
	defer f.Close()
	buf := make([]byte, block)
	return l.repeat(func(until time.Duration) (float64, time.Duration, error) {
		if err := forget(f); err != nil {
			return 0, 0, err
		}
		begin, done := time.Now(), int64(0)
		for ok := true; ok; ok = done < l.size && time.Since(begin) < until {
			n, err := unix.Pread(int(f.Fd()), buf, done)
			if err != nil || n == 0 {
				return 0, 0, errors.Errorf("read at %d of %d bytes: %d bytes, %v", done, l.size, n, err)
			}
			done += int64(n)
		}
		return float64(done) / 1e6, time.Since(begin), nil
	})
}

// readRandom reads every block of the file once before one is read again.
func (l *fileLoad) readRandom(block int) (float64, error) {
	f, err := os.Open(filepath.Join(l.dir, "big"))
	if err != nil {
		return 0, errors.Wrap(err, "open a file")
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		return 0, errors.Wrap(err, "switch off the readahead")
	}
	return l.random(block, func() error { return forget(f) }, func(buf []byte, off int64) (int, error) { return unix.Pread(int(f.Fd()), buf, off) })
}

func (l *fileLoad) writeRandom(block int) (float64, error) {
	f, err := os.OpenFile(filepath.Join(l.dir, "big"), os.O_WRONLY, 0)
	if err != nil {
		return 0, errors.Wrap(err, "open a file")
	}
	defer f.Close()
	return l.random(block, func() error { return nil }, func(buf []byte, off int64) (int, error) { return unix.Pwrite(int(f.Fd()), buf, off) })
}

func (l *fileLoad) random(block int, before func() error, do func([]byte, int64) (int, error)) (float64, error) {
	buf := noise(block)
	order := rand.New(rand.NewPCG(1, 2)).Perm(int(l.size) / block)
	return l.repeat(func(until time.Duration) (float64, time.Duration, error) {
		if err := before(); err != nil {
			return 0, 0, err
		}
		begin, done := time.Now(), 0
		for _, at := range order {
			if n, err := do(buf, int64(at)*int64(block)); err != nil || n != block {
				return 0, 0, errors.Errorf("block %d of %d bytes: %d bytes, %v", at, block, n, err)
			}
			if done++; time.Since(begin) >= until {
				break
			}
		}
		return float64(done), time.Since(begin), nil
	})
}

// write writes a file from its begin; each pass begins with an empty one.
func (l *fileLoad) write(block int) (float64, error) {
	f, err := os.Create(filepath.Join(l.dir, "written"))
	if err != nil {
		return 0, errors.Wrap(err, "make a file")
	}
	defer f.Close()
	buf := noise(block)
	return l.repeat(func(until time.Duration) (float64, time.Duration, error) {
		if err := f.Truncate(0); err != nil {
			return 0, 0, errors.Wrap(err, "empty a file")
		}
		begin, done := time.Now(), int64(0)
		for ok := true; ok; ok = done < l.size && time.Since(begin) < until {
			n, err := unix.Pwrite(int(f.Fd()), buf, done)
			if err != nil {
				return 0, 0, errors.Wrapf(err, "write at %d", done)
			}
			done += int64(n)
		}
		return float64(done) / 1e6, time.Since(begin), nil
	})
}

// create makes many empty files.
func (l *fileLoad) create(int) (float64, error) {
	dir, err := os.MkdirTemp(l.dir, "many-")
	if err != nil {
		return 0, errors.Wrap(err, "make a directory")
	}
	l.files = nil
	for n := range manyFiles {
		l.files = append(l.files, filepath.Join(dir, fmt.Sprintf("file-%06d", n)))
	}
	defer func() { l.made = time.Now() }()
	return l.each(func(name string) error {
		fd, err := unix.Open(name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	})
}

// stat asks for the attributes of these files, which the kernel keeps no longer.
func (l *fileLoad) stat(int) (float64, error) {
	if err := l.haveFiles(); err != nil {
		return 0, err
	}
	time.Sleep(forgotten - min(forgotten, time.Since(l.made)))
	return l.each(func(name string) error {
		var st unix.Stat_t
		return unix.Lstat(name, &st)
	})
}

// unlink removes them.
func (l *fileLoad) unlink(int) (float64, error) {
	if err := l.haveFiles(); err != nil {
		return 0, err
	}
	rate, err := l.each(unix.Unlink)
	if err == nil {
		err = errors.Wrap(os.Remove(filepath.Dir(l.files[0])), "remove a directory")
		l.files = nil
	}
	return rate, err
}

// haveFiles makes the files if they are not there: create may be a row that nobody wants.
func (l *fileLoad) haveFiles() error {
	if l.files != nil {
		return nil
	}
	_, err := l.create(0)
	return err
}

func (l *fileLoad) each(do func(name string) error) (float64, error) {
	begin := time.Now()
	for _, name := range l.files {
		if err := do(name); err != nil {
			return 0, errors.Wrap(err, name)
		}
	}
	return float64(len(l.files)) / time.Since(begin).Seconds(), nil
}
