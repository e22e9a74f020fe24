package mover

import (
	"time"

	"sliod/backend/catalog"
	"sliod/tape/schedule"
)

type taskKind uint8

const (
	doWait        taskKind = iota // until woken, or for a time
	doRead                        // one sliver
	doArchive                     // one batch
	doExchange                    // for another volume
	doIndex                       // write the index
	doUnmount                     // nobody needs the volume
	doClean                       // by the cartridge target
	doUse                         // lend the volume to somebody
	doFailArchive                 // there is no volume or no drive for it
	doStop
)

// task is the next step of a drive.
type task struct {
	kind   taskKind
	job    job           // doRead
	target *volume       // doExchange, doClean
	use    *use          // doUse
	wait   time.Duration // doWait; 0: until woken
	err    error         // doFailArchive
}

// next decides what d does next. Only d's owner calls it.
func (m *Mover) next(d *drive) task {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	d.idle = false
	if d.archiving {
		d.archiving = false
		defer func() {
			if !d.archiving {
				m.wakeLocked() // another drive may archive now
			}
		}()
	}
	if m.closing || m.ctx.Err() != nil {
		return task{kind: doStop}
	}
	if err := m.archiveStuckLocked(); err != nil {
		return task{kind: doFailArchive, err: err}
	}
	m.failStuckUsesLocked()
	if d.out() {
		d.idle = true
		return task{kind: doWait}
	}
	if d.cleanNow || d.cleanSoon && d.vol == nil {
		if t, ok := m.cleanLocked(d); ok {
			return t
		}
	}
	if d.indexDue(now) {
		return task{kind: doIndex}
	}

	mayArchive := m.mayArchiveLocked(d)
	archiveHere := mayArchive && d.vol != nil && d.vol.hasRoom()
	mine := schedule.Demand{}
	if d.vol != nil {
		mine = recallDemand(d.vol)
		if d.vol.useReady(now) && (!d.used || mine.Slivers == 0 && !archiveHere) {
			return m.takeUseLocked(d, d.vol)
		}
	}
	d.used = false
	if archiveHere {
		mine = join(mine, m.archiveDemandLocked())
	}
	other, target := m.elsewhereLocked(d, now, mayArchive && !archiveHere)
	if mine.Slivers > 0 && m.cfg.Schedule.Stay(now, d.mountedAt, mine, other) {
		return m.workLocked(d, now, archiveHere)
	}
	if target != nil {
		if d.vol != nil && m.locating+len(m.inbox) > 0 {
			// What the clerk has in hand may be for this volume.
			d.idle = true
			return task{kind: doWait}
		}
		if d.cleanSoon {
			if t, ok := m.cleanLocked(d); ok {
				return t
			}
		}
		target.drive = d
		if target.useReady(now) {
			return m.takeUseLocked(d, target)
		}
		d.archiving = other[0].Archive
		return task{kind: doExchange, target: target}
	}
	return m.restLocked(d, now)
}

// cleanLocked has d cleaned, if there is a cartridge for it and it helps.
func (m *Mover) cleanLocked(d *drive) (task, bool) {
	c := m.cleanerLocked(d)
	if c == nil || d.cleaned >= uselessCleanings {
		return task{}, false
	}
	c.drive = d
	return task{kind: doClean, target: c}, true
}

// workLocked chooses between reading and archiving on the volume that d has.
// Recalls go first, as somebody waits for them, unless they wait for archiving
// themselves. The two take turns when both cannot wait.
func (m *Mover) workLocked(d *drive, now time.Time, archiveHere bool) task {
	reads := d.vol.queue.Len() > 0
	if archiveHere {
		a := m.archiveDemandLocked()
		if !reads || !d.wrote && (a.Urgent || m.cfg.Schedule.Overdue(now, &a)) {
			d.archiving, d.wrote = true, true
			return task{kind: doArchive}
		}
	}
	d.wrote = false
	k, _, _ := d.vol.queue.Next()
	r := m.recalls[k]
	r.state = active
	return task{kind: doRead, job: job{r: r, key: k, seq: r.seq, loc: r.loc, copy: r.copy}}
}

// elsewhereLocked returns the best demand that needs an exchange in d, as a list
// of one or none, and its volume. There is none if another drive is better for it.
func (m *Mover) elsewhereLocked(d *drive, now time.Time, archive bool) ([]schedule.Demand, *volume) {
	var ds []schedule.Demand
	var vs []*volume
	for _, v := range m.volumes {
		if v.claimed() || v.away || v.queue.Len() == 0 && !v.useReady(now) || !m.mayMountLocked(d, v) || m.liesElsewhereLocked(d, v) {
			continue
		}
		demand := recallDemand(v)
		if v.useReady(now) {
			demand = join(demand, useDemand(v))
		}
		ds, vs = append(ds, demand), append(vs, v)
	}
	if archive {
		if v := m.targetLocked(d); v != nil {
			ds, vs = append(ds, m.archiveDemandLocked()), append(vs, v)
		}
	}
	i := m.cfg.Schedule.Choose(now, ds)
	if i < 0 || m.betterDriveLocked(d, vs[i], ds[i].Archive) {
		return nil, nil
	}
	return ds[i : i+1], vs[i]
}

