package mover

import (
	"context"
	"slices"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/tape"
)

// WriteLackingIndexes brings indexes up to date that lack what the catalog has, of volumes that no drive has: the server
// or a drive stopped before they were written. It would be done at the next mount anyway, but that may never come, as
// the cache may have what is on the volume; and until then a catalog that is lost is lost with it. It waits for
// drives that have nothing else to do. Where it does not work, as on a protected volume, nobody gains by more: each
// volume is tried once a run.
func (m *Mover) WriteLackingIndexes(ctx context.Context) {
	for _, b := range m.unindexed() {
		if err := m.UseVolume(ctx, b, UseOptions{Background: true}, indexHere); err != nil && ctx.Err() == nil {
			m.log.WithField(fieldVolume, b).WithError(err).Warn("the index of the volume lacks something, and could not be brought up to date yet")
		}
	}
}

// indexHere writes the index of a volume that a drive has, if it lacks something. No error: it lacks nothing.
func indexHere(_ context.Context, s *Session) error {
	switch {
	case s.MountErr != nil:
		return errors.WithMessagef(s.MountErr, "volume %s", s.Volume.Barcode)
	case !s.d.dirtyAt.IsZero():
		return s.d.writeIndex()
	case s.Volume.Flags&catalog.VolUnindexed != 0:
		// It was brought up to date when it was mounted, if that could be.
		return errors.Errorf("the index of volume %s lacks what was written last, and cannot be written: the volume is %v, or protected; "+
			"make it writable (`sliod volumes set`), or empty it (`sliod reclaim`)", s.Volume.Barcode, s.Volume.State)
	}
	return nil
}

// unindexed returns the volumes whose index lacks something, and that no drive has, but for those that it has
// returned before.
func (m *Mover) unindexed() (list []tape.Barcode) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.volumes {
		rec := v.rec()
		usable := rec.State == catalog.VolAppend || rec.State == catalog.VolFull || rec.State == catalog.VolSuspect && !v.indexTried
		if rec.Flags&catalog.VolUnindexed != 0 && usable && !v.askedForIndex && !v.claimed() && !v.away && !v.leaving {
			v.askedForIndex = true
			list = append(list, v.barcode())
		}
	}
	slices.Sort(list)
	return list
}
