package order

// Insert finds where in a tour of n stops, which begins at the head of b, one more costs least. at takes the place of
// b.Stops. place is the stop that s comes before, n: it comes last. seconds is what the whole takes longer. It looks at
// every place: the cost is O(n).
func Insert(b *Batch, n int, at func(int) *Stop, s *Stop) (place int, seconds float64) {
	g, wait := b.Generation, b.Goal == LeastWait
	behind := b.After // weight of those that would wait longer
	if wait {
		for i := range n {
			behind += at(i).Weight
		}
	}
	from, now, least := b.Head, 0.0, 0.0
	for i := 0; ; i++ {
		there := g.Travel(from, s.From)
		more := there + s.Seconds
		done := now + more
		way := 0.0
		if i < n {
			way = g.Travel(from, at(i).From)
			more += g.Travel(s.To, at(i).From) - way
		} else {
			more += b.back(s.To) - b.back(from)
		}
		cost := more
		if wait {
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
