package geometry

import (
	"cmp"
	"slices"
	"sort"

	"sliod/tape"
)

// DefaultBlockBytes is the record size of an LTFS volume, as SLIOD writes it.
const DefaultBlockBytes = 512 << 10

// Point says that the first Block objects of a partition take that many bytes: records that are
// known to the catalog.
type Point struct {
	Partition tape.Partition
	Block     tape.BlockNo
	Bytes     int64
}

// Volume is what is known of a volume, for NewMap. All but Generation may be missing.
type Volume struct {
	Generation Generation
	// Partitions that the medium has. 0: one, and none is the index partition of LTFS.
	Partitions int
	// CapacityBytes is the native capacity of the medium. 0: that of its generation.
	CapacityBytes int64
	// Wraps is what the drive says of the ends of wraps (tape.Drive.Wraps).
	Wraps []tape.WrapEnd
	// Points need not be in order. Those that contradict others are left out.
	Points []Point
	// BlockBytes is the size of a record where no Point tells. 0: DefaultBlockBytes.
	BlockBytes int
}

// Map tells which offset on the tape a block has. It never fails: the less is known of a
// volume, the worse it guesses. Positions behind all that is known go on with the average size of
// records, up to the end of the tape. It does not change: safe for concurrent use.
type Map struct {
	Generation Generation
	parts      []part
	end        Offset
}

// part is a partition: where some of its blocks are, both rising, beginning with block 0.
type part struct {
	knots []knot
	slope float64 // bytes an object, behind the last knot
}

type knot struct {
	block float64
	at    Offset
}

// NewMap makes the map of a volume. Where the drive tells the ends of wraps, blocks lie between
// them as the points say, or evenly; without, from the begin of the partition on as the points
// say, then by BlockBytes.
func NewMap(v Volume) *Map {
	g := v.Generation
	m := &Map{Generation: g, end: Offset(float64(g.Wraps) * g.WrapBytes)}
	if v.CapacityBytes == 0 {
		v.CapacityBytes = g.Capacity
	}
	if v.BlockBytes <= 0 {
		v.BlockBytes = DefaultBlockBytes
	}
	for p := range max(v.Partitions, 1) {
		start := Offset(0)
		if p > 0 {
			start = g.SecondPartition(g.FirstPartition(v.CapacityBytes))
		}
		m.parts = append(m.parts, newPart(v, tape.Partition(p), start))
	}
	return m
}

func newPart(v Volume, p tape.Partition, start Offset) part {
	sizes := part{[]knot{{0, 0}}, float64(v.BlockBytes)} // bytes in the partition by block
	points := slices.DeleteFunc(slices.Clone(v.Points), func(x Point) bool { return x.Partition != p })
	slices.SortFunc(points, func(a, b Point) int { return cmp.Compare(a.Block, b.Block) })
	for _, x := range points {
		sizes.add(float64(x.Block), Offset(x.Bytes))
	}
	if n := len(sizes.knots); n > 1 {
		sizes.slope = float64(sizes.knots[n-1].at) / sizes.knots[n-1].block
	}
	var ends []knot // of wraps
	for _, w := range v.Wraps {
		if w.Partition != p || w.Wrap < 0 || w.Wrap >= v.Generation.Wraps {
			continue
		}
		if len(ends) == 0 {
			start = Offset(float64(w.Wrap) * v.Generation.WrapBytes)
		}
		// The object at the end is the last that begins before it.
		ends = append(ends, knot{float64(w.End) + 1, Offset(float64(w.Wrap+1) * v.Generation.WrapBytes)})
	}
	out := part{[]knot{{0, start}}, sizes.slope}
	if len(ends) == 0 {
		for _, k := range sizes.knots {
			out.add(k.block, start+k.at)
		}
		return out
	}
	// Between two ends the sizes are stretched to what lies between them.
	last := out.knots[0]
	for _, e := range ends {
		if e.block <= last.block || e.at <= last.at {
			continue // a drive that contradicts itself
		}
		from, to := sizes.at(last.block), sizes.at(e.block)
		if to <= from {
			continue // the points contradict it, or rounding has made them one
		}
		scale := float64(e.at-last.at) / float64(to-from)
		for _, k := range sizes.knots {
			if k.block > last.block && k.block < e.block {
				out.add(k.block, last.at+Offset(float64(k.at-from)*scale))
			}
		}
		out.add(e.block, e.at)
		last, out.slope = e, sizes.slope*scale
	}
	scale, from := out.slope/sizes.slope, sizes.at(last.block)
	for _, k := range sizes.knots {
		if k.block > last.block {
			out.add(k.block, last.at+Offset(float64(k.at-from)*scale))
		}
	}
	return out
}

// add puts a knot behind the last, if it rises.
func (p *part) add(block float64, at Offset) {
	if last := p.knots[len(p.knots)-1]; block > last.block && at > last.at {
		p.knots = append(p.knots, knot{block, at})
	}
}

func (p *part) at(block float64) Offset {
	i := sort.Search(len(p.knots), func(i int) bool { return p.knots[i].block > block })
	a := p.knots[i-1]
	if i == len(p.knots) {
		return a.at + Offset((block-a.block)*p.slope)
	}
	b := p.knots[i]
	return a.at + Offset((block-a.block)/(b.block-a.block)*float64(b.at-a.at))
}

// At is the offset on the tape of a byte in a record. A partition that the volume does not have
// counts as its last.
func (m *Map) At(p tape.Position, offset uint32) Offset {
	i := min(int(p.Partition), len(m.parts)-1)
	return min(m.parts[i].at(float64(p.Block))+Offset(offset), m.end-1)
}
