package scsi

import (
	"context"
	stderrors "errors"
	"time"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"

	"sliod/tape"
)

// maxAttention bounds how many unit attentions in a row are taken: a device keeps
// a few of them, and one that has more is sick.
const maxAttention = 8

// maxBusy bounds how often a busy device is asked again.
const maxBusy = 30

// retryInterval is the pause before a device that is not ready is asked again.
const retryInterval = time.Second

// device runs commands and turns answers into errors. Its user sees to it that
// there is one at a time.
type device struct {
	t      Transport
	log    *logrus.Entry
	times  Timeouts
	serial string // of a drive, for errors
	cmd    Command
	guard  guard
	// lost is the unit attention that says that a drive's settings may be gone, until they are
	// made again; 0: they are as they were made.
	lost Code
	// swapped: the medium may have been changed, by a unit attention. Load clears it.
	swapped bool
}

// call is one command with all that is needed to run it.
type call struct {
	op      string
	block   CommandBlock
	dir     Direction
	data    []byte
	timeout time.Duration
}

// exec is send without a question before a busy device gets the command again.
func (d *device) exec(ctx context.Context, c call) (int, error) {
	return d.send(ctx, c, func(context.Context) error { return nil })
}

// send runs c once and returns how many bytes went over. A busy device gets it again, if again has no error. A recovered error
// is success. The error is a *tape.Error; if the device sent sense data, a
// *SenseError is in its chain.
func (d *device) send(ctx context.Context, c call, again func(context.Context) error) (int, error) {
	cdb := c.block.CDB()
	for busy := 0; ; busy++ {
		if err := ctx.Err(); err != nil {
			return 0, d.fail(c.op, tape.KindOther, nil, err)
		}
		d.cmd = Command{CDB: cdb, Dir: c.dir, Data: c.data, Timeout: c.timeout}
		armed := d.guard.arm(&d.cmd)
		err := d.t.Do(ctx, &d.cmd)
		d.cmd.Data, d.cmd.Tail = nil, nil // they belong to the caller again
		if err != nil {
			return 0, d.fail(c.op, tape.Disconnected, nil, errors.WithMessage(err, "the transport gave no answer"))
		}
		n := min(max(len(c.data)-d.cmd.Residual, 0), len(c.data))
		if armed {
			if n, err = d.guard.finish(&d.cmd, c.data); err != nil {
				return 0, d.fail(c.op, tape.ProtectionError, nil, err)
			}
		}
		switch d.cmd.Status {
		case Good:
			return n, nil
		case CheckCondition:
			s, ok := ParseSense(d.cmd.Sense)
			if !ok {
				return n, d.fail(c.op, tape.KindOther, d.cmd.Sense, errors.New("the sense data is not readable"))
			}
			if s.Key == RecoveredError {
				d.log.WithField("op", c.op).Warnf("recovered error %v", s)
				if !s.Deferred {
					return n, nil
				}
				if busy == maxBusy {
					return 0, d.fail(c.op, tape.HardwareError, d.cmd.Sense, errors.New("the device tells of recovered errors without an end"))
				}
				continue // an earlier command's; this one was not done (SPC-5, deferred errors)
			}
			d.noteLost(s)
			var cause error = &SenseError{s}
			if now := s; s.Deferred && s.Key == HardwareKey {
				now.Deferred = false
				cause = d.fail(c.op, now.Kind(), d.cmd.Sense, cause) // the drive's own trouble, and not the medium's
			}
			return n, d.fail(c.op, s.Kind(), d.cmd.Sense, cause)
		case Busy, TaskSetFull:
			if busy == maxBusy {
				return 0, d.fail(c.op, tape.NotReady, nil, errors.Errorf("still busy after %d attempts: is another host using it?", busy+1))
			}
			if err := pause(ctx, retryInterval); err != nil {
				return 0, d.fail(c.op, tape.KindOther, nil, err)
			}
			if err := again(ctx); err != nil {
				return 0, err
			}
		case ReservationConflict:
			return 0, d.fail(c.op, tape.IllegalRequest, nil, errors.New("reserved by another host"))
		default:
			return 0, d.fail(c.op, tape.KindOther, nil, errors.Errorf("status %02x", uint8(d.cmd.Status)))
		}
	}
}

