package schedule

import (
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"sliod/tape"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func place(block uint64, off uint32) Place {
	return Place{tape.Position{Partition: 1, Block: tape.BlockNo(block)}, off}
}

// TestQueueModel runs random streams of Add, Remove and Next against a plain
// model: a list that is searched.
func TestQueueModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type item struct {
			key   int
			at    Place
			since time.Time
			seq   int
			later bool
		}
		q := NewQueue[int]()
		var model []item
		var head Place
		begun, seq := false, 0
		start := time.Unix(0, 0)
		check := func() {
			if q.Len() != len(model) || q.Bytes() != int64(len(model))*10 {
				t.Fatalf("Len %d, Bytes %d, want %d items", q.Len(), q.Bytes(), len(model))
			}
			var oldest time.Time
			for _, it := range model {
				if oldest.IsZero() || it.since.Before(oldest) {
					oldest = it.since
				}
			}
			if !q.Oldest().Equal(oldest) {
				t.Fatalf("Oldest %v, want %v", q.Oldest(), oldest)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				k := rapid.IntRange(0, 30).Draw(t, "key")
				at := place(rapid.Uint64Range(0, 15).Draw(t, "block"), rapid.Uint32Range(0, 2).Draw(t, "off"))
				since := start.Add(time.Duration(rapid.IntRange(1, 50).Draw(t, "since")))
				had := slices.ContainsFunc(model, func(i item) bool { return i.key == k })
				if q.Add(k, at, 10, since) == had {
					t.Fatalf("Add(%d) does not tell whether it was there", k)
				}
				if !had {
					seq++
					model = append(model, item{k, at, since, seq, begun && at.Before(head)})
				}
			},
			"remove": func(t *rapid.T) {
				k := rapid.IntRange(0, 30).Draw(t, "key")
				n := len(model)
				model = slices.DeleteFunc(model, func(i item) bool { return i.key == k })
				if q.Remove(k) != (len(model) < n) {
					t.Fatalf("Remove(%d)", k)
				}
			},
			"next": func(t *rapid.T) {
				if !slices.ContainsFunc(model, func(i item) bool { return !i.later }) {
					for i := range model {
						model[i].later = false
					}
					begun = false
				}
				want := -1
				for i, it := range model {
					if it.later {
						continue
					}
					if want < 0 || it.at.Before(model[want].at) || it.at == model[want].at && it.seq < model[want].seq {
						want = i
					}
				}
				k, at, ok := q.Next()
				if ok != (want >= 0) {
					t.Fatalf("Next ok %v", ok)
				}
				if ok {
					if k != model[want].key || at != model[want].at {
						t.Fatalf("Next %d at %v, want %v", k, at, model[want])
					}
					head, begun = at, true
					model = slices.Delete(model, want, want+1)
				}
			},
			"rewind": func(*rapid.T) {
				q.Rewind()
				for i := range model {
					model[i].later = false
				}
				begun = false
			},
			"": func(*rapid.T) { check() },
		})
	})
}

// TestNothingStarves adds in front of the head for ever; what lies behind it is
// served once the pass has reached the end of the tape.
func TestNothingStarves(t *testing.T) {
	const end = 100
	q := NewQueue[uint64]()
	q.Add(50, place(50, 0), 1, time.Time{})
	q.Next()
	q.Add(10, place(10, 0), 1, time.Time{})
	for n, at := 0, uint64(51); ; n++ {
		if at < end {
			q.Add(at, place(at, 0), 1, time.Time{})
			at++
		}
		k, _, ok := q.Next()
		if !ok || n > end {
			t.Fatal("the request behind the head was not served in the next pass")
		}
		if k == 10 {
			return
		}
	}
}

func BenchmarkQueue(b *testing.B) {
	q := NewQueue[uint64]()
	const n = 100_000
	for i := uint64(0); i < n; i++ {
		q.Add(i, place(i*7919%n, 0), 1<<20, time.Time{})
	}
	i := uint64(n)
	for b.Loop() {
		k, _, _ := q.Next()
		i++
		q.Add(k, place(i*7919%n, 0), 1<<20, time.Time{})
	}
}
