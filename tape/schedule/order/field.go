package order

import (
	"cmp"
	"slices"
	"sort"

	"sliod/tape/geometry"
)

// field finds spots near another one. Within a lane, which is all wraps of one band that run in
// one direction, the time to a spot only grows with the distance, on each side; only spots on the wrap
// itself are nearer than that. So the nearest spot is among the first ones on both sides of every lane
// and of the wrap.
type field struct {
	g     *geometry.Generation
	spots []geometry.Spot
	lanes [2 * geometry.Bands]lane // by band and direction, sorted by metres
	wraps map[int32]*lane          // sorted by offset
	at    []seat                   // of each spot
}

// seat is where a spot is in its lane and its wrap.
type seat struct {
	lane *lane
	in   int32
	wrap *lane
	on   int32
}

// lane is spots in a row. Those that were removed are skipped: next and prev lead to the next one that is
// left, and are shortened when they are used (union-find).
type lane struct {
	ids  []int32
	keys []float64
	next []int32 // of len(ids)+1: a seat at or behind this one that is nearer to one that is left
	prev []int32 // shifted by one: prev[0] is the end
}

func newField(g *geometry.Generation, spots []geometry.Spot) *field {
	f := &field{g: g, spots: spots, wraps: make(map[int32]*lane), at: make([]seat, len(spots))}
	for i := range spots {
		s := &spots[i]
		l := &f.lanes[laneOf(s)]
		l.ids = append(l.ids, int32(i))
		w := f.wraps[s.Wrap]
		if w == nil {
			w = &lane{}
			f.wraps[s.Wrap] = w
		}
		w.ids = append(w.ids, int32(i))
		f.at[i] = seat{lane: l, wrap: w}
	}
	for i := range f.lanes {
		l := &f.lanes[i]
		l.build(func(i int32) float64 { return spots[i].Metres })
		for in, i := range l.ids {
			f.at[i].in = int32(in)
		}
	}
	for _, w := range f.wraps {
		w.build(func(i int32) float64 { return float64(spots[i].Offset) })
		for on, i := range w.ids {
			f.at[i].on = int32(on)
		}
	}
	return f
}

func laneOf(s *geometry.Spot) int {
	l := 2 * (int(s.Band) % geometry.Bands)
	if s.Forward() {
		l++
	}
	return l
}

func (l *lane) build(key func(int32) float64) {
	slices.SortStableFunc(l.ids, func(a, b int32) int { return cmp.Compare(key(a), key(b)) })
	l.keys = make([]float64, len(l.ids))
	l.next, l.prev = make([]int32, len(l.ids)+1), make([]int32, len(l.ids)+1)
	for i, id := range l.ids {
		l.keys[i] = key(id)
	}
	for i := range l.next {
		l.next[i], l.prev[i] = int32(i), int32(i)
	}
}

// find follows links to their end, and halves the way for the next time.
func find(links []int32, i int32) int32 {
	for links[i] != i {
		links[i] = links[links[i]]
		i = links[i]
	}
	return i
}

// around gives the first seats that are left on both sides of a key: at or above it, and below it; -1: none.
// Of equal ones below it gives the one that was first.
func (l *lane) around(key float64) (above, below int32) {
	j := int32(sort.SearchFloat64s(l.keys, key))
	above = find(l.next, j)
	if above == int32(len(l.ids)) {
		above = -1
	}
	below = find(l.prev, j) - 1
	if below > 0 && l.keys[below-1] == l.keys[below] {
		below = find(l.next, int32(sort.SearchFloat64s(l.keys, l.keys[below])))
	}
	return above, below
}

// remove takes a spot out.
func (f *field) remove(i int) {
	s := &f.at[i]
	s.lane.remove(s.in)
	s.wrap.remove(s.on)
}

func (l *lane) remove(i int32) {
	l.next[i] = i + 1
	l.prev[i+1] = i
}

// nearest returns the spot that is left to which the way from at is shortest, the first of equal
// ones; -1 if none is left.
func (f *field) nearest(at geometry.Spot) int {
	best, least := int32(-1), 0.0
	try := func(l *lane, seat int32) {
		if seat < 0 {
			return
		}
		i := l.ids[seat]
		if t := f.g.Travel(at, f.spots[i]); best < 0 || t < least || t == least && i < best {
			best, least = i, t
		}
	}
	for i := range f.lanes {
		l := &f.lanes[i]
		above, below := l.around(at.Metres)
		try(l, above)
		try(l, below)
	}
	if w := f.wraps[at.Wrap]; w != nil {
		above, below := w.around(float64(at.Offset))
		try(w, above)
		try(w, below)
	}
	return int(best)
}
