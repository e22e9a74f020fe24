package mover

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/schedule"
)

// volume is one cartridge that the catalog knows. Guarded by Mover.mu.
type volume struct {
	rec   catalog.Volume // as in the catalog
	away  bool           // not in the library when last looked
	at    uint16         // element that holds it, unless away
	home  uint16         // slot that it goes back to
	drive *drive         // that has it or fetches it, or nil

	queue      *schedule.Queue[sliver.Key]
	readErrors int
}

// foreign says that the cartridge holds something that is not ours, and so is
// never written. In the catalog it is read-only and has no UUID.
func foreign(rec *catalog.Volume) bool {
	return rec.State == catalog.VolReadOnly && rec.UUID == ""
}

func (v *volume) barcode() tape.Barcode { return tape.Barcode(v.rec.Barcode) }

// readRank orders copies: the lowest is read.
func (v *volume) readRank() int {
	rank := 0
	if v.drive == nil || v.drive.failed {
		rank++
	}
	if v.rec.State == catalog.VolSuspect {
		rank += 2
	}
	return rank
}

func (v *volume) hasRoom() bool {
	return v.rec.State == catalog.VolAppend
}

// isTarget says whether a batch could go to v.
func (v *volume) isTarget() bool {
	return !v.away && (v.hasRoom() || v.rec.State == catalog.VolScratch)
}

