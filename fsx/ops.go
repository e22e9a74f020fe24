package fsx

import (
	"io"
	"os"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

func (r *run) read(off, n int) error {
	m, err := r.f.ReadAt(r.buf[:n], int64(off))
	if err != nil && err != io.EOF {
		return errors.WithStack(err)
	}
	if want := max(0, min(n, len(r.model)-off)); m != want {
		return errors.Errorf("read %d bytes, want %d", m, want)
	}
	return r.compare(r.buf[:m], off)
}

func (r *run) write(off, n int) error { return r.writeData(off, r.fill(n)) }

func (r *run) writeData(off int, p []byte) error {
	if _, err := r.f.WriteAt(p, int64(off)); err != nil {
		return errors.WithStack(err)
	}
	r.put(off, p)
	return nil
}

// append writes at the end, through a file opened with O_APPEND.
func (r *run) append(_, n int) error {
	n = min(n, r.o.MaxSize-len(r.model))
	f, err := os.OpenFile(r.o.Path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return errors.WithStack(err)
	}
	p := r.fill(n)
	_, err = f.Write(p)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		r.put(len(r.model), p)
	}
	return errors.WithStack(err)
}

func (r *run) truncate(off, _ int) error {
	if err := r.f.Truncate(int64(off)); err != nil {
		return errors.WithStack(err)
	}
	r.model = r.model[:min(off, len(r.model))]
	r.grow(off)
	return r.sized()
}

// sized compares the size.
func (r *run) sized() error {
	st, err := r.f.Stat()
	if err != nil {
		return errors.WithStack(err)
	}
	if st.Size() != int64(len(r.model)) {
		return errors.Errorf("the file has %d bytes, want %d", st.Size(), len(r.model))
	}
	return nil
}

// mapped maps the pages of a range. ok is false if that cannot be done here.
func (r *run) mapped(off, n, prot int) (part, all []byte, ok bool, err error) {
	page := os.Getpagesize()
	from := off / page * page
	all, err = unix.Mmap(int(r.f.Fd()), int64(from), off-from+n, prot, unix.MAP_SHARED)
	if impossible(err) || err == unix.EINVAL {
		return nil, nil, false, nil
	}
	if err != nil {
		return nil, nil, false, errors.WithStack(err)
	}
	return all[off-from:], all, true, nil
}

func (r *run) mapRead(off, n int) error {
	if n = min(n, len(r.model)-off); n <= 0 {
		return nil // nothing to map
	}
	part, all, ok, err := r.mapped(off, n, unix.PROT_READ)
	switch {
	case err != nil:
		return err
	case !ok:
		r.replaced()
		return r.read(off, n)
	}
	err = r.compare(part, off)
	if uerr := unix.Munmap(all); err == nil {
		err = errors.WithStack(uerr)
	}
	return err
}

// mapWrite writes through a mapping. Most pages stay dirty: what comes next into the file
// by another way has to find them.
func (r *run) mapWrite(off, n int) error {
	if len(r.model) < off+n {
		if err := r.truncate(off+n, 0); err != nil {
			return err
		}
	}
	part, all, ok, err := r.mapped(off, n, unix.PROT_READ|unix.PROT_WRITE)
	switch {
	case err != nil:
		return err
	case !ok:
		r.replaced()
		return r.write(off, n)
	}
	p := r.fill(n)
	copy(part, p)
	r.put(off, p)
	if r.cur.no%16 == 0 {
		err = unix.Msync(all, unix.MS_SYNC)
	}
	if uerr := unix.Munmap(all); err == nil {
		err = uerr
	}
	return errors.WithStack(err)
}

func (r *run) punch(off, n int) error {
	err := unix.Fallocate(int(r.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n))
	m := min(n, len(r.model)-off)
	switch {
	case impossible(err):
		r.replaced()
		if m <= 0 {
			return nil
		}
		return r.writeData(off, make([]byte, m))
	case err != nil:
		return errors.WithStack(err)
	case m > 0:
		clear(r.model[off : off+m])
	}
	return r.sized()
}

func (r *run) zero(off, n int) error {
	err := unix.Fallocate(int(r.f.Fd()), unix.FALLOC_FL_ZERO_RANGE, int64(off), int64(n))
	if impossible(err) {
		r.replaced()
		return r.writeData(off, make([]byte, n))
	}
	if err != nil {
		return errors.WithStack(err)
	}
	r.put(off, make([]byte, n))
	return r.sized()
}

