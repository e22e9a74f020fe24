package backend

import (
	stderrors "errors"
	"slices"
	"strings"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"

	"sliod/backend/cache"
	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// files is the archive as the mover sees it.
type files struct{ fs *FS }

var _ mover.Files = files{}

// Locate implements mover.Files.
func (f files) Locate(k sliver.Key) (mover.Located, error) {
	ino, err := f.fs.get(k.File)
	if err != nil {
		return mover.Located{}, err
	}
	defer ino.release()
	ino.mu.Lock()
	defer ino.mu.Unlock()
	b, i, err := ino.bmapLocked(k.No)
	if err != nil {
		return mover.Located{}, err
	}
	r := &b.Slivers[i]
	if r.Dirty || len(r.Copies) == 0 {
		return mover.Located{}, linux.ENOENT // cut or written since the fault began
	}
	copies := r.Copies
	if slices.ContainsFunc(copies, isElsewhere) {
		if copies = slices.DeleteFunc(slices.Clone(copies), isElsewhere); len(copies) == 0 {
			return mover.Located{}, errors.WithMessagef(errElsewhere, "sliver %v", k)
		}
	}
	return mover.Located{
		Copies:   copies,
		ArchLen:  int(r.ArchLen),
		ValidLen: int(r.Len),
		Sum:      r.Sum,
		HasSum:   r.HasSum,
		Version:  r.Version,
		Bad:      f.fs.badOf(k, r),
	}, nil
}

// Next implements mover.Files: read-ahead goes on while the cache has room.
func (f files) Next(k sliver.Key, limit int, class vfs.Class) []mover.Want {
	fs := f.fs
	if s := fs.cache.Stats(); float64(s.UsedBytes) > fs.opts.HighWater*float64(s.SizeBytes) {
		return nil
	}
	ino, err := fs.get(k.File)
	if err != nil {
		return nil
	}
	defer ino.release()
	ino.mu.Lock()
	defer ino.mu.Unlock()
	var wants []mover.Want
	ino.followingLocked(k, limit, func(k sliver.Key, b cache.Behind) {
		if seq, started := fs.cache.Want(k, b, class); started {
			wants = append(wants, mover.Want{Key: k, Seq: seq})
		}
	})
	return wants
}

// followingLocked calls fn for those of the next limit slivers after k that are on tape, with what stands behind them.
// ino.mu must be held.
func (ino *inode) followingLocked(k sliver.Key, limit int, fn func(sliver.Key, cache.Behind)) {
	for end := sliver.Count(ino.size()); limit > 0 && k.No+1 < end; limit-- {
		k.No++
		if b, err := ino.behindLocked(k); err == nil && b.State == sliver.Absent {
			fn(k, b)
		}
	}
}

// Plan implements mover.Files. What is planned need not be on disk: when it is on
// tape, Archived brings it into the catalog just as a sync does.
func (f files) Plan(id sliver.FileID) (*mover.Plan, error) {
	fs := f.fs
	ino, err := fs.get(id)
	if stderrors.Is(err, linux.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer ino.release()
	p := &mover.Plan{File: id, Inode: ino.attr(), Xattrs: map[string][]byte{}, Dirty: fs.cache.DirtySlivers(id)}
	if p.Inode.NLink == 0 && len(p.Dirty) == 0 {
		return nil, nil
	}
	p.Target = p.Inode.Target
	p.Inode.ListXattrs(func(name string, value []byte) { p.Xattrs[name] = value })
	p.Slivers = func(v catalog.VolumeNo, fn func(mover.OnTape) bool) error { return fs.slivers(id, v, fn) }
	err = fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Xattrs(id, func(name string, value []byte) bool {
			p.Xattrs[name] = slices.Clone(value)
			return true
		})
	})
	if err != nil {
		return nil, err
	}
	names, err := fs.names(id)
	if err != nil {
		return nil, err
	}
	for i, n := range names {
		p.Names = append(p.Names, n.path)
		if id != sliver.RootID {
			p.Dirs = append(p.Dirs, n.above[len(n.above)-1])
		}
		if i == 0 && id != sliver.RootID {
			p.Above = n.above[1:]
		}
	}
	if len(p.Names) > 0 {
		named, err := ino.goesToTape()
		if err != nil {
			return nil, err
		}
		if !named { // unlinked since
			p.Names, p.Dirs, p.Above = nil, nil, nil
		}
	}
	return p, nil
}

// goesToTape notes that an index may name the file from now on: if it is removed,
// that must get to tape as well. It is false for a file that has no name any more.
func (ino *inode) goesToTape() (bool, error) {
	ino.mu.Lock()
	defer ino.mu.Unlock()
	r := ino.record()
	if r.Flags&catalog.FlagOnTape != 0 || r.NLink == 0 {
		return r.NLink > 0, nil
	}
	change := func(r *catalog.Inode) { r.Flags |= catalog.FlagOnTape }
	change(&r)
	if err := ino.fs.cat.Update(func(tx *catalog.Tx) error { return tx.PutInode(&r) }); err != nil {
		return false, err
	}
	ino.apply(change)
	return true, nil
}

