package schedule

import (
	"time"

	"sliod/tape"
)

// Forecast tells when each of the requests that wait will be done: it takes the drives as they are, and has them decide
// and work as they will, by the same Policy, until nothing waits any longer. It knows nothing of what will come, and of
// failures. It is used once.
//
// The order on each volume is that of its plan at the begin; a drive decides anew after a share of the
// requests, not after each, so that the work is bounded: O(requests), and a few thousand decisions.
type Forecast[K comparable] struct {
	Now    time.Time
	Policy *Policy
	Served Times // as for Policy.Choose
	// Drives that are in service, Volumes that requests wait for or that are in a drive, and Lanes of archive work.
	Drives  []*ForecastDrive[K]
	Volumes []*ForecastVolume[K]
	Lanes   []*ForecastLane[K]
	// ArchiveDrives and RecallDrives are how many drives may archive and recall at the same time.
	ArchiveDrives, RecallDrives int
	// ArmMove is how long the arm takes to carry a cartridge, ArmBusy until when it is busy.
	ArmMove, ArmBusy time.Duration
	// Done is told how long from Now on it takes until a request is done. Requests that no drive will
	// ever serve are not told of.
	Done func(k K, after time.Duration)

	now    time.Duration // since Now
	woken  bool          // drives without work must decide anew
	chunk  int           // requests that are served between two decisions
	others []Demand      // scratch
	places []elsewhere[K]
}

// decisions is how many decisions a forecast takes at most, about, beside those for exchanges.
const decisions = 2048

// ForecastVolume is a volume in a Forecast.
type ForecastVolume[K comparable] struct {
	Barcode tape.Barcode
	Outlook *Outlook[K]
	// Pace is by what times of the model are multiplied when the volume is read.
	Pace float64
	// Load is how long a drive takes with it from when the arm has brought it until it is mounted, Unload
	// until it is ejected, without the rewind, and Index how long it takes to write what its index lacks, before.
	Load, Unload, Index time.Duration
	// RewindPace is by what the time of a rewind is multiplied.
	RewindPace float64
	// Stays: no drive can get it.
	Stays bool

	drive *ForecastDrive[K]
}

// Rewind is how long a drive takes to rewind the volume that it has.
func (v *ForecastVolume[K]) Rewind() time.Duration { return seconds(v.RewindPace * v.Outlook.rewind()) }

// ForecastLane is archive work that the same volumes can take.
type ForecastLane[K comparable] struct {
	Demand Demand        // Slivers counts what Each is the time of
	Each   time.Duration // how long one takes
	Batch  time.Duration // about how long a drive archives before it decides anew
	Takes  func(v *ForecastVolume[K]) bool
	Target *ForecastVolume[K] // that is fetched for it; nil: none
}

// ForecastStep is what a drive does.
type ForecastStep uint8

// Steps, in the order of an exchange.
const (
	Resting   ForecastStep = iota // nothing
	Unloading                     // writes the index if it must, rewinds, and ejects
	GoingHome                     // the arm brings the cartridge to its slot
	Fetching                      // the arm brings another
	Loading                       // until it is mounted
	Working                       // reads, or writes
)

// ForecastDrive is a drive in a Forecast.
type ForecastDrive[K comparable] struct {
	Volume *ForecastVolume[K] // that it has, or takes home; nil: none
	Target *ForecastVolume[K] // that it exchanges for; nil: none
	Step   ForecastStep       // what it does at the begin
	Left   time.Duration      // and for how long still
	// Mounted is since when it has its volume, Class for whose sake.
	Mounted time.Time
	Class   Class
	// Archiving and Recalling: it counts as one that does, Archived: it did so last.
	Archiving, Recalling, Archived bool

	until time.Duration // when its step ends, since Now
}

// elsewhere is where a demand can be served.
type elsewhere[K comparable] struct {
	volume *ForecastVolume[K]
	lane   *ForecastLane[K] // of archive work
}

