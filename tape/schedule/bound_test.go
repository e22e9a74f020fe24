package schedule

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestNobodyWaits floods a queue with requests that are cheaper than what waits, and holds every request to the
// bound of the package's documentation.
func TestNobodyWaits(t *testing.T) {
	for name, p := range planners() {
		t.Run(name, func(t *testing.T) { rapid.Check(t, func(t *rapid.T) { testBound(t, p) }) })
	}
}

func testBound(t *rapid.T, p Planner) {
	p.MaxWait = time.Duration(rapid.IntRange(1, 30).Draw(t, "max wait in minutes")) * time.Minute
	q := NewQueue[int](p)
	now := time.Unix(0, 0)
	since := map[int]time.Time{}
	limit := map[int]time.Time{} // when a request that is overdue must be done
	second := map[int]bool{}     // it is in the pass that limit is about
	at := uint64(0)              // where the head was last
	key, used := 0, map[uint64]bool{}
	add := func(block uint64) {
		block &^= 1 // slivers do not overlap, they are two blocks long; the same one twice is another matter
		if used[block] {
			return
		}
		used[block] = true
		q.Add(key, place(block, 0), sliver, now)
		since[key] = now
		key++
	}
	for range rapid.IntRange(1, 40).Draw(t, "at first") {
		add(rapid.Uint64Range(0, 10e6).Draw(t, "block"))
	}
	const extra = 10 * time.Second // the last that is taken in may take more than it seemed
	whole := func(d float64) time.Duration { return seconds(d/(1-LateShare)) + extra }
	running := q.running
	flood := rapid.IntRange(1, 5).Draw(t, "flood")
	far := rapid.IntRange(0, 3).Draw(t, "far")
	replans := rapid.Bool().Draw(t, "replans")
	for range 150 {
		for range flood {
			add(min(at+2+rapid.Uint64Range(0, 1000).Draw(t, "ahead"), 10e6))
		}
		if far > 0 && rapid.IntRange(0, 9).Draw(t, "dice") < far {
			add(rapid.Uint64Range(0, 10e6).Draw(t, "block"))
		}
		if replans {
			q.Takes(now)
			was, of := q.running.ends, q.running
			q.Replan(now)
			// The least wait can be one where all takes longer.
			if q.Takes(now); q.running == of && q.running.ends > was {
				for k := range limit {
					limit[k] = limit[k].Add(whole(q.running.ends - was))
				}
			}
		}
		q.Takes(now)
		turned := q.running != running
		running = q.running
		for k := range since {
			if now.Sub(since[k]) <= p.MaxWait {
				continue
			}
			in := q.items[k].pass == q.running
			if _, known := limit[k]; !known || turned && in && !second[k] {
				limit[k], second[k] = now.Add(whole(q.running.ends+max(q.credit, 0))), in
			}
		}
		k, pl, ok := q.Next(now)
		if !ok {
			t.Fatal("nothing to do")
		}
		at, now = uint64(pl.Block), q.doneAt
		if end, overdue := limit[k]; overdue && now.After(end) {
			t.Fatalf("request %d waited %v, till %v after the bound", k, now.Sub(since[k]), now.Sub(end))
		}
		for k, end := range limit {
			if _, waits := since[k]; waits && now.After(end) {
				if e := q.items[k]; e != nil && (second[k] || e.pass == q.running) {
					t.Fatalf("request %d still waits after %v, till %v after the bound", k, now.Sub(since[k]), now.Sub(end))
				}
			}
		}
		delete(since, k)
		delete(limit, k)
	}
}
