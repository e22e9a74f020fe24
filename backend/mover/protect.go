package mover

import (
	"sliod/backend/catalog"
	"sliod/tape"
)

// checkProtection takes over whether the mounted volume can be written: one with its tab set is
// only read until the tab is moved back, and a WORM cartridge is only read, as LTFS
// overwrites its index.
func (d *drive) checkProtection(v *volume) {
	m := d.m
	limits := d.tape.Limits()
	m.mu.Lock()
	state, protected := v.rec.State, v.rec.Flags&catalog.VolProtected != 0
	m.mu.Unlock()
	switch {
	case limits.WORM || limits.WriteProtected:
		if state == catalog.VolAppend {
			m.protect(v, protection(limits))
		}
		m.mu.Lock()
		v.because = protection(limits)
		m.mu.Unlock()
	case protected:
		m.unprotect(v)
	}
}

// protection says why a medium with these limits cannot be written, "" if it can.
func protection(l tape.Limits) string {
	switch {
	case l.WORM:
		return "it is a WORM cartridge: LTFS overwrites its index, so it can only be read"
	case l.WriteProtected:
		return "it is write-protected: move its tab"
	}
	return ""
}

// protect has v only read from now on.
func (m *Mover) protect(v *volume, why string) {
	m.setState(v, catalog.VolReadOnly, why)
	if err := m.updateVolume(v, func(rec *catalog.Volume) { rec.Flags |= catalog.VolProtected }); err != nil {
		m.log.WithError(err).Warn("that the volume is write-protected could not be recorded")
	}
}

// unprotect has v written again, whose tab was moved, or may have been while it was away.
func (m *Mover) unprotect(v *volume) {
	to := catalog.VolAppend
	if v.rec.UUID == "" {
		to = catalog.VolScratch
	}
	m.log.WithField(fieldVolume, v.rec.Barcode).Infof("volume goes back from %v to %v: it is not write-protected any longer, or its tab may have been moved", v.rec.State, to)
	err := m.updateVolume(v, func(rec *catalog.Volume) {
		rec.State, rec.Flags = to, rec.Flags&^catalog.VolProtected
	})
	if err != nil {
		m.log.WithError(err).Warn("that the volume is not write-protected any longer could not be recorded")
	}
	m.mu.Lock()
	v.because = ""
	m.mu.Unlock()
}
