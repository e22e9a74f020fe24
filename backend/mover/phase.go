package mover

import (
	"time"

	"sliod/tape/geometry"
	"sliod/tape/schedule"
)

// What a drive does just now is told for forecasts, and what it takes is measured.

// beginLocked notes the task that d begins with.
func (d *drive) beginLocked(t *task, now time.Time) {
	d.doing, d.reading, d.takes, d.target, d.formatted = t.kind, nil, 0, nil, false
	switch t.kind {
	case doRead:
		d.reading, d.takes = t.job.r, t.job.model
	case doExchange, doClean:
		d.target = t.target
	case doUse:
		d.patient = t.use.patient(now)
		if t.use.vol != d.vol {
			d.target = t.use.vol
		}
	}
	phase := schedule.Working
	switch {
	case t.kind == doUnmount || d.target != nil && d.vol != nil:
		phase = schedule.Unloading
	case d.target != nil:
		phase = schedule.Fetching
	}
	d.enterLocked(phase, now)
}

// enterLocked notes that d is at another part of its task.
func (d *drive) enterLocked(phase schedule.ForecastStep, now time.Time) {
	d.phase, d.phaseAt = phase, now
	d.m.est.changes++
}

func (d *drive) enter(phase schedule.ForecastStep) {
	d.m.mu.Lock()
	d.enterLocked(phase, time.Now())
	d.m.mu.Unlock()
}

// carry has the arm carry a cartridge to d, or from it.
func (d *drive) carry(phase schedule.ForecastStep, from, to uint16) error {
	m := d.m
	begun := time.Now()
	m.mu.Lock()
	d.enterLocked(phase, begun)
	alone := !m.armWantedLocked(d)
	m.mu.Unlock()
	err := m.lib.Changer.Move(m.ctx, from, to)
	m.mu.Lock()
	if err == nil && alone && !m.armWantedLocked(d) {
		m.est.learned.arm.add(geometry.RobotMove, time.Since(begun), keepOther)
	}
	m.mu.Unlock()
	return err
}

// loadedLocked notes that v, which the arm has brought, is mounted.
func (d *drive) loadedLocked(v *volume, now time.Time) {
	if d.phase == schedule.Loading && !d.formatted {
		d.m.est.learned.load.add(loadModel(v.queue.Map()), now.Sub(d.phaseAt), keepOther)
	}
	d.target = nil
	d.asks = d.m.cfg.Goal == schedule.LeastTime && d.tape.Limits().HasOrder && !d.noOrder
	d.enterLocked(schedule.Working, now)
}

// unload has d rewind and eject v.
func (d *drive) unload(v *volume) error {
	m := d.m
	m.mu.Lock()
	begun := time.Now()
	d.enterLocked(schedule.Unloading, begun)
	modelled := v.queue.Map().Generation.Unload + v.queue.Rewind()
	m.mu.Unlock()
	err := d.tape.Unload(m.ctx)
	if err == nil {
		m.mu.Lock()
		m.est.learned.load.add(modelled, time.Since(begun), keepOther)
		v.queue.Moved(schedule.Place{}) // rewound
		m.mu.Unlock()
	}
	return err
}

// armWantedLocked says whether another drive than d has the arm carry something, or waits for it.
func (m *Mover) armWantedLocked(d *drive) bool {
	for _, e := range m.drives {
		if e != d && (e.phase == schedule.GoingHome || e.phase == schedule.Fetching) {
			return true
		}
	}
	return false
}
