package mover

import (
	"context"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// Retire begins to empty volume b: nothing is appended to it any longer, also after a restart. It
// refuses a volume that is never emptied: one that others wrote, is none of this archive, or is scratch; and one that was
// formatted since it had the UUID. note puts in the
// same transaction on record that it is being emptied: a stop in between would leave a volume that nothing is
// appended to, and nobody knows why. It may be called several times.
func (m *Mover) Retire(b tape.Barcode, uuid string, note func(*catalog.Tx) error) error {
	m.mu.Lock()
	v, err := m.knownLocked(b)
	if err == nil {
		switch rec := v.rec(); {
		case rec.Flags&catalog.VolImported != 0:
			err = errors.Errorf("volume %s was imported: what others wrote stays as it is", b)
		case rec.UUID == "" || rec.State == catalog.VolScratch || v.cleaner:
			err = errors.Errorf("volume %s holds nothing of this archive: there is nothing to move", b)
		case rec.State == catalog.VolReadOnly:
			err = errors.Errorf("volume %s is read-only: `sliod volumes set` makes it full, if it is to be emptied", b)
		}
	}
	m.mu.Unlock()
	if err != nil {
		return err
	}
	m.recording.Lock()
	defer m.recording.Unlock()
	had := false
	err = m.changeRecordingIn(v, func(tx *catalog.Tx, rec *catalog.Volume) error {
		if rec.UUID != uuid {
			return errors.Errorf("volume %s has been formatted meanwhile: there is nothing to move", b)
		}
		if had = rec.State == catalog.VolAppend; had {
			rec.State = catalog.VolFull
		}
		return note(tx)
	})
	if err != nil || !had {
		return err
	}
	m.mu.Lock()
	v.because = "it is being emptied"
	m.mu.Unlock()
	m.log.WithField(fieldVolume, b).Warn("volume goes from append to full: it is being emptied")
	return nil
}

// SyncIndex sees to it that the index of volume b, on tape, names all that was appended to it.
func (m *Mover) SyncIndex(ctx context.Context, b tape.Barcode) error {
	return m.UseVolume(ctx, b, UseOptions{}, indexHere)
}

// HandOver is called when nothing on volume from is needed any longer. file is called for each file that its index
// has an entry of: its newest attributes may be in no other index. The list of removed files goes into the index of volume to; "": nowhere.
func (m *Mover) HandOver(ctx context.Context, from, to tape.Barcode, file func(sliver.FileID)) error {
	var gone []ltfs.FileIDRun
	err := m.UseVolume(ctx, from, UseOptions{Background: true}, func(_ context.Context, s *Session) (err error) {
		if s.d.lv == nil {
			return errors.Errorf("the index of volume %s cannot be read: %v", from, s.MountErr)
		}
		x := s.d.lv.Index()
		note := func(_ string, e ltfs.Entry) error {
			if f, ok := fileOf(e); ok {
				file(f)
			}
			return nil
		}
		_ = note("", x.Root)
		_ = x.Walk(note)
		gone, err = x.Removed()
		return err
	})
	if err != nil || len(gone) == 0 || to == "" {
		return err
	}
	return m.UseVolume(ctx, to, UseOptions{Background: true}, func(_ context.Context, s *Session) error {
		switch {
		case s.d.lv == nil:
			return errors.Errorf("the index of volume %s cannot be read: %v", to, s.MountErr)
		case s.Volume.State != catalog.VolAppend && s.Volume.State != catalog.VolFull:
			return errors.Errorf("volume %s is %v: its index is not written", to, s.Volume.State) // it was found to be when it was mounted
		}
		x := s.d.lv.Index()
		has, err := x.Removed()
		if err != nil {
			return err
		}
		x.SetRemoved(append(has, gone...))
		s.d.changed()
		return s.d.writeIndex()
	})
}

// Emptied makes volume b, which was retired, a scratch volume. needed says whether something on it is still
// needed, or why it is to stay what it is; it is asked when no drive writes to the volume any longer. Nothing on the tape is touched: it is
// formatted when a scratch volume is needed next, with what that takes (letGo). A suspect volume stays suspect.
func (m *Mover) Emptied(ctx context.Context, b tape.Barcode, needed func() error) error {
	m.mu.Lock()
	v, err := m.knownLocked(b)
	if err != nil {
		m.mu.Unlock()
		return err
	}
	if !v.claimed() {
		v.moving = true // no drive claims it meanwhile
		m.mu.Unlock()
		err := m.toScratch(v, needed)
		m.mu.Lock()
		v.moving = false
		m.wakeLocked()
		m.mu.Unlock()
		m.publishTapeSpace()
		return err
	}
	m.mu.Unlock()
	err = m.UseVolume(ctx, b, UseOptions{Raw: true}, func(context.Context, *Session) error { return m.toScratch(v, needed) })
	m.publishTapeSpace()
	return err
}

func (m *Mover) toScratch(v *volume, needed func() error) error {
	uuid := v.rec().UUID
	if err := needed(); err != nil {
		return err
	}
	err := m.changeVolume(v, func(rec *catalog.Volume) error {
		if rec.UUID != uuid || rec.State != catalog.VolFull && rec.State != catalog.VolSuspect {
			return errors.Errorf("it is not emptied: it is %v now", rec.State)
		}
		if rec.State == catalog.VolFull {
			rec.State = catalog.VolScratch
		}
		rec.Used, rec.Dead = 0, 0
		rec.Flags &^= catalog.VolUnindexed // the catalog has nothing on it
		return nil
	})
	if err == nil {
		err = m.cat.Sync()
	}
	if err != nil {
		return err
	}
	m.requeue(v, false) // recalls that were to read from it have other copies
	m.mu.Lock()
	state := v.rec().State
	if v.because = ""; state == catalog.VolSuspect {
		v.because = "it is empty: `sliod format` makes it usable again, if it is sound"
	}
	if m.noTape && m.haveTargetLocked() {
		m.noTape = false
	}
	m.mu.Unlock()
	m.log.WithField(fieldVolume, v.barcode()).Infof("the volume is empty: it is %v now", state)
	return nil
}