// Run tells Done of every request that will be done.
func (f *Forecast[K]) Run() {
	left := 0
	for _, v := range f.Volumes {
		left += v.Outlook.left()
	}
	f.chunk = max(1, left/decisions)
	for _, d := range f.Drives {
		d.until = d.Left
		for _, v := range []*ForecastVolume[K]{d.Volume, d.Target} {
			if v != nil {
				v.drive = d
			}
		}
		f.woken = f.woken || d.Step == Resting
	}
	// Whatever the state is that it was begun with, it ends.
	for limit := 4*decisions + 64*len(f.Volumes); limit > 0 && f.waits(); limit-- {
		if f.woken {
			f.woken = false
			for _, d := range f.Drives {
				if d.Step == Resting {
					f.next(d)
				}
			}
			continue
		}
		var d *ForecastDrive[K]
		for _, e := range f.Drives {
			if e.Step != Resting && (d == nil || e.until < d.until) {
				d = e
			}
		}
		if d == nil {
			return
		}
		f.now = max(f.now, d.until)
		f.ended(d)
	}
}

func (f *Forecast[K]) waits() bool {
	for _, v := range f.Volumes {
		if v.Outlook.left() > 0 {
			return true
		}
	}
	return false
}

func (f *Forecast[K]) clock() time.Time { return f.Now.Add(f.now) }

func (f *Forecast[K]) begin(d *ForecastDrive[K], step ForecastStep, takes time.Duration) {
	d.Step, d.until = step, f.now+takes
}

// ended goes on with d, whose step has ended.
func (f *Forecast[K]) ended(d *ForecastDrive[K]) {
	switch d.Step {
	case Unloading:
		f.carry(d, GoingHome)
	case GoingHome:
		if d.Volume != nil {
			d.Volume.drive, d.Volume = nil, nil
		}
		f.woken = true
		if d.Target == nil {
			f.next(d)
			return
		}
		f.carry(d, Fetching)
	case Fetching:
		f.begin(d, Loading, d.Target.Load)
	case Loading:
		d.Volume, d.Target = d.Target, nil
		d.Mounted = f.clock()
		d.Volume.Outlook.mounted(d.Mounted)
		f.woken = true
		f.next(d)
	default:
		f.next(d)
	}
}

// carry has the arm carry a cartridge, when it has done what it was asked before.
func (f *Forecast[K]) carry(d *ForecastDrive[K], step ForecastStep) {
	f.ArmBusy = max(f.ArmBusy, f.now) + f.ArmMove
	f.begin(d, step, f.ArmBusy-f.now)
}

// exchange brings v, which nobody has claimed, into d.
func (f *Forecast[K]) exchange(d *ForecastDrive[K], v *ForecastVolume[K]) {
	v.drive, d.Target = d, v
	old := d.Volume
	if old == nil {
		f.carry(d, Fetching)
		return
	}
	f.begin(d, Unloading, old.Unload+old.Index+old.Rewind())
	old.Index = 0
}

// next decides what d does next, as its owner in the server does.
func (f *Forecast[K]) next(d *ForecastDrive[K]) {
	d.Step = Resting
	archived, recalled := d.Archiving, d.Recalling
	d.Archiving, d.Recalling = false, false
	mayArchive := f.mayArchive(d)
	lane := f.laneHere(d, mayArchive)
	mayRecall := f.mayRecall(d)
	var mine Demand
	if d.Volume != nil && mayRecall {
		mine = d.Volume.Outlook.demand(d.Volume)
	}
	if lane != nil {
		mine = mine.Join(lane.Demand)
	}
	f.elsewhere(d, mayArchive, mayRecall)
	takes := func() time.Duration { return d.Volume.Outlook.takes(f.Policy.Turn[Client]) }
	step, i, class := f.Policy.Decide(f.clock(), &f.Served, &Drive{Mounted: d.Mounted, Mine: mine, Takes: takes}, f.others,
		func(i int) bool { return f.betterDrive(d, &f.places[i]) })
	switch step {
	case Work:
		f.work(d, lane, mayRecall)
	case Exchange:
		to := f.places[i]
		d.Class = class
		d.Archiving, d.Recalling = to.lane != nil, to.lane == nil
		f.exchange(d, to.volume)
	}
	if archived && !d.Archiving || recalled && !d.Recalling && len(f.Lanes) > 0 {
		f.woken = true
	}
}

