package order

import "sliod/tape/geometry"

// search improves a tour by moving pieces of it to where they cost less. Every move exchanges two
// pieces that follow one another:
//
//	head .. | i .. p-1 | p .. q | q+1 ..     becomes     head .. | p .. q | i .. p-1 | q+1 ..
//
// No piece is turned round, as a way costs something else in the other direction. What a move gains is known in
// constant time for both goals, since all of a piece wait the same time longer or shorter.
type search struct {
	g      *geometry.Generation
	n      int
	wait   bool // LeastWait
	from   []geometry.Spot
	to     []geometry.Spot // to[n] is the head
	read   []float64
	weight []float64
	ways   []float64 // way(a, c) of all, for few stops
	back   []float64 // the way to the begin of the tape; 0 if nobody waits for that
	after  float64   // LeastWait: how many do

	tour  []int32   // tour[0] is n, the head
	pos   []int32   // where in the tour a stop is
	edge  []float64 // the way to that place of the tour from the one before; edge[n+1] is the way back
	done  []float64 // LeastWait: when the stop at that place is done
	left  []float64 // LeastWait: the weight of all from that place on; left[n+1] is that of who waits for the way back
	total float64   // what the tour costs; rounding errors add up

	next, last *near // whereto, and where from
	reach      int32 // pieces of up to so many are tried at every place

	work   int // counts ways looked at, and copying
	queue  []int32
	queued []bool
	undo   []move // moves made since keep
}

type move struct{ i, p, q int32 }

const (
	// matrixLimit is up to how many stops all ways are kept: 2 MiB.
	matrixLimit = 512
	// slack is how much longer than the present way a new one may be, in seconds, to be tried for LeastWait:
	// there the others may gain more. For LeastTime one of the new ways is shorter than the one that
	// it takes the place of.
	slack = 2.0
	// tiny is less than what counts.
	tiny = 1e-6
)

func newSearch(b *Batch, k, reach int) *search {
	n := len(b.Stops)
	s := &search{g: b.Generation, n: n, wait: b.Goal == LeastWait, from: b.froms(), to: append(b.tos(), b.Head), reach: int32(reach),
		read: make([]float64, n+1), weight: make([]float64, n+1), tour: make([]int32, n+1), pos: make([]int32, n+1), edge: make([]float64, n+2),
		done: make([]float64, n+1), left: make([]float64, n+2), queued: make([]bool, n+1), back: make([]float64, n+1), after: b.After}
	for i, from := range s.to {
		s.back[i] = b.back(from)
	}
	for i := range b.Stops {
		s.read[i], s.weight[i] = b.Stops[i].Seconds, b.Stops[i].Weight
	}
	if n <= matrixLimit {
		s.ways = make([]float64, (n+1)*n)
		for i := range n + 1 {
			for j := range n {
				s.ways[i*n+j] = s.g.Travel(s.to[i], s.from[j])
			}
		}
	}
	s.next = newNear(newField(s.g, s.from), s.to, k, true)
	s.last = newNear(newField(s.g, s.to[:n]), s.from, k, false)
	return s
}

func (s *search) way(a, c int32) float64 {
	s.work++
	if s.ways != nil {
		return s.ways[int(a)*s.n+int(c)]
	}
	return s.g.Travel(s.to[a], s.from[c])
}

// begin takes an order as the tour.
func (s *search) begin(order []int) {
	s.tour[0], s.pos[s.n] = int32(s.n), 0
	for i, stop := range order {
		s.tour[i+1], s.pos[stop] = int32(stop), int32(i+1)
		s.edge[i+1] = s.way(s.tour[i], s.tour[i+1])
		s.done[i+1] = s.done[i] + s.edge[i+1] + s.read[stop]
		s.total += s.done[i+1] * s.weight[stop]
	}
	s.edge[s.n+1], s.left[s.n+1] = s.back[s.tour[s.n]], s.after
	if ends := s.done[s.n] + s.edge[s.n+1]; s.wait {
		s.total += ends * s.after
	} else {
		s.total = ends
	}
	for i := s.n; i >= 0; i-- {
		s.left[i] = s.left[i+1] + s.weight[s.tour[i]]
	}
}

