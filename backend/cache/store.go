package cache

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"unsafe"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"
)

// disk is one mapped file. Content goes in by pwrite(2) and comes out by
// pread(2) or, to clients, from the mapping: a system call that meets a cold page
// lets the Go scheduler go on and answers a bad disk with an errno, a touch of
// the mapping does neither.
type disk struct {
	name string
	f    *os.File
	mem  []byte
	// synced, if set, is told of each range that is on stable storage: for tests
	// that take the power away.
	synced func(off, n int64)
	// fail, if set, is asked before each write or sync: for tests of bad disks.
	fail func(op string, off, n int64) error
}

func (d *disk) pwrite(p []byte, off int64) error { return d.write("write", p, off) }

// again writes what is there already, so that it is synced once more. A failure midway changes no byte of it.
func (d *disk) again(p []byte, off int64) error { return d.write("write again", p, off) }

func (d *disk) write(op string, p []byte, off int64) error {
	late(len(p))
	if d.fail != nil {
		if err := d.fail(op, off, int64(len(p))); err != nil {
			return errors.Wrapf(err, "cache: write %d bytes at %d of %s", len(p), off, d.name)
		}
	}
	return d.put(p, off)
}

func (d *disk) put(p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pwrite(int(d.f.Fd()), p, off)
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return errors.Wrapf(err, "cache: write %d bytes at %d of %s", len(p), off, d.name)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

func (d *disk) pread(p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pread(int(d.f.Fd()), p, off)
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return errors.Wrapf(err, "cache: read %d bytes at %d of %s", len(p), off, d.name)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// at says where in the file p is, if it is a part of the mapping.
func (d *disk) at(p []byte) (off int64, mapped bool) {
	off = int64(uintptr(unsafe.Pointer(unsafe.SliceData(p))) - uintptr(unsafe.Pointer(unsafe.SliceData(d.mem))))
	return off, off >= 0 && off < int64(len(d.mem))
}

var zeroes [64 << 10]byte

func (d *disk) zero(off, n int64) error {
	for n > 0 {
		m := min(n, int64(len(zeroes)))
		if err := d.pwrite(zeroes[:m], off); err != nil {
			return err
		}
		off, n = off+m, n-m
	}
	return nil
}

// sync puts the pages of a range on stable storage.
func (d *disk) sync(off, n int64) error {
	end := min((off+n+pageSize-1)&^(pageSize-1), int64(len(d.mem)))
	off &^= pageSize - 1
	if d.fail != nil {
		if err := d.fail("sync", off, end-off); err != nil {
			return errors.Wrapf(err, "cache: sync bytes %d to %d of %s", off, end, d.name)
		}
	}
	for {
		err := unix.Msync(d.mem[off:end], unix.MS_SYNC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return errors.Wrapf(err, "cache: sync bytes %d to %d of %s", off, end, d.name)
		}
		break
	}
	if d.synced != nil {
		d.synced(off, end-off)
	}
	return nil
}

func (d *disk) mapAll() error {
	fi, err := d.f.Stat()
	if err != nil {
		return errors.Wrapf(err, "cache: stat %s", d.name)
	}
	d.mem, err = unix.Mmap(int(d.f.Fd()), 0, int(fi.Size()), unix.PROT_READ, unix.MAP_SHARED)
	return errors.Wrapf(err, "cache: map %d bytes of %s", fi.Size(), d.name)
}

// close unmaps, unless keepMap says that somebody still reads, and closes.
func (d *disk) close(keepMap bool) error {
	var err error
	if d.mem != nil && !keepMap {
		err = unix.Munmap(d.mem)
		d.mem = nil
	}
	if e := d.f.Close(); err == nil {
		err = e
	}
	return errors.Wrapf(err, "cache: close %s", d.name)
}

func slotsBytes(chunks int64) int64 {
	n := int64(headerSize) + chunks*recordSize
	return (n + pageSize - 1) &^ (pageSize - 1)
}

// store is the two files: arena and slots.
type store struct {
	arena, slots disk
	head         header
	fresh        bool // made by this open
	wasClean     bool // the header as it was found
}

// openStore opens or makes the files for chunks chunks, counts the epoch up, at
// least above minEpoch, and marks the table as in use.
func openStore(dir string, chunks int64, minEpoch uint64) (_ *store, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, errors.Wrapf(err, "cache: make directory %s", dir)
	}
	st := &store{}
	st.arena.name, st.slots.name = filepath.Join(dir, "arena"), filepath.Join(dir, "slots")
	_, statErr := os.Stat(st.slots.name)
	st.fresh = os.IsNotExist(statErr)
	if _, err := os.Stat(st.arena.name); st.fresh && err == nil {
		return nil, errors.Errorf("cache: %s exists but its slot table %s does not: what it holds cannot be named. "+
			"Put the table back, or move the arena away to start with an empty cache", st.arena.name, st.slots.name)
	}
	defer func() {
		if err == nil {
			return
		}
		for _, d := range []*disk{&st.arena, &st.slots} {
			if d.f == nil {
				continue
			}
			_ = d.close(false)
			if st.fresh {
				_ = os.Remove(d.name)
			}
		}
	}()
	// The table is locked before anything is looked at.
	st.slots.f, err = os.OpenFile(st.slots.name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, errors.Wrapf(err, "cache: open %s", st.slots.name)
	}
	if err := unix.Flock(int(st.slots.f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		st.fresh = false // not ours to remove
		return nil, errors.Wrapf(err, "cache: %s is in use by another sliod: stop it, or use another directory", dir)
	}
	if !st.fresh {
		// An Open that died before it wrote the header has left nothing to keep.
		if fi, err := st.slots.f.Stat(); err == nil && st.unborn(fi.Size()) {
			st.fresh = true
		}
	}
	flags := os.O_RDWR
	if st.fresh {
		flags |= os.O_CREATE
	}
	st.arena.f, err = os.OpenFile(st.arena.name, flags, 0o600)
	if err != nil {
		return nil, errors.Wrapf(err, "cache: open %s", st.arena.name)
	}
	if st.fresh {
		err = st.create(dir, chunks)
	} else {
		err = st.resize(dir, chunks)
	}
	if err != nil {
		return nil, err
	}
	st.wasClean = st.head.clean
	st.head.epoch = max(st.head.epoch, minEpoch) + 1
	st.head.clean = false
	if st.head.epoch >= 1<<24 {
		return nil, errors.Errorf("cache: %s has been opened %d times, which uses up its version numbers: archive all, and start with a new cache directory", dir, st.head.epoch)
	}
	if err := st.writeHeader(); err != nil {
		return nil, err
	}
	if err := st.arena.mapAll(); err != nil {
		return nil, err
	}
	if err := st.slots.mapAll(); err != nil {
		return nil, err
	}
	return st, nil
}

// unborn says whether the table's header was never written.
func (st *store) unborn(size int64) bool {
	b := make([]byte, min(size, headerSize))
	if st.slots.pread(b, 0) != nil {
		return false
	}
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

func (st *store) writeHeader() error {
	var b [headerSize]byte
	st.head.encode(b[:])
	if err := st.slots.pwrite(b[:], 0); err != nil {
		return err
	}
	if err := st.slots.f.Sync(); err != nil {
		return errors.Wrapf(err, "cache: sync %s", st.slots.name)
	}
	if st.slots.synced != nil {
		st.slots.synced(0, headerSize)
	}
	return nil
}

// allocate gives a file its blocks up to size, or says what is missing. It asks first: to
// try would fill the disk, and everybody else on it would find it full until it is given up.
func allocate(d *disk, dir string, from, size int64) error {
	var fs unix.Statfs_t
	err := error(unix.EINTR)
	if unix.Statfs(dir, &fs) == nil && uint64(size-from) > fs.Bavail*uint64(fs.Bsize) {
		err = unix.ENOSPC
	}
	for err == unix.EINTR {
		err = unix.Fallocate(int(d.f.Fd()), 0, 0, size)
	}
	if err == nil {
		return nil
	}
	_ = d.f.Truncate(from)
	if err == unix.ENOSPC && unix.Statfs(dir, &fs) == nil {
		avail := int64(fs.Bavail) * fs.Bsize
		return errors.Wrapf(err, "cache: the page cache %s needs %d MiB more and the file system has %d MiB available: "+
			"make room, or set a smaller cache.size", d.name, (size-from+1<<20-1)>>20, avail>>20)
	}
	return errors.Wrapf(err, "cache: preallocate %d bytes for %s (its file system must support fallocate)", size, d.name)
}

func (st *store) create(dir string, chunks int64) error {
	if err := allocate(&st.arena, dir, 0, chunks*chunkSize); err != nil {
		return err
	}
	if err := allocate(&st.slots, dir, 0, slotsBytes(chunks)); err != nil {
		return err
	}
	var secret [8]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return errors.Wrap(err, "cache: draw a random number")
	}
	st.head = header{version: formatVersion, chunks: uint64(chunks), clean: true, secret: binary.LittleEndian.Uint64(secret[:])}
	if err := st.arena.f.Sync(); err != nil {
		return errors.Wrapf(err, "cache: sync %s", st.arena.name)
	}
	d, err := os.Open(dir)
	if err != nil {
		return errors.Wrapf(err, "cache: open %s", dir)
	}
	defer d.Close()
	return errors.Wrapf(d.Sync(), "cache: sync directory %s", dir)
}

// resize reads the header and fits the files to chunks.
func (st *store) resize(dir string, chunks int64) error {
	b := make([]byte, headerSize)
	if err := st.slots.pread(b, 0); err != nil {
		return err
	}
	var err error
	if st.head, err = decodeHeader(b); err != nil {
		return errors.WithMessagef(err, "cache: %s is not a usable slot table", st.slots.name)
	}
	old := int64(st.head.chunks)
	for _, f := range []struct {
		d    *disk
		want int64
	}{{&st.arena, old * chunkSize}, {&st.slots, slotsBytes(old)}} {
		fi, err := f.d.f.Stat()
		if err != nil {
			return errors.Wrapf(err, "cache: stat %s", f.d.name)
		}
		if fi.Size() < f.want {
			return errors.Errorf("cache: %s has %d bytes and should have %d: it was cut; restore it, or move the directory %s away to start with an empty cache (unarchived data is lost)",
				f.d.name, fi.Size(), f.want, dir)
		}
	}
	switch {
	case chunks > old:
		if err := allocate(&st.arena, dir, old*chunkSize, chunks*chunkSize); err != nil {
			return err
		}
		if err := allocate(&st.slots, dir, slotsBytes(old), slotsBytes(chunks)); err != nil {
			_ = st.arena.f.Truncate(old * chunkSize)
			return err
		}
		// A former shrink may have died before it cut the table.
		if err := st.slots.zero(headerSize+old*recordSize, (chunks-old)*recordSize); err != nil {
			return err
		}
		if err := st.arena.f.Sync(); err != nil {
			return errors.Wrapf(err, "cache: sync %s", st.arena.name)
		}
		if err := st.slots.f.Sync(); err != nil {
			return errors.Wrapf(err, "cache: sync %s", st.slots.name)
		}
		st.head.chunks = uint64(chunks)
	case chunks < old:
		tail := make([]byte, (old-chunks)*recordSize)
		if err := st.slots.pread(tail, headerSize+chunks*recordSize); err != nil {
			return err
		}
		used := 0
		for i := 0; i < len(tail); i += recordSize {
			slot := (uint64(chunks) + uint64(i/recordSize)) * pagesPerChunk
			if r, ok := decodeRecord(tail[i:i+recordSize], st.head.secret, slot, 0); !ok || r.kind != recEmpty {
				used++
			}
		}
		was := fmt.Sprintf("%dMiB", old*chunkSize>>20)
		if !st.head.clean {
			return errors.Errorf("cache: %s cannot shrink from %s to %dMiB: sliod was not shut down properly, so what its end holds is not known. "+
				"Start it with cache.size = %q and stop it; then set the new size", st.arena.name, was, chunks*chunkSize>>20, was)
		}
		if used > 0 {
			return errors.Errorf("cache: %s cannot shrink from %s to %dMiB: %d of the %d MiB at its end are in use. "+
				"Set cache.size back to %q; or start with that size and with cache.stub = 0, archive and evict everything (sliod archive --wait /; sliod evict /), stop, and set the new size",
				st.arena.name, was, chunks*chunkSize>>20, used, old-chunks, was)
		}
		// The header goes first: whatever then happens to the tails, nothing counts on them.
		st.head.chunks = uint64(chunks)
		if err := st.writeHeader(); err != nil {
			return err
		}
		if err := st.arena.f.Truncate(chunks * chunkSize); err != nil {
			return errors.Wrapf(err, "cache: shrink %s", st.arena.name)
		}
		if err := st.slots.f.Truncate(slotsBytes(chunks)); err != nil {
			return errors.Wrapf(err, "cache: shrink %s", st.slots.name)
		}
	}
	return nil
}
