package order

import "sliod/tape/geometry"

// Insert finds where in a tour of n stops, which begins at head, one more costs least. place is the
// stop that it comes before, n: it comes last. seconds is what the whole takes longer. It looks at
// every place: the cost is O(n).
func Insert(g *geometry.Generation, goal Goal, head geometry.Spot, n int, at func(int) *Stop, s *Stop) (place int, seconds float64) {
	behind := 0.0 // weight of those that would wait longer
	if goal == LeastWait {
		for i := range n {
			behind += at(i).Weight
		}
	}
	from, now, least := head, 0.0, 0.0
	for i := 0; ; i++ {
		there := g.Travel(from, s.From)
		more := there + s.Seconds
		done := now + more
		way := 0.0
		if i < n {
			way = g.Travel(from, at(i).From)
			more += g.Travel(s.To, at(i).From) - way
		}
		cost := more
		if goal == LeastWait {
			cost = more*behind + done*s.Weight
		}
		if i == 0 || cost < least {
			place, seconds, least = i, more, cost
		}
		if i == n {
			return place, seconds
		}
		now += way + at(i).Seconds
		behind -= at(i).Weight
		from = at(i).To
	}
}
