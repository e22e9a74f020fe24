package simulate

import (
	"time"

	"sliod/tape"
	"sliod/tape/schedule"
)

// next decides what d, which has ended its step, does next, and begins it. It is what
// mover.next is in the server.
func (s *Simulation) next(d *drive) {
	if d.step == Resting {
		s.account(d, s.now)
	}
	if d.archiving {
		d.archiving = false
		s.woken = true // another drive may archive now
	}
	mayArchive := s.mayArchive(d)
	archiveHere := mayArchive && s.hasRoom(d.vol)
	var mine schedule.Demand
	if d.vol != nil {
		mine = recallDemand(d.vol)
	}
	if archiveHere {
		mine = join(mine, s.archiveDemand())
	}
	other, target := s.elsewhere(d, mayArchive && !archiveHere)
	switch {
	case s.err != nil:
	case mine.Slivers > 0 && s.stay(d, mine, other):
		s.work(d, archiveHere)
	case target != nil:
		d.idleSince = time.Time{}
		d.archiving = other[0].Archive
		s.exchange(d, target)
	default:
		s.rest(d)
	}
}

func (s *Simulation) stay(d *drive, mine schedule.Demand, other []schedule.Demand) bool {
	return s.cfg.Choice == Oldest || s.cfg.Policy.Stay(s.clock(), d.mountedAt, mine, other)
}

func (s *Simulation) choose(ds []schedule.Demand) int {
	if s.cfg.Choice == ByPolicy {
		return s.cfg.Policy.Choose(s.clock(), ds)
	}
	best := -1
	for i := range ds {
		if ds[i].Slivers == 0 {
			continue
		}
		if best < 0 || ds[i].Oldest.Before(ds[best].Oldest) || ds[i].Oldest.Equal(ds[best].Oldest) && ds[i].Volume < ds[best].Volume {
			best = i
		}
	}
	return best
}

// work chooses between reading and archiving on the volume that d has.
func (s *Simulation) work(d *drive, archiveHere bool) {
	d.idleSince = time.Time{}
	reads := d.vol.queue.len() > 0
	if archiveHere {
		a := s.archiveDemand()
		if !reads || !d.wrote && s.cfg.Policy.Overdue(s.clock(), &a) {
			d.archiving, d.wrote = true, true
			s.beginWrite(d)
			return
		}
	}
	d.wrote = false
	s.beginRead(d, s.dequeue(d))
}

// elsewhere returns the best demand that needs an exchange in d, as a list of one or none, and
// its volume. There is none if another drive is better for it.
func (s *Simulation) elsewhere(d *drive, archive bool) ([]schedule.Demand, *volume) {
	ds, vs := s.demands[:0], s.choices[:0]
	for _, v := range s.wanted {
		if v.drive == nil {
			ds, vs = append(ds, recallDemand(v)), append(vs, v)
		}
	}
	if archive {
		if v := s.targetVolume(); v != nil {
			ds, vs = append(ds, s.archiveDemand()), append(vs, v)
		}
	}
	s.demands, s.choices = ds, vs
	i := s.choose(ds)
	if i < 0 || s.betterDrive(d, ds[i].Archive) {
		return nil, nil
	}
	return ds[i : i+1], vs[i]
}

// betterDrive says whether a drive that rests, and so has been woken too, can serve a demand with
// less effort than d.
func (s *Simulation) betterDrive(d *drive, archive bool) bool {
	for _, e := range s.drives {
		if e == d || e.step != Resting {
			continue
		}
		if archive && s.hasRoom(e.vol) && s.mayArchive(e) {
			return true
		}
		if d.vol != nil && e.vol == nil && (!archive || s.mayArchive(e)) {
			return true
		}
	}
	return false
}

// mayArchive says whether there is archive work that d may take.
func (s *Simulation) mayArchive(d *drive) bool {
	if s.archive.len() == 0 {
		return false
	}
	n := 0
	for _, e := range s.drives {
		if e != d && e.archiving {
			n++
		}
	}
	return n < s.cfg.ArchiveDrives
}

func (s *Simulation) hasRoom(v *volume) bool { return v != nil && v.target && v.used < s.room }

// targetVolume returns the volume that is fetched to append to: the fullest with room, else
// a blank one.
func (s *Simulation) targetVolume() *volume {
	var best *volume
	claimed := false
	keep := s.targets[:0]
	for _, v := range s.targets {
		if !s.hasRoom(v) {
			continue
		}
		keep = append(keep, v)
		if v.drive != nil {
			claimed = true
		} else if best == nil || v.used > best.used {
			best = v
		}
	}
	s.targets = keep
	if best != nil {
		return best
	}
	v, err := s.newVolume(s.blankName())
	if err != nil {
		if !claimed { // else the drives that have one go on
			s.err = err
		}
		return nil
	}
	v.target, v.blank = true, true
	s.targets = append(s.targets, v)
	return v
}

// blankName names the next volume that is archived to, as no other is.
func (s *Simulation) blankName() tape.Barcode {
	for n := len(s.volumes) + 1; ; n++ {
		b := tape.Barcode(barcode('S', n, s.gen.Suffix))
		if s.volumes[b] == nil {
			return b
		}
	}
}

// rest is for a drive without work: it keeps its volume for a while.
func (s *Simulation) rest(d *drive) {
	rested := d.step == Resting // and was woken for nothing
	d.step, d.began, d.moving, d.until = Resting, s.now, 0, 0
	if d.vol == nil {
		if !rested {
			s.tell(d)
		}
		return
	}
	if d.idleSince.IsZero() {
		d.idleSince = s.clock()
	}
	left := d.idleSince.Add(s.cfg.Linger).Sub(s.clock())
	if left <= 0 {
		s.unmount(d)
		return
	}
	d.until = s.now + left
	if !rested {
		s.tell(d)
	}
}

func recallDemand(v *volume) schedule.Demand {
	return schedule.Demand{Volume: v.barcode, Slivers: v.slivers, Bytes: v.queue.bytes(), Oldest: v.queue.oldest()}
}

func (s *Simulation) archiveDemand() schedule.Demand {
	return schedule.Demand{Archive: true, Slivers: s.archive.len(), Oldest: s.archive.first().since}
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
