package mover

import (
	"time"

	"sliod/tape"
	"sliod/tape/geometry"
)

// What the library has taken lately, to be put beside what the model says: a library may be faster or slower. Older
// measurements fade out.

// ratio compares times that were measured with those of the model.
type ratio struct {
	modelled, took float64
}

// add notes a measurement; keep is the weight that older ones keep.
func (r *ratio) add(modelled, took time.Duration, keep float64) {
	r.modelled = r.modelled*keep + modelled.Seconds()
	r.took = r.took*keep + took.Seconds()
}

// factor is by what a modelled time is to be multiplied. If nothing is known, another may tell.
func (r *ratio) factor(other *ratio) float64 {
	switch {
	case r.modelled > 0:
		return r.took / r.modelled
	case other != nil && other.modelled > 0:
		return other.took / other.modelled
	}
	return 1
}

func (r *ratio) scale(d time.Duration, other *ratio) time.Duration {
	return time.Duration(float64(d) * r.factor(other))
}

// mean is a time that no model knows.
type mean struct {
	sum, weight float64
}

func (m *mean) add(d time.Duration, weight, keep float64) {
	m.sum, m.weight = m.sum*keep+d.Seconds(), m.weight*keep+weight
}

// mean returns it, or a guess if nothing is known.
func (m *mean) mean(guess time.Duration) time.Duration {
	if m.weight <= 0 {
		return guess
	}
	return time.Duration(m.sum / m.weight * float64(time.Second))
}

// How much older measurements count beside a new one: of reads, which are many, and of all others.
const (
	keepReads = 0.98
	keepOther = 0.8
)

// learned is what was measured. Mover.mu guards it.
type learned struct {
	read ratio // positioning and reading
	load ratio // loading and mounting, and rewinding and unloading
	arm  ratio // moves of cartridges, when nobody else wanted the arm
	// recommended is how long recalls take by the model in the order that drives recommended, beside the model's own order,
	// in which they were before.
	recommended ratio
	index       mean // writing an index
	format      mean // a blank volume
	batch       mean // archiving, till the flush
	file        mean // of a batch
	use         mean // of a volume that was lent, but in the background
}

// told notes how many times faster than the model the library says that it is, before anything was measured; beside
// the first measurement it has next to no weight.
func (l *learned) told(speed float64) {
	if speed > 0 {
		l.load = ratio{modelled: 1e-3, took: 1e-3 / speed}
	}
}

func (l *learned) armMove() time.Duration { return l.arm.scale(geometry.RobotMove, &l.load) }

// loadModel is how long it takes by the model until a volume is mounted that the arm has brought: the labels of both
// partitions are read, and the index, which is in the first.
func loadModel(m *geometry.Map) time.Duration {
	g := &m.Generation
	first, second := g.Where(0), g.Where(m.At(tape.Position{Partition: 1}, 0))
	return g.Load + time.Duration((g.Travel(first, second)+g.Travel(second, first))*float64(time.Second))
}

func (l *learned) loads(m *geometry.Map) time.Duration { return l.load.scale(loadModel(m), &l.read) }

// unloads is without the rewind.
func (l *learned) unloads(m *geometry.Map) time.Duration {
	return l.load.scale(m.Generation.Unload, &l.read)
}

// guessedIndex is how long an index takes: four filemarks, and the way to the first partition.
const guessedIndex = 30 * time.Second

func (l *learned) indexTime() time.Duration {
	return l.index.mean(l.load.scale(guessedIndex, &l.read))
}

// guessedFormat is how long formatting takes, guessedBatch how long archiving: mostly the way to the end of data.
const (
	guessedFormat = 3 * time.Minute
	guessedBatch  = 45 * time.Second
)

func (l *learned) formatTime() time.Duration {
	return l.format.mean(l.load.scale(guessedFormat, &l.read))
}

// batches is how long each of n files takes that are archived, and about how long a drive archives before it
// decides anew.
func (l *learned) batches(n int) (each, batch time.Duration) {
	batch = l.batch.mean(l.load.scale(guessedBatch, &l.read))
	return l.file.mean(batch / time.Duration(max(n, 1))), max(batch, time.Millisecond)
}
