package simulate

import (
	"testing"
	"time"

	"sliod/tape/schedule"
)

// TestOnline holds the server's decisions against the two best other orders where requests of one kind come all the
// time, and more of them than one mount for each allows: waits are longer than MaxWait then, and the choice of volumes
// and the way back from the last request count as much as order on a volume.
func TestOnline(t *testing.T) {
	waits := func(cfg Config, pattern Pattern) (mean, p99 time.Duration) {
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		must(t, Generate(Synthetic{Pattern: pattern, Rate: 160, Time: 36 * time.Hour, Seed: 1}, s.Add))
		r, err := s.Finish()
		if err != nil {
			t.Fatal(err)
		}
		return r.Wait.Mean(), r.Wait.Quantile(0.99)
	}
	for _, pattern := range []Pattern{Uniform, Zipf} {
		scanMean, scanP99 := waits(Config{Drives: 1, Order: Scan, Choice: Oldest}, pattern)
		nearMean, nearP99 := waits(Config{Drives: 1, Order: Nearest, Choice: Oldest}, pattern)
		for _, goal := range []schedule.Goal{schedule.LeastTime, schedule.LeastWait} {
			mean, p99 := waits(Config{Drives: 1, Goal: goal}, pattern)
			t.Logf("%s, goal %v: mean wait %v, SCAN %v, nearest first %v; 99th percentile %v, %v, %v", pattern, goal, mean, scanMean, nearMean, p99, scanP99, nearP99)
			if mean > min(scanMean, nearMean) || p99 > min(scanP99, nearP99)*21/20 { // of 5,760 requests: it is not exact
				t.Errorf("%s, goal %v: the wait is longer", pattern, goal)
			}
		}
	}
}
