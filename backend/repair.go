package backend

import (
	"context"
	"slices"
	"time"

	"sliod/backend/cache"
	"sliod/backend/catalog"
	"sliod/backend/sliver"
)

// repairAgain is when it is tried again with a volume of which some could not be replaced.
const repairAgain = 10 * time.Minute

// repairer gives slivers that have a bad copy a new one.
type repairer struct {
	fs    *FS
	again map[catalog.VolumeNo]time.Time // not before
}

// look gives every sliver that has a bad copy a new one, if it can: from another copy, or from what is
// in the cache. The bad copy leaves the record when the new one is committed and was read back.
func (r *repairer) look(ctx context.Context, now time.Time) {
	fs := r.fs
	if err := fs.forgetBad(); err != nil {
		fs.log.WithError(err).Warn("which bad copies are of no use any longer could not be found out")
		return
	}
	byVolume := map[catalog.VolumeNo][]copyAt{}
	for _, b := range fs.bad.all() {
		if now.Before(r.again[b.Volume]) {
			continue
		}
		if at, ok, err := fs.repairable(&b); err != nil {
			fs.log.WithError(err).Warn("a bad copy could not be looked up")
			return
		} else if ok {
			byVolume[b.Volume] = append(byVolume[b.Volume], copyAt{b.Key, at})
		}
	}
	for no, list := range byVolume {
		v, err := fs.volumeNo(no)
		if err != nil || v.Flags&catalog.VolImported != 0 || ctx.Err() != nil {
			continue
		}
		if !fs.replace(ctx, v, list) {
			if r.again == nil {
				r.again = map[catalog.VolumeNo]time.Time{}
			}
			r.again[no] = now.Add(repairAgain)
		}
	}
	if err := fs.forgetBad(); err != nil {
		fs.log.WithError(err).Warn("which bad copies are of no use any longer could not be found out")
	}
}

// replace gives slivers new copies in place of the bad ones on v, and says whether all got one.
func (fs *FS) replace(ctx context.Context, v catalog.Volume, list []copyAt) bool {
	all := true
	log := fs.log.WithField("volume", v.Barcode)
	slices.SortFunc(list, func(a, b copyAt) int { return a.at.compare(b.at) })
	mo := &moveOff{fs: fs, vol: v, moved: func(k sliver.Key, _ int64) {
		log.WithField("file", k.File).Infof("sliver %d has a new copy in place of the bad one", k.No)
	}, failed: func(k sliver.Key, err error) {
		all = false
		log.WithField("file", k.File).WithError(err).Warnf("sliver %d got no new copy in place of the bad one; that is tried again", k.No)
	}}
	window := max(1, int(float64(fs.cache.Stats().SizeBytes)*reclaimShare/sliver.Size))
	for chunk := range slices.Chunk(list, window) {
		if err := mo.run(ctx, chunk); err != nil {
			if ctx.Err() == nil {
				log.WithError(err).Warn("bad copies could not be replaced; that is tried again")
			}
			return false
		}
	}
	return all
}

// repairable says where the bad copy lies, and whether the content can be had elsewhere: from a copy that is not bad, or from the
// cache.
func (fs *FS) repairable(b *catalog.Bad) (at place, ok bool, err error) {
	err = fs.cat.View(func(tx *catalog.Tx) error {
		bm, i := b.Key.No.Bmap()
		m, err := tx.Bmap(b.Key.File, bm)
		if err != nil {
			return err
		}
		r := &m.Slivers[i]
		c := copyOn(r, b.Volume)
		if c == nil || r.Version != b.Version {
			return nil
		}
		pos, offset, _ := c.Place()
		at = place{pos, offset}
		ok = slices.ContainsFunc(r.Copies, func(o catalog.Copy) bool {
			_, bad := fs.bad.get(o.Volume, b.Key)
			return o.Volume != b.Volume && !bad && !isElsewhere(o)
		})
		return nil
	})
	if err == nil && !ok {
		ok = fs.resident(b.Key)
	}
	return at, ok, err
}

// resident says whether a sliver's archived content is in the cache.
func (fs *FS) resident(k sliver.Key) bool {
	return fs.cache.State(k, cache.Behind{State: sliver.Absent}) == sliver.Clean
}
