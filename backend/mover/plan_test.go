package mover

import (
	"context"
	"math/rand"
	"slices"
	"sync"
	"testing"
	"time"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
	"sliod/tape"
	"sliod/tape/geometry"
	"sliod/tape/schedule"
	"sliod/tape/schedule/order"
)

// longTape is a drive whose tape is long though little is on it. It sums up the time that a drive would take by
// the model of its generation, and takes none.
type longTape struct {
	tape.Drive
	gen    geometry.Generation
	each   geometry.Offset // how much of the tape a block takes
	rao    bool
	refuse bool // Order fails
	good   bool // Order is about as good as the model's, but another one; else it is the nearest first

	mu     sync.Mutex
	pos    tape.Position
	head   geometry.Offset
	spent  float64 // seconds
	blocks tape.BlockNo
	asked  int           // calls of Order
	gate   chan struct{} // Load waits for it, if not nil
	onRead func(tape.Position)
	given  []tape.BlockNo // what Order answered: where each segment begins
}

func (d *longTape) base(p tape.Partition) geometry.Offset {
	if p == 0 {
		return 0
	}
	return d.gen.SecondPartition(d.gen.FirstPartition(d.Drive.Limits().CapacityBytes))
}

func (d *longTape) offset(p tape.Position) geometry.Offset {
	return d.base(p.Partition) + geometry.Offset(p.Block)*d.each
}

func (d *longTape) Load(ctx context.Context) error {
	d.mu.Lock()
	gate := d.gate
	d.pos, d.head = tape.Position{}, 0
	d.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return d.Drive.Load(ctx)
}

func (d *longTape) Limits() tape.Limits {
	l := d.Drive.Limits()
	l.Density, l.HasOrder, l.HasWraps = d.gen.Density, d.rao, true
	if !d.rao {
		l.MaxSegments = 0
	}
	return l
}

func (d *longTape) Locate(ctx context.Context, to tape.Position) error {
	d.mu.Lock()
	at := d.offset(to)
	d.spent += d.gen.Locate(d.head, at)
	d.pos, d.head = to, at
	d.mu.Unlock()
	return d.Drive.Locate(ctx, to)
}

func (d *longTape) ReadBlock(ctx context.Context, buf []byte) (int, error) {
	n, err := d.Drive.ReadBlock(ctx, buf)
	d.mu.Lock()
	at, hook := d.pos, d.onRead
	d.pos.Block++
	d.head += geometry.Offset(n)
	d.spent += float64(n) / d.gen.Rate
	d.mu.Unlock()
	if hook != nil {
		hook(at)
	}
	return n, err
}

func (d *longTape) Wraps(context.Context) (ws []tape.WrapEnd, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for w := range d.gen.Wraps {
		end := (geometry.Offset(w+1)*geometry.Offset(d.gen.WrapBytes) - d.base(1)) / d.each
		if end > 0 && tape.BlockNo(end) <= d.blocks {
			ws = append(ws, tape.WrapEnd{Wrap: w, Partition: 1, End: tape.BlockNo(end) - 1})
		}
	}
	return ws, nil
}

// Order is nearest first, as the emulated drive has it, or good.
func (d *longTape) Order(_ context.Context, ss []tape.Segment) (order []int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if d.refuse {
		return nil, &tape.Error{Op: "order", Kind: tape.IllegalRequest}
	}
	defer func() {
		for _, i := range order {
			d.given = append(d.given, ss[i].First)
		}
	}()
	if d.good {
		return d.goodOrder(ss), nil
	}
	at := d.head
	for len(order) < len(ss) {
		best, least := -1, 0.0
		for i, s := range ss {
			t := d.gen.Locate(at, d.offset(tape.Position{Partition: s.Partition, Block: s.First}))
			if !slices.Contains(order, i) && (best < 0 || t < least) {
				best, least = i, t
			}
		}
		order = append(order, best)
		at = d.offset(tape.Position{Partition: ss[best].Partition, Block: ss[best].First}) + mib // as ReadBlock has it
	}
	return order, nil
}

