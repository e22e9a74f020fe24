package schedule

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
	"time"

	"sliod/tape"
	"sliod/tape/geometry"
)

// Place is where the first byte of a request lies on its volume.
type Place struct {
	tape.Position
	Offset uint32 // in the record, bytes
}

// Before says whether p comes before q on the tape.
func (p Place) Before(q Place) bool {
	switch {
	case p.Partition != q.Partition:
		return p.Partition < q.Partition
	case p.Block != q.Block:
		return p.Block < q.Block
	}
	return p.Offset < q.Offset
}

// Queue holds the requests of one volume and gives them out in the order of a plan. K names a
// request. The zero value is not usable: see NewQueue. A Queue has no lock of its own.
//
// Add costs O(log n). The plan is made and kept up when it is asked for: by Next, Stale, Plan and the
// estimates. There a new request costs O(log n) if the drive reads it on its way, and
// else O(stops) up to a millisecond.
type Queue[K comparable] struct {
	planner Planner // complete
	gen     *geometry.Generation

	items map[K]*entry[K]
	age   byAge[K]
	seq   uint64
	bytes int64

	fresh   []*entry[K] // of which is not decided in which pass they are served
	running *pass[K]
	next    *pass[K]

	behind float64       // how many wait for the drive to be done with the volume
	head   geometry.Spot // behind what was given out last
	credit float64       // seconds that late requests may take of the running pass
	doneAt time.Time     // when what was given out last will be done
	moves  int           // how often all requests were moved a little (pass.refit)
}

// NewQueue returns an empty queue, for a volume at whose begin the head is.
func NewQueue[K comparable](p Planner) *Queue[K] {
	q := &Queue[K]{items: make(map[K]*entry[K])}
	q.Use(p)
	return q
}

// Use changes how requests are put in order: more is known of the volume, or another goal is set. If all
// are where they were thought to be, nearly, and the goal is the same, the passes go on as they are planned; else all
// requests are put into one pass.
func (q *Queue[K]) Use(p Planner) {
	was := q.planner
	q.planner = p.complete()
	q.gen = &q.planner.Map.Generation
	same := was.Map != nil && was.Goal == q.planner.Goal && was.Map.Generation == *q.gen
	for _, e := range q.items {
		from, to := e.from, e.to
		q.locate(e)
		same = same && near(from, e.from) && near(to, e.to)
	}
	if !same {
		q.restart()
		return
	}
	q.moves++
	q.running.refit()
	q.next.refit()
}

// near says whether two spots are as good as one to a plan.
func near(a, b geometry.Spot) bool {
	const metres = 10 // less than a second of winding
	return a.Wrap == b.Wrap && math.Abs(a.Metres-b.Metres) < metres
}

// locate finds an entry's place on the tape.
func (q *Queue[K]) locate(e *entry[K]) {
	from := q.planner.Map.At(e.at.Position, e.at.Offset)
	e.from, e.to = q.gen.Where(from), q.gen.Where(from+geometry.Offset(e.bytes))
}

// restart puts all requests into one pass that begins at the begin of the tape.
func (q *Queue[K]) restart() {
	q.running, q.next = &pass[K]{q: q}, &pass[K]{q: q}
	q.head, q.credit, q.doneAt = q.gen.Where(0), 0, time.Time{}
	q.fresh = q.fresh[:0]
	for _, e := range q.byArrival() {
		e.pass, e.run = nil, nil
		q.fresh = append(q.fresh, e)
	}
}

// Add puts the request k in: bytes long at place at, waiting since the given
// time. A request that is in the queue already stays as it is, and Add returns
// false.
func (q *Queue[K]) Add(k K, at Place, bytes int, since time.Time) bool {
	if _, ok := q.items[k]; ok {
		return false
	}
	q.seq++
	e := &entry[K]{key: k, at: at, bytes: bytes, since: since, seq: q.seq}
	q.locate(e)
	q.items[k] = e
	q.fresh = append(q.fresh, e)
	heap.Push(&q.age, e)
	q.bytes += int64(bytes)
	return true
}

// Remove takes k out, and says whether it was in.
func (q *Queue[K]) Remove(k K) bool {
	e, ok := q.items[k]
	if ok {
		q.drop(e)
	}
	return ok
}

// Next takes the next request of the plan out, at the time now. At the end of a pass the next one
// begins.
func (q *Queue[K]) Next(now time.Time) (k K, at Place, ok bool) {
	q.settle(now)
	r := q.running.front()
	if r == nil {
		return k, at, false
	}
	e := r.entries[0]
	takes := e.takes(q.gen, q.head)
	q.credit += LateShare * takes
	q.doneAt = now.Add(seconds(takes))
	q.running.begun = true
	q.drop(e)
	q.head = e.to
	return e.key, e.at, true
}

// Rewind says that the head is at the begin of the tape, and nothing is being read: the volume has been
// mounted anew. All requests are put into one pass.
func (q *Queue[K]) Rewind() {
	if q.planner.Goal == ByBlock {
		q.restart()
		return
	}
	q.move(q.gen.Where(0))
	q.credit = LateGrace.Seconds()
	q.running.takeOver(q.next)
}

