package mover

import (
	"time"

	"sliod/backend/sliver"
	"sliod/tape/schedule"
)

// The recalls of a volume are put in order by the owner of its drive, before it reads on. When somebody asks for
// estimates that is done at once, also for volumes that wait for a drive: till then the order is that of a
// quick look, and each request would move when a drive comes to it. What the drive is asked for is left to its owner.

// aheadShare is the share of a processor's time that this may take.
const aheadShare = 0.2

// planAhead is the goroutine that does so.
func (m *Mover) planAhead() {
	defer m.wg.Done()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.aheadWake:
		}
		begun := time.Now()
		for m.planOneAhead() && m.ctx.Err() == nil {
		}
		m.mu.Lock()
		m.est.aheadAt = begun.Add(time.Duration(float64(time.Since(begun)) / aheadShare))
		m.mu.Unlock()
	}
}

// planOneAhead puts the recalls of one volume and class in order, if there is one whose plan is stale.
func (m *Mover) planOneAhead() bool {
	m.mu.Lock()
	q := m.staleLocked(time.Now())
	if q == nil {
		m.mu.Unlock()
		return false
	}
	b := q.Plan(time.Now())
	m.mu.Unlock()
	b.Solve()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !q.Adopt(b) {
		return false // whoever asks next has it tried again
	}
	m.est.changes++
	return true
}

// staleLocked returns recalls that are to be put in order by the model; nil if there are none.
func (m *Mover) staleLocked(now time.Time) *schedule.Queue[sliver.Key] {
	for _, v := range m.volumes {
		if d := v.drive; v.queue.Len() == 0 || d != nil && d.vol == v && d.asks {
			continue
		}
		v.queue.Foresee(now)
		for c := range schedule.NumClasses {
			if q := v.queue.Queue(c); q.Stale(now) {
				return q
			}
		}
	}
	return nil
}
