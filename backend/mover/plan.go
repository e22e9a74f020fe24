package mover

import (
	"time"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/geometry"
	"sliod/tape/schedule"
)

// The order of the recalls on a volume. The queue of a volume has a planner, which knows where blocks lie:
//
//	in the library   by the barcode and the catalog: enough for estimates
//	mounted          by what the drive says of the medium (survey)
//
// A queue puts what is new where it costs least. When much is new it is stale, and the drive's owner puts it
// in order as a whole before it reads on (plan): by the drive's own recommendation, else, or if that is much dearer, by the
// model.

// plannerOf says how the recalls of a volume that no drive has are put in order. Of an unknown generation it is
// by block.
func (m *Mover) plannerOf(rec *catalog.Volume) schedule.Planner {
	g, ok := geometry.ByBarcode(tape.Barcode(rec.Barcode))
	if !ok {
		return schedule.Planner{}
	}
	return m.plannerFor(rec, geometry.Volume{Generation: g, Partitions: 2, CapacityBytes: rec.Capacity})
}

// plannerFor is a planner with the map of g, to which the catalog's knowledge is added.
func (m *Mover) plannerFor(rec *catalog.Volume, g geometry.Volume) schedule.Planner {
	if g.BlockBytes == 0 {
		g.BlockBytes = int(rec.BlockSize)
	}
	if g.BlockBytes == 0 {
		g.BlockBytes = geometry.DefaultBlockBytes
	}
	// Volumes of others have many short records. Of one that holds little but indexes, which Used does not
	// count, the size of records says more.
	if end, most := rec.EndOfData, int64(rec.EndOfData.Block)*int64(g.BlockBytes); rec.Used > most/4 && rec.Used <= most {
		g.Points = []geometry.Point{{Partition: tape.Partition(end.Partition), Block: tape.BlockNo(end.Block), Bytes: rec.Used}}
	}
	return schedule.Planner{Map: geometry.NewMap(g), Goal: m.cfg.Goal}
}

// survey says how the recalls of v, whose LTFS volume d.lv is, are put in order. Only d's owner calls it.
func (d *drive) survey(v *volume) schedule.Planner {
	m, l := d.m, d.tape.Limits()
	rec := v.rec()
	g, ok := geometry.ByDensity(l.Density)
	if !ok {
		g, ok = geometry.ByBarcode(tape.Barcode(rec.Barcode))
	}
	if !ok {
		return schedule.Planner{}
	}
	known := geometry.Volume{Generation: g, Partitions: d.lv.Partitions(), CapacityBytes: l.CapacityBytes, BlockBytes: d.lv.BlockSize()}
	if known.CapacityBytes == 0 {
		known.CapacityBytes = rec.Capacity
	}
	if l.HasWraps {
		var err error
		if known.Wraps, err = d.tape.Wraps(m.ctx); err != nil {
			// A drive that is broken says so at the next command that matters.
			m.log.WithField(fieldVolume, rec.Barcode).WithField(fieldDrive, d.tape.Serial()).WithError(err).
				Info("the drive does not tell where wraps end: where slivers lie on the tape is guessed")
			d.lv.Moved()
		}
	}
	return m.plannerFor(rec, known)
}

// surveyedLocked has the recalls of v, which has just been mounted, put in order as pl says. That begins their
// passes anew. So, if some are overdue, the map from an earlier mount stays: what it knows still holds, as data is only
// appended, and a pass that is to end must go on (Classes.Mounted).
func (m *Mover) surveyedLocked(v *volume, pl schedule.Planner, now time.Time) {
	if v.surveyed {
		for c, oldest := range v.queue.Oldest() {
			if m.cfg.Schedule.Overdue(now, schedule.Class(c), oldest) {
				return
			}
		}
	}
	v.queue.Use(pl, &m.cfg.Schedule)
	v.surveyed = true
}