// betterDriveLocked says whether a drive that is idle, and so has been woken too,
// can serve v with less effort than d.
func (m *Mover) betterDriveLocked(d *drive, v *volume, archive bool) bool {
	for _, e := range m.drives {
		if e == d || e.out() || !e.idle {
			continue
		}
		if archive && e.vol != nil && e.vol.hasRoom() && m.mayArchiveLocked(e) {
			return true
		}
		if d.vol != nil && e.vol == nil && m.mayMountLocked(e, v) && (!archive || m.mayArchiveLocked(e)) {
			return true
		}
	}
	return false
}

// mayMountLocked says whether v can go to d: not if it failed there, unless no
// other drive is left for it.
func (m *Mover) mayMountLocked(d *drive, v *volume) bool {
	if !d.blamed[v.rec.No] {
		return true
	}
	for _, e := range m.drives {
		if !e.out() && !e.blamed[v.rec.No] {
			return false
		}
	}
	return true
}

// liesElsewhereLocked says whether v, which no drive has claimed, lies in another
// drive than d, from before the start: that one has to unload it, so it is the one
// to mount it or to bring it home.
func (m *Mover) liesElsewhereLocked(d *drive, v *volume) bool {
	for _, e := range m.drives {
		if e != d && e.hasElement && v.at == e.element && !e.out() && !e.blamed[v.rec.No] {
			return true
		}
	}
	return false
}

// targetLocked returns the volume that d would fetch to append to: the fullest
// with room, else a scratch volume; nil if there is none.
func (m *Mover) targetLocked(d *drive) *volume {
	var best *volume
	for _, v := range m.volumes {
		if v.claimed() || !v.isTarget() || d.blamed[v.rec.No] || m.liesElsewhereLocked(d, v) {
			continue
		}
		if best == nil || betterTarget(v, best) {
			best = v
		}
	}
	return best
}

func betterTarget(v, w *volume) bool {
	if va, wa := v.rec.State == catalog.VolAppend, w.rec.State == catalog.VolAppend; va != wa {
		return va
	}
	if v.rec.Used != w.rec.Used {
		return v.rec.Used > w.rec.Used
	}
	return v.rec.Barcode < w.rec.Barcode
}

// mayArchiveLocked says whether there is archive work that d may take: at most
// ArchiveDrives drives do so at a time.
func (m *Mover) mayArchiveLocked(d *drive) bool {
	if len(m.archive) == 0 {
		return false
	}
	n := 0
	for _, e := range m.drives {
		if e != d && e.archiving {
			n++
		}
	}
	return n < m.cfg.ArchiveDrives
}

// archiveStuckLocked returns an error if there is archive work and no drive and
// volume will ever take it.
func (m *Mover) archiveStuckLocked() error {
	if len(m.archive) == 0 {
		return nil
	}
	if !m.anyDriveLocked() {
		return errNoDrive
	}
	targets := false
	for _, v := range m.volumes {
		if !v.isTarget() {
			continue
		}
		targets = true
		if v.drive != nil && !v.drive.out() {
			m.noTape = false
			return nil
		}
		for _, d := range m.drives {
			if v.drive == nil && !d.out() && !d.blamed[v.rec.No] {
				m.noTape = false
				return nil
			}
		}
	}
	if last := m.archive[0].lastErr; targets && last != nil {
		return last
	}
	if !targets {
		m.noTape = true
	}
	return errTapeSpace
}

// restLocked is for a drive without work: it keeps its volume for a while.
func (m *Mover) restLocked(d *drive, now time.Time) task {
	if t, ok := m.backgroundLocked(d, now); ok {
		return t
	}
	d.idle = true
	if d.vol == nil {
		return task{kind: doWait}
	}
	if d.idleSince.IsZero() {
		d.idleSince = now
	}
	left := d.idleSince.Add(m.cfg.Linger).Sub(now)
	if left <= 0 {
		d.idle = false
		return task{kind: doUnmount}
	}
	if at, ok := d.indexAt(len(m.archive) == 0); ok {
		left = min(left, at.Sub(now))
		if left <= 0 {
			d.idle = false
			return task{kind: doIndex}
		}
	}
	return task{kind: doWait, wait: left}
}

func recallDemand(v *volume) schedule.Demand {
	return schedule.Demand{Volume: v.barcode(), Slivers: v.queue.Len(), Bytes: v.queue.Bytes(), Oldest: v.queue.Oldest()}
}

func (m *Mover) archiveDemandLocked() schedule.Demand {
	return schedule.Demand{
		Archive: true, Slivers: len(m.archive), Oldest: m.archive[0].since,
		Urgent: m.pressure || m.asideN > 0,
	}
}

// join adds the demand b to a, for the same volume.
func join(a, b schedule.Demand) schedule.Demand {
	if a.Slivers == 0 {
		return b
	}
	a.Slivers += b.Slivers
	a.Bytes += b.Bytes
	a.Urgent = a.Urgent || b.Urgent
	a.Archive = a.Archive && b.Archive
	if b.Oldest.Before(a.Oldest) {
		a.Oldest = b.Oldest
	}
	return a
}
