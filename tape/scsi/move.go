package scsi

import (
	"context"
	"math"

	"github.com/pkg/errors"

	"sliod/tape"
)

// Position implements tape.Drive.
func (d *Drive) Position(ctx context.Context) (tape.Position, error) {
	if d.count != nil {
		return d.countPosition(ctx)
	}
	if !d.loaded && !d.changed {
		return tape.Position{}, d.notLoaded("read position")
	}
	p, err := d.readPosition(ctx)
	if err != nil {
		return p, d.place(err)
	}
	d.pos, d.known = p, true
	return p, nil
}

// readPosition asks, in the long form if the drive knows it. It takes unit
// attentions: the answer is the truth whatever happened, and who has a position
// to lose compares.
func (d *Drive) readPosition(ctx context.Context) (tape.Position, error) {
	p, err := d.positionData(ctx)
	if err != nil {
		return tape.Position{}, err
	}
	if p.Unknown || p.Partition > 0xFF {
		return tape.Position{}, d.fail("read position", tape.KindOther, nil, errors.New("the drive does not know where it is: rewind it"))
	}
	return tape.Position{Partition: tape.Partition(p.Partition), Block: tape.BlockNo(p.Block)}, nil
}

func (d *Drive) positionData(ctx context.Context) (PositionData, error) {
	p, err := d.positionForm(ctx, PositionLong)
	if refused(err) {
		p, err = d.positionForm(ctx, PositionShort)
	}
	return p, err
}

func (d *Drive) positionForm(ctx context.Context, f PositionForm) (PositionData, error) {
	if f == PositionLong && d.shortForm {
		f = PositionShort
	}
	buf := make([]byte, 32)
	if f == PositionShort {
		buf = buf[:20]
	}
	c := call{"read position", ReadPosition{f}, In, buf, d.times.Short}
	n, err := d.exec(ctx, c)
	for try := 0; tape.KindOf(err) == tape.UnitAttention && try < maxAttention; try++ {
		if s, _ := senseOf(err); d.unflushed && s.Code&0xFF00 == CodeReset&0xFF00 {
			d.unflushed = false
			return PositionData{}, d.fail("read position", tape.Deferred, nil, errors.WithMessage(err, "the drive was reset with records in its buffer"))
		} else if d.loaded && s.Code&0xFF00 == CodeMediumChanged&0xFF00 {
			d.loaded, d.changed = false, true
			return PositionData{}, err
		} else if c := s.Code & 0xFF00; (c == CodeReset&0xFF00 || c == CodeModeChanged&0xFF00) && d.loaded {
			if err := d.configure(ctx); err != nil {
				return PositionData{}, err
			}
		}
		n, err = d.exec(ctx, c)
	}
	if err != nil {
		return PositionData{}, err
	}
	p, err := ParsePosition(f, buf[:n])
	if err != nil {
		return p, d.fail("read position", tape.HardwareError, nil, err)
	}
	d.shortForm = f == PositionShort
	return p, nil
}

// Locate implements tape.Drive. A block beyond the end of data has Kind EndOfData.
func (d *Drive) Locate(ctx context.Context, to tape.Position) error {
	if d.count != nil {
		return d.countLocate(ctx, to)
	}
	if err := d.locate(ctx, to); err != nil {
		return err
	}
	d.pos, d.known = to, true
	return nil
}

func (d *Drive) locate(ctx context.Context, to tape.Position) error {
	// A drive without partitions may not know the bit that changes them.
	change := d.limits.Partitions > 1 || to.Partition != 0
	c := call{"locate", Locate16{ChangePartition: change, Partition: uint8(to.Partition), Block: uint64(to.Block)}, None, nil, d.times.Move}
	var err error
	if !d.locate10 {
		_, err = d.run(ctx, absolute, c)
		if s, ok := senseOf(err); ok && s.Is(IllegalKey, CodeInvalidOpcode) {
			d.locate10 = true
		}
	}
	if d.locate10 {
		// Its numbers have 32 bits: what is beyond them is beyond the end of data too.
		c.block = Locate10{ChangePartition: change, Partition: uint8(to.Partition), Block: uint32(min(to.Block, math.MaxUint32))}
		_, err = d.run(ctx, absolute, c)
	}
	if e, ok := err.(*tape.Error); ok {
		e.Position = to
	}
	return err
}

// LocateEnd implements tape.Drive. Inside a partition it spaces to the end. Into
// another partition it locates the largest block number, which every LTO drive answers with
// "end of data" once it is there: going to the other partition's beginning first
// would cost a second trip.
func (d *Drive) LocateEnd(ctx context.Context, p tape.Partition) error {
	if d.count != nil {
		return d.countEnd(ctx, p)
	}
	now, err := d.Position(ctx)
	if err != nil {
		return err
	}
	if now.Partition != p {
		err := d.locate(ctx, tape.Position{Partition: p, Block: math.MaxUint64})
		if err != nil && tape.KindOf(err) != tape.EndOfData {
			return err
		}
		if now, err = d.Position(ctx); err != nil {
			return err
		}
		if now.Partition != p {
			return d.place(d.fail("locate end", tape.HardwareError, nil, errors.Errorf("the drive went to partition %d instead of %d", now.Partition, p)))
		}
	}
	if _, err := d.run(ctx, relative, call{"space to the end", Space6{Code: SpaceEnd}, None, nil, d.times.Move}); err != nil {
		return err
	}
	_, err = d.Position(ctx)
	return err
}

// Rewind implements tape.Drive.
func (d *Drive) Rewind(ctx context.Context) error {
	if d.count != nil {
		return d.countRewind(ctx)
	}
	if _, err := d.run(ctx, relative, call{"rewind", Rewind{}, None, nil, d.times.Rewind}); err != nil {
		return err
	}
	d.pos.Block = 0 // the partition stays, if we knew it
	return nil
}

// SpaceFilemarks implements tape.Drive. If there are not so many filemarks the error has
// Kind EndOfData going forward; the head is at the end of what it met.
func (d *Drive) SpaceFilemarks(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	if d.count != nil {
		return d.countMarks(ctx, n)
	}
	var block CommandBlock = Space6{Code: SpaceFilemarks, Count: int32(n)}
	if n != int(int32(n)<<8>>8) {
		block = Space16{Code: SpaceFilemarks, Count: int64(n)}
	}
	_, err := d.run(ctx, relative, call{"space filemarks", block, None, nil, d.times.Move})
	d.known = false
	return err
}
