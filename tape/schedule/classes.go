package schedule

import "time"

// Classes holds the requests of one volume by class, each class in the order of its own plan. The
// most urgent class that waits is served; one that has had no service for longer
// than its MaxWait gets the head for a Turn of the most urgent class. It is as safe
// for concurrent use as Queue is.
type Classes[K comparable] struct {
	queues [NumClasses]*Queue[K]
	served Times
	// slot is the class that has its turn though a more urgent one waits, until then.
	slot  Class
	until time.Time
	last  time.Time // of the last Next
	gave  Class     // the class of it; NumClasses: none since the volume was mounted
}

// NewClasses returns empty queues. In those of each class nobody is overtaken for longer than its
// MaxWait, whatever the planner says.
func NewClasses[K comparable](plan Planner, p *Policy) *Classes[K] {
	q := &Classes[K]{slot: NumClasses, gave: NumClasses}
	for c := range q.queues {
		plan.MaxWait = p.MaxWait[c]
		q.queues[c] = NewQueue[K](plan)
	}
	return q
}

// Use is Queue.Use for all classes.
func (q *Classes[K]) Use(plan Planner, p *Policy) {
	for c := range q.queues {
		plan.MaxWait = p.MaxWait[c]
		q.queues[c].Use(plan)
	}
}

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
	q.served[c], q.last, q.gave = now, now, c
	k, at, ok = q.queues[c].Next(now)
	return k, c, at, ok
}

// Replan is Queue.Replan for the class that Next takes from.
func (q *Classes[K]) Replan(now time.Time, p *Policy) {
	if c := q.turn(now, p); c < NumClasses {
		q.queues[c].Replan(now)
	}
}

// turn says which class is served at the time now, and has its queue know where the head is.
func (q *Classes[K]) turn(now time.Time, p *Policy) Class {
	waits := q.Oldest()
	c := waits.Best()
	if c == NumClasses {
		return c
	}
	if q.slot < NumClasses && now.Before(q.until) && q.queues[q.slot].Len() > 0 {
		c = q.slot
	} else if best := c; p.turn(now, &waits, &q.served) > best {
		c = p.turn(now, &waits, &q.served)
		q.slot, q.until = c, now.Add(p.Turn[best])
	}
	if q.gave < NumClasses && q.gave != c {
		q.queues[c].moved(q.queues[q.gave].head)
		q.gave = c
	}
	return c
}

// Mounted begins new passes at the begin of the tape, as the volume has been mounted
// anew. A class that is overdue goes on with its pass: what is far behind would
// never be reached by turns that all begin at the begin with all that has come.
func (q *Classes[K]) Mounted(now time.Time, p *Policy) {
	if left := q.until.Sub(q.last); q.slot < NumClasses && left > 0 {
		q.until = now.Add(left) // the volume was away meanwhile
	}
	q.gave = NumClasses
	for c, queue := range q.queues {
		if p.Overdue(now, Class(c), queue.Oldest()) {
			queue.moved(queue.gen.Where(0))
		} else {
			queue.Rewind()
		}
	}
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
