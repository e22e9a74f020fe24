package virtual

import (
	"context"
	"math"
	"slices"

	"sliod/tape/scsi"
)

const mib = 1 << 20

func (d *drive) modeSense(c *scsi.Command, b scsi.ModeSense) *scsi.Sense {
	if b.Control == 3 {
		return badField // there are no saved values
	}
	m := scsi.ModeData{Buffered: 1, HasBlock: !b.NoDescriptors, Density: d.lib.gen.Density}
	if d.state == ready {
		m.WriteProtected = d.cart.mem.WriteProtected
		m.Medium = d.lib.gen.medium
		if d.cart.mem.WORM {
			m.Medium |= 4
		}
	}
	configuration := make([]byte, 14)
	configuration[6] = 0x80 | 0x10 // data buffer recovery, early warning
	configuration[8] = 0x18        // end of data by recording, flush at early warning
	configuration[12] = 1          // compression algorithm
	pages := []scsi.ModePage{
		scsi.Compression{Enabled: d.compress, Capable: true, Decode: true}.Page(),
		{Page: scsi.PageConfiguration, Data: configuration},
		d.partitioning().Page(),
		d.mediumPage(),
	}
	if d.lib.cfg.Profile == ProfileModern {
		pages = append(pages, d.protection.Page(), d.extension.Page())
	}
	for _, p := range pages {
		if (p.Page == b.Page || b.Page == scsi.PageAll) && (p.Subpage == b.Subpage || b.Subpage == 0xFF) {
			if b.Control == 1 { // which bits can be changed: none need be told
				clear(p.Data)
			}
			m.Pages = append(m.Pages, p)
		}
	}
	if len(m.Pages) == 0 && (b.Page != 0 || b.Subpage != 0) {
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
	if m.HasBlock && (m.BlockLength != 0 || m.Density != 0 && m.Density != 0x7F && m.Density != d.lib.gen.Density) {
		return bad
	}
	layout, compress, protection, extension := d.layout, d.compress, d.protection, d.extension
	for _, p := range m.Pages { // all must be right before one takes effect
		switch {
		case p.Page == scsi.PageControl && p.Subpage == scsi.SubpageProtection && d.lib.cfg.Profile == ProfileModern:
			v, err := scsi.ParseProtection(p.Data)
			if err != nil || v.Method != 0 && (v.Method != scsi.ProtectionCRC32C || v.Size != scsi.ProtectionSize || !d.lib.gen.hasCRC()) {
				return bad
			}
			if v.Method == 0 {
				v = scsi.Protection{}
			}
			protection = v
		case p.Page == scsi.PageConfiguration && p.Subpage == scsi.SubpageExtension && d.lib.cfg.Profile == ProfileModern:
			v, err := scsi.ParseConfigurationExtension(p.Data)
			if err != nil {
				return bad
			}
			extension = v
		case p.Subpage != 0:
			return bad
		case p.Page == scsi.PageCompression:
			v, err := scsi.ParseCompression(p.Data)
			if err != nil {
				return bad
			}
			compress = v.Enabled
		case p.Page == scsi.PageConfiguration:
		case p.Page == scsi.PagePartitions:
			v, err := scsi.ParsePartitioning(p.Data)
			if err != nil || v.Additional >= maxPartitions || v.Initiator && len(v.Sizes) < int(v.Additional)+1 {
				return bad
			}
			layout = &v
		default:
			return bad
		}
	}
	d.layout, d.compress, d.protection, d.extension = layout, compress, protection, extension
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
	holds := slices.ContainsFunc(d.cart.parts, func(p *partition) bool { return p.count() > 0 })
	switch {
	case holds && d.cart.mem.WORM:
		return sense(scsi.ProtectKey, codeOverwrite)
	case holds && d.extension.AppendOnly && (d.allowed == nil || *d.allowed != formatAllowed):
		return sense(scsi.IllegalKey, codePosition)
	}
	capacity := d.cart.mem.Capacity
	sizes := []int64{capacity}
	switch b.Format {
	case 0:
	case 1:
		if l := d.partitioning(); l.Additional == 1 {
			sizes = split(capacity, capacity/int64(d.lib.gen.Wraps), l)
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
	d.layout, d.partition, d.block, d.tapeAt, d.allowed, d.order = nil, 0, 0, 0, nil, nil
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
