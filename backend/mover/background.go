package mover

import (
	"slices"
	"time"

	"sliod/tape/schedule"
)

// patient says whether u is in the background and may wait until a drive has nothing else
// to do. One that has waited for Config.BackgroundWait is as any other use.
func (u *use) patient(now time.Time) bool { return u.o.Background && now.Before(u.impatient) }

// addUse enters u behind the uses that were there before; those in the background come last.
func (v *volume) addUse(u *use) {
	at := len(v.uses)
	if !u.o.Background {
		if i := slices.IndexFunc(v.uses, func(w *use) bool { return w.o.Background }); i >= 0 {
			at = i
		}
	}
	v.uses = slices.Insert(v.uses, at, u)
}

// backgroundLocked gives d, which has nothing else to do, a use in the background: of the
// volume that it has, else of another one if it is empty. A volume that lingers in its drive
// is not sent home for it.
func (m *Mover) backgroundLocked(d *drive, now time.Time) (task, bool) {
	if m.useN == 0 {
		return task{}, false
	}
	if d.vol != nil {
		if len(d.metaDone) > 0 || len(d.vol.uses) == 0 || !d.vol.uses[0].o.Background {
			return task{}, false // files wait for the index: it is written first
		}
		return m.takeUseLocked(d, d.vol), true
	}
	var best *volume
	for _, v := range m.volumes {
		if len(v.uses) == 0 || !v.uses[0].o.Background || v.claimed() || v.away || !m.mayMountLocked(d, v) || m.liesElsewhereLocked(d, v) {
			continue
		}
		if best == nil || v.uses[0].since.Before(best.uses[0].since) {
			best = v
		}
	}
	if best == nil {
		return task{}, false
	}
	best.drive = d
	return m.takeUseLocked(d, best), true
}

// Wanted says that a use in the background is to end now: the drive has other work, or
// the use has had it for a turn.
func (s *Session) Wanted() bool {
	d := s.d
	m := d.m
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if m.closing || d.failed || now.Sub(s.since) >= m.cfg.Schedule.Turn[schedule.Client] {
		return true
	}
	return s.patient && m.otherWorkLocked(d, now)
}

// otherWorkLocked says whether d, which has lent its volume, has anything else to do.
func (m *Mover) otherWorkLocked(d *drive, now time.Time) bool {
	mayArchive := m.mayArchiveLocked(d)
	if d.vol != nil {
		archiveHere := mayArchive && d.vol.hasRoom() && m.archiveDemandLocked(m.lanesFor(d.vol)).Slivers > 0
		if archiveHere || d.vol.queue.Len() > 0 || d.indexDue(now) || len(d.vol.uses) > 0 && !d.vol.uses[0].o.Background {
			return true
		}
	}
	return slices.ContainsFunc(m.elsewhereLocked(d, now, mayArchive, m.mayRecallLocked(d)),
		func(o elsewhere) bool { return o.demand.Slivers > 0 && !m.betterDriveLocked(d, &o) })
}
