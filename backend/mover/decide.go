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
	pool   string        // doExchange: of which the volume is to be, "" if no batch goes to it
	wait   time.Duration // doWait; 0: until woken
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
	if len(m.stuckLocked()) > 0 {
		return task{kind: doFailArchive}
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
	var here schedule.Demand // archive work for the volume in d
	if mayArchive && d.vol != nil && d.vol.hasRoom() {
		here = m.archiveDemandLocked(m.lanesFor(d.vol))
	}
	archiveHere := here.Slivers > 0
	mine := schedule.Demand{}
	if d.vol != nil {
		mine = recallDemand(d.vol)
		if d.vol.useReady(now) && (!d.used || mine.Slivers == 0 && !archiveHere) {
			return m.takeUseLocked(d, d.vol)
		}
	}
	d.used = false
	if archiveHere {
		mine = join(mine, here)
	}
	other, target, pool := m.elsewhereLocked(d, now, mayArchive)
	if mine.Slivers > 0 && m.cfg.Schedule.Stay(now, d.mountedAt, mine, other) {
		return m.workLocked(d, now, here)
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
		return task{kind: doExchange, target: target, pool: pool}
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
func (m *Mover) workLocked(d *drive, now time.Time, a schedule.Demand) task {
	reads := d.vol.queue.Len() > 0
	if a.Slivers > 0 {
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
// of one or none, its volume, and the pool that a batch for it is of. There is none if
// another drive is better for it.
func (m *Mover) elsewhereLocked(d *drive, now time.Time, archive bool) ([]schedule.Demand, *volume, string) {
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
	recalls := len(ds)
	var lanes []*lane // of the demands behind those
	if archive {
		for _, l := range m.lines {
			for _, a := range l.lanes {
				if d.vol != nil && d.vol.takes(a) {
					continue
				}
				if v := m.targetLocked(d, a); v != nil {
					ds, vs, lanes = append(ds, m.archiveDemandLocked([]*lane{a})), append(vs, v), append(lanes, a)
				}
			}
		}
	}
	i := m.cfg.Schedule.Choose(now, ds)
	if i < 0 {
		return nil, nil, ""
	}
	var a *lane
	pool := ""
	if i >= recalls {
		a = lanes[i-recalls]
		pool = a.pool
	}
	if m.betterDriveLocked(d, vs[i], a) {
		return nil, nil, ""
	}
	return ds[i : i+1], vs[i], pool
}

// betterDriveLocked says whether a drive that is idle, and so has been woken too,
// can serve v, or a lane that v is for, with less effort than d.
func (m *Mover) betterDriveLocked(d *drive, v *volume, a *lane) bool {
	for _, e := range m.drives {
		if e == d || e.out() || !e.idle {
			continue
		}
		if a != nil && e.vol != nil && e.vol.takes(a) && m.mayArchiveLocked(e) {
			return true
		}
		if d.vol != nil && e.vol == nil && m.mayMountLocked(e, v) && (a == nil || m.mayArchiveLocked(e)) {
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

// targetLocked returns the volume that d would fetch to append what is in a lane: the
// fullest with room, else a scratch volume, of the pool or of the pool "scratch"; nil if
// there is none.
func (m *Mover) targetLocked(d *drive, a *lane) *volume {
	var best *volume
	for _, v := range m.volumes {
		if v.claimed() || !v.isTargetOf(a) || d.blamed[v.rec.No] || m.liesElsewhereLocked(d, v) {
			continue
		}
		if best == nil || betterTarget(a, v, best) {
			best = v
		}
	}
	return best
}

func betterTarget(a *lane, v, w *volume) bool {
	if va, wa := v.rec.State == catalog.VolAppend, w.rec.State == catalog.VolAppend; va != wa {
		return va
	}
	if vo, wo := v.pool() == a.pool, w.pool() == a.pool; vo != wo {
		return vo
	}
	if v.rec.Used != w.rec.Used {
		return v.rec.Used > w.rec.Used
	}
	return v.rec.Barcode < w.rec.Barcode
}

// mayArchiveLocked says whether there is archive work that d may take: at most
// ArchiveDrives drives do so at a time.
func (m *Mover) mayArchiveLocked(d *drive) bool {
	if m.queued == 0 {
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

// stuckLocked returns the lanes that no drive and volume will ever take, each with the
// reason. It notes whether there is no tape space: that is so if new content waits and
// none of it can go on.
func (m *Mover) stuckLocked() map[*lane]error {
	if m.queued == 0 {
		return nil
	}
	stuck := make(map[*lane]error)
	anyDrive := m.anyDriveLocked()
	goesOn, full := false, false
	for _, l := range m.lines {
		for _, a := range l.lanes {
			err := error(errNoDrive)
			room := true
			if anyDrive {
				room, err = m.whyStuckLocked(a)
			}
			if err != nil {
				stuck[a] = err
			}
			goesOn = goesOn || !a.copies && err == nil
			full = full || !a.copies && !room
		}
	}
	switch {
	case goesOn:
		m.noTape = false
	case full:
		m.noTape = true
	}
	return stuck
}

// whyStuckLocked says why no drive and volume will take a lane, nil if one does, and
// whether there is a volume with room for it.
func (m *Mover) whyStuckLocked(a *lane) (room bool, why error) {
	for _, v := range m.volumes {
		if !v.isTargetOf(a) {
			continue
		}
		room = true
		if v.drive != nil && !v.drive.out() {
			return true, nil
		}
		for _, d := range m.drives {
			if v.drive == nil && !d.out() && !d.blamed[v.rec.No] {
				return true, nil
			}
		}
	}
	if last := a.front().lastErr; room && last != nil {
		return true, last
	}
	return room, m.spaceError(a)
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
	if at, ok := d.indexAt(m.queued == 0); ok {
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

// archiveDemandLocked returns the demand of lanes: none if there are none.
func (m *Mover) archiveDemandLocked(lanes []*lane) (d schedule.Demand) {
	for _, a := range lanes {
		b := schedule.Demand{Archive: true, Slivers: a.n, Oldest: a.oldest(), Urgent: !a.copies && (m.pressure || m.asideN > 0)}
		d = join(d, b)
	}
	return d
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
