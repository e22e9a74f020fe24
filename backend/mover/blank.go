package mover

import (
	stderrors "errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// isBlank says whether a mount ended in err as there is nothing on the medium.
func isBlank(err error) bool {
	var not *ltfs.NotLTFSError
	return stderrors.As(err, &not) && not.Blank
}

// cutOff says whether not, of a cartridge that was about to be formatted, is what
// a format leaves that was cut off: nothing, or the volume's own VOL1 label and not
// all that follows it.
func cutOff(not *ltfs.NotLTFSError, v *volume) bool {
	return not.Blank || not.Unfinished && strings.HasPrefix(v.rec().Barcode, not.Serial)
}

// again says whether v, whose mount ended in err, is to be formatted once more, as that was cut off.
func (d *drive) again(v *volume, err error) (bool, error) {
	if rec := v.rec(); rec.State != catalog.VolScratch || rec.UUID == "" {
		return false, nil
	}
	if stderrors.Is(err, ltfs.ErrInconsistent) || keyTrouble(err) {
		return d.isOurs(v)
	}
	var not *ltfs.NotLTFSError
	return stderrors.As(err, &not) && cutOff(not, v), nil
}

// isOurs says whether all labels of the medium, which is not a whole LTFS volume or one whose key is gone, have v's
// UUID, and there is nothing behind them: then it is what a format leaves that was cut off, and not somebody else's
// damaged volume.
func (d *drive) isOurs(v *volume) (bool, error) {
	uuids, nothingElse, err := ltfs.LabelUUIDs(d.m.ctx, d.tape)
	if err != nil && (d.m.ctx.Err() != nil || d.blameFor(err) != blameVolume) {
		return false, err // of the drive: nothing is known of the volume
	}
	return err == nil && nothingElse && len(uuids) > 0 &&
		!slices.ContainsFunc(uuids, func(u string) bool { return u != v.rec().UUID }), nil
}

// justFormatted says whether a volume is what a format leaves that was cut off behind the
// first index: else the catalog is from before it was used, brought back from a copy.
func justFormatted(lv *ltfs.Volume) bool {
	rep := lv.Repair()
	return lv.Generation() <= 1 && lv.Index().Files() == 0 && lv.Index().Dirs() <= 1 && (rep == nil || rep.From == rep.To)
}

// reuse decides about an LTFS volume that the catalog calls scratch: one whose format was
// cut off, by its UUID, is formatted, and so is one that was reclaimed, if the catalog knows of all that is
// on it; an empty one is taken as it is, for
// example after a crash between format and catalog; anything else is foreign.
func (d *drive) reuse(v *volume, lv *ltfs.Volume) (*ltfs.Volume, error) {
	rec := v.rec()
	other, err := d.m.otherArchive(lv.Index())
	switch {
	case err != nil:
		return nil, err
	case other != "":
		return nil, errors.WithMessagef(errForeign, "LTFS volume %s of another archive, %s", lv.UUID(), other)
	case rec.UUID != "" && lv.UUID() == rec.UUID && justFormatted(lv):
		return d.format(v, lv)
	case lv.UUID() == rec.UUID && dataNamed(lv, rec.EndOfData.Block) == rec.EndOfData.Block && rec.Generation+1 >= lv.Generation():
		gone, err := d.m.letGo(rec, lv)
		if err != nil {
			return nil, err
		}
		return d.m.formatIn(d.tape, v, gone)
	case rec.UUID == "" && isEmpty(lv):
		return lv, d.m.recordFormatted(d.tape, v, lv)
	case lv.Index().Archive() != "":
		return nil, errors.WithMessagef(errForeign, "LTFS volume %s of this archive, which its catalog does not know: a rebuild with all volumes takes it in", lv.UUID())
	}
	return nil, errors.WithMessagef(errForeign, "LTFS volume %s", lv.UUID())
}

// keepNeeded sees to it that v is not formatted if the catalog calls it scratch and names data on it all the same. That
// is never so, unless there is a mistake in what made it scratch: then nothing may come of that but
// a volume that is not written.
func (m *Mover) keepNeeded(v *volume) error {
	rec := v.rec()
	if rec.State != catalog.VolScratch || rec.UUID == "" {
		return nil
	}
	n, err := m.FilesOn(rec.No)
	if err == nil && n > 0 {
		m.setState(v, catalog.VolFull, fmt.Sprintf("it was scratch, though it has data of %d files", n))
	}
	return err
}

func (d *drive) format(v *volume, old *ltfs.Volume) (*ltfs.Volume, error) {
	d.m.log.WithField(fieldVolume, v.rec().Barcode).WithField(fieldDrive, d.tape.Serial()).Info("formatting a scratch volume")
	gone, err := d.m.letGo(v.rec(), old)
	if err != nil {
		return nil, err
	}
	d.m.mu.Lock()
	d.formatted = true
	d.m.mu.Unlock()
	begun := time.Now()
	lv, err := d.m.formatIn(d.tape, v, gone)
	if err == nil {
		d.m.mu.Lock()
		d.m.est.learned.format.add(time.Since(begun), 1, keepOther)
		d.m.mu.Unlock()
	}
	return lv, err
}

// formatIn makes the medium of v, which is loaded in t, an empty volume of ours, whose index
// names the files in gone as removed.
func (m *Mover) formatIn(t tape.Drive, v *volume, gone []ltfs.FileIDRun) (*ltfs.Volume, error) {
	if why := protection(t.Limits()); why != "" {
		return nil, &tape.Error{Op: "format", Volume: v.barcode(), Drive: t.Serial(), Kind: tape.WriteProtected, Err: errors.New(why)}
	}
	// Formatting may be cut off anywhere, and again and again. Its UUID goes on record between the old medium's
	// end and the first byte of the new one: before that the medium is still what the record says, or blank, and
	// after it what is there has this UUID.
	err := m.cat.Update(func(tx *catalog.Tx) error { return unlist(tx, v, gone) })
	if err == nil {
		err = m.updateOnDisk(v, func(rec *catalog.Volume) { rec.State = catalog.VolScratch })
	}
	if err != nil {
		return nil, err
	}
	all, noted, err := m.unlisted()
	if err != nil {
		return nil, err
	}
	o := m.formatOptions(v)
	o.Erased = func() error {
		return m.updateOnDisk(v, func(rec *catalog.Volume) {
			rec.UUID, rec.Flags = o.UUID, rec.Flags&catalog.VolTaken
			rec.Generation, rec.EndOfData = 0, catalog.VolPos{}
		})
	}
	if o.Root, err = m.firstRoot(all); err != nil {
		return nil, err
	}
	if err := ltfs.Format(m.ctx, t, o); err != nil {
		return nil, err
	}
	lv, err := ltfs.Mount(m.ctx, t, m.mountOptions(v.rec().Pool))
	if err != nil {
		return nil, err
	}
	if err := m.recordFormatted(t, v, lv); err != nil {
		return nil, err
	}
	return lv, m.listed(noted)
}

// recordFormatted records a volume that is now ours, and syncs: its UUID must be known
// before the first byte of a file is on it.
func (m *Mover) recordFormatted(t tape.Drive, v *volume, lv *ltfs.Volume) error {
	now := time.Now()
	return m.updateOnDisk(v, func(rec *catalog.Volume) {
		rec.State, rec.UUID, rec.Flags, rec.KeyID = catalog.VolAppend, lv.UUID(), rec.Flags&catalog.VolTaken, lv.KeyID()
		rec.Capacity, rec.Used, rec.Dead, rec.ReadErrors = t.Limits().CapacityBytes, 0, 0, 0
		rec.BlockSize, rec.Formatted = uint32(lv.BlockSize()), catalog.Time{Sec: now.Unix(), Nsec: uint32(now.Nanosecond())}
		rec.Generation, rec.EndOfData = lv.Generation(), posOf(lv.EndOfData())
	})
}

// updateOnDisk is updateVolume; the record is on disk when it returns.
func (m *Mover) updateOnDisk(v *volume, change func(*catalog.Volume)) error {
	if err := m.updateVolume(v, change); err != nil {
		return err
	}
	return m.cat.Sync()
}
