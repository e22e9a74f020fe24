package schedule

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"time"

	"sliod/tape/schedule/order"
)

// Stale says that it pays to put the running pass in order as a whole: Plan, Solve, Adopt, or
// Replan. Till then new requests are where they cost least in the plan that there is.
func (q *Queue[K]) Stale(now time.Time) bool {
	q.settle(now)
	moved, all := q.running.moved, len(q.running.plan)-q.running.dead
	return q.planner.Goal != ByBlock && moved > 0 && all > 1 && (all <= order.MaxExact || moved*8 >= all)
}

// Plan returns what there is to put in order. It may be solved without the queue's lock, while the queue
// is used.
func (q *Queue[K]) Plan(now time.Time) *Batch[K] {
	q.settle(now)
	return q.running.batch()
}

// Adopt makes the order of a solved batch the plan, and says whether it did: not if the pass that it is of
// has ended. What was given out or removed since is left out, what was added is put where
// it costs least.
func (q *Queue[K]) Adopt(b *Batch[K]) bool {
	if b.pass != q.running || len(b.order) != len(b.groups) {
		return false
	}
	q.running.given = false
	q.running.adopt(b)
	return true
}

// Replan is Plan, Solve and Adopt, if the plan is stale.
func (q *Queue[K]) Replan(now time.Time) {
	if q.Stale(now) {
		b := q.Plan(now)
		b.Solve()
		q.Adopt(b)
	}
}

// Recommend makes the order of keys, which the drive gave (tape.Drive.Order), the plan of the running pass.
// Requests that are read in one go stay together, at the place of the first of them, and what is being read is
// read to its end first. Those of the
// pass that keys does not name are put where they cost least by the model, as those are that come later.
// Keys that are not in the pass are passed over.
func (q *Queue[K]) Recommend(now time.Time, keys []K) {
	q.settle(now)
	b := q.running.batch()
	b.order = b.following(keys)
	q.running.given = true
	q.running.adopt(b)
}

// Dearer says how many times as long the order of keys takes, by the model, as the order of b, which has been solved.
func (b *Batch[K]) Dearer(keys []K) float64 {
	if own := b.b.Cost(b.order); own > 0 {
		return b.b.Cost(b.following(keys)) / own
	}
	return 1
}

// following is the order of those stops that keys names; what is being read comes first.
func (b *Batch[K]) following(keys []K) (order []int) {
	ranks := make(map[K]int, len(keys))
	for i, k := range keys {
		if _, twice := ranks[k]; !twice {
			ranks[k] = i
		}
	}
	first := make([]int, len(b.groups))
	for i, g := range b.groups {
		first[i] = math.MaxInt
		for _, e := range g {
			if rank, ok := ranks[e.key]; ok {
				first[i] = min(first[i], rank)
			}
		}
		if i == b.current {
			first[i] = -1
		}
		if first[i] < math.MaxInt {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(first[i], first[j]) })
	return order
}

// Stops returns the keys of the running pass in the order of the plan: those that the drive reads in one go
// together, by place. They are the segments to ask the drive's order for.
func (q *Queue[K]) Stops(now time.Time) [][]K {
	q.settle(now)
	var stops [][]K
	for _, r := range q.running.plan {
		var keys []K
		for _, e := range r.entries {
			keys = append(keys, e.key)
		}
		if len(keys) > 0 {
			stops = append(stops, keys)
		}
	}
	return stops
}

// ETA is how long it will take, by the plan, until k has been read; ok is false if k is not in the queue.
// If nothing has been given out since NewQueue or Rewind, it counts from when the volume is
// mounted.
func (q *Queue[K]) ETA(k K, now time.Time) (left time.Duration, ok bool) {
	e, ok := q.items[k]
	if !ok {
		return 0, false
	}
	q.estimate(now)
	return q.busy(now) + seconds(e.done()), true
}

// Estimates returns all requests in the order in which they will be served, each with its ETA. The queue
// must not change meanwhile.
func (q *Queue[K]) Estimates(now time.Time) iter.Seq2[K, time.Duration] {
	q.estimate(now)
	busy := q.busy(now)
	return func(yield func(K, time.Duration) bool) {
		for _, p := range []*pass[K]{q.running, q.next} {
			for _, r := range p.plan {
				for _, e := range r.entries {
					if !yield(e.key, busy+seconds(e.done())) {
						return
					}
				}
			}
		}
	}
}

// Takes is how long it will take until all that is queued has been read.
func (q *Queue[K]) Takes(now time.Time) time.Duration {
	return q.busy(now) + q.work(now)
}

// work is Takes without what was given out last.
func (q *Queue[K]) work(now time.Time) time.Duration {
	if len(q.items) == 0 {
		return 0
	}
	q.estimate(now)
	return seconds(max(q.running.ends, q.next.ends))
}

// busy is how long what was given out last will still take.
func (q *Queue[K]) busy(now time.Time) time.Duration { return max(q.doneAt.Sub(now), 0) }

// estimate has all runs know when they begin.
func (q *Queue[K]) estimate(now time.Time) {
	q.settle(now)
	q.running.time(0)
	q.next.arrange()
	q.next.timed = q.next.timed && q.next.after == q.running.times
	q.next.after = q.running.times
	q.next.time(q.running.ends)
}

// done is when e will have been read, in seconds. Its run must know when it begins.
func (e *entry[K]) done() float64 {
	return e.run.starts + e.pass.q.gen.Read(e.run.From.Offset, e.to.Offset)
}
