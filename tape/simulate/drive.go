package simulate

import (
	"fmt"
	"time"

	"sliod/tape"
	"sliod/tape/geometry"
	"sliod/tape/schedule"
)

// Times that package geometry does not have, as the emulated library takes them.
const (
	syncFilemark = 2 * time.Second   // a flush
	formatTime   = 180 * time.Second // of a blank cartridge

	// constructs is about how much labels and an index take at the begin of a partition.
	constructs = 1 << 20
)

// Step is what a drive does.
type Step uint8

// Steps of a drive, in the order of a mount.
//
//	Resting -> [Unloading -> GoingHome] -> Fetching -> Loading -> Reading | Writing ... -> Resting
const (
	Resting   Step = iota // nothing, until woken or until a volume has lingered
	Unloading             // writes the index if it must, rewinds, and ejects
	GoingHome             // the arm brings the cartridge to its slot
	Fetching              // the arm brings another
	Loading               // threads it, and the labels and the index are read; formats a blank one
	Reading               // goes to a place and reads
	Writing               // goes to the end of data, writes a batch and flushes
)

var stepNames = [...]string{"rests", "unloads", "takes home", "gets", "loads", "reads", "writes"}

func (s Step) String() string { return stepNames[s] }

// Activity is what the time of a drive went into.
type Activity uint8

// Activities.
const (
	DoesRead Activity = iota
	DoesWrite
	DoesPosition // locates
	DoesExchange // unload, arm and load, and waits for the arm
	DoesNothing
	activities
)

// Event is a step that a drive begins.
type Event struct {
	At, Until time.Duration // Until is 0 for one that rests until woken
	Drive     int
	Step      Step
	Volume    tape.Barcode // "" if there is none
	Block     tape.BlockNo // Reading
	Bytes     int64        // Reading and Writing
}

func (e Event) String() string {
	text := fmt.Sprintf("%8.1fs drive %d %s", e.At.Seconds(), e.Drive, e.Step)
	if e.Volume != "" && e.Step != Resting {
		text += " " + string(e.Volume)
	}
	switch e.Step {
	case Reading:
		text += fmt.Sprintf(" at %d, %d bytes", e.Block, e.Bytes)
	case Writing:
		text += fmt.Sprintf(", %d bytes", e.Bytes)
	case Resting:
		if e.Volume != "" {
			text += " with " + string(e.Volume)
		}
	}
	if e.Until > 0 {
		text += fmt.Sprintf(", until %.1fs", e.Until.Seconds())
	}
	return text
}

// drive is a tape drive.
type drive struct {
	index int
	vol   *volume // mounted, or nil
	head  geometry.Spot

	step   Step
	began  time.Duration
	moving time.Duration // how long it positions before it reads or writes
	until  time.Duration // 0: until woken

	target    *volume  // that it exchanges for, or nil
	reading   *pending // and what of it
	bytes     int64
	batch     []*pending     // being archived; the last one may go on in the next batch
	archiving bool           // counts as one that archives
	recalling bool           // and as one that recalls
	class     schedule.Class // for whose sake it has its volume
	wrote     bool           // the last step was a batch
	unindexed bool           // the volume was written since its last index
	fresh     bool           // and not yet since it was mounted
	mountedAt time.Time
	idleSince time.Time // zero: it has just had work
}

// begin has d begin a step.
func (s *Simulation) begin(d *drive, step Step, moving, takes time.Duration) {
	d.step, d.began, d.moving, d.until = step, s.now, moving, s.now+moving+takes
	s.tell(d)
}

func (s *Simulation) tell(d *drive) {
	if s.cfg.Begins == nil {
		return
	}
	e := Event{At: s.now, Until: d.until, Drive: d.index, Step: d.step, Bytes: d.bytes}
	if d.reading != nil {
		e.Block = d.reading.place(s.cfg.BlockSize).Block
	}
	switch {
	case d.step == Fetching || d.step == Loading:
		e.Volume = d.target.barcode
	case d.vol != nil:
		e.Volume = d.vol.barcode
	}
	s.cfg.Begins(e)
}

// account books the time of a step that ends at an instant, if not before.
func (s *Simulation) account(d *drive, end time.Duration) {
	book := func(a Activity, from, to time.Duration) {
		if to <= from {
			return
		}
		s.result.use[a] += to - from
		begin := s.result.begin
		s.result.Series.spread(from-begin, to-begin, func(b *Bin, t time.Duration) { b.Use[a] += t })
	}
	middle := min(d.began+d.moving, end)
	what := [...]Activity{DoesNothing, DoesExchange, DoesExchange, DoesExchange, DoesExchange, DoesRead, DoesWrite}[d.step]
	book(DoesPosition, d.began, middle)
	book(what, middle, end)
}

// ended ends the step of d, and begins the next.
func (s *Simulation) ended(d *drive) {
	s.account(d, d.until)
	d.until = 0
	switch d.step {
	case Resting:
		s.unmount(d) // it has lingered
	case Unloading:
		s.move(d, GoingHome)
	case GoingHome:
		s.result.RobotMoves++
		d.vol.drive, d.vol = nil, nil
		s.woken = true
		if d.target != nil {
			s.move(d, Fetching)
			return
		}
		s.next(d)
	case Fetching:
		s.result.RobotMoves++
		s.load(d)
	case Loading:
		d.vol, d.target = d.target, nil
		d.vol.blank = false
		d.head, d.mountedAt, d.fresh = s.label.end, s.clock(), true
		d.vol.queue.mounted(s.clock())
		s.result.Mounts++
		s.woken = true
		s.next(d)
	case Reading:
		s.read(d)
		s.next(d)
	case Writing:
		s.wrote(d)
		s.next(d)
	}
}

