package geometry

import (
	"math"
	"time"
)

// The model of reference.
const (
	startStop    = 4.0  // s, of every repositioning
	turnAround   = 2.5  // s, each
	otherWrap    = 0.5  // s
	otherBand    = 2.75 // s
	wrapTurn     = 1.5  // s, while streaming
	acceleration = 4.0  // m/s^2
	topSpeed     = 13.0 // m/s
	readOn       = 1.0  // m ahead that are passed at reading speed

	// Bands is how many bands the wraps of every generation are in.
	Bands = 4
)

// What a library adds to it.
const (
	RobotMove = 10 * time.Second // of a cartridge, one way
)

// Offset is a byte on the tape, along the wraps from the begin of the first.
type Offset float64

// Spot is where an Offset is.
type Spot struct {
	Offset Offset
	Metres float64 // from the begin of the tape
	Wrap   int32   // from 0; even ones run forward
	Band   int32
}

// Forward says whether the tape is read away from its begin there.
func (s Spot) Forward() bool { return s.Wrap%2 == 0 }

// Where finds the wrap and the place along the tape.
func (g *Generation) Where(o Offset) Spot {
	wrap := int(float64(o) / g.WrapBytes)
	metres := (float64(o) - float64(wrap)*g.WrapBytes) / g.WrapBytes * g.Length
	if wrap%2 == 1 {
		metres = g.Length - metres
	}
	return Spot{o, metres, int32(wrap), int32(wrap / max(g.Wraps/Bands, 1))}
}

// wind is the time to wind d metres.
func wind(d float64) float64 {
	if d < topSpeed*topSpeed/acceleration {
		return 2 * math.Sqrt(d/acceleration)
	}
	return 2*topSpeed/acceleration + (d-topSpeed*topSpeed/acceleration)/topSpeed
}

// Locate is the time to go from one offset to another, in seconds.
func (g *Generation) Locate(from, to Offset) float64 { return g.Travel(g.Where(from), g.Where(to)) }

// Travel is Locate between places that are known already: for those who ask often.
func (g *Generation) Travel(from, to Spot) float64 {
	d := to.Metres - from.Metres
	back := int32(0)
	if d < 0 {
		back, d = 1, -d
	}
	if from.Wrap == to.Wrap {
		if to.Offset >= from.Offset && d < readOn {
			return d / (g.Length / (g.WrapBytes / g.Rate))
		}
		return startStop + wind(d) + turns[(from.Wrap&1^back)+(to.Wrap&1^back)]
	}
	other := otherWrap
	if from.Band != to.Band {
		other += otherBand
	}
	return startStop + wind(d) + turns[(from.Wrap&1^back)+(to.Wrap&1^back)] + other
}

// turns are the times of none, one and two turns of direction.
var turns = [...]float64{0, turnAround, 2 * turnAround}

// ReadsOn says whether the drive goes from one place to the other by just reading on.
func (g *Generation) ReadsOn(from, to Spot) bool {
	return from.Wrap == to.Wrap && to.Offset >= from.Offset && math.Abs(to.Metres-from.Metres) < readOn
}

// Stream is the time to read or write n bytes from an offset on in one command, in seconds. The
// turn at the end of a wrap counts once.
func (g *Generation) Stream(from Offset, n int) float64 {
	t := float64(n) / g.Rate
	if int(float64(from)/g.WrapBytes) != int((float64(from)+float64(n))/g.WrapBytes) {
		t += wrapTurn
	}
	return t
}

// Read is the time to read all between two offsets, in seconds, with a turn at the end of each
// wrap on the way.
func (g *Generation) Read(from, to Offset) float64 {
	turns := int(float64(to)/g.WrapBytes) - int(float64(from)/g.WrapBytes)
	return float64(to-from)/g.Rate + wrapTurn*float64(turns)
}

// Rewind is the time to go from an offset to the begin of the tape, in seconds.
func (g *Generation) Rewind(from Offset) float64 { return g.Locate(from, 0) }

// Mount is the time from the moment that the arm takes a cartridge until the drive is ready,
// Unmount from a rewound tape until its cartridge is back, Exchange both: the price of another
// volume in a drive whose tape is rewound.
func (g *Generation) Mount() time.Duration    { return RobotMove + g.Load }
func (g *Generation) Unmount() time.Duration  { return g.Unload + RobotMove }
func (g *Generation) Exchange() time.Duration { return g.Unmount() + g.Mount() }
