package schedule

import (
	"cmp"
	"flag"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"sliod/tape"
	"sliod/tape/geometry"
)

func TestMain(m *testing.M) {
	// Each check is a long one: fewer than rapid's 100 by default, more with -rapid.checks.
	if err := flag.Set("rapid.checks", "30"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func place(block uint64, off uint32) Place {
	return Place{tape.Position{Partition: 1, Block: tape.BlockNo(block)}, off}
}

// planner plans for an LTO-9 volume of LTFS.
func planner(g Goal) Planner {
	lto, _ := geometry.ByName("LTO-9")
	return Planner{Map: geometry.NewMap(geometry.Volume{Generation: lto, Partitions: 2}), Goal: g}
}

// knowing is p for a volume whose first 1000 blocks take so many bytes each; 0: that is not known.
func (p Planner) knowing(bytes int) Planner {
	if p.Map == nil || bytes == 0 {
		return p
	}
	p.Map = geometry.NewMap(geometry.Volume{Generation: p.Map.Generation, Partitions: 2,
		Points: []geometry.Point{{Partition: 1, Block: 1000, Bytes: int64(1000 * bytes)}}})
	return p
}

func planners() map[string]Planner {
	return map[string]Planner{"nothing known": {}, "block": planner(ByBlock), "time": planner(LeastTime), "wait": planner(LeastWait)}
}

const sliver = 1 << 20

// TestQueueModel runs random streams of calls against a plain model: a set.
func TestQueueModel(t *testing.T) {
	for name, p := range planners() {
		t.Run(name, func(t *testing.T) { rapid.Check(t, func(t *rapid.T) { testQueue(t, p) }) })
	}
}

type item struct {
	at    Place
	since time.Time
	bytes int
}

func testQueue(t *rapid.T, p Planner) {
	q := NewQueue[int](p)
	model := map[int]item{}
	now := time.Unix(1000, 0)
	var batch *Batch[int]
	t.Repeat(map[string]func(*rapid.T){
		"add": func(t *rapid.T) {
			near := rapid.Bool().Draw(t, "near")
			for range rapid.IntRange(1, 30).Draw(t, "n") {
				k := rapid.IntRange(0, 300).Draw(t, "key")
				it := item{place(rapid.Uint64Range(0, 25e6).Draw(t, "block"), rapid.Uint32Range(0, 3).Draw(t, "off")*geometry.DefaultBlockBytes/4),
					now.Add(-time.Duration(rapid.IntRange(0, 1000).Draw(t, "waits")) * time.Second), rapid.IntRange(0, 3).Draw(t, "slivers") * sliver}
				if near {
					it.at.Block %= rapid.SampledFrom([]tape.BlockNo{20, 1000}).Draw(t, "blocks")
				}
				_, had := model[k]
				if q.Add(k, it.at, it.bytes, it.since) == had {
					t.Fatalf("Add(%d) does not tell whether it was there", k)
				}
				if !had {
					model[k] = it
				}
			}
		},
		"remove": func(t *rapid.T) {
			for range rapid.IntRange(1, 30).Draw(t, "n") {
				k := rapid.IntRange(0, 300).Draw(t, "key")
				_, had := model[k]
				if q.Remove(k) != had {
					t.Fatalf("Remove(%d)", k)
				}
				delete(model, k)
			}
		},
		"next": func(t *rapid.T) {
			for range rapid.IntRange(1, 10).Draw(t, "n") {
				var soonest int
				for k := range q.Estimates(now) {
					soonest = k
					break
				}
				k, at, ok := q.Next(now)
				if ok != (len(model) > 0) {
					t.Fatalf("Next ok %v", ok)
				}
				if !ok {
					break
				}
				if it, in := model[k]; !in || it.at != at || k != soonest {
					t.Fatalf("Next %d at %v, want %v, and %d", k, at, it, soonest)
				}
				delete(model, k)
				now = now.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "takes")) * time.Second)
			}
		},
		"rewind": func(*rapid.T) { q.Rewind() },
		"moved":  func(t *rapid.T) { q.Moved(place(rapid.Uint64Range(0, 25e6).Draw(t, "block"), 0)) },
		"use": func(t *rapid.T) {
			q.Use(p.knowing(rapid.SampledFrom([]int{0, 1, 5000, geometry.DefaultBlockBytes - 1}).Draw(t, "bytes")))
		},
		"plan": func(*rapid.T) { batch = q.Plan(now) },
		"solve": func(*rapid.T) {
			if batch != nil {
				batch.Solve()
				q.Adopt(batch)
				batch = nil
			}
		},
		"recommend": func(t *rapid.T) {
			q.Recommend(now, rapid.Permutation(q.sortedKeys()).Draw(t, "order"))
		},
		"": func(t *rapid.T) {
			var oldest time.Time
			sum := int64(0)
			for _, it := range model {
				sum += int64(it.bytes)
				if oldest.IsZero() || it.since.Before(oldest) {
					oldest = it.since
				}
			}
			if q.Len() != len(model) || q.Bytes() != sum || !q.Oldest().Equal(oldest) {
				t.Fatalf("Len %d, Bytes %d, Oldest %v, want %d, %d, %v", q.Len(), q.Bytes(), q.Oldest(), len(model), sum, oldest)
			}
			seen := map[int]bool{}
			last := time.Duration(0)
			for k, d := range q.Estimates(now) {
				if _, in := model[k]; !in || seen[k] {
					t.Fatalf("an estimate of %d, which is in the queue: %v, twice: %v", k, in, seen[k])
				}
				seen[k] = true
				if eta, ok := q.ETA(k, now); !ok || eta != d || d > q.Takes(now) {
					t.Fatalf("%d takes %v, or %v of %v", k, d, eta, q.Takes(now))
				}
				last = max(last, d)
			}
			if len(seen) != len(model) || len(model) > 0 && last != q.Takes(now) {
				t.Fatalf("%d estimates of %d, the last %v of %v", len(seen), len(model), last, q.Takes(now))
			}
			stops := 0
			for _, s := range q.Stops(now) {
				stops += len(s)
			}
			if stops > len(model) {
				t.Fatalf("%d requests in stops, %d in the queue", stops, len(model))
			}
			q.check(t)
		},
	})
}