// work reads, or archives, on the volume of d.
func (f *Forecast[K]) work(d *ForecastDrive[K], lane *ForecastLane[K], mayRecall bool) {
	v := d.Volume
	reads := mayRecall && v.Outlook.left() > 0
	if lane != nil && f.Policy.Archives(f.clock(), reads, d.Archived, &lane.Demand) {
		d.Archiving, d.Archived = true, true
		f.Served[ArchiveClass] = f.clock()
		n := lane.Demand.Slivers
		if lane.Each > 0 {
			n = min(n, max(1, int(lane.Batch/lane.Each)))
		}
		lane.Demand.Slivers -= n
		f.begin(d, Working, time.Duration(n)*lane.Each)
		return
	}
	d.Archived, d.Recalling = false, true
	takes, class := v.Outlook.serve(f.clock(), f.chunk, func(k K, at float64) { f.Done(k, f.now+seconds(at*v.Pace)) })
	if class == d.Class {
		f.Served[class] = f.clock()
	}
	f.begin(d, Working, seconds(takes*v.Pace))
}

// laneHere is archive work for the volume that d has, nil if there is none.
func (f *Forecast[K]) laneHere(d *ForecastDrive[K], mayArchive bool) *ForecastLane[K] {
	if d.Volume == nil || !mayArchive {
		return nil
	}
	for _, l := range f.Lanes {
		if l.Demand.Slivers > 0 && l.Takes(d.Volume) {
			return l
		}
	}
	return nil
}

// elsewhere finds the demands that d could serve after an exchange.
func (f *Forecast[K]) elsewhere(d *ForecastDrive[K], archive, recall bool) {
	f.others, f.places = f.others[:0], f.places[:0]
	for _, v := range f.Volumes {
		if recall && v.drive == nil && !v.Stays && v.Outlook.left() > 0 {
			f.others, f.places = append(f.others, v.Outlook.demand(v)), append(f.places, elsewhere[K]{volume: v})
		}
	}
	for _, l := range f.Lanes {
		if archive && l.Demand.Slivers > 0 && l.Target != nil && l.Target.drive == nil && (d.Volume == nil || !l.Takes(d.Volume)) {
			f.others, f.places = append(f.others, l.Demand), append(f.places, elsewhere[K]{l.Target, l})
		}
	}
}

// betterDrive says whether a drive that rests can serve a demand with less effort than d.
func (f *Forecast[K]) betterDrive(d *ForecastDrive[K], to *elsewhere[K]) bool {
	for _, e := range f.Drives {
		if e == d || e.Step != Resting {
			continue
		}
		may := to.lane == nil || f.mayArchive(e)
		r := Rival{Ready: to.lane != nil && may && e.Volume != nil && to.lane.Takes(e.Volume), Loaded: e.Volume != nil, May: may}
		if r.Better(d.Volume != nil) {
			return true
		}
	}
	return false
}

// mayArchive and mayRecall are how drives are shared between those who read and those who write.
func (f *Forecast[K]) mayArchive(d *ForecastDrive[K]) bool {
	work, n := false, 0
	for _, l := range f.Lanes {
		work = work || l.Demand.Slivers > 0
	}
	for _, e := range f.Drives {
		if e != d && e.Archiving {
			n++
		}
	}
	return work && n < f.ArchiveDrives
}

func (f *Forecast[K]) mayRecall(d *ForecastDrive[K]) bool {
	if f.RecallDrives >= len(f.Drives) || !f.mayArchive(d) {
		return true
	}
	could := false
	for _, l := range f.Lanes {
		could = could || l.Demand.Slivers > 0 && (d.Volume != nil && l.Takes(d.Volume) || l.Target != nil && l.Target.drive == nil)
	}
	n := 0
	for _, e := range f.Drives {
		if e != d && e.Recalling {
			n++
		}
	}
	return !could || n < f.RecallDrives
}
