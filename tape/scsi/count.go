package scsi

import (
	"context"
	"slices"

	"github.com/pkg/errors"

	"sliod/tape"
)

// counter is what a drive without LOCATE needs to keep the contract of
// tape.Drive: doc.go says how, and what it costs. It lives from Load to Unload,
// and knows the only partition from its beginning up to mapped.
//
// The position itself is Drive.pos, if Drive.known.
type counter struct {
	// marks are the block numbers of all filemarks below mapped, ascending.
	marks  []tape.BlockNo
	mapped tape.BlockNo
	// end is the end of data, if endKnown.
	end      tape.BlockNo
	endKnown bool

	style     spaceStyle
	noReverse bool // SPACE refuses negative counts
}

// spaceStyle is what SPACE over blocks does.
type spaceStyle uint8

const (
	_ spaceStyle = iota // nothing of it was seen yet
	// styleStops: it stops behind a filemark, and says how many blocks were left (SSC-5).
	styleStops
	// styleSilent: it runs over filemarks, counts them as blocks, and at the end of
	// data does not say how far it came. tgt does so.
	styleSilent
)

// maxSpace is the largest count of SPACE(6): 24 bits with a sign.
const maxSpace = 1<<23 - 1

// passed notes that the object at a block was seen.
func (c *counter) passed(at tape.BlockNo, mark bool) {
	if at != c.mapped {
		return // seen before, or with a gap before it
	}
	if mark {
		c.marks = append(c.marks, at)
	}
	c.mapped++
}

// spaced notes that SPACE went from one block to another and met no filemark.
func (c *counter) spaced(from, to tape.BlockNo) {
	if c.style == styleStops && from <= c.mapped && to > c.mapped {
		c.mapped = to
	}
}

// cut notes that what was at a block and behind it is gone, or may be.
func (c *counter) cut(at tape.BlockNo) {
	c.endKnown = false
	c.mapped = min(c.mapped, at)
	c.marks = c.marks[:c.before(at)]
}

// wrote notes that n objects were written at a block, and are the last.
func (c *counter) wrote(at tape.BlockNo, n int, mark bool) {
	c.cut(at)
	for i := range n {
		c.passed(at+tape.BlockNo(i), mark)
	}
	c.found(at + tape.BlockNo(n))
}

// canEnd says whether data can end at a block, by what is known. A drive that says
// so of another place is not where we think, or wrong.
func (c *counter) canEnd(at tape.BlockNo) bool {
	return at >= c.mapped && (!c.endKnown || at == c.end)
}

// found notes where the end of data is.
func (c *counter) found(end tape.BlockNo) {
	c.end, c.endKnown = end, true
}

// before counts the filemarks that are known before a block.
func (c *counter) before(at tape.BlockNo) int {
	n, _ := slices.BinarySearch(c.marks, at)
	return n
}

// whole says whether all filemarks are known.
func (c *counter) whole() bool { return c.endKnown && c.mapped >= c.end }

// startCounting is for a drive that was found to have no LOCATE.
func (d *Drive) startCounting(ctx context.Context) error {
	d.log.Info("the drive has no LOCATE, or its READ POSITION is not true: blocks are counted from the beginning of the tape, and the first search for the end of data reads or spaces over all of it")
	d.count = &counter{}
	d.limits.HasLocate, d.limits.Partitions = false, 1
	return d.countRewind(ctx)
}

func (d *Drive) countRewind(ctx context.Context) error {
	if _, err := d.run(ctx, absolute, call{"rewind", Rewind{}, None, nil, d.times.Rewind}); err != nil {
		return err
	}
	d.pos, d.known, d.writeAt = tape.Position{}, true, nowhere
	return nil
}

// countPosition gives the position that was counted. If an error made it unknown there is
// no way to ask the drive: it is rewound, and that is where it is then.
func (d *Drive) countPosition(ctx context.Context) (tape.Position, error) {
	if !d.known {
		if err := d.countRewind(ctx); err != nil {
			return tape.Position{}, err
		}
	}
	return d.pos, nil
}

// countLocate is Locate by SPACE over blocks from where the head is, or from
// the beginning.
func (d *Drive) countLocate(ctx context.Context, to tape.Position) error {
	if to.Partition != 0 {
		return d.place(d.fail("locate", tape.IllegalRequest, nil, errors.Errorf("partition %d wanted, without LOCATE there is only partition 0", to.Partition)))
	}
	c := d.count
	if c.endKnown && to.Block >= c.end {
		if err := d.countToEnd(ctx); err != nil || to.Block == c.end {
			return err
		}
		return d.pastEnd(to)
	}
	if _, err := d.countPosition(ctx); err != nil {
		return err
	}
	if back := d.pos.Block - to.Block; to.Block < d.pos.Block {
		if c.noReverse || back > to.Block {
			if err := d.countRewind(ctx); err != nil {
				return err
			}
		} else if err := d.countBack(ctx, to.Block); err != nil {
			return err
		}
	}
	return d.countForward(ctx, to.Block)
}