// goodOrder is the model's, but that two stops that follow one another are exchanged where it costs least.
func (d *longTape) goodOrder(ss []tape.Segment) (least []int) {
	b := order.Batch{Generation: &d.gen, Head: d.gen.Where(d.head)}
	for _, s := range ss {
		from := d.offset(tape.Position{Partition: s.Partition, Block: s.First})
		b.Stops = append(b.Stops, order.Stop{From: d.gen.Where(from), To: d.gen.Where(from + mib), Seconds: d.gen.Read(from, from+mib), Weight: 1})
	}
	best := order.Best(&b)
	for i := range len(best) - 1 {
		other := slices.Clone(best)
		other[i], other[i+1] = other[i+1], other[i]
		if least == nil || b.Cost(other) < b.Cost(least) {
			least = other
		}
	}
	return least
}

// How much of the tape a block of 64 KiB takes: so that the file lies on 15 wraps of LTO-9, or on 2.
const wide, narrow = 1e9, 1e8

// spread is an archived file of so many slivers on a longTape, not mounted and not in the cache.
const spread = 60

func newSpread(t *testing.T, d *longTape, goal schedule.Goal) (*rig, sliver.FileID) {
	t.Helper()
	r := newRig(t, setup{
		cache: 160 * mib, cfg: Config{ReadAhead: -1, BlockSize: 64 << 10, Goal: goal},
		wrap: func(inner tape.Drive) tape.Drive { d.Drive = inner; return d },
	})
	f := r.fill(1, spread*mib)[0]
	r.archive(f)
	_, last := r.placeOfSliver(keyOf(f, spread-1))
	r.stop()
	d.blocks = last.Block + 16
	r.start()
	return r, f
}

// recallAll recalls slivers of f, all queued before the volume is mounted, and returns how long that
// took by the model, the mean wait, and the order.
func (r *rig) recallAll(d *longTape, f sliver.FileID, nos []sliver.No) (total, mean float64, order []sliver.No) {
	r.t.Helper()
	gate := make(chan struct{})
	d.mu.Lock()
	d.gate = gate
	d.mu.Unlock()
	var all sync.WaitGroup
	all.Add(len(nos))
	var mu sync.Mutex
	for _, no := range nos {
		r.parkAs(keyOf(f, no), vfs.Client, func(k sliver.Key) {
			d.mu.Lock()
			at := d.spent
			d.mu.Unlock()
			mu.Lock()
			order = append(order, k.No)
			total, mean = max(total, at), mean+at/float64(len(nos))
			mu.Unlock()
			all.Done()
		})
	}
	r.eventually("all are queued", r.queuedAre(len(nos)))
	d.mu.Lock()
	d.spent, d.asked = 0, 0
	d.mu.Unlock()
	close(gate)
	all.Wait()
	return total, mean, order
}

func (r *rig) queuedAre(n int) func(Status) bool {
	return func(Status) bool {
		r.m.mu.Lock()
		defer r.m.mu.Unlock()
		is := 0
		for _, rc := range r.m.recalls {
			if rc.state == queued {
				is++
			}
		}
		return is == n
	}
}

// everyThird are slivers that are spread over the volume, as they come.
func everyThird() (nos []sliver.No) {
	for _, i := range rand.New(rand.NewSource(1)).Perm(spread / 3) {
		nos = append(nos, sliver.No(3*i))
	}
	return nos
}

