package backend

import (
	"slices"
	"sync"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
)

// inode is a file of the archive while something refers to it: a node, an open
// file, a job, or data that the catalog does not know of yet.
type inode struct {
	fs *FS
	id sliver.FileID

	// refs is guarded by fs.itab.mu.
	refs int

	// mu makes an operation on the file's data one step: a write, a truncate, the
	// commit of what was archived or synced. It is held across calls of the cache
	// and updates of the catalog, never across disk syncs, never across tape.
	mu    sync.Mutex
	bmaps map[sliver.BmapNo]*catalog.Bmap // a few records, as the catalog has them
	// unrecorded: the catalog has no record of the file, which has no name any more; see putLocked.
	unrecorded bool

	// syncMu lets one sync of the file run at a time.
	syncMu sync.Mutex

	// am guards the attributes. It is a leaf: the cache calls back under its own
	// lock to update them (see events.go), so nothing is called with am held.
	am  sync.Mutex
	rec catalog.Inode
	// durableSize is the size in the catalog. It lags behind rec.Size until the
	// data in between is on disk, so that a crash never shows zeros in place of
	// data that an fsync has confirmed.
	durableSize uint64
	unsynced    bool      // rec is newer than the catalog's record
	touched     time.Time // last change of data, for archive.idle
	gone        bool      // the records have been deleted
	appends     int       // parked writes of files opened with O_APPEND
	appendEnd   uint64    // where the last of those ends; see append.go

	locks lockTable
}

// inodeTable holds the inodes in use.
type inodeTable struct {
	mu sync.Mutex
	m  map[sliver.FileID]*inode
}

// get returns the inode with a new reference. A file that does not exist, or has
// been unlinked and let go, is ENOENT.
func (fs *FS) get(id sliver.FileID) (*inode, error) {
	t := &fs.itab
	t.mu.Lock()
	defer t.mu.Unlock()
	if ino := t.m[id]; ino != nil {
		ino.refs++
		return ino, nil
	}
	var rec catalog.Inode
	err := fs.cat.View(func(tx *catalog.Tx) (err error) {
		rec, err = tx.Inode(id)
		return err
	})
	if errors.Is(err, catalog.ErrNotFound) {
		return nil, errors.Wrapf(linux.ENOENT, "file %d", id)
	}
	if err != nil {
		return nil, err
	}
	if rec.NLink == 0 { // an orphan that waits for the next start
		return nil, errors.Wrapf(linux.ENOENT, "file %d is unlinked", id)
	}
	return fs.addLocked(rec), nil
}

// addLocked enters a file as the catalog has it. fs.itab.mu must be held since it was read.
func (fs *FS) addLocked(rec catalog.Inode) *inode {
	ino := &inode{fs: fs, id: rec.ID, refs: 1, rec: rec, durableSize: rec.Size}
	fs.itab.m[rec.ID] = ino
	return ino
}

// retain takes another reference. The caller has one already.
func (ino *inode) retain() {
	ino.fs.itab.mu.Lock()
	ino.refs++
	ino.fs.itab.mu.Unlock()
}

// release gives a reference back. With the last one an unlinked file's space is
// reclaimed, and a file that has nothing unsynced is forgotten.
func (ino *inode) release() {
	t := &ino.fs.itab
	t.mu.Lock()
	ino.refs--
	if ino.refs > 0 {
		t.mu.Unlock()
		return
	}
	ino.am.Lock()
	unlinked, unsynced := ino.rec.NLink == 0, ino.unsynced
	ino.am.Unlock()
	switch {
	case unlinked:
		// Nobody can find it again: it has no name, and get refuses an orphan.
		delete(t.m, ino.id)
	case unsynced:
		// The syncer takes it from here: it looks again when the sync is done.
	default:
		delete(t.m, ino.id)
	}
	t.mu.Unlock()
	if unlinked {
		ino.fs.reclaim(ino)
	}
}

// attr returns a copy of the attributes.
func (ino *inode) attr() catalog.Inode {
	ino.am.Lock()
	defer ino.am.Unlock()
	return ino.rec
}

func (ino *inode) size() uint64 {
	ino.am.Lock()
	defer ino.am.Unlock()
	return ino.rec.Size
}

// record returns the attributes as the catalog may know them now: with the size
// whose data is on disk.
func (ino *inode) record() catalog.Inode {
	ino.am.Lock()
	defer ino.am.Unlock()
	r := ino.rec
	r.Size = ino.durableSize
	return r
}

