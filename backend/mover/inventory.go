package mover

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/schedule"
)

// inventory looks where all cartridges are, and takes new ones into the catalog,
// as scratch: they are formatted only if they turn out to be blank. Volumes that a drive
// has, or that are being carried, are left as they are known, but for also, the caller's
// own.
func (m *Mover) inventory(ctx context.Context, also *volume) error {
	m.mu.Lock()
	before, recorded := m.moves, m.recorded
	m.lookedAt = time.Now()
	m.mu.Unlock()
	elements, err := m.lib.Changer.Inventory(ctx)
	if err != nil {
		return errors.WithMessage(err, "mover: inventory of the library")
	}
	known, err := m.recordNew(elements)
	if err != nil {
		return err
	}
	m.mu.Lock()
	said, back := m.placeLocked(elements, known, before, recorded, also)
	m.wakeLocked()
	m.mu.Unlock()
	for _, text := range said {
		m.log.Warn(text)
	}
	for _, v := range back {
		m.unprotect(v)
	}
	m.observed()
	return nil
}

// recordNew takes the cartridges that the catalog does not know into it, and returns all
// that it knows, by barcode.
func (m *Mover) recordNew(elements []tape.Element) (map[string]*catalog.Volume, error) {
	known := map[string]*catalog.Volume{}
	read := func(tx *catalog.Tx) error {
		clear(known)
		return tx.Volumes(func(v catalog.Volume) bool { known[v.Barcode] = &v; return true })
	}
	if err := m.cat.View(read); err != nil {
		return nil, errors.WithMessage(err, "mover: read the catalog's volumes")
	}
	sizes := map[string]int64{}
	fresh := false
	for _, e := range elements {
		if !holdsVolume(&e) {
			continue
		}
		v := known[string(e.Volume)]
		fresh = fresh || v == nil || v.Pool != m.poolOf(v)
		if m.lib.VolumeBytes != nil && (v == nil || v.Capacity == 0) {
			if n := m.lib.VolumeBytes(e.Volume); n > 0 {
				sizes[string(e.Volume)], fresh = n, true
			}
		}
	}
	if !fresh {
		return known, nil
	}
	var moved []string
	err := m.cat.Update(func(tx *catalog.Tx) error {
		moved = nil
		if err := read(tx); err != nil {
			return err
		}
		for _, e := range elements {
			if !holdsVolume(&e) {
				continue
			}
			v, n, pool := known[string(e.Volume)], sizes[string(e.Volume)], m.cfg.Pools.Of(e.Volume)
			if v != nil {
				pool = m.poolOf(v)
			}
			switch {
			case v == nil:
				no, err := tx.NextVolumeNo()
				if err != nil {
					return err
				}
				v = &catalog.Volume{No: no, Barcode: string(e.Volume), State: catalog.VolScratch, Capacity: n, Pool: pool}
				known[v.Barcode] = v
			case v.Capacity == 0 && n > 0 || v.Pool != pool:
				if v.Capacity == 0 {
					v.Capacity = n
				}
				if v.Pool != pool {
					// The configuration decides, so that nothing is written in clear that is
					// to be encrypted now.
					if v.Pool != "" {
						moved = append(moved, fmt.Sprintf("volume %s goes from pool %q to pool %q: the configuration was changed", v.Barcode, v.Pool, pool))
					}
					v.Pool = pool
				}
			default:
				continue
			}
			if err := tx.PutVolume(v); err != nil {
				return err
			}
		}
		return nil
	})
	for _, text := range moved {
		m.log.Warn(text)
	}
	return known, errors.WithMessage(err, "mover: record the library's volumes in the catalog")
}

// holdsVolume says whether a cartridge with a barcode is where one is kept or used.
func holdsVolume(e *tape.Element) bool { return e.Kind != tape.Arm && e.Full && e.Volume != "" }

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

// whyInMail and whyTwice are the reasons of volumes that are there and not used.
const (
	whyInMail = "it is in a mail slot: run `sliod volumes import`"
	whyTwice  = "two cartridges have this barcode: take one out"
)

// placeLocked takes over what an inventory has found that was begun when Mover.moves was
// before: a volume that was carried since is not where that saw it. known was read when
// Mover.recorded was recorded, or later: a record that was changed since is newer than that. It returns what there is
// to say about changes, and write-protected volumes that have come back: their tabs may have been moved.
func (m *Mover) placeLocked(elements []tape.Element, known map[string]*catalog.Volume, before, recorded uint64, also *volume) (said []string, back []*volume) {
	was := map[*volume]string{}
	gone := map[*volume]bool{}
	ours := func(v *volume) bool { return v != also && v.claimed() || v.moved > before }
	for _, rec := range known {
		v := m.volumes[rec.No]
		if v == nil {
			v = &volume{queue: schedule.NewClasses[sliver.Key](m.plannerOf(rec), &m.cfg.Schedule), away: true}
			v.record.Store(rec)
			m.volumes[rec.No] = v
			v.cleaner = m.isCleaner(rec.Barcode)
		}
		was[v], gone[v] = m.whereLocked(v), v.away
		if ours(v) {
			continue
		}
		if v.recorded <= recorded {
			v.record.Store(rec)
		}
		v.away, v.why, v.place = true, "", ""
	}
	m.places = placeNames(elements)
	clear(m.slots)
	clear(m.mails)
	for _, e := range elements {
		if e.Kind == tape.Slot {
			m.slots[e.Address] = e.Full || e.Fault != ""
		}
		if e.Kind == tape.ImportExport {
			m.mails[e.Address] = e.Full || e.Fault != ""
		}
	}
	for _, v := range m.volumes {
		if ours(v) || v == also && !v.away {
			m.slots[v.home] = true
		}
	}
	m.placeVolumesLocked(elements, known, ours)
	said = m.placeDrivesLocked(elements, known)
	for _, v := range slices.SortedFunc(maps.Values(m.volumes), func(a, b *volume) int { return cmp.Compare(a.rec().Barcode, b.rec().Barcode) }) {
		now := m.whereLocked(v)
		if old := was[v]; old != now && m.looked && !ours(v) {
			said = append(said, fmt.Sprintf("volume %s was in %q and is in %q now", v.rec().Barcode, old, now))
		}
		if !v.away {
			v.missed = false
			if gone[v] && v.rec().Flags&catalog.VolProtected != 0 {
				back = append(back, v)
			}
		}
	}
	m.looked = true
	if m.noTape && m.haveTargetLocked() {
		m.noTape = false
	}
	return said, back
}

