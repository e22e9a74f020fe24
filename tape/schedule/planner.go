package schedule

import (
	"fmt"
	"time"

	"sliod/tape/geometry"
	"sliod/tape/schedule/order"
)

// Goal is what the order on a volume is good for.
type Goal uint8

// Goals.
const (
	// ByBlock: from the begin of the volume to its end. For media of which nothing is known.
	ByBlock Goal = iota
	// LeastTime: all that is queued is done as early as possible.
	LeastTime
	// LeastWait: the mean wait of the queued requests is as short as possible.
	LeastWait
)

func (g Goal) String() string {
	switch g {
	case ByBlock:
		return "block"
	case LeastTime:
		return "time"
	case LeastWait:
		return "wait"
	}
	return fmt.Sprintf("goal(%d)", uint8(g))
}

func (g Goal) order() order.Goal {
	if g == LeastWait {
		return order.LeastWait
	}
	return order.LeastTime
}

// Planner says how the requests of a volume are put in order. The zero value orders by block, lets
// nobody be overtaken for longer than DefaultPolicy.MaxWait of clients, and estimates as if the medium were like
// LTO-7.
type Planner struct {
	// Map tells where the volume's blocks are, and how its drive moves. nil: nothing is known, and
	// Goal counts as ByBlock.
	Map  *geometry.Map
	Goal Goal
	// MaxWait is how long a request may wait before what comes later stands back; see the package's
	// documentation for the bound. 0: DefaultPolicy.MaxWait.
	MaxWait time.Duration
}

var unknown = geometry.NewMap(geometry.Volume{Generation: geometry.Generic, Partitions: 2})

func (p Planner) complete() Planner {
	if p.Map == nil {
		p.Map, p.Goal = unknown, ByBlock
	}
	if p.MaxWait == 0 {
		p.MaxWait = DefaultPolicy.MaxWait[Client]
	}
	return p
}

// While a request is overdue, those that come later may take so much of the running pass: a time to
// begin with, which lets a reader's stream go on, and a share of the time that the pass takes.
const (
	LateGrace = time.Minute
	LateShare = 0.25
)
