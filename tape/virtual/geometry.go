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
	medium    uint8 // type of the medium in mode data; 4 more: WORM
	bitsPerMM uint32
	tracks    uint16 // all wraps together
	capacity  int64
	rate      float64 // bytes a second
	wraps     int
	wrapBytes float64
	length    float64
	load      time.Duration
	unload    time.Duration
}

// The sources: capacity, rate and length of tape from the LTO consortium's data sheets; tracks, bits
// per mm and density codes as mhvtl's ult3580_pm.c has them from IBM's SCSI
// references; wraps = tracks / heads (16 heads up to LTO-6, 32 from LTO-7 on), all in 4 bands,
// and the bytes of a wrap = capacity / wraps (LTO-9: 64.29 GB, as measured). The length of
// LTO-9 is the part of its 1035 m that the model was fitted to.
var geometries = map[string]geometry{
	"LTO-5": {"L5", 0x58, 0x58, 15142, 1280, 1_500e9, 140e6, 80, 18.75e9, 846, 12 * time.Second, 17 * time.Second},
	"LTO-6": {"L6", 0x5A, 0x68, 15142, 2176, 2_500e9, 160e6, 136, 18.38e9, 846, 12 * time.Second, 17 * time.Second},
	"LTO-7": {"L7", 0x5C, 0x78, 19107, 3584, 6_000e9, 300e6, 112, 53.57e9, 960, 15 * time.Second, 24 * time.Second},
	"LTO-8": {"L8", 0x5E, 0x88, 20669, 6656, 12_000e9, 360e6, 208, 57.7e9, 960, 15 * time.Second, 24 * time.Second},
	"LTO-9": {"L9", 0x60, 0x98, 21456, 8960, 18_000e9, 400e6, 280, 64.29e9, 970, 17 * time.Second, 30 * time.Second},
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
	cleanTime    = 120 * time.Second
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

// hasOrder: a drive of this generation recommends an order (RAO).
func (g geometry) hasOrder() bool { return g.density >= 0x60 }

// hasWraps: it tells where wraps end.
func (g geometry) hasWraps() bool { return g.density >= 0x5C }

// hasCRC: it protects records by CRC-32C; older ones know only a Reed-Solomon code.
func (g geometry) hasCRC() bool { return g.density >= 0x5C }