// slivers calls fn for each sliver of a file that has content, as volume v has it.
func (fs *FS) slivers(id sliver.FileID, v catalog.VolumeNo, fn func(mover.OnTape) bool) error {
	dirty := fs.cache.DirtySlivers(id)
	more := true
	unarchived := func(before sliver.No) bool {
		for more && len(dirty) > 0 && dirty[0] < before {
			more = fn(mover.OnTape{No: dirty[0]})
			dirty = dirty[1:]
		}
		return more
	}
	err := fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Bmaps(id, 0, func(no sliver.BmapNo, b *catalog.Bmap) bool {
			for i := range b.Slivers {
				r := &b.Slivers[i]
				n := no.First() + sliver.No(i)
				if r.Hole() || !unarchived(n) {
					continue
				}
				t := mover.OnTape{No: n}
				if len(dirty) > 0 && dirty[0] == n {
					dirty = dirty[1:]
				} else if !r.Dirty {
					t = mover.OnTape{No: n, Len: int(r.Len), ArchLen: int(r.ArchLen), Version: r.Version, Sum: r.Sum, HasSum: r.HasSum}
					for _, c := range r.Copies {
						if c.Volume == v {
							t.Pieces = c.Pieces
							break
						}
					}
				}
				if more = more && fn(t); !more {
					return false
				}
			}
			return true
		})
	})
	if err == nil {
		unarchived(sliver.Count(sliver.MaxFileSize) + 1)
	}
	return err
}

// name is one name of a file: the path from the root, and the directories on it,
// the root first.
type name struct {
	path  string
	above []sliver.FileID
}

// paths returns all paths of a file from the root. The root itself is "".
func (fs *FS) paths(id sliver.FileID) ([]string, error) {
	names, err := fs.names(id)
	var all []string
	for _, n := range names {
		all = append(all, n.path)
	}
	return all, err
}

// names returns all names of a file, sorted by their paths.
func (fs *FS) names(id sliver.FileID) ([]name, error) {
	if id == sliver.RootID {
		return []name{{}}, nil
	}
	type entry struct {
		dir  sliver.FileID
		name string
	}
	var all []name
	err := fs.cat.View(func(tx *catalog.Tx) error {
		namesOf := func(id sliver.FileID) (names []entry, err error) {
			err = tx.Names(id, func(dir sliver.FileID, nm string) bool {
				names = append(names, entry{dir, nm})
				return true
			})
			return names, err
		}
		names, err := namesOf(id)
		if err != nil {
			return err
		}
		for _, n := range names {
			path := []string{n.name}
			dir := n.dir
			above := []sliver.FileID{dir}
			for dir != sliver.RootID {
				up, err := namesOf(dir)
				if err != nil {
					return err
				}
				if len(up) == 0 {
					path = nil // moved or removed meanwhile: pending again
					break
				}
				path = append(path, up[0].name)
				dir = up[0].dir
				above = append(above, dir)
			}
			if path != nil {
				slices.Reverse(path)
				slices.Reverse(above)
				all = append(all, name{strings.Join(path, "/"), above})
			}
		}
		return nil
	})
	slices.SortFunc(all, func(a, b name) int { return strings.Compare(a.path, b.path) })
	return all, err
}

// Archived implements mover.Files: the slivers' new place is committed, synced,
// and only then are they clean.
func (f files) Archived(id sliver.FileID, dataVersion uint64, done []mover.Done) (kept []bool, now uint64, err error) {
	fs := f.fs
	kept = make([]bool, len(done))
	ino, err := fs.get(id)
	if stderrors.Is(err, linux.ENOENT) {
		return kept, dataVersion, fs.wasted(done) // unlinked meanwhile
	}
	if err != nil {
		return nil, 0, err
	}
	defer ino.release()
	v := fs.pending.verdictOf(id)
	if !fs.rules.holds(v, time.Now()) {
		if v, err = fs.verdict(id); err != nil {
			return nil, 0, err
		}
	}
	if err := ino.archived(dataVersion, done, kept, v); err != nil {
		return nil, 0, err
	}
	if err := fs.cat.Sync(); err != nil {
		fs.pending.add(id) // the slivers stay dirty
		return nil, 0, err
	}
	ino.mu.Lock()
	defer ino.mu.Unlock()
	var bytes int64
	for i, d := range done {
		ok := fs.cache.EndArchive(sliver.Key{File: id, No: d.No}, d.Version, d.Sum, kept[i])
		kept[i] = kept[i] && ok
		bytes += int64(d.Len)
	}
	fs.jobs.archived(id, bytes)
	return kept, ino.attr().DataVersion, nil
}

