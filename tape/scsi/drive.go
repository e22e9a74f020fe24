package scsi

import (
	"context"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"

	"sliod/tape"
)

// DriveOptions tune a Drive. The zero value is useful.
type DriveOptions struct {
	Log         *logrus.Entry // nil: silent
	Timeouts    *Timeouts     // nil: LTO9Timeouts
	MaxTransfer int           // most bytes that the transport carries; 0: no limit
}

// Drive is a tape drive behind a Transport. Like every tape.Drive it belongs to
// one goroutine.
type Drive struct {
	device
	maxTransfer int
	inquiry     InquiryData
	limits      tape.Limits
	loaded      bool
	changed     bool // the medium may be another: nothing goes on before Load or Unload
	shortForm   bool // READ POSITION knows only its short form

	pos       tape.Position
	known     bool  // pos is where the head is
	unflushed bool  // records were written since the last flush
	written   int64 // bytes written since limits.RemainingBytes was asked
}

var _ tape.Drive = (*Drive)(nil)

// NewDrive asks the device behind t what it is. It refuses one that is not a
// tape drive. The drive need not be loaded. t stays the caller's.
func NewDrive(t Transport, o DriveOptions) (*Drive, error) {
	d := &Drive{device: newDevice(t, o.Log, o.Timeouts), maxTransfer: o.MaxTransfer}
	var err error
	if d.inquiry, d.serial, err = d.inquire(context.Background()); err != nil {
		return nil, err
	}
	if d.inquiry.Device != DeviceTape {
		return nil, errors.Errorf("scsi: %s %s is a device of type %02x, not a tape drive", d.inquiry.Vendor, d.inquiry.Product, d.inquiry.Device)
	}
	d.log = d.log.WithField("drive", d.serial)
	return d, nil
}

// Serial implements tape.Drive.
func (d *Drive) Serial() string { return d.serial }

// Inquiry says what the drive is.
func (d *Drive) Inquiry() InquiryData { return d.inquiry }

// Limits implements tape.Drive. RemainingBytes goes down with what is written,
// and is asked again at a flush.
func (d *Drive) Limits() tape.Limits {
	l := d.limits
	if l.RemainingBytes > 0 {
		l.RemainingBytes = max(l.RemainingBytes-d.written, 0)
	}
	return l
}

// motion says how a command relates to the place of the head.
type motion bool

const (
	absolute motion = false // it says itself where the head goes
	// relative: it begins where the head is, or leaves it there for the next.
	relative motion = true
)

// ask runs a command that only asks or tells the drive something. A reset that
// moved the head is not taken in silence: the next write would go astray.
func (d *Drive) ask(ctx context.Context, c call) (int, error) {
	if !d.loaded {
		return d.patient(ctx, c)
	}
	return d.run(ctx, relative, c)
}

// run runs a command. If a unit attention comes, the command was not done: run
// finds out whether all is as it was, and then does it again.
func (d *Drive) run(ctx context.Context, m motion, c call) (int, error) {
	if _, unload := c.block.(LoadUnload); d.changed && !unload {
		return 0, d.place(d.fail(c.op, tape.UnitAttention, nil, errors.New("the medium may have been changed: load it again")))
	}
	for try := 0; ; try++ {
		n, err := d.exec(ctx, c)
		if err == nil {
			return n, nil
		}
		if tape.KindOf(err) != tape.UnitAttention || try == maxAttention || !d.loaded {
			return n, d.place(err)
		}
		if err := d.attention(ctx, m, err); err != nil {
			return 0, d.place(err)
		}
	}
}

// attention decides what a unit attention means for the command that it came
// instead of: nil says, do it again.
func (d *Drive) attention(ctx context.Context, m motion, cause error) error {
	s, _ := senseOf(cause)
	expected, known := d.pos, d.known
	d.known = false
	d.log.Warnf("unit attention %v", s)
	switch s.Code & 0xFF00 {
	case CodeMediumChanged & 0xFF00:
		d.loaded, d.changed = false, true // until Load all that is known of the medium is void
		return cause
	case CodeReset & 0xFF00:
		if d.unflushed {
			d.unflushed = false
			return d.fail("write", tape.Deferred, nil, errors.WithMessage(cause, "the drive was reset with records in its buffer"))
		}
		if err := d.configure(ctx); err != nil {
			return err
		}
	}
	if m == absolute {
		d.known = false
		return nil
	}
	now, err := d.readPosition(ctx)
	if err != nil {
		return err
	}
	if !known || now != expected {
		return cause
	}
	d.pos, d.known = now, true
	return nil
}

// place adds the position to an error, as far as it is known, and forgets it.
func (d *Drive) place(err error) error {
	if e, ok := err.(*tape.Error); ok {
		e.Position = d.pos
	}
	if !refused(err) { // what is refused has moved nothing
		d.known = false
	}
	return err
}

func newDevice(t Transport, log *logrus.Entry, times *Timeouts) device {
	if log == nil {
		log = silent()
	}
	if times == nil {
		times = &LTO9Timeouts
	}
	return device{t: t, log: log, times: *times}
}
