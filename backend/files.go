package backend

import (
	stderrors "errors"
	"slices"
	"strings"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/backend/sliver"
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
	return mover.Located{
		Copies:   r.Copies,
		ArchLen:  int(r.ArchLen),
		ValidLen: int(r.Len),
		Sum:      r.Sum,
		HasSum:   r.HasSum,
		Version:  r.Version,
	}, nil
}

// Next implements mover.Files: read-ahead goes on while the cache has room.
func (f files) Next(k sliver.Key, limit int) []mover.Want {
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
	for end := sliver.Count(ino.size()); limit > 0 && k.No+1 < end; limit-- {
		k.No++
		b, err := ino.behindLocked(k)
		if err != nil || b.State != sliver.Absent {
			continue
		}
		if seq, started := fs.cache.Want(k, b); started {
			wants = append(wants, mover.Want{Key: k, Seq: seq})
		}
	}
	return wants
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
	p.Names, err = fs.paths(id)
	return p, err
}

// slivers calls fn for each archived sliver of a file that is on volume v.
func (fs *FS) slivers(id sliver.FileID, v catalog.VolumeNo, fn func(mover.OnTape) bool) error {
	return fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Bmaps(id, 0, func(no sliver.BmapNo, b *catalog.Bmap) bool {
			for i := range b.Slivers {
				r := &b.Slivers[i]
				if r.Dirty {
					continue
				}
				for _, c := range r.Copies {
					if c.Volume != v {
						continue
					}
					t := mover.OnTape{No: no.First() + sliver.No(i), Len: int(r.Len), ArchLen: int(r.ArchLen),
						Version: r.Version, Sum: r.Sum, HasSum: r.HasSum, Pieces: c.Pieces}
					if !fn(t) {
						return false
					}
					break
				}
			}
			return true
		})
	})
}

// paths returns all paths of a file from the root. The root itself is "".
func (fs *FS) paths(id sliver.FileID) ([]string, error) {
	if id == sliver.RootID {
		return []string{""}, nil
	}
	var all []string
	err := fs.cat.View(func(tx *catalog.Tx) error {
		type name struct {
			dir  sliver.FileID
			name string
		}
		namesOf := func(id sliver.FileID) (names []name, err error) {
			err = tx.Names(id, func(dir sliver.FileID, nm string) bool {
				names = append(names, name{dir, nm})
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
			}
			if path != nil {
				slices.Reverse(path)
				all = append(all, strings.Join(path, "/"))
			}
		}
		return nil
	})
	slices.Sort(all)
	return all, err
}

// Archived implements mover.Files: the slivers' new place is committed, synced,
// and only then are they clean.
func (f files) Archived(id sliver.FileID, dataVersion uint64, done []mover.Done) ([]bool, error) {
	fs := f.fs
	kept := make([]bool, len(done))
	ino, err := fs.get(id)
	if stderrors.Is(err, linux.ENOENT) {
		return kept, nil // unlinked meanwhile
	}
	if err != nil {
		return nil, err
	}
	defer ino.release()
	if err := ino.archived(dataVersion, done, kept); err != nil {
		return nil, err
	}
	if err := fs.cat.Sync(); err != nil {
		fs.pending.add(id) // the slivers stay dirty
		return nil, err
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
	return kept, nil
}

// archived commits the place on tape of the slivers that still have the version
// that the mover read, and says in kept which ones.
func (ino *inode) archived(dataVersion uint64, done []mover.Done, kept []bool) error {
	fs := ino.fs
	ino.mu.Lock()
	defer ino.mu.Unlock()
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
		no, j := d.No.Bmap()
		b := changed[no]
		if b == nil {
			old, _, err := ino.bmapLocked(d.No)
			if err != nil {
				return err
			}
			c := *old
			b = &c
			changed[no] = b
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
	err := fs.cat.Update(func(tx *catalog.Tx) error {
		for no, b := range changed {
			if err := tx.PutBmap(ino.id, no, b); err != nil {
				return err
			}
		}
		if same && r.NLink > 0 {
			if err := tx.DeletePending(ino.id); err != nil {
				return err
			}
		}
		return firstError(addDead(tx, dead), tx.PutInode(&r))
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
	same = same && ino.rec.DataVersion == dataVersion
	if same {
		ino.rec.Flags &^= catalog.FlagMetaDirty
	}
	ino.am.Unlock()
	if same {
		fs.pending.remove(ino.id)
	}
	return nil
}

// OnVolume implements mover.Files. It reads the whole catalog: the mover asks
// only when a volume must be repaired.
func (f files) OnVolume(v catalog.VolumeNo, fn func(sliver.FileID) bool) error {
	var ids []sliver.FileID
	err := f.fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Inodes(0, func(r catalog.Inode) bool {
			if isFile(&r) && r.Size > 0 && r.NLink > 0 {
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
		err := f.fs.slivers(id, v, func(mover.OnTape) bool {
			found = true
			return false
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