func seconds(t float64) time.Duration { return time.Duration(t * float64(time.Second)) }

// measureLabels: a mount reads the label of the index partition, that of the data partition, and the
// index, which is in the index partition.
func (s *Simulation) measureLabels() {
	first, second := s.gen.Where(0), s.gen.Where(s.data)
	s.label.took = seconds(s.gen.Travel(first, second) + s.gen.Travel(second, first))
	s.label.metres = 2 * abs(second.Metres-first.Metres)
	s.label.end = s.gen.Where(constructs)
	s.label.back = seconds(s.gen.Rewind(constructs))
}

func abs(x float64) float64 { return max(x, -x) }

// exchange brings v, which nobody has claimed, into d, in place of what is there.
func (s *Simulation) exchange(d *drive, v *volume) {
	v.drive, d.target = d, v
	if d.vol != nil {
		s.unmount(d)
		return
	}
	s.move(d, Fetching)
}

// unmount begins to bring the volume of d home.
func (s *Simulation) unmount(d *drive) {
	takes := 0.0
	if d.unindexed { // the index, between filemarks: behind the data, and in the index partition
		takes += 4*syncFilemark.Seconds() + s.gen.Travel(d.head, s.label.end)
		s.result.Metres += abs(d.head.Metres - s.label.end.Metres)
		d.head, d.unindexed = s.label.end, false
	}
	takes += s.gen.Rewind(d.head.Offset) + s.gen.Unload.Seconds()
	s.result.Metres += d.head.Metres
	s.begin(d, Unloading, 0, seconds(takes))
}

// move has the arm carry a cartridge for d, when it has done what it was asked before.
func (s *Simulation) move(d *drive, step Step) {
	s.armFree = max(s.armFree, s.now) + geometry.RobotMove
	s.begin(d, step, 0, s.armFree-s.now)
}

func (s *Simulation) load(d *drive) {
	takes := s.gen.Load + s.label.took
	s.result.Metres += s.label.metres
	if d.target.blank { // labels and an index in each partition, and back to the begin
		takes += formatTime + s.label.took + 2*s.label.back + 4*syncFilemark
		s.result.Metres += s.label.metres
	}
	s.begin(d, Loading, 0, takes)
}

// beginRead goes to p and reads it, or a piece of it.
func (s *Simulation) beginRead(d *drive, p *pending) {
	d.reading, d.bytes = p, p.next()
	s.result.Metres += abs(p.at.Metres-d.head.Metres) + s.metres(d.bytes)
	move := seconds(s.gen.Travel(d.head, p.at))
	end := p.at.Offset + geometry.Offset(d.bytes)
	s.begin(d, Reading, move, seconds(s.gen.Read(p.at.Offset, end)))
}

// metres is the tape that passes the head while so many bytes do.
func (s *Simulation) metres(bytes int64) float64 {
	return float64(bytes) / s.gen.WrapBytes * s.gen.Length
}

// read ends what beginRead has begun.
func (s *Simulation) read(d *drive) {
	p := d.reading
	d.reading = nil
	p.at = s.gen.Where(p.at.Offset + geometry.Offset(d.bytes))
	d.head = p.at
	s.result.ReadBytes += d.bytes
	if p.left -= d.bytes; p.left > 0 {
		s.enqueue(p)
		return
	}
	s.served(p)
}

// beginWrite takes a batch out of the queue and writes it behind the data of the volume.
func (s *Simulation) beginWrite(d *drive) {
	d.bytes = 0
	d.batch = d.batch[:0]
	left := min(s.cfg.BatchBytes, s.room-d.vol.used)
	for s.archive.len() > 0 && left > 0 {
		p := s.archive.pop()
		n := min(p.left, left)
		p.left -= n
		left -= n
		d.bytes += n
		d.batch = append(d.batch, p)
	}
	at := s.data + geometry.Offset(d.vol.used)
	goal := s.gen.Where(at)
	s.result.Metres += abs(goal.Metres-d.head.Metres) + s.metres(d.bytes)
	move := seconds(s.gen.Travel(d.head, goal))
	if d.fresh { // the last index is looked at first
		move += s.label.back
	}
	d.fresh = false
	s.begin(d, Writing, move, seconds(s.gen.Read(at, at+geometry.Offset(d.bytes)))+syncFilemark)
}

// wrote ends what beginWrite has begun.
func (s *Simulation) wrote(d *drive) {
	v := d.vol
	v.used += d.bytes
	s.result.WrittenBytes += d.bytes
	d.head = s.gen.Where(s.data + geometry.Offset(v.used))
	d.unindexed = true
	for _, p := range d.batch {
		if p.left > 0 { // the last: the rest of it goes into the next batch
			s.archive.back(p)
			continue
		}
		s.served(p)
	}
}

// line is a queue, the oldest first.
type line struct {
	items []*pending
	head  int
}

func (l *line) len() int        { return len(l.items) - l.head }
func (l *line) first() *pending { return l.items[l.head] }
func (l *line) push(p *pending) { l.items = append(l.items, p) }

func (l *line) pop() *pending {
	p := l.items[l.head]
	l.items[l.head] = nil
	l.head++
	if l.head > 1024 && l.head > len(l.items)/2 { // a few places are kept for what comes back
		n := copy(l.items[16:], l.items[l.head:])
		clear(l.items[16+n:])
		l.items, l.head = l.items[:16+n], 16
	}
	return p
}

// back puts p, which was taken out, to the front again.
func (l *line) back(p *pending) {
	if l.head == 0 {
		l.items, l.head = append([]*pending{nil}, l.items...), 1
	}
	l.head--
	l.items[l.head] = p
}
