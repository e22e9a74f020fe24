package order

import "math/rand/v2"

// Best puts a batch in order: exactly for up to MaxExact stops; for more a good order, which
// is never worse than FirstCome, ByBlock, Scan, Sweeps and Nearest. It takes less than 100 ms of one core for
// 4096 stops.
func Best(b *Batch) []int {
	if len(b.Stops) <= MaxExact {
		return Exact(b)
	}
	return Search(b, Usual(len(b.Stops)))
}

// Again is Best for a batch of which a good order is known, but for a share of its stops, from 0 to 1, that have
// been put in since where they cost least (Insert). It begins with that order, and takes that share of the
// effort of Best.
func Again(b *Batch, known []int, share float64) []int {
	if len(b.Stops) <= MaxExact {
		return Exact(b)
	}
	e := Usual(len(b.Stops))
	e.Work = int(share * float64(e.Work))
	start := Quick(b)
	if b.Cost(known) <= b.Cost(start) {
		start = known
	}
	return improve(b, start, e)
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

// Effort says how hard Search tries. It is counted in ways looked at and not by a clock, so that the same
// batch always gets the same order.
type Effort struct {
	Work  int    // ways looked at
	Near  int    // neighbours of each stop
	Reach int    // the longest piece that is tried at every place
	Span  int    // the longest piece of a random change
	Seed  uint64 // of chance
}

// Usual is the effort of Best. Up to matrixLimit stops a way is looked up, and costs a third. Less work than this finds
// worse orders, and more hardly better ones (bench/order).
func Usual(n int) Effort {
	if n <= matrixLimit {
		return Effort{Work: min(250*n*n, 20_000*n, 3e6), Near: 8, Reach: 3, Span: 10}
	}
	return Effort{Work: 1.4e6, Near: 5, Reach: 1, Span: 10}
}

// Search improves the best simple order by local search, and then again and again after a
// random change that local search alone does not find, a double bridge. What comes out worse is taken
// back (iterated local search). Best does it with an effort that suits; more is for benchmarks.
func Search(b *Batch, e Effort) []int { return improve(b, Quick(b), e) }

func improve(b *Batch, start []int, e Effort) []int {
	n := len(b.Stops)
	if n < 2 {
		return start
	}
	s := newSearch(b, min(e.Near, n), e.Reach)
	s.begin(start)
	for i := range n + 1 {
		s.push(int32(i))
	}
	s.settle(e.Work)
	dice := rand.New(rand.NewPCG(e.Seed, uint64(n)))
	span := max(min(e.Span, n/3), 1)
	for n > 2 && s.work < e.Work {
		s.work++ // it ends, whatever the dice say
		k := 1 + int32(dice.IntN(n-2))
		x := k + 1 + int32(dice.IntN(span))
		y := x + 1 + int32(dice.IntN(span))
		z := y + 1 + int32(dice.IntN(span))
		if int(z) > n+1 {
			continue
		}
		// k .. x-1 | x .. y-1 | y .. z-1 become the other way round, each piece as it is.
		s.keep()
		was := s.total
		s.make(move{k, x, y - 1})
		s.make(move{k, y, z - 1})
		s.settle(e.Work)
		if s.total > was {
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
