package mover

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/tape"
)

// ImportVolumes carries the cartridges in the mail slots, or those of want, to free slots,
// and takes inventory. It returns the volumes that are in the library now and were not before,
// and says in notes what was left where it was. Cartridges that were put into slots by hand come
// in by it as well.
func (m *Mover) ImportVolumes(ctx context.Context, want []tape.Barcode) (came []VolumeStatus, notes []string, err error) {
	before := m.present()
	if err := m.inventory(ctx, nil); err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	var mail []*volume
	missing := slices.Clone(want)
	for _, v := range m.volumes {
		if len(want) > 0 && !slices.Contains(want, v.barcode()) {
			continue
		}
		if v.why == whyInMail && !v.claimed() {
			v.moving = true
			mail = append(mail, v)
		}
		if v.why == whyInMail || !v.away {
			missing = slices.DeleteFunc(missing, func(b tape.Barcode) bool { return b == v.barcode() })
		}
	}
	for _, n := range m.nameless {
		if strings.HasPrefix(n.Where, "mail slot") {
			notes = append(notes, "the cartridge in "+n.Where+" is left there: "+n.Reason)
		}
	}
	m.mu.Unlock()
	slices.SortFunc(mail, func(a, b *volume) int { return strings.Compare(a.rec().Barcode, b.rec().Barcode) })
	for _, v := range mail {
		if err == nil {
			err = m.takeIn(ctx, v)
		}
		m.mu.Lock()
		v.moving = false
		m.mu.Unlock()
	}
	if lerr := m.inventory(ctx, nil); err == nil {
		err = lerr
	}
	m.publishTapeSpace()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wakeLocked()
	for _, v := range m.volumes {
		if !v.away && !before[v] {
			came = append(came, m.volumeStatusLocked(v))
		}
	}
	slices.SortFunc(came, func(a, b VolumeStatus) int { return strings.Compare(string(a.Barcode), string(b.Barcode)) })
	if err == nil && len(missing) > 0 {
		err = errors.Errorf("volume %s is not in the library, nor in a mail slot", missing[0])
	}
	return came, notes, err
}

// present returns the volumes that can be fetched.
func (m *Mover) present() map[*volume]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	in := map[*volume]bool{}
	for _, v := range m.volumes {
		if !v.away {
			in[v] = true
		}
	}
	return in
}

// takeIn carries v, which is claimed, from its mail slot to a free slot.
func (m *Mover) takeIn(ctx context.Context, v *volume) error {
	for try := 1; ; try++ {
		m.mu.Lock()
		from, where, inMail := v.at, v.place, v.why == whyInMail
		to, ok := uint16(0), false
		if inMail {
			to, ok = m.freeSlotLocked()
		}
		m.mu.Unlock()
		switch {
		case !inMail:
			return nil // somebody else was faster
		case !ok:
			return errors.Errorf("volume %s stays in %s: the library has no free slot", v.rec().Barcode, where)
		}
		err := m.lib.Changer.Move(ctx, from, to)
		if err == nil {
			m.carried(v, to)
			m.mu.Lock()
			v.away, v.why, v.place, v.home = false, "", "", to
			m.mu.Unlock()
			m.log.WithField(fieldVolume, v.rec().Barcode).Infof("imported from %s", where)
			return nil
		}
		if !surprise(err) || try == maxFetches {
			return errors.WithMessagef(err, "import volume %s from %s", v.rec().Barcode, where)
		}
		if err := m.inventory(ctx, v); err != nil {
			return err
		}
	}
}

