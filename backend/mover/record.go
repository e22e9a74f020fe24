package mover

import (
	"github.com/pkg/errors"

	"sliod/backend/catalog"
)

// rec is the record of v as the catalog has it, or had it a moment ago: a picture that never changes. So whoever
// looks at it, the owner of the drive that has v among them, needs no lock; one that decides by
// several of its fields takes it once. Number and barcode are always the same.
func (v *volume) rec() *catalog.Volume { return v.record.Load() }

// updateVolume changes the record of v in the catalog and the mover's picture of it. Only
// what change touches is written, so that counts which package backend keeps
// (Dead) stay as they are. change may be called several times.
func (m *Mover) updateVolume(v *volume, change func(*catalog.Volume)) error {
	return m.changeVolume(v, func(rec *catalog.Volume) error { change(rec); return nil })
}

// changeVolume is updateVolume for a change that may be refused: it looks at the record, and its error leaves that
// as it is. It is returned with its circumstances.
func (m *Mover) changeVolume(v *volume, change func(*catalog.Volume) error) error {
	m.recording.Lock()
	defer m.recording.Unlock()
	return m.changeRecording(v, change)
}

// changeRecording is changeVolume with Mover.recording held: the pictures follow one another as the records do.
func (m *Mover) changeRecording(v *volume, change func(*catalog.Volume) error) error {
	return m.changeRecordingIn(v, func(_ *catalog.Tx, rec *catalog.Volume) error { return change(rec) })
}

// changeRecordingIn is changeRecording for a change that goes with others of the catalog, or not at all.
func (m *Mover) changeRecordingIn(v *volume, change func(*catalog.Tx, *catalog.Volume) error) error {
	var rec catalog.Volume
	err := m.cat.Update(func(tx *catalog.Tx) error {
		var err error
		if rec, err = tx.Volume(v.rec().No); err != nil {
			return err
		}
		if err := change(tx, &rec); err != nil {
			return err
		}
		return tx.PutVolume(&rec)
	})
	if err != nil {
		return errors.WithMessagef(err, "mover: update the catalog's record of volume %s", v.rec().Barcode)
	}
	m.recordedAs(v, &rec)
	return nil
}

// recordedAs takes a record of v over that the catalog has.
func (m *Mover) recordedAs(v *volume, rec *catalog.Volume) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.recorded++
	v.recorded = m.recorded
	v.record.Store(rec)
}

// setState is updateVolume for the state alone. A failure is logged: the state
// holds until the next start, and is found again then.
func (m *Mover) setState(v *volume, s catalog.VolState, why string) {
	m.turnInto(v, why, func(rec *catalog.Volume) { rec.State = s })
}

// turnInto is setState for a change of the state and what goes with it.
func (m *Mover) turnInto(v *volume, why string, change func(*catalog.Volume)) {
	m.recording.Lock()
	defer m.recording.Unlock()
	m.mu.Lock()
	rec := *v.rec()
	old := rec.State
	change(&rec)
	v.because = why
	v.record.Store(&rec)
	m.mu.Unlock()
	if old == rec.State {
		return
	}
	log := m.log.WithField(fieldVolume, rec.Barcode)
	log.Warnf("volume goes from %v to %v: %s", old, rec.State, why)
	if err := m.changeRecording(v, func(rec *catalog.Volume) error { change(rec); return nil }); err != nil {
		log.WithError(err).Error("the state of the volume could not be recorded; it is lost at a restart")
	}
}

// reload takes v's record over from the catalog, where the user of a volume may have
// changed it.
func (m *Mover) reload(v *volume) error {
	m.recording.Lock()
	defer m.recording.Unlock()
	var rec catalog.Volume
	err := m.cat.View(func(tx *catalog.Tx) error {
		var err error
		rec, err = tx.Volume(v.rec().No)
		return err
	})
	if err != nil {
		return errors.WithMessagef(err, "mover: read the catalog's record of volume %s", v.rec().Barcode)
	}
	m.recordedAs(v, &rec)
	return nil
}
