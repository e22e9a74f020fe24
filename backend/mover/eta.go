package mover

import (
	"slices"
	"time"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape/schedule"
)

// Estimates of when recalls will be done. The queue of a volume says how long what lies before
// a request takes, by the model of the tape; here is when a drive will begin with the
// volume: what the scheduler would choose next, again and again. Both are corrected by what
// drives and exchanges have taken lately, as a library may be faster or slower than the model.

// guessedExchange is how long an exchange takes as long as none has been measured.
const guessedExchange = 80 * time.Second

// estimator has what was measured. Mover.mu guards it.
type estimator struct {
	exchange time.Duration // the mean of the last ones; 0: none yet
	// modelled and took are what the model said and what reads took, older ones fading out.
	modelled, took float64

	begins   map[catalog.VolumeNo]time.Duration // when volumes get their drives, from at on
	at       time.Time
	sampled  time.Time // when an estimate was last kept to be compared
	accuracy Accuracy
}

// planTTL is how long a plan of volumes is good for, and how far apart estimates are kept to
// be compared with the outcome.
const planTTL = time.Second

// Accuracy compares estimates with what came: those of single recalls, made when they were queued,
// one a second at most.
type Accuracy struct {
	Compared  int64
	Estimated time.Duration // sum
	Took      time.Duration // sum
	Off       time.Duration // sum of the differences, without their signs
	Close     int64         // those off by a fifth at most, or by a second
}

// exchanged notes how long an exchange took.
func (e *estimator) exchanged(took time.Duration) {
	if e.exchange == 0 {
		e.exchange = took
		return
	}
	e.exchange += (took - e.exchange) / 4
}

// readTook notes how long a read took, and what the model said.
func (e *estimator) readTook(modelled, took time.Duration) {
	const keep = 0.98
	e.modelled = e.modelled*keep + modelled.Seconds()
	e.took = e.took*keep + took.Seconds()
}

// pace is by what a modelled time is to be multiplied.
func (e *estimator) pace() float64 {
	if e.modelled <= 0 {
		return 1
	}
	return e.took / e.modelled
}

func (e *estimator) scale(d time.Duration) time.Duration {
	return time.Duration(float64(d) * e.pace())
}

func (e *estimator) exchangeTime() time.Duration {
	if e.exchange == 0 {
		return guessedExchange
	}
	return e.exchange
}

// planLocked brings est.begins up to date.
func (m *Mover) planLocked(now time.Time) {
	e := &m.est
	if e.begins != nil && now.Sub(e.at) < planTTL {
		return
	}
	e.begins, e.at = make(map[catalog.VolumeNo]time.Duration), now
	type free struct {
		at time.Duration
	}
	var drives []free
	var waiting []*volume
	var ds []schedule.Demand
	for _, v := range m.volumes {
		if v.queue.Len() == 0 {
			continue
		}
		if v.drive == nil {
			waiting = append(waiting, v)
			ds = append(ds, recallDemand(v))
		}
	}
	var others schedule.Times
	for i := range ds {
		others.Join(ds[i].Oldest)
	}
	for _, d := range m.drives {
		if d.out() {
			continue
		}
		at := time.Duration(0)
		for _, v := range m.volumes {
			if v.drive != d || v.queue.Len() == 0 {
				continue
			}
			if d.vol != v { // it is on its way
				at = max(0, e.exchangeTime()-now.Sub(d.since))
			}
			e.begins[v.rec().No] = at
			work := e.scale(v.queue.Takes(now))
			if best := others.Best(); best < schedule.NumClasses {
				oldest := v.queue.Oldest()
				if best < oldest.Best() { // they are more urgent, and wait for a turn
					work = min(work, max(0, m.cfg.Schedule.Turn[best]-now.Sub(d.mountedAt)))
				}
			}
			at += work
		}
		drives = append(drives, free{at})
	}
	for len(waiting) > 0 && len(drives) > 0 {
		soonest := 0
		for i := range drives {
			if drives[i].at < drives[soonest].at {
				soonest = i
			}
		}
		at := drives[soonest].at
		i, _ := m.cfg.Schedule.Choose(now.Add(at), &m.served, ds)
		if i < 0 {
			break
		}
		at += e.exchangeTime()
		e.begins[waiting[i].rec().No] = at
		drives[soonest].at = at + e.scale(waiting[i].queue.Takes(now))
		waiting, ds = slices.Delete(waiting, i, i+1), slices.Delete(ds, i, i+1)
	}
}

// etaLocked is when r will be done.
func (m *Mover) etaLocked(r *recall, now time.Time) (time.Time, bool) {
	switch r.state {
	case active:
		return now, true
	case queued:
	default:
		return time.Time{}, false // it is not known yet where it lies, or it waits for space
	}
	m.planLocked(now)
	left, ok := r.vol.queue.ETA(r.key, now)
	begins, known := m.est.begins[r.vol.rec().No]
	if !ok || !known {
		return time.Time{}, false
	}
	return m.est.at.Add(begins).Add(m.est.scale(left)), true
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

// volumeETALocked is when all that is queued for v will be done.
func (m *Mover) volumeETALocked(v *volume, now time.Time) time.Time {
	m.planLocked(now)
	begins, ok := m.est.begins[v.rec().No]
	if !ok {
		return time.Time{}
	}
	return m.est.at.Add(begins).Add(m.est.scale(v.queue.Takes(now)))
}

// sampleLocked keeps the estimate of r, which has been queued, to be compared with the outcome.
func (m *Mover) sampleLocked(r *recall, now time.Time) {
	if !r.estimated.IsZero() || now.Sub(m.est.sampled) < planTTL {
		return
	}
	m.est.sampled, m.est.begins = now, nil
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
