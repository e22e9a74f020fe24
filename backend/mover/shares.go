package mover

// Drives are shared between those who read and those who write: while there is work
// of both kinds, at most Config.ArchiveDrives archive and at most Config.RecallDrives
// recall at the same time. Where there is one kind of work alone the second limit
// does not apply: a drive is not kept idle for what may come.

// mayArchiveLocked says whether there is archive work that d may take.
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

// mayRecallLocked says whether d may recall. It may if it could not archive anyhow.
func (m *Mover) mayRecallLocked(d *drive) bool {
	if m.cfg.RecallDrives >= len(m.drives) || !m.mayArchiveLocked(d) {
		return true
	}
	if !m.anyLane(func(a *lane) bool { return d.vol != nil && d.vol.takes(a) || m.targetLocked(d, a) != nil }) {
		return true
	}
	n := 0
	for _, e := range m.drives {
		if e != d && e.recalling {
			n++
		}
	}
	return n < m.cfg.RecallDrives
}
