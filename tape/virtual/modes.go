package virtual

import (
	"context"
	"encoding/binary"
	"math"

	"sliod/tape/scsi"
)

const mib = 1 << 20

func (d *drive) modeSense(c *scsi.Command, b scsi.ModeSense) *scsi.Sense {
	if b.Control == 3 || b.Subpage != 0 && b.Subpage != 0xFF {
		return badField // there are no saved values
	}
	m := scsi.ModeData{Buffered: 1, HasBlock: !b.NoDescriptors, Density: d.lib.geometry.density}
	if d.state == ready {
		m.WriteProtected = d.cart.mem.WriteProtected
	}
	configuration := make([]byte, 14)
	configuration[6] = 0x80 | 0x10 // data buffer recovery, early warning
	configuration[8] = 0x18        // end of data by recording, flush at early warning
	configuration[12] = 1          // compression algorithm
	pages := []scsi.ModePage{
		scsi.Compression{Enabled: d.compress, Capable: true, Decode: true}.Page(),
		{Page: scsi.PageConfiguration, Data: configuration},
		d.partitioning().Page(),
	}
	for _, p := range pages {
		if p.Page == b.Page || b.Page == scsi.PageAll {
			if b.Control == 1 { // which bits can be changed: none need be told
				clear(p.Data)
			}
			m.Pages = append(m.Pages, p)
		}
	}
	if len(m.Pages) == 0 && b.Page != 0 {
		return badField
	}
	give(c, m.Bytes(b.Ten), int(b.Alloc))
	return nil
}

// partitioning describes the medium's partitions, or those that the next format
// will make.
func (d *drive) partitioning() scsi.Partitioning {
	if d.layout != nil {
		return *d.layout
	}
	p := scsi.Partitioning{MaxAdditional: maxPartitions - 1, Flags: 0x18, Recognition: 3, Unit: 9}
	if d.state == ready {
		p.Additional = uint8(len(d.cart.parts) - 1)
		for _, size := range d.cart.mem.Partitions {
			p.Sizes = append(p.Sizes, uint16(min((size+999_999_999)/1e9, math.MaxUint16-1)))
		}
	}
	return p
}

func (d *drive) modeSelect(c *scsi.Command, b scsi.ModeSelect) *scsi.Sense {
	data, ok := taken(c, int(b.Length))
	if !ok {
		return sense(scsi.IllegalKey, scsi.CodeParameterLength)
	}
	if b.Length == 0 {
		return nil
	}
	m, err := scsi.ParseMode(b.Ten, data)
	if err != nil {
		return sense(scsi.IllegalKey, scsi.CodeParameterLength)
	}
	if !b.Pages && len(m.Pages) > 0 || b.Save {
		return badField
	}
	bad := sense(scsi.IllegalKey, scsi.CodeInvalidParameter)
	if m.HasBlock && (m.BlockLength != 0 || m.Density != 0 && m.Density != 0x7F && m.Density != d.lib.geometry.density) {
		return bad
	}
	layout, compress := d.layout, d.compress
	for _, p := range m.Pages { // all must be right before one takes effect
		switch p.Page {
		case scsi.PageCompression:
			v, err := scsi.ParseCompression(p.Data)
			if err != nil {
				return bad
			}
			compress = v.Enabled
		case scsi.PageConfiguration:
		case scsi.PagePartitions:
			v, err := scsi.ParsePartitioning(p.Data)
			if err != nil || v.Additional >= maxPartitions || v.Initiator && len(v.Sizes) < int(v.Additional)+1 {
				return bad
			}
			layout = &v
		default:
			return bad
		}
	}
	d.layout, d.compress = layout, compress
	return nil
}

// format erases the medium.
func (d *drive) format(ctx context.Context, b scsi.FormatMedium) *scsi.Sense {
	if s := d.protected(); s != nil {
		return s
	}
	if d.partition != 0 || d.block != 0 {
		return sense(scsi.IllegalKey, 0x3B0C) // past the beginning of the medium
	}
	capacity := d.cart.mem.Capacity
	sizes := []int64{capacity}
	switch b.Format {
	case 0:
	case 1:
		if l := d.partitioning(); l.Additional == 1 {
			sizes = split(capacity, capacity/int64(d.lib.geometry.wraps), l)
		}
	default:
		return badField
	}
	if err := d.cart.format(sizes); err != nil {
		d.log.WithError(err).WithField("volume", d.barcode).Error("the volume could not be formatted")
		if len(d.cart.parts) != len(d.cart.mem.Partitions) { // its files are closed: only a new load helps
			d.cart.close()
			d.cart, d.state = nil, ejected
		}
		return sense(scsi.MediumErrorKey, 0x3100) // format corrupted
	}
	d.layout, d.partition, d.block, d.tapeAt = nil, 0, 0, 0
	d.pace.spend(ctx, formatTime.Seconds())
	return nil
}

// split gives the partitions their sizes: the one with a size gets it in pairs of wraps, but
// at most a quarter of the tape, and the other the rest.
func split(capacity, wrap int64, l scsi.Partitioning) []int64 {
	unit := int64(1)
	for range l.Unit {
		if unit < capacity {
			unit *= 10
		}
	}
	small, other := 0, 1
	if len(l.Sizes) == 2 && l.Sizes[0] == 0xFFFF {
		small, other = 1, 0
	}
	want := capacity
	if len(l.Sizes) == 2 && int64(l.Sizes[small]) <= capacity/unit {
		want = int64(l.Sizes[small]) * unit
	}
	pair := max(2*wrap, 1)
	want = min(max((want+pair-1)/pair, 1)*pair, capacity/4)
	sizes := make([]int64, 2)
	sizes[small], sizes[other] = want, capacity-want
	return sizes
}

func (d *drive) logSense(c *scsi.Command, b scsi.LogSense) *scsi.Sense {
	if b.Subpage != 0 {
		return badField
	}
	l := scsi.LogData{Page: b.Page}
	number := func(code uint16, size int, v uint64) {
		full := binary.BigEndian.AppendUint64(nil, v)
		l.Parameters = append(l.Parameters, scsi.LogParameter{Code: code, Control: 3, Value: full[8-size:]})
	}
	switch b.Page {
	case scsi.LogPages:
		give(c, []byte{0, 0, 0, 4, scsi.LogPages, scsi.LogVolume, scsi.LogTapeAlert, scsi.LogCapacity}, int(b.Alloc))
		return nil
	case scsi.LogTapeAlert:
		for code := uint16(1); code <= 64; code++ {
			number(code, 1, 0)
		}
	case scsi.LogVolume:
		if d.state == ready {
			number(0x0000, 1, 1) // the page is valid
			number(0x0001, 8, d.cart.mem.Loads)
			number(0x0016, 8, uint64(d.cart.mem.Capacity/1e6))
		} else {
			number(0x0000, 1, 0)
		}
	case scsi.LogCapacity:
		if d.state == ready {
			for i, p := range d.cart.parts {
				number(scsi.CapacityRemaining0+uint16(i), 4, uint64(d.remaining(p)/mib))
				number(scsi.CapacityMaximum0+uint16(i), 4, uint64(p.capacity/mib))
			}
		}
	default:
		return badField
	}
	give(c, l.Bytes(), int(b.Alloc))
	return nil
}
