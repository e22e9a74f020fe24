package simulate

import (
	"fmt"
	"time"

	"github.com/pkg/errors"

	"sliod/tape"
	"sliod/tape/geometry"
	"sliod/tape/schedule"
)

const (
	// piece is how much of a request is read before the drive decides anew. (The server does
	// after each sliver.)
	piece = 1 << 30
	// sliver is the server's unit of recall, by which it weighs demands.
	sliver = 1 << 20
)

// Simulation is a library at work. It lives in the time of its trace: there is no clock, and there are
// no goroutines. It must not be used by two at once.
type Simulation struct {
	cfg    Config
	gen    geometry.Generation
	data   geometry.Offset // where the data partition begins
	room   int64           // bytes of a volume's data partition
	places *geometry.Map   // of all volumes, which are alike
	label  struct {        // what is read of a volume when it is mounted
		took   time.Duration
		back   time.Duration // from behind labels and index to the begin
		metres float64
		end    geometry.Spot
	}

	now     time.Duration
	begun   bool
	err     error // the first one: nothing goes on after it
	drives  []*drive
	armFree time.Duration // when the arm has done all that it has been asked
	woken   bool          // something has changed that drives without work must look at
	volumes map[tape.Barcode]*volume
	wanted  []*volume      // those that requests wait for
	targets []*volume      // those that have room for what is archived
	archive line           // waits to be archived
	worked  schedule.Times // for each class; see Policy.Choose
	seq     uint64
	waiting int

	demands []schedule.Demand // scratch
	choices []*volume         // scratch

	result Result
	// onServed is told of each request that is done, in tests.
	onServed func(Kind, *pending, arrival)
}

// pending is a request that waits.
type pending struct {
	seq    uint64
	class  schedule.Class // the most urgent of those who wait
	volume *volume
	block  tape.BlockNo  // where the request begins
	length int64         // of the whole
	at     geometry.Spot // of what is left
	left   int64         // bytes
	since  time.Time
	joined []arrival // who asked first, and who asked for the same meanwhile

	older, newer *pending // in orders that need it
	key          float64  // in a sweep
}

// next is how much of p is read before the drive decides anew.
func (p *pending) next() int64 { return min(p.left, piece) }

type arrival struct {
	kind Kind
	at   time.Duration
}

// place is where what is left of p begins.
func (p *pending) place(blockSize int) schedule.Place {
	done := p.length - p.left
	return schedule.Place{
		Position: tape.Position{Partition: 1, Block: p.block + tape.BlockNo(done/int64(blockSize))},
		Offset:   uint32(done % int64(blockSize)),
	}
}

func slivers(bytes int64) int { return int((bytes + sliver - 1) / sliver) }

// volume is a cartridge.
type volume struct {
	barcode tape.Barcode
	drive   *drive // that has claimed it
	queue   queue
	slivers int                 // in the queue
	bytes   int64               // of these
	same    map[extent]*pending // in the queue and whole: more requests for the same join
	index   int                 // in wanted, -1: nothing waits

	target bool  // archived to
	used   int64 // bytes, if it is a target
	blank  bool  // not formatted yet
}

type extent struct {
	block  tape.BlockNo
	length int64
}

// epoch is when traces begin: decisions are made in time.Time.
var epoch = time.Unix(0, 0).UTC()

func (s *Simulation) clock() time.Time { return epoch.Add(s.now) }

// New returns a library in which nothing is mounted and nothing waits.
func New(cfg Config) (*Simulation, error) {
	g, err := cfg.check()
	if err != nil {
		return nil, err
	}
	s := &Simulation{cfg: cfg, gen: g, volumes: make(map[tape.Barcode]*volume)}
	s.data, s.room = g.SecondPartition(g.FirstPartition(cfg.Capacity)), dataBytes(&g, cfg.Capacity)
	s.places = geometry.NewMap(geometry.Volume{Generation: g, Partitions: 2, CapacityBytes: cfg.Capacity, BlockBytes: cfg.BlockSize})
	s.measureLabels()
	for i := range cfg.Drives {
		s.drives = append(s.drives, &drive{index: i})
	}
	s.result = Result{Order: cfg.Order.String(), Drives: cfg.Drives, Slots: cfg.Slots, Generation: cfg.Generation}
	return s, nil
}

