package mover

import (
	"context"
	stderrors "errors"
	"fmt"

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
		found, err := m.holds(ctx, s)
		if err != nil {
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
		if _, err := m.formatIn(s.Drive, v); err != nil {
			return err
		}
		m.mu.Lock()
		v.readErrors, v.because = 0, ""
		for _, d := range m.drives {
			delete(d.strikes, v.rec.No)
			delete(d.blamed, v.rec.No)
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

// holds says what the cartridge of s holds that a format would lose, "" if nothing.
func (m *Mover) holds(ctx context.Context, s *Session) (string, error) {
	lv, err := ltfs.Mount(ctx, s.Drive, ltfs.MountOptions{Log: m.log})
	var not *ltfs.NotLTFSError
	switch {
	case err == nil && isEmpty(lv):
		return "", nil
	case err == nil:
		return fmt.Sprintf("LTFS volume %s with %d files and %d directories", lv.UUID(), lv.Index().Files(), lv.Index().Dirs()), nil
	case stderrors.As(err, &not):
		if not.Blank || not.Unfinished {
			return "", nil
		}
		return not.Found, nil
	case ctx.Err() != nil || blameFor(err) != blameVolume:
		return "", err
	}
	return "something that cannot be read: " + err.Error(), nil
}

// LabelVolume gives volume b a name for people, in its index and in the cartridge's memory,
// and returns it. With text nil it only tells the name.
func (m *Mover) LabelVolume(ctx context.Context, b tape.Barcode, text *string) (name string, err error) {
	err = m.UseVolume(ctx, b, UseOptions{Write: text != nil}, func(ctx context.Context, s *Session) error {
		if s.LTFS == nil {
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
