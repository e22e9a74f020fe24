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
	Slivers int   // requests that can be served now
	Bytes   int64 // their sum
	Oldest  Times // since when the oldest request of each class waits
	Urgent  bool  // other work waits for this: it goes before all that is not urgent
}

// Policy weighs demands. The zero value is not usable: see DefaultPolicy.
type Policy struct {
	// MaxWait is how long a demand may be passed over for better ones of its class,
	// and how long a class may go without any service while others get it.
	MaxWait [NumClasses]time.Duration
	// Turn is how long a volume with work keeps its drive though another demand, of
	// this class, is to have it: the price of an exchange must be worth it.
	Turn [NumClasses]time.Duration
}

// Patience is how many turns a volume has at most before another of the same class that is overdue; half of them if what
// waits for the other is less than the Patience'th part of what waits for it. Till then a volume is read to its end: for
// the mean wait of all, exhaustive service is the best (Liu, Nain and Towsley, On optimal polling policies, Queueing
// Systems 11, 1992). A drive that goes after one turn fetches every volume several times: where all is overdue, as under
// much load, waits were two and a half times as long. It is one popular volume that suffers if half of Patience is less.
const Patience = 8

// DefaultPolicy suits a library where an exchange takes about 80 seconds.
var DefaultPolicy = Policy{
	MaxWait: [NumClasses]time.Duration{10 * time.Minute, 15 * time.Minute, 2 * time.Hour},
	Turn:    [NumClasses]time.Duration{3 * time.Minute, 15 * time.Minute, 15 * time.Minute},
}

// score grows with the time that the oldest request of class c has waited and,
// slowly, with the amount of work that one mount would do: 1 sliver counts once,
// 1 GiB about 10 times.
func score(now time.Time, c Class, d *Demand) float64 {
	waited := max(now.Sub(d.Oldest[c]), 0) + time.Second
	work := 1 + bits.Len64(uint64(d.Bytes)>>20) + bits.Len(uint(d.Slivers))/2
	return waited.Seconds() * float64(work)
}

// Overdue says whether work of class c that has waited since then has waited
// longer than MaxWait. Work that does not wait is not overdue.
func (p *Policy) Overdue(now time.Time, c Class, since time.Time) bool {
	return !since.IsZero() && now.Sub(since) > p.MaxWait[c]
}

// starving says whether class c has work in waits and has had no service for longer
// than MaxWait: neither since the work came nor since served.
func (p *Policy) starving(now time.Time, c Class, waits, served *Times) bool {
	since := waits[c]
	if !since.IsZero() && served[c].After(since) {
		since = served[c]
	}
	return p.Overdue(now, c, since)
}

// turn returns the class whose turn it is, of those that wait: a starving one, the
// least urgent first as it gets the least, else the most urgent. NumClasses: none
// waits.
func (p *Policy) turn(now time.Time, waits, served *Times) Class {
	best := waits.Best()
	for c := NumClasses; c > 0; c-- {
		if c-1 > best && p.starving(now, c-1, waits, served) {
			return c - 1
		}
	}
	return best
}

// Choose returns the index of the demand to serve next and the class for whose sake
// it is chosen, or -1 if none has work. served says when a drive that had been given
// a volume for the sake of a class last worked for it; what other drives do for the
// class by the way does not count, as it brings other volumes no turn. Urgent demands go first. Else it is the turn of one class, and of the
// demands that have work of it the overdue ones go first, by age, then the highest
// score; ties go by barcode, so the choice does not depend on the order of ds.
func (p *Policy) Choose(now time.Time, served *Times, ds []Demand) (int, Class) {
	var waits Times
	urgent := false
	for i := range ds {
		if ds[i].Slivers > 0 {
			waits.Join(ds[i].Oldest)
			urgent = urgent || ds[i].Urgent
		}
	}
	class := p.turn(now, &waits, served)
	best, bestClass := -1, class
	for i := range ds {
		d := &ds[i]
		c := class
		switch {
		case d.Slivers == 0 || d.Urgent != urgent:
			continue
		case urgent:
			c = d.Oldest.Best()
		}
		if c == NumClasses || d.Oldest[c].IsZero() {
			continue
		}
		if best < 0 || p.better(now, c, d, bestClass, &ds[best]) {
			best, bestClass = i, c
		}
	}
	return best, bestClass
}

// better says whether a, wanted for class ac, goes before b, wanted for bc.
func (p *Policy) better(now time.Time, ac Class, a *Demand, bc Class, b *Demand) bool {
	if ac != bc {
		return ac < bc
	}
	at, bt := a.Oldest[ac], b.Oldest[bc]
	ao, bo := p.Overdue(now, ac, at), p.Overdue(now, bc, bt)
	switch {
	case ao != bo:
		return ao
	case ao && !at.Equal(bt):
		return at.Before(bt)
	}
	if as, bs := score(now, ac, a), score(now, bc, b); as != bs {
		return as > bs
	}
	return a.Volume < b.Volume
}

// Stay says whether a drive keeps the volume that it has held since mounted and
// for which mine waits, though others wait for the drive too. A volume without
// work goes as soon as anything else is wanted. One with work goes at once for an
// urgent demand, and after its Turn
//
//   - if another demand has work of a more urgent class,
//   - if one of the same class is overdue, but then after Patience turns, or half of them,
//   - if one of the same class wants recalls and this one only archive work,
//   - if a less urgent class starves.
func (p *Policy) Stay(now, mounted time.Time, served *Times, mine Demand, others []Demand) bool {
	i, c := p.Choose(now, served, others)
	switch {
	case i < 0:
		return true
	case mine.Slivers == 0:
		return false
	case others[i].Urgent && !mine.Urgent:
		return false
	case mine.Urgent:
		return true
	case now.Sub(mounted) < p.Turn[min(c, mine.Oldest.Best())]:
		return true
	}
	switch best := mine.Oldest.Best(); {
	case c < best:
		return false
	case c > best:
		return !p.starving(now, c, &others[i].Oldest, served)
	case mine.Archive && !others[i].Archive:
		return false // somebody waits there, nobody here
	}
	if !p.Overdue(now, c, others[i].Oldest[c]) {
		return true
	}
	// To go now, and to come back for the rest, would cost another exchange: what was fetched is read to its end first.
	patience := Patience * p.Turn[c]
	if others[i].Slivers < mine.Slivers/Patience { // who waits there does not wait for so much
		patience /= 2
	}
	return now.Sub(mounted) < patience
}
