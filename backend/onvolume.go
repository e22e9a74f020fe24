package backend

import (
	"cmp"
	"context"
	"slices"

	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/backend/sliver"
)

// copyWindow is how many copies are held in memory at a time, of all that are on a volume: some
// 40 bytes each. For each window the catalog's bmaps are read once.
const copyWindow = 1 << 18

// copyBatch is how many copies are given to the mover at a time.
const copyBatch = 1024

// place is where a copy begins on its volume.
type place struct {
	catalog.VolPos
	offset uint32
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.Partition, q.Partition), cmp.Compare(p.Block, q.Block), cmp.Compare(p.offset, q.offset))
}

// copyAt is a sliver that has a copy on a volume that is known.
type copyAt struct {
	key sliver.Key
	at  place
}

// copiesOn returns the copies on volume no that lie at from or behind it, the first limit of them in the
// order of the tape, and how many bytes all of them are. What is nowhere on the volume (zeros, content of
// other volumes) is left out, and so is what was overwritten.
func (fs *FS) copiesOn(ctx context.Context, no catalog.VolumeNo, from place, limit int) (list []copyAt, bytes int64, err error) {
	cut := func() {
		slices.SortFunc(list, func(a, b copyAt) int { return a.at.compare(b.at) })
		list = list[:min(len(list), limit)]
	}
	err = fs.cat.View(func(tx *catalog.Tx) error {
		return tx.AllBmaps(func(id sliver.FileID, bm sliver.BmapNo, b *catalog.Bmap) bool {
			for i := range b.Slivers {
				r := &b.Slivers[i]
				c := copyOn(r, no)
				if c == nil {
					continue
				}
				pos, offset, _ := c.Place()
				at := place{pos, offset}
				if at.compare(from) < 0 {
					continue
				}
				bytes += int64(r.ArchLen)
				list = append(list, copyAt{sliver.Key{File: id, No: bm.First() + sliver.No(i)}, at})
			}
			if len(list) > 2*limit {
				cut()
			}
			return ctx.Err() == nil
		})
	})
	cut()
	if err == nil {
		err = ctx.Err()
	}
	return list, bytes, err
}

// copyOn returns the copy of a sliver on a volume; nil if there is nothing to read there.
func copyOn(r *catalog.SliverRec, no catalog.VolumeNo) *catalog.Copy {
	if r.Dirty {
		return nil
	}
	for i := range r.Copies {
		c := &r.Copies[i]
		if _, _, ok := c.Place(); ok && c.Volume == no {
			return c
		}
	}
	return nil
}

// checksOf looks up copies on a volume in the catalog as it is now. Those that are of no use any longer
// are left out.
func (fs *FS) checksOf(no catalog.VolumeNo, list []copyAt) (checks []mover.Check, err error) {
	err = fs.cat.View(func(tx *catalog.Tx) error {
		var b *catalog.Bmap
		var file sliver.FileID
		var have sliver.BmapNo
		for _, x := range list {
			bm, i := x.key.No.Bmap()
			if b == nil || file != x.key.File || have != bm {
				var err error
				if b, err = tx.Bmap(x.key.File, bm); err != nil {
					return err
				}
				file, have = x.key.File, bm
			}
			r := &b.Slivers[i]
			c := copyOn(r, no)
			if c == nil {
				continue
			}
			if pos, offset, _ := c.Place(); x.at != (place{pos, offset}) {
				continue
			}
			checks = append(checks, mover.Check{Key: x.key, Copy: *c, Located: mover.Located{Copies: r.Copies,
				ArchLen: int(r.ArchLen), ValidLen: int(r.Len), Sum: r.Sum, HasSum: r.HasSum, Version: r.Version}})
		}
		return nil
	})
	return checks, err
}