// noteLost notes a unit attention that tells that settings are gone, or the medium, whoever hears it. A reset
// says more than a change of modes.
func (d *device) noteLost(s Sense) {
	if s.Key != AttentionKey || s.Deferred {
		return
	}
	switch s.Code & 0xFF00 {
	case CodeReset & 0xFF00:
		d.lost = s.Code
	case CodeModeChanged & 0xFF00:
		if d.lost == 0 {
			d.lost = s.Code
		}
	case CodeMediumChanged & 0xFF00:
		d.swapped = true
	}
}

func (d *device) fail(op string, k tape.Kind, sense []byte, cause error) error {
	return &tape.Error{Op: op, Drive: d.serial, Kind: k, Sense: append([]byte(nil), sense...), Err: cause}
}

// explain adds to the cause of an *tape.Error, which it stays.
func explain(err error, format string, args ...any) error {
	if e, ok := err.(*tape.Error); ok {
		e.Err = errors.WithMessagef(e.Err, format, args...)
	}
	return err
}

// senseOf returns the sense data behind err.
func senseOf(err error) (Sense, bool) {
	var e *SenseError
	if stderrors.As(err, &e) {
		return e.Sense, true
	}
	return Sense{}, false
}

// inquire asks what the device is and for its serial number.
func (d *device) inquire(ctx context.Context) (InquiryData, string, error) {
	buf := make([]byte, 96)
	n, err := d.patient(ctx, call{"inquiry", Inquiry{Alloc: 96}, In, buf, d.times.Short})
	if err != nil {
		return InquiryData{}, "", err
	}
	q, err := ParseInquiry(buf[:n])
	if err != nil {
		return q, "", d.fail("inquiry", tape.HardwareError, nil, err)
	}
	buf = make([]byte, 252)
	n, err = d.patient(ctx, call{"inquiry", Inquiry{VPD: true, Page: PageSerial, Alloc: 252}, In, buf, d.times.Short})
	if err != nil {
		return q, "", err
	}
	id, err := ParseVital(PageSerial, buf[:n])
	if err != nil {
		return q, "", d.fail("inquiry", tape.HardwareError, nil, err)
	}
	return q, text(id), nil
}

// patient runs a command that depends on no state: after unit attentions, and when it
// was aborted, it runs again.
func (d *device) patient(ctx context.Context, c call) (int, error) {
	for try := 0; ; try++ {
		n, err := d.exec(ctx, c)
		switch {
		case tape.KindOf(err) == tape.UnitAttention && try < maxAttention:
		case aborted(err) && try < maxAborted:
		default:
			return n, err
		}
	}
}

// modeSense reads a mode page with MODE SENSE(10), or (6) if the device knows
// only that.
func (d *device) modeSense(ctx context.Context, page uint8, run func(context.Context, call) (int, error)) (ModeData, error) {
	buf := make([]byte, 255)
	ten := true
	c := call{"mode sense", ModeSense{Ten: true, Page: page, Alloc: 255}, In, buf, d.times.Short}
	n, err := run(ctx, c)
	if s, ok := senseOf(err); ok && s.Is(IllegalKey, CodeInvalidOpcode) {
		ten = false
		c.block = ModeSense{Page: page, Alloc: 255}
		n, err = run(ctx, c)
	}
	if err != nil {
		return ModeData{}, err
	}
	m, err := ParseMode(ten, buf[:min(n, modeLength(ten, buf))])
	if err != nil {
		return m, d.fail("mode sense", tape.HardwareError, nil, err)
	}
	return m, nil
}

// modeLength is how many bytes of mode data there are by its own header.
func modeLength(ten bool, b []byte) int {
	if ten {
		return 2 + int(b[0])<<8 + int(b[1])
	}
	return 1 + int(b[0])
}

// pause waits, or returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
