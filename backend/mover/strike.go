package mover

import (
	"sliod/backend/catalog"
	"sliod/tape"
)

// tally is what went wrong with one volume in one drive, since that last worked with a volume of which it has none.
type tally struct {
	// full: something that takes the volume or the drive out of use: a mount or a write that failed, a fault
	// of the drive, what the drive reports of itself. Or a copy that could not be read here was read elsewhere.
	full  bool
	reads int                    // copies that could not be read, and which may be the volume's fault
	at    map[tape.Position]bool // where they begin: the first keptPlaces
	asked bool                   // another drive is to say whether it is the volume's fault
}

// keptPlaces bounds tally.at.
const keptPlaces = 16

// The rule by which a drive goes out of service. One bad drive must not spoil all volumes, and bad volumes must not
// take good drives out. A bad block is the volume's, most often, and many volumes have one: two of them one after the
// other in the same drive say nothing about that. So there have to be
//
//   - two volumes with something that counts fully, or
//   - three volumes, each with that or with several copies that could not be read (suspectAfter)
//
// with no success between with a volume of which the drive has no tally. The last drive stays, unless it is to blame
// itself. A drive whose connection is gone is out at once.
const (
	fullTallies    = 2
	severalTallies = 3
)

// guilty says whether the tallies are enough.
func guilty(all map[catalog.VolumeNo]*tally) bool {
	full, several := 0, 0
	for _, t := range all {
		if t.full {
			full++
		}
		if t.full || t.reads >= suspectAfter {
			several++
		}
	}
	return full >= fullTallies || several >= severalTallies
}

// strike notes that v failed in d in a way that takes one of them out of use, so that the drive may be next.
func (d *drive) strike(v *volume, b blame, err error) {
	if b != blameNobody {
		d.strikeBy(v, b, err, func(t *tally) { t.full = true })
	}
}

// strikeRead notes that a copy that begins at a place of v could not be read in d.
func (d *drive) strikeRead(v *volume, b blame, err error, at tape.Position) {
	if b != blameVolume {
		d.strike(v, b, err)
		return
	}
	d.strikeBy(v, b, err, func(t *tally) {
		t.reads++
		if t.at == nil {
			t.at = map[tape.Position]bool{}
		}
		if len(t.at) < keptPlaces {
			t.at[at] = true
		}
	})
}

func (d *drive) strikeBy(v *volume, b blame, err error, count func(*tally)) {
	m := d.m
	if tape.KindOf(err) == tape.CleaningNeeded {
		d.askCleaning(true)
		m.mu.Lock()
		will := m.willCleanLocked(d)
		m.mu.Unlock()
		if will {
			return
		}
	}
	m.mu.Lock()
	d.lastErr = err
	no := v.rec().No
	if d.strikes[no] == nil {
		d.strikes[no] = new(tally)
	}
	count(d.strikes[no])
	if b == blameDrive {
		d.blamed[no] = true
	}
	out := d.judgeLocked(b == blameDrive, tape.KindOf(err) == tape.Disconnected)
	m.mu.Unlock()
	if out {
		d.sayOut(err)
	}
}

// judgeLocked takes d out of service if that is due, and says whether it has. toBlame: the last error was its own.
func (d *drive) judgeLocked(toBlame, gone bool) bool {
	m := d.m
	others := 0
	for _, e := range m.drives {
		if e != d && !e.failed {
			others++
		}
	}
	if d.failed || !gone && !(guilty(d.strikes) && (toBlame || others > 0)) {
		return false
	}
	d.failed = true
	m.requeueAllLocked()
	m.wakeLocked()
	return true
}

func (d *drive) sayOut(err error) {
	d.m.log.WithField(fieldDrive, d.tape.Serial()).WithError(err).
		Error("the drive is out of service: repair it and run `sliod drives reset`; its cartridge is brought home if the drive lets it go")
}

// worked notes a success with the mounted volume.
func (d *drive) worked() {
	d.m.mu.Lock()
	d.workedLocked()
	d.m.mu.Unlock()
}

func (d *drive) workedLocked() {
	d.cleaned = 0
	if d.vol != nil && d.strikes[d.vol.rec().No] == nil {
		clear(d.strikes)
		clear(d.blamed)
	}
}

// hasRead notes that a copy on the mounted volume was read, which begins at a place. If it could not be read in another
// drive, that one was at fault.
func (d *drive) hasRead(at tape.Position) {
	m := d.m
	m.mu.Lock()
	d.workedLocked()
	out := map[*drive]error{}
	for _, e := range m.drives {
		if t := e.strikes[d.vol.rec().No]; e != d && t != nil && t.at[at] && !t.full {
			t.full = true
			if e.judgeLocked(false, false) {
				out[e] = e.lastErr
			}
		}
	}
	m.mu.Unlock()
	for e, err := range out {
		e.sayOut(err)
	}
}

// asksAnother says whether another drive is to read what could not be read in d, before that is the volume's fault: with
// the first error of a volume, unless somebody has another copy to wait for. Then d does not take the volume, as long as another
// drive can.
func (d *drive) asksAnother(v *volume) bool {
	m := d.m
	m.mu.Lock()
	defer m.mu.Unlock()
	no := v.rec().No
	t := d.strikes[no]
	if t == nil || t.asked || v.rec().ReadErrors > 0 {
		return false
	}
	for _, e := range m.drives {
		if f := e.strikes[no]; e != d && f != nil && f.asked {
			return false // d is the other one
		}
	}
	for _, e := range m.drives {
		if e != d && !e.out() && !e.blamed[no] {
			t.asked, d.blamed[no] = true, true
			return true
		}
	}
	return false
}

// confirmed notes that what could not be read is the volume's fault: no drive that asked another one is to blame for it.
func (m *Mover) confirmed(v *volume) {
	m.mu.Lock()
	defer m.mu.Unlock()
	no := v.rec().No
	for _, e := range m.drives {
		if t := e.strikes[no]; t != nil && t.asked && !t.full {
			t.asked = false
			delete(e.blamed, no)
		}
	}
}
