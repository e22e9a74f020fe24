package simulate

import (
	"math"
	"time"
)

// Buckets of a Histogram: the first takes what is below a millisecond, and each further one
// reaches growth times as far as the one before; the last goes beyond 300 years.
const (
	smallest = time.Millisecond
	growth   = 1.01
	buckets  = 3010
)

// QuantileError is how far a quantile of a Histogram can be from the true one, as a share of it, above
// a millisecond.
const QuantileError = 0.005

// Histogram counts durations in buckets that grow by 1 %: whatever is added, it has the same
// size. Mean and Max are exact, quantiles to within QuantileError. The zero value is empty.
type Histogram struct {
	counts []uint32
	n      int64
	sum    float64 // seconds
	max    time.Duration
}

var logGrowth = math.Log(growth)

// Add counts d; less than nothing is nothing.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	if h.counts == nil {
		h.counts = make([]uint32, buckets)
	}
	i := 0
	if d > smallest {
		i = min(1+int(math.Log(float64(d)/float64(smallest))/logGrowth), buckets-1)
	}
	if h.counts[i] < math.MaxUint32 {
		h.counts[i]++
	}
	h.n++
	h.sum += d.Seconds()
	h.max = max(h.max, d)
}

// Count returns how many were added.
func (h *Histogram) Count() int64 { return h.n }

// Mean returns their mean, 0 if there are none.
func (h *Histogram) Mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return time.Duration(h.sum / float64(h.n) * float64(time.Second))
}

// Max returns the longest.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile returns the duration that a share q (0 to 1) of all do not exceed.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := max(int64(math.Ceil(q*float64(h.n))), 1)
	for i, c := range h.counts {
		if rank -= int64(c); rank <= 0 {
			if i == 0 {
				return min(smallest, h.max)
			}
			middle := float64(smallest) * math.Exp((float64(i)-0.5)*logGrowth)
			if middle > float64(h.max) {
				return h.max
			}
			return time.Duration(middle)
		}
	}
	return h.max
}