// putLocked commits the record r of the file and, in the same update, what fn writes. Who writes something of a
// file by its inode does it so: of an unlinked file whose records went with its last name it
// brings them back, as those of an orphan. ino.mu must be held.
func (ino *inode) putLocked(r *catalog.Inode, fn func(*catalog.Tx) error) error {
	put := func(tx *catalog.Tx) error { return firstError(fn(tx), tx.PutInode(r)) }
	if !ino.unrecorded {
		return ino.fs.cat.Update(put)
	}
	err := ino.fs.updateCount(1, func(tx *catalog.Tx) error { return firstError(put(tx), tx.PutOrphan(r.ID)) })
	if err == nil {
		ino.unrecorded = false
	}
	return err
}

// apply makes the change to the attributes that the catalog has just committed.
// A change is a function, not a copy, since writes go on between the two.
func (ino *inode) apply(change func(*catalog.Inode)) {
	ino.am.Lock()
	size := ino.rec.Size
	change(&ino.rec)
	ino.rec.Size = size // sizes change in truncate and wrote alone
	ino.am.Unlock()
}

// wrote notes that bytes up to end were written. It may be called under the
// cache's lock.
func (ino *inode) wrote(end uint64) {
	now := time.Now()
	t := catalogTime(now)
	ino.am.Lock()
	ino.rec.Size = max(ino.rec.Size, end)
	ino.rec.Mtime, ino.rec.Ctime = t, t
	ino.rec.DataVersion = newVersion(ino.rec.DataVersion, t)
	ino.touched = now
	first := !ino.unsynced
	ino.unsynced = true
	ino.am.Unlock()
	if first {
		ino.fs.unsynced.add(ino)
	}
}

// changedAt notes in r a change of the file that is to come to tape.
func changedAt(r *catalog.Inode, now catalog.Time) {
	r.Ctime = now
	r.DataVersion = newVersion(r.DataVersion, now)
	r.Flags |= catalog.FlagMetaDirty
}

// newVersion is the DataVersion that follows v, at the time now. It goes by the clock, as a crash
// takes back what the catalog does not know yet: a number that was told before, to a client that
// keeps pages by it or to an index on tape, must not come again for other content.
func newVersion(v uint64, now catalog.Time) uint64 {
	return uint64(max(int64(v)+1, now.Sec*1e6+int64(now.Nsec)/1e3))
}

func (ino *inode) qid() p9.QID {
	ino.am.Lock()
	defer ino.am.Unlock()
	return qidOf(&ino.rec)
}

// qidOf makes the QID of a file. The version is never 0: newer kernels do not
// cache a file whose version is 0.
func qidOf(r *catalog.Inode) p9.QID {
	v := uint32(r.DataVersion)
	if v == 0 {
		v = 1
	}
	return p9.QID{Type: p9.FileMode(r.Mode).QIDType(), Version: v, Path: uint64(r.ID)}
}

func catalogTime(t time.Time) catalog.Time {
	return catalog.Time{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}
}

func (fs *FS) now() catalog.Time { return catalogTime(time.Now()) }

// maxBmaps is how many bmap records an inode keeps in memory.
const maxBmaps = 8

// bmapLocked returns the record that sliver n is in, and n's index in it. The
// record is shared: change a copy. ino.mu must be held.
func (ino *inode) bmapLocked(n sliver.No) (*catalog.Bmap, int, error) {
	no, i := n.Bmap()
	if b := ino.bmaps[no]; b != nil {
		return b, i, nil
	}
	var b *catalog.Bmap
	err := ino.fs.cat.View(func(tx *catalog.Tx) (err error) {
		b, err = tx.Bmap(ino.id, no)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	ino.keepBmapLocked(no, b)
	return b, i, nil
}

func (ino *inode) keepBmapLocked(no sliver.BmapNo, b *catalog.Bmap) {
	if ino.bmaps == nil {
		ino.bmaps = make(map[sliver.BmapNo]*catalog.Bmap, 1)
	}
	if len(ino.bmaps) >= maxBmaps {
		for other := range ino.bmaps {
			if other != no {
				delete(ino.bmaps, other)
				break
			}
		}
	}
	ino.bmaps[no] = b
}

// lockInodes takes the locks of all inodes that a change of the tree writes, so
// that no other commit of one of them comes between reading and applying. Only a
// holder of fs.ns may hold more than one, so their order does not matter.
func lockInodes(inodes ...*inode) (unlock func()) {
	var held []*inode
	for _, ino := range inodes {
		if ino != nil && !slices.Contains(held, ino) {
			ino.mu.Lock()
			held = append(held, ino)
		}
	}
	return func() {
		for _, ino := range held {
			ino.mu.Unlock()
		}
	}
}
