package backend

import (
	"sync"

	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/backend/sliver"
)

// badCopies are the copies that could not be read, or are not what was written, as the catalog has
// them. Its lock is a leaf.
type badCopies struct {
	mu sync.Mutex
	m  map[catalog.VolumeNo]map[sliver.Key]catalog.Bad
}

func (b *badCopies) put(x catalog.Bad) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m == nil {
		b.m = make(map[catalog.VolumeNo]map[sliver.Key]catalog.Bad)
	}
	if b.m[x.Volume] == nil {
		b.m[x.Volume] = make(map[sliver.Key]catalog.Bad)
	}
	b.m[x.Volume][x.Key] = x
}

func (b *badCopies) remove(no catalog.VolumeNo, k sliver.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if delete(b.m[no], k); len(b.m[no]) == 0 {
		delete(b.m, no)
	}
}

func (b *badCopies) get(no catalog.VolumeNo, k sliver.Key) (catalog.Bad, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x, ok := b.m[no][k]
	return x, ok
}

func (b *badCopies) count(no catalog.VolumeNo) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.m[no])
}

func (b *badCopies) all() (list []catalog.Bad) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.m {
		for _, x := range m {
			list = append(list, x)
		}
	}
	return list
}

// loadBad reads the bad copies at start.
func (fs *FS) loadBad() error {
	return fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Bads(func(b catalog.Bad) bool {
			fs.bad.put(b)
			return true
		})
	})
}

// markBad notes that a copy is bad, unless it is of no use any longer. It says whether it was noted.
func (fs *FS) markBad(no catalog.VolumeNo, k sliver.Key, v sliver.Version, why error) (bool, error) {
	b := catalog.Bad{Volume: no, Key: k, Version: v, Found: fs.now(), Why: why.Error()}
	current := false
	err := fs.cat.Update(func(tx *catalog.Tx) error {
		var err error
		if current, err = isCurrent(tx, &b); err != nil || !current {
			return err
		}
		return tx.PutBad(&b)
	})
	if err == nil && current {
		fs.bad.put(b)
	}
	return current, err
}

// isCurrent says whether the catalog still names the copy that b is about.
func isCurrent(tx *catalog.Tx, b *catalog.Bad) (bool, error) {
	bm, i := b.Key.No.Bmap()
	m, err := tx.Bmap(b.Key.File, bm)
	if err != nil {
		return false, err
	}
	r := &m.Slivers[i]
	return copyOn(r, b.Volume) != nil && r.Version == b.Version, nil
}

// unmarkBad forgets that a copy was bad: it could be read.
func (fs *FS) unmarkBad(no catalog.VolumeNo, k sliver.Key) error {
	if _, marked := fs.bad.get(no, k); !marked {
		return nil
	}
	err := fs.cat.Update(func(tx *catalog.Tx) error { return tx.DeleteBad(no, k) })
	if err == nil {
		fs.bad.remove(no, k)
	}
	return err
}

// forgetBad drops the notes about copies that are of no use any longer.
func (fs *FS) forgetBad() error {
	for _, b := range fs.bad.all() {
		gone := false
		err := fs.cat.Update(func(tx *catalog.Tx) error {
			current, err := isCurrent(tx, &b)
			if gone = err == nil && !current; !gone {
				return err
			}
			return tx.DeleteBad(b.Volume, b.Key)
		})
		if err != nil {
			return err
		}
		if gone {
			fs.bad.remove(b.Volume, b.Key)
		}
	}
	return nil
}

// verified notes what came of verifying a copy.
func (fs *FS) verified(c *mover.Check, bad error) error {
	if bad == nil {
		return fs.unmarkBad(c.Copy.Volume, c.Key)
	}
	_, err := fs.markBad(c.Copy.Volume, c.Key, c.Version, bad)
	return err
}

// Bad implements mover.Files.
func (f files) Bad(k sliver.Key, v sliver.Version, on catalog.VolumeNo, why error) {
	if _, err := f.fs.markBad(on, k, v, why); err != nil {
		f.fs.log.WithField("file", k.File).WithError(err).Warnf("that a copy of sliver %d is bad could not be recorded", k.No)
	}
}

// badOf returns the volumes whose copy of a sliver is bad.
func (fs *FS) badOf(k sliver.Key, r *catalog.SliverRec) (on []catalog.VolumeNo) {
	for _, c := range r.Copies {
		if b, bad := fs.bad.get(c.Volume, k); bad && b.Version == r.Version {
			on = append(on, c.Volume)
		}
	}
	return on
}
