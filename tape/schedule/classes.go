package schedule

import (
	"time"

	"sliod/tape/geometry"
)

// Classes holds the requests of one volume by class, each class in tape order. The
// most urgent class that waits is served; one that has had no service for longer
// than its MaxWait gets the head for a Turn of the most urgent class. It is as safe
// for concurrent use as Queue is.
type Classes[K comparable] struct {
	queues [NumClasses]*Queue[K]
	turns  turns
	// head is where the head is, headOf the class whose queue knows that: others are planned for when it will come
	// to them (Foresee). NumClasses: none.
	head   geometry.Spot
	headOf Class
	doneAt time.Time // when what was given out last will be done
}

// NewClasses returns empty queues, which put their requests in order as pl says. The
// MaxWait of a class takes the place of the planner's.
func NewClasses[K comparable](pl Planner, p *Policy) *Classes[K] {
	q := &Classes[K]{turns: turns{slot: NumClasses}, headOf: NumClasses}
	for c := range q.queues {
		pl.MaxWait = p.MaxWait[c]
		q.queues[c] = NewQueue[K](pl)
	}
	q.head = q.queues[Client].head
	return q
}

// Use is Queue.Use for all classes.
func (q *Classes[K]) Use(pl Planner, p *Policy) {
	for c := range q.queues {
		pl.MaxWait = p.MaxWait[c]
		q.queues[c].Use(pl)
	}
	q.head, q.headOf, q.doneAt = q.queues[Client].gen.Where(q.head.Offset), NumClasses, time.Time{}
}

// turns says whose turn it is of the classes on one volume.
type turns struct {
	served Times
	// slot is the class that has its turn though a more urgent one waits, until then.
	slot  Class
	until time.Time
	last  time.Time // when something was given out last
}

// next returns the class that is served at the time now, of those that wait; NumClasses: none does. has says whether
// one has requests.
func (t *turns) next(now time.Time, p *Policy, waits *Times, has func(Class) bool) Class {
	best := waits.Best()
	if best == NumClasses {
		return best
	}
	if t.slot < NumClasses && now.Before(t.until) && has(t.slot) {
		return t.slot
	}
	c := p.turn(now, waits, &t.served)
	if c > best {
		t.slot, t.until = c, now.Add(p.Turn[best])
	}
	return c
}

// mounted says that the volume has been mounted anew: a turn goes on that was not over.
func (t *turns) mounted(now time.Time) {
	if left := t.until.Sub(t.last); t.slot < NumClasses && left > 0 {
		t.until = now.Add(left)
	}
}

// Map tells where blocks lie on the volume, as far as is known.
func (q *Classes[K]) Map() *geometry.Map { return q.queues[Client].planner.Map }

// Queue returns the queue of a class, to be planned. Requests are put in and taken out
// through q alone.
func (q *Classes[K]) Queue(c Class) *Queue[K] { return q.queues[c] }

// Add is Queue.Add, for a request of class c. A request that is queued in any class
// stays as it is.
func (q *Classes[K]) Add(k K, c Class, at Place, bytes int, since time.Time) bool {
	if q.Has(k) {
		return false
	}
	return q.queues[c].Add(k, at, bytes, since)
}

// Remove takes k out, and says whether it was in.
func (q *Classes[K]) Remove(k K) bool {
	for _, c := range q.queues {
		if c.Remove(k) {
			return true
		}
	}
	return false
}

// Next takes the next request out, and says of which class it is.
func (q *Classes[K]) Next(now time.Time, p *Policy) (k K, c Class, at Place, ok bool) {
	if c = q.turn(now, p); c == NumClasses {
		return k, c, at, false
	}
	q.turns.served[c], q.turns.last = now, now
	k, at, ok = q.queues[c].Next(now)
	q.headOf, q.head, q.doneAt = c, q.queues[c].head, q.queues[c].doneAt
	return k, c, at, ok
}

// Behind is Queue.Behind. It counts when the requests of one class are all that is left.
func (q *Classes[K]) Behind(requests float64) {
	all := q.Len()
	for _, queue := range q.queues {
		if queue.Len() == all {
			queue.Behind(requests)
		} else {
			queue.Behind(0)
		}
	}
}

