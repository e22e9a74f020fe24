package order

import "math"

// MaxExact is how many stops Exact takes.
const MaxExact = 12

// Exact finds the best order of at most MaxExact stops by dynamic programming over
// subsets (Held and Karp): what is left to do, and where the head is, is all that matters. For
// LeastWait the time of each step counts once for everyone who still waits (Picard and Queyranne).
func Exact(b *Batch) []int {
	n := len(b.Stops)
	if n > MaxExact {
		panic("order: too many stops for the exact method")
	}
	way := make([]float64, (n+1)*n) // from stop i, or the head (n), to the end of stop j
	for i := range n + 1 {
		from := b.Head
		if i < n {
			from = b.Stops[i].To
		}
		for j := range n {
			way[i*n+j] = b.Generation.Travel(from, b.Stops[j].From) + b.Stops[j].Seconds
		}
	}
	waiting := make([]float64, 1<<n) // the weight of those in the set
	for set := 1; set < len(waiting); set++ {
		waiting[set] = 1
		if b.Goal == LeastWait {
			waiting[set] = b.After
			for j := range n {
				if set>>j&1 == 1 {
					waiting[set] += b.Stops[j].Weight
				}
			}
		}
	}
	// rest[set*(n+1)+i] is the least cost of doing the set from i on.
	rest := make([]float64, (n+1)<<n)
	for i := range n {
		rest[i] = b.back(b.Stops[i].To)
		if b.Goal == LeastWait {
			rest[i] *= b.After
		}
	}
	best := func(set, i int) (next int, cost float64) {
		cost = math.Inf(1)
		for j := range n {
			if set>>j&1 == 0 {
				continue
			}
			if c := way[i*n+j]*waiting[set] + rest[(set&^(1<<j))*(n+1)+j]; c < cost {
				next, cost = j, c
			}
		}
		return next, cost
	}
	for set := 1; set < 1<<n; set++ {
		for i := range n + 1 {
			if i == n && set != 1<<n-1 || i < n && set>>i&1 == 1 {
				continue
			}
			_, rest[set*(n+1)+i] = best(set, i)
		}
	}
	order := make([]int, 0, n)
	for set, i := 1<<n-1, n; set != 0; set &^= 1 << i {
		i, _ = best(set, i)
		order = append(order, i)
	}
	return order
}
