package schedule

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"sliod/tape/geometry"
	"sliod/tape/schedule/order"
)

// entry is one request.
type entry[K comparable] struct {
	key    K
	at     Place
	bytes  int
	since  time.Time
	seq    uint64 // order of arrival, for equal places and times
	ageIdx int    // in Queue.age

	from, to geometry.Spot
	pass     *pass[K] // nil: in Queue.fresh, or gone
	run      *run[K]  // nil: in pass.loose
	gone     bool     // from the queue
}

// takes is how long a head at a spot takes to read it, in seconds.
func (e *entry[K]) takes(g *geometry.Generation, head geometry.Spot) float64 {
	return g.Travel(head, e.from) + g.Read(e.from.Offset, e.to.Offset)
}

func (e *entry[K]) before(f *entry[K]) int {
	return cmp.Or(cmp.Compare(e.from.Offset, f.from.Offset), cmp.Compare(e.seq, f.seq))
}

// run is requests that the drive reads in one go: from each to the next one it just reads on.
type run[K comparable] struct {
	order.Stop
	entries []*entry[K] // by place; at least one unless the run is gone
	starts  float64     // when its reading begins, in seconds from when the pass goes on; see pass.time
}

// fit makes the Stop agree with the entries.
func (r *run[K]) fit(g *geometry.Generation) {
	r.From, r.To = r.entries[0].from, r.entries[0].to
	for _, e := range r.entries {
		if e.to.Offset > r.To.Offset {
			r.To = e.to
		}
	}
	r.Seconds, r.Weight = g.Read(r.From.Offset, r.To.Offset), float64(len(r.entries))
}

// pass is requests that are served before others may come in between.
type pass[K comparable] struct {
	q     *Queue[K]
	plan  []*run[K]   // in the order of service; those without entries are skipped
	rows  []*run[K]   // by place on the tape
	loose []*entry[K] // not yet in the plan; and what has gone since
	size  int         // entries
	dead  int         // runs in plan without entries
	moved int         // runs that came into the plan since it was last made as a whole
	begun bool        // something of it was given out: it can be closed
	given bool        // the drive made the plan
	timed bool        // run.starts and ends are right
	times int         // how often they were computed
	after int         // times of the running pass when they were: that one comes before
	ends  float64     // when all is done, in seconds
}

func (p *pass[K]) add(e *entry[K]) {
	e.pass, e.run = p, nil
	p.loose = append(p.loose, e)
	p.size++
}

// remove takes an entry out.
func (p *pass[K]) remove(e *entry[K]) {
	p.size--
	p.timed = false
	r := e.run
	e.pass, e.run = nil, nil
	if r == nil {
		return
	}
	row, _ := slices.BinarySearchFunc(p.rows, r.From.Offset, byStart[K])
	for p.rows[row] != r { // several can begin at the same place
		row++
	}
	i, _ := slices.BinarySearchFunc(r.entries, e, (*entry[K]).before)
	if i == 0 {
		r.entries[0] = nil
		r.entries = r.entries[1:]
	} else {
		r.entries = slices.Delete(r.entries, i, i+1)
	}
	if len(r.entries) == 0 {
		p.rows = slices.Delete(p.rows, row, row+1)
		p.dead++
		return
	}
	r.shrink(p.q.gen, e)
	for ; row+1 < len(p.rows) && p.rows[row+1].From.Offset < r.From.Offset; row++ {
		p.rows[row], p.rows[row+1] = p.rows[row+1], r
	}
}

// shrink is fit after e, the first or another one, is gone.
func (r *run[K]) shrink(g *geometry.Generation, e *entry[K]) {
	if e.to.Offset >= r.To.Offset {
		r.fit(g)
		return
	}
	r.From = r.entries[0].from
	r.Seconds, r.Weight = g.Read(r.From.Offset, r.To.Offset), float64(len(r.entries))
}

