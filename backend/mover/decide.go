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
	if archived, recalled := d.archiving, d.recalling; archived || recalled {
		d.archiving, d.recalling = false, false
		defer func() {
			if archived && !d.archiving || recalled && !d.recalling && len(m.archive) > 0 {
				m.wakeLocked() // another drive may take that part now
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
	mayRecall := m.mayRecallLocked(d)
	mine := schedule.Demand{}
	if d.vol != nil {
		if mayRecall {
			mine = recallDemand(d.vol)
		}
		if d.vol.useReady() && (!d.used || mine.Slivers == 0 && !archiveHere) {
			return m.takeUseLocked(d, d.vol)
		}
	}
	d.used = false
	if archiveHere {
		mine = join(mine, m.archiveDemandLocked())
	}
	other, class, target := m.elsewhereLocked(d, now, mayArchive && !archiveHere, mayRecall)
	if mine.Slivers > 0 && m.cfg.Schedule.Stay(now, d.mountedAt, &m.served, mine, other) {
		return m.workLocked(d, now, archiveHere, mayRecall)
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
		target.drive, d.class, d.since = d, class, now
		if target.useReady() {
			return m.takeUseLocked(d, target)
		}
		d.archiving, d.recalling = other[0].Archive, !other[0].Archive
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
func (m *Mover) workLocked(d *drive, now time.Time, archiveHere, mayRecall bool) task {
	reads := mayRecall && d.vol.queue.Len() > 0
	if archiveHere {
		a := m.archiveDemandLocked()
		if !reads || !d.wrote && (a.Urgent || m.cfg.Schedule.Overdue(now, archiveClass, a.Oldest[archiveClass])) {
			d.archiving, d.wrote = true, true
			m.served[archiveClass] = now
			return task{kind: doArchive}
		}
	}
	d.wrote, d.recalling = false, true
	k, class, _, _ := d.vol.queue.Next(now, &m.cfg.Schedule)
	if class == d.class {
		m.served[class] = now
	}
	r := m.recalls[k]
	r.state = active
	return task{kind: doRead, job: job{r: r, key: k, seq: r.seq, loc: r.loc, copy: r.copy, begun: now, model: d.vol.queue.Busy(now)}}
}

// elsewhereLocked returns the best demand that needs an exchange in d, as a list
// of one or none, the class for whose sake it is, and its volume. There is none if another
// drive is better for it.
func (m *Mover) elsewhereLocked(d *drive, now time.Time, archive, recall bool) ([]schedule.Demand, schedule.Class, *volume) {
	var ds []schedule.Demand
	var vs []*volume
	for _, v := range m.volumes {
		if v.claimed() || v.away || v.queue.Len()+len(v.uses) == 0 || !m.mayMountLocked(d, v) || m.liesElsewhereLocked(d, v) {
			continue
		}
		demand := schedule.Demand{Volume: v.barcode()}
		if recall {
			demand = recallDemand(v)
		}
		if len(v.uses) > 0 {
			demand = join(demand, useDemand(v))
		}
		ds, vs = append(ds, demand), append(vs, v)
	}
	if archive {
		if v := m.targetLocked(d); v != nil {
			ds, vs = append(ds, m.archiveDemandLocked()), append(vs, v)
		}
	}
	i, class := m.cfg.Schedule.Choose(now, &m.served, ds)
	if i < 0 || m.betterDriveLocked(d, vs[i], ds[i].Archive) {
		return nil, class, nil
	}
	return ds[i : i+1], class, vs[i]
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

// archiveClass is the class of archive work: nobody waits for it as a client does.
const archiveClass = schedule.Bulk

func (m *Mover) archiveDemandLocked() schedule.Demand {
	d := schedule.Demand{Archive: true, Slivers: len(m.archive), Urgent: m.pressure || m.asideN > 0}
	d.Oldest[archiveClass] = m.archive[0].since
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
	a.Oldest.Join(b.Oldest)
	return a
}
