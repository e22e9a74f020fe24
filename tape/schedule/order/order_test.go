package order

import (
	"flag"
	"math"
	"slices"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"sliod/tape/geometry"
)

func TestMain(m *testing.M) {
	// Each check is a long one: fewer than rapid's 100 by default, more with -rapid.checks.
	if err := flag.Set("rapid.checks", "30"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// batches draws batches of up to n stops: anywhere, near one another, twice at the same place, one in the other, over
// the end of a wrap.
func batches(least, n int) *rapid.Generator[*Batch] {
	return rapid.Custom(func(t *rapid.T) *Batch {
		g, _ := geometry.ByName(rapid.SampledFrom(geometry.Names()).Draw(t, "generation"))
		b := &Batch{Generation: &g, Goal: rapid.SampledFrom([]Goal{LeastTime, LeastWait}).Draw(t, "goal")}
		all := 0.99 * g.WrapBytes * float64(g.Wraps)
		spread := rapid.SampledFrom([]float64{1, 0.1, 0.001}).Draw(t, "spread")
		seconds := rapid.Bool().Draw(t, "weights")
		place := rapid.Custom(func(t *rapid.T) geometry.Offset {
			if rapid.Bool().Draw(t, "even") {
				return geometry.Offset(int64(float64(rapid.IntRange(0, 300).Draw(t, "slot")) / 300 * spread * all))
			}
			return geometry.Offset(rapid.Int64Range(0, int64(spread*all)).Draw(t, "at"))
		})
		b.Head = g.Where(place.Draw(t, "head"))
		b.After = rapid.SampledFrom([]float64{0, 0.5, 20}).Draw(t, "after")
		for range rapid.IntRange(least, n).Draw(t, "n") {
			from := place.Draw(t, "from")
			to := from + geometry.Offset(rapid.Int64Range(1, int64(0.009*all)).Draw(t, "bytes"))
			s := Stop{g.Where(from), g.Where(to), g.Read(from, to), 1}
			if seconds {
				s.Weight = rapid.Float64Range(0.1, 100).Draw(t, "weight")
			}
			b.Stops = append(b.Stops, s)
		}
		return b
	})
}

func permutation(t *rapid.T, b *Batch, order []int) {
	sorted := slices.Sorted(slices.Values(order))
	if !slices.Equal(sorted, FirstCome(b)) {
		t.Fatalf("%v is not a permutation of %d", order, len(b.Stops))
	}
}

// simple are the orders that Best is never worse than.
var simple = map[string]func(*Batch) []int{"first come": FirstCome, "by block": ByBlock, "SCAN": Scan, "sweeps": Sweeps, "nearest": naiveNearest}

// naiveNearest is Nearest as one would write it.
func naiveNearest(b *Batch) []int {
	var order []int
	at := b.Head
	for left := FirstCome(b); len(left) > 0; {
		best := 0
		for i := range left {
			if b.Generation.Travel(at, b.Stops[left[i]].From) < b.Generation.Travel(at, b.Stops[left[best]].From) {
				best = i
			}
		}
		order = append(order, left[best])
		at = b.Stops[left[best]].To
		left = slices.Delete(left, best, best+1)
	}
	return order
}

// TestBest: what comes out is a permutation, the same each time, and not worse than any simple order.
func TestBest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := batches(0, 80).Draw(t, "batch")
		for name, f := range simple {
			permutation(t, b, f(b))
			if f, c := b.Cost(f(b)), b.Cost(Quick(b)); c > f {
				t.Fatalf("Quick costs %v, %s %v", c, name, f)
			}
		}
		order := Best(b)
		permutation(t, b, order)
		for name, f := range simple {
			if mine, other := b.Cost(order), b.Cost(f(b)); mine > other+1e-9*other {
				t.Fatalf("%v: %v, %s %v", b.Goal, mine, name, other)
			}
		}
		if !slices.Equal(order, Best(b)) {
			t.Fatal("another order for the same batch")
		}
	})
}

// TestNearest: the fast search for the nearest stop finds it.
func TestNearest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := batches(1, 60).Draw(t, "batch")
		if fast, plain := Nearest(b), naiveNearest(b); !slices.Equal(fast, plain) {
			t.Fatalf("%v, want %v", fast, plain)
		}
	})
}

