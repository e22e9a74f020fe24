package schedule

import "time"

// Step is what a drive does next.
type Step uint8

// Steps.
const (
	Rest     Step = iota // nothing, here or elsewhere
	Work                 // what waits for its volume
	Exchange             // get the volume of another demand
)

func (s Step) String() string { return [...]string{"rest", "work", "exchange"}[s] }

// Drive is a drive that asks what to do next.
type Drive struct {
	Mounted time.Time // since when it has its volume
	Mine    Demand    // what waits for that and can be done now; no work: nothing
	// Takes says how long the recalls of Mine will take, by the plan. It is asked when another demand is to have
	// the drive.
	Takes func() time.Duration
}

// Decide says what a drive does next. others are the demands that no drive has claimed and that
// this one could serve after an exchange; better says that another drive, which is idle, can serve
// others[i] with less effort, so that this one leaves it alone. For Exchange, i is the demand and c
// the class for whose sake it is chosen. served is as for Choose.
func (p *Policy) Decide(now time.Time, served *Times, d *Drive, others []Demand, better func(i int) bool) (s Step, i int, c Class) {
	i, c = p.Choose(now, served, others)
	var other []Demand
	if i >= 0 && !better(i) {
		other = others[i : i+1]
	}
	switch {
	case d.Mine.Slivers > 0 && (p.Stay(now, d.Mounted, served, d.Mine, other) || p.rest(now, d, &other[0], c)):
		return Work, -1, c
	case len(other) > 0:
		return Exchange, i, c
	}
	return Rest, -1, c
}

// rest says whether d reads the rest of what waits for its volume before it goes for another demand, for the sake of
// class c: to fetch the volume again for what takes less than a client's turn costs more. New requests do not make it
// longer than Patience and a turn, or half of Patience if the other is more urgent.
func (p *Policy) rest(now time.Time, d *Drive, other *Demand, c Class) bool {
	best := d.Mine.Oldest.Best()
	limit := (Patience + 1) * p.Turn[min(c, best)]
	if c < best {
		limit = Patience / 2 * p.Turn[c]
	}
	return !other.Urgent && !d.Mine.Archive && now.Sub(d.Mounted) < limit && d.Takes() < p.Turn[Client]
}

// Rival is a drive that is idle, as one that asks sees it for a demand.
type Rival struct {
	Ready  bool // the work can go to the volume that it has: archive work alone can
	Loaded bool // it has a volume
	May    bool // it may take the work after an exchange
}

// Better says whether the rival serves a demand with less effort than a drive that asks, which has
// a volume if loaded.
func (r Rival) Better(loaded bool) bool { return r.Ready || loaded && !r.Loaded && r.May }

// ArchiveClass is the class of archive work: nobody waits for it as a client does.
const ArchiveClass = Bulk

// Archives says whether a drive on whose volume recalls and archive work could go on archives. Recalls
// go first, as somebody waits for them, unless they wait for archiving themselves (it is urgent) or
// archiving is overdue; then the two take turns: archived says that it did so last.
func (p *Policy) Archives(now time.Time, recalls, archived bool, archive *Demand) bool {
	return !recalls || !archived && (archive.Urgent || p.Overdue(now, ArchiveClass, archive.Oldest[ArchiveClass]))
}

// Join adds the demand b to a, for the same volume.
func (a Demand) Join(b Demand) Demand {
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

// Share returns how many of n drives a share from 0 to 1 is: at least one.
func Share(of float64, n int) int { return min(n, max(1, int(of*float64(n)+1e-9))) }
