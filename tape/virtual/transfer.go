package virtual

import (
	"context"

	"sliod/tape"
	"sliod/tape/scsi"
)

func (d *drive) part() *partition { return d.cart.parts[d.partition] }

// base is where a partition begins on the tape: the first takes whole wraps, and two more keep
// the partitions apart.
func (d *drive) base(partition int) float64 {
	if partition == 0 {
		return 0
	}
	g := d.lib.geometry
	return (float64(int(float64(d.cart.mem.Partitions[0])/g.wrapBytes)) + 3) * g.wrapBytes
}

func (d *drive) read(ctx context.Context, c *scsi.Command, b scsi.Read6) *scsi.Sense {
	if b.Fixed || b.Length > maxRecord || c.Dir != scsi.In && b.Length > 0 {
		return badField
	}
	if b.Length == 0 {
		return nil
	}
	p, want := d.part(), c.Data[:min(int(b.Length), len(c.Data))]
	if d.block >= p.count() {
		return &scsi.Sense{Key: scsi.BlankCheck, Code: scsi.CodeEndOfData, Info: int64(b.Length), InfoValid: true}
	}
	e, err := p.entry(d.block)
	if err != nil {
		d.block++
		return d.damaged(err)
	}
	at := tape.Position{Partition: tape.Partition(d.partition), Block: tape.BlockNo(d.block)}
	d.block++
	if e.kind == filemarkEntry {
		return &scsi.Sense{Code: scsi.CodeFilemark, Filemark: true, Info: int64(b.Length), InfoValid: true}
	}
	seconds := d.lib.geometry.stream(d.tapeAt, int(e.length))
	d.tapeAt = d.base(d.partition) + float64(e.end())
	d.pace.read(ctx, seconds, d.lib.geometry.rate)
	if d.lib.isUnreadable(d.barcode, at) {
		return sense(scsi.MediumErrorKey, scsi.CodeReadError)
	}
	if err := p.read(e, want); err != nil {
		return d.damaged(err)
	}
	c.Residual = len(c.Data) - min(len(want), int(e.length))
	short := int64(b.Length) - int64(e.length)
	if short < 0 && !b.Suppress || short > 0 && !b.Suppress {
		return &scsi.Sense{ILI: true, Info: short, InfoValid: true}
	}
	return nil
}

func (d *drive) write(ctx context.Context, c *scsi.Command, b scsi.Write6) *scsi.Sense {
	data, ok := taken(c, int(b.Length))
	if b.Fixed || b.Length > maxRecord || !ok {
		return badField
	}
	if s := d.protected(); s != nil || b.Length == 0 {
		return s
	}
	p := d.part()
	used, err := p.used(d.block)
	if err != nil {
		return d.damaged(err)
	}
	if used+int64(len(data)) > p.capacity {
		c.Residual = len(c.Data)
		return &scsi.Sense{Key: scsi.VolumeOverflow, Code: scsi.CodeEndOfMedium, EOM: true, Info: int64(len(data)), InfoValid: true}
	}
	if s := d.overwrite(); s != nil {
		return s
	}
	if err := p.append(data); err != nil {
		c.Residual = len(c.Data)
		return d.written(err)
	}
	d.block++
	seconds := d.lib.geometry.stream(d.tapeAt, len(data))
	d.tapeAt = d.base(d.partition) + float64(p.end)
	d.pace.write(ctx, seconds, len(data), d.lib.geometry.rate)
	return d.warning()
}

func (d *drive) filemarks(ctx context.Context, b scsi.WriteFilemarks6) *scsi.Sense {
	if s := d.protected(); s != nil {
		return s
	}
	p := d.part()
	if b.Count > 0 {
		used, err := p.used(d.block)
		if err != nil {
			return d.damaged(err)
		}
		if used+int64(b.Count)*filemarkSize > p.capacity {
			return &scsi.Sense{Key: scsi.VolumeOverflow, Code: scsi.CodeEndOfMedium, EOM: true, Info: int64(b.Count), InfoValid: true}
		}
		if s := d.overwrite(); s != nil {
			return s
		}
		for range b.Count {
			if err := p.mark(); err != nil {
				return d.written(err)
			}
			d.block++
		}
	}
	if !b.Immediate {
		buffered := len(p.pending) > 0
		if s := d.flush(); s != nil {
			return s
		}
		if buffered {
			d.pace.spend(ctx, syncFilemark)
		}
	}
	return d.warning()
}

func (d *drive) protected() *scsi.Sense {
	if d.cart.mem.WriteProtected {
		return sense(scsi.ProtectKey, scsi.CodeWriteProtected)
	}
	return nil
}

// overwrite makes the head's place the end of data.
func (d *drive) overwrite() *scsi.Sense {
	d.cart.modify()
	p := d.part()
	if d.block >= p.count() {
		return nil
	}
	// The memory first: its change reference tells that the tape is another now.
	if err := d.cart.saveMemory(); err != nil {
		return d.written(err)
	}
	return d.written(p.truncate(d.block))
}

// earlyWarning is how many bytes before the end of p the warnings begin.
func (l *Library) earlyWarning(p *partition) int64 {
	if l.cfg.EarlyWarning > 0 {
		return l.cfg.EarlyWarning
	}
	return min(max(1<<20, p.capacity*3/100), p.capacity/4)
}

// warning is the answer to a write that was done: early warning near the end.
func (d *drive) warning() *scsi.Sense {
	p := d.part()
	if d.remaining(p) >= d.lib.earlyWarning(p) {
		return nil
	}
	return &scsi.Sense{Code: scsi.CodeEndOfMedium, EOM: true, InfoValid: true}
}

// remaining is the room behind the end of data.
func (d *drive) remaining(p *partition) int64 {
	return max(p.capacity-p.end-int64(p.marks)*filemarkSize, 0)
}