// gain is how much less the tour costs after a move.
func (s *search) gain(m move) float64 {
	i, p, q := m.i, m.p, m.q
	first, second := s.way(s.tour[i-1], s.tour[p]), s.way(s.tour[q], s.tour[i])
	all := first + second - s.edge[i] - s.edge[p] - s.edge[q+1]
	if int(q) < s.n {
		all += s.way(s.tour[p-1], s.tour[q+1])
	} else {
		all += s.back[s.tour[p-1]]
	}
	if !s.wait {
		return -all
	}
	// How much later each piece is done, and what comes after both.
	second += first + s.done[q] - s.done[p-1] - s.edge[p] - s.edge[i]
	first += s.done[i-1] - s.done[p-1] - s.edge[p]
	return -(first*(s.left[p]-s.left[q+1]) + second*(s.left[i]-s.left[p]) + all*s.left[q+1])
}

// swap makes a move.
func (s *search) swap(m move) {
	i, q := m.i, m.q
	mid := i + q - m.p + 1 // where the piece goes that was in front
	rotate(s.tour[i:q+1], int(m.p-i))
	rotate(s.edge[i:q+1], int(m.p-i))
	for k := i; k <= q; k++ {
		s.pos[s.tour[k]] = k
	}
	s.edge[i], s.edge[mid] = s.way(s.tour[i-1], s.tour[i]), s.way(s.tour[mid-1], s.tour[mid])
	if int(q) < s.n {
		s.edge[q+1] = s.way(s.tour[q], s.tour[q+1])
	} else {
		s.edge[q+1] = s.back[s.tour[q]]
	}
	s.work += int(q-i) / 8
	if !s.wait {
		return
	}
	for k := i; k <= q; k++ {
		s.done[k] = s.done[k-1] + s.edge[k] + s.read[s.tour[k]]
	}
	if int(q) < s.n {
		later := s.done[q] + s.edge[q+1] + s.read[s.tour[q+1]] - s.done[q+1]
		rest := s.done[q+1:]
		for k := range rest {
			rest[k] += later
		}
		s.work += int(q-i)/4 + len(rest)/24
	}
	for k := q; k >= i; k-- {
		s.left[k] = s.left[k+1] + s.weight[s.tour[k]]
	}
}

// rotate brings what begins at m to the front.
func rotate[T any](t []T, m int) {
	var buf [64]T
	if m <= len(t)-m {
		c := append(buf[:0], t[:m]...)
		copy(t, t[m:])
		copy(t[len(t)-m:], c)
		return
	}
	c := append(buf[:0], t[m:]...)
	copy(t[len(c):], t[:m])
	copy(t, c)
}

// push has the stop at a place of the tour looked at, or the head.
func (s *search) push(place int32) {
	if int(place) > s.n {
		return
	}
	if x := s.tour[place]; !s.queued[x] {
		s.queued[x] = true
		s.queue = append(s.queue, x)
	}
}

// make makes a move, and has its ends looked at.
func (s *search) make(m move) {
	s.total -= s.gain(m)
	s.swap(m)
	s.undo = append(s.undo, m)
	mid := m.i + m.q - m.p + 1
	for _, at := range [...]int32{m.i - 1, m.i, mid - 1, mid, m.q, m.q + 1} {
		s.push(at)
	}
}

// keep makes the moves up to now final.
func (s *search) keep() { s.undo = s.undo[:0] }

// takeBack undoes all moves since keep, but not in total.
func (s *search) takeBack() {
	for k := len(s.undo) - 1; k >= 0; k-- {
		m := s.undo[k]
		s.swap(move{m.i, m.i + m.q - m.p + 1, m.q})
	}
}

// settle makes moves until none that it finds gains anything, or until so much work was done.
func (s *search) settle(limit int) {
	for at := 0; at < len(s.queue); at++ {
		x := s.queue[at]
		s.queued[x] = false
		for s.work < limit {
			m, ok := s.best(x)
			if !ok {
				break
			}
			s.make(m)
		}
	}
	s.queue = s.queue[:0]
}
