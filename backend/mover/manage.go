package mover

import (
	"context"
	stderrors "errors"
	"fmt"
	"slices"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// FormatVolume makes volume b an empty volume of this archive. A cartridge that is blank,
// or that is an empty LTFS volume, is formatted freely, anything else only with force.
// A volume that has data of this archive is never formatted, and neither is one that cannot
// be written.
func (m *Mover) FormatVolume(ctx context.Context, b tape.Barcode, force bool) error {
	return m.UseVolume(ctx, b, UseOptions{Raw: true, Write: true}, func(ctx context.Context, s *Session) error {
		held, err := m.FilesOn(s.Volume.No)
		switch {
		case err != nil:
			return err
		case held > 0:
			return errors.Errorf("volume %s holds data of %d files of this archive and is not formatted, not even by force: "+
				"remove these files, or write them anew so that they are archived elsewhere", b, held)
		}
		limits := s.Drive.Limits()
		if limits.Cleaning {
			return errors.Errorf("%s is a cleaning cartridge", b)
		}
		if why := protection(limits); why != "" {
			return errors.Errorf("volume %s is not formatted: %s", b, why)
		}
		found, old, err := m.holds(ctx, s)
		if err != nil {
			return err
		}
		if err := m.notAnothers(ctx, s, old); err != nil {
			return err
		}
		if found != "" && !force {
			return errors.Errorf("volume %s is not formatted: it holds %s; to lose that, use --force", b, found)
		}
		m.mu.Lock()
		v, err := m.knownLocked(b)
		m.mu.Unlock()
		if err != nil {
			return err
		}
		gone, err := m.letGo(&s.Volume, old)
		if err != nil {
			return err
		}
		if _, err := m.formatIn(s.Drive, v, gone); err != nil {
			return err
		}
		m.mu.Lock()
		v.because = ""
		for _, d := range m.drives {
			delete(d.strikes, v.rec().No)
			delete(d.blamed, v.rec().No)
		}
		m.mu.Unlock()
		return nil
	})
}

// FilesOn counts the files that have a sliver on a volume.
func (m *Mover) FilesOn(no catalog.VolumeNo) (n int64, err error) {
	err = m.files.OnVolume(no, func(sliver.FileID) bool { n++; return true })
	return n, err
}

// holds says what the cartridge of s holds that a format would lose, "" if nothing, and
// returns its LTFS volume, if it has one.
func (m *Mover) holds(ctx context.Context, s *Session) (string, *ltfs.Volume, error) {
	lv, err := ltfs.Mount(ctx, s.Drive, m.mountOptions(s.Volume.Pool))
	var not *ltfs.NotLTFSError
	switch {
	case err == nil:
		other, err := m.otherArchive(lv.Index())
		switch {
		case err != nil:
			return "", nil, err
		case other == "" && (isEmpty(lv) || justFormatted(lv)):
			return "", lv, nil
		}
		what := fmt.Sprintf("LTFS volume %s with %d files and %d directories", lv.UUID(), lv.Index().Files(), lv.Index().Dirs())
		switch {
		case other != "":
			what += " of another archive, " + other
		case lv.UUID() != s.Volume.UUID && lv.Index().Archive() != "":
			what += " of this archive, which the catalog does not know: a rebuild went without it"
		}
		return what, lv, nil
	case stderrors.As(err, &not):
		if not.Blank || not.Unfinished {
			return "", nil, nil
		}
		return not.Found, nil, nil
	case ctx.Err() != nil || blameFor(err) != blameVolume:
		return "", nil, err
	}
	uuids, nothingElse, lerr := ltfs.LabelUUIDs(ctx, s.Drive)
	switch {
	case lerr != nil && (ctx.Err() != nil || blameFor(lerr) != blameVolume):
		return "", nil, lerr
	case lerr == nil && nothingElse && len(uuids) > 0:
		return "", nil, nil // a format was cut off
	}
	return "something that cannot be read: " + err.Error(), nil, nil
}

// notAnothers refuses a cartridge that is, by its labels, another volume with data of this
// archive: their barcodes were swapped.
func (m *Mover) notAnothers(ctx context.Context, s *Session, old *ltfs.Volume) error {
	var uuids []string
	if old != nil {
		uuids = []string{old.UUID()}
	} else {
		var err error
		if uuids, _, err = ltfs.LabelUUIDs(ctx, s.Drive); err != nil && (ctx.Err() != nil || blameFor(err) != blameVolume) {
			return err
		}
	}
	var is []catalog.Volume
	err := m.cat.View(func(tx *catalog.Tx) error {
		return tx.Volumes(func(v catalog.Volume) bool {
			if v.No != s.Volume.No && slices.Contains(uuids, v.UUID) {
				is = append(is, v)
			}
			return true
		})
	})
	if err != nil {
		return errors.WithMessage(err, "mover: read the catalog's volumes")
	}
	for _, v := range is {
		held, err := m.FilesOn(v.No)
		if err != nil {
			return err
		}
		if held > 0 {
			return errors.Errorf("volume %s is not formatted, not even by force: by its label (UUID %s) the cartridge is volume %s, which holds data of %d files of this archive. Are the barcodes mixed up?",
				s.Volume.Barcode, v.UUID, v.Barcode, held)
		}
	}
	return nil
}

// letGo sees to it that nothing which only the index of a volume tells is lost when it is
// formatted: the attributes of the files in it are archived again, and it returns the removed
// files that the new index has to name. old is nil if the index cannot be read. If it is not the
// volume's, nobody knows what that told: another cartridge may have been put in its place.
func (m *Mover) letGo(rec *catalog.Volume, old *ltfs.Volume) ([]ltfs.FileIDRun, error) {
	var files []sliver.FileID
	var gone []ltfs.FileIDRun
	if old != nil && old.UUID() != rec.UUID {
		old = nil
	}
	if old != nil {
		other, err := m.otherArchive(old.Index())
		switch {
		case err != nil:
			return nil, err
		case other != "" && rec.Flags&catalog.VolImported != 0:
			return nil, nil // that of who wrote it, and nothing of ours
		case other != "":
			old = nil
		}
	}
	switch {
	case rec.UUID == "" || rec.State == catalog.VolScratch && rec.EndOfData == catalog.VolPos{}:
		return nil, nil // nothing of ours came to be on it
	case old == nil:
		err := m.cat.View(func(tx *catalog.Tx) error {
			return tx.Inodes(0, func(r catalog.Inode) bool {
				if r.Flags&catalog.FlagOnTape != 0 || r.ID == sliver.RootID {
					files = append(files, r.ID)
				}
				return true
			})
		})
		if err != nil {
			return nil, err
		}
	default:
		var err error
		if gone, err = old.Index().Removed(); err != nil {
			m.log.WithField(fieldVolume, rec.Barcode).WithError(err).Warn("the list of removed files is lost with the volume's index")
		}
		note := func(_ string, e ltfs.Entry) error {
			if f, ok := fileOf(e); ok {
				files = append(files, f)
			}
			return nil
		}
		_ = note("", old.Index().Root)
		_ = old.Index().Walk(note)
	}
	for _, f := range files {
		if err := m.files.Unarchived(f); err != nil {
			return nil, err
		}
	}
	return gone, nil
}

// LabelVolume gives volume b a name for people, in its index and in the cartridge's memory,
// and returns it. With text nil it only tells the name.
func (m *Mover) LabelVolume(ctx context.Context, b tape.Barcode, text *string) (name string, err error) {
	err = m.UseVolume(ctx, b, UseOptions{Write: text != nil}, func(ctx context.Context, s *Session) error {
		switch {
		case s.LTFS == nil && errors.Is(s.MountErr, ltfs.ErrNotLTFS):
			return errors.WithMessagef(s.MountErr, "volume %s has no name: only an LTFS volume can have one, and `sliod format` makes it one", b)
		case s.LTFS == nil:
			return errors.WithMessagef(s.MountErr, "volume %s has no name", b)
		}
		if text == nil {
			name = s.LTFS.Name()
			return nil
		}
		why := protection(s.Drive.Limits())
		switch {
		case why != "":
		case s.LTFS.UUID() != s.Volume.UUID:
			why = "it is no volume of this archive: format it, or import it, first"
		case s.Volume.State != catalog.VolAppend && s.Volume.State != catalog.VolFull:
			why = "its state is " + s.Volume.State.String()
		}
		if why != "" {
			return errors.Errorf("volume %s gets no name: %s", b, why)
		}
		name = *text
		return s.LTFS.SetName(ctx, name)
	})
	return name, err
}
