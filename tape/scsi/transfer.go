package scsi

import (
	"context"

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
	n, err := d.run(ctx, relative, call{"read block", Read6{Length: uint32(len(buf))}, In, buf, d.times.Read})
	if err == nil {
		d.pos.Block++
		return n, nil
	}
	s, ok := senseOf(err)
	if !ok || s.Deferred || s.Key != NoSense {
		return 0, err
	}
	switch {
	case s.Filemark:
		d.passed()
	case s.ILI && s.InfoValid && s.Info > 0 && s.Info <= int64(len(buf)):
		d.passed()
		return len(buf) - int(s.Info), nil
	case s.ILI:
		d.passed()
		return 0, explain(err, "the record is longer than the buffer of %d bytes", len(buf))
	case s.EOM && n > 0: // read, and the end of the medium is near: no news for a reader
		d.passed()
		return n, nil
	}
	return 0, err
}

// passed notes that the head went over one object in spite of an error, so that
// the next command can be checked against it.
func (d *Drive) passed() {
	d.pos.Block++
	d.known = true
}

// WriteBlock implements tape.Drive.
func (d *Drive) WriteBlock(ctx context.Context, p []byte) error {
	if len(p) == 0 || len(p) > max24 {
		return d.place(d.fail("write block", tape.BadBlockLength, nil, errors.Errorf("a record of %d bytes: give 1 to %d", len(p), max24)))
	}
	_, err := d.run(ctx, relative, call{"write block", Write6{Length: uint32(len(p))}, Out, p, d.times.Write})
	if err != nil {
		err = d.near(err)
		if tape.KindOf(err) != tape.EarlyWarning {
			return err
		}
	}
	d.unflushed = true
	d.pos.Block++
	d.written += int64(len(p))
	return err
}

// WriteFilemarks implements tape.Drive.
func (d *Drive) WriteFilemarks(ctx context.Context, n int) error {
	if n < 0 || n > max24 {
		return d.place(d.fail("write filemarks", tape.IllegalRequest, nil, errors.Errorf("%d filemarks: give 0 to %d", n, max24)))
	}
	_, err := d.run(ctx, relative, call{"write filemarks", WriteFilemarks6{Count: uint32(n)}, None, nil, d.times.Filemarks})
	if err != nil {
		err = d.near(err)
		if tape.KindOf(err) != tape.EarlyWarning {
			return err
		}
	}
	d.unflushed = false
	d.pos.Block += tape.BlockNo(n)
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
