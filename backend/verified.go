package backend

import (
	"cmp"
	"fmt"
	"time"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
)

// passesOf returns the passes over the volumes, by barcode.
func (fs *FS) passesOf() map[string]catalog.Pass {
	passes := map[string]catalog.Pass{}
	err := fs.cat.View(func(tx *catalog.Tx) error {
		var all []catalog.Volume
		if err := tx.Volumes(func(v catalog.Volume) bool { all = append(all, v); return true }); err != nil {
			return err
		}
		for i := range all {
			p, err := passOf(tx, &all[i])
			if err != nil {
				return err
			}
			passes[all[i].Barcode] = p
		}
		return nil
	})
	if err != nil {
		fs.log.WithError(err).Warn("when volumes were verified could not be read from the catalog")
	}
	return passes
}

func shownTime(t catalog.Time) time.Time {
	if t == (catalog.Time{}) {
		return time.Time{}
	}
	return timeOf(t).UTC()
}

// verifiedSummary says when the copies of a file were verified, from the passes over their volumes.
type verifiedSummary struct {
	copies, bad int
	never       bool         // one of them was not
	since       catalog.Time // each of the others was at this time or later
	newest      sliver.Version
	passes      map[catalog.VolumeNo]catalog.Pass
}

// add counts the copies of one sliver.
func (s *verifiedSummary) add(fs *FS, tx *catalog.Tx, k sliver.Key, r *catalog.SliverRec) {
	if r.Dirty {
		return
	}
	s.newest = max(s.newest, r.Version)
	for i := range r.Copies {
		c := &r.Copies[i]
		pos, _, ok := c.Place()
		if !ok {
			continue
		}
		s.copies++
		if b, bad := fs.bad.get(c.Volume, k); bad && b.Version == r.Version {
			s.bad++
		}
		at := s.pass(tx, c.Volume).verified(pos)
		switch {
		case at == catalog.Time{}:
			s.never = true
		case s.since == catalog.Time{} || earlier(at, s.since):
			s.since = at
		}
	}
}

func (s *verifiedSummary) pass(tx *catalog.Tx, no catalog.VolumeNo) volumePass {
	if p, ok := s.passes[no]; ok {
		return volumePass(p)
	}
	var p catalog.Pass
	if v, err := tx.Volume(no); err == nil {
		p, _ = passOf(tx, &v) // of a record that cannot be read: never
	}
	if s.passes == nil {
		s.passes = map[catalog.VolumeNo]catalog.Pass{}
	}
	s.passes[no] = p
	return volumePass(p)
}

type volumePass catalog.Pass

// verified returns a time at which, or after which, the copy at a place was read; zero: it never was.
func (p volumePass) verified(at catalog.VolPos) catalog.Time {
	switch {
	case p.Begun != catalog.Time{} && at.Before(p.At):
		return p.Begun
	case at.Before(p.Through):
		return p.Verified
	}
	return catalog.Time{}
}

func earlier(a, b catalog.Time) bool {
	return cmp.Or(cmp.Compare(a.Sec, b.Sec), cmp.Compare(a.Nsec, b.Nsec)) < 0
}

// alone takes over that the file was verified by itself.
func (s *verifiedSummary) alone(v catalog.Verified) {
	if v.At == (catalog.Time{}) || s.newest > v.Version || uint64(s.copies) > v.Copies {
		return
	}
	if s.never || earlier(s.since, v.At) {
		s.never, s.since = false, v.At
	}
}

// String is the value of user.sliod.verified.
func (s *verifiedSummary) String() string {
	switch {
	case s.bad > 0:
		return fmt.Sprintf("failed: %d of %d copies of slivers are bad", s.bad, s.copies)
	case s.never || s.copies == 0:
		return "never"
	}
	return shownTime(s.since).Format(time.RFC3339)
}