func (v *volume) claimed() bool { return v.drive != nil || v.moving }

// placeVolumesLocked puts the volumes where elements say.
func (m *Mover) placeVolumesLocked(elements []tape.Element, known map[string]*catalog.Volume, ours func(*volume) bool) {
	var homeless []*volume
	seen := map[*volume]bool{}
	m.nameless = m.nameless[:0]
	for _, e := range elements {
		if e.Kind == tape.Arm || !e.Full {
			continue
		}
		rec := known[string(e.Volume)]
		if rec == nil {
			m.nameless = append(m.nameless, VolumeStatus{State: stateNameless, Where: m.places[e.Address], Reason: cmp.Or(e.Fault, "it has no barcode: it is never used")})
			continue
		}
		v := m.volumes[rec.No]
		if ours(v) {
			continue
		}
		if seen[v] {
			m.twiceLocked(v, m.places[e.Address])
			continue
		}
		seen[v] = true
		v.away, v.at, v.place = false, e.Address, m.places[e.Address]
		switch {
		case e.Fault != "" && e.Kind != tape.DriveElement:
			v.away, v.why = true, e.Fault
		case e.Kind == tape.ImportExport:
			v.away, v.why = true, whyInMail
		case e.Kind == tape.Slot:
			v.home = e.Address
		case e.SourceValid && m.isFreeSlotLocked(e.Source):
			v.home = e.Source
			m.slots[e.Source] = true
		default:
			homeless = append(homeless, v)
		}
	}
	for _, v := range homeless {
		v.home, _ = m.freeSlotLocked()
	}
}

// twiceLocked takes a volume out of use whose barcode another cartridge has, too.
func (m *Mover) twiceLocked(v *volume, where string) {
	v.place = strings.Join([]string{v.place, where}, " and ")
	v.away, v.why = true, whyTwice
}

// placeDrivesLocked ties the drives to their elements, and says which cannot be used as
// the library sees it.
func (m *Mover) placeDrivesLocked(elements []tape.Element, known map[string]*catalog.Volume) (said []string) {
	for _, e := range elements {
		if e.Kind != tape.DriveElement {
			continue
		}
		for _, d := range m.drives {
			if d.tape.Serial() != e.Drive {
				continue
			}
			if !d.hasElement { // the first inventory is before the owners begin; they read it without the lock
				d.element, d.hasElement = e.Address, true
			}
			old := d.blocked
			d.blocked = e.Fault
			if d.element != e.Address {
				d.blocked = "it has another element address than at the start: restart the server"
			}
			if rec := known[string(e.Volume)]; e.Full && d.blocked == "" && d.vol == nil && d.lent == nil {
				switch {
				case rec == nil:
					d.blocked = "it holds a cartridge without a barcode: take that out"
				case m.volumes[rec.No].why == whyTwice:
					d.blocked = "it holds volume " + rec.Barcode + ", whose barcode another cartridge has, too: take that out"
				}
			}
			switch {
			case d.blocked != "" && old != d.blocked:
				said = append(said, fmt.Sprintf("drive %s cannot be used: %s", e.Drive, d.blocked))
			case d.blocked == "" && old != "":
				said = append(said, fmt.Sprintf("drive %s can be used again", e.Drive))
			}
		}
	}
	return said
}

func (m *Mover) isFreeSlotLocked(a uint16) bool {
	full, ok := m.slots[a]
	return ok && !full
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

// whereLocked says where v is, for people.
func (m *Mover) whereLocked(v *volume) string {
	switch {
	case v.away && v.place == "":
		return "away"
	case v.away:
		return v.place
	}
	return m.places[v.at]
}

// isCleaner says whether a barcode is that of a cleaning cartridge.
func (m *Mover) isCleaner(barcode string) bool {
	for _, p := range m.cfg.Cleaning {
		if ok, err := path.Match(p, barcode); ok && err == nil {
			return true
		}
	}
	return false
}

// lookAgain is inventory for an owner that wants to know where things are before it acts: a
// failure is noted, and what is known holds.
func (m *Mover) lookAgain(v *volume) {
	if err := m.inventory(m.ctx, v); err != nil && m.ctx.Err() == nil {
		_ = m.note("inventory", nil, nil, "", err)
	}
}

// taken says whether the cartridge of v, with which something failed in d, is not in d any
// longer: somebody took it out. Then nobody is to blame.
func (d *drive) taken(v *volume, err error) bool {
	m := d.m
	if m.ctx.Err() != nil {
		return false
	}
	m.lookAgain(v)
	m.mu.Lock()
	taken := v.away || v.at != d.element
	where := m.whereLocked(v)
	m.mu.Unlock()
	if taken {
		m.log.WithField(fieldVolume, v.rec().Barcode).WithField(fieldDrive, d.tape.Serial()).WithError(err).
			Warnf("the cartridge was taken out of the drive while it was in use; it is in %q now", where)
	}
	return taken
}
