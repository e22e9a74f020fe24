package mover

import (
	"time"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape/schedule"
)

type taskKind uint8

const (
	doWait        taskKind = iota // until woken, or for a time
	doPlan                        // put the recalls in order
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
	queue  *schedule.Queue[sliver.Key] // doPlan
	job    job                         // doRead
	target *volume                     // doExchange, doClean
	use    *use                        // doUse
	pool   string                      // doExchange: of which the volume is to be, "" if no batch goes to it
	wait   time.Duration               // doWait; 0: until woken
}

// next decides what d does next. Only d's owner calls it.
func (m *Mover) next(d *drive) task {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	t := m.nextLocked(d, now)
	if t.kind == doIndex && d.vol.hasRoom() {
		// Soon it goes on with this volume: meanwhile the drives that may archive are not one more.
		d.archiving = true
	}
	d.beginLocked(&t, now)
	return t
}

func (m *Mover) nextLocked(d *drive, now time.Time) task {
	d.idle = false
	if archived, recalled := d.archiving, d.recalling; archived || recalled {
		d.archiving, d.recalling = false, false
		defer func() {
			if archived && !d.archiving || recalled && !d.recalling && m.queued > 0 {
				m.wakeLocked() // another drive may take that part now
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
	mayRecall := m.mayRecallLocked(d)
	mine := schedule.Demand{}
	if d.vol != nil {
		if mayRecall {
			mine = recallDemand(d.vol)
		}
		if d.vol.useReady(now) && (!d.used || mine.Slivers == 0 && !archiveHere) {
			return m.takeUseLocked(d, d.vol)
		}
	}
	d.used = false
	if archiveHere {
		mine = mine.Join(here)
	}
	others := m.elsewhereLocked(d, now, mayArchive, mayRecall)
	takes := func() time.Duration { return d.vol.queue.Takes(now) }
	step, i, class := m.cfg.Schedule.Decide(now, &m.served, &schedule.Drive{Mounted: d.mountedAt, Mine: mine, Takes: takes}, demands(others),
		func(i int) bool { return m.betterDriveLocked(d, &others[i]) })
	switch step {
	case schedule.Work:
		return m.workLocked(d, now, here, mayRecall, m.behindLocked(others))
	case schedule.Exchange:
		other := &others[i]
		target := other.volume
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
		target.drive, d.class = d, class
		if target.useReady(now) {
			return m.takeUseLocked(d, target)
		}
		d.archiving, d.recalling = other.lane != nil, other.lane == nil
		t := task{kind: doExchange, target: target}
		if other.lane != nil {
			t.pool = other.lane.pool
		}
		return t
	}
	return m.restLocked(d, now)
}

// behindLocked is how many recalls of other volumes wait for each drive.
func (m *Mover) behindLocked(others []elsewhere) float64 {
	recalls, drives := 0, 0
	for i := range others {
		if others[i].lane == nil {
			recalls += others[i].demand.Slivers
		}
	}
	for _, d := range m.drives {
		if !d.out() {
			drives++
		}
	}
	return float64(recalls) / float64(max(drives, 1))
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
func (m *Mover) workLocked(d *drive, now time.Time, archive schedule.Demand, mayRecall bool, behind float64) task {
	reads := mayRecall && d.vol.queue.Len() > 0
	if archive.Slivers > 0 {
		if m.cfg.Schedule.Archives(now, reads, d.wrote, &archive) {
			d.archiving, d.wrote = true, true
			m.served[schedule.ArchiveClass] = now
			return task{kind: doArchive}
		}
	}
	d.recalling = true
	if d.strayed {
		d.strayed = false
		d.vol.queue.Moved(schedule.Place{Position: d.lv.Head()})
	}
	if !d.planned {
		d.vol.queue.Behind(behind)
		if q := d.vol.queue.Stale(now, &m.cfg.Schedule); q != nil {
			// The next step is a read: not another use, and with d.wrote as it is no other batch.
			d.planned, d.used = true, true
			return task{kind: doPlan, queue: q}
		}
	}
	d.wrote, d.planned = false, false
	k, class, _, _ := d.vol.queue.Next(now, &m.cfg.Schedule)
	if class == d.class {
		m.served[class] = now
	}
	r := m.recalls[k]
	r.state = active
	return task{kind: doRead, job: job{r: r, key: k, seq: r.seq, loc: r.loc, copy: r.copy, model: d.vol.queue.Busy(now)}}
}

// elsewhere is work that a drive could do after an exchange.
type elsewhere struct {
	demand schedule.Demand
	volume *volume
	lane   *lane // of archive work, for which volume is the target
}

func demands(list []elsewhere) []schedule.Demand {
	ds := make([]schedule.Demand, len(list))
	for i := range list {
		ds[i] = list[i].demand
	}
	return ds
}

// elsewhereLocked returns what d could do after an exchange.
func (m *Mover) elsewhereLocked(d *drive, now time.Time, archive, recall bool) (list []elsewhere) {
	for _, v := range m.volumes {
		if v.claimed() || v.away || v.queue.Len() == 0 && !v.useReady(now) || !m.mayMountLocked(d, v) || m.liesElsewhereLocked(d, v) {
			continue
		}
		demand := schedule.Demand{Volume: v.barcode()}
		if recall {
			demand = recallDemand(v)
		}
		if v.useReady(now) {
			demand = demand.Join(useDemand(v))
		}
		list = append(list, elsewhere{demand: demand, volume: v})
	}
	if archive {
		for _, l := range m.lines {
			for _, a := range l.lanes {
				if d.vol != nil && d.vol.takes(a) {
					continue
				}
				if v := m.targetLocked(d, a); v != nil {
					list = append(list, elsewhere{m.archiveDemandLocked([]*lane{a}), v, a})
				}
			}
		}
	}
	return list
}

// betterDriveLocked says whether a drive that is idle, and so has been woken too,
// can do o with less effort than d.
func (m *Mover) betterDriveLocked(d *drive, o *elsewhere) bool {
	for _, e := range m.drives {
		if e == d || e.out() || !e.idle {
			continue
		}
		may := o.lane == nil || m.mayArchiveLocked(e)
		r := schedule.Rival{Ready: o.lane != nil && may && e.vol != nil && e.vol.takes(o.lane), Loaded: e.vol != nil, May: may && m.mayMountLocked(e, o.volume)}
		if r.Better(d.vol != nil) {
			return true
		}
	}
	return false
}

// mayMountLocked says whether v can go to d: not if it failed there, unless no
// other drive is left for it.
func (m *Mover) mayMountLocked(d *drive, v *volume) bool {
	if !d.blamed[v.rec().No] {
		return true
	}
	for _, e := range m.drives {
		if !e.out() && !e.blamed[v.rec().No] {
			return false
		}
	}
	return true
}

// liesElsewhereLocked says whether v, which no drive has claimed, lies in another
// drive than d, from before the start: that one has to unload it, so it is the one
// to mount it or to bring it home.
func (m *Mover) liesElsewhereLocked(d *drive, v *volume) bool {
	e := m.driveAtLocked(v.at)
	return e != nil && e != d && !e.out() && !e.blamed[v.rec().No]
}

// targetLocked returns the volume that d would fetch to append what is in a lane: the
// fullest with room, else a scratch volume, of the pool or of the pool "scratch"; nil if
// there is none, or if no scratch volume need be begun as another drive is about to
// give back one with room. What is urgent does not wait for that.
func (m *Mover) targetLocked(d *drive, a *lane) *volume {
	var best *volume
	returns := false
	for _, v := range m.volumes {
		returns = returns || v.returning() && v.takes(a) && !d.blamed[v.rec().No]
		if v.claimed() || !v.isTargetOf(a) || d.blamed[v.rec().No] || m.liesElsewhereLocked(d, v) {
			continue
		}
		if best == nil || betterTarget(a, v, best) {
			best = v
		}
	}
	if returns && best != nil && best.rec().State == catalog.VolScratch && !m.archiveDemandLocked([]*lane{a}).Urgent {
		return nil // the drive wakes all others when it has given it back
	}
	return best
}

func betterTarget(a *lane, v, w *volume) bool {
	if va, wa := v.rec().State == catalog.VolAppend, w.rec().State == catalog.VolAppend; va != wa {
		return va
	}
	if vo, wo := v.pool() == a.pool, w.pool() == a.pool; vo != wo {
		return vo
	}
	if v.rec().Used != w.rec().Used {
		return v.rec().Used > w.rec().Used
	}
	return v.rec().Barcode < w.rec().Barcode
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
	case full && m.planning+len(m.inBatch) == 0: // a batch under way makes room in the cache
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
			if v.drive == nil && !d.out() && !d.blamed[v.rec().No] {
				return true, nil
			}
		}
	}
	if last := a.front().lastErr; room && last != nil {
		return true, last
	}
	return room, m.spaceError(a)
}

// restLocked is for a drive without work: it keeps its volume for a while, and what else lies in it.
func (m *Mover) restLocked(d *drive, now time.Time) task {
	if t, ok := m.backgroundLocked(d, now); ok {
		return t
	}
	d.idle = true
	if d.vol == nil {
		if v := m.liesInLocked(d); v == nil || v == d.stays {
			d.idleSince = time.Time{}
			return task{kind: doWait}
		}
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
		b := schedule.Demand{Archive: true, Slivers: a.n, Urgent: !a.copies && (m.pressure || m.asideN > 0)}
		b.Oldest[schedule.ArchiveClass] = a.oldest()
		d = d.Join(b)
	}
	return d
}