// TestOrderOnAVolume recalls slivers that are spread over a volume, in each of the ways in which they are put in
// order.
func TestOrderOnAVolume(t *testing.T) {
	type result struct {
		total, mean float64
		asked       int
	}
	recall := func(generation string, nos []sliver.No, each geometry.Offset, rao, refuse bool, goal schedule.Goal) (res result) {
		g, _ := geometry.ByName(generation)
		d := &longTape{gen: g, each: each, rao: rao, refuse: refuse}
		r, f := newSpread(t, d, goal)
		if goal == schedule.ByBlock {
			r.m.mu.Lock()
			r.m.cfg.Goal = schedule.ByBlock // which no configuration can ask for
			r.m.mu.Unlock()
		}
		var order []sliver.No
		res.total, res.mean, order = r.recallAll(d, f, nos)
		res.asked = d.asked
		if goal == schedule.ByBlock && !slices.IsSorted(order) {
			t.Errorf("not by block: %v", order)
		}
		if !slices.Equal(slices.Sorted(slices.Values(order)), slices.Sorted(slices.Values(nos))) {
			t.Errorf("read were %v", order)
		}
		r.check(f)
		r.stop()
		t.Logf("%s, RAO %v, refused %v, goal %v: %.0f s, mean wait %.0f s, asked %d times", generation, rao, refuse, goal, res.total, res.mean, res.asked)
		return res
	}
	const less = 0.85
	for _, generation := range []string{"LTO-8", "LTO-9"} {
		all := everyThird()
		byBlock := recall(generation, all, wide, false, false, schedule.ByBlock)
		model := recall(generation, all, wide, false, false, schedule.LeastTime)
		if model.total > less*byBlock.total || model.asked > 0 {
			t.Errorf("%s by the model: %.0f s, by block %.0f s; asked %d times", generation, model.total, byBlock.total, model.asked)
		}
		if generation != "LTO-9" {
			continue
		}
		if rao := recall(generation, all, wide, true, false, schedule.LeastTime); rao.total > model.total || rao.asked != 1 {
			t.Errorf("by a drive whose order is much dearer by the model: %.0f s, by the model %.0f s; asked %d times", rao.total, model.total, rao.asked)
		}
		if refused := recall(generation, all, wide, true, true, schedule.LeastTime); refused.total > less*byBlock.total || refused.asked != 1 {
			t.Errorf("by a drive that refuses: %.0f s, by the model %.0f s; asked %d times", refused.total, model.total, refused.asked)
		}
		// Many in one place, and a few elsewhere.
		crowd := []sliver.No{1, 9, 12, 17, 19, 26, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37}
		soon := recall(generation, crowd, narrow, false, false, schedule.LeastTime)
		wait := recall(generation, crowd, narrow, true, false, schedule.LeastWait)
		if wait.mean > 0.95*soon.mean || wait.asked > 0 {
			t.Errorf("mean wait %.0f s with goal wait, %.0f s with goal time; asked %d times", wait.mean, soon.mean, wait.asked)
		}
	}
}

// TestDriveIsBelieved: an order that the drive recommends is taken if it is not much dearer by the model.
func TestDriveIsBelieved(t *testing.T) {
	g, _ := geometry.ByName("LTO-9")
	d := &longTape{gen: g, each: wide, rao: true, good: true}
	r, f := newSpread(t, d, schedule.LeastTime)
	_, _, nos := r.recallAll(d, f, everyThird())
	var read []tape.BlockNo
	for _, no := range nos {
		_, at := r.placeOfSliver(keyOf(f, no))
		read = append(read, at.Block)
	}
	if d.asked != 1 || !slices.Equal(read, d.given) {
		t.Errorf("asked %d times, read %v, recommended was %v", d.asked, read, d.given)
	}
	r.check(f)
}

// TestJoinsARunningPass: what comes when the pass is under way is read where it costs little, not behind all.
func TestJoinsARunningPass(t *testing.T) {
	for _, rao := range []bool{false, true} {
		g, _ := geometry.ByName("LTO-9")
		d := &longTape{gen: g, each: wide, rao: rao}
		r, f := newSpread(t, d, schedule.LeastTime)
		reached, goOn := make(chan struct{}), make(chan struct{})
		reads := map[tape.BlockNo]bool{}
		first := map[tape.BlockNo]bool{}
		nos := everyThird()
		for _, no := range nos {
			_, at := r.placeOfSliver(keyOf(f, no))
			first[at.Block] = true
		}
		d.onRead = func(at tape.Position) {
			if at.Partition == 1 && first[at.Block] && !reads[at.Block] {
				if reads[at.Block] = true; len(reads) == 5 {
					close(reached)
					<-goOn
				}
			}
		}
		late := make(chan float64, 1)
		var joined sliver.No
		go func() {
			defer close(goOn)
			<-reached
			no := r.rec(keyOf(f, 0)).Copies[0].Volume
			r.m.mu.Lock()
			var keys []sliver.Key
			for k := range r.m.volumes[no].queue.Queue(schedule.Client).Estimates(time.Now()) {
				keys = append(keys, k)
			}
			r.m.mu.Unlock()
			joined = d.onTheWay(r, keys)
			r.parkAs(keyOf(f, joined), vfs.Client, func(sliver.Key) {
				d.mu.Lock()
				late <- d.spent
				d.mu.Unlock()
			})
			r.eventually("the late one is queued", r.queuedAre(len(keys)+1))
		}()
		total, _, order := r.recallAll(d, f, nos)
		if at := <-late; at >= 0.9*total {
			t.Errorf("RAO %v: the late one, %d, was done at %.0f s of %.0f s: %v", rao, joined, at, total, order)
		}
		r.stop()
	}
}

