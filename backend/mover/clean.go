package mover

import (
	stderrors "errors"
	"time"

	"github.com/pkg/errors"

	"sliod/tape"
)

// cleaningPoll is how often a drive is asked whether it lets the cleaning cartridge go, and
// cleaningLimit for how long: cleaning takes some minutes.
const (
	cleaningPoll  = 10 * time.Second
	cleaningLimit = 15 * time.Minute
)

// uselessCleanings is how often a drive is cleaned that asks for it again and again without
// having done any work in between.
const uselessCleanings = 2

var errNoCleaner = stderrors.New("the drive asks to be cleaned: put a cleaning cartridge in and run `sliod volumes import`")

// cleanerLocked returns a cleaning cartridge that can be fetched, or nil.
func (m *Mover) cleanerLocked(d *drive) *volume {
	var best *volume
	for _, v := range m.volumes {
		if v.cleaner && v.expired == "" && !v.away && !v.claimed() && !v.leaving && !m.liesElsewhereLocked(d, v) &&
			(best == nil || v.rec().Barcode < best.rec().Barcode) {
			best = v
		}
	}
	return best
}

// willCleanLocked says whether d, which asks to be cleaned, will be: not if that did not help.
func (m *Mover) willCleanLocked(d *drive) bool {
	return d.cleanNow && d.cleaned < uselessCleanings && m.cleanerLocked(d) != nil
}

// alerts reads what the drive has to say of itself and of v, which is loaded, and acts on it: the TapeAlert flags, which
// that clears, and its counters of errors.
func (d *drive) alerts(v *volume) {
	m := d.m
	list, err := d.tape.Alerts(m.ctx)
	if err != nil {
		return // a drive without them; one that is broken says so at the next command that matters
	}
	for _, a := range list {
		log := m.log.WithField(fieldVolume, v.rec().Barcode).WithField(fieldDrive, d.tape.Serial())
		switch a.About() {
		case tape.AboutCleanNow:
			d.askCleaning(true)
		case tape.AboutCleaning:
			d.askCleaning(false)
		case tape.AboutCleaner:
			m.mu.Lock()
			if v.cleaner {
				v.expired = a.String()
			}
			m.mu.Unlock()
		}
		if a.Severity() == tape.Information {
			log.Debugf("the drive says: %v", a)
			continue
		}
		log.Warnf("the drive says: %v (it speaks of: %v)", a, a.About())
	}
	d.account(v, list, d.unrecovered(v))
}

// askCleaning notes that the drive wants to be cleaned: now, or when it is empty.
func (d *drive) askCleaning(now bool) {
	m := d.m
	m.mu.Lock()
	asked := d.cleanNow || d.cleanSoon
	d.cleanNow, d.cleanSoon = d.cleanNow || now, true
	none := m.cleanerLocked(d) == nil
	m.mu.Unlock()
	if asked {
		return
	}
	log := m.log.WithField(fieldDrive, d.tape.Serial())
	if none {
		log.Warn(errNoCleaner)
		return
	}
	log.Info("the drive asks to be cleaned")
}

// clean has the drive cleaned by cartridge c, which is claimed for it.
func (d *drive) clean(c *volume) {
	m := d.m
	if d.vol != nil {
		_ = d.dismount(false) // noted
	}
	d.setState(driveCleaning, "cleaning with cartridge "+c.rec().Barcode)
	log := m.log.WithField(fieldVolume, c.rec().Barcode).WithField(fieldDrive, d.tape.Serial())
	err := d.fetch(c)
	if err == nil && !d.tape.Limits().Cleaning {
		err = errors.New("the drive does not take it as a cleaning cartridge")
	}
	if stderrors.Is(err, errElsewhere) || m.ctx.Err() != nil {
		m.release(c)
		return
	}
	inDrive := c.at == d.element
	if inDrive {
		d.alerts(c)
	}
	m.mu.Lock()
	if err != nil && inDrive && c.expired == "" {
		c.expired = "drive " + d.tape.Serial() + " could not be cleaned with it"
	}
	if c.expired != "" && err == nil {
		err = errors.New(c.expired)
	}
	d.cleaned++
	m.mu.Unlock()
	if err != nil {
		err = m.note("clean", c, d, "", err)
		log.WithError(err).Error("the drive was not cleaned")
	}
	if inDrive {
		d.takeOut(c)
	} else {
		m.release(c)
	}
	if err != nil {
		return
	}
	m.mu.Lock()
	d.cleanNow, d.cleanSoon = false, false
	m.stats.Cleanings++
	m.mu.Unlock()
	log.Info("the drive was cleaned")
}

// takeOut brings the cleaning cartridge home when the drive lets it go: it ejects
// it when it has done.
func (d *drive) takeOut(c *volume) {
	m := d.m
	tick := time.NewTicker(cleaningPoll)
	defer tick.Stop()
	limit := time.Now().Add(cleaningLimit)
	for {
		_ = d.tape.Unload(m.ctx) // a drive that is at it refuses; the move tells
		err := m.lib.Changer.Move(m.ctx, d.element, c.home)
		switch k := tape.KindOf(err); {
		case err == nil:
			m.carried(c, c.home)
			m.release(c)
			return
		case k == tape.ElementFull || k == tape.ElementEmpty || k == tape.UnitAttention:
			_ = d.bringHome(c) // noted
			return
		case k != tape.RemovalPrevented && k != tape.NotReady || time.Now().After(limit):
			err = m.note("move home", c, d, "", err)
			d.strike(c, blameDrive, err)
			m.release(c)
			return
		}
		select {
		case <-tick.C:
		case <-m.ctx.Done():
			m.release(c)
			return
		}
	}
}
