package order

import "math/rand/v2"

// effort says how hard Best tries. It is counted in ways looked at and not by a clock, so that the same
// batch always gets the same order.
type effort struct {
	work  int // ways looked at
	near  int // neighbours of each stop
	reach int // the longest piece that is tried at every place
}

// usual keeps the time below 100 ms of one core for 4096 stops.
var usual = effort{work: 3e6, near: 8, reach: 3}

// Best puts a batch in order: an exact solution for up to MaxExact stops; for more a good
// one, which is never worse than FirstCome, ByBlock, Scan, Sweeps and Nearest.
func Best(b *Batch) []int {
	if len(b.Stops) <= MaxExact {
		return Exact(b)
	}
	return try(b, usual)
}

// Quick is the best of the simple orders.
func Quick(b *Batch) []int {
	var best []int
	least := 0.0
	for _, f := range []func(*Batch) []int{FirstCome, ByBlock, Scan, Sweeps, Nearest} {
		order := f(b)
		if c := b.Cost(order); best == nil || c < least {
			best, least = order, c
		}
	}
	return best
}

// try improves the best simple order by local search, and then again and again after a
// random change that local search alone does not find, a double bridge. What comes out worse is taken
// back (iterated local search: Martin, Otto and Felten).
func try(b *Batch, e effort) []int {
	n := len(b.Stops)
	start := Quick(b)
	if n < 2 {
		return start
	}
	s := newSearch(b, min(e.near, n), e.reach)
	s.begin(start)
	for i := range s.n + 1 {
		s.push(int32(i))
	}
	s.settle(e.work)
	s.keep()
	dice := rand.New(rand.NewPCG(1, uint64(n)))
	for n >= 8 && s.work < e.work {
		s.work++
		size := min(50, n/3)
		k := 1 + int32(dice.IntN(n-2))
		x, y, z := k+1+int32(dice.IntN(size)), int32(1+dice.IntN(size)), int32(1+dice.IntN(size))
		y += x
		z += y
		if int(z) > n+1 {
			continue
		}
		// k .. x-1 | x .. y-1 | y .. z-1 become the other way round, each piece as it is.
		was := s.total
		for _, m := range []move{{k, x, y - 1}, {k, y, z - 1}} {
			s.make(m, s.gain(m.i, m.p, m.q))
		}
		s.settle(e.work + e.work/16) // not cut off in the middle if it can be helped
		if s.total < was-tiny {
			s.keep()
		} else {
			s.takeBack()
			s.total = was
		}
	}
	order := make([]int, n)
	for i := range order {
		order[i] = int(s.tour[i+1])
	}
	if b.Cost(order) > b.Cost(start) { // by rounding
		return start
	}
	return order
}