// Stale returns the queue of the class that Next takes from, if it pays to put that in order as a whole
// (Queue.Stale); else nil.
func (q *Classes[K]) Stale(now time.Time, p *Policy) *Queue[K] {
	if c := q.turn(now, p); c < NumClasses && q.queues[c].Stale(now) {
		return q.queues[c]
	}
	return nil
}

// Replan is Queue.Replan for the class that Next takes from.
func (q *Classes[K]) Replan(now time.Time, p *Policy) {
	if c := q.turn(now, p); c < NumClasses {
		q.queues[c].Replan(now)
	}
}

// turn says which class is served at the time now, and has its queue know where the head is.
// NumClasses: none waits.
func (q *Classes[K]) turn(now time.Time, p *Policy) Class {
	waits := q.Oldest()
	c := q.turns.next(now, p, &waits, func(c Class) bool { return q.queues[c].Len() > 0 })
	if c < NumClasses && q.headOf != c {
		q.queues[c].move(q.head)
		q.headOf = c
	}
	return c
}

// Reconsider has Stale say that all plans are to be made anew: somebody may know better than who made them.
func (q *Classes[K]) Reconsider(now time.Time) {
	for _, queue := range q.queues {
		queue.settle(now)
		queue.running.moved = len(queue.running.plan)
	}
}

// Foresee has each class planned from where the head will be when the more urgent ones are done.
func (q *Classes[K]) Foresee(now time.Time) {
	at := q.head
	for c, queue := range q.queues {
		if queue.Len() == 0 {
			continue
		}
		if Class(c) != q.headOf {
			queue.settle(now)
			queue.move(at)
		}
		at = queue.end(now)
	}
}

// Mounted says that the volume has been mounted anew: the head is at its begin. A class
// that is overdue goes on with the pass that it has begun, others begin a new one: what is
// far behind would never be reached by turns that each begin with what has come since.
func (q *Classes[K]) Mounted(now time.Time, p *Policy) {
	q.turns.mounted(now)
	for c, queue := range q.queues {
		if queue.running.begun && p.Overdue(now, Class(c), queue.Oldest()) {
			queue.Moved(Place{})
		} else {
			queue.Rewind()
		}
	}
	q.head, q.headOf, q.doneAt = q.queues[Client].gen.Where(0), NumClasses, time.Time{}
}

// Moved is Queue.Moved.
func (q *Classes[K]) Moved(to Place) {
	for _, queue := range q.queues {
		queue.Moved(to)
	}
	q.head, q.headOf, q.doneAt = q.queues[Client].head, NumClasses, time.Time{}
}

// ETA is how long it will take until k has been read if the drive stays with the volume:
// what is more urgent comes before it. ok is false if k is not queued.
func (q *Classes[K]) ETA(k K, now time.Time) (left time.Duration, ok bool) {
	left = q.Busy(now)
	for _, queue := range q.queues {
		if d, ok := queue.ETA(k, now); ok {
			return left + d - queue.busy(now), true
		}
		left += queue.work(now)
	}
	return 0, false
}

// Busy is how long what was given out last will still take, by the model.
func (q *Classes[K]) Busy(now time.Time) time.Duration {
	return max(q.doneAt.Sub(now), 0)
}

// Takes is how long it will take until all that is queued has been read.
func (q *Classes[K]) Takes(now time.Time) (left time.Duration) {
	left = q.Busy(now)
	for _, queue := range q.queues {
		left += queue.work(now)
	}
	return left
}

// Keys returns all requests, in no order.
func (q *Classes[K]) Keys() (keys []K) {
	for _, c := range q.queues {
		keys = append(keys, c.Keys()...)
	}
	return keys
}

// Has says whether k is in a queue.
func (q *Classes[K]) Has(k K) bool {
	for _, c := range q.queues {
		if c.Has(k) {
			return true
		}
	}
	return false
}

// Len returns the number of requests, Bytes their sum in bytes.
func (q *Classes[K]) Len() (n int) {
	for _, c := range q.queues {
		n += c.Len()
	}
	return n
}

// Bytes returns the sum of all requests in bytes.
func (q *Classes[K]) Bytes() (n int64) {
	for _, c := range q.queues {
		n += c.Bytes()
	}
	return n
}

// Oldest returns since when the oldest request of each class waits.
func (q *Classes[K]) Oldest() (t Times) {
	for c := range q.queues {
		t[c] = q.queues[c].Oldest()
	}
	return t
}
