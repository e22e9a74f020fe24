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
	// NoCompression turns the drive's compression off: for data that is compressed or encrypted already.
	NoCompression bool
	// EarlyWarningMB asks for an early warning that comes so many megabytes before the drive's own, if
	// the drive can; 0: as the drive is set.
	EarlyWarningMB uint16
	// NoProtection leaves logical block protection off: a checksum a record is saved, and
	// what turns over on the way to the drive is not seen.
	NoProtection bool
}

// Drive is a tape drive behind a Transport. Like every tape.Drive it belongs to
// one goroutine.
type Drive struct {
	device
	maxTransfer int
	// noProtection: see DriveOptions.
	noProtection bool
	// noCompression and earlyWarning: likewise.
	noCompression bool
	earlyWarning  uint16
	inquiry       InquiryData
	timed         bool  // the drive was asked for its timeouts
	capacityMB    int64 // of the medium by its density, in 10^6 bytes
	readOnly      bool  // the drive cannot write the medium's format
	limits        tape.Limits
	loaded        bool
	loading       bool       // Load is under way
	changed       bool       // the medium may be another: nothing goes on before Load or Unload
	shortForm     bool       // READ POSITION knows only its short form
	locate10      bool       // LOCATE(16) is not known
	count         *counter   // nil: the drive has LOCATE, and READ POSITION is true
	algorithm     *Algorithm // of encryption; nil: none that we use
	// keyTold: SetKey was called since Load, and the drive's encryption is to be what key says; nil: off.
	keyTold bool
	key     *tape.EncryptionKey

	pos   tape.Position
	known bool // pos is where the head is
	// appendOnly: the drive overwrites only where ALLOW OVERWRITE said so; not at writeAt,
	// behind the last record that we wrote.
	appendOnly bool
	writeAt    tape.Position
	unflushed  bool  // records were written since the last flush
	written    int64 // bytes written since limits.RemainingBytes was asked
}

var _ tape.Drive = (*Drive)(nil)

// NewDrive asks the device behind t what it is. It refuses one that is not a
// tape drive. The drive need not be loaded. t stays the caller's.
func NewDrive(t Transport, o DriveOptions) (*Drive, error) {
	d := &Drive{device: newDevice(t, o.Log, o.Timeouts), maxTransfer: o.MaxTransfer, noProtection: o.NoProtection,
		noCompression: o.NoCompression, earlyWarning: o.EarlyWarningMB}
	if t, ok := t.(TailCarrier); ok {
		d.guard.tails = t.CarriesTail()
	}
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
	switch c.block.(type) {
	case LoadUnload, PreventAllow:
	default:
		if d.changed {
			return 0, d.place(d.fail(c.op, tape.UnitAttention, nil, errors.New("the medium may have been changed: load it again")))
		}
		if !d.loaded && !d.loading { // some drives (tgt's) go on with a cartridge that was unloaded
			return 0, d.notLoaded(c.op)
		}
	}
	stayed := func(ctx context.Context) error { return d.stayed(ctx, m, c.op) }
	for try := 0; ; try++ {
		err := d.again(ctx, m, c)
		if err != nil {
			return 0, d.place(err)
		}
		n, err := d.send(ctx, c, stayed)
		if err == nil {
			return n, nil
		}
		if d.loading && tape.KindOf(err) == tape.UnitAttention && try < maxAttention {
			continue // it tells of what was before
		}
		if aborted(err) && try < maxAborted && d.unmoved(ctx, m) {
			d.log.WithError(err).Warn("the drive aborted a command: sending it again")
			continue
		}
		if tape.KindOf(err) != tape.UnitAttention || try == maxAttention || !d.loaded {
			return n, d.place(err)
		}
		if err := d.attention(ctx, m, err); err != nil {
			return 0, d.place(err)
		}
	}
}

// stayed is asked before a command goes once more to a drive that was busy. By SAM-5 it was not done then; if it was all
// the same, a second time would read or write a record beside its place.
func (d *Drive) stayed(ctx context.Context, m motion, op string) error {
	if m == absolute {
		return nil
	}
	return d.still(ctx, op, "it said that it was busy, and may have done the command all the same")
}

// still compares the drive's position with the one that we know, where both are known.
func (d *Drive) still(ctx context.Context, op, otherwise string) error {
	if !d.known || d.count != nil {
		return nil
	}
	now, err := d.readPosition(ctx)
	if err == nil && now != d.pos {
		err = d.fail(op, tape.HardwareError, nil, errors.Errorf("the drive is at block %v instead of %v: %s", now, d.pos, otherwise))
	}
	if k := tape.KindOf(err); k == tape.EndOfMedium || k == tape.EarlyWarning {
		// That is no answer to the question, and must not be taken for one to the write.
		err = d.fail(op, tape.HardwareError, nil, err)
	}
	return err
}

// again is called before a command. If the drive's settings are not certain, because a reset
// was told to a command that does not care or because they could not be made, it has them
// made: nothing goes to a drive that may have lost its key or its checksums.
func (d *Drive) again(ctx context.Context, m motion, c call) error {
	switch c.block.(type) {
	case LoadUnload, PreventAllow:
		return nil
	}
	if !d.loaded || d.lost == 0 {
		return nil
	}
	return d.attention(ctx, m, d.fail(c.op, tape.UnitAttention, nil, &SenseError{Sense{Key: AttentionKey, Code: d.lost}}))
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
		if d.unflushed { // d.lost has the settings made before the next command
			d.unflushed = false
			return d.fail("write", tape.Deferred, nil, errors.WithMessage(cause, "the drive was reset with records in its buffer"))
		}
		if err := d.configure(ctx); err != nil {
			return err
		}
	case CodeModeChanged & 0xFF00:
		// By another host: without a look at the mode pages records could go out with
		// checksums that the drive takes for data.
		if err := d.configure(ctx); err != nil {
			return err
		}
	}
	if m == absolute {
		return nil
	}
	if d.count != nil {
		if s.Code&0xFF00 == CodeReset&0xFF00 {
			return cause // a reset can have rewound the tape, and there is nobody to ask
		}
		d.known = known
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

// place adds the position to an error, as far as it is known, and forgets it. What
// the drive refused, or we did before it was asked, has moved nothing.
func (d *Drive) place(err error) error {
	e, ok := err.(*tape.Error)
	if !ok {
		d.known = false
		return err
	}
	e.Position = d.pos
	if s, told := senseOf(err); told {
		d.known = d.known && s.Key == IllegalKey && !s.Deferred
		return err
	}
	switch e.Kind {
	case tape.IllegalRequest, tape.NotFound, tape.BadBlockLength, tape.WriteProtected:
	default:
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