// inventory looks where all cartridges are, and takes new ones into the catalog,
// as scratch: they are formatted only if they turn out to be blank.
func (m *Mover) inventory(ctx context.Context) error {
	elements, err := m.lib.Changer.Inventory(ctx)
	if err != nil {
		return errors.WithMessage(err, "mover: inventory of the library")
	}
	sizes, err := m.newVolumeBytes(elements)
	if err != nil {
		return errors.WithMessage(err, "mover: read the catalog's volumes")
	}
	known := map[string]*catalog.Volume{}
	err = m.cat.Update(func(tx *catalog.Tx) error {
		clear(known)
		if err := tx.Volumes(func(v catalog.Volume) bool { known[v.Barcode] = &v; return true }); err != nil {
			return err
		}
		for _, e := range elements {
			if !holdsVolume(&e) {
				continue
			}
			if v := known[string(e.Volume)]; v != nil {
				if n := sizes[v.Barcode]; v.Capacity == 0 && n > 0 {
					v.Capacity = n
					if err := tx.PutVolume(v); err != nil {
						return err
					}
				}
				continue
			}
			no, err := tx.NextVolumeNo()
			if err != nil {
				return err
			}
			v := &catalog.Volume{No: no, Barcode: string(e.Volume), State: catalog.VolScratch, Capacity: sizes[string(e.Volume)]}
			if err := tx.PutVolume(v); err != nil {
				return err
			}
			known[v.Barcode] = v
		}
		return nil
	})
	if err != nil {
		return errors.WithMessage(err, "mover: record the library's volumes in the catalog")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.placeLocked(elements, known)
	m.wakeLocked()
	return nil
}

// holdsVolume says whether a cartridge with a barcode is where one is kept or used.
func holdsVolume(e *tape.Element) bool { return e.Kind != tape.Arm && e.Full && e.Volume != "" }

// newVolumeBytes asks the library for the capacities of the cartridges whose
// capacity the catalog does not know.
func (m *Mover) newVolumeBytes(elements []tape.Element) (map[string]int64, error) {
	if m.lib.VolumeBytes == nil {
		return nil, nil
	}
	known := map[string]bool{}
	err := m.cat.View(func(tx *catalog.Tx) error {
		return tx.Volumes(func(v catalog.Volume) bool { known[v.Barcode] = v.Capacity != 0; return true })
	})
	if err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	for _, e := range elements {
		if holdsVolume(&e) && !known[string(e.Volume)] {
			sizes[string(e.Volume)] = m.lib.VolumeBytes(e.Volume)
		}
	}
	return sizes, nil
}

// placeNames names the elements as operators count them: slots from 1, in the
// order of their addresses.
func placeNames(elements []tape.Element) map[uint16]string {
	places := map[uint16]string{}
	elements = slices.Clone(elements)
	slices.SortFunc(elements, func(a, b tape.Element) int { return cmp.Compare(a.Address, b.Address) })
	count := map[tape.ElementKind]int{}
	for _, e := range elements {
		count[e.Kind]++
		switch e.Kind {
		case tape.Slot:
			places[e.Address] = fmt.Sprintf("slot %d", count[e.Kind])
		case tape.ImportExport:
			places[e.Address] = fmt.Sprintf("mail slot %d", count[e.Kind])
		case tape.DriveElement:
			places[e.Address] = fmt.Sprintf("drive %s", e.Drive)
		}
	}
	return places
}

// placeLocked takes over what an inventory has found. A volume that a drive has
// or fetches is left as its owner knows it.
func (m *Mover) placeLocked(elements []tape.Element, known map[string]*catalog.Volume) {
	for _, rec := range known {
		v := m.volumes[rec.No]
		if v == nil {
			v = &volume{queue: schedule.NewQueue[sliver.Key](), rec: *rec}
			m.volumes[rec.No] = v
		}
		if v.drive == nil {
			v.rec = *rec
			v.away = true
		}
	}
	m.places = placeNames(elements)
	clear(m.slots)
	for _, e := range elements {
		if e.Kind == tape.Slot {
			m.slots[e.Address] = e.Full
		}
	}
	for _, v := range m.volumes {
		if v.drive != nil {
			m.slots[v.home] = true
		}
	}
	var homeless []*volume
	for _, e := range elements {
		if e.Kind == tape.DriveElement {
			for _, d := range m.drives {
				if d.tape.Serial() == e.Drive {
					d.element, d.hasElement = e.Address, true
				}
			}
		}
		rec := known[string(e.Volume)]
		if !e.Full || rec == nil || e.Kind == tape.Arm {
			continue
		}
		v := m.volumes[rec.No]
		if v.drive != nil {
			continue
		}
		v.away, v.at = false, e.Address
		switch {
		case e.Kind != tape.DriveElement:
			v.home = e.Address
		case e.SourceValid && !m.slots[e.Source]:
			v.home = e.Source
			m.slots[e.Source] = true
		default:
			homeless = append(homeless, v)
		}
	}
	for _, v := range homeless {
		v.home, _ = m.freeSlotLocked()
	}
	if m.noTape && m.haveTargetLocked() {
		m.noTape = false
	}
}

// freeSlotLocked takes an empty slot, the one with the lowest address.
func (m *Mover) freeSlotLocked() (uint16, bool) {
	best, ok := uint16(0), false
	for a, full := range m.slots {
		if !full && (!ok || a < best) {
			best, ok = a, true
		}
	}
	if ok {
		m.slots[best] = true
	}
	return best, ok
}

func (m *Mover) haveTargetLocked() bool {
	for _, v := range m.volumes {
		if v.isTarget() {
			return true
		}
	}
	return false
}

// updateVolume changes the record of v in the catalog and the mover's copy. Only
// what change touches is written, so that counts which package backend keeps
// (Dead) stay as they are.
func (m *Mover) updateVolume(v *volume, change func(*catalog.Volume)) error {
	m.mu.Lock()
	no := v.rec.No
	m.mu.Unlock()
	var rec catalog.Volume
	err := m.cat.Update(func(tx *catalog.Tx) error {
		var err error
		if rec, err = tx.Volume(no); err != nil {
			return err
		}
		change(&rec)
		return tx.PutVolume(&rec)
	})
	if err != nil {
		return errors.WithMessagef(err, "mover: update the catalog's record of volume %s", v.rec.Barcode)
	}
	m.mu.Lock()
	v.rec = rec
	m.mu.Unlock()
	return nil
}

// setState is updateVolume for the state alone. A failure is logged: the state
// holds until the next start, and is found again then.
func (m *Mover) setState(v *volume, s catalog.VolState, why string) {
	m.mu.Lock()
	old := v.rec.State
	v.rec.State = s
	m.mu.Unlock()
	if old == s {
		return
	}
	log := m.log.WithField(fieldVolume, v.rec.Barcode)
	log.Warnf("volume goes from %v to %v: %s", old, s, why)
	if err := m.updateVolume(v, func(rec *catalog.Volume) { rec.State = s }); err != nil {
		log.WithError(err).Error("the state of the volume could not be recorded; it is lost at a restart")
	}
}

// Rescan takes inventory again, after cartridges were put in or taken out.
func (m *Mover) Rescan(ctx context.Context) error {
	reply := make(chan error, 1)
	select {
	case m.rescans <- reply:
	case <-ctx.Done():
		return errors.WithStack(ctx.Err())
	case <-m.ctx.Done():
		return errClosed
	}
	select {
	case err := <-reply:
		m.publishTapeSpace()
		return err
	case <-ctx.Done():
		return errors.WithStack(ctx.Err())
	}
}
