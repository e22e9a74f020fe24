package geometry

import (
	"strings"
	"time"

	"sliod/tape"
)

// Generation is what a generation of cartridges and drives is like. Lengths are metres.
type Generation struct {
	Name      string  // "LTO-9"
	Suffix    string  // of barcodes: "L9"
	Density   uint8   // the density code (SSC-5)
	Capacity  int64   // bytes, native
	Rate      float64 // bytes a second
	Wraps     int
	WrapBytes float64
	Length    float64 // of tape that is written
	Load      time.Duration
	Unload    time.Duration // after the rewind
}

// The sources: capacity, rate and length of tape from the LTO consortium's data sheets; density
// codes as mhvtl's ult3580_pm.c has them from IBM's SCSI references; wraps = tracks / heads (16
// heads up to LTO-6, 32 from LTO-7 on), all in 4 bands, and the bytes of a wrap = capacity / wraps
// (LTO-9: 64.29 GB, as measured). The length of LTO-9 is the part of its 1035 m that the model
// was fitted to.
var generations = []Generation{
	{"LTO-5", "L5", 0x58, 1_500e9, 140e6, 80, 18.75e9, 846, 12 * time.Second, 17 * time.Second},
	{"LTO-6", "L6", 0x5A, 2_500e9, 160e6, 136, 18.38e9, 846, 12 * time.Second, 17 * time.Second},
	{"LTO-7", "L7", 0x5C, 6_000e9, 300e6, 112, 53.57e9, 960, 15 * time.Second, 24 * time.Second},
	{"LTO-8", "L8", 0x5E, 12_000e9, 360e6, 208, 57.7e9, 960, 15 * time.Second, 24 * time.Second},
	{"LTO-9", "L9", 0x60, 18_000e9, 400e6, 280, 64.29e9, 970, 17 * time.Second, 30 * time.Second},
}

// Generic stands for a medium that nothing is known of. It is like LTO-7. Its times are
// guesses, and its wraps are surely elsewhere than the medium's: order by block on it.
var Generic = Generation{"generic", "", 0, 6_000e9, 300e6, 112, 53.57e9, 960, 15 * time.Second, 24 * time.Second}

// Names lists the generations that are known, the oldest first.
func Names() []string {
	names := make([]string, len(generations))
	for i := range generations {
		names[i] = generations[i].Name
	}
	return names
}

// ByName finds "LTO-5" to "LTO-9".
func ByName(name string) (Generation, bool) {
	return find(func(g *Generation) bool { return g.Name == name })
}

// ByDensity finds the generation of a medium by its density code (tape.Limits.Density).
func ByDensity(density uint8) (Generation, bool) {
	return find(func(g *Generation) bool { return g.Density == density })
}

// ByBarcode finds the generation by the last two characters of a barcode, for a volume that
// no drive has loaded yet.
func ByBarcode(b tape.Barcode) (Generation, bool) {
	return find(func(g *Generation) bool { return strings.HasSuffix(string(b), g.Suffix) })
}

func find(is func(*Generation) bool) (Generation, bool) {
	for i := range generations {
		if is(&generations[i]) {
			return generations[i], true
		}
	}
	return Generic, false
}

// FirstPartition is how many bytes the index partition of LTFS takes of a medium of that many
// bytes: one pair of wraps.
func (g *Generation) FirstPartition(capacityBytes int64) int64 {
	return min(max(2*(capacityBytes/int64(g.Wraps)), 1), capacityBytes/4)
}

// SecondPartition is where the second partition begins behind a first one of that many bytes: the
// first takes whole wraps, and two more keep the partitions apart.
func (g *Generation) SecondPartition(firstBytes int64) Offset {
	return Offset((float64(int(float64(firstBytes)/g.WrapBytes)) + 3) * g.WrapBytes)
}
