package mover

import (
	stderrors "errors"
	"fmt"
	"strings"
	"time"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/tape"
	"sliod/tape/ltfs"
)

var (
	errForeign  = stderrors.New("the cartridge holds something that is not of this archive: it is never overwritten")
	errMistaken = stderrors.New("another cartridge has this barcode")
)

// exchange brings v into the drive, in place of what is there. v has been
// claimed for d.
func (d *drive) exchange(v *volume) {
	if d.vol != nil {
		_ = d.dismount(false) // noted; if the cartridge is stuck, the mount fails too
	}
	d.setState(driveMounting, "mount of volume "+v.rec.Barcode)
	err := d.clearOut(v)
	if err == nil {
		err = d.mount(v)
	}
	if err != nil {
		d.mountFailed(v, err)
		return
	}
	m := d.m
	m.mu.Lock()
	d.vol, d.mountedAt = v, time.Now()
	v.queue.Rewind()
	m.stats.Mounts++
	m.wakeLocked()
	m.mu.Unlock()
	m.publishTapeSpace()
	m.log.WithField(fieldVolume, v.rec.Barcode).WithField(fieldDrive, d.tape.Serial()).Info("volume mounted")
	if err := d.adopt(); err != nil {
		_ = m.note("adopt", v, d, "", err)
		m.log.WithField(fieldVolume, v.rec.Barcode).WithError(err).Error("the index of the volume could not be brought up to date; it is only read from now on")
		// No index may be written that lacks what the catalog has on the volume, and
		// nothing appended: from its next mount on it is only read.
		if m.ctx.Err() == nil && !d.failed {
			m.setState(v, catalog.VolSuspect, "its index could not be brought up to date")
		}
		_ = d.dismount(true) // noted
	}
}

// clearOut brings home what lies in the drive from before the start, unless that
// is v.
func (d *drive) clearOut(v *volume) error {
	m := d.m
	m.mu.Lock()
	var old *volume
	for _, w := range m.volumes {
		if w != v && w.drive == nil && !w.away && w.at == d.element {
			old = w
			old.drive = d
		}
	}
	m.mu.Unlock()
	if old == nil {
		return nil
	}
	return d.bringHome(old)
}

// mount loads v, formats it if it is a blank scratch volume, and checks that it
// is what the catalog says.
func (d *drive) mount(v *volume) error {
	m := d.m
	if v.at != d.element {
		if err := m.lib.Changer.Move(m.ctx, v.at, d.element); err != nil {
			return errors.WithMessagef(err, "fetch volume %s from element %d", v.rec.Barcode, v.at)
		}
		m.mu.Lock()
		v.at = d.element
		m.mu.Unlock()
	}
	if err := d.tape.Load(m.ctx); err != nil {
		return err
	}
	lv, err := ltfs.Mount(m.ctx, d.tape, d.mountOptions())
	var not *ltfs.NotLTFSError
	_ = stderrors.As(err, &not)
	switch {
	case v.rec.State == catalog.VolScratch && v.rec.UUID != "" && (cutOff(not, v) || stderrors.Is(err, ltfs.ErrInconsistent)):
		lv, err = d.format(v)
	case not != nil:
		if v.rec.State != catalog.VolScratch || !not.Blank {
			return errors.WithMessage(errForeign, not.Found)
		}
		lv, err = d.format(v)
	case err == nil && v.rec.State == catalog.VolScratch:
		lv, err = d.reuse(v, lv)
	}
	if err != nil {
		return err
	}
	if lv.UUID() != v.rec.UUID {
		return errors.WithMessagef(errMistaken, "its UUID is %s, the catalog says %s", lv.UUID(), v.rec.UUID)
	}
	d.lv = lv
	return nil
}

// cutOff says whether not, of a cartridge that was about to be formatted, is what
// a format leaves that was cut off: nothing, or the volume's own VOL1 label and not
// all that follows it.
func cutOff(not *ltfs.NotLTFSError, v *volume) bool {
	return not != nil && (not.Blank || not.Serial != "" && strings.HasPrefix(v.rec.Barcode, not.Serial))
}

// reuse decides about an LTFS volume that the catalog calls scratch: one that was
// reclaimed, by its UUID, is formatted; an empty one is taken as it is, for
// example after a crash between format and catalog; anything else is foreign.
func (d *drive) reuse(v *volume, lv *ltfs.Volume) (*ltfs.Volume, error) {
	switch {
	case v.rec.UUID != "" && lv.UUID() == v.rec.UUID:
		return d.format(v)
	case v.rec.UUID == "" && isEmpty(lv):
		return lv, d.recordNew(v, lv)
	}
	return nil, errors.WithMessagef(errForeign, "LTFS volume %s", lv.UUID())
}

func (d *drive) format(v *volume) (*ltfs.Volume, error) {
	m := d.m
	m.log.WithField(fieldVolume, v.rec.Barcode).WithField(fieldDrive, d.tape.Serial()).Info("formatting a scratch volume")
	// The UUID is on record before the first byte is: if formatting is cut off, the
	// cartridge is known as ours.
	if err := m.updateVolume(v, func(rec *catalog.Volume) { rec.UUID = newUUID() }); err != nil {
		return nil, err
	}
	if err := m.cat.Sync(); err != nil {
		return nil, err
	}
	if err := ltfs.Format(m.ctx, d.tape, d.formatOptions(v)); err != nil {
		return nil, err
	}
	lv, err := ltfs.Mount(m.ctx, d.tape, d.mountOptions())
	if err != nil {
		return nil, err
	}
	return lv, d.recordNew(v, lv)
}

