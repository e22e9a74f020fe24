package order

import "sliod/tape/geometry"

// search improves a tour by moving pieces of it to where they cost less. Every move exchanges two
// pieces that follow one another:
//
//	head .. | i .. p-1 | p .. q | q+1 ..     becomes     head .. | p .. q | i .. p-1 | q+1 ..
//
// No piece is turned round, as a way costs something else in the other direction. (Or-opt is the
// move with a short piece; with pieces of any length it is 3-opt without turning, the usual move
// for asymmetric tours: Kanellakis and Papadimitriou.) What a move gains is known in constant
// time for both goals, as everyone in a piece waits the same time more or less.
type search struct {
	g      *geometry.Generation
	n      int
	wait   bool // LeastWait
	from   []geometry.Spot
	to     []geometry.Spot // to[n] is the head
	read   []float64
	weight []float64
	ways   []float64 // way(a, c) of all, for few stops

	tour []int32   // tour[0] is n, the head
	pos  []int32   // where in the tour a stop is
	done []float64 // when the stop at that place of the tour is done
	left []float64 // the weight of all from that place of the tour on; n+2 of them

	next, last *near // whereto, and where from
	reach      int   // pieces of up to so many are tried at every place

	total  float64
	work   int // counts ways looked at
	queue  []int32
	queued []bool
	undo   []move // moves made since the last call of keep
}

type move struct{ i, p, q int32 }

// matrixLimit is up to how many stops all ways are kept: 2 MiB.
const matrixLimit = 512

func newSearch(b *Batch, k, reach int) *search {
	n := len(b.Stops)
	s := &search{g: b.Generation, n: n, wait: b.Goal == LeastWait, from: b.froms(), to: append(b.tos(), b.Head), reach: reach,
		read: make([]float64, n+1), weight: make([]float64, n+1), tour: make([]int32, n+1), pos: make([]int32, n+1),
		done: make([]float64, n+1), left: make([]float64, n+2), queued: make([]bool, n+1)}
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
		s.tour[i+1] = int32(stop)
		s.pos[stop] = int32(i + 1)
	}
	s.count(1, int32(s.n))
	s.left[s.n+1] = 0
	for i := s.n; i >= 0; i-- {
		s.left[i] = s.left[i+1] + s.weight[s.tour[i]]
	}
	s.undo = s.undo[:0]
	s.total = s.cost()
}

// count computes when the places from i to q of the tour are done.
func (s *search) count(i, q int32) {
	for k := i; k <= q; k++ {
		s.done[k] = s.done[k-1] + s.way(s.tour[k-1], s.tour[k]) + s.read[s.tour[k]]
	}
}

// cost is the tour's.
func (s *search) cost() float64 {
	if !s.wait {
		return s.done[s.n]
	}
	sum := 0.0
	for k := 1; k <= s.n; k++ {
		sum += s.done[k] * s.weight[s.tour[k]]
	}
	return sum
}

// gain is how much less the tour costs after a move.
func (s *search) gain(i, p, q int32) float64 {
	before, a0, a1, b0, b1 := s.tour[i-1], s.tour[i], s.tour[p-1], s.tour[p], s.tour[q]
	d1, d2 := s.way(before, b0), s.way(b1, a0)
	e1, e2 := s.way(before, a0), s.way(a1, b0)
	all := d1 + d2 - e1 - e2
	if int(q) < s.n {
		after := s.tour[q+1]
		all += s.way(a1, after) - s.way(b1, after)
	}
	if !s.wait {
		return -all
	}
	sooner := s.done[i-1] + d1 - s.done[p-1] - e2 // of the second piece
	later := d1 + (s.done[q] - s.done[p-1] - e2) + d2 - e1
	return -(sooner*(s.left[p]-s.left[q+1]) + later*(s.left[i]-s.left[p]) + all*s.left[q+1])
}

// swap makes a move.
func (s *search) swap(i, p, q int32) {
	rotate(s.tour[i:q+1], int(p-i))
	for k := i; k <= q; k++ {
		s.pos[s.tour[k]] = k
	}
	s.work += int(q-i) / 8
	if !s.wait {
		return
	}
	s.count(i, q)
	if int(q) < s.n {
		then := s.done[q] + s.way(s.tour[q], s.tour[q+1]) + s.read[s.tour[q+1]] - s.done[q+1]
		rest := s.done[q+1:]
		for k := range rest {
			rest[k] += then
		}
		s.work += len(rest) / 32
	}
	for k := q; k >= i; k-- {
		s.left[k] = s.left[k+1] + s.weight[s.tour[k]]
	}
}

// rotate brings what begins at m to the front.
func rotate(t []int32, m int) {
	var buf [64]int32
	if a, b := m, len(t)-m; min(a, b) <= len(buf) {
		if a <= b {
			copy(buf[:a], t)
			copy(t, t[a:])
			copy(t[b:], buf[:a])
		} else {
			copy(buf[:b], t[a:])
			copy(t[b:], t[:a])
			copy(t, buf[:b])
		}
		return
	}
	c := make([]int32, m)
	copy(c, t)
	copy(t, t[m:])
	copy(t[len(t)-m:], c)
}

