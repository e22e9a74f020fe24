package cache

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cespare/xxhash/v2"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// rec is an Events and a Waker that keeps what it is told.
type rec struct {
	mu        sync.Mutex
	faults    []uint64
	unwanted  []uint64
	reclassed []uint64
	merged    []mergeNote
	pressure  atomic.Int64
	onFault   func(k sliver.Key, seq uint64)
}

type mergeNote struct {
	k   sliver.Key
	end int
	w   *vfs.Waiter
	n   int
}

func (r *rec) Fault(k sliver.Key, seq uint64) {
	r.mu.Lock()
	r.faults = append(r.faults, seq)
	f := r.onFault
	r.mu.Unlock()
	if f != nil {
		f(k, seq)
	}
}
func (r *rec) Unwanted(k sliver.Key, seq uint64) {
	r.mu.Lock()
	r.unwanted = append(r.unwanted, seq)
	r.mu.Unlock()
}
func (r *rec) Reclass(_ sliver.Key, seq uint64) {
	r.mu.Lock()
	r.reclassed = append(r.reclassed, seq)
	r.mu.Unlock()
}
func (r *rec) Merged(k sliver.Key, end int, w *vfs.Waiter, n int) {
	r.mu.Lock()
	r.merged = append(r.merged, mergeNote{k, end, w, n})
	r.mu.Unlock()
}
func (r *rec) Pressure() { r.pressure.Add(1) }

func (r *rec) lastFault() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.faults[len(r.faults)-1]
}

// answer is a request that waits on a channel.
type answer struct {
	vfs.Waiter
	ch chan result
}

type result struct {
	n   int
	err error
}

func (a *answer) Wake(n int, err error) { a.ch <- result{n, err} }

func newAnswer() *answer {
	a := &answer{ch: make(chan result, 4)}
	a.Waiter.Waker = a
	return a
}

// got returns the answer, which must have come.
func (a *answer) got(t *testing.T) result {
	t.Helper()
	select {
	case r := <-a.ch:
		if len(a.ch) > 0 {
			t.Fatal("woken twice")
		}
		return r
	default:
		t.Fatal("not woken")
		return result{}
	}
}

func (a *answer) none(t *testing.T) {
	t.Helper()
	if len(a.ch) > 0 {
		t.Fatal("woken")
	}
}

func open(t testing.TB) (*Cache, *rec) {
	t.Helper()
	r := &rec{}
	c, err := Open(Config{Dir: t.TempDir(), SizeBytes: MinSizeBytes, Events: r, HighWater: 1, LowWater: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, r
}

var (
	k0   = sliver.Key{File: 5, No: 0}
	hole = Behind{State: sliver.Hole}
)

func absent(n int) Behind { return Behind{sliver.Absent, n} }

func pattern(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }

func mustRead(t *testing.T, c *Cache, k sliver.Key, off, n int) []byte {
	t.Helper()
	d, err := c.Read(k, hole, off, n, &newAnswer().Waiter)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Release()
	return append(bytes.Clone(d.Bytes), make([]byte, d.Zeros)...)
}

func deliver(t *testing.T, c *Cache, k sliver.Key, seq uint64, p []byte) {
	t.Helper()
	if err := c.Deliver(k, seq, p, 1, xxhash.Sum64(p)); err != nil {
		t.Fatal(err)
	}
}

func parkWrite(t *testing.T, c *Cache, k sliver.Key, b Behind, off int, p []byte) *answer {
	t.Helper()
	a := newAnswer()
	if _, err := c.Write(k, b, off, p, &a.Waiter); err != vfs.ErrParked {
		t.Fatalf("write: %v, want parked", err)
	}
	return a
}

func parkRead(t *testing.T, c *Cache, k sliver.Key, b Behind) *answer {
	t.Helper()
	a := newAnswer()
	if _, err := c.Read(k, b, 0, 10, &a.Waiter); err != vfs.ErrParked {
		t.Fatalf("read: %v, want parked", err)
	}
	return a
}
