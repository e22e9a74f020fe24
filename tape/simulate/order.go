package simulate

import (
	"container/heap"
	"time"

	"sliod/tape/geometry"
	"sliod/tape/schedule"
)

// Order is how the requests of one volume are put in order.
type Order uint8

// Orders. All but Sliod are there to compare with.
const (
	Sliod     Order = iota // as the server does: schedule.Queue
	FirstCome              // as they came
	ByBlock                // passes by block number, as over a disk
	Scan                   // out on the wraps that lead away from the begin of the tape, back on the others
	Nearest                // the one that takes the least time to go to
	orders
)

var orderNames = [orders]string{"sliod", "first-come", "by-block", "scan", "nearest"}

func (o Order) String() string { return orderNames[o] }

// ParseOrder reads the name of an order.
func ParseOrder(s string) (Order, bool) {
	for o, name := range orderNames {
		if s == name {
			return Order(o), true
		}
	}
	return 0, false
}

// queue holds the requests that wait for one volume.
type queue interface {
	add(p *pending)
	// raise gives p, which is in, a more urgent class.
	raise(p *pending, c schedule.Class)
	// next takes the request out that is served next, at the time now and with the head there.
	// There is one.
	next(now time.Time, head geometry.Spot) *pending
	mounted(now time.Time)             // the volume was mounted anew: the head is at the begin
	takes(now time.Time) time.Duration // all that is in, for Policy.Decide
	len() int
	oldest() schedule.Times
}

// planned is the server's own queue.
type planned struct {
	q         *schedule.Classes[*pending]
	policy    *schedule.Policy
	blockSize int
	behind    func() float64 // see schedule.Queue.Behind
}

func (q *planned) add(p *pending) {
	q.q.Add(p, p.class, p.place(q.blockSize), int(p.next()), p.since)
}

func (q *planned) raise(p *pending, c schedule.Class) {
	q.q.Remove(p)
	p.class = c
	q.add(p)
}

func (q *planned) next(now time.Time, _ geometry.Spot) *pending {
	q.q.Behind(q.behind())
	q.q.Replan(now, q.policy)
	p, _, _, _ := q.q.Next(now, q.policy)
	return p
}

func (q *planned) mounted(now time.Time) { q.q.Mounted(now, q.policy) }
func (q *planned) len() int              { return q.q.Len() }

func (q *planned) takes(now time.Time) time.Duration { return q.q.Takes(now) }

func (q *planned) oldest() schedule.Times { return q.q.Oldest() }

// plain is what the other orders share: a list by arrival. They know no classes.
type plain struct {
	first, last *pending
	n           int
}

func (q *plain) raise(p *pending, c schedule.Class) { p.class = c }
func (q *plain) len() int                           { return q.n }
func (q *plain) takes(time.Time) time.Duration      { return 0 } // Oldest does not ask

func (q *plain) oldest() (t schedule.Times) {
	if q.first != nil {
		t[schedule.Client] = q.first.since
	}
	return t
}

// link puts p where its age belongs: nearly always at the end.
func (q *plain) link(p *pending) {
	after := q.last
	for after != nil && p.since.Before(after.since) {
		after = after.older
	}
	p.older = after
	if after == nil {
		p.newer, q.first = q.first, p
	} else {
		p.newer, after.newer = after.newer, p
	}
	if p.newer == nil {
		q.last = p
	} else {
		p.newer.older = p
	}
	q.n++
}

func (q *plain) unlink(p *pending) {
	if p.older == nil {
		q.first = p.newer
	} else {
		p.older.newer = p.newer
	}
	if p.newer == nil {
		q.last = p.older
	} else {
		p.newer.older = p.older
	}
	p.older, p.newer = nil, nil
	q.n--
}

type firstCome struct{ plain }

func (q *firstCome) add(p *pending)    { q.link(p) }
func (q *firstCome) mounted(time.Time) {}

func (q *firstCome) next(time.Time, geometry.Spot) *pending {
	p := q.first
	if p != nil {
		q.unlink(p)
	}
	return p
}

type nearest struct {
	plain
	gen *geometry.Generation
}

func (q *nearest) add(p *pending)    { q.link(p) }
func (q *nearest) mounted(time.Time) {}

func (q *nearest) next(_ time.Time, head geometry.Spot) *pending {
	var best *pending
	var least float64
	for p := q.first; p != nil; p = p.newer {
		if t := q.gen.Travel(head, p.at); best == nil || t < least {
			best, least = p, t
		}
	}
	if best != nil {
		q.unlink(best)
	}
	return best
}

// sweep gives requests out in the order of a key. What comes behind the one that was given out
// last waits for the next sweep.
type sweep struct {
	pass, later byKey
	at          float64
	begun       bool
}

func (s *sweep) add(p *pending, key float64) {
	p.key = key
	if s.begun && key < s.at {
		heap.Push(&s.later, p)
		return
	}
	heap.Push(&s.pass, p)
}

func (s *sweep) next() *pending {
	if len(s.pass) == 0 {
		return nil
	}
	p := heap.Pop(&s.pass).(*pending)
	s.at, s.begun = p.key, true
	return p
}

// again begins the next sweep.
func (s *sweep) again() {
	for _, p := range s.later {
		heap.Push(&s.pass, p)
	}
	s.later, s.begun = s.later[:0], false
}

type byBlock struct {
	plain
	sweep sweep
}

func (q *byBlock) add(p *pending) {
	q.link(p)
	q.sweep.add(p, float64(p.at.Offset))
}

func (q *byBlock) mounted(time.Time) { q.sweep.again() }

func (q *byBlock) next(time.Time, geometry.Spot) *pending {
	p := q.sweep.next()
	if p == nil {
		q.sweep.again()
		p = q.sweep.next()
	}
	if p != nil {
		q.unlink(p)
	}
	return p
}

// scan goes to and fro along the tape.
type scan struct {
	plain
	ways [2]sweep // out, back
	way  int
}

func (q *scan) add(p *pending) {
	q.link(p)
	if p.at.Forward() {
		q.ways[0].add(p, p.at.Metres)
	} else {
		q.ways[1].add(p, -p.at.Metres)
	}
}

func (q *scan) mounted(time.Time) {
	q.ways[0].again()
	q.ways[1].again()
	q.way = 0
}

func (q *scan) next(time.Time, geometry.Spot) *pending {
	for range 3 {
		if p := q.ways[q.way].next(); p != nil {
			q.unlink(p)
			return p
		}
		q.ways[q.way].again() // for when it comes back
		q.way = 1 - q.way
	}
	return nil
}

type byKey []*pending

func (h byKey) Len() int { return len(h) }
func (h byKey) Less(i, j int) bool {
	if h[i].key != h[j].key {
		return h[i].key < h[j].key
	}
	return h[i].seq < h[j].seq
}
func (h byKey) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *byKey) Push(x any)   { *h = append(*h, x.(*pending)) }
func (h *byKey) Pop() any {
	old := *h
	n := len(old) - 1
	p := old[n]
	old[n] = nil
	*h = old[:n]
	return p
}