// push has a stop, or the head, looked at.
func (s *search) push(place int32) {
	if place < 0 || int(place) > s.n {
		return
	}
	if x := s.tour[place]; !s.queued[x] {
		s.queued[x] = true
		s.queue = append(s.queue, x)
	}
}

// make does a move, and has its ends looked at.
func (s *search) make(m move, gain float64) {
	s.total -= gain
	s.swap(m.i, m.p, m.q)
	s.undo = append(s.undo, m)
	mid := m.i + m.q - m.p // the last of the piece that is in front now
	for _, at := range [...]int32{m.i - 1, m.i, mid, mid + 1, m.q, m.q + 1} {
		s.push(at)
	}
}

// takeBack undoes all moves since the last keep.
func (s *search) takeBack() {
	for k := len(s.undo) - 1; k >= 0; k-- {
		m := s.undo[k]
		s.swap(m.i, m.i+m.q-m.p+1, m.q)
	}
	s.undo = s.undo[:0]
}

func (s *search) keep() { s.undo = s.undo[:0] }

// settle makes moves until none that it finds gains anything, or until so much work was done.
func (s *search) settle(limit int) {
	for len(s.queue) > 0 && s.work < limit {
		x := s.queue[0]
		s.queue = s.queue[1:]
		s.queued[x] = false
		for s.work < limit {
			m, gain := s.best(x)
			if gain <= tiny {
				break
			}
			s.make(m, gain)
		}
	}
	for _, x := range s.queue {
		s.queued[x] = false
	}
	s.queue = s.queue[:0]
}

// tiny is less than what counts.
const tiny = 1e-6

// finder keeps the best move.
type finder struct {
	s    *search
	m    move
	gain float64
}

func (f *finder) try(i, p, q int32) {
	if i < 1 || i >= p || p > q || int(q) > f.s.n {
		return
	}
	if g := f.s.gain(i, p, q); g > f.gain {
		f.m, f.gain = move{i, p, q}, g
	}
}

// best finds the best move that makes one of the short ways to or from x part of the tour.
func (s *search) best(x int32) (move, float64) {
	f := finder{s: s, gain: tiny}
	at := s.pos[x]
	bound := 1e300
	if !s.wait && int(at) < s.n {
		bound = s.way(x, s.tour[at+1])
	}
	ids, ways := s.next.of(x)
	for k, c := range ids {
		if c < 0 || ways[k] >= bound {
			break
		}
		f.join(at, s.pos[c])
	}
	if int(x) == s.n {
		return f.m, f.gain
	}
	if !s.wait {
		bound = s.way(s.tour[at-1], x)
	}
	ids, ways = s.last.of(x)
	for k, c := range ids {
		if c < 0 || ways[k] >= bound {
			break
		}
		f.join(s.pos[c], at)
	}
	return f.m, f.gain
}

// join tries moves after which the stop at place c of the tour follows the one at place a.
func (f *finder) join(a, c int32) {
	s := f.s
	if c == a+1 {
		return
	}
	if c > a {
		// c begins the second piece, which comes to a.
		i, p := a+1, c
		for q := p; q < p+int32(s.reach); q++ {
			f.try(i, p, q)
		}
		f.try(i, p, int32(s.n))
		ids, _ := s.last.of(s.tour[i])
		for _, b := range ids {
			if b >= 0 && s.pos[b] >= p+int32(s.reach) {
				f.try(i, p, s.pos[b])
			}
		}
		ids, _ = s.next.of(s.tour[p-1])
		for _, d := range ids {
			if d >= 0 && s.pos[d] > p+int32(s.reach) {
				f.try(i, p, s.pos[d]-1)
			}
		}
		// a ends the first piece, which comes before c.
		p, q := a+1, c-1
		if a > 0 {
			for i := a; i > a-int32(s.reach); i-- {
				f.try(i, p, q)
			}
			ids, _ = s.last.of(s.tour[p])
			for _, b := range ids {
				if b >= 0 && s.pos[b] < a-int32(s.reach) {
					f.try(s.pos[b]+1, p, q)
				}
			}
			ids, _ = s.next.of(s.tour[q])
			for _, d := range ids {
				if d >= 0 && s.pos[d] <= a-int32(s.reach) {
					f.try(s.pos[d], p, q)
				}
			}
		}
		return
	}
	// c begins the first piece and a ends the second.
	i, q := c, a
	for p := i + 1; p <= min(i+int32(s.reach), q); p++ {
		f.try(i, p, q)
	}
	for p := q; p > max(q-int32(s.reach), i); p-- {
		f.try(i, p, q)
	}
	ids, _ := s.next.of(s.tour[i-1])
	for _, d := range ids {
		if d >= 0 && s.pos[d] > i && s.pos[d] <= q {
			f.try(i, s.pos[d], q)
		}
	}
	if int(q) < s.n {
		ids, _ = s.last.of(s.tour[q+1])
		for _, b := range ids {
			if b >= 0 && s.pos[b] >= i && s.pos[b] < q {
				f.try(i, s.pos[b]+1, q)
			}
		}
	}
}
