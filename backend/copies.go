package backend

import (
	stderrors "errors"
	"fmt"
	"slices"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/backend/sliver"
)

// Lacking implements mover.Files. What is dirty in the cache lacks no copy: it is archived again.
func (f files) Lacking(id sliver.FileID, o mover.CopyOptions) ([]mover.Lack, error) {
	ino, err := f.fs.get(id)
	if stderrors.Is(err, linux.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer ino.release()
	return f.fs.lacking(id, o)
}

func (fs *FS) lacking(id sliver.FileID, o mover.CopyOptions) (lacks []mover.Lack, err error) {
	dirty := map[sliver.No]bool{}
	for _, n := range fs.cache.DirtySlivers(id) {
		dirty[n] = true
	}
	err = fs.cat.View(func(tx *catalog.Tx) error {
		counts := poolVolumes{tx: tx, pool: o.Pool, not: o.Not}
		err := tx.Bmaps(id, 0, func(no sliver.BmapNo, b *catalog.Bmap) bool {
			for i := range b.Slivers {
				r, n := &b.Slivers[i], no.First()+sliver.No(i)
				if r.Dirty || len(r.Copies) == 0 || dirty[n] {
					continue
				}
				have := 0
				var on []catalog.VolumeNo
				for _, c := range r.Copies {
					if isElsewhere(c) {
						continue
					}
					on = append(on, c.Volume)
					if counts.has(c.Volume) {
						have++
					}
				}
				if len(on) > 0 && have < max(o.Copies, 1) {
					lacks = append(lacks, mover.Lack{No: n, Version: r.Version, On: on})
				}
			}
			return counts.err == nil
		})
		return firstError(err, counts.err)
	})
	return lacks, err
}

// copiesXattr is the value of user.sliod.copies: how many copies everything has that is on tape, at least, and how many its
// rule asks for, as "1/2". A copy counts on a volume of a pool that is to have one. ENODATA: nothing is on tape,
// or nothing of the file is to be.
func (ino *inode) copiesXattr() ([]byte, error) {
	fs := ino.fs
	v, err := fs.verdict(ino.id)
	if err != nil {
		return nil, err
	}
	dirty := map[sliver.No]bool{}
	for _, n := range fs.cache.DirtySlivers(ino.id) {
		dirty[n] = true
	}
	names, want := v.ByPool()
	fewest := -1
	err = fs.cat.View(func(tx *catalog.Tx) error {
		var pools []*poolVolumes
		for _, name := range names {
			pools = append(pools, &poolVolumes{tx: tx, pool: name})
		}
		err := tx.Bmaps(ino.id, 0, func(no sliver.BmapNo, b *catalog.Bmap) bool {
			for i := range b.Slivers {
				r := &b.Slivers[i]
				if r.Dirty || len(r.Copies) == 0 || dirty[no.First()+sliver.No(i)] {
					continue
				}
				have := 0
				for _, p := range pools {
					n := 0
					for _, c := range r.Copies {
						if !isElsewhere(c) && p.has(c.Volume) {
							n++
						}
					}
					have += min(n, want[p.pool])
				}
				if fewest < 0 || have < fewest {
					fewest = have
				}
			}
			return true
		})
		for _, p := range pools {
			err = firstError(err, p.err)
		}
		return err
	})
	if err == nil && (fewest < 0 || v.Never) {
		err = linux.ENODATA
	}
	return fmt.Appendf(nil, "%d/%d", fewest, len(v.Copies)), err
}

// poolVolumes says which volumes are of a pool, but for some.
type poolVolumes struct {
	tx    *catalog.Tx
	pool  string
	not   []catalog.VolumeNo
	known map[catalog.VolumeNo]bool
	err   error // of the catalog
}

func (p *poolVolumes) has(no catalog.VolumeNo) bool {
	if is, ok := p.known[no]; ok {
		return is
	}
	v, err := p.tx.Volume(no)
	if err != nil && !stderrors.Is(err, catalog.ErrNotFound) {
		p.err = firstError(p.err, err)
	}
	is := err == nil && catalog.PoolName(v.Pool) == catalog.PoolName(p.pool) && !slices.Contains(p.not, no)
	if p.known == nil {
		p.known = map[catalog.VolumeNo]bool{}
	}
	p.known[no] = is
	return is
}

// Copied implements mover.Files: a copy is added to the record of a sliver that still has the
// version that was copied, and is not on that volume yet.
func (f files) Copied(id sliver.FileID, done []mover.Done) ([]bool, error) {
	fs := f.fs
	kept := make([]bool, len(done))
	ino, err := fs.get(id)
	if stderrors.Is(err, linux.ENOENT) {
		return kept, fs.wasted(done)
	}
	if err != nil {
		return nil, err
	}
	defer ino.release()
	if err := ino.copied(done, kept); err != nil {
		return nil, err
	}
	return kept, fs.cat.Sync()
}

func (ino *inode) copied(done []mover.Done, kept []bool) error {
	ino.mu.Lock()
	defer ino.mu.Unlock()
	changed := map[sliver.BmapNo]*catalog.Bmap{}
	dead := map[catalog.VolumeNo]int64{}
	for i, d := range done {
		b, j, err := ino.changeBmapLocked(changed, d.No)
		if err != nil {
			return err
		}
		r := &b.Slivers[j]
		has := slices.ContainsFunc(r.Copies, func(c catalog.Copy) bool { return c.Volume == d.Copy.Volume })
		if r.Dirty || len(r.Copies) == 0 || r.Version != d.Version || uint32(d.Len) < r.Len || has {
			countDead(dead, &catalog.SliverRec{Copies: []catalog.Copy{d.Copy}})
			continue
		}
		kept[i] = true
		r.Copies = append(slices.Clone(r.Copies), d.Copy)
		switch n := uint32(d.Len); {
		case n < r.ArchLen:
			// A truncate has cut it: what was cut off is not on the new volume, and of no use on the
			// others. All copies get the length and the checksum of this one.
			for c := range r.Copies {
				r.Copies[c].Pieces = cutPieces(r.Copies[c].Pieces, n, func(gone int64) { dead[r.Copies[c].Volume] += gone })
			}
			r.ArchLen, r.Sum, r.HasSum = n, d.Sum, true
		case n > r.ArchLen: // another copy was cut since this one was begun
			last := &r.Copies[len(r.Copies)-1]
			last.Pieces = cutPieces(last.Pieces, r.ArchLen, func(gone int64) { dead[last.Volume] += gone })
		case !r.HasSum:
			r.Sum, r.HasSum = d.Sum, true
		}
	}
	return ino.putBmapsLocked(changed, dead, false)
}

// changeBmapLocked returns a record of the file that may be changed, from changed, and the
// index of sliver n in it. ino.mu must be held.
func (ino *inode) changeBmapLocked(changed map[sliver.BmapNo]*catalog.Bmap, n sliver.No) (*catalog.Bmap, int, error) {
	no, i := n.Bmap()
	if b := changed[no]; b != nil {
		return b, i, nil
	}
	old, _, err := ino.bmapLocked(n)
	if err != nil {
		return nil, 0, err
	}
	b := *old
	changed[no] = &b
	return &b, i, nil
}

// putBmapsLocked commits records of the file and what is dead by it. With pending the file is to be archived again, or
// copied, from then on. ino.mu must be held.
func (ino *inode) putBmapsLocked(changed map[sliver.BmapNo]*catalog.Bmap, dead map[catalog.VolumeNo]int64, pending bool) error {
	err := ino.fs.cat.Update(func(tx *catalog.Tx) error {
		for no, b := range changed {
			if err := tx.PutBmap(ino.id, no, b); err != nil {
				return err
			}
		}
		return firstError(addDead(tx, dead), putPendingUnless(tx, ino.id, !pending))
	})
	if err != nil {
		return err
	}
	for no, b := range changed {
		ino.keepBmapLocked(no, b)
	}
	if pending {
		ino.fs.pending.addMissing([]sliver.FileID{ino.id})
	}
	return nil
}

// cutPieces returns the first n bytes of pieces, and tells how many bytes of the volume are left out.
func cutPieces(list []catalog.Piece, n uint32, gone func(int64)) []catalog.Piece {
	var out []catalog.Piece
	for _, p := range list {
		keep := min(p.Len, n)
		if !p.IsZeros() && keep < p.Len {
			gone(int64(p.Len - keep))
		}
		if n -= keep; keep > 0 {
			p.Len = keep
			out = append(out, p)
		}
	}
	return out
}

// wasted counts what was written for nothing as dead.
func (fs *FS) wasted(done []mover.Done) error {
	dead := map[catalog.VolumeNo]int64{}
	for _, d := range done {
		countDead(dead, &catalog.SliverRec{Copies: []catalog.Copy{d.Copy}})
	}
	return fs.cat.Update(func(tx *catalog.Tx) error { return addDead(tx, dead) })
}
