package schedule

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	"sliod/tape"
)

// TestNobodyWaitsForEver runs a library through a day of a clock that the test has:
// requests of some classes come without end for some volumes, far more than the
// drives can serve. No request waits longer than bound.
func TestNobodyWaitsForEver(t *testing.T) {
	var worst [NumClasses]float64
	for seed := range int64(100) {
		rng := rand.New(rand.NewSource(seed))
		p := DefaultPolicy
		s := &starvation{p: &p, now: time.Unix(100_000, 0), exchange: 80 * time.Second, queues: map[tape.Barcode]*Classes[int]{}, came: map[int]arrival{}}
		s.drives = make([]simDrive, 1+rng.Intn(2))
		var floods [NumClasses][]tape.Barcode // which volumes are flooded with a class
		for v := range 2 + rng.Intn(5) {
			b := tape.Barcode(fmt.Sprintf("A%05dL9", v))
			s.queues[b] = NewClasses[int](Planner{}, &p)
			for c := range NumClasses {
				if rng.Intn(2) == 0 {
					floods[c] = append(floods[c], b)
				}
			}
		}
		check := func(a arrival) {
			limit := bound(&p, a.class, len(floods[a.class]), s.exchange)
			waited := s.now.Sub(a.at)
			worst[a.class] = max(worst[a.class], waited.Seconds()/limit.Seconds())
			if waited > limit {
				t.Fatalf("seed %d: a request of class %v on %s waits for %v, more than %v (%d drives, floods %v)", seed, a.class, a.volume, waited, limit, len(s.drives), floods)
			}
		}
		s.done = check
		for end := s.now.Add(24 * time.Hour); s.now.Before(end); s.now = s.now.Add(simWork) {
			for c := range floods {
				for _, b := range floods[c] {
					for n := s.queues[b].queues[c].Len(); n < simDepth; n++ {
						s.add(b, Class(c))
					}
				}
			}
			s.step()
		}
		for _, a := range s.came {
			check(a)
		}
	}
	t.Logf("the longest waits, as shares of the bound: %.2f", worst)
}

// simDepth is how many requests of a class a flooded volume has, and simWork how long
// the drive takes for one.
const (
	simDepth = 6
	simWork  = 30 * time.Second
)

// bound is how long a request of class c waits at most if n volumes have work of the
// class: its volume has its turn when each of the others has had one, and no class
// waits longer for a turn than its MaxWait, Patience turns of every class, and the exchanges
// that these take. In its turns a volume does at least what fits in the shortest of them; a
// request waits for two passes at most over what lies on its volume, each of which those
// that join it can make twice as long.
func bound(p *Policy, c Class, n int, exchange time.Duration) time.Duration {
	perTurn := int(p.Turn[Client] / simWork)
	passes := (4*simDepth + perTurn - 1) / perTurn
	turn := p.MaxWait[c] + exchange
	for _, d := range p.Turn {
		turn += Patience*d + exchange
	}
	return time.Duration(n*passes)*turn + p.MaxWait[c]
}

type arrival struct {
	at     time.Time
	class  Class
	volume tape.Barcode
}

type simDrive struct {
	volume  tape.Barcode
	mounted time.Time
	class   Class
	busy    time.Time // until
}

// starvation is a library in a test.
type starvation struct {
	p        *Policy
	now      time.Time
	exchange time.Duration
	drives   []simDrive
	queues   map[tape.Barcode]*Classes[int]
	served   Times
	came     map[int]arrival
	last     int
	done     func(arrival)
}

func (s *starvation) add(b tape.Barcode, c Class) {
	s.last++
	s.came[s.last] = arrival{s.now, c, b}
	s.queues[b].Add(s.last, c, place(uint64(s.last*7919%10_000), 0), 1<<20, s.now)
}

func (s *starvation) demand(b tape.Barcode) Demand {
	q := s.queues[b]
	if q == nil {
		return Demand{}
	}
	return Demand{Volume: b, Slivers: q.Len(), Bytes: q.Bytes(), Oldest: q.Oldest()}
}

func (s *starvation) step() {
	for i := range s.drives {
		d := &s.drives[i]
		if s.now.Before(d.busy) {
			continue
		}
		var others []Demand
		for b := range s.queues {
			taken := false
			for j := range s.drives {
				taken = taken || s.drives[j].volume == b
			}
			if !taken {
				others = append(others, s.demand(b))
			}
		}
		if !s.p.Stay(s.now, d.mounted, &s.served, s.demand(d.volume), others) {
			n, class := s.p.Choose(s.now, &s.served, others)
			d.class = class
			d.volume = others[n].Volume
			d.busy = s.now.Add(s.exchange)
			d.mounted = d.busy
			s.queues[d.volume].Mounted(s.now, s.p)
			continue
		}
		if q := s.queues[d.volume]; q != nil {
			if k, c, _, ok := q.Next(s.now, s.p); ok {
				if c == d.class {
					s.served[c] = s.now
				}
				s.done(s.came[k])
				delete(s.came, k)
				d.busy = s.now.Add(simWork)
			}
		}
	}
}
