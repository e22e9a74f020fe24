package schedule

import (
	"math/bits"
	"time"

	"sliod/tape"
)

// Demand is the work that waits for one volume.
type Demand struct {
	Volume  tape.Barcode // "" for archive work, which any volume with room can take
	Archive bool
	Slivers int       // requests that can be served now
	Bytes   int64     // their sum
	Oldest  time.Time // since when the oldest waits
	Urgent  bool      // other work waits for this: it goes before all that is not urgent
}

// Policy weighs demands. The zero value is not usable: see DefaultPolicy.
type Policy struct {
	// MaxWait is how long a demand may be passed over for better ones.
	MaxWait time.Duration
	// Turn is how long a volume with work keeps its drive though another demand
	// has waited longer than MaxWait: the price of an exchange must be worth it.
	Turn time.Duration
}

// DefaultPolicy suits a library where an exchange takes about 80 seconds.
var DefaultPolicy = Policy{MaxWait: 10 * time.Minute, Turn: 3 * time.Minute}

// score grows with the time that the oldest request has waited and, slowly, with
// the amount of work that one mount would do: 1 sliver counts once, 1 GiB about
// 10 times.
func score(now time.Time, d *Demand) float64 {
	waited := max(now.Sub(d.Oldest), 0) + time.Second
	work := 1 + bits.Len64(uint64(d.Bytes)>>20) + bits.Len(uint(d.Slivers))/2
	return waited.Seconds() * float64(work)
}

// Overdue says whether d has waited longer than MaxWait.
func (p Policy) Overdue(now time.Time, d *Demand) bool { return now.Sub(d.Oldest) > p.MaxWait }

// Choose returns the index of the demand to serve next, or -1 if none has work.
// Urgent ones go first, then overdue ones by age, then the highest score; ties
// go by barcode, so the choice does not depend on the order of ds.
func (p Policy) Choose(now time.Time, ds []Demand) int {
	best := -1
	for i := range ds {
		if ds[i].Slivers > 0 && (best < 0 || p.better(now, &ds[i], &ds[best])) {
			best = i
		}
	}
	return best
}

func (p Policy) better(now time.Time, a, b *Demand) bool {
	if a.Urgent != b.Urgent {
		return a.Urgent
	}
	ao, bo := p.Overdue(now, a), p.Overdue(now, b)
	switch {
	case ao != bo:
		return ao
	case ao && !a.Oldest.Equal(b.Oldest):
		return a.Oldest.Before(b.Oldest)
	}
	if as, bs := score(now, a), score(now, b); as != bs {
		return as > bs
	}
	return a.Volume < b.Volume
}

// Stay says whether a drive keeps the volume that it has held since mounted and
// for which mine waits, though others wait for the drive too. A volume without
// work goes as soon as anything else is wanted; one with work goes after its
// Turn if another demand is overdue, or if only archive work keeps it from
// recalls, and at once for an urgent one.
func (p Policy) Stay(now, mounted time.Time, mine Demand, others []Demand) bool {
	i := p.Choose(now, others)
	switch {
	case i < 0:
		return true
	case mine.Slivers == 0:
		return false
	case others[i].Urgent && !mine.Urgent:
		return false
	case mine.Urgent:
		return true
	case mine.Archive && !others[i].Archive:
		return now.Sub(mounted) < p.Turn // somebody waits there, nobody here
	}
	return now.Sub(mounted) < p.Turn || !p.Overdue(now, &others[i])
}
