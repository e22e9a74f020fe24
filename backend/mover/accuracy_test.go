package mover

import (
	"fmt"
	"math"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
	"sliod/tape"
	"sliod/tape/geometry"
)

// How good estimates are: a library of real speed does its work, by the clock of a bubble, and what was estimated of each
// request is compared with when it was done.

// load is work that a library does.
type load struct {
	name       string
	generation string
	drives     int
	volumes    int
	batches    []batchOf
	slower     bool // the drives are slower than the model, and not always by as much
}

// batchOf is requests that come at once. What is measured of the next one begins when all are done.
type batchOf struct {
	n       int                       // requests, spread over all volumes
	class   func(i int) vfs.Class     // nil: clients
	archive int                       // files that are archived meanwhile
	late    map[time.Duration]batchOf // more requests, which come later
}

// sample is an estimate of a request at one moment.
type sample struct {
	key     sliver.Key
	at, eta time.Time
}

// accuracy is what came of the estimates of a batch.
type accuracy struct {
	arrival []float64 // estimated when the last request had come: how far off, as a share of the time it took
	took    time.Duration
	shares  [len(horizons)][]float64 // later: off as a share of the time left, by the time left
	offs    [len(horizons)][]time.Duration
	past    int // estimates that were not in the future
	later   int // estimates that were put off by more than a minute, of compared
	moves   int
	unknown int
}

var horizons = [...]time.Duration{0, time.Minute, 5 * time.Minute, 10 * time.Minute, 20 * time.Minute}

func median[T float64 | time.Duration](list []T) T {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[len(list)/2]
}

const tableHead = "| load                          | batch | took s | off at arrival | > 20 min | > 10 min | > 5 min  | > 1 min  | less   | put off |"

// row is a line of the table.
func (a *accuracy) row(name string, batch int) string {
	s := fmt.Sprintf("| %-29s | %5d | %6.0f | %12.1f %% |", name, batch, a.took.Seconds(), 100*median(a.arrival))
	for i := len(horizons) - 1; i > 0; i-- {
		if len(a.shares[i]) == 0 {
			s += "          |"
		} else {
			s += fmt.Sprintf(" %6.1f %% |", 100*median(a.shares[i]))
		}
	}
	return s + fmt.Sprintf(" %4.0f s | %5.1f %% |", median(a.offs[0]).Seconds(), 100*float64(a.later)/float64(max(a.moves, 1)))
}

// perVolume is how many files lie on a volume, at least.
const perVolume = 100

// measure has a library do a load, and returns what came of the estimates of each batch.
func measure(t *testing.T, l load) (results []*accuracy) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := geometry.ByName(l.generation)
		on := false
		each := geometry.Offset(g.WrapBytes / 16)
		r := newRig(t, setup{
			drives: l.drives, slots: l.volumes + 2, capacity: 10 * mib, cache: 256 * mib, cartridge: l.generation,
			cfg: Config{ReadAhead: -1, BlockSize: 64 << 10},
			wrap: func(d tape.Drive) tape.Drive {
				s := &slowTape{Drive: d, gen: g, each: each, on: &on}
				if l.slower {
					s.off = rand.New(rand.NewSource(2))
				}
				return s
			},
			arm: func(c tape.Changer) tape.Changer { return &slowArm{Changer: c, on: &on} },
		})
		by := make(map[tape.Barcode][]sliver.FileID)
		for n := 0; len(by) < l.volumes || n < l.volumes*perVolume; n += 50 {
			files := r.fill(50, 64<<10)
			r.archive(files...)
			for _, f := range files {
				b, _ := r.placeOfSliver(keyOf(f, 0))
				by[b] = append(by[b], f)
			}
		}
		var volumes [][]sliver.FileID
		for _, files := range by {
			r.evict(files...)
			volumes = append(volumes, files)
		}
		slices.SortFunc(volumes, func(a, b []sliver.FileID) int { return int(a[0]) - int(b[0]) })
		r.stop()
		r.start()
		r.m.mu.Lock()
		for _, v := range r.m.volumes { // a block is as long as it seems
			rec := *v.rec()
			rec.BlockSize, rec.Capacity = uint32(math.Ceil(float64(each))), g.Capacity
			v.record.Store(&rec)
			v.queue.Use(r.m.plannerOf(&rec), &r.m.cfg.Schedule)
		}
		r.m.mu.Unlock()
		on = true
		rnd := rand.New(rand.NewSource(1))
		for _, b := range l.batches {
			results = append(results, r.measureBatch(rnd, volumes, b))
		}
		on = false
	})
	return results
}

// park has the requests of a batch come, and tells done of each that is done.
func (r *rig) park(rnd *rand.Rand, volumes [][]sliver.FileID, b batchOf, done func(sliver.Key)) (keys []sliver.Key) {
	for i := 0; i < b.n; {
		files := volumes[rnd.Intn(len(volumes))]
		k := keyOf(files[rnd.Intn(len(files))], 0)
		r.m.mu.Lock()
		busy := r.m.recalls[k] != nil
		r.m.mu.Unlock()
		if busy || slices.Contains(keys, k) || r.cache.State(k, r.behind(k)) != sliver.Absent {
			continue
		}
		class := vfs.Client
		if b.class != nil {
			class = b.class(i)
		}
		r.parkAs(k, class, done)
		keys = append(keys, k)
		i++
	}
	return keys
}

