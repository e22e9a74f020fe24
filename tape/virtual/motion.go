package virtual

import (
	"context"

	"sliod/tape/geometry"
	"sliod/tape/scsi"
)

// travel takes the time from where the head is to object block of a partition.
func (d *drive) travel(ctx context.Context, partition int, block int64) *scsi.Sense {
	offset, _, err := d.cart.parts[partition].at(block)
	if err != nil {
		return d.damaged(err)
	}
	to := d.base(partition) + geometry.Offset(offset)
	d.pace.spend(ctx, d.lib.gen.Locate(d.tapeAt, to))
	d.partition, d.block, d.tapeAt = partition, block, to
	return nil
}

func (d *drive) locate(ctx context.Context, change bool, partition uint8, block uint64) *scsi.Sense {
	if s := d.flush(); s != nil { // a drive writes its buffer before it moves
		return s
	}
	goal := d.partition
	if change {
		goal = int(partition)
	}
	if goal >= len(d.cart.parts) {
		return badField
	}
	end := d.cart.parts[goal].count()
	if block > uint64(end) {
		if s := d.travel(ctx, goal, end); s != nil {
			return s
		}
		return sense(scsi.BlankCheck, scsi.CodeEndOfData)
	}
	return d.travel(ctx, goal, int64(block))
}

func (d *drive) space(ctx context.Context, code scsi.SpaceCode, n int64) *scsi.Sense {
	if code != scsi.SpaceBlocks && code != scsi.SpaceFilemarks && code != scsi.SpaceEnd {
		return badField
	}
	if s := d.flush(); s != nil {
		return s
	}
	p := d.part()
	if code == scsi.SpaceEnd {
		return d.travel(ctx, d.partition, p.count())
	}
	if code == scsi.SpaceFilemarks {
		return d.spaceMarks(ctx, p, n)
	}
	return d.spaceBlocks(ctx, p, n)
}

// stopped goes to block and answers that so many objects were not passed.
func (d *drive) stopped(ctx context.Context, block, left int64, s scsi.Sense) *scsi.Sense {
	if bad := d.travel(ctx, d.partition, block); bad != nil {
		return bad
	}
	s.Info, s.InfoValid = left, true
	return &s
}

var (
	atBeginning = scsi.Sense{Code: scsi.CodeBeginning, EOM: true}
	atEnd       = scsi.Sense{Key: scsi.BlankCheck, Code: scsi.CodeEndOfData}
	atMark      = scsi.Sense{Code: scsi.CodeFilemark, Filemark: true}
)

// spaceMarks moves over n filemarks; going backward it ends before the last.
func (d *drive) spaceMarks(ctx context.Context, p *partition, n int64) *scsi.Sense {
	_, marks, err := p.at(d.block)
	if err != nil {
		return d.damaged(err)
	}
	have := int64(marks) // before the head
	switch {
	case n == 0:
		return nil
	case n > int64(p.marks)-have:
		return d.stopped(ctx, p.count(), n-(int64(p.marks)-have), atEnd)
	case n < -have: // also true for the smallest number, that has no positive
		return d.stopped(ctx, 0, -(n + have), atBeginning)
	}
	target := have + n
	if n < 0 {
		target++ // behind the mark that it must end before
	}
	block, _, err := p.afterMarks(uint32(target))
	if err != nil {
		return d.damaged(err)
	}
	if n < 0 {
		block--
	}
	return d.travel(ctx, d.partition, block)
}

// spaceBlocks moves over n records; a filemark on the way stops it, passed.
func (d *drive) spaceBlocks(ctx context.Context, p *partition, n int64) *scsi.Sense {
	_, marks, err := p.at(d.block)
	if err != nil {
		return d.damaged(err)
	}
	if n >= 0 {
		limit := p.count() // where the way ends: at the end of data, or at a mark
		mark := marks < p.marks
		if mark {
			after, _, err := p.afterMarks(marks + 1)
			if err != nil {
				return d.damaged(err)
			}
			limit = after - 1
		}
		way := limit - d.block
		switch {
		case n <= way:
			return d.travel(ctx, d.partition, d.block+n)
		case mark:
			return d.stopped(ctx, limit+1, n-way, atMark)
		}
		return d.stopped(ctx, limit, n-way, atEnd)
	}
	limit := int64(0) // just behind the mark before the head
	if marks > 0 {
		if limit, _, err = p.afterMarks(marks); err != nil {
			return d.damaged(err)
		}
	}
	way := d.block - limit
	switch {
	case n >= -way:
		return d.travel(ctx, d.partition, d.block+n)
	case marks > 0:
		return d.stopped(ctx, limit-1, -(n + way), atMark)
	}
	return d.stopped(ctx, 0, -(n + way), atBeginning)
}

func (d *drive) readPosition(c *scsi.Command, b scsi.ReadPosition) *scsi.Sense {
	p := d.part()
	_, marks, err := p.at(d.block)
	if err != nil {
		return d.damaged(err)
	}
	used, err := p.used(d.block)
	if err != nil {
		return d.damaged(err)
	}
	left := p.capacity - used
	data := scsi.PositionData{Warning: left < d.programmable(p), Beginning: d.block == 0, End: p.capacity-used < d.lib.earlyWarning(p),
		Partition: uint32(d.partition), Block: uint64(d.block), Filemarks: uint64(marks)}.Bytes(b.Form)
	give(c, data, len(data))
	return nil
}