func (q *Queue[K]) sortedKeys() []K {
	var keys []K
	for _, e := range q.byArrival() {
		keys = append(keys, e.key)
	}
	return keys
}

// check looks at what must always hold inside.
func (q *Queue[K]) check(t *rapid.T) {
	for _, p := range []*pass[K]{q.running, q.next} {
		n, dead := 0, 0
		for _, r := range p.plan {
			n += len(r.entries)
			if len(r.entries) == 0 {
				dead++
				continue
			}
			want := *r
			want.fit(q.gen)
			if want.Stop != r.Stop || !slices.IsSortedFunc(r.entries, (*entry[K]).before) || !slices.Contains(p.rows, r) {
				t.Fatalf("run %+v, want %+v", r.Stop, want.Stop)
			}
			for _, e := range r.entries {
				if e.run != r || e.pass != p || e.gone {
					t.Fatalf("entry %v in a run that is not its own", e.key)
				}
			}
		}
		if n != p.size || dead != p.dead || len(p.rows) != len(p.plan)-dead ||
			!slices.IsSortedFunc(p.rows, func(a, b *run[K]) int { return cmp.Compare(a.From.Offset, b.From.Offset) }) {
			t.Fatalf("a pass of %d entries has %d; %d dead, %d runs, %d rows", p.size, n, dead, len(p.plan), len(p.rows))
		}
	}
}

// TestManyRuns: more runs than are put in order one by one are taken together, and all are served.
func TestManyRuns(t *testing.T) {
	const n = 3 * maxStops
	q := NewQueue[int](planner(LeastTime))
	for i := range n {
		q.Add(i, place(uint64(i)*7919%n*1000, 0), sliver, time.Time{})
	}
	now := time.Unix(0, 0)
	if !q.Stale(now) {
		t.Fatal("not stale")
	}
	quick := q.Takes(now)
	b := q.Plan(now)
	if len(b.groups) != maxStops {
		t.Fatalf("%d stops", len(b.groups))
	}
	b.Solve()
	if !q.Adopt(b) || q.Stale(now) || q.Takes(now) > quick {
		t.Fatalf("it took %v, and takes %v in the new order", quick, q.Takes(now))
	}
	seen := map[int]bool{}
	for k, _, ok := q.Next(now); ok; k, _, ok = q.Next(now) {
		seen[k] = true
	}
	if len(seen) != n || q.Len() != 0 {
		t.Fatalf("%d of %d were served", len(seen), n)
	}
}

func BenchmarkQueue(b *testing.B) {
	for name, p := range planners() {
		b.Run(name, func(b *testing.B) {
			q := NewQueue[uint64](p)
			const n = 4000
			now := time.Unix(0, 0)
			for i := range uint64(n) {
				q.Add(i, place(i*7919%n*1000, 0), sliver, now)
			}
			q.Replan(now)
			i := uint64(n)
			for b.Loop() {
				k, _, _ := q.Next(now)
				i++
				q.Add(k, place(i*7919%n*1000, 0), sliver, now)
			}
		})
	}
}
