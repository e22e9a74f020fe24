package mover

import (
	"fmt"
	"slices"
	"time"

	"sliod/backend/catalog"
)

// Place says where a file is to be archived.
type Place struct {
	// Pool is the pool of the volume; "" stands for catalog.DefaultPool.
	Pool string
	// Group: the files of one group that wait at the same time are archived one after the
	// other, so that they lie together. Files without a group are archived as they come.
	Group string
}

// The files that wait are kept by pool, as a batch goes to one volume:
//
//	Mover.lines   pool -> line
//	line          a lane for new content, and one for further copies for each set of volumes
//	              that cannot take them
//	lane          its groups, in the order in which they are written
//	group         its files, in the order in which they came

// line holds the files that wait for a volume of one pool. Guarded by Mover.mu.
type line struct {
	pool  string
	lanes map[string]*lane // by laneKey
}

// lane holds files that the same volumes can take.
type lane struct {
	pool   string
	copies bool                      // further copies, which nobody waits for
	not    map[catalog.VolumeNo]bool // volumes of the pool that cannot take them
	groups []*group                  // in order, none empty
	open   map[string]*group         // of these, those that files are added to
	n      int                       // files
}

// group holds files that are written one after the other. One that has been begun is
// open no longer: what comes later makes a new group, so that no group keeps the others
// waiting for ever.
type group struct {
	name  string
	items []*archiveItem
}

// laneKey names the lane of an item in its line.
func laneKey(it *archiveItem) string {
	if it.copy == nil {
		return ""
	}
	return fmt.Sprint("copies not on ", it.not)
}

// laneLocked returns the lane of an item, and makes it.
func (m *Mover) laneLocked(it *archiveItem) *lane {
	pool := catalog.PoolName(it.to.Pool)
	l := m.lines[pool]
	if l == nil {
		l = &line{pool: pool, lanes: make(map[string]*lane)}
		m.lines[pool] = l
	}
	key := laneKey(it)
	a := l.lanes[key]
	if a == nil {
		a = &lane{pool: pool, copies: it.copy != nil, not: make(map[catalog.VolumeNo]bool), open: make(map[string]*group)}
		for _, no := range it.not {
			a.not[no] = true
		}
		l.lanes[key] = a
	}
	return a
}

// enqueueLocked puts an item behind those of its group.
func (m *Mover) enqueueLocked(it *archiveItem) {
	a := m.laneLocked(it)
	g := a.open[it.to.Group]
	if g == nil {
		g = &group{name: it.to.Group}
		a.open[it.to.Group] = g
		a.groups = append(a.groups, g)
	}
	g.items = append(g.items, it)
	a.n++
	m.queued++
}

// requeueLocked puts items in front of all others, in their order.
func (m *Mover) requeueLocked(items []*archiveItem) {
	for _, it := range slices.Backward(items) {
		a := m.laneLocked(it)
		if len(a.groups) == 0 || a.groups[0].name != it.to.Group {
			a.groups = slices.Insert(a.groups, 0, &group{name: it.to.Group})
		}
		g := a.groups[0]
		g.items = slices.Insert(g.items, 0, it)
		a.n++
		m.queued++
	}
}

// takeLocked takes the next item out that volume v can take, or nil. New content goes
// before copies.
func (m *Mover) takeLocked(v *volume) *archiveItem {
	var best *lane
	for _, a := range m.lanesFor(v) {
		if best == nil || best.copies && !a.copies || best.copies == a.copies && a.oldest().Before(best.oldest()) {
			best = a
		}
	}
	if best == nil {
		return nil
	}
	g := best.groups[0]
	if best.open[g.name] == g {
		delete(best.open, g.name)
	}
	it := g.items[0]
	g.items[0] = nil
	if g.items = g.items[1:]; len(g.items) == 0 {
		best.groups[0] = nil
		best.groups = best.groups[1:]
	}
	m.droppedLocked(best, laneKey(it), 1)
	return it
}

// droppedLocked notes that n items have left a lane, and forgets it if it is empty.
func (m *Mover) droppedLocked(a *lane, key string, n int) {
	a.n -= n
	m.queued -= n
	if a.n > 0 {
		return
	}
	l := m.lines[a.pool]
	delete(l.lanes, key)
	if len(l.lanes) == 0 {
		delete(m.lines, a.pool)
	}
}

// drainLocked takes all items out for which take is true of their lane.
func (m *Mover) drainLocked(take func(*lane) bool) (items []*archiveItem) {
	for _, l := range m.lines {
		for key, a := range l.lanes {
			if !take(a) {
				continue
			}
			for _, g := range a.groups {
				items = append(items, g.items...)
			}
			m.droppedLocked(a, key, a.n)
		}
	}
	return items
}

// lanesFor returns the lanes that v can take, which has room and is of their pool.
func (m *Mover) lanesFor(v *volume) (lanes []*lane) {
	if l := m.lines[v.pool()]; l != nil {
		for _, a := range l.lanes {
			if !a.not[v.rec().No] {
				lanes = append(lanes, a)
			}
		}
	}
	return lanes
}

// anyLane says whether there is a lane of which ok is true.
func (m *Mover) anyLane(ok func(*lane) bool) bool {
	for _, l := range m.lines {
		for _, a := range l.lanes {
			if ok(a) {
				return true
			}
		}
	}
	return false
}

// newContent says that the lane's files have content that is on no volume.
func newContent(a *lane) bool { return !a.copies }

// oldest says since when the lane's oldest file waits, or nearly so.
func (a *lane) oldest() time.Time { return a.groups[0].items[0].since }

// front is the lane's next item.
func (a *lane) front() *archiveItem { return a.groups[0].items[0] }
