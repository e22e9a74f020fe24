package order

import (
	"cmp"
	"slices"
)

// FirstCome leaves the stops as they came.
func FirstCome(b *Batch) []int {
	order := make([]int, len(b.Stops))
	for i := range order {
		order[i] = i
	}
	return order
}

// ByBlock goes from the begin of the tape to its end.
func ByBlock(b *Batch) []int {
	order := FirstCome(b)
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(b.Stops[i].From.Offset, b.Stops[j].From.Offset) })
	return order
}

// Scan goes over the tape as a lift does: on in the direction that the head's wrap has, over
// all wraps of that direction, then back over the others, then over what lay behind the head.
func Scan(b *Batch) []int {
	ahead := func(i int) bool { // on the first sweep
		s := &b.Stops[i].From
		return s.Forward() == b.Head.Forward() && (s.Metres == b.Head.Metres || (s.Metres > b.Head.Metres) == s.Forward())
	}
	sweep := func(i int) int {
		switch {
		case ahead(i):
			return 0
		case b.Stops[i].From.Forward() != b.Head.Forward():
			return 1
		}
		return 2
	}
	order := FirstCome(b)
	slices.SortStableFunc(order, func(i, j int) int {
		if c := cmp.Compare(sweep(i), sweep(j)); c != 0 {
			return c
		}
		x, y := &b.Stops[i].From, &b.Stops[j].From
		if x.Forward() {
			return cmp.Compare(x.Metres, y.Metres)
		}
		return cmp.Compare(y.Metres, x.Metres)
	})
	return order
}

// Sweeps is Scan in as many sweeps as it takes to pass over no stop backward: a stop that begins before
// the end of the last one is left for the next sweep (the idea of MPScan).
func Sweeps(b *Batch) []int {
	var dirs [2][]int // indexes of stops on wraps backward and forward, in the order of a sweep
	for _, i := range Scan(&Batch{Generation: b.Generation, Stops: b.Stops}) {
		if b.Stops[i].From.Forward() {
			dirs[1] = append(dirs[1], i)
		} else {
			dirs[0] = append(dirs[0], i)
		}
	}
	order := make([]int, 0, len(b.Stops))
	dir, at := 0, b.Head.Metres
	if b.Head.Forward() {
		dir = 1
	}
	for len(order) < len(b.Stops) {
		left := dirs[dir][:0]
		for _, i := range dirs[dir] {
			s := &b.Stops[i]
			if s.From.Metres == at || (s.From.Metres > at) == (dir == 1) {
				order = append(order, i)
				if s.To.Wrap == s.From.Wrap {
					at = s.To.Metres
				}
			} else {
				left = append(left, i)
			}
		}
		dirs[dir] = left
		dir = 1 - dir
		if dir == 1 {
			at = 0
		} else {
			at = b.Generation.Length
		}
	}
	return order
}

// Nearest goes to the nearest stop, from there to the one that is nearest then, and so on
// (shortest locate time first, SLTF). Of equally near ones the first takes it.
func Nearest(b *Batch) []int {
	order := make([]int, 0, len(b.Stops))
	f := newField(b.Generation, b.froms())
	at := b.Head
	for range b.Stops {
		i := f.nearest(at)
		f.remove(i)
		order = append(order, i)
		at = b.Stops[i].To
	}
	return order
}