// archived commits the place on tape of the slivers that still have the version
// that the mover read, and says in kept which ones. A file that lacks copies which its verdict v wants
// stays pending.
func (ino *inode) archived(dataVersion uint64, done []mover.Done, kept []bool, v *verdict) error {
	fs := ino.fs
	ino.mu.Lock()
	defer ino.mu.Unlock()
	short := len(done) > 0 && len(v.Copies) > 1 // what comes to tape now is there once
	if !short {
		var err error
		if short, err = fs.short(ino.id, v); err != nil {
			return err
		}
	}
	changed := map[sliver.BmapNo]*catalog.Bmap{}
	dead := map[catalog.VolumeNo]int64{}
	r := ino.record()
	size := ino.size()
	for i, d := range done {
		k := sliver.Key{File: ino.id, No: d.No}
		rec := catalog.SliverRec{Len: uint32(d.Len), Version: d.Version, Sum: d.Sum, HasSum: true, ArchLen: uint32(d.Len), Copies: []catalog.Copy{d.Copy}}
		if !fs.cache.ArchiveIs(k, d.Version) {
			countDead(dead, &rec) // written meanwhile: of no use
			continue
		}
		kept[i] = true
		b, j, err := ino.changeBmapLocked(changed, d.No)
		if err != nil {
			return err
		}
		countDead(dead, &b.Slivers[j])
		b.Slivers[j] = rec
		r.Size = max(r.Size, min(size, d.No.Start()+uint64(d.Len)))
	}
	// A file of which a sliver is still dirty, as it did not fit in this batch or
	// could not be read, stays pending.
	archiving := 0
	for _, ok := range kept {
		if ok {
			archiving++
		}
	}
	_, dirty, _, _ := fs.cache.FileStats(ino.id)
	same := r.DataVersion == dataVersion && dirty == archiving
	r.Archived = fs.now()
	if same {
		// All there is of the file is on tape: no sync has to come for its size.
		r.Size = max(r.Size, size)
		r.Flags &^= catalog.FlagMetaDirty
	}
	if len(changed) > 0 {
		r.Flags &^= catalog.FlagNoBmaps
	}
	err := ino.putLocked(&r, func(tx *catalog.Tx) error {
		for no, b := range changed {
			if err := tx.PutBmap(ino.id, no, b); err != nil {
				return err
			}
		}
		if same && !short && r.NLink > 0 {
			if err := tx.DeletePending(ino.id); err != nil {
				return err
			}
		}
		return addDead(tx, dead)
	})
	if err != nil {
		return err
	}
	for no, b := range changed {
		ino.keepBmapLocked(no, b)
	}
	ino.am.Lock()
	ino.durableSize = max(ino.durableSize, r.Size)
	ino.rec.Archived = r.Archived
	if len(changed) > 0 {
		ino.rec.Flags &^= catalog.FlagNoBmaps
	}
	same = same && ino.rec.DataVersion == dataVersion
	if same {
		ino.rec.Flags &^= catalog.FlagMetaDirty
	}
	ino.am.Unlock()
	if same && !short {
		fs.pending.remove(ino.id)
	}
	return nil
}

// isElsewhere says whether a copy only tells that there is content, see catalog.Copy.
func isElsewhere(c catalog.Copy) bool { return len(c.Pieces) == 0 }

// errElsewhere is EIO for content that an imported volume names and does not have.
var errElsewhere = errors.Wrap(linux.EIO, "the volume that the file was imported from does not have it: another volume of its archive does, or its extents are broken")

// Summed implements mover.Files. The record need not be on disk: after a crash the
// next recall finds the same sum.
func (f files) Summed(k sliver.Key, v sliver.Version, sum uint64) error {
	fs := f.fs
	ino, err := fs.get(k.File)
	if stderrors.Is(err, linux.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer ino.release()
	ino.mu.Lock()
	defer ino.mu.Unlock()
	old, i, err := ino.bmapLocked(k.No)
	if err != nil {
		return err
	}
	if r := &old.Slivers[i]; r.Dirty || r.HasSum || r.Version != v || len(r.Copies) == 0 {
		return nil // written since
	}
	b := *old
	b.Slivers[i].Sum, b.Slivers[i].HasSum = sum, true
	no, _ := k.No.Bmap()
	if err := fs.cat.Update(func(tx *catalog.Tx) error { return tx.PutBmap(k.File, no, &b) }); err != nil {
		return err
	}
	ino.keepBmapLocked(no, &b)
	return nil
}

// OnVolume implements mover.Files. It reads the whole catalog: the mover asks
// only when a volume must be repaired, or is to be formatted. What the cache has is no
// matter: after a crash what the catalog names is all there is.
func (f files) OnVolume(v catalog.VolumeNo, fn func(sliver.FileID) bool) error {
	var ids []sliver.FileID
	err := f.fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Inodes(0, func(r catalog.Inode) bool {
			if isFile(&r) {
				ids = append(ids, r.ID)
			}
			return true
		})
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		found := false
		err := f.fs.cat.View(func(tx *catalog.Tx) error {
			return tx.Bmaps(id, 0, func(_ sliver.BmapNo, b *catalog.Bmap) bool {
				for i := range b.Slivers {
					r := &b.Slivers[i]
					found = found || !r.Dirty && slices.ContainsFunc(r.Copies, func(c catalog.Copy) bool { return c.Volume == v && !isElsewhere(c) })
				}
				return !found
			})
		})
		if err != nil {
			return err
		}
		if found && !fn(id) {
			return nil
		}
	}
	return nil
}