// Moved says that the head is elsewhere by now: something has been written, or read, that was not in the
// queue.
func (q *Queue[K]) Moved(to Place) {
	q.move(q.gen.Where(q.planner.Map.At(to.Position, to.Offset)))
}

// move is Moved. A plan stays as good as it was if the head is nearly where it was thought to be.
func (q *Queue[K]) move(head geometry.Spot) {
	if !near(q.head, head) {
		q.running.moved = len(q.running.plan)
	}
	q.head, q.running.timed, q.doneAt = head, false, time.Time{}
}

// Behind says how many requests for other volumes wait for the drive: it rewinds the tape first, so a plan that ends
// near the begin of the tape is worth something to them. It counts for what is planned from now on.
func (q *Queue[K]) Behind(requests float64) { q.behind = requests }

// Keys returns all requests, in no order.
func (q *Queue[K]) Keys() []K {
	keys := make([]K, 0, len(q.items))
	for k := range q.items {
		keys = append(keys, k)
	}
	return keys
}

// Has says whether k is in the queue.
func (q *Queue[K]) Has(k K) bool { _, ok := q.items[k]; return ok }

// Len returns the number of requests, Bytes their sum in bytes.
func (q *Queue[K]) Len() int     { return len(q.items) }
func (q *Queue[K]) Bytes() int64 { return q.bytes }

// Oldest returns since when the oldest request waits; zero if there is none.
func (q *Queue[K]) Oldest() time.Time {
	if len(q.age) == 0 {
		return time.Time{}
	}
	return q.age[0].since
}

// settle decides for all that is new in which pass it is served, and where in it.
func (q *Queue[K]) settle(now time.Time) {
	closed := q.running.begun && len(q.age) > 0 && now.Sub(q.age[0].since) > q.planner.MaxWait
	if !closed {
		q.credit = LateGrace.Seconds()
		q.running.takeOver(q.next)
	}
	for _, e := range q.fresh {
		if e.gone {
			continue
		}
		if !closed {
			q.running.add(e)
			continue
		}
		if q.running.size > 0 && q.credit > 0 {
			if takes, r, place := q.running.price(e); takes <= q.credit {
				q.running.time(0)
				was := q.running.ends
				q.running.put(e, r, place)
				q.running.time(0)
				q.credit -= q.running.ends - was // what it really takes: a run that is longer changes the ways, too
				continue
			}
		}
		q.next.add(e)
	}
	clear(q.fresh)
	q.fresh = q.fresh[:0]
	if q.running.size == 0 && q.next.size > 0 {
		q.running = &pass[K]{q: q}
		q.running.takeOver(q.next)
		q.credit = LateGrace.Seconds()
	}
	q.running.arrange()
}

// parts says whether the head is between two places: they are not read in one go.
func (q *Queue[K]) parts(from, to geometry.Spot) bool {
	return from.Offset < q.head.Offset && q.head.Offset <= to.Offset
}

func (q *Queue[K]) drop(e *entry[K]) {
	e.gone = true
	if e.pass != nil {
		e.pass.remove(e)
	}
	heap.Remove(&q.age, e.ageIdx)
	delete(q.items, e.key)
	q.bytes -= int64(e.bytes)
	if len(q.fresh) > 2*len(q.items)+64 {
		q.fresh = slices.DeleteFunc(q.fresh, func(e *entry[K]) bool { return e.gone })
	}
}

// byArrival returns all entries in the order in which they came.
func (q *Queue[K]) byArrival() []*entry[K] {
	all := make([]*entry[K], 0, len(q.items))
	for _, e := range q.items {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *entry[K]) int { return cmp.Compare(a.seq, b.seq) })
	return all
}

// end is where the head will be when all has been read.
func (q *Queue[K]) end(now time.Time) geometry.Spot {
	q.settle(now)
	q.next.arrange()
	for _, p := range []*pass[K]{q.next, q.running} {
		for i := len(p.plan) - 1; i >= 0; i-- {
			if len(p.plan[i].entries) > 0 {
				return p.plan[i].To
			}
		}
	}
	return q.head
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

type byAge[K comparable] []*entry[K]

func (h byAge[K]) Len() int { return len(h) }
func (h byAge[K]) Less(i, j int) bool {
	if !h[i].since.Equal(h[j].since) {
		return h[i].since.Before(h[j].since)
	}
	return h[i].seq < h[j].seq
}
func (h byAge[K]) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].ageIdx, h[j].ageIdx = i, j }
func (h *byAge[K]) Push(x any) {
	e := x.(*entry[K])
	e.ageIdx = len(*h)
	*h = append(*h, e)
}
func (h *byAge[K]) Pop() any {
	old := *h
	n := len(old) - 1
	e := old[n]
	old[n] = nil
	*h = old[:n]
	return e
}