// refit has all runs begin and end where their entries do, which have moved a little. Some may have passed each other:
// how far apart two records are is an estimate, how far apart two bytes of one are is not.
func (p *pass[K]) refit() {
	for _, r := range p.rows {
		slices.SortFunc(r.entries, (*entry[K]).before)
		r.fit(p.q.gen)
	}
	slices.SortStableFunc(p.rows, func(a, b *run[K]) int { return byStart(a, b.From.Offset) })
	p.timed = false
}

func byStart[K comparable](r *run[K], at geometry.Offset) int { return cmp.Compare(r.From.Offset, at) }

// front returns the run that is served next, nil if there is none. All must be placed.
func (p *pass[K]) front() *run[K] {
	for len(p.plan) > 0 && len(p.plan[0].entries) == 0 {
		p.plan[0] = nil
		p.plan = p.plan[1:]
		p.dead--
	}
	if len(p.plan) == 0 {
		return nil
	}
	return p.plan[0]
}

// neighbour finds the run that e can join: it reads on from there to e, or from e to there.
func (p *pass[K]) neighbour(e *entry[K]) *run[K] {
	g := p.q.gen
	i := sort.Search(len(p.rows), func(i int) bool { return p.rows[i].From.Offset > e.from.Offset })
	if i > 0 {
		if r := p.rows[i-1]; (e.from.Offset <= r.To.Offset || g.ReadsOn(r.To, e.from)) && !p.q.parts(r.From, e.from) {
			return r
		}
	}
	if i < len(p.rows) {
		if r := p.rows[i]; (e.to.Offset >= r.From.Offset || g.ReadsOn(e.to, r.From)) && !p.q.parts(e.from, r.From) {
			return r
		}
	}
	return nil
}

// price is what it costs to put e in, in seconds, and where: into a run, or before a place of the plan.
func (p *pass[K]) price(e *entry[K]) (seconds float64, r *run[K], place int) {
	g := p.q.gen
	if r := p.neighbour(e); r != nil {
		from, to := min(r.From.Offset, e.from.Offset), max(r.To.Offset, e.to.Offset)
		return g.Read(from, to) - r.Seconds, r, 0
	}
	s := stopOf(g, e)
	if p.q.planner.Goal == ByBlock && !p.given {
		place, seconds = p.inSequence(&s)
		return seconds, nil, place
	}
	p.compact()
	plan, head := p.plan, p.start()
	if len(plan) > 0 && g.ReadsOn(head, plan[0].From) { // what is being read is read to its end
		plan, head = plan[1:], plan[0].To
	}
	b := order.Batch{Generation: g, Head: head, Goal: p.q.planner.Goal.order(), After: p.waitAfter()}
	place, seconds = order.Insert(&b, len(plan), func(i int) *order.Stop { return &plan[i].Stop }, &s)
	return seconds, nil, place + len(p.plan) - len(plan)
}

// inSequence is the place of s in a plan by block: what lies behind the head comes after
// all that lies before it.
func (p *pass[K]) inSequence(s *order.Stop) (place int, seconds float64) {
	p.compact()
	round := func(o geometry.Offset) bool { return o < p.start().Offset }
	place = sort.Search(len(p.plan), func(i int) bool {
		at := p.plan[i].From.Offset
		if round(at) != round(s.From.Offset) {
			return round(at)
		}
		return at > s.From.Offset
	})
	from := p.start()
	if place > 0 {
		from = p.plan[place-1].To
	}
	seconds = p.q.gen.Travel(from, s.From) + s.Seconds
	if place < len(p.plan) {
		seconds += p.q.gen.Travel(s.To, p.plan[place].From) - p.q.gen.Travel(from, p.plan[place].From)
	}
	return place, seconds
}

func stopOf[K comparable](g *geometry.Generation, e *entry[K]) order.Stop {
	return order.Stop{From: e.from, To: e.to, Seconds: g.Read(e.from.Offset, e.to.Offset), Weight: 1}
}

