package scsi

import (
	"context"
	"math"

	"github.com/pkg/errors"

	"sliod/tape"
)

const max24 = 1<<24 - 1

// ReadBlock implements tape.Drive. After BadBlockLength the head has passed the
// record, and the start of it is in buf.
//
// SILI stays off: with it a drive says nothing of a record that is too long,
// which would be data lost unseen. A short record then comes with
// CHECK CONDITION and the number of missing bytes.
func (d *Drive) ReadBlock(ctx context.Context, buf []byte) (int, error) {
	if len(buf) == 0 || len(buf) > max24 {
		return 0, d.place(d.fail("read block", tape.BadBlockLength, nil, errors.Errorf("a buffer of %d bytes: give 1 to %d", len(buf), max24)))
	}
	knew, c := d.known, d.count
	d.writeAt = nowhere
	if c != nil && knew && c.endKnown && d.pos.Block == c.end {
		return 0, &tape.Error{Op: "read block", Drive: d.serial, Kind: tape.EndOfData, Position: d.pos}
	}
	n, err := d.run(ctx, relative, call{"read block", Read6{Length: uint32(len(buf))}, In, buf, d.times.Read})
	if err == nil {
		d.passed(knew, false)
		return n, nil
	}
	s, ok := senseOf(err)
	if c != nil && ok && !s.Deferred && tape.KindOf(err) == tape.EndOfData {
		d.known = knew && c.canEnd(d.pos.Block) // the head did not move
	}
	if !ok || s.Deferred || s.Key != NoSense {
		return 0, err
	}
	switch {
	case s.Filemark:
		d.passed(knew, true)
	case s.ILI && s.InfoValid && s.Info > 0 && s.Info <= int64(len(buf)):
		d.passed(knew, false)
		return d.short(ctx, buf, len(buf)-int(s.Info))
	case s.ILI:
		d.passed(knew, false)
		return 0, explain(err, "the record is longer than the buffer of %d bytes", len(buf))
	case s.EOM && n > 0: // read, and the end of the medium is near: no news for a reader
		d.passed(knew, false)
		return n, nil
	}
	return 0, err
}

// short is called when a record of n bytes was read, shorter than buf. Some drives that
// count as old (tgt is one) then send as many bytes as are missing instead of those that there
// are: what may lack its end is read again, at its own length.
func (d *Drive) short(ctx context.Context, buf []byte, n int) (int, error) {
	if d.count == nil || !d.known || n <= len(buf)-n {
		return n, nil
	}
	if err := d.Locate(ctx, tape.Position{Partition: d.pos.Partition, Block: d.pos.Block - 1}); err != nil {
		return 0, err
	}
	return d.ReadBlock(ctx, buf[:n])
}

// passed notes that the head went over one object, be it with an error, so that the
// next command can be checked against it. knew: where it was before is known.
func (d *Drive) passed(knew, mark bool) {
	if d.count != nil && knew {
		d.count.passed(d.pos.Block, mark)
	}
	d.pos.Block++
	d.known = knew
}

// nowhere is no position.
var nowhere = tape.Position{Partition: math.MaxUint8, Block: math.MaxUint64}

// placed is called before a write. It refuses one at a place that a counting drive has
// lost: nobody can find it out without moving the head. It refuses WORM media: the index
// partition of an LTFS volume is overwritten. And it has a drive that only
// appends overwrite here, if this is not behind what we wrote last.
func (d *Drive) placed(ctx context.Context, op string) error {
	if d.count != nil && !d.known {
		return d.fail(op, tape.KindOther, nil, errors.New("the position is not known after an error: ask for it, or go where to write"))
	}
	if d.limits.WORM {
		return d.place(d.fail(op, tape.WriteProtected, nil, errors.New("the cartridge can be written once only (WORM), and is not written by this program")))
	}
	if !d.appendOnly || d.known && d.pos == d.writeAt {
		return nil
	}
	at, err := d.Position(ctx)
	if err != nil {
		return err
	}
	_, err = d.run(ctx, relative, call{"allow overwrite", AllowOverwrite{Mode: OverwriteHere, Partition: uint8(at.Partition), Block: uint64(at.Block)}, None, nil, d.times.Short})
	return err
}

// wrote tells the counter what became of a write of n objects at d.pos.
func (d *Drive) wrote(n int, mark bool, err error) {
	switch {
	case d.count == nil || n == 0:
	case err == nil || tape.KindOf(err) == tape.EarlyWarning:
		d.count.wrote(d.pos.Block, n, mark)
	default:
		d.count.cut(d.pos.Block)
	}
}

// WriteBlock implements tape.Drive.
func (d *Drive) WriteBlock(ctx context.Context, p []byte) error {
	if len(p) == 0 || len(p) > max24 {
		return d.place(d.fail("write block", tape.BadBlockLength, nil, errors.Errorf("a record of %d bytes: give 1 to %d", len(p), max24)))
	}
	if err := d.placed(ctx, "write block"); err != nil {
		return err
	}
	_, err := d.run(ctx, relative, call{"write block", Write6{Length: uint32(len(p))}, Out, p, d.times.Write})
	if err != nil {
		err = d.near(err)
	}
	if d.wrote(1, false, err); err != nil {
		if tape.KindOf(err) != tape.EarlyWarning {
			return err
		}
	}
	d.unflushed = true
	d.pos.Block++
	d.writeAt = d.pos
	d.written += int64(len(p))
	return err
}

// WriteFilemarks implements tape.Drive. What was counted is compared with where the drive is then: a catalog that
// says where records are must not be one off.
func (d *Drive) WriteFilemarks(ctx context.Context, n int) error {
	if n < 0 || n > max24 {
		return d.place(d.fail("write filemarks", tape.IllegalRequest, nil, errors.Errorf("%d filemarks: give 0 to %d", n, max24)))
	}
	if n > 0 {
		if err := d.placed(ctx, "write filemarks"); err != nil {
			return err
		}
	}
	_, err := d.run(ctx, relative, call{"write filemarks", WriteFilemarks6{Count: uint32(n)}, None, nil, d.times.Filemarks})
	if err != nil {
		err = d.near(err)
	}
	if d.wrote(n, true, err); err != nil {
		if tape.KindOf(err) != tape.EarlyWarning {
			return err
		}
	}
	d.unflushed = false
	if d.pos.Block += tape.BlockNo(n); n > 0 {
		d.writeAt = d.pos
	}
	if serr := d.still(ctx, "write filemarks", "records were lost, or written twice"); serr != nil {
		return d.place(serr)
	}
	if d.limits.CapacityBytes > 0 && d.written > 0 {
		if cerr := d.capacity(ctx); cerr != nil {
			switch tape.KindOf(cerr) {
			case tape.UnitAttention, tape.Deferred, tape.Disconnected:
				return cerr // the drive is not what it was
			}
			// The flush is done, and that is what the caller must know: the number
			// stays an estimate.
			d.log.WithError(cerr).Warn("could not ask for the remaining capacity")
		}
	}
	return err
}

// near looks closer at an early warning: the position is known after it, and
// one with something left over means that not all was written.
func (d *Drive) near(err error) error {
	e, ok := err.(*tape.Error)
	if !ok || e.Kind != tape.EarlyWarning {
		return err
	}
	if s, _ := senseOf(err); s.InfoValid && s.Info > 0 {
		e.Kind = tape.EndOfMedium
		return err
	}
	d.known = true
	return err
}