func (r *run) copy(off, n int) error {
	src := r.cur.src
	if n = min(n, len(r.model)-src); n <= 0 || src < off+n && off < src+n {
		return nil // nothing there, or they overlap
	}
	for n > 0 {
		from, to := int64(src), int64(off)
		m, err := unix.CopyFileRange(int(r.f.Fd()), &from, int(r.f.Fd()), &to, n, 0)
		switch {
		case impossible(err) || err == unix.EXDEV || err == unix.EINVAL:
			r.replaced()
			p := make([]byte, n)
			if _, err := r.f.ReadAt(p, int64(src)); err != nil {
				return errors.WithStack(err)
			}
			if err := r.compare(p, src); err != nil {
				return err
			}
			return r.writeData(off, p)
		case err != nil:
			return errors.WithStack(err)
		case m <= 0 || m > n:
			return errors.Errorf("copy_file_range of %d bytes returned %d", n, m)
		}
		r.grow(off + m)
		copy(r.model[off:off+m], r.model[src:src+m])
		src, off, n = src+m, off+m, n-m
	}
	return r.sized()
}

func (r *run) fsync(int, int) error { return errors.WithStack(r.f.Sync()) }

func (r *run) reopen(int, int) error {
	if err := r.f.Close(); err != nil {
		return errors.WithStack(err)
	}
	var err error
	if r.f, err = os.OpenFile(r.o.Path, os.O_RDWR, 0); err != nil {
		return errors.WithStack(err)
	}
	return r.sized()
}

// seek looks for a hole: there must be zeros up to the data behind it.
func (r *run) seek(off, _ int) error {
	if err := r.f.Sync(); err != nil { // a page that is not written back is no data yet
		return errors.WithStack(err)
	}
	hole, err := unix.Seek(int(r.f.Fd()), int64(off), unix.SEEK_HOLE)
	if off >= len(r.model) {
		if err != unix.ENXIO {
			return errors.Errorf("SEEK_HOLE from %d, behind the end, gives %d, %v", off, hole, err)
		}
		return nil
	}
	if err != nil {
		return errors.WithStack(err)
	}
	if hole < int64(off) || hole > int64(len(r.model)) {
		return errors.Errorf("SEEK_HOLE from %d gives %d of %d", off, hole, len(r.model))
	}
	if hole == int64(len(r.model)) {
		return nil
	}
	data, err := unix.Seek(int(r.f.Fd()), hole, unix.SEEK_DATA)
	switch {
	case err == unix.ENXIO:
		data = int64(len(r.model))
	case err != nil:
		return errors.WithStack(err)
	case data < hole || data > int64(len(r.model)):
		return errors.Errorf("SEEK_DATA from %d gives %d of %d", hole, data, len(r.model))
	}
	return r.compare(make([]byte, data-hole), int(hole))
}

// verify reads the whole file.
func (r *run) verify(int, int) error {
	if err := r.sized(); err != nil {
		return err
	}
	return r.read(0, len(r.model))
}

// tapePatience is how long a file may take to be on tape. No run fails by it: then the file is not evicted, and the
// operations go on.
const tapePatience = 30 * time.Second

// tape has the file archived, at times waits for that, and evicts it, out of the page
// cache of the kernel too. The operations that follow recall it.
func (r *run) tape(int, int) error {
	set := func(name string) error {
		return errors.Wrapf(unix.Setxattr(r.o.Path, "user.sliod."+name, []byte("1"), 0), "set user.sliod.%s", name)
	}
	if err := r.f.Sync(); err != nil {
		return errors.WithStack(err)
	}
	if err := set("archive"); err != nil {
		return err
	}
	if r.cur.no%3 == 0 {
		return nil // the next operations come while it is archived
	}
	var state [64]byte
	for end := time.Now().Add(tapePatience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		n, err := unix.Getxattr(r.o.Path, "user.sliod.state", state[:])
		if err != nil {
			return errors.Wrap(err, "user.sliod.state")
		}
		if s := string(state[:n]); s != "resident" {
			r.res.Done["on tape"]++
			r.cur.note = ", " + s
			break
		}
	}
	if err := set("evict"); err != nil {
		return err
	}
	// Advice: a file system may keep its pages.
	_ = unix.Fadvise(int(r.f.Fd()), 0, 0, unix.FADV_DONTNEED)
	return nil
}
