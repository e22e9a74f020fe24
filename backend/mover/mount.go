package mover

import (
	stderrors "errors"
	"fmt"
	"time"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/tape"
	"sliod/tape/ltfs"
	"sliod/tape/schedule"
)

var (
	errForeign  = stderrors.New("the cartridge holds something that is not of this archive: it is never overwritten")
	errMistaken = stderrors.New("another cartridge has this barcode")
	errCleaner  = stderrors.New("it is a cleaning cartridge: add its barcode to library.cleaning")
	// errElsewhere says that the cartridge is not where it was, and nobody is to blame.
	errElsewhere = stderrors.New("the cartridge was moved by somebody else")
)

// maxFetches is how often a cartridge is fetched again that is not where the library said.
const maxFetches = 3

// exchange brings v into the drive, in place of what is there. v has been
// claimed for d. If it is for a batch, pool is of which pool it is to be.
func (d *drive) exchange(v *volume, pool string) {
	if d.vol != nil {
		_ = d.dismount(false) // noted; if the cartridge is stuck, the mount fails too
	}
	d.setState(driveMounting, "mount of volume "+v.rec().Barcode)
	err := d.fetch(v)
	if err == nil && pool != "" {
		err = d.m.intoPool(v, pool)
	}
	if err == nil {
		err = d.mount(v)
	}
	if err != nil {
		_ = d.mountFailed(v, err) // noted
		return
	}
	_ = d.mounted(v) // noted
}

// mounted makes v, whose LTFS volume d.lv is, the drive's volume. An error has
// been noted, and the volume is not in the drive any longer.
func (d *drive) mounted(v *volume) error {
	m := d.m
	planner := d.survey(v)
	m.mu.Lock()
	now := time.Now()
	d.vol, d.mountedAt = v, now
	d.loadedLocked(v, now)
	m.surveyedLocked(v, planner, now)
	v.queue.Mounted(now, &m.cfg.Schedule)
	if d.asks {
		v.queue.Reconsider(now)
	}
	m.stats.Mounts++
	m.wakeLocked()
	m.mu.Unlock()
	m.noteKey(v, d.lv)
	d.checkProtection(v)
	d.alerts(v)
	d.lv.Moved() // a reset that was told to it has moved the tape
	m.publishTapeSpace()
	m.log.WithField(fieldVolume, v.rec().Barcode).WithField(fieldDrive, d.tape.Serial()).Info("volume mounted")
	if err := d.adopt(); err != nil {
		_ = m.note("adopt", v, d, "", err)
		m.log.WithField(fieldVolume, v.rec().Barcode).WithError(err).Error("the index of the volume could not be brought up to date; it is only read from now on")
		// No index may be written that lacks what the catalog has on the volume, and
		// nothing appended: from its next mount on it is only read.
		if m.ctx.Err() == nil && !d.failed {
			m.setState(v, catalog.VolSuspect, "its index could not be brought up to date")
		}
		_ = d.dismount(true) // noted
		return err
	}
	return nil
}

// clearOut brings home what lies in the drive and is nobody's.
func (d *drive) clearOut() error {
	m := d.m
	m.mu.Lock()
	v := m.liesInLocked(d)
	if v != nil {
		v.drive = d
	}
	m.mu.Unlock()
	if v == nil {
		return nil
	}
	err := d.bringHome(v)
	if err != nil {
		m.mu.Lock()
		d.stays = v
		m.mu.Unlock()
	}
	return err
}

// liesInLocked returns the volume that lies in d and is nobody's, or nil: one from before the
// start, that somebody has put there, or that did not come out.
func (m *Mover) liesInLocked(d *drive) *volume {
	for _, v := range m.volumes {
		if !v.claimed() && (!v.away || v.why == whyTwice) && v.at == d.element {
			return v
		}
	}
	return nil
}