// TestExact compares the exact method with all permutations. Local search is between it and what it begins with.
func TestExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := batches(0, 8).Draw(t, "batch")
		order := Exact(b)
		permutation(t, b, order)
		least := math.Inf(1)
		permutations(FirstCome(b), 0, func(o []int) { least = min(least, b.Cost(o)) })
		if c := b.Cost(order); c > least*(1+1e-12) {
			t.Fatalf("%v: %v, the best is %v", b.Goal, c, least)
		}
		if c, first := b.Cost(Search(b, Usual(12))), b.Cost(Quick(b)); c > first*(1+1e-9) || c < least*(1-1e-9) {
			t.Fatalf("%v: local search makes %v of %v, the best is %v", b.Goal, c, first, least)
		}
	})
}

// TestSearchIsGood: what local search finds is near the best way. It is no theorem, so the batches are always
// the same.
func TestSearchIsGood(t *testing.T) {
	worst := 1.0
	for seed := range 300 {
		b := batches(1, 8).Example(seed)
		worst = max(worst, b.Cost(Search(b, Usual(12)))/b.Cost(Exact(b)))
	}
	t.Logf("at worst %.4f of the best", worst)
	if worst > 1.05 {
		t.Errorf("local search finds ways of %.4f of the best", worst)
	}
}

func permutations(o []int, k int, do func([]int)) {
	if k == len(o) {
		do(o)
		return
	}
	for i := k; i < len(o); i++ {
		o[k], o[i] = o[i], o[k]
		permutations(o, k+1, do)
		o[k], o[i] = o[i], o[k]
	}
}

func TestExactRefuses(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("too many stops are taken")
		}
	}()
	g := geometry.Generic
	Exact(&Batch{Generation: &g, Stops: make([]Stop, MaxExact+1)})
}

// TestGain: what a move is said to gain is what it gains, and taking moves back restores the tour.
func TestGain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := batches(2, 30).Draw(t, "batch")
		n := len(b.Stops)
		s := newSearch(b, min(5, n), 2)
		s.begin(rapid.Permutation(FirstCome(b)).Draw(t, "tour"))
		order := func() []int {
			var o []int
			for k, x := range s.tour[1:] {
				if s.pos[x] != int32(k+1) {
					t.Fatalf("pos %v of tour %v", s.pos, s.tour)
				}
				o = append(o, int(x))
			}
			return o
		}
		close := func(got, want float64) bool { return math.Abs(got-want) <= 1e-9*(1+math.Abs(want)) }
		start := order()
		for range rapid.IntRange(1, 10).Draw(t, "moves") {
			i := rapid.IntRange(1, n-1).Draw(t, "i")
			p := rapid.IntRange(i+1, n).Draw(t, "p")
			m := move{int32(i), int32(p), int32(rapid.IntRange(p, n).Draw(t, "q"))}
			was := b.Cost(order())
			gain := s.gain(m)
			s.make(m)
			if is := b.Cost(order()); math.Abs(was-is-gain) > 1e-9*max(was, is) || !close(s.total, is) {
				t.Fatalf("%v: %v becomes %v (%v), the gain is said to be %v", b.Goal, was, is, s.total, gain)
			}
		}
		s.takeBack()
		if got := order(); !slices.Equal(got, start) {
			t.Fatalf("%v, want %v", got, start)
		}
	})
}

// TestInsert compares with trying every place.
func TestInsert(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := batches(1, 20).Draw(t, "batch")
		n := len(b.Stops) - 1 // the last is put in
		place, seconds := Insert(b, n, func(i int) *Stop { return &b.Stops[i] }, &b.Stops[n])
		least := math.Inf(1)
		for i := range n + 1 {
			least = min(least, b.Cost(slices.Insert(FirstCome(b)[:n:n], i, n)))
		}
		order := slices.Insert(FirstCome(b)[:n:n], place, n)
		if c := b.Cost(order); math.Abs(c-least) > 1e-9*least {
			t.Fatalf("%v at %d, the best is %v", c, place, least)
		}
		b.Goal = LeastTime
		if more := b.Cost(order) - b.Cost(FirstCome(b)[:n]); math.Abs(more-seconds) > 1e-6 {
			t.Fatalf("it takes %v longer, not %v", more, seconds)
		}
	})
}
