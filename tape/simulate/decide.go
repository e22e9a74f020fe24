package simulate

import (
	"time"

	"sliod/tape"
	"sliod/tape/schedule"
)

// next decides what d, which has ended its step, does next, and begins it. It is what
// mover.next is in the server; what is decided about what there is to choose from is the same code.
func (s *Simulation) next(d *drive) {
	if d.step == Resting {
		s.account(d, s.now)
	}
	archived, recalled := d.archiving, d.recalling
	d.archiving, d.recalling = false, false
	mayArchive := s.mayArchive(d)
	archiveHere := mayArchive && s.hasRoom(d.vol)
	mayRecall := s.mayRecall(d)
	var mine schedule.Demand
	if d.vol != nil && mayRecall {
		mine = recallDemand(d.vol)
	}
	if archiveHere {
		mine = mine.Join(s.archiveDemand())
	}
	others, volumes := s.elsewhere(mayArchive && !archiveHere, mayRecall)
	if s.err != nil {
		return
	}
	takes := func() time.Duration { // the plan knows the next piece of each request
		return max(d.vol.queue.takes(s.clock()), seconds(float64(d.vol.bytes)/s.gen.Rate))
	}
	step, i, class := s.decide(&schedule.Drive{Mounted: d.mountedAt, Mine: mine, Takes: takes}, others,
		func(i int) bool { return s.betterDrive(d, others[i].Archive) })
	switch step {
	case schedule.Work:
		s.work(d, archiveHere, mayRecall)
	case schedule.Exchange:
		d.idleSince, d.class = time.Time{}, class
		d.archiving, d.recalling = others[i].Archive, !others[i].Archive
		s.exchange(d, volumes[i])
	default:
		s.rest(d)
	}
	if archived && !d.archiving || recalled && !d.recalling && s.archive.len() > 0 {
		s.woken = true // another drive may take that part now
	}
}

// decide is Policy.Decide, or what Oldest stands for.
func (s *Simulation) decide(d *schedule.Drive, others []schedule.Demand, better func(int) bool) (schedule.Step, int, schedule.Class) {
	if s.cfg.Choice == ByPolicy {
		return s.cfg.Policy.Decide(s.clock(), &s.worked, d, others, better)
	}
	if d.Mine.Slivers > 0 {
		return schedule.Work, -1, schedule.Client
	}
	best := -1
	var since time.Time
	for i := range others {
		at := others[i].Oldest.Oldest()
		if others[i].Slivers > 0 && (best < 0 || at.Before(since) || at.Equal(since) && others[i].Volume < others[best].Volume) {
			best, since = i, at
		}
	}
	if best < 0 || better(best) {
		return schedule.Rest, -1, schedule.Client
	}
	return schedule.Exchange, best, schedule.Client
}

// work chooses between reading and archiving on the volume that d has.
func (s *Simulation) work(d *drive, archiveHere, mayRecall bool) {
	d.idleSince = time.Time{}
	reads := mayRecall && d.vol.queue.len() > 0
	if archiveHere {
		a := s.archiveDemand()
		if s.cfg.Policy.Archives(s.clock(), reads, d.wrote, &a) {
			d.archiving, d.wrote = true, true
			s.worked[schedule.ArchiveClass] = s.clock()
			s.beginWrite(d)
			return
		}
	}
	d.wrote, d.recalling = false, true
	p := s.dequeue(d)
	if p.class == d.class {
		s.worked[p.class] = s.clock()
	}
	s.beginRead(d, p)
}

// elsewhere returns the demands that a drive could serve after an exchange, and their volumes. They
// are good until it is called again.
func (s *Simulation) elsewhere(archive, recall bool) ([]schedule.Demand, []*volume) {
	ds, vs := s.demands[:0], s.choices[:0]
	if recall {
		for _, v := range s.wanted {
			if v.drive == nil {
				ds, vs = append(ds, recallDemand(v)), append(vs, v)
			}
		}
	}
	if archive {
		if v := s.targetVolume(); v != nil {
			ds, vs = append(ds, s.archiveDemand()), append(vs, v)
		}
	}
	s.demands, s.choices = ds, vs
	return ds, vs
}

// betterDrive says whether a drive that rests, and so has been woken too, can serve a demand with
// less effort than d.
func (s *Simulation) betterDrive(d *drive, archive bool) bool {
	for _, e := range s.drives {
		if e == d || e.step != Resting {
			continue
		}
		may := !archive || s.mayArchive(e)
		r := schedule.Rival{Ready: archive && may && s.hasRoom(e.vol), Loaded: e.vol != nil, May: may}
		if r.Better(d.vol != nil) {
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

// mayRecall says whether d may recall. It may if it could not archive anyhow.
func (s *Simulation) mayRecall(d *drive) bool {
	if s.cfg.RecallDrives >= len(s.drives) || !s.mayArchive(d) || !s.hasRoom(d.vol) && s.targetVolume() == nil {
		return true
	}
	n := 0
	for _, e := range s.drives {
		if e != d && e.recalling {
			n++
		}
	}
	return n < s.cfg.RecallDrives
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
	return schedule.Demand{Volume: v.barcode, Slivers: v.slivers, Bytes: v.bytes, Oldest: v.queue.oldest()}
}

func (s *Simulation) archiveDemand() schedule.Demand {
	d := schedule.Demand{Archive: true, Slivers: s.archive.len()}
	d.Oldest[schedule.ArchiveClass] = s.archive.first().since
	return d
}
