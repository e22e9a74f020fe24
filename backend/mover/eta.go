package mover

import (
	"time"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape/schedule"
)

// Estimates of when recalls will be done: schedule.Forecast runs the drives' decisions forward, here it is told what they are at
// (phase.go), and how long things have taken lately (learn.go). What comes of it is noted in each recall, and made anew
// when something has changed and somebody asks.

const (
	// forecastShare is the share of time that may go into forecasts, which hold the mover's lock: one that took
	// a millisecond is good for 20.
	forecastShare = 0.05
	// forecastTTL is how long a forecast is good for at most, though nothing has changed.
	forecastTTL = time.Second
	// sampleEvery is how far apart estimates are kept to be compared with the outcome.
	sampleEvery = time.Second
)

// estimator has what estimates are made of. Mover.mu guards it.
type estimator struct {
	learned learned
	// changes grows when a forecast may come out differently. The last one was made at a time, of a state, and
	// is good until then.
	changes, of uint64
	at, until   time.Time
	aheadAt     time.Time // when planAhead may go on
	sampled     time.Time // when an estimate was last kept to be compared
	accuracy    Accuracy
}

// Accuracy compares estimates with what came: those of single recalls, made when they were queued,
// one a second at most.
type Accuracy struct {
	Compared  int64
	Estimated time.Duration // sum
	Took      time.Duration // sum
	Off       time.Duration // sum of the differences, without their signs
	Close     int64         // those off by a fifth at most, or by a second
}

// forecastLocked brings the estimates of all recalls up to date, unless that was done just now.
func (m *Mover) forecastLocked(now time.Time) {
	e := &m.est
	if now.Before(e.until) || e.of == e.changes && now.Before(e.at.Add(forecastTTL)) {
		return
	}
	begun := time.Now()
	m.runForecastLocked(now)
	e.of, e.at = e.changes, now
	e.until = now.Add(time.Duration(float64(time.Since(begun)) / forecastShare))
}

// etaLocked is when r will be done.
func (m *Mover) etaLocked(r *recall, now time.Time) (time.Time, bool) {
	if r.state != active && r.state != queued {
		return time.Time{}, false // it is not known yet where it lies, or it waits for space
	}
	m.forecastLocked(now)
	if r.eta.IsZero() {
		return time.Time{}, false
	}
	if r.eta.Before(now) { // it is late
		return now, true
	}
	return r.eta, true
}

// ETA returns when the last of the slivers will be there that are on their way, and how
// many of them it knows of. Those that wait for space in the cache, or have just
// come, are not known.
func (m *Mover) ETA(keys []sliver.Key) (at time.Time, known int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for _, k := range keys {
		if r := m.recalls[k]; r != nil {
			if eta, ok := m.etaLocked(r, now); ok {
				known++
				if eta.After(at) {
					at = eta
				}
			}
		}
	}
	return at, known
}

// sampleLocked keeps the estimate of r, which has been queued, to be compared with the outcome.
func (m *Mover) sampleLocked(r *recall, now time.Time) {
	if !r.estimated.IsZero() || now.Sub(m.est.sampled) < sampleEvery {
		return
	}
	m.est.sampled = now
	if eta, ok := m.etaLocked(r, now); ok {
		r.estimated, r.estimatedAt = eta, now
	}
}

// outcomeLocked compares the estimate of r with what came.
func (m *Mover) outcomeLocked(r *recall, now time.Time) {
	if r.estimated.IsZero() {
		return
	}
	a := &m.est.accuracy
	estimated, took := r.estimated.Sub(r.estimatedAt), now.Sub(r.estimatedAt)
	off := (estimated - took).Abs()
	a.Compared++
	a.Estimated += estimated
	a.Took += took
	a.Off += off
	if off <= max(took/5, time.Second) {
		a.Close++
	}
	r.estimated = time.Time{}
}

// runForecastLocked makes the estimates of all recalls anew.
func (m *Mover) runForecastLocked(now time.Time) {
	for _, r := range m.recalls {
		r.eta = time.Time{}
	}
	if now.After(m.est.aheadAt) && m.staleLocked(now) != nil {
		select {
		case m.aheadWake <- struct{}{}:
		default:
		}
	}
	m.forecastOfLocked(now).Run()
	for _, d := range m.drives {
		if r := d.reading; r != nil && r.state == active {
			r.eta = now.Add(m.readLeftLocked(d, now))
		}
	}
}

