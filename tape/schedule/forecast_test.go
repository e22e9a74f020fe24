package schedule

import (
	"fmt"
	"math/rand"
	"testing"
	"time"

	"sliod/tape"
	"sliod/tape/geometry"
)

// library is a library with n requests of all classes on some volumes, of which nothing is mounted.
func library(n, volumes, drives int, done func(int, time.Duration)) *Forecast[int] {
	rnd := rand.New(rand.NewSource(1))
	g, _ := geometry.ByName("LTO-9")
	p := DefaultPolicy
	now := time.Unix(1_000_000, 0)
	queues := make([]*Classes[int], volumes)
	for i := range queues {
		queues[i] = NewClasses[int](Planner{Map: geometry.NewMap(geometry.Volume{Generation: g, Partitions: 2}), Goal: LeastTime}, &p)
	}
	for k := range n {
		queues[rnd.Intn(volumes)].Add(k, Class(rnd.Intn(int(NumClasses))), Place{Position: tape.Position{Partition: 1, Block: tape.BlockNo(rnd.Intn(30e6))}}, 1<<20, now)
	}
	f := &Forecast[int]{Now: now, Policy: &p, ArchiveDrives: 1, RecallDrives: drives, ArmMove: geometry.RobotMove, Done: done}
	for i, q := range queues {
		f.Volumes = append(f.Volumes, &ForecastVolume[int]{Barcode: tape.Barcode(fmt.Sprintf("A%05dL9", i)), Outlook: q.Outlook(now, &p), Pace: 1, RewindPace: 1, Load: time.Minute, Unload: time.Minute})
	}
	for range drives {
		f.Drives = append(f.Drives, &ForecastDrive[int]{})
	}
	return f
}

// TestForecast: every request is done once, none before its volume can be there; one drive takes longer than two, and
// archive work that goes first makes all later.
func TestForecast(t *testing.T) {
	run := func(drives int, change func(*Forecast[int])) (last time.Duration) {
		t.Helper()
		seen := map[int]bool{}
		f := library(300, 5, drives, func(k int, after time.Duration) {
			if seen[k] || after < geometry.RobotMove+time.Minute {
				t.Errorf("%d is done after %v, twice: %v", k, after, seen[k])
			}
			seen[k], last = true, max(last, after)
		})
		if change != nil {
			change(f)
		}
		if f.Run(); len(seen) != 300 {
			t.Errorf("%d requests are done", len(seen))
		}
		return last
	}
	one, two := run(1, nil), run(2, nil)
	if two > one*7/10 {
		t.Errorf("one drive takes %v, two %v", one, two)
	}
	archive := func(f *Forecast[int]) {
		target := &ForecastVolume[int]{Barcode: "NEW001L9", Outlook: library(0, 1, 1, nil).Volumes[0].Outlook, Pace: 1, RewindPace: 1}
		f.Volumes = append(f.Volumes, target)
		l := &ForecastLane[int]{Demand: Demand{Archive: true, Slivers: 10, Urgent: true}, Each: time.Minute, Batch: 5 * time.Minute, Target: target}
		l.Demand.Oldest[ArchiveClass] = f.Now
		l.Takes = func(v *ForecastVolume[int]) bool { return v == target }
		f.Lanes = append(f.Lanes, l)
	}
	if busy := run(1, archive); busy < one+10*time.Minute {
		t.Errorf("%v, and %v with ten minutes of urgent archive work", one, busy)
	}
	// A drive that is at something is done with that first.
	late := run(1, func(f *Forecast[int]) { f.Drives[0].Step, f.Drives[0].Left = Working, time.Hour })
	if late < one+45*time.Minute { // what is overdue is chosen in another order
		t.Errorf("%v, and %v with a drive that is busy for an hour", one, late)
	}
	n := 0
	f := library(10, 2, 1, func(int, time.Duration) { n++ })
	f.Volumes[0].Stays = true
	want := f.Volumes[1].Outlook.left()
	if f.Run(); n != want {
		t.Errorf("%d are done, %d can be", n, want)
	}
	library(10, 2, 0, func(int, time.Duration) { t.Error("done without a drive") }).Run()
}

func BenchmarkForecast(b *testing.B) {
	for _, n := range []int{100, 1000, 16384, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				f := library(n, 16, 4, func(int, time.Duration) {})
				for _, v := range f.Volumes {
					v.Outlook.left()
				}
				b.StartTimer()
				f.Run()
			}
		})
	}
}