func (d *Drive) pastEnd(to tape.Position) error {
	return &tape.Error{Op: "locate", Drive: d.serial, Kind: tape.EndOfData, Position: to,
		Err: errors.Errorf("block %d wanted, data ends at block %d", to.Block, d.count.end)}
}

// countForward goes from a known position to a block that is not before it.
func (d *Drive) countForward(ctx context.Context, to tape.BlockNo) error {
	c := d.count
	for d.pos.Block < to {
		from := d.pos.Block
		step := min(to-from, maxSpace)
		mark, err := d.countSpace(ctx, int32(step))
		switch {
		case err == nil && !mark:
			c.spaced(from, d.pos.Block)
		case err == nil:
			c.spaced(from, d.pos.Block-1)
			c.passed(d.pos.Block-1, true)
		case tape.KindOf(err) != tape.EndOfData:
			return err
		case d.known: // it said how far it came
			c.spaced(from, d.pos.Block)
			c.found(d.pos.Block)
			if d.pos.Block == to {
				return nil
			}
			return d.pastEnd(tape.Position{Block: to})
		default: // at the end of data, whose number nobody knows
			c.style = styleSilent
			if err := d.countByReading(ctx, allObjects); err != nil {
				return err
			}
			if d.pos.Block == to {
				return nil
			}
			return d.pastEnd(tape.Position{Block: to})
		}
	}
	return nil
}