// ExportVolume carries volume b to a mail slot. If it is in a drive its index is written
// first; recalls that wait for it are served before, new ones are not taken. After it the
// volume is away. It returns where the cartridge is.
func (m *Mover) ExportVolume(ctx context.Context, b tape.Barcode) (where string, err error) {
	m.mu.Lock()
	if v, err := m.knownLocked(b); err == nil && v.rec().Flags&catalog.VolUnindexed != 0 && !v.claimed() && !v.away && !v.leaving && !m.closing {
		// The server or a drive stopped before it was written. Who takes a volume away may want to have a complete one.
		m.mu.Unlock()
		if err := m.UseVolume(ctx, b, UseOptions{}, indexHere); err != nil {
			if ctx.Err() != nil {
				return "", err
			}
			m.log.WithField(fieldVolume, b).WithError(err).Warn("the volume is exported with an index that lacks what was written last; only the catalog has that")
		}
		m.mu.Lock()
	}
	v, err := m.knownLocked(b)
	switch {
	case err != nil:
	case v.why == whyInMail:
		defer m.mu.Unlock()
		return v.place, nil
	case m.closing:
		err = errClosed
	case v.away && !v.claimed():
		err = awayError(v)
	case v.leaving:
		err = errors.Errorf("volume %s is being exported already", b)
	}
	if err != nil {
		m.mu.Unlock()
		return "", err
	}
	v.leaving = true
	direct := !v.claimed() && v.queue.Len() == 0 && len(v.uses) == 0 && m.driveAtLocked(v.at) == nil
	v.moving = direct
	m.mu.Unlock()
	m.publishTapeSpace()
	if direct {
		err = m.carryOut(ctx, v)
	} else {
		err = m.queueUse(&use{ctx: ctx, vol: v, export: true, since: time.Now(), done: make(chan error, 1)})
	}
	m.mu.Lock()
	v.leaving = false
	if direct {
		v.moving = false
	}
	m.wakeLocked()
	where = m.whereLocked(v)
	m.mu.Unlock()
	m.publishTapeSpace()
	return where, err
}

// carryOut carries v, which is claimed and not loaded, to a mail slot.
func (m *Mover) carryOut(ctx context.Context, v *volume) error {
	for try := 1; ; try++ {
		if err := m.inventory(ctx, v); err != nil {
			return err
		}
		m.mu.Lock()
		from, away := v.at, v.away
		to, ok := m.freeMailLocked()
		places := m.places
		some := len(m.mails) > 0
		m.mu.Unlock()
		switch {
		case away:
			return awayError(v)
		case !some:
			return errors.Errorf("the library has no mail slot: volume %s is in %s, take it out by hand", v.rec().Barcode, places[from])
		case !ok:
			return errors.Errorf("volume %s stays: all mail slots are full; empty them and try again", v.rec().Barcode)
		}
		err := m.lib.Changer.Move(ctx, from, to)
		if err == nil {
			m.carried(v, to)
			m.mu.Lock()
			v.away, v.why, v.place = true, whyInMail, places[to]
			m.mu.Unlock()
			m.log.WithField(fieldVolume, v.rec().Barcode).Infof("exported to %s", places[to])
			return nil
		}
		if !surprise(err) || try == maxFetches {
			return errors.WithMessagef(err, "export volume %s to %s", v.rec().Barcode, places[to])
		}
	}
}

// freeMailLocked takes an empty mail slot, the one with the lowest address.
func (m *Mover) freeMailLocked() (uint16, bool) {
	best, ok := uint16(0), false
	for a, full := range m.mails {
		if !full && (!ok || a < best) {
			best, ok = a, true
		}
	}
	if ok {
		m.mails[best] = true
	}
	return best, ok
}

// export does the use u of an export: v is mounted in d, or claimed for it and anywhere.
func (d *drive) export(u *use) error {
	m, v := d.m, u.vol
	if d.vol == v {
		d.setState(driveUnmounting, "export of volume "+v.rec().Barcode)
		if err := d.closeVolume(); err != nil {
			_ = d.bringHome(v) // noted
			return err
		}
	}
	if v.at == d.element {
		m.lookAgain(v)
	}
	if v.at == d.element {
		if err := d.tape.Unload(m.ctx); err != nil && tape.KindOf(err) != tape.NotReady {
			err = m.note("unload", v, d, "", err)
			d.strike(v, blameFor(err), err)
			m.release(v)
			return err
		}
	}
	if err := m.carryOut(u.ctx, v); err != nil {
		if !v.away && v.at == d.element {
			_ = d.bringHome(v) // noted
		} else {
			m.release(v)
		}
		return err
	}
	m.failQueue(v, d, blameVolume, awayError(v))
	m.release(v)
	return nil
}