// fetch brings v into the drive, in place of what is left there, and loads it. It
// looks before where things are: others move cartridges, too.
func (d *drive) fetch(v *volume) error {
	m := d.m
	for try := 1; ; try++ {
		m.lookAgain(v)
		m.mu.Lock()
		at, away, blocked, where := v.at, v.away, d.blocked, m.whereLocked(v)
		other := m.driveAtLocked(at)
		// As for the choice of the volume: a drive that is to blame for it does not bring it
		// home, so somebody has to try.
		elsewhere := m.liesElsewhereLocked(d, v)
		m.mu.Unlock()
		switch {
		case away:
			return errors.WithMessage(errElsewhere, awayError(v).Error())
		case elsewhere:
			return errors.WithMessagef(errElsewhere, "volume %s is in %s now", v.rec().Barcode, where)
		case blocked != "":
			return errors.WithMessagef(errElsewhere, "drive %s cannot be used: %s", d.tape.Serial(), blocked)
		}
		err := d.clearOut()
		if err == nil && at != d.element {
			if err = d.carry(schedule.Fetching, at, d.element); err != nil {
				from := fmt.Sprintf("element %d", at)
				if other != nil {
					from = fmt.Sprintf("drive %s, which does not let it go", other.tape.Serial())
				}
				err = errors.WithMessagef(armError{err}, "fetch volume %s from %s", v.rec().Barcode, from)
			} else {
				m.carried(v, d.element)
			}
		}
		if err == nil {
			d.enter(schedule.Loading)
			if err = d.tape.Load(m.ctx); err != nil && m.ctx.Err() == nil && d.worthAnother(err) {
				m.log.WithField(fieldVolume, v.rec().Barcode).WithField(fieldDrive, d.tape.Serial()).WithError(err).Warn("load failed: trying again")
				err = d.tape.Load(m.ctx)
			}
			if err == nil {
				return nil
			}
			if tape.KindOf(err) != tape.NotReady || !d.taken(v, err) {
				return err
			}
		} else if !surprise(err) {
			return err
		}
		if try == maxFetches || m.ctx.Err() != nil {
			return err
		}
		m.log.WithField(fieldVolume, v.rec().Barcode).WithError(err).Warn("a cartridge is not where it was; looking again")
	}
}

// surprise says whether err, of a move, tells that things are elsewhere than they were
// thought to be.
func surprise(err error) bool {
	switch tape.KindOf(err) {
	case tape.UnitAttention, tape.ElementEmpty, tape.ElementFull, tape.RemovalPrevented:
		return true
	}
	return false
}

// carried notes that v is in an element now.
func (m *Mover) carried(v *volume, to uint16) {
	m.mu.Lock()
	m.moves++
	v.at, v.moved = to, m.moves
	m.mu.Unlock()
}

// driveAtLocked returns the drive of an element, or nil.
func (m *Mover) driveAtLocked(at uint16) *drive {
	for _, d := range m.drives {
		if d.hasElement && d.element == at {
			return d
		}
	}
	return nil
}

// mount mounts v, which is loaded, formats it if it is a blank scratch volume, and
// checks that it is what the catalog says.
func (d *drive) mount(v *volume) error {
	m := d.m
	if d.tape.Limits().Cleaning {
		return errCleaner
	}
	rec := v.rec()
	lv, err := ltfs.Mount(m.ctx, d.tape, m.mountOptions(rec.Pool))
	if err != nil && m.ctx.Err() == nil && !keyTrouble(err) && d.worthAnother(err) {
		// What is said of the volume now may take it out of use, or have it formatted.
		log := m.log.WithField(fieldVolume, rec.Barcode).WithField(fieldDrive, d.tape.Serial()).WithError(err)
		if rec.State == catalog.VolScratch && stderrors.Is(err, ltfs.ErrNotLTFS) {
			log.Info("not formatted yet, as it seems: looking again") // as is usual
		} else {
			log.Warn("mount failed: looking again")
		}
		first := err
		if lv, err = ltfs.Mount(m.ctx, d.tape, m.mountOptions(rec.Pool)); isBlank(err) && !isBlank(first) {
			err = first // what was seen once is there, whatever the drive says now: it is not written over
		}
	}
	if err := m.keepNeeded(v); err != nil {
		return err
	}
	rec = v.rec()
	var not *ltfs.NotLTFSError
	_ = stderrors.As(err, &not)
	again, lookErr := d.again(v, err)
	switch {
	case lookErr != nil:
		return lookErr
	case again:
		lv, err = d.format(v, nil)
	case not != nil:
		if rec.State != catalog.VolScratch && not.Blank {
			return errors.WithMessage(errMistaken, "the cartridge is blank, and the catalog has data on the volume")
		}
		if rec.State != catalog.VolScratch || !not.Blank {
			return errors.WithMessage(errForeign, not.Found)
		}
		lv, err = d.format(v, nil)
	case err == nil && rec.State == catalog.VolScratch:
		lv, err = d.reuse(v, lv)
	}
	if err != nil {
		return err
	}
	if is := v.rec().UUID; lv.UUID() != is {
		return errors.WithMessagef(errMistaken, "its UUID is %s, the catalog says %s", lv.UUID(), is)
	}
	d.lv = lv
	return nil
}

