package virtual

import (
	"math"
	"time"
)

// geometry is what a generation of cartridges and drives is like. Lengths are
// metres, speeds metres a second.
type geometry struct {
	suffix    string // of barcodes
	density   uint8
	capacity  int64
	rate      float64 // bytes a second
	wraps     int
	wrapBytes float64
	length    float64
	load      time.Duration
	unload    time.Duration
}

var geometries = map[string]geometry{
	"LTO-5": {"L5", 0x58, 1_500e9, 140e6, 80, 18.75e9, 846, 12 * time.Second, 17 * time.Second},
	"LTO-6": {"L6", 0x5A, 2_500e9, 160e6, 136, 18.38e9, 846, 12 * time.Second, 17 * time.Second},
	"LTO-7": {"L7", 0x5C, 6_000e9, 300e6, 112, 53.57e9, 960, 15 * time.Second, 24 * time.Second},
	"LTO-8": {"L8", 0x5E, 12_000e9, 360e6, 208, 57.7e9, 960, 15 * time.Second, 24 * time.Second},
	"LTO-9": {"L9", 0x60, 18_000e9, 400e6, 280, 64.29e9, 970, 17 * time.Second, 30 * time.Second},
}

// The model of reference: fitted to published averages, good for comparing
// policies and not for claims about hardware.
const (
	startStop    = 4.0  // s, of every repositioning
	turnAround   = 2.5  // s, each
	otherWrap    = 0.5  // s
	otherBand    = 2.75 // s
	wrapTurn     = 1.5  // s, while streaming
	acceleration = 4.0  // m/s^2
	topSpeed     = 13.0 // m/s
	bands        = 4

	driveBuffer  = 1e9 // bytes
	backHitch    = 5.5 // s
	syncFilemark = 2.0 // s
	robotMove    = 10 * time.Second
	formatTime   = 180 * time.Second
)

// where turns a byte offset on the tape into its wrap and its place along the tape.
func (g geometry) where(offset float64) (wrap int, metres float64) {
	wrap = int(offset / g.wrapBytes)
	metres = (offset - float64(wrap)*g.wrapBytes) / g.wrapBytes * g.length
	if wrap%2 == 1 {
		metres = g.length - metres
	}
	return wrap, metres
}

// move is the time to wind d metres.
func move(d float64) float64 {
	if d < topSpeed*topSpeed/acceleration {
		return 2 * math.Sqrt(d/acceleration)
	}
	return 2*topSpeed/acceleration + (d-topSpeed*topSpeed/acceleration)/topSpeed
}

// locate is the time to go from one byte offset to another, in seconds.
func (g geometry) locate(from, to float64) float64 {
	w1, x1 := g.where(from)
	w2, x2 := g.where(to)
	d := math.Abs(x2 - x1)
	if w1 == w2 && to >= from && d < 1 {
		return d / (g.length / (g.wrapBytes / g.rate))
	}
	t := startStop + move(d)
	travel := x2 >= x1
	for _, w := range []int{w1, w2} {
		if forward := w%2 == 0; forward != travel {
			t += turnAround
		}
	}
	if w1 != w2 {
		t += otherWrap
	}
	if band := max(g.wraps/bands, 1); w1/band != w2/band {
		t += otherBand
	}
	return t
}

// stream is the time to read or write n bytes from an offset on.
func (g geometry) stream(from float64, n int) float64 {
	t := float64(n) / g.rate
	if w1, _ := g.where(from); w1 != int((from+float64(n))/g.wrapBytes) {
		t += wrapTurn
	}
	return t
}
