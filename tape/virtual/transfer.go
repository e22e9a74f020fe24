package virtual

import (
	"context"
	"hash/crc32"

	"sliod/tape"
	"sliod/tape/geometry"
	"sliod/tape/scsi"
)

func (d *drive) part() *partition { return d.cart.parts[d.partition] }

// base is where a partition begins on the tape.
func (d *drive) base(partition int) geometry.Offset {
	if partition == 0 {
		return 0
	}
	return d.lib.gen.SecondPartition(d.cart.mem.Partitions[0])
}

func (d *drive) read(ctx context.Context, c *scsi.Command, b scsi.Read6) *scsi.Sense {
	if b.Fixed || b.Length > maxRecord || c.Dir != scsi.In && b.Length > 0 {
		return badField
	}
	if b.Length == 0 {
		return nil
	}
	room := int64(b.Length) // for the record
	if d.protection.Read {
		if room -= scsi.ProtectionSize; room <= 0 {
			return badField
		}
	}
	p, want := d.part(), c.Data[:min(int(room), len(c.Data))]
	if d.block >= p.count() {
		return &scsi.Sense{Key: scsi.BlankCheck, Code: scsi.CodeEndOfData, Info: room, InfoValid: true}
	}
	e, err := p.entry(d.block)
	if err != nil {
		d.block++
		return d.damaged(err)
	}
	if e.kind == recordEntry {
		if s := d.crypt.readable(e); s != nil {
			return s
		}
	}
	var record []byte // of an encrypted one
	if e.overhead > 0 {
		var s *scsi.Sense
		if record, _, s, err = d.unseal(e); s != nil {
			return s // the head stays before it
		} else if err != nil {
			d.block++
			return d.damaged(err)
		}
	}
	length := int64(e.length) - int64(e.overhead)
	at := tape.Position{Partition: tape.Partition(d.partition), Block: tape.BlockNo(d.block)}
	d.block++
	if e.kind == filemarkEntry {
		return &scsi.Sense{Code: scsi.CodeFilemark, Filemark: true, Info: room, InfoValid: true}
	}
	seconds := d.lib.gen.Stream(d.tapeAt, int(e.length))
	d.tapeAt = d.base(d.partition) + geometry.Offset(e.end())
	d.pace.read(ctx, seconds, d.lib.gen.Rate)
	if d.lib.isBad(d.barcode, at).read {
		return sense(scsi.MediumErrorKey, scsi.CodeReadError)
	}
	sum := e.sum
	if e.overhead > 0 {
		copy(want, record)
		sum = crc32.Checksum(record, castagnoli)
	} else if err := p.read(e, want); err != nil {
		return d.damaged(err)
	}
	d.count(func(u *use) { u.Read += length })
	over := min(len(want), int(length))
	short := room - length
	if d.protection.Read && short >= 0 {
		over = d.guard(c, over, sum)
	}
	c.Residual = len(c.Data) + len(c.Tail) - over
	if short < 0 && !b.Suppress || short > 0 && !b.Suppress {
		return &scsi.Sense{ILI: true, Info: short, InfoValid: true}
	}
	return nil
}

func (d *drive) write(ctx context.Context, c *scsi.Command, b scsi.Write6) *scsi.Sense {
	if b.Fixed || b.Length > maxRecord {
		return badField
	}
	if s := d.protected(); s != nil || b.Length == 0 {
		return s
	}
	data, sum, summed, s := d.unguard(c, int(b.Length))
	if s != nil {
		return s
	}
	size, overhead := len(data), d.crypt.overhead()
	if overhead > 0 {
		data, summed = d.crypt.seal(data), false
	}
	p := d.part()
	used, err := p.used(d.block)
	if err != nil {
		return d.damaged(err)
	}
	if used+int64(len(data)) > p.capacity {
		c.Residual = len(c.Data) + len(c.Tail)
		return &scsi.Sense{Key: scsi.VolumeOverflow, Code: scsi.CodeEndOfMedium, EOM: true, Info: int64(size), InfoValid: true}
	}
	if d.lib.isBad(d.barcode, tape.Position{Partition: tape.Partition(d.partition), Block: tape.BlockNo(d.block)}).write {
		c.Residual = len(c.Data) + len(c.Tail)
		return sense(scsi.MediumErrorKey, scsi.CodeWriteError)
	}
	if s := d.overwrite(); s != nil {
		return s
	}
	if !summed {
		sum = crc32.Checksum(data, castagnoli)
	}
	err = p.appendRecord(data, sum, overhead)
	if err != nil {
		c.Residual = len(c.Data) + len(c.Tail)
		return d.written(err)
	}
	d.block++
	d.count(func(u *use) { u.Written += int64(size) })
	seconds := d.lib.gen.Stream(d.tapeAt, len(data))
	d.tapeAt = d.base(d.partition) + geometry.Offset(p.end)
	d.pace.write(ctx, seconds, len(data), d.lib.gen.Rate)
	return d.warning(int64(len(data)))
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
	return d.warning(int64(b.Count) * filemarkSize)
}

func (d *drive) protected() *scsi.Sense {
	if d.cart.mem.WriteProtected {
		return sense(scsi.ProtectKey, scsi.CodeWriteProtected)
	}
	return nil
}

// overwrite makes the head's place the end of data. What is recorded on a WORM medium
// stays; in append-only mode ALLOW OVERWRITE permits one place.
func (d *drive) overwrite() *scsi.Sense {
	p := d.part()
	if d.block < p.count() {
		at := tape.Position{Partition: tape.Partition(d.partition), Block: tape.BlockNo(d.block)}
		if d.cart.mem.WORM {
			return sense(scsi.ProtectKey, codeOverwrite)
		}
		if d.extension.AppendOnly && (d.allowed == nil || *d.allowed != at) {
			return sense(scsi.IllegalKey, codePosition)
		}
	}
	d.allowed = nil
	d.cart.modify()
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

// warning is the answer to a write of so many bytes that was done: early warning near the end,
// and once, before it, the programmable one.
func (d *drive) warning(wrote int64) *scsi.Sense {
	p := d.part()
	left, early := d.remaining(p), d.lib.earlyWarning(p)
	if left < early {
		return &scsi.Sense{Code: scsi.CodeEndOfMedium, EOM: true, InfoValid: true}
	}
	if at := d.programmable(p); at > early && left < at && left+wrote >= at {
		return &scsi.Sense{Code: scsi.CodeProgrammable, InfoValid: true}
	}
	return nil
}

// programmable is how many bytes before the end of p the programmable early
// warning comes; 0: it does not.
func (d *drive) programmable(p *partition) int64 {
	if d.extension.EarlyWarning == 0 {
		return 0
	}
	return d.lib.earlyWarning(p) + int64(d.extension.EarlyWarning)*1e6
}

// remaining is the room behind the end of data.
func (d *drive) remaining(p *partition) int64 {
	return max(p.capacity-p.end-int64(p.marks)*filemarkSize, 0)
}
