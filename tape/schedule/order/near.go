package order

import "sliod/tape/geometry"

// near lists for each stop, and for the head behind them, the stops that are nearest: those that
// the way leads to next at the least cost, or those that it comes from.
type near struct {
	k    int
	ids  []int32 // k for each, the nearest first; -1: there are no more
	ways []float64
}

func (l *near) of(i int32) ([]int32, []float64) {
	return l.ids[int(i)*l.k : (int(i)+1)*l.k], l.ways[int(i)*l.k : (int(i)+1)*l.k]
}

// perLane is how many spots on each side of a lane are looked at.
const perLane = 3

// newNear lists the k spots of f that are nearest to each of the spots at, which are the other ends
// of the same stops. to: the way leads from at to the field, else from the field to at.
func newNear(f *field, at []geometry.Spot, k int, to bool) *near {
	l := &near{k: k, ids: make([]int32, k*len(at)), ways: make([]float64, k*len(at))}
	for i := range at {
		ids, ways := l.ids[i*k:(i+1)*k], l.ways[i*k:(i+1)*k]
		n := 0
		try := func(row *lane, seat int32) {
			j := row.ids[seat]
			if int(j) == i {
				return
			}
			var t float64
			if to {
				t = f.g.Travel(at[i], f.spots[j])
			} else {
				t = f.g.Travel(f.spots[j], at[i])
			}
			if n == k && t >= ways[k-1] {
				return
			}
			for _, have := range ids[:n] {
				if have == j {
					return
				}
			}
			if n < k {
				n++
			}
			x := n - 1
			for ; x > 0 && ways[x-1] > t; x-- {
				ids[x], ways[x] = ids[x-1], ways[x-1]
			}
			ids[x], ways[x] = j, t
		}
		look := func(row *lane, key float64) {
			above, below := row.around(key)
			if above >= 0 {
				for x := above; x < min(above+perLane, int32(len(row.ids))); x++ {
					try(row, x)
				}
			}
			if below >= 0 {
				for x := below; x > max(below-perLane, -1); x-- {
					try(row, x)
				}
			}
		}
		if w := f.wraps[at[i].Wrap]; w != nil {
			look(w, float64(at[i].Offset))
		}
		for x := range f.lanes {
			look(&f.lanes[x], at[i].Metres)
		}
		for ; n < k; n++ {
			ids[n] = -1
		}
	}
	return l
}
