package backend

import (
	"context"
	stderrors "errors"
	"math"
	"slices"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/cache"
	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/backend/sliver"
	"sliod/tape"
)

// moveOff takes copies off a volume: each sliver gets a copy on another volume of the pool, that is read
// back from the tape and compared, and only then the copy on the volume leaves the record. A
// crash between any two of these leaves a copy too many, never one too few.
type moveOff struct {
	fs  *FS
	vol catalog.Volume
	// moved is called for each sliver that is off the volume, with its archived bytes.
	moved func(k sliver.Key, bytes int64)
	// failed is called for each that could not be moved.
	failed func(k sliver.Key, err error)
	// wrote is called with the volumes that are about to get copies, before the copies on vol leave the record.
	wrote func(on []catalog.VolumeNo) error
}

// move is one sliver on its way.
type move struct {
	c      mover.Check
	before []catalog.VolumeNo // volumes with copies that do not count: those it had when it began, and that which it is to leave
	need   int                // on how many volumes of the pool it is to be, without that one; 0: it is on enough
	good   catalog.VolumeNo   // that has a copy that counts, which was read back; 0: none
	over   bool               // it was written or removed meanwhile
}

// run moves some slivers, which must fit in the cache together. An error says that
// nothing goes any more; those that could not be moved for themselves are told to failed.
func (mo *moveOff) run(ctx context.Context, list []copyAt) error {
	fs := mo.fs
	moves, err := mo.plan(list)
	if err != nil || len(moves) == 0 {
		return err
	}
	keys := make([]sliver.Key, 0, len(moves))
	for _, c := range list { // in the order of the tape
		if m := moves[c.key]; m != nil && m.need > 0 {
			keys = append(keys, c.key)
		}
	}
	h, err := fs.hold(ctx, keys, func(k sliver.Key, err error) {
		mo.failed(k, err)
		delete(moves, k)
	})
	if err != nil {
		return err
	}
	defer h.release()
	noRoom := mo.copy(ctx, moves)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := mo.readBack(ctx, moves); err != nil {
		return err
	}
	if err := mo.drop(moves); err != nil {
		return err
	}
	return noRoom
}

// plan looks the slivers up. One that is on as many other volumes of the pool as its rule wants, as after a crash
// between two steps, gets no further copy: one of those it has is read back.
func (mo *moveOff) plan(list []copyAt) (map[sliver.Key]*move, error) {
	checks, err := mo.fs.checksOf(mo.vol.No, list)
	if err != nil {
		return nil, err
	}
	moves := make(map[sliver.Key]*move, len(checks))
	err = mo.fs.cat.View(func(tx *catalog.Tx) error {
		pool := poolVolumes{tx: tx, pool: mo.vol.Pool, not: []catalog.VolumeNo{mo.vol.No}}
		for _, c := range checks {
			m := &move{c: c, need: 1}
			for _, x := range c.Copies {
				m.before = append(m.before, x.Volume)
				if !isElsewhere(x) && pool.has(x.Volume) {
					m.need++
				}
			}
			moves[c.Key] = m
		}
		return pool.err
	})
	if err != nil {
		return nil, err
	}
	for k := range moves {
		written, err := mo.fs.noteWritten(k)
		if err != nil {
			return nil, err
		}
		if written {
			delete(moves, k)
		}
	}
	wanted := map[sliver.FileID]int{}
	for k, m := range moves {
		if m.need == 1 {
			continue // it is on no other volume of the pool
		}
		n, known := wanted[k.File]
		if !known {
			n = mo.wanted(k.File)
			wanted[k.File] = n
		}
		if m.need > n {
			m.need, m.before = 0, []catalog.VolumeNo{mo.vol.No}
		}
	}
	return moves, nil
}

// noteWritten says whether a sliver has been written since it was archived. Then the catalog knows that, too: it names no
// copy of it any longer.
func (fs *FS) noteWritten(k sliver.Key) (bool, error) {
	if s := fs.cache.State(k, cache.Behind{State: sliver.Absent}); s != sliver.Dirty && s != sliver.Archiving {
		return false, nil
	}
	ino, err := fs.get(k.File)
	if stderrors.Is(err, linux.ENOENT) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer ino.release()
	return true, ino.sync()
}

// wanted returns on how many volumes of the pool a file is to be by its rule, at least 1.
func (mo *moveOff) wanted(id sliver.FileID) int {
	v, err := mo.fs.verdict(id)
	if err != nil {
		return math.MaxInt // nobody knows: as many as it has
	}
	_, n := v.ByPool()
	return max(1, n[catalog.PoolName(mo.vol.Pool)])
}