// forecastOfLocked describes the library as it is, for a forecast.
func (m *Mover) forecastOfLocked(now time.Time) *schedule.Forecast[sliver.Key] {
	l := &m.est.learned
	f := &schedule.Forecast[sliver.Key]{
		Now: now, Policy: &m.cfg.Schedule, Served: m.served,
		ArchiveDrives: m.cfg.ArchiveDrives, RecallDrives: m.cfg.RecallDrives, ArmMove: l.armMove(),
		Done: func(k sliver.Key, after time.Duration) {
			if r := m.recalls[k]; r != nil {
				r.eta = now.Add(after)
			}
		},
	}
	volumes := make(map[*volume]*schedule.ForecastVolume[sliver.Key])
	add := func(v *volume) *schedule.ForecastVolume[sliver.Key] {
		fv := volumes[v]
		if fv == nil {
			fv = m.forecastVolumeLocked(v, now)
			volumes[v] = fv
			f.Volumes = append(f.Volumes, fv)
		}
		return fv
	}
	for _, v := range m.volumes {
		if v.queue.Len() > 0 || v.drive != nil {
			add(v)
		}
	}
	for _, d := range m.drives {
		if !d.out() {
			f.Drives = append(f.Drives, m.forecastDriveLocked(f, d, now, add))
		}
	}
	for _, ln := range m.lines {
		for _, a := range ln.lanes {
			f.Lanes = append(f.Lanes, m.forecastLaneLocked(f, a, volumes, add))
		}
	}
	return f
}

func (m *Mover) forecastVolumeLocked(v *volume, now time.Time) *schedule.ForecastVolume[sliver.Key] {
	l, g := &m.est.learned, v.queue.Map()
	fv := &schedule.ForecastVolume[sliver.Key]{
		Barcode: v.barcode(), Outlook: v.queue.Outlook(now, &m.cfg.Schedule),
		Pace: l.read.factor(&l.load), RewindPace: l.load.factor(&l.read),
		Load: l.loads(g), Unload: l.unloads(g),
		Stays: v.drive == nil && (v.claimed() || v.away) || v.drive != nil && v.drive.out(),
	}
	if v.rec().State == catalog.VolScratch {
		fv.Load += l.formatTime()
	}
	if d := v.drive; d == nil || d.vol != v {
		fv.Pace *= l.recommended.factor(nil) // the drive will be asked for the order
	} else if d.lacking {
		fv.Index = l.indexTime()
	}
	return fv
}

// forecastDriveLocked says what d is at.
func (m *Mover) forecastDriveLocked(f *schedule.Forecast[sliver.Key], d *drive, now time.Time, add func(*volume) *schedule.ForecastVolume[sliver.Key]) *schedule.ForecastDrive[sliver.Key] {
	l := &m.est.learned
	fd := &schedule.ForecastDrive[sliver.Key]{
		Mounted: d.mountedAt, Class: d.class, Archiving: d.archiving, Recalling: d.recalling, Step: schedule.Working,
	}
	elapsed := now.Sub(d.phaseAt)
	rest := func(takes time.Duration) { fd.Left = max(0, takes-elapsed) }
	if d.vol != nil {
		fd.Volume = add(d.vol)
	}
	switch d.doing {
	case doWait:
		fd.Step = schedule.Resting
	case doRead:
		fd.Left = m.readLeftLocked(d, now)
	case doArchive:
		_, batch := l.batches(1)
		rest(batch)
	case doIndex:
		rest(l.indexTime())
	case doExchange, doUnmount, doUse:
		if d.target != nil {
			fd.Target = add(d.target)
		}
		for _, v := range m.volumes {
			if v.drive == d && v != d.target && d.phase <= schedule.GoingHome {
				fd.Volume = add(v)
			}
		}
		switch fd.Step = d.phase; d.phase {
		case schedule.Working:
			if d.lent == nil {
				break
			}
			fd.Volume = add(d.lent)
			if !d.patient {
				rest(l.use.mean(0))
			}
		case schedule.Unloading:
			if fd.Volume == nil {
				break
			}
			rest(fd.Volume.Unload + fd.Volume.Index + fd.Volume.Rewind())
		case schedule.GoingHome, schedule.Fetching:
			rest(l.armMove())
			f.ArmBusy = max(f.ArmBusy, fd.Left)
		case schedule.Loading:
			if fd.Target == nil {
				break
			}
			rest(fd.Target.Load)
		}
		if fd.Target == nil && fd.Step >= schedule.Fetching {
			fd.Step = schedule.Working
		}
	}
	return fd
}

// readLeftLocked is how long what d reads will still take.
func (m *Mover) readLeftLocked(d *drive, now time.Time) time.Duration {
	l := &m.est.learned
	return max(0, l.read.scale(d.takes, &l.load)-now.Sub(d.phaseAt))
}

func (m *Mover) forecastLaneLocked(f *schedule.Forecast[sliver.Key], a *lane, volumes map[*volume]*schedule.ForecastVolume[sliver.Key],
	add func(*volume) *schedule.ForecastVolume[sliver.Key]) *schedule.ForecastLane[sliver.Key] {
	l := &m.est.learned
	each, batch := l.batches(a.n)
	fl := &schedule.ForecastLane[sliver.Key]{Demand: m.archiveDemandLocked([]*lane{a}), Each: each, Batch: batch}
	takes := make(map[*schedule.ForecastVolume[sliver.Key]]bool)
	for v, fv := range volumes {
		takes[fv] = v.takes(a)
	}
	var target *volume
	for _, d := range m.drives {
		if !d.out() && target == nil {
			target = m.targetLocked(d, a)
		}
	}
	if target != nil {
		fl.Target = add(target)
		takes[fl.Target] = true // once it is fetched for the lane
	}
	fl.Takes = func(v *schedule.ForecastVolume[sliver.Key]) bool { return takes[v] }
	return fl
}
