package simulate

import (
	"math"
	"math/rand"
	"slices"
	"testing"
	"time"

	"sliod/tape"
	"sliod/tape/geometry"
	"sliod/tape/schedule"
)

// TestForecastAgrees has requests come all at once, and compares when they are done in a simulation with what a forecast
// says of the same library: the decisions are the same, but the order on a volume is planned once.
func TestForecastAgrees(t *testing.T) {
	var all []float64
	for seed := range int64(20) {
		rnd := rand.New(rand.NewSource(seed))
		cfg := Config{Drives: 1 + rnd.Intn(3), Slots: 1 + rnd.Intn(8), Generation: "LTO-8"}
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		type id struct {
			volume tape.Barcode
			block  tape.BlockNo
		}
		outcome := map[id]time.Duration{}
		s.onServed = func(_ Kind, p *pending, _ arrival) { outcome[id{p.volume.barcode, p.block}] = s.now }
		f := &schedule.Forecast[id]{
			Now: epoch, Policy: &s.cfg.Policy, RecallDrives: cfg.Drives, ArmMove: geometry.RobotMove,
		}
		queues := map[tape.Barcode]*schedule.Classes[id]{}
		for range 10 + rnd.Intn(200) {
			r := Request{Volume: tape.Barcode(barcode('A', 1+rnd.Intn(cfg.Slots), "L8")), Block: tape.BlockNo(rnd.Intn(20e6)), Length: 1 << 20, Kind: []Kind{Read, Bulk, Verify}[rnd.Intn(3)]}
			if err := s.Add(r); err != nil {
				t.Fatal(err)
			}
			q := queues[r.Volume]
			if q == nil {
				q = schedule.NewClasses[id](schedule.Planner{Map: s.places, Goal: schedule.LeastTime}, &s.cfg.Policy)
				queues[r.Volume] = q
			}
			q.Add(id{r.Volume, r.Block}, r.Kind.class(), s.volumes[r.Volume].same[extent{r.Block, r.Length}].place(s.cfg.BlockSize), 1<<20, epoch)
		}
		for b, q := range queues {
			for c := range schedule.NumClasses {
				q.Foresee(epoch)
				q.Queue(c).Replan(epoch)
			}
			f.Volumes = append(f.Volumes, &schedule.ForecastVolume[id]{
				Barcode: b, Outlook: q.Outlook(epoch, &s.cfg.Policy), Pace: 1, RewindPace: 1, Load: s.gen.Load + s.label.took, Unload: s.gen.Unload,
			})
		}
		for _, d := range s.drives { // they have begun with the first requests
			fd := &schedule.ForecastDrive[id]{}
			if d.target != nil {
				fd.Step, fd.Left, fd.Class, fd.Recalling = schedule.Fetching, d.until-s.now, d.class, d.recalling
				f.ArmBusy = max(f.ArmBusy, fd.Left)
				for _, v := range f.Volumes {
					if v.Barcode == d.target.barcode {
						fd.Target = v
					}
				}
			}
			f.Drives = append(f.Drives, fd)
		}
		forecast := map[id]time.Duration{}
		f.Done = func(k id, after time.Duration) { forecast[k] = after }
		f.Run()
		if _, err := s.Finish(); err != nil {
			t.Fatal(err)
		}
		var offs []float64
		for k, at := range outcome {
			if _, ok := forecast[k]; !ok {
				t.Fatalf("seed %d: nothing is said of %v", seed, k)
			}
			offs = append(offs, math.Abs(forecast[k].Seconds()/at.Seconds()-1))
		}
		slices.Sort(offs)
		middle := offs[len(offs)/2]
		if t.Logf("seed %d: %d drives, %d volumes, %d requests: off by %.1f %%", seed, cfg.Drives, len(queues), len(offs), 100*middle); middle > 0.2 {
			t.Errorf("seed %d: the forecast is off by %.0f %%", seed, 100*middle)
		}
		all = append(all, middle)
	}
	if slices.Sort(all); all[len(all)/2] > 0.02 {
		t.Errorf("half of the forecasts are off by %.1f %% and more", 100*all[len(all)/2])
	}
}