// countBack goes back from a known position to a block before it.
func (d *Drive) countBack(ctx context.Context, to tape.BlockNo) error {
	for d.pos.Block > to {
		_, err := d.countSpace(ctx, -int32(min(d.pos.Block-to, maxSpace)))
		if refused(err) {
			d.count.noReverse = true
			return d.countRewind(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// countSpace runs SPACE over n blocks, backward if n is negative, from a known
// position, and counts what it says that it passed. mark: it stopped at a filemark, having
// passed it. At the end of data the error has Kind EndOfData; if the drive did
// not say how far it came the position is not known, else it is the end.
func (d *Drive) countSpace(ctx context.Context, n int32) (mark bool, err error) {
	from := d.pos.Block
	d.writeAt = nowhere
	_, err = d.run(ctx, relative, call{"space blocks", Space6{Code: SpaceBlocks, Count: n}, None, nil, d.times.Move})
	if err == nil {
		d.pos.Block += tape.BlockNo(int64(n))
		return false, nil
	}
	kind := tape.KindOf(err)
	s, ok := senseOf(err)
	if !ok || kind != tape.Filemark && kind != tape.EndOfData {
		return false, err
	}
	if !s.InfoValid {
		if kind == tape.EndOfData && n > 0 {
			return false, err
		}
		return false, d.fail("space blocks", tape.HardwareError, nil, errors.WithMessage(err, "the drive stopped and does not say where: it cannot be used without LOCATE"))
	}
	left := s.Info
	if left < 0 {
		left = -left
	}
	done := int64(n)
	if n < 0 {
		done = -done
	}
	done -= left
	if kind == tape.Filemark {
		done++
	}
	if n < 0 {
		done = -done
	}
	if goal := int64(from) + done; left > int64(maxSpace) || goal < 0 || n > 0 && done < 0 || n < 0 && done > 0 {
		return false, d.fail("space blocks", tape.HardwareError, nil, errors.WithMessagef(err, "%d blocks left of %d cannot be", left, n))
	}
	d.pos.Block = tape.BlockNo(int64(from) + done)
	if kind == tape.EndOfData && !d.count.canEnd(d.pos.Block) {
		return false, d.fail("space blocks", tape.HardwareError, nil, errors.WithMessagef(err, "data cannot end at block %d: the drive is not where it ought to be", d.pos.Block))
	}
	d.known = true
	if kind == tape.Filemark {
		d.count.style = styleStops
		return true, nil
	}
	return false, err
}

// countToEnd goes to the end of data, which is known.
func (d *Drive) countToEnd(ctx context.Context) error {
	c := d.count
	if c.end == 0 {
		return d.countRewind(ctx)
	}
	if d.known && d.pos.Block == c.end && d.pos == d.writeAt {
		return nil // where we are writing
	}
	// Else it is told to go there even if it should be there: so what is written next goes
	// behind all data, whatever we counted.
	if _, err := d.run(ctx, absolute, call{"space to the end", Space6{Code: SpaceEnd}, None, nil, d.times.Move}); err != nil {
		return err
	}
	d.pos, d.known = tape.Position{Block: c.end}, true
	return nil
}

// countEnd is LocateEnd. The number of the end is counted once after a load.
func (d *Drive) countEnd(ctx context.Context, p tape.Partition) error {
	if p != 0 {
		return d.place(d.fail("locate end", tape.IllegalRequest, nil, errors.Errorf("partition %d wanted, without LOCATE there is only partition 0", p)))
	}
	if !d.count.endKnown {
		if err := d.countMap(ctx, func(c *counter) bool { return c.endKnown }); err != nil {
			return err
		}
	}
	return d.countToEnd(ctx)
}

// countMarks is SpaceFilemarks: by the map, as SPACE over filemarks does not say
// how many blocks it passed (and tgt's goes one too far backward).
func (d *Drive) countMarks(ctx context.Context, n int) error {
	at, err := d.countPosition(ctx)
	if err != nil {
		return err
	}
	c := d.count
	if err := d.countMap(ctx, func(c *counter) bool {
		return c.mapped >= at.Block && (n < 0 || len(c.marks) >= c.before(at.Block)+n)
	}); err != nil {
		return err
	}
	k := c.before(at.Block) + n
	switch {
	case n < 0 && k < 0:
		if err := d.countRewind(ctx); err != nil {
			return err
		}
		return d.fail("space filemarks", tape.KindOther, nil, errors.Errorf("%d filemarks back wanted, there are %d", -n, k-n))
	case n < 0:
		return d.countLocate(ctx, tape.Position{Block: c.marks[k]})
	case k > len(c.marks):
		if err := d.countToEnd(ctx); err != nil {
			return err
		}
		return &tape.Error{Op: "space filemarks", Drive: d.serial, Kind: tape.EndOfData, Position: d.pos,
			Err: errors.Errorf("%d filemarks wanted, there are %d before the end of data", n, len(c.marks)-(k-n))}
	}
	return d.countLocate(ctx, tape.Position{Block: c.marks[k-1] + 1})
}

// countMap extends the map until it is enough for the caller, or whole. The head
// ends anywhere.
func (d *Drive) countMap(ctx context.Context, enough func(*counter) bool) error {
	c := d.count
	for !c.whole() && !enough(c) {
		if c.style == styleSilent {
			return d.countByReading(ctx, enough)
		}
		if err := d.countLocate(ctx, tape.Position{Block: c.mapped}); err != nil {
			return err
		}
		if c.style == styleSilent || c.whole() {
			continue // found out on the way
		}
		// Until the drive has stopped at a filemark nobody knows that it does: what it
		// passes goes into the map when it is certain.
		start := d.pos.Block
		for mark := false; !mark; {
			var err error
			if mark, err = d.countSpace(ctx, maxSpace); err == nil {
				continue
			}
			if tape.KindOf(err) != tape.EndOfData {
				return err
			}
			if !d.known {
				c.style = styleSilent
				break
			}
			c.mapped = d.pos.Block
			c.found(d.pos.Block)
			return nil
		}
		if c.style == styleStops && c.mapped == start {
			c.mapped = d.pos.Block - 1
			c.passed(d.pos.Block-1, true)
		}
	}
	return nil
}

// allObjects asks for the map of all that is on the tape.
func allObjects(*counter) bool { return false }

// countByReading extends the map by reading, one record after the other: the last
// resort, at the speed of the tape. Only the first byte of a record is
// transferred.
func (d *Drive) countByReading(ctx context.Context, enough func(*counter) bool) error {
	c := d.count
	if !d.known || d.pos.Block != c.mapped {
		// Not by countLocate: the end of data may be where we want to go, and this
		// drive would not say that it came so far.
		if err := d.countRewind(ctx); err != nil {
			return err
		}
		if c.mapped > 1 {
			if err := d.countForward(ctx, c.mapped-1); err != nil {
				return err
			}
		}
	}
	buf := make([]byte, 1)
	for !enough(c) {
		_, err := d.ReadBlock(ctx, buf)
		switch tape.KindOf(err) {
		case tape.Filemark, tape.BadBlockLength:
		case tape.EndOfData:
			if !d.known {
				return err
			}
			c.found(d.pos.Block)
			return nil
		default:
			if err != nil {
				return err
			}
		}
	}
	return nil
}
