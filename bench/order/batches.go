package main

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"sliod/tape/geometry"
	"sliod/tape/schedule/order"
)

var kinds = []string{"uniform", "clustered", "Zipf", "sequential"}

const fileBytes = 200 << 20

// batch makes n requests of files of 200 MiB on a full LTO-9 tape, with the head at its begin.
//
//	uniform      anywhere
//	clustered    around one place for every 16, within 20 GB (standard deviation)
//	Zipf         in one of 10000 stretches of the tape, by Zipf's law with s = 1.2
//	sequential   in the order of the tape from somewhere on, up to 200 files apart
//
// As in a queue, requests that overlap or that the drive just reads on to are one stop, which counts as many.
func batch(kind string, n int, seed uint64, goal order.Goal) *order.Batch {
	g, _ := geometry.ByName("LTO-9")
	dice := rand.New(rand.NewPCG(seed, uint64(n)))
	all := float64(g.Capacity) - 2e9
	places := make([]float64, n)
	zipf := rand.NewZipf(dice, 1.2, 1, 9999)
	stretches := dice.Perm(10000)
	var centres []float64
	for range 1 + n/16 {
		centres = append(centres, dice.Float64()*all)
	}
	next := dice.Float64() * all / 2
	for i := range places {
		switch kind {
		case "uniform":
			places[i] = dice.Float64() * all
		case "clustered":
			places[i] = centres[dice.IntN(len(centres))] + dice.NormFloat64()*20e9
		case "Zipf":
			places[i] = (float64(stretches[zipf.Uint64()]) + dice.Float64()) / 10000 * all
		case "sequential":
			places[i] = next
			if next += fileBytes * float64(1+dice.IntN(200)); next > all {
				next -= all
			}
		}
		places[i] = min(max(places[i], 0), all)
	}
	return &order.Batch{Generation: &g, Goal: goal, Stops: join(&g, places)}
}

// join makes the stops, in the order in which the first request of each came.
func join(g *geometry.Generation, places []float64) []order.Stop {
	type stop struct {
		order.Stop
		first int
	}
	byPlace := make([]int, len(places))
	for i := range byPlace {
		byPlace[i] = i
	}
	slices.SortFunc(byPlace, func(i, j int) int { return cmp.Compare(places[i], places[j]) })
	var stops []stop
	for _, i := range byPlace {
		from, to := g.Where(geometry.Offset(places[i])), g.Where(geometry.Offset(places[i]+fileBytes))
		if n := len(stops); n > 0 && (from.Offset <= stops[n-1].To.Offset || g.ReadsOn(stops[n-1].To, from)) {
			s := &stops[n-1]
			s.To, s.first = to, min(s.first, i)
			s.Seconds = g.Read(s.From.Offset, to.Offset)
			s.Weight++
			continue
		}
		stops = append(stops, stop{order.Stop{From: from, To: to, Seconds: g.Read(from.Offset, to.Offset), Weight: 1}, i})
	}
	slices.SortFunc(stops, func(a, b stop) int { return cmp.Compare(a.first, b.first) })
	out := make([]order.Stop, len(stops))
	for i := range stops {
		out[i] = stops[i].Stop
	}
	return out
}
