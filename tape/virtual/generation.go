package virtual

import (
	"time"

	"sliod/tape/geometry"
)

// generation is what a generation of cartridges and drives is like, and what drives of it say of it.
type generation struct {
	geometry.Generation
	medium    uint8 // type of the medium in mode data; 4 more: WORM
	bitsPerMM uint32
	tracks    uint16 // all wraps together
}

// Tracks and bits per mm as mhvtl's ult3580_pm.c has them from IBM's SCSI references.
var generations = map[string]generation{
	"LTO-5": {modelOf("LTO-5"), 0x58, 15142, 1280},
	"LTO-6": {modelOf("LTO-6"), 0x68, 15142, 2176},
	"LTO-7": {modelOf("LTO-7"), 0x78, 19107, 3584},
	"LTO-8": {modelOf("LTO-8"), 0x88, 20669, 6656},
	"LTO-9": {modelOf("LTO-9"), 0x98, 21456, 8960},
}

func modelOf(name string) geometry.Generation {
	g, _ := geometry.ByName(name)
	return g
}

// Times that the model of motion does not have.
const (
	driveBuffer  = 1e9 // bytes
	backHitch    = 5.5 // s
	syncFilemark = 2.0 // s
	formatTime   = 180 * time.Second
	cleanTime    = 120 * time.Second
)

// hasOrder: a drive of this generation recommends an order (RAO).
func (g *generation) hasOrder() bool { return g.Density >= 0x60 }

// hasWraps: it tells where wraps end.
func (g *generation) hasWraps() bool { return g.Density >= 0x5C }

// hasCRC: it protects records by CRC-32C; older ones know only a Reed-Solomon code.
func (g *generation) hasCRC() bool { return g.Density >= 0x5C }
