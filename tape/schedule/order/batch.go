package order

import (
	"fmt"

	"sliod/tape/geometry"
)

// Goal is what an order is good for.
type Goal uint8

// Goals.
const (
	LeastTime Goal = iota // the whole batch is done as early as possible
	LeastWait             // the mean wait of all who wait is as short as possible
)

func (g Goal) String() string {
	switch g {
	case LeastTime:
		return "least time"
	case LeastWait:
		return "least wait"
	}
	return fmt.Sprintf("goal(%d)", uint8(g))
}

// Stop is data that are read in one go: the head goes to From, and stands at To when it is done.
type Stop struct {
	From, To geometry.Spot
	Seconds  float64 // of reading
	Weight   float64 // how many wait for it, or how much they are worth; above 0
}

// Batch is what there is to do on one tape.
type Batch struct {
	Generation *geometry.Generation
	Head       geometry.Spot // where the head is
	Stops      []Stop
	Goal       Goal
	// After is how many wait for something else of the drive, which begins when the tape is rewound. 0: nobody does,
	// and the way back does not count.
	After float64
}

// Cost is what an order costs. LeastTime: seconds until all is done. LeastWait: the sum of
// the seconds until each stop is done, times its weight. With After the rewind is the last stop, and After its weight.
// order may hold some of the stops only.
func (b *Batch) Cost(order []int) float64 {
	at, now, sum := b.Head, 0.0, 0.0
	for _, i := range order {
		s := &b.Stops[i]
		now += b.Generation.Travel(at, s.From) + s.Seconds
		sum += now * s.Weight
		at = s.To
	}
	now += b.back(at)
	sum += now * b.After
	if b.Goal == LeastWait {
		return sum
	}
	return now
}

// back is the way to the begin of the tape, if it counts.
func (b *Batch) back(from geometry.Spot) float64 {
	if b.After == 0 {
		return 0
	}
	return b.Generation.Travel(from, geometry.Spot{})
}

func (b *Batch) froms() []geometry.Spot {
	spots := make([]geometry.Spot, len(b.Stops))
	for i := range b.Stops {
		spots[i] = b.Stops[i].From
	}
	return spots
}

func (b *Batch) tos() []geometry.Spot {
	spots := make([]geometry.Spot, len(b.Stops))
	for i := range b.Stops {
		spots[i] = b.Stops[i].To
	}
	return spots
}
