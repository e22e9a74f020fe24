package mover

import (
	"context"
	"strings"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/tape"
)

// settableStates are the states that an operator can give a volume.
var settableStates = []catalog.VolState{catalog.VolScratch, catalog.VolAppend, catalog.VolFull, catalog.VolSuspect, catalog.VolReadOnly}

// ParseVolumeState is the reverse of catalog.VolState.String.
func ParseVolumeState(s string) (catalog.VolState, error) {
	var names []string
	for _, x := range settableStates {
		if x.String() == s {
			return x, nil
		}
		names = append(names, x.String())
	}
	return 0, errors.Errorf("%q is no state of a volume: they are %s", s, strings.Join(names, ", "))
}

// SetVolumeState says what volume b may be used for: an operator's word, which holds until
// something is found that speaks against it. What was blamed on the volume before is forgotten. It never
// has anything overwritten: the next mount checks the volume as any other.
//
// A volume without UUID, which is none of this archive, can be scratch, that is, formatted if it is
// blank, or read-only; another one cannot be scratch.
func (m *Mover) SetVolumeState(ctx context.Context, b tape.Barcode, to catalog.VolState) error {
	m.mu.Lock()
	v, err := m.knownLocked(b)
	if err == nil && v.cleaner {
		err = errors.Errorf("%s is a cleaning cartridge", b)
	}
	if err == nil {
		err = settable(v.rec(), to)
	}
	if err != nil {
		m.mu.Unlock()
		return err
	}
	if !v.claimed() {
		v.moving = true // no drive claims it meanwhile
		m.mu.Unlock()
		err := m.operatorSays(v, to)
		m.mu.Lock()
		v.moving = false
		m.wakeLocked()
		m.mu.Unlock()
		return err
	}
	m.mu.Unlock()
	// A drive has it: what its mount has found out holds until the next mount.
	return m.UseVolume(ctx, b, UseOptions{Raw: true}, func(context.Context, *Session) error { return m.operatorSays(v, to) })
}

// settable says why a volume cannot be given a state.
func settable(rec *catalog.Volume, to catalog.VolState) error {
	switch ours := rec.UUID != ""; {
	case ours && to == catalog.VolScratch:
		return errors.Errorf("volume %s may have data: `sliod format` makes it empty", rec.Barcode)
	case !ours && to != catalog.VolScratch && to != catalog.VolReadOnly:
		return errors.Errorf("volume %s is none of this archive: it can be %v or %v; to use it, `sliod format` or `sliod import` it", rec.Barcode, catalog.VolScratch, catalog.VolReadOnly)
	}
	return nil
}

func (m *Mover) operatorSays(v *volume, to catalog.VolState) error {
	err := m.changeVolume(v, func(rec *catalog.Volume) error {
		// It may have been formatted, and written, since the operator was told that it can be.
		if err := settable(rec, to); err != nil {
			return err
		}
		rec.State, rec.Flags, rec.ReadErrors = to, rec.Flags&^(catalog.VolProtected|catalog.VolWasScratch), 0
		return nil
	})
	if err == nil {
		err = m.cat.Sync()
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	v.because, v.indexTried, v.askedForIndex = "", false, false
	if to == catalog.VolSuspect || to == catalog.VolReadOnly {
		v.because = "the operator said so"
	}
	for _, d := range m.drives {
		delete(d.strikes, v.rec().No)
		delete(d.blamed, v.rec().No)
	}
	m.wakeLocked()
	m.mu.Unlock()
	m.publishTapeSpace()
	m.log.WithField(fieldVolume, v.barcode()).Infof("volume is %v: the operator said so", to)
	return nil
}