// recordNew records a volume that is now ours, and syncs: its UUID must be known
// before the first byte of a file is on it.
func (d *drive) recordNew(v *volume, lv *ltfs.Volume) error {
	now := time.Now()
	err := d.m.updateVolume(v, func(rec *catalog.Volume) {
		rec.State, rec.UUID = catalog.VolAppend, lv.UUID()
		rec.Capacity, rec.Used, rec.Dead = d.tape.Limits().CapacityBytes, 0, 0
		rec.BlockSize, rec.Formatted = uint32(lv.BlockSize()), catalog.Time{Sec: now.Unix(), Nsec: uint32(now.Nanosecond())}
		rec.Generation, rec.EndOfData = lv.Generation(), posOf(lv.EndOfData())
	})
	if err != nil {
		return err
	}
	return d.m.cat.Sync()
}

// mountFailed sorts the failure of a mount out: the state of the volume, the
// blame of the drive, and the recalls that waited for it. The cartridge goes home.
func (d *drive) mountFailed(v *volume, err error) {
	m := d.m
	d.lv = nil
	if m.ctx.Err() != nil {
		m.release(v)
		return
	}
	b := blameFor(err)
	kind := tape.KindOf(err)
	switch {
	case kind == tape.ElementEmpty:
		b = blameVolume // it is not where it was thought to be
	case kind == tape.ElementFull, b == blameNobody:
		b = blameDrive // something unknown is in it, or it does not settle
	}
	foreignTape := stderrors.Is(err, errForeign)
	err = m.note("mount", v, d, "", err)
	log := m.log.WithField(fieldVolume, v.rec.Barcode).WithField(fieldDrive, d.tape.Serial()).WithError(err)
	switch {
	case foreignTape && v.rec.State == catalog.VolScratch:
		log.Warn("the cartridge is left alone: to use it, erase it with another program, then remove it from the catalog")
		m.setState(v, catalog.VolReadOnly, "foreign")
	case kind == tape.WriteProtected:
		log.Warn("the volume is write-protected")
		m.setState(v, catalog.VolReadOnly, "write-protected")
	case kind == tape.ElementEmpty:
		log.Error("the volume is not where it was: taking inventory")
	default:
		log.Error("mount failed")
		if b == blameVolume {
			m.setState(v, catalog.VolSuspect, err.Error())
		}
		d.strike(v, b, err)
	}
	m.failQueue(v, d, b, err)
	at := v.at
	if at == d.element {
		_ = d.bringHome(v) // noted
	} else {
		m.release(v)
	}
	if kind != tape.ElementEmpty {
		return
	}
	if err := m.inventory(m.ctx); err != nil {
		_ = m.note("inventory", nil, nil, "", err)
	}
	m.mu.Lock()
	still := !v.away && v.at == at
	m.mu.Unlock()
	if still {
		d.strike(v, blameDrive, err) // the changer contradicts itself: not again and again
	}
}

// failQueue gives every recall that waits for v its failover.
func (m *Mover) failQueue(v *volume, d *drive, b blame, err error) {
	var jobs []job
	m.mu.Lock()
	for _, k := range v.queue.Keys() {
		v.queue.Remove(k)
		r := m.recalls[k]
		r.state = active
		jobs = append(jobs, job{r: r, key: k, seq: r.seq, copy: r.copy})
	}
	m.mu.Unlock()
	for _, j := range jobs {
		m.failover(j, d, b, err)
	}
}

// dismount writes the index, unless the volume or the drive is broken, and
// brings the cartridge home. The error has been noted. In any case the drive
// has no volume afterwards.
func (d *drive) dismount(broken bool) error {
	m, v := d.m, d.vol
	d.setState(driveUnmounting, "unmount of volume "+v.rec.Barcode)
	var first error
	if !broken && d.lv != nil {
		first = d.writeIndex()
		if first == nil {
			if err := d.lv.Close(m.ctx); err != nil {
				first = m.note("unmount", v, d, "", err)
			}
		}
	}
	d.lv, d.paths = nil, nil
	d.unindexed, d.dirtyAt = 0, time.Time{}
	d.requeueMeta()
	m.mu.Lock()
	d.vol = nil
	m.mu.Unlock()
	if err := d.bringHome(v); err != nil && first == nil {
		first = err
	}
	m.log.WithField(fieldVolume, v.rec.Barcode).WithField(fieldDrive, d.tape.Serial()).Info("volume unmounted")
	return first
}

// bringHome unloads v and carries it to its slot. v is claimed for d, and is
// free afterwards, wherever it is.
func (d *drive) bringHome(v *volume) error {
	m := d.m
	defer m.release(v)
	if err := d.tape.Unload(m.ctx); err != nil {
		err = m.note("unload", v, d, "", err)
		d.strike(v, blameFor(err), err)
		if tape.KindOf(err) != tape.NotReady { // else there is nothing to unload: move it
			return err
		}
	}
	home := v.home
	err := m.lib.Changer.Move(m.ctx, d.element, home)
	if tape.KindOf(err) == tape.ElementFull {
		m.mu.Lock()
		slot, ok := m.freeSlotLocked()
		m.mu.Unlock()
		if ok {
			home = slot
			err = m.lib.Changer.Move(m.ctx, d.element, home)
		}
	}
	if err != nil {
		err = m.note("move home", v, d, fmt.Sprintf("element %d", d.element), err)
		d.strike(v, blameDrive, err)
		return err
	}
	m.mu.Lock()
	v.at, v.home = home, home
	m.mu.Unlock()
	return nil
}

// release ends d's claim on v.
func (m *Mover) release(v *volume) {
	m.mu.Lock()
	v.drive = nil
	m.wakeLocked()
	m.mu.Unlock()
}
