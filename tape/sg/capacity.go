package sg

import "sliod/tape"

const gigabyte = 1_000_000_000

// capacities are the native ones by the last two characters of a barcode, which
// name the medium (LTO Ultrium cartridge label specification); WORM cartridges
// have codes of their own.
var capacities = map[string]int64{
	"L1": 100 * gigabyte, "L2": 200 * gigabyte, "L3": 400 * gigabyte, "L4": 800 * gigabyte,
	"L5": 1500 * gigabyte, "L6": 2500 * gigabyte, "L7": 6000 * gigabyte, "M8": 9000 * gigabyte, "L8": 12000 * gigabyte, "L9": 18000 * gigabyte,
	"LT": 400 * gigabyte, "LU": 800 * gigabyte, "LV": 1500 * gigabyte, "LW": 2500 * gigabyte, "LX": 6000 * gigabyte, "LY": 12000 * gigabyte, "LZ": 18000 * gigabyte,
}

// capacityOf is the native capacity that a barcode tells, in bytes, or 0. A drive
// that has loaded the volume knows better.
func capacityOf(b tape.Barcode) int64 {
	if len(b) < 8 { // six characters of a name before it
		return 0
	}
	return capacities[string(b[len(b)-2:])]
}