// mountFailed sorts the failure of a mount out: the state of the volume, the
// blame of the drive, and the recalls that waited for it. The cartridge goes home.
// It returns err with its circumstances.
func (d *drive) mountFailed(v *volume, err error) error {
	m := d.m
	d.lv = nil
	if m.ctx.Err() != nil {
		m.release(v)
		return err
	}
	if stderrors.Is(err, errElsewhere) {
		m.log.WithField(fieldVolume, v.rec().Barcode).WithField(fieldDrive, d.tape.Serial()).WithError(err).Warn("the volume is not fetched")
		m.requeue(v, true)
		m.release(v)
		return err
	}
	b := d.blameFor(err)
	kind := tape.KindOf(err)
	switch {
	case kind == tape.ElementEmpty:
		b = blameVolume // it is not where it was thought to be
	case kind == tape.ElementFull, b == blameNobody:
		b = blameDrive // something unknown is in it, or it does not settle
	}
	foreignTape := stderrors.Is(err, errForeign)
	cleaner := stderrors.Is(err, errCleaner)
	err = m.note("mount", v, d, "", err)
	log := m.log.WithField(fieldVolume, v.rec().Barcode).WithField(fieldDrive, d.tape.Serial()).WithError(err)
	switch {
	case cleaner:
		log.Warn("the cartridge is left alone")
		m.mu.Lock()
		v.cleaner = true
		m.mu.Unlock()
	case foreignTape && v.rec().State == catalog.VolScratch:
		log.Warn("the cartridge is left alone: to use it, run `sliod import`, or `sliod format` to lose what it holds")
		m.setState(v, catalog.VolReadOnly, errForeign.Error())
	case keyTrouble(err):
		log.Error("the volume cannot be used before its key is configured")
		m.protect(v, err.Error())
	case stderrors.Is(err, ltfs.ErrCannotEncrypt): // there may be drives that can
		log.Warn("the volume is not written here")
		m.mu.Lock()
		d.lastErr, d.blamed[v.rec().No] = err, true
		for _, l := range m.lines {
			for _, a := range l.lanes {
				if v.isTargetOf(a) {
					a.front().lastErr = err
				}
			}
		}
		m.mu.Unlock()
	case kind == tape.WriteProtected && b == blameVolume:
		log.Warn("the volume is write-protected")
		m.protect(v, protection(d.tape.Limits()))
	case kind == tape.ElementEmpty:
		log.Error("the volume is not where it was: taking inventory")
	default:
		log.Error("mount failed")
		if b == blameVolume && v.rec().State != catalog.VolReadOnly {
			m.setState(v, catalog.VolSuspect, err.Error())
		}
		d.strike(v, b, err)
	}
	m.mu.Lock()
	will := m.willCleanLocked(d)
	m.mu.Unlock()
	if will && kind == tape.CleaningNeeded {
		m.requeue(v, true)
	} else {
		m.failQueue(v, d, b, err)
	}
	at := v.at
	if at == d.element {
		_ = d.bringHome(v) // noted
	} else {
		m.release(v)
	}
	if kind != tape.ElementEmpty {
		return err
	}
	if err := m.inventory(m.ctx, nil); err != nil {
		_ = m.note("inventory", nil, nil, "", err)
	}
	m.mu.Lock()
	still := !v.away && v.at == at
	m.mu.Unlock()
	if still {
		d.strike(v, blameDrive, err) // the changer contradicts itself: not again and again
	}
	return err
}

