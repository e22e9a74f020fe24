package mover

import (
	"slices"
	"strings"
	"time"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// cutOff says whether not, of a cartridge that was about to be formatted, is what
// a format leaves that was cut off: nothing, or the volume's own VOL1 label and not
// all that follows it.
func cutOff(not *ltfs.NotLTFSError, v *volume) bool {
	return not != nil && (not.Blank || not.Unfinished && strings.HasPrefix(v.rec.Barcode, not.Serial))
}

// isOurs says whether all labels of the medium, which is not a whole LTFS volume, have v's
// UUID: then it is what a format leaves that was cut off, and not somebody else's
// damaged volume.
func (d *drive) isOurs(v *volume) bool {
	uuids, nothingElse, err := ltfs.LabelUUIDs(d.m.ctx, d.tape)
	return err == nil && nothingElse && len(uuids) > 0 &&
		!slices.ContainsFunc(uuids, func(u string) bool { return u != v.rec.UUID })
}

// reuse decides about an LTFS volume that the catalog calls scratch: one that was
// reclaimed, by its UUID, is formatted; an empty one is taken as it is, for
// example after a crash between format and catalog; anything else is foreign.
func (d *drive) reuse(v *volume, lv *ltfs.Volume) (*ltfs.Volume, error) {
	switch {
	case v.rec.UUID != "" && lv.UUID() == v.rec.UUID:
		return d.format(v)
	case v.rec.UUID == "" && isEmpty(lv):
		return lv, d.m.recordFormatted(d.tape, v, lv)
	}
	return nil, errors.WithMessagef(errForeign, "LTFS volume %s", lv.UUID())
}

func (d *drive) format(v *volume) (*ltfs.Volume, error) {
	d.m.log.WithField(fieldVolume, v.rec.Barcode).WithField(fieldDrive, d.tape.Serial()).Info("formatting a scratch volume")
	return d.m.formatIn(d.tape, v)
}

// formatIn makes the medium of v, which is loaded in t, an empty volume of ours.
func (m *Mover) formatIn(t tape.Drive, v *volume) (*ltfs.Volume, error) {
	if why := protection(t.Limits()); why != "" {
		return nil, &tape.Error{Op: "format", Volume: v.barcode(), Drive: t.Serial(), Kind: tape.WriteProtected, Err: errors.New(why)}
	}
	// The UUID is on record before the first byte is: if formatting is cut off, the
	// cartridge is known as ours.
	err := m.updateVolume(v, func(rec *catalog.Volume) { rec.State, rec.UUID, rec.Flags = catalog.VolScratch, newUUID(), 0 })
	if err != nil {
		return nil, err
	}
	if err := m.cat.Sync(); err != nil {
		return nil, err
	}
	if err := ltfs.Format(m.ctx, t, m.formatOptions(v)); err != nil {
		return nil, err
	}
	lv, err := ltfs.Mount(m.ctx, t, m.mountOptions())
	if err != nil {
		return nil, err
	}
	return lv, m.recordFormatted(t, v, lv)
}

// recordFormatted records a volume that is now ours, and syncs: its UUID must be known
// before the first byte of a file is on it.
func (m *Mover) recordFormatted(t tape.Drive, v *volume, lv *ltfs.Volume) error {
	now := time.Now()
	err := m.updateVolume(v, func(rec *catalog.Volume) {
		rec.State, rec.UUID, rec.Flags = catalog.VolAppend, lv.UUID(), 0
		rec.Capacity, rec.Used, rec.Dead = t.Limits().CapacityBytes, 0, 0
		rec.BlockSize, rec.Formatted = uint32(lv.BlockSize()), catalog.Time{Sec: now.Unix(), Nsec: uint32(now.Nanosecond())}
		rec.Generation, rec.EndOfData = lv.Generation(), posOf(lv.EndOfData())
	})
	if err != nil {
		return err
	}
	return m.cat.Sync()
}
