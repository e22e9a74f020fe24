package virtual

import (
	"sort"

	"sliod/tape"
	"sliod/tape/geometry"
	"sliod/tape/scsi"
)

// maxSegments is how many an LTO-9 drive puts in order.
const maxSegments = 2700

// generateOrder is GENERATE RECOMMENDED ACCESS ORDER: the nearest segment first, by the time model
// of package geometry, then the one nearest to the end of that, and so on. A real drive
// may know better.
func (d *drive) generateOrder(c *scsi.Command, b scsi.GenerateOrder) *scsi.Sense {
	if !d.lib.gen.hasOrder() || b.Type != 0 {
		return badField
	}
	data, ok := taken(c, int(min(b.Length, maxRecord)))
	if !ok {
		return sense(scsi.IllegalKey, scsi.CodeParameterLength)
	}
	bad := sense(scsi.IllegalKey, scsi.CodeInvalidParameter)
	left, err := scsi.ParseOrder(data)
	if err != nil || len(left) == 0 || len(left) > maxSegments {
		return bad
	}
	ends := make([][2]geometry.Offset, len(left)) // where each begins and ends on the tape
	for i, s := range left {
		if int(s.Partition) >= len(d.cart.parts) || s.First > s.Last {
			return bad
		}
		p := d.cart.parts[s.Partition]
		if uint64(s.Last) >= uint64(p.count()) {
			return bad
		}
		for j, block := range []int64{int64(s.First), int64(s.Last) + 1} {
			offset, _, err := p.at(block)
			if err != nil {
				return d.damaged(err)
			}
			ends[i][j] = d.base(int(s.Partition)) + geometry.Offset(offset)
		}
	}
	d.order = nil
	if b.Process == 1 {
		d.order = left
		return nil
	}
	for at := d.tapeAt; len(left) > 0; {
		best, least := 0, 0.0
		for i := range left {
			if t := d.lib.gen.Locate(at, ends[i][0]); i == 0 || t < least {
				best, least = i, t
			}
		}
		d.order = append(d.order, left[best])
		at = ends[best][1]
		last := len(left) - 1
		left[best], ends[best] = left[last], ends[last]
		left, ends = left[:last], ends[:last]
	}
	return nil
}

func (d *drive) receiveOrder(c *scsi.Command, b scsi.ReceiveOrder) *scsi.Sense {
	if !d.lib.gen.hasOrder() || b.Type != 0 {
		return badField
	}
	if b.Limits {
		give(c, scsi.OrderLimits{Segments: maxSegments, Size: 32}.Bytes(), int(min(b.Alloc, maxRecord)))
		return nil
	}
	out := scsi.OrderBytes(2, 0, d.order)
	if uint64(b.Offset) > uint64(len(out)) {
		return badField
	}
	give(c, out[b.Offset:], int(min(b.Alloc, maxRecord)))
	return nil
}

// wraps lists the wraps of the tape with the object at the end of each, by the geometry;
// NoObject where nothing is recorded at the end.
func (d *drive) wraps() ([]tape.WrapEnd, error) {
	g := d.lib.gen
	var ws []tape.WrapEnd
	for w := range g.Wraps {
		end := tape.WrapEnd{Wrap: w, End: scsi.NoObject}
		for p := len(d.cart.parts) - 1; p >= 0; p-- {
			if float64(d.base(p)) <= float64(w)*g.WrapBytes {
				end.Partition = tape.Partition(p)
				break
			}
		}
		part := d.cart.parts[end.Partition]
		offset := float64(w+1)*g.WrapBytes - float64(d.base(int(end.Partition)))
		if float64(part.end) >= offset {
			block, err := part.reaching(int64(offset))
			if err != nil {
				return nil, err
			}
			end.End = tape.BlockNo(block)
		}
		ws = append(ws, end)
	}
	return ws, nil
}

// reaching finds the object that the tape's byte offset lies in; it must not be behind
// the end of data.
func (p *partition) reaching(offset int64) (int64, error) {
	var failed error
	n := sort.Search(int(p.count()), func(i int) bool {
		e, err := p.entry(int64(i))
		if err != nil {
			failed = err
		}
		return e.end() >= offset
	})
	return int64(n), failed
}

func (d *drive) readWraps(c *scsi.Command, b scsi.ReadWraps) *scsi.Sense {
	if !d.lib.gen.hasWraps() || int(b.Wrap) >= d.lib.gen.Wraps {
		return badField
	}
	ws, err := d.wraps()
	if err != nil {
		return d.damaged(err)
	}
	out := scsi.WrapsBytes(ws)
	if !b.All {
		out = scsi.WrapBytes(ws[b.Wrap].End)
	}
	give(c, out, int(min(b.Alloc, maxRecord)))
	return nil
}