// copy has the slivers copied from the cache. It returns why files were not copied, if something else than that
// some of them is not in the cache: the rest of a file may lie in another window.
func (mo *moveOff) copy(ctx context.Context, moves map[sliver.Key]*move) error {
	byNeed := map[int]map[sliver.FileID]bool{}
	for k, m := range moves {
		if m.need == 0 {
			continue
		}
		if byNeed[m.need] == nil {
			byNeed[m.need] = map[sliver.FileID]bool{}
		}
		byNeed[m.need][k.File] = true
	}
	n := 0
	ended := make(chan error, len(moves))
	for need, files := range byNeed {
		ids := make([]sliver.FileID, 0, len(files))
		for id := range files {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		n += len(ids)
		mo.fs.mover.Copy(ids, mover.CopyOptions{Pool: mo.vol.Pool, Copies: need, Not: []catalog.VolumeNo{mo.vol.No}},
			func(_ sliver.FileID, err error) { ended <- err })
	}
	var first error
	for range n {
		select {
		case err := <-ended:
			if err != nil && !stderrors.Is(err, mover.ErrNotResident) && first == nil {
				first = err
			}
		case <-ctx.Done():
			return nil // the caller looks
		}
	}
	return first
}

// readBack reads the new copies from the tape.
func (mo *moveOff) readBack(ctx context.Context, moves map[sliver.Key]*move) error {
	fs := mo.fs
	byVolume := map[catalog.VolumeNo][]copyAt{}
	err := fs.cat.View(func(tx *catalog.Tx) error {
		// A copy that somebody makes in another pool meanwhile is no substitute.
		pool := poolVolumes{tx: tx, pool: mo.vol.Pool, not: []catalog.VolumeNo{mo.vol.No}}
		for k, m := range moves {
			bm, i := k.No.Bmap()
			b, err := tx.Bmap(k.File, bm)
			if err != nil {
				return err
			}
			r := &b.Slivers[i]
			if r.Dirty || r.Version != m.c.Version {
				m.over = true // its copies are of no use
				continue
			}
			for j := range r.Copies {
				c := &r.Copies[j]
				if pos, offset, ok := c.Place(); ok && !slices.Contains(m.before, c.Volume) && pool.has(c.Volume) {
					byVolume[c.Volume] = append(byVolume[c.Volume], copyAt{k, place{pos, offset}})
				}
			}
		}
		return pool.err
	})
	if err != nil {
		return err
	}
	var on []catalog.VolumeNo
	for no := range byVolume {
		on = append(on, no)
	}
	if mo.wrote != nil && len(on) > 0 {
		if err := mo.wrote(on); err != nil {
			return err
		}
	}
	for no, list := range byVolume {
		slices.SortFunc(list, func(a, b copyAt) int { return a.at.compare(b.at) })
		checks, err := fs.checksOf(no, list)
		if err != nil {
			return err
		}
		var v catalog.Volume
		if err := fs.cat.View(func(tx *catalog.Tx) (err error) { v, err = tx.Volume(no); return err }); err != nil {
			return err
		}
		err = fs.mover.Verify(ctx, tape.Barcode(v.Barcode), v.UUID, checks, func(c *mover.Check, bad error) error {
			if err := fs.verified(c, bad); err != nil {
				return err
			}
			if bad == nil {
				moves[c.Key].good = no
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// drop takes the copies on the volume out of the records of the slivers that have a good new one.
func (mo *moveOff) drop(moves map[sliver.Key]*move) error {
	byFile := map[sliver.FileID][]*move{}
	for k, m := range moves {
		switch {
		case m.over:
		case m.good != 0:
			byFile[k.File] = append(byFile[k.File], m)
		default:
			written, err := mo.fs.noteWritten(k)
			if err == nil && !written {
				err = errNotMoved
			}
			if err != nil {
				mo.failed(k, err)
			}
		}
	}
	for id, list := range byFile {
		if err := mo.dropOf(id, list); err != nil {
			return err
		}
	}
	return mo.fs.cat.Sync()
}

var errNotMoved = stderrors.New("it got no good copy on another volume")

// dropOf is drop for one file.
func (mo *moveOff) dropOf(id sliver.FileID, list []*move) error {
	ino, err := mo.fs.get(id)
	if stderrors.Is(err, linux.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer ino.release()
	wanted := mo.wanted(id)
	ino.mu.Lock()
	defer ino.mu.Unlock()
	changed := map[sliver.BmapNo]*catalog.Bmap{}
	dead := map[catalog.VolumeNo]int64{}
	var were [][]catalog.Copy
	off := list[:0]
	for _, m := range list {
		b, i, err := ino.changeBmapLocked(changed, m.c.Key.No)
		if err != nil {
			return err
		}
		r := &b.Slivers[i]
		has := func(no catalog.VolumeNo) bool {
			return slices.ContainsFunc(r.Copies, func(c catalog.Copy) bool { return c.Volume == no && !isElsewhere(c) })
		}
		if r.Dirty || r.Version != m.c.Version || !has(mo.vol.No) || !has(m.good) {
			continue // written meanwhile, or somebody else was faster
		}
		were = append(were, r.Copies)
		r.Copies = slices.DeleteFunc(slices.Clone(r.Copies), func(c catalog.Copy) bool {
			if c.Volume != mo.vol.No {
				return false
			}
			countDead(dead, &catalog.SliverRec{Copies: []catalog.Copy{c}})
			return true
		})
		off = append(off, m)
	}
	short, err := mo.makesShort(were, wanted)
	if err != nil {
		return err
	}
	if err := ino.putBmapsLocked(changed, dead, short); err != nil {
		return err
	}
	for _, m := range off {
		mo.moved(m.c.Key, int64(m.c.ArchLen))
	}
	return nil
}

// makesShort says whether one of the slivers, of which the copies were those, is on fewer volumes of the pool than its
// rule wants when that on mo.vol has left the record, and was not before. What was counted when the move began has changed
// meanwhile then: the copy that takes this one's place is one that somebody else has made, or takes the place of
// another one, too. The file has to get another copy.
func (mo *moveOff) makesShort(were [][]catalog.Copy, wanted int) (short bool, err error) {
	err = mo.fs.cat.View(func(tx *catalog.Tx) error {
		pool := poolVolumes{tx: tx, pool: mo.vol.Pool}
		for _, copies := range were {
			on := 0
			for _, c := range copies {
				if !isElsewhere(c) && pool.has(c.Volume) {
					on++
				}
			}
			short = short || on == wanted
		}
		return pool.err
	})
	return short, err
}