// onTheWay is a sliver for which the drive makes the least detour in the first half of a plan.
func (d *longTape) onTheWay(r *rig, plan []sliver.Key) (best sliver.No) {
	at := func(no sliver.No) geometry.Offset {
		_, p := r.placeOfSliver(keyOf(plan[0].File, no))
		return d.offset(p)
	}
	least := 0.0
	for no := sliver.No(0); no < spread; no++ {
		if no%3 == 0 {
			continue // everyThird
		}
		for i := range len(plan) / 2 {
			from, to := at(plan[i].No), at(plan[i+1].No)
			if detour := d.gen.Locate(from, at(no)) + d.gen.Locate(at(no), to) - d.gen.Locate(from, to); best == 0 || detour < least {
				best, least = no, detour
			}
		}
	}
	return best
}

// TestPlanners: what is known of a volume makes its map, and a volume of an unknown generation goes by block.
func TestPlanners(t *testing.T) {
	m := &Mover{cfg: Config{}.withDefaults(1)}
	at := func(rec catalog.Volume, block tape.BlockNo) geometry.Offset {
		p := m.plannerOf(&rec)
		if p.Goal != schedule.LeastTime {
			t.Fatalf("volume %s has the goal %v", rec.Barcode, p.Goal)
		}
		return p.Map.At(tape.Position{Partition: 1, Block: block}, 0) - p.Map.At(tape.Position{Partition: 1}, 0)
	}
	if p := m.plannerOf(&catalog.Volume{Barcode: "WHATEVER"}); p.Map != nil {
		t.Error("an unknown medium has a map")
	}
	ours := catalog.Volume{Barcode: "A00001L8", BlockSize: 1 << 20}
	if got := at(ours, 1000); got != 1000<<20 {
		t.Errorf("of a volume without data, block 1000 is at %.0f", got)
	}
	// Another program has written records of half the size on average.
	ours.EndOfData, ours.Used = catalog.VolPos{Partition: 1, Block: 100_000}, 50_000<<20
	if got := at(ours, 1000); got != 500<<20 {
		t.Errorf("of a volume with short records, block 1000 is at %.0f", got)
	}
	ours.Used = 1 << 20 // nearly all are indexes
	if got := at(ours, 1000); got != 1000<<20 {
		t.Errorf("of a volume that holds little but indexes, block 1000 is at %.0f", got)
	}
}

// TestSurveyKeepsAnOverduePass: the pass of recalls that are overdue goes on though the volume is surveyed anew.
func TestSurveyKeepsAnOverduePass(t *testing.T) {
	m := &Mover{cfg: Config{}.withDefaults(1)}
	rec := catalog.Volume{Barcode: "A00001L9"}
	v := &volume{queue: schedule.NewClasses[sliver.Key](m.plannerOf(&rec), &m.cfg.Schedule)}
	v.record.Store(&rec)
	now := time.Now()
	place := func(block tape.BlockNo) schedule.Place {
		return schedule.Place{Position: tape.Position{Partition: 1, Block: block}}
	}
	v.queue.Add(keyOf(1, 1), schedule.Client, place(1_000_000), mib, now)
	m.surveyedLocked(v, m.plannerOf(&rec), now)
	if !v.surveyed {
		t.Error("it is not surveyed")
	}
	q := v.queue.Queue(schedule.Client)
	q.Replan(now) // the pass begins
	later := now.Add(m.cfg.Schedule.MaxWait[schedule.Client] + time.Second)
	v.queue.Add(keyOf(1, 2), schedule.Client, place(5_000_000), mib, later)
	if q.Takes(later); q.Len() != 2 {
		t.Fatal("not both are queued")
	}
	b := q.Plan(later)
	m.surveyedLocked(v, m.plannerOf(&rec), later)
	b.Solve()
	if !q.Adopt(b) {
		t.Error("the pass was begun anew")
	}
}