// requeue has every recall that waits for v located anew. counted: it was an attempt.
func (m *Mover) requeue(v *volume, counted bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range v.queue.Keys() {
		r := m.recalls[k]
		if counted {
			r.attempts++
		}
		m.unqueueLocked(r)
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
	log := m.log.WithField(fieldVolume, v.rec().Barcode).WithField(fieldDrive, d.tape.Serial())
	d.enter(schedule.Unloading)
	d.setState(driveUnmounting, "unmount of volume "+v.rec().Barcode)
	if broken {
		d.lv = nil
	}
	first := d.closeVolume()
	if err := d.bringHome(v); err != nil && first == nil {
		first = err
	}
	log.Info("volume unmounted") // v is no longer claimed
	return first
}

// closeVolume writes the index of the drive's volume, unless d.lv is nil, and
// leaves the cartridge in the drive. The error has been noted. In any case the drive
// has no volume afterwards, but its claim on the cartridge.
func (d *drive) closeVolume() error {
	m, v := d.m, d.vol
	var first error
	if d.lv != nil {
		first = d.writeIndex()
		if first == nil {
			if err := d.lv.Close(m.ctx); err != nil {
				first = m.note("unmount", v, d, "", err)
			}
		}
	}
	var head tape.Position
	if d.lv != nil {
		head = d.lv.Head()
	}
	d.lv, d.paths = nil, nil
	d.unindexed = 0
	d.indexed()
	d.requeueMeta()
	m.mu.Lock()
	v.queue.Moved(schedule.Place{Position: head})
	d.vol = nil
	m.mu.Unlock()
	return first
}

// bringHome unloads v and carries it to its slot. v is claimed for d, and is
// free afterwards, wherever it is.
func (d *drive) bringHome(v *volume) error {
	m := d.m
	defer m.release(v)
	m.lookAgain(v)
	m.mu.Lock()
	taken := v.away && v.why != whyTwice || v.at != d.element
	m.mu.Unlock()
	if taken {
		m.log.WithField(fieldVolume, v.rec().Barcode).WithField(fieldDrive, d.tape.Serial()).Warn("the cartridge is not in the drive any longer: somebody took it out")
		return nil
	}
	home, ok := m.homeOf(v)
	if !ok {
		return m.note("move home", v, d, "", armError{errNoSlot})
	}
	d.alerts(v)
	if err := d.unload(v); err != nil {
		err = m.note("unload", v, d, "", err)
		d.strike(v, blameFor(err), err)
		if tape.KindOf(err) != tape.NotReady { // else there is nothing to unload: move it
			return err
		}
	}
	err := d.carry(schedule.GoingHome, d.element, home)
	for try := 1; err != nil && try < maxFetches && surprise(err) && m.ctx.Err() == nil; try++ {
		if d.taken(v, err) {
			return nil
		}
		m.mu.Lock()
		if slot, ok := m.freeSlotLocked(); ok && tape.KindOf(err) == tape.ElementFull {
			home = slot
		}
		m.mu.Unlock()
		err = d.carry(schedule.GoingHome, d.element, home)
	}
	if err != nil {
		err = m.note("move home", v, d, fmt.Sprintf("element %d", d.element), err)
		d.strike(v, blameDrive, err)
		return err
	}
	m.carried(v, home)
	m.mu.Lock()
	v.home = home
	m.mu.Unlock()
	return nil
}

// homeOf is the slot that v goes home to: a free one if it has none, as one whose slot was taken while it was in a drive;
// false: there is none.
func (m *Mover) homeOf(v *volume) (uint16, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.slots[v.home]; ok {
		return v.home, true
	}
	slot, ok := m.freeSlotLocked()
	if ok {
		v.home = slot
	}
	return slot, ok
}

// release ends d's claim on v.
func (m *Mover) release(v *volume) {
	m.mu.Lock()
	v.drive = nil
	m.wakeLocked()
	m.mu.Unlock()
}