func (r *rig) measureBatch(rnd *rand.Rand, volumes [][]sliver.FileID, b batchOf) *accuracy {
	begun := time.Now()
	done := make(chan sliver.Key, 4096)
	outcome := make(map[sliver.Key]time.Time)
	keys := r.park(rnd, volumes, b, func(k sliver.Key) { done <- k })
	if b.archive > 0 {
		r.m.Archive(Place{}, r.fill(b.archive, 64<<10), nil)
	}
	var samples []sample
	a := &accuracy{}
	look := func() {
		synctest.Wait()
		r.m.mu.Lock()
		r.m.forecastLocked(time.Now())
		r.m.mu.Unlock()
		synctest.Wait() // what is not mounted has been put in order
		r.m.mu.Lock()
		defer r.m.mu.Unlock()
		now := time.Now()
		for _, k := range keys {
			rc := r.m.recalls[k]
			if rc == nil {
				continue
			}
			eta, ok := r.m.etaLocked(rc, now)
			if !ok {
				a.unknown++
				continue
			}
			if eta.Before(now) {
				a.past++
			}
			samples = append(samples, sample{k, now, eta})
		}
	}
	look()
	last := begun
	tick := time.NewTicker(20 * time.Second)
	defer tick.Stop()
	for len(outcome) < len(keys) {
		select {
		case k := <-done:
			outcome[k] = time.Now()
		case <-tick.C:
			for at, more := range b.late {
				if time.Since(begun) >= at {
					delete(b.late, at)
					keys = append(keys, r.park(rnd, volumes, more, func(k sliver.Key) { done <- k })...)
					synctest.Wait()
					last = time.Now()
				}
			}
			look()
		}
	}
	a.took = time.Since(begun)
	before := make(map[sliver.Key]time.Time)
	for _, s := range samples {
		end := outcome[s.key]
		off, left := s.eta.Sub(end).Abs(), end.Sub(s.at)
		if s.at.Equal(last) {
			a.arrival = append(a.arrival, off.Seconds()/max(left.Seconds(), 1))
		}
		if s.at.Before(last) {
			continue
		}
		for i := len(horizons) - 1; i >= 0; i-- {
			if left >= horizons[i] {
				a.offs[i] = append(a.offs[i], off)
				a.shares[i] = append(a.shares[i], off.Seconds()/max(left.Seconds(), 1))
				break
			}
		}
		if was, ok := before[s.key]; ok {
			a.moves++
			if s.eta.Sub(was) > time.Minute {
				a.later++
			}
		}
		before[s.key] = s.eta
	}
	for _, f := range slices.Concat(volumes...) {
		r.evict(f)
	}
	return a
}

var mixed = func(i int) vfs.Class { return []vfs.Class{vfs.Client, vfs.Bulk, vfs.Bulk, vfs.Background}[i%4] }

var loads = []load{
	{"one drive, one volume", "LTO-8", 1, 1, []batchOf{{n: 40}, {n: 40}}, false},
	{"two drives, four volumes", "LTO-8", 2, 4, []batchOf{{n: 120}, {n: 120}, {n: 120}}, false},
	{"the drive's own order", "LTO-9", 2, 4, []batchOf{{n: 120}, {n: 120}, {n: 120}}, false},
	{"one drive, six volumes", "LTO-8", 1, 6, []batchOf{{n: 90}, {n: 90}}, false},
	{"three drives, eight volumes", "LTO-8", 3, 8, []batchOf{{n: 300}, {n: 300}}, false},
	{"clients, a job and verifying", "LTO-8", 2, 5, []batchOf{{n: 150, class: mixed}, {n: 150, class: mixed}}, false},
	{"archiving meanwhile", "LTO-8", 2, 4, []batchOf{{n: 60, archive: 20}, {n: 100, archive: 40}}, false},
	{"requests that join", "LTO-8", 2, 4, []batchOf{{n: 60}, {n: 60, late: map[time.Duration]batchOf{3 * time.Minute: {n: 30}, 6 * time.Minute: {n: 10}}}}, false},
	{"a few requests", "LTO-9", 2, 6, []batchOf{{n: 8}, {n: 8}, {n: 8}, {n: 8}}, false},
	{"drives slower by 10 to 50 %", "LTO-8", 2, 4, []batchOf{{n: 120}, {n: 120}, {n: 120}}, true},
}

// TestEstimateAccuracy compares estimates with outcomes. With -v it prints the table that is in docs/benchmarks.md: of
// each batch how long it took, how far off estimates were that were made when the last request had come, as the
// median over all requests of the difference as a share of the time that the request then took; the same later, by
// the time that was left, and in the last minute in seconds; and how many estimates had grown later by more than a minute since
// 20 s before. The first batch is what a server does that has just started, and has measured nothing.
func TestEstimateAccuracy(t *testing.T) {
	const worst, usual = 0.4, 0.1
	var steady []float64
	table := []string{tableHead}
	for _, l := range loads {
		t.Run(l.name, func(t *testing.T) {
			for i, a := range measure(t, l) {
				row := a.row(l.name, i+1)
				table = append(table, row)
				off := median(a.arrival)
				if off > worst || a.past > 0 || a.unknown > 0 {
					t.Errorf("%d estimates in the past, %d unknown: %s", a.past, a.unknown, row)
				}
				if len(a.shares[0]) > 0 && median(a.offs[0]) > 10*time.Second {
					t.Errorf("estimates do not come nearer to the outcome: %s", row)
				}
				if i > 0 {
					steady = append(steady, off)
				}
			}
		})
	}
	off := median(steady)
	t.Logf("\n%s\nunder steady load: off by %.1f %%, the worst batch by %.0f %%", strings.Join(table, "\n"), 100*off, 100*slices.Max(steady))
	if off > usual {
		t.Errorf("under steady load half of the batches are off by %.0f %% and more", 100*off)
	}
}
