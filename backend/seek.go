package backend

import (
	"github.com/hugelgupf/p9/linux"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

var _ vfs.Extended = (*file)(nil)

// maxSeekBmaps is how many bmaps one search for a hole reads: 128 GiB. Data that goes
// on for longer is taken to reach to the end of the file, which is always a right
// answer to SEEK_HOLE, so that nobody waits long behind one who asks for it.
const maxSeekBmaps = 1024

// Seek implements vfs.Extended, by whole slivers.
func (f *file) Seek(off uint64, whence vfs.Whence) (uint64, error) {
	ino := f.ino
	r := ino.attr()
	switch {
	case !isFile(&r):
		return 0, notRegular(ino)
	case whence != vfs.SeekData && whence != vfs.SeekHole:
		return 0, linux.EINVAL
	case off >= r.Size:
		return 0, linux.ENXIO
	}
	no, _ := sliver.At(off)
	if whence == vfs.SeekHole {
		hole, err := ino.firstHole(no)
		return min(max(off, hole.Start()), r.Size), err
	}
	found, first := false, no
	err := ino.data(no, func(n sliver.No) bool {
		found, first = true, n
		return false
	})
	switch {
	case err != nil:
		return 0, err
	case !found || first.Start() >= r.Size:
		return 0, linux.ENXIO
	}
	return max(off, first.Start()), nil
}

// firstHole returns the first sliver from no on that has no data.
func (ino *inode) firstHole(no sliver.No) (sliver.No, error) {
	last := no + maxSeekBmaps*sliver.PerBmap
	end := sliver.Count(sliver.MaxFileSize)
	err := ino.data(no, func(n sliver.No) bool {
		if n > last {
			no = end
			return false
		}
		if n != no {
			return false
		}
		no++
		return true
	})
	return min(no, end), err
}

// data calls fn for each sliver from no on that is not a hole, in order, until fn
// returns false. No lock is needed: what is dirty is asked first, so that a sliver
// that goes to tape meanwhile is found in one of the two places.
func (ino *inode) data(no sliver.No, fn func(sliver.No) bool) error {
	dirty := ino.fs.cache.DirtySlivers(ino.id)
	for len(dirty) > 0 && dirty[0] < no {
		dirty = dirty[1:]
	}
	more := true
	upTo := func(n sliver.No) bool { // those that the catalog does not know, before n
		for more && len(dirty) > 0 && dirty[0] < n {
			more = fn(dirty[0])
			dirty = dirty[1:]
		}
		return more
	}
	from, _ := no.Bmap()
	err := ino.fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Bmaps(ino.id, from, func(m sliver.BmapNo, b *catalog.Bmap) bool {
			for i := range b.Slivers {
				n := m.First() + sliver.No(i)
				if n < no || b.Slivers[i].Hole() {
					continue
				}
				if !upTo(n) {
					return false
				}
				if len(dirty) > 0 && dirty[0] == n {
					dirty = dirty[1:]
				}
				if more = fn(n); !more {
					return false
				}
			}
			return true
		})
	})
	if err == nil {
		upTo(sliver.Count(sliver.MaxFileSize) + 1)
	}
	return err
}