// Limits of what a drive is asked for.
const (
	// leastStops: fewer are put in order by the model, which is exact for them.
	leastStops = 3
	// orderShare is the share of a drive's time that it may take to recommend orders: one that took a
	// second to answer is not asked again for 20. The model does meanwhile.
	orderShare = 1.0 / 20
	// orderTrust is how many times as dear as the model's the order of a drive may be, by the model. That is wrong
	// by less; then the drive, which knows its medium, is believed.
	orderTrust = 1.15
)

// plan puts the recalls of q, of the volume in d, in order. This is the work of up to 100 ms, or a command to the
// drive, and done without the mover's lock.
func (d *drive) plan(q *schedule.Queue[sliver.Key]) {
	m := d.m
	m.mu.Lock()
	now := time.Now()
	stops, segments := d.toAskLocked(q, now)
	b := q.Plan(now)
	before, n := q.Takes(now), q.Len()
	m.mu.Unlock()
	b.Solve()
	if len(segments) > 0 {
		if order, ok := d.recommended(segments); ok {
			var keys []sliver.Key
			for _, i := range order {
				keys = append(keys, stops[i]...)
			}
			if b.Dearer(keys) <= orderTrust {
				m.mu.Lock()
				q.Recommend(time.Now(), keys)
				if n == q.Len() { // nothing has come meanwhile
					m.est.learned.recommended.add(before, q.Takes(now), keepOther)
				}
				m.est.changes++
				m.mu.Unlock()
				return
			}
		}
	}
	m.mu.Lock()
	q.Adopt(b) // if the pass has ended meanwhile, there is nothing to do
	m.est.changes++
	m.mu.Unlock()
}

// toAskLocked returns what d is to be asked the order of: the stops of q's plan, and the blocks of each. None: the
// model has to do.
func (d *drive) toAskLocked(q *schedule.Queue[sliver.Key], now time.Time) (stops [][]sliver.Key, segments []tape.Segment) {
	m, l := d.m, d.tape.Limits()
	if m.cfg.Goal != schedule.LeastTime || !l.HasOrder || d.noOrder || now.Before(d.orderAt) {
		return nil, nil
	}
	stops = q.Stops(now)
	if len(stops) < leastStops || len(stops) > l.MaxSegments {
		return nil, nil
	}
	for _, keys := range stops {
		s := d.segmentOf(m.recalls[keys[0]].copy)
		for _, k := range keys[1:] {
			s.Last = max(s.Last, d.segmentOf(m.recalls[k].copy).Last)
		}
		segments = append(segments, s)
	}
	return stops, segments
}

// segmentOf is where the first piece of a copy lies on the volume in d: that is what its place in the queue stands for.
func (d *drive) segmentOf(c catalog.Copy) tape.Segment {
	at := placeOf(c)
	s := tape.Segment{Partition: at.Partition, First: at.Block, Last: at.Block}
	for _, p := range c.Pieces {
		if !p.IsZeros() {
			if n := int64(p.Offset) + int64(p.Len); n > 0 {
				s.Last += tape.BlockNo((n - 1) / int64(d.lv.BlockSize()))
			}
			break
		}
	}
	return s
}

// recommended asks d in which order it would read segments. A drive that refuses, or answers nonsense, is not asked
// again before it is reset by the operator.
func (d *drive) recommended(segments []tape.Segment) (order []int, ok bool) {
	m := d.m
	begun := time.Now()
	order, err := d.tape.Order(m.ctx, segments)
	took := time.Since(begun)
	m.mu.Lock()
	d.orderAt = begun.Add(time.Duration(float64(took) / orderShare))
	d.noOrder = d.noOrder || err != nil
	d.asks = d.asks && !d.noOrder
	m.mu.Unlock()
	if err == nil {
		return order, true
	}
	d.lv.Moved()
	if m.ctx.Err() == nil {
		m.log.WithField(fieldDrive, d.tape.Serial()).WithError(err).
			Warn("the drive recommends no order: recalls are put in order by the model of the tape from now on")
	}
	return nil, false
}
