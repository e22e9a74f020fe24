package schedule

import (
	"container/heap"
	"time"

	"sliod/tape"
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

// Queue holds the requests of one volume and gives them out in tape order. K
// names a request. The zero value is not usable: see NewQueue. A Queue has no
// lock of its own; Add, Remove and Next cost O(log n).
type Queue[K comparable] struct {
	items map[K]*entry[K]
	pass  byPlace[K] // at or after head: the running pass
	later byPlace[K] // before head: the next pass
	age   byAge[K]
	head  Place // of the request that was given out last
	begun bool  // head is valid
	seq   uint64
	bytes int64
}

type entry[K comparable] struct {
	key    K
	at     Place
	bytes  int
	since  time.Time
	seq    uint64 // order of arrival, for equal places and times
	index  int    // in pass or later
	later  bool
	ageIdx int
}

// NewQueue returns an empty queue.
func NewQueue[K comparable]() *Queue[K] {
	return &Queue[K]{items: make(map[K]*entry[K])}
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
	e.later = q.begun && at.Before(q.head)
	q.items[k] = e
	heap.Push(q.half(e), e)
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

// Next takes the next request in tape order out. At the end of a pass the next
// one begins.
func (q *Queue[K]) Next() (k K, at Place, ok bool) {
	if len(q.pass) == 0 {
		q.turn()
	}
	if len(q.pass) == 0 {
		return k, at, false
	}
	e := q.pass[0]
	q.drop(e)
	q.head, q.begun = e.at, true
	return e.key, e.at, true
}

// Rewind ends the running pass: the next one begins at the begin of the tape.
// It is for a volume that has been mounted anew.
func (q *Queue[K]) Rewind() {
	for len(q.pass) > 0 {
		e := heap.Pop(&q.pass).(*entry[K])
		e.later = true
		heap.Push(&q.later, e)
	}
	q.turn()
}

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

// turn begins the next pass. The running one must be empty.
func (q *Queue[K]) turn() {
	q.pass, q.later = q.later, q.pass
	for _, e := range q.pass {
		e.later = false
	}
	q.begun = false
}

func (q *Queue[K]) half(e *entry[K]) *byPlace[K] {
	if e.later {
		return &q.later
	}
	return &q.pass
}

func (q *Queue[K]) drop(e *entry[K]) {
	heap.Remove(q.half(e), e.index)
	heap.Remove(&q.age, e.ageIdx)
	delete(q.items, e.key)
	q.bytes -= int64(e.bytes)
}

type byPlace[K comparable] []*entry[K]

func (h byPlace[K]) Len() int { return len(h) }
func (h byPlace[K]) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at.Before(h[j].at)
	}
	return h[i].seq < h[j].seq
}
func (h byPlace[K]) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }
func (h *byPlace[K]) Push(x any) {
	e := x.(*entry[K])
	e.index = len(*h)
	*h = append(*h, e)
}
func (h *byPlace[K]) Pop() any {
	old := *h
	n := len(old) - 1
	e := old[n]
	old[n] = nil
	*h = old[:n]
	return e
}

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