// put puts an entry, which is in no pass, into the plan, where price said.
func (p *pass[K]) put(e *entry[K], r *run[K], place int) {
	e.pass = p
	p.size++
	p.timed = false
	if r != nil {
		e.run = r
		i, _ := slices.BinarySearchFunc(r.entries, e, (*entry[K]).before)
		r.entries = slices.Insert(r.entries, i, e)
		if e.from.Offset < r.From.Offset {
			r.From = e.from
		}
		if e.to.Offset > r.To.Offset {
			r.To = e.to
		}
		r.Seconds, r.Weight = p.q.gen.Read(r.From.Offset, r.To.Offset), float64(len(r.entries))
		return
	}
	r = &run[K]{Stop: stopOf(p.q.gen, e), entries: []*entry[K]{e}}
	e.run = r
	p.plan = slices.Insert(p.plan, place, r)
	i, _ := slices.BinarySearchFunc(p.rows, r.From.Offset, byStart[K])
	p.rows = slices.Insert(p.rows, i, r)
	p.moved++
}

// compact throws runs without entries out of the plan.
func (p *pass[K]) compact() {
	if p.dead > 0 {
		p.plan = slices.DeleteFunc(p.plan, func(r *run[K]) bool { return len(r.entries) == 0 })
		p.dead = 0
	}
}

// insertLimit is how many pairs of a loose entry and a run are looked at before the plan
// is better made anew.
const insertLimit = 1 << 18

// arrange puts all that is loose into the plan.
func (p *pass[K]) arrange() {
	if len(p.loose) == 0 {
		return
	}
	if len(p.plan) > 0 && len(p.loose)*len(p.plan) <= insertLimit {
		p.insert(p.loose)
		p.loose = nil
		return
	}
	b := p.batch()
	b.solve(order.Quick)
	p.given = false
	p.adopt(b)
	p.moved = len(p.plan)
}

// insert puts entries of the pass, which are not in the plan, where they cost least.
func (p *pass[K]) insert(es []*entry[K]) {
	for _, e := range es {
		if e.pass == p {
			_, r, place := p.price(e)
			p.size-- // put counts it again
			p.put(e, r, place)
		}
	}
}

// takeOver takes all entries of another pass.
func (p *pass[K]) takeOver(from *pass[K]) {
	if from.size == 0 {
		return
	}
	for _, e := range from.sorted() {
		p.add(e)
	}
	*from = pass[K]{q: from.q}
}

// start is where the head is when the pass begins, or goes on.
func (p *pass[K]) start() geometry.Spot {
	if p == p.q.running {
		return p.q.head
	}
	before := p.q.running.plan
	for i := len(before) - 1; i >= 0; i-- {
		if len(before[i].entries) > 0 {
			return before[i].To
		}
	}
	return p.q.head
}

// waitAfter is how many wait for the tape to be rewound after the pass: nobody if another pass follows.
func (p *pass[K]) waitAfter() float64 {
	if p == p.q.running && p.q.next.size > 0 {
		return 0
	}
	return p.q.behind
}

// sorted returns all entries by place.
func (p *pass[K]) sorted() []*entry[K] {
	all := p.entries()
	if !slices.IsSortedFunc(all, (*entry[K]).before) {
		slices.SortFunc(all, (*entry[K]).before)
	}
	return all
}

// entries returns all entries: those of the plan by place, then those that are loose as they came.
func (p *pass[K]) entries() []*entry[K] {
	all := make([]*entry[K], 0, p.size)
	for _, r := range p.rows {
		all = append(all, r.entries...)
	}
	for _, e := range p.loose {
		if e.pass == p {
			all = append(all, e)
		}
	}
	return all
}

// time computes when each run begins, if the pass goes on at the time now, in seconds.
func (p *pass[K]) time(now float64) {
	if p.timed {
		return
	}
	head := p.start()
	for _, r := range p.plan {
		if len(r.entries) > 0 {
			r.starts = now + p.q.gen.Travel(head, r.From)
			now = r.starts + r.Seconds
			head = r.To
		}
	}
	p.ends, p.timed = now, true
	p.times++
}