// dataBytes is how much the data partition of a volume holds.
func dataBytes(g *geometry.Generation, capacity int64) int64 {
	first := g.FirstPartition(capacity)
	return min(capacity-first, int64(float64(g.Wraps)*g.WrapBytes-float64(g.SecondPartition(first))))
}

// Add lets time go on until r comes, and has it wait. r.At must not be before that of the
// request before.
func (s *Simulation) Add(r Request) error {
	switch {
	case s.err != nil:
		return s.err
	case !s.begun:
		s.begun, s.now, s.armFree = true, r.At, r.At
		s.result.begin = r.At
		for _, d := range s.drives {
			d.began = r.At
		}
	case r.At < s.now:
		return errors.Errorf("a request comes at %v, before %v", r.At, s.now)
	}
	if s.run(r.At); s.err != nil {
		return s.err
	}
	if s.waiting >= s.cfg.MaxWaiting {
		s.err = errors.Errorf("%d requests wait after %s: this library cannot do the work of the trace; give it more drives, or allow more to wait", s.waiting, day(s.now))
		return s.err
	}
	s.result.Requests++
	s.waiting++
	s.woken = true
	b := s.result.Series.at(s.now - s.result.begin)
	b.Peak = max(b.Peak, s.waiting)
	s.result.PeakWaiting = max(s.result.PeakWaiting, s.waiting)
	if r.Kind == Archive {
		s.archive.push(s.pending(r))
		return nil
	}
	v, err := s.volume(r)
	if err != nil {
		return err
	}
	if p := v.same[extent{r.Block, r.Length}]; p != nil {
		p.joined = append(p.joined, arrival{r.Kind, s.now})
		s.result.Joined++
		if c := r.Kind.class(); c < p.class {
			v.queue.raise(p, c)
		}
		return nil
	}
	p := s.pending(r)
	p.volume, p.at = v, s.gen.Where(s.data+geometry.Offset(int64(r.Block)*int64(s.cfg.BlockSize)))
	v.same[extent{p.block, p.length}] = p
	s.enqueue(p)
	return nil
}

func (s *Simulation) pending(r Request) *pending {
	s.seq++
	return &pending{seq: s.seq, class: r.Kind.class(), block: r.Block, length: r.Length, left: r.Length, since: s.clock(), joined: []arrival{{r.Kind, s.now}}}
}

// volume returns the volume of a request that fits on it.
func (s *Simulation) volume(r Request) (*volume, error) {
	if int64(r.Block)*int64(s.cfg.BlockSize)+r.Length > s.room {
		return nil, errors.Errorf("block %d and %d bytes are beyond the end of volume %s: %d bytes are in its data partition, in records of %d", r.Block, r.Length, r.Volume, s.room, s.cfg.BlockSize)
	}
	if v := s.volumes[r.Volume]; v != nil {
		return v, nil
	}
	return s.newVolume(r.Volume)
}

func (s *Simulation) newVolume(b tape.Barcode) (*volume, error) {
	if len(s.volumes) == s.cfg.Slots {
		return nil, errors.Errorf("volume %s is one more than the %d slots of the library hold: give it more slots", b, s.cfg.Slots)
	}
	v := &volume{barcode: b, index: -1, same: make(map[extent]*pending), queue: s.newQueue()}
	s.volumes[b] = v
	return v, nil
}

func (s *Simulation) newQueue() queue {
	switch s.cfg.Order {
	case FirstCome:
		return &firstCome{}
	case ByBlock:
		return &byBlock{}
	case Scan:
		return &scan{}
	case Nearest:
		return &nearest{gen: &s.gen}
	}
	plan := schedule.Planner{Map: s.places, Goal: s.cfg.Goal}
	return &planned{q: schedule.NewClasses[*pending](plan, &s.cfg.Policy), policy: &s.cfg.Policy, blockSize: s.cfg.BlockSize, behind: s.behind}
}

