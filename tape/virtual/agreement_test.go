package virtual

import (
	"hash/crc32"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"sliod/tape"
	"sliod/tape/geometry"
	"sliod/tape/schedule"
)

// TestAgreement: what a plan predicts is what the emulated drive takes, command by command, on two partitions.
// The drive's clock is compared with the estimates: with a map from the sizes of records, which are all the
// same here, to a hundredth of a second a request; with a map from the ends of wraps, which is exact to one
// record, to a fifth of a second a request, and on average to a fiftieth.
func TestAgreement(t *testing.T) {
	const record, records = 4 << 20, 500_000 // 2.1 TB, 32 wraps of LTO-9
	for _, generation := range []string{"LTO-6", "LTO-8", "LTO-9"} {
		for _, goal := range []schedule.Goal{schedule.ByBlock, schedule.LeastTime} {
			t.Run(generation+" "+goal.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := open(t, t.TempDir(), func(c *Config) { c.Cartridge, c.Capacity, c.Speed = generation, 0, 1 })
					d := mount(t, l)
					ctx := t.Context()
					noError(t, d.Format(ctx, 2))
					p := l.drives[0].cart.parts[1]
					sum := crc32.Checksum(make([]byte, record), castagnoli)
					for range records { // of zeros, in a sparse file
						p.pending = append(p.pending, entry{recordEntry, record, p.end, p.marks, sum, 0})
						p.end += record
					}
					noError(t, p.flush())
					noError(t, p.data.Truncate(p.end))

					g, _ := geometry.ByDensity(d.Limits().Density)
					v := geometry.Volume{Generation: g, Partitions: 2, CapacityBytes: d.Limits().CapacityBytes, BlockBytes: record}
					each, mean := 0.01, 0.01
					if d.Limits().HasWraps && goal != schedule.ByBlock {
						var err error
						v.Wraps, err = d.Wraps(ctx)
						noError(t, err)
						if len(v.Wraps) < 10 {
							t.Fatalf("only %d wraps", len(v.Wraps))
						}
						v.BlockBytes = 0 // it need not be known
						each, mean = 0.2, 0.02
					}
					q := schedule.NewQueue[int](schedule.Planner{Map: geometry.NewMap(v), Goal: goal})
					dice := rand.New(rand.NewPCG(1, 1))
					length := map[int]int{}
					add := func(k int) {
						n := 1 + dice.IntN(3)
						at := schedule.Place{Position: tape.Position{Partition: 1, Block: tape.BlockNo(dice.IntN(records - n))}}
						length[k] = n
						q.Add(k, at, n*record, time.Now())
					}
					for k := range 40 {
						add(k)
					}
					noError(t, d.Rewind(ctx))
					q.Rewind()
					q.Replan(time.Now())
					buf := make([]byte, record)
					worst, all, total, n := 0.0, 0.0, time.Now(), 0
					for now := time.Now(); ; now = time.Now() {
						if n%4 == 3 && len(length) < 60 { // some come later
							add(len(length))
							q.Replan(now)
						}
						var k int
						var left time.Duration
						for k, left = range q.Estimates(now) {
							break
						}
						got, at, ok := q.Next(now)
						if !ok {
							break
						}
						if got != k {
							t.Fatalf("Next is %d, the estimates begin with %d", got, k)
						}
						noError(t, d.Locate(ctx, at.Position))
						for range length[k] {
							_, err := d.ReadBlock(ctx, buf)
							noError(t, err)
						}
						off := math.Abs((time.Since(now) - left).Seconds())
						worst, all = max(worst, off), all+off
						n++
					}
					t.Logf("%d requests in %.0f s: off by %.4f s at worst, %.4f s on average", n, time.Since(total).Seconds(), worst, all/float64(n))
					if n != len(length) || worst > each || all/float64(n) > mean {
						t.Errorf("%d requests of %d: off by %.3f s at worst, %.3f s on average", n, len(length), worst, all/float64(n))
					}
				})
			})
		}
	}
}
