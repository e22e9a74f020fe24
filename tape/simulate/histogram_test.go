package simulate

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestHistogram compares with a sorted list.
func TestHistogram(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h Histogram
		var all []time.Duration
		var sum float64
		for range rapid.IntRange(1, 200).Draw(t, "n") {
			d := time.Duration(math.Exp(rapid.Float64Range(0, math.Log(float64(100*365*24*time.Hour))).Draw(t, "d")))
			h.Add(d)
			all = append(all, d)
			sum += d.Seconds()
		}
		slices.Sort(all)
		if h.Count() != int64(len(all)) || h.Max() != all[len(all)-1] || math.Abs(h.Mean().Seconds()-sum/float64(len(all))) > 1e-6*sum+1e-9 {
			t.Fatalf("%d, %v, %v", h.Count(), h.Max(), h.Mean())
		}
		for _, q := range []float64{0, 0.1, 0.5, 0.99, 1} {
			want := all[max(int(math.Ceil(q*float64(len(all)))), 1)-1]
			got := h.Quantile(q)
			if want <= smallest && got <= smallest {
				continue
			}
			if math.Abs(float64(got-want)) > QuantileError*1.01*float64(want)+1 {
				t.Fatalf("quantile %v: %v, want %v", q, got, want)
			}
		}
	})
	var h Histogram
	if h.Mean() != 0 || h.Quantile(0.5) != 0 || h.Max() != 0 {
		t.Error("an empty one has values")
	}
	h.Add(-1)
	if h.Count() != 1 || h.Quantile(1) != 0 {
		t.Error(h.Count(), h.Quantile(1))
	}
	h.Add(math.MaxInt64)
	if got := h.Quantile(1); got < 291*365*24*time.Hour {
		t.Error(got)
	}
}

// TestSeries: whatever is added, and however the bins are joined, the sums stay.
func TestSeries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Series
		var use, queue time.Duration
		served := int64(0)
		for range rapid.IntRange(1, 50).Draw(t, "n") {
			from := time.Duration(rapid.Int64Range(0, int64(400*24*time.Hour)).Draw(t, "from"))
			to := from + time.Duration(rapid.Int64Range(0, int64(30*24*time.Hour)).Draw(t, "long"))
			s.spread(from, to, func(b *Bin, d time.Duration) { b.Use[DoesRead] += d; b.Queue += 2 * d })
			s.at(to).Served++
			use += to - from
			queue += 2 * (to - from)
			served++
		}
		if len(s.Bins) > bins {
			t.Fatalf("%d bins", len(s.Bins))
		}
		for _, b := range s.Bins {
			use -= b.Use[DoesRead]
			queue -= b.Queue
			served -= b.Served
			if b.Use[DoesRead] < 0 {
				t.Fatal("a bin has less than nothing")
			}
		}
		if use != 0 || queue != 0 || served != 0 {
			t.Fatal(use, queue, served)
		}
	})
}
