package backend

import (
	stderrors "errors"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/pkg/errors"

	"sliod/backend/cache"
	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// file is an open node.
type file struct {
	ino    *inode
	cred   *vfs.Cred
	append bool
	owner  *lockOwner // record locks taken through this file
}

var _ vfs.File = (*file)(nil)

func (n *node) Open(c *vfs.Cred, flags p9.OpenFlags) (vfs.File, error) {
	r := n.ino.attr()
	want := uint32(mayRead)
	switch flags & openAccMode {
	case openWriteOnly:
		want = mayWrite
	case openReadWrite:
		want = mayRead | mayWrite
	}
	if flags&openTrunc != 0 {
		want |= mayWrite
	}
	switch {
	case isDir(&r) && want&mayWrite != 0:
		return nil, linux.EISDIR
	case !isDir(&r) && flags&openDirectory != 0:
		return nil, linux.ENOTDIR
	case r.Mode&modeType == modeLink:
		return nil, linux.ELOOP
	}
	if err := access(c, &r, want); err != nil {
		return nil, err
	}
	if flags&openTrunc != 0 && isFile(&r) && r.Size > 0 {
		if err := n.Setattr(c, p9.SetAttrMask{Size: true}, p9.SetAttr{}, true); err != nil {
			return nil, err
		}
	}
	return n.opened(c, flags), nil
}

func (n *node) opened(c *vfs.Cred, flags p9.OpenFlags) *file {
	n.ino.retain()
	return &file{ino: n.ino, cred: c, append: flags&openAppend != 0, owner: new(lockOwner)}
}

func (f *file) Close() {
	f.ino.locks.drop(f.owner)
	f.ino.release()
}

// ReadAt answers with the slivers from off on as far as they are ready. The
// first may park w; the others only make the answer longer. What the head of a sliver
// that is not there has is an answer of its own: who asks for more waits for the tape
// with what follows.
func (f *file) ReadAt(off uint64, n int, w *vfs.Waiter) (vfs.Data, error) {
	ino := f.ino
	ino.mu.Lock()
	defer ino.mu.Unlock()
	ino.am.Lock()
	size, regular := ino.rec.Size, isFile(&ino.rec)
	ino.am.Unlock()
	if !regular {
		return vfs.Data{}, notRegular(ino)
	}
	if off >= size || n <= 0 {
		return vfs.Data{}, nil
	}
	n = int(min(uint64(n), size-off))
	no, in := sliver.At(off)
	k := sliver.Key{File: ino.id, No: no}
	take := min(n, sliver.Size-in)
	d, alone, err := f.firstLocked(k, in, take, w)
	if err != nil || alone {
		return d, err
	}
	last := &d
	for n -= take; n > 0; n -= take {
		k.No++
		take = min(n, sliver.Size)
		next, err := ino.readLocked(k, 0, take, nil)
		if err != nil {
			break // short, at the boundary
		}
		last.More = &next
		last = &next
	}
	return d, nil
}

// firstLocked reads what a request asks of its first sliver, for which it may wait. alone says that it is from a head, and
// the whole answer.
func (f *file) firstLocked(k sliver.Key, in, n int, w *vfs.Waiter) (d vfs.Data, alone bool, err error) {
	if k.No == 0 && in < f.ino.fs.opts.CacheStub {
		// A sliver that is there is found at once, as it is without stubs.
		if d, err = f.ino.readLocked(k, in, n, nil); err != vfs.ErrWouldWait {
			return d, false, err
		}
		if d, alone, err = f.ino.readHeadLocked(k, in, n); alone || err != nil {
			return d, alone, err
		}
	}
	f.gate(w)
	d, err = f.ino.readLocked(k, in, n, w)
	return d, false, err
}

func notRegular(ino *inode) error {
	r := ino.attr()
	if isDir(&r) {
		return linux.EISDIR
	}
	return linux.EINVAL
}

// readHeadLocked reads from the head of a first sliver that is on tape only. ok is false if
// there is nothing of it.
func (ino *inode) readHeadLocked(k sliver.Key, in, n int) (d vfs.Data, ok bool, err error) {
	b, i, err := ino.bmapLocked(k.No)
	if err != nil {
		return vfs.Data{}, false, err
	}
	r := &b.Slivers[i]
	if r.Dirty || len(r.Copies) == 0 {
		return vfs.Data{}, false, nil
	}
	d, ok = ino.fs.cache.ReadHead(ino.id, r.Version, in, n)
	return d, ok, nil
}

func (ino *inode) readLocked(k sliver.Key, in, n int, w *vfs.Waiter) (vfs.Data, error) {
	b, err := ino.behindLocked(k)
	if err != nil {
		return vfs.Data{}, err
	}
	if err := ino.mayFaultLocked(k, b, w); err != nil {
		return vfs.Data{}, err
	}
	return ino.fs.cache.Read(k, b, in, n, w)
}

// behindLocked says what stands behind a sliver that has no slot. A sliver whose
// only copy was in a slot that is no more is EIO: what cannot be read is said,
// and never zeros.
func (ino *inode) behindLocked(k sliver.Key) (cache.Behind, error) {
	b, i, err := ino.bmapLocked(k.No)
	if err != nil {
		return cache.Behind{}, err
	}
	r := &b.Slivers[i]
	switch {
	case r.Dirty:
		hole := cache.Behind{State: sliver.Hole}
		if !ino.fs.cache.State(k, hole).Resident() {
			return hole, errors.WithMessagef(errLost, "sliver %s: its cached copy is gone and it was never archived", k)
		}
		return hole, nil
	case len(r.Copies) > 0:
		return cache.Behind{State: sliver.Absent, Len: int(r.Len)}, nil
	}
	return cache.Behind{State: sliver.Hole}, nil
}

// errLost is EIO for data that a crash of the disk below took.
var errLost = errors.Wrap(linux.EIO, "data lost")

// WriteAt writes into the first sliver, which may park w, and goes on into the
// next ones as long as they are ready.
func (f *file) WriteAt(off uint64, p []byte, w *vfs.Waiter) (int, error) {
	ino := f.ino
	ino.mu.Lock()
	defer ino.mu.Unlock()
	ino.am.Lock()
	regular := isFile(&ino.rec)
	if f.append {
		off = ino.endLocked()
	}
	setID := f.cred.UID != 0 && ino.rec.Mode&(modeSUID|modeSGID) != 0
	ino.am.Unlock()
	if !regular {
		return 0, notRegular(ino)
	}
	if off >= sliver.MaxFileSize {
		return 0, linux.EFBIG
	}
	p = p[:min(uint64(len(p)), sliver.MaxFileSize-off)]
	if len(p) == 0 {
		return 0, nil
	}
	if setID {
		if err := ino.changeLocked(clearSetID); err != nil {
			return 0, err
		}
	}
	no, in := sliver.At(off)
	k := sliver.Key{File: ino.id, No: no}
	if w != nil {
		w.Owner = ino
	}
	f.gate(w)
	put := ino.writeLocked
	if f.append && w != nil {
		put = ino.appendLocked
	}
	n, err := put(k, in, p[:min(len(p), sliver.Size-in)], w)
	if err == vfs.ErrParked {
		return 0, err
	}
	if err != nil {
		ino.grow(0) // the sliver may have become dirty all the same
		return 0, err
	}
	// Only whole parts go on: a short one ends the answer.
	for done := sliver.Size - in; n == done && done < len(p); done += sliver.Size {
		k.No++
		m, err := ino.writeLocked(k, 0, p[done:min(len(p), done+sliver.Size)], nil)
		if err != nil {
			break
		}
		n += m
	}
	ino.wrote(off + uint64(n))
	return n, nil
}

func (ino *inode) writeLocked(k sliver.Key, in int, p []byte, w *vfs.Waiter) (int, error) {
	b, err := ino.behindLocked(k)
	if stderrors.Is(err, linux.EIO) && in == 0 && len(p) >= sliver.LenIn(ino.size(), k.No) {
		err = nil // a write over all that was lost makes the sliver good again
	}
	if err != nil {
		return 0, err
	}
	if in > 0 || len(p) < b.Len {
		if err := ino.mayFaultLocked(k, b, w); err != nil {
			return 0, err
		}
	}
	return ino.fs.cache.Write(k, b, in, p, w)
}

func (f *file) Cancel(w *vfs.Waiter) bool {
	switch w.Owner.(type) {
	case *lockTable:
		return f.ino.locks.cancel(w)
	case syncWait:
		return false // it does not wait for tape, and its answer is near
	}
	if !f.ino.fs.cache.Cancel(w) {
		return false
	}
	if a, ok := w.Waker.(*parkedAppend); ok {
		a.end()
	}
	return true
}

func (f *file) Readdir(off uint64, fn func(p9.Dirent) bool) error {
	d := f.ino.attr()
	if !isDir(&d) {
		return linux.ENOTDIR
	}
	if off < 1 && !fn(p9.Dirent{QID: qidOf(&d), Offset: 1, Type: dtDir, Name: "."}) {
		return nil
	}
	if off < 2 && !fn(p9.Dirent{QID: p9.QID{Type: p9.TypeDir, Version: 1, Path: uint64(d.Parent)}, Offset: 2, Type: dtDir, Name: ".."}) {
		return nil
	}
	return f.ino.fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Readdir(f.ino.id, max(off, catalog.FirstCookie-1), func(e catalog.Dirent) bool {
			q := p9.QID{Type: direntQID(e.Type), Version: 1, Path: uint64(e.ID)}
			return fn(p9.Dirent{QID: q, Offset: e.Cookie, Type: p9.QIDType(e.Type), Name: e.Name})
		})
	})
}

// direntType is d_type of readdir(3) for a mode: what Linux clients expect in
// Rreaddir's type field, and what QEMU sends too.
func direntType(mode uint32) uint8 { return uint8(mode & modeType >> 12) }

const dtDir = p9.QIDType(modeDir >> 12)

// direntQID is the QID type that belongs to a d_type.
func direntQID(t uint8) p9.QIDType { return p9.FileMode(uint32(t) << 12).QIDType() }
