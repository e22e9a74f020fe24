package schedule

import (
	"time"

	"sliod/tape/geometry"
)

// Outlook is what waits for one volume at one moment, in the order of the plans, to be served in a Forecast. The
// queues are not touched by it, and must not change while it is used.
type Outlook[K comparable] struct {
	policy *Policy
	gen    *geometry.Generation
	lines  [NumClasses]lineup[K]
	turns  turns
	head   geometry.Spot
}

// lineup is a class of requests in the order in which they will be served. Those before next are done.
type lineup[K comparable] struct {
	entries []*entry[K]
	oldest  []int64 // Unix nanoseconds: since when the oldest of these and all behind waits
	next    int
	bytes   int64 // of those that are not done
}

// Outlook returns what waits now.
func (q *Classes[K]) Outlook(now time.Time, p *Policy) *Outlook[K] {
	o := &Outlook[K]{policy: p, turns: q.turns}
	for c, queue := range q.queues {
		o.lines[c] = queue.lineup(now)
	}
	o.gen, o.head = &q.Map().Generation, q.head
	return o
}

// Rewind is how long it takes to rewind the tape, by the model.
func (q *Classes[K]) Rewind() time.Duration {
	return seconds(q.Map().Generation.Rewind(q.head.Offset))
}

func (q *Queue[K]) lineup(now time.Time) (l lineup[K]) {
	if len(q.items) == 0 {
		return l
	}
	q.estimate(now)
	l.entries, l.bytes = make([]*entry[K], 0, len(q.items)), q.bytes
	for _, p := range []*pass[K]{q.running, q.next} {
		for _, r := range p.plan {
			l.entries = append(l.entries, r.entries...)
		}
	}
	l.oldest = make([]int64, len(l.entries))
	oldest := int64(0)
	for i := len(l.entries) - 1; i >= 0; i-- {
		if since := l.entries[i].since.UnixNano(); i == len(l.entries)-1 || since < oldest {
			oldest = since
		}
		l.oldest[i] = oldest
	}
	return l
}

func (l *lineup[K]) left() int { return len(l.entries) - l.next }

// left is how many requests are not done.
func (o *Outlook[K]) left() (n int) {
	for c := range o.lines {
		n += o.lines[c].left()
	}
	return n
}

// waits says since when the oldest of each class waits.
func (o *Outlook[K]) waits() (t Times) {
	for c := range o.lines {
		if l := &o.lines[c]; l.left() > 0 {
			t[c] = time.Unix(0, l.oldest[l.next])
		}
	}
	return t
}

// demand is the work that is left.
func (o *Outlook[K]) demand(v *ForecastVolume[K]) Demand {
	d := Demand{Volume: v.Barcode, Oldest: o.waits()}
	for c := range o.lines {
		d.Slivers += o.lines[c].left()
		d.Bytes += o.lines[c].bytes
	}
	return d
}

// takes is how long the model says that all of it takes, or something above limit if that is longer: to go through
// tens of thousands of requests at each decision would cost more than the forecast.
func (o *Outlook[K]) takes(limit time.Duration) time.Duration {
	sum, head, most := 0.0, o.head, limit.Seconds()
	for c := range o.lines {
		l := &o.lines[c]
		for _, e := range l.entries[l.next:] {
			sum += e.takes(o.gen, head)
			if head = e.to; sum > most {
				return seconds(sum)
			}
		}
	}
	return seconds(sum)
}

// serve reads on at the time now: up to n requests of the class whose turn it is. each is told when one is done, in
// seconds of the model from now on; takes is how long all took.
func (o *Outlook[K]) serve(now time.Time, n int, each func(k K, at float64)) (takes float64, c Class) {
	waits := o.waits()
	c = o.turns.next(now, o.policy, &waits, func(c Class) bool { return o.lines[c].left() > 0 })
	o.turns.served[c], o.turns.last = now, now
	l := &o.lines[c]
	for ; n > 0 && l.left() > 0; n-- {
		e := l.entries[l.next]
		takes += e.takes(o.gen, o.head)
		o.head = e.to
		l.next++
		l.bytes -= int64(e.bytes)
		each(e.key, takes)
	}
	return takes, c
}

// mounted says that the volume has been mounted anew.
func (o *Outlook[K]) mounted(now time.Time) {
	o.turns.mounted(now)
	o.head = o.gen.Where(0)
}

// rewind is how long the drive takes to rewind, in seconds.
func (o *Outlook[K]) rewind() float64 { return o.gen.Rewind(o.head.Offset) }