// behind is how many requests for volumes that no drive has wait for each drive.
func (s *Simulation) behind() float64 {
	n := 0
	for _, v := range s.wanted {
		if v.drive == nil {
			n += v.queue.len()
		}
	}
	return float64(n) / float64(len(s.drives))
}

func (s *Simulation) enqueue(p *pending) {
	v := p.volume
	v.queue.add(p)
	v.slivers += slivers(p.left)
	v.bytes += p.left
	if v.index < 0 {
		v.index = len(s.wanted)
		s.wanted = append(s.wanted, v)
	}
}

// dequeue takes the next request of the volume in d.
func (s *Simulation) dequeue(d *drive) *pending {
	v := d.vol
	p := v.queue.next(s.clock(), d.head)
	v.slivers -= slivers(p.left)
	v.bytes -= p.left
	delete(v.same, extent{p.block, p.length})
	if v.queue.len() == 0 {
		last := s.wanted[len(s.wanted)-1]
		s.wanted[v.index], last.index = last, v.index
		s.wanted = s.wanted[:len(s.wanted)-1]
		v.index = -1
	}
	return p
}

// run lets time go on to an instant. What happens at that instant itself happens after the
// requests that come then.
func (s *Simulation) run(to time.Duration) {
	for s.err == nil {
		if s.woken {
			s.woken = false
			for _, d := range s.drives {
				if d.step == Resting {
					s.next(d)
				}
			}
			continue // a drive may have woken others
		}
		d := s.soonest()
		if d == nil || d.until >= to {
			break
		}
		s.pass(d.until)
		s.ended(d)
	}
	if s.err == nil {
		s.pass(to)
	}
}

// soonest returns the drive whose step ends first, or nil if all wait for requests.
func (s *Simulation) soonest() *drive {
	var best *drive
	for _, d := range s.drives {
		if d.until > 0 && (best == nil || d.until < best.until) {
			best = d
		}
	}
	return best
}

// pass moves the time on.
func (s *Simulation) pass(to time.Duration) {
	if s.waiting > 0 && to > s.now {
		begin, waiting := s.result.begin, s.waiting
		s.result.Series.spread(s.now-begin, to-begin, func(b *Bin, d time.Duration) {
			b.Queue += d * time.Duration(waiting)
			b.Peak = max(b.Peak, waiting)
		})
	}
	s.now = max(s.now, to)
}

// Finish lets all that waits be served, and returns what came of it.
func (s *Simulation) Finish() (*Result, error) {
	for s.err == nil && s.waiting > 0 {
		if s.woken {
			s.run(s.now)
			continue
		}
		d := s.soonest()
		if d == nil {
			s.err = errors.Errorf("%d requests wait and no drive does anything", s.waiting) // never
			break
		}
		s.pass(d.until)
		s.ended(d)
	}
	if s.err != nil {
		return nil, s.err
	}
	for _, d := range s.drives {
		d.until = min(d.until, s.now)
		s.account(d, s.now)
	}
	s.result.Volumes = len(s.volumes)
	s.result.finish(s.now)
	return &s.result, nil
}

// served notes that p is done.
func (s *Simulation) served(p *pending) {
	b := s.result.Series.at(s.now - s.result.begin)
	for _, a := range p.joined {
		wait := s.now - a.at
		s.result.Wait.Add(wait)
		s.result.ByKind[a.kind].Add(wait)
		b.Served++
		b.WaitSum += wait
		b.WaitMax = max(b.WaitMax, wait)
		s.waiting--
		if s.onServed != nil {
			s.onServed(a.kind, p, a)
		}
	}
}

func day(d time.Duration) string { return fmt.Sprintf("%.1f days", d.Hours()/24) }
