package schedule

import (
	"cmp"
	"slices"

	"sliod/tape/geometry"
	"sliod/tape/schedule/order"
)

// maxStops is how many stops are put in order at most. If there are more, those with the least between them
// are taken together.
const maxStops = 4096

// never is the distance of what is taken together last.
const never = 1e300

// Batch is the running pass of a queue at one moment, to be put in order without the queue's lock.
type Batch[K comparable] struct {
	goal    Goal
	b       order.Batch
	gen     geometry.Generation
	groups  [][]*entry[K] // of each stop of b, by place
	order   []int
	pass    *pass[K]
	current int // the stop that is being read, and comes first; -1: none
	moves   int // Queue.moves when it was made

	known []int   // the order of the plan that there is; nil: none
	fresh float64 // the share of it that has come since it was last made as a whole
}

// Solve finds the order. It is the work of up to 100 ms, and needs no lock. The less is new, the less work it is.
func (b *Batch[K]) Solve() {
	if b.known == nil {
		b.solve(order.Best)
		return
	}
	b.solve(func(stops *order.Batch) []int {
		known := b.known
		if b.current >= 0 { // stops are without it
			known = slices.DeleteFunc(slices.Clone(known), func(i int) bool { return i == b.current })
			for i := range known {
				if known[i] > b.current {
					known[i]--
				}
			}
		}
		return order.Again(stops, known, b.fresh)
	})
}

func (b *Batch[K]) solve(method func(*order.Batch) []int) {
	if b.goal == ByBlock {
		b.order = order.ByBlock(&b.b)
		// From the head to the end, then what lies before it.
		i, _ := slices.BinarySearchFunc(b.order, b.b.Head.Offset, func(i int, head geometry.Offset) int { return cmp.Compare(b.b.Stops[i].From.Offset, head) })
		b.order = append(slices.Clone(b.order[i:]), b.order[:i]...)
		return
	}
	if b.current < 0 {
		b.order = method(&b.b)
		return
	}
	rest := b.b
	rest.Head = b.b.Stops[b.current].To
	rest.Stops = slices.Delete(slices.Clone(b.b.Stops), b.current, b.current+1)
	b.order = []int{b.current}
	for _, i := range method(&rest) {
		if i >= b.current {
			i++
		}
		b.order = append(b.order, i)
	}
}

// batch is what there is to do.
func (p *pass[K]) batch() *Batch[K] {
	g := p.q.gen
	b := &Batch[K]{goal: p.q.planner.Goal, gen: *g, pass: p, current: -1, moves: p.q.moves}
	b.b = order.Batch{Generation: &b.gen, Head: p.start(), Goal: b.goal.order(), After: p.waitAfter()}
	all := p.sorted()
	if len(all) == 0 {
		return b
	}
	// between is how far it is from each entry to the next one; 0: the drive just reads on.
	between := make([]float64, len(all)-1)
	ends := all[0].to
	cuts := 0
	for i, e := range all[1:] {
		if p.q.parts(all[i].from, e.from) {
			between[i] = never
		} else if e.from.Offset > ends.Offset && !g.ReadsOn(ends, e.from) {
			between[i] = float64(e.from.Offset - ends.Offset)
			if e.from.Wrap != ends.Wrap {
				between[i] = never
			}
		}
		if between[i] > 0 {
			cuts++
		}
		if e.to.Offset > ends.Offset {
			ends = e.to
		}
	}
	if cuts >= maxStops && b.goal != ByBlock {
		near := make([]int, 0, len(between))
		for i, d := range between {
			if d > 0 {
				near = append(near, i)
			}
		}
		slices.SortStableFunc(near, func(i, j int) int { return cmp.Compare(between[i], between[j]) })
		for _, i := range near[:cuts-maxStops+1] {
			between[i] = 0 // taken together
		}
	}
	for first := 0; first < len(all); {
		last := first
		for last < len(between) && between[last] == 0 {
			last++
		}
		group := all[first : last+1]
		b.groups = append(b.groups, group)
		b.b.Stops = append(b.b.Stops, stopOfAll(g, group))
		if g.ReadsOn(b.b.Head, group[0].from) {
			b.current = len(b.groups) - 1
		}
		first = last + 1
	}
	b.know()
	return b
}

// know has b know the order of the plan, if all of b is in it.
func (b *Batch[K]) know() {
	p := b.pass
	if len(p.loose) > 0 || len(p.plan) == 0 || p.moved >= len(p.plan)-p.dead {
		return
	}
	places := make(map[*run[K]]int, len(p.plan))
	for i, r := range p.plan {
		places[r] = i
	}
	at := make([]int, len(b.groups)) // where in the plan a stop begins
	for i, g := range b.groups {
		at[i] = places[g[0].run]
		for _, e := range g[1:] {
			at[i] = min(at[i], places[e.run])
		}
	}
	b.known = make([]int, len(b.groups))
	for i := range b.known {
		b.known[i] = i
	}
	slices.SortStableFunc(b.known, func(i, j int) int { return cmp.Compare(at[i], at[j]) })
	b.fresh = float64(p.moved) / float64(len(p.plan)-p.dead)
}

// stopOfAll is the stop of entries that are read one after another.
func stopOfAll[K comparable](g *geometry.Generation, es []*entry[K]) order.Stop {
	s := order.Stop{From: es[0].from, To: es[0].to, Weight: float64(len(es))}
	begin := s.From
	for _, e := range es[1:] {
		if e.from.Offset > s.To.Offset && !g.ReadsOn(s.To, e.from) {
			s.Seconds += g.Read(begin.Offset, s.To.Offset) + g.Travel(s.To, e.from)
			begin, s.To = e.from, e.to
		} else if e.to.Offset > s.To.Offset {
			s.To = e.to
		}
	}
	s.Seconds += g.Read(begin.Offset, s.To.Offset)
	return s
}

// adopt makes the order of b the plan. Entries that came since are put in where they cost least; those that
// have gone are left out.
func (p *pass[K]) adopt(b *Batch[K]) {
	all := p.entries()
	for _, e := range all {
		e.run = nil
	}
	p.plan, p.rows, p.loose, p.dead, p.moved, p.timed = nil, nil, nil, 0, 0, false
	runs := make([][]*run[K], len(b.groups)) // groups are by place, as rows are
	for _, i := range b.order {
		runs[i] = p.runs(b.groups[i])
		p.plan = append(p.plan, runs[i]...)
	}
	p.rows = slices.Concat(runs...)
	if b.moves != p.q.moves {
		p.refit()
	}
	p.insert(slices.DeleteFunc(all, func(e *entry[K]) bool { return e.run != nil })) // what came since
}

// runs makes runs of entries, which are in order of place; those that have gone are left out.
func (p *pass[K]) runs(es []*entry[K]) (runs []*run[K]) {
	var r *run[K]
	for _, e := range es {
		switch {
		case e.pass != p:
			continue
		case r == nil || e.from.Offset > r.To.Offset && !p.q.gen.ReadsOn(r.To, e.from):
			r = &run[K]{Stop: stopOf(p.q.gen, e)}
			runs = append(runs, r)
		}
		e.run = r
		r.entries = append(r.entries, e)
		if e.to.Offset > r.To.Offset {
			r.To = e.to
		}
		r.Seconds, r.Weight = p.q.gen.Read(r.From.Offset, r.To.Offset), float64(len(r.entries))
	}
	return runs
}
