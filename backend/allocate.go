package backend

import (
	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// zeros is what the ends of a range are overwritten with.
var zeros [sliver.Size]byte

// Allocate implements vfs.Extended. An archive cannot reserve tape for a file: to make
// sure of space is to compare what the file would grow by with what is free now.
func (f *file) Allocate(mode vfs.AllocateMode, off, n uint64, w *vfs.Waiter) (uint64, error) {
	ino := f.ino
	f.gate(w)
	switch mode {
	case 0, vfs.KeepSize, vfs.PunchHole | vfs.KeepSize, vfs.ZeroRange, vfs.ZeroRange | vfs.KeepSize:
	default:
		return 0, linux.EOPNOTSUPP
	}
	ino.mu.Lock()
	defer ino.mu.Unlock()
	r := ino.attr()
	switch {
	case !isFile(&r):
		return 0, notRegular(ino)
	case n == 0:
		return 0, linux.EINVAL
	case off > sliver.MaxFileSize || n > sliver.MaxFileSize-off:
		return 0, linux.EFBIG
	}
	if mode&(vfs.PunchHole|vfs.ZeroRange) != 0 {
		if end := min(off+n, r.Size); off < end {
			done, err := f.zeroLocked(off, end, r.Size, w)
			if err != nil || off+done < end {
				return done, err
			}
		}
	} else if end := off + n; end > r.Size {
		if s := ino.fs.statfs(); end-r.Size > s.BlocksAvailable*uint64(s.BlockSize) {
			return 0, errors.Wrapf(linux.ENOSPC, "file %d cannot grow by %d bytes", ino.id, end-r.Size)
		}
	}
	if mode&vfs.KeepSize == 0 && off+n > r.Size {
		if err := ino.changeLocked(f.modified()); err != nil {
			return 0, err
		}
		ino.grow(off + n)
	}
	return n, nil
}

// modified returns the change of attributes that comes with a change of data.
func (f *file) modified() func(*catalog.Inode) {
	now := f.ino.fs.now()
	return func(r *catalog.Inode) {
		if f.cred.UID != 0 {
			clearSetID(r)
		}
		r.Mtime = now
		changedAt(r, now)
	}
}

// zeroLocked makes bytes from off on zero, and returns how many: those of one sliver
// at an end of the range, or as many whole slivers as come next. end is at most size,
// the file's. ino.mu must be held.
func (f *file) zeroLocked(off, end, size uint64, w *vfs.Waiter) (uint64, error) {
	no, in := sliver.At(off)
	to := sliver.No(end / sliver.Size)
	if end == size {
		to = sliver.Count(end) // all that the last one has
	}
	if in == 0 && no < to {
		to, err := f.punchLocked(no, to, end)
		if err != nil || to > no {
			return min(to.Start(), end) - off, err
		}
		// The file has grown in its last sliver: bytes behind end are not ours.
	}
	n := int(min(uint64(sliver.Size-in), end-off))
	return uint64(n), f.zeroPartLocked(sliver.Key{File: f.ino.id, No: no}, in, n, w)
}

// zeroPartLocked writes zeros over a part of a sliver. It waits as a read does, not as
// a write: what is written then is still within the file.
func (f *file) zeroPartLocked(k sliver.Key, in, n int, w *vfs.Waiter) error {
	ino := f.ino
	d, err := ino.readLocked(k, in, n, w)
	if err != nil {
		return err
	}
	// The pin keeps the sliver where it is. Bytes past its valid ones are zeros already,
	// so the write needs no larger slot.
	defer d.Release()
	if len(d.Bytes) == 0 {
		return nil
	}
	if f.cred.UID != 0 && ino.attr().Mode&(modeSUID|modeSGID) != 0 {
		if err := ino.changeLocked(clearSetID); err != nil {
			return err
		}
	}
	if _, err := ino.writeLocked(k, in, zeros[:len(d.Bytes)], nil); err != nil {
		return err
	}
	ino.wrote(0)
	return nil
}

// maxPunchBmaps is how many bmap records one transaction changes.
const maxPunchBmaps = 256

// punchLocked makes the slivers from from up to to holes, or fewer if there are many,
// and returns where it has stopped. As with a truncate nothing waits for tape, and the
// catalog is changed before the cache: slots that it named are then quarantined until
// that is on disk. What the slivers have on tape is dead. A last sliver in which the file
// ended, at end, and that a parked write has made longer since, stays: it is dirty, so that
// the record, gone already, does not count. ino.mu must be held.
func (f *file) punchLocked(from, to sliver.No, end uint64) (sliver.No, error) {
	ino := f.ino
	fs := ino.fs
	cut := map[sliver.BmapNo]*catalog.Bmap{}
	dead := map[catalog.VolumeNo]int64{}
	first, _ := from.Bmap()
	err := fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Bmaps(ino.id, first, func(no sliver.BmapNo, b *catalog.Bmap) bool {
			if no.First() >= to {
				return false
			}
			if len(cut) == maxPunchBmaps {
				to = no.First()
				return false
			}
			cut[no] = b
			for i := range b.Slivers {
				if n := no.First() + sliver.No(i); n >= from && n < to {
					countDead(dead, &b.Slivers[i])
					b.Slivers[i] = catalog.SliverRec{}
				}
			}
			return true
		})
	})
	if err != nil {
		return from, err
	}
	change := f.modified()
	r := ino.record()
	change(&r)
	err = ino.putLocked(&r, func(tx *catalog.Tx) error {
		for no, b := range cut {
			if err := tx.PutBmap(ino.id, no, b); err != nil {
				return err
			}
		}
		return firstError(addDead(tx, dead), putPendingIf(tx, ino.id, r.NLink > 0))
	})
	if err != nil {
		return from, err
	}
	for no, b := range cut {
		ino.keepBmapLocked(no, b)
	}
	to = fs.cache.DropRange(ino.id, from, min(to.Start(), end))
	ino.apply(change)
	if r.NLink > 0 {
		fs.pending.add(ino.id)
	}
	return to, nil
}
