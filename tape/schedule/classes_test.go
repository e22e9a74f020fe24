package schedule

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestClassesModel runs random streams of calls: all that is queued comes out once, and what is being
// read counts once in the estimates, whichever class it is of.
func TestClassesModel(t *testing.T) {
	for name, p := range planners() {
		t.Run(name, func(t *testing.T) { rapid.Check(t, func(t *rapid.T) { testClasses(t, p) }) })
	}
}

func testClasses(t *rapid.T, p Planner) {
	policy := DefaultPolicy
	q := NewClasses[int](p, &policy)
	model := map[int]Class{}
	now := time.Unix(1000, 0)
	var reading time.Duration // what the last request takes after now, at most
	t.Repeat(map[string]func(*rapid.T){
		"add": func(t *rapid.T) {
			for range rapid.IntRange(1, 10).Draw(t, "n") {
				k, c := rapid.IntRange(0, 100).Draw(t, "key"), Class(rapid.IntRange(0, int(NumClasses)-1).Draw(t, "class"))
				_, had := model[k]
				if q.Add(k, c, place(rapid.Uint64Range(0, 25e6).Draw(t, "block"), 0), sliver, now) == had {
					t.Fatalf("Add(%d) does not tell whether it was there", k)
				}
				if !had {
					model[k] = c
				}
			}
		},
		"remove": func(t *rapid.T) {
			k := rapid.IntRange(0, 100).Draw(t, "key")
			if _, had := model[k]; q.Remove(k) != had {
				t.Fatalf("Remove(%d)", k)
			}
			delete(model, k)
		},
		"replan":  func(*rapid.T) { q.Replan(now, &policy) },
		"mounted": func(*rapid.T) { q.Mounted(now, &policy); reading = 0 },
		"moved":   func(t *rapid.T) { q.Moved(place(rapid.Uint64Range(0, 25e6).Draw(t, "block"), 0)); reading = 0 },
		"next": func(t *rapid.T) {
			k, c, _, ok := q.Next(now, &policy)
			if of, in := model[k]; ok != (len(model) > 0) || ok && (!in || of != c) {
				t.Fatalf("Next %d of class %v, %v; it is in the queue: %v, of class %v", k, c, ok, in, of)
			}
			if !ok {
				return
			}
			delete(model, k)
			reading = q.Busy(now)
			passes := time.Duration(rapid.IntRange(0, 120).Draw(t, "passes")) * time.Second
			now, reading = now.Add(passes), max(reading-passes, 0)
		},
		"": func(t *rapid.T) {
			if q.Len() != len(model) || len(q.Keys()) != len(model) {
				t.Fatalf("%d requests, %d keys, want %d", q.Len(), len(q.Keys()), len(model))
			}
			if q.Busy(now) != reading {
				t.Fatalf("busy for %v, want %v", q.Busy(now), reading)
			}
			want := [NumClasses]time.Duration{} // when each class is done
			all := reading
			for c := range want {
				if queue := q.Queue(Class(c)); queue.Len() > 0 {
					all += queue.Takes(now) - queue.busy(now)
				}
				want[c] = all
			}
			var last [NumClasses]time.Duration
			for k, c := range model {
				d, ok := q.ETA(k, now)
				if !ok || d < reading {
					t.Fatalf("ETA(%d) %v, %v, while the drive is busy for %v", k, d, ok, reading)
				}
				last[c] = max(last[c], d)
			}
			for c, d := range last {
				if q.Queue(Class(c)).Len() > 0 && d != want[c] {
					t.Fatalf("class %v is done after %v, want %v", Class(c), d, want[c])
				}
			}
			if q.Takes(now) != all {
				t.Fatalf("all takes %v, want %v", q.Takes(now), all)
			}
		},
	})
}

// TestAskedOnTheShelf: who asks for estimates of a volume that is in no drive does not divide into passes what waits for
// it, overdue or not. It is read in one go when the volume is mounted.
func TestAskedOnTheShelf(t *testing.T) {
	p := DefaultPolicy
	q := NewClasses[int](Planner{}, &p)
	now := time.Unix(0, 0)
	for _, block := range []uint64{9e6, 3e6, 7e6, 1e6, 5e6} {
		q.Add(int(block), Client, place(block, 0), sliver, now)
		now = now.Add(11 * time.Minute)
		if _, ok := q.ETA(9e6, now); !ok {
			t.Fatal("no estimate")
		}
	}
	q.Mounted(now, &p)
	for want := 1_000_000; want <= 9_000_000; want += 2_000_000 {
		if k, _, _, _ := q.Next(now, &p); k != want {
			t.Errorf("%d, want %d", k, want)
		}
		now = now.Add(time.Minute)
	}
}
