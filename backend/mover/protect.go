package mover

import (
	"sliod/backend/catalog"
	"sliod/tape"
)

// checkProtection takes over whether the mounted volume can be written: one with its tab set is
// only read until the tab is moved back, and a WORM cartridge is only read, as LTFS
// overwrites its index. So is one whose encryption is not what its pool's is to be now.
func (d *drive) checkProtection(v *volume) {
	m := d.m
	limits := d.tape.Limits()
	m.mu.Lock()
	state, protected := v.rec().State, v.rec().Flags&catalog.VolProtected != 0
	m.mu.Unlock()
	why := protection(limits)
	if err := d.lv.Refusal(); why == "" && err != nil {
		why = err.Error()
	}
	switch {
	case why != "":
		if state == catalog.VolAppend || state == catalog.VolFull && !limits.WORM && !limits.WriteProtected {
			m.protect(v, why)
		}
		m.mu.Lock()
		v.because = why
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

// protect has v only read from now on. One that is not written anyway stays what it is.
func (m *Mover) protect(v *volume, why string) {
	m.mu.Lock()
	if s := v.rec().State; s != catalog.VolAppend && s != catalog.VolScratch {
		v.because = why
		m.mu.Unlock()
		return
	}
	m.mu.Unlock()
	// In one step: without the flag it would be read-only for good.
	m.turnInto(v, why, func(rec *catalog.Volume) {
		if rec.State == catalog.VolScratch {
			rec.Flags |= catalog.VolWasScratch
		}
		rec.State, rec.Flags = catalog.VolReadOnly, rec.Flags|catalog.VolProtected
	})
}

// unprotect has v written again, whose tab was moved, or may have been while it was away.
func (m *Mover) unprotect(v *volume) {
	var was, is catalog.VolState
	err := m.updateVolume(v, func(rec *catalog.Volume) {
		was = rec.State
		if was == catalog.VolReadOnly && rec.Flags&catalog.VolProtected != 0 {
			if rec.State = catalog.VolAppend; rec.UUID == "" || rec.Flags&catalog.VolWasScratch != 0 {
				rec.State = catalog.VolScratch
			}
		}
		rec.Flags &^= catalog.VolProtected | catalog.VolWasScratch
		is = rec.State
	})
	log := m.log.WithField(fieldVolume, v.barcode())
	if err != nil {
		log.WithError(err).Warn("that the volume is not write-protected any longer could not be recorded")
		return
	}
	if was != is {
		log.Infof("volume goes back from %v to %v: it is not write-protected any longer, or its tab may have been moved", was, is)
	}
	m.mu.Lock()
	v.because = ""
	m.mu.Unlock()
}
