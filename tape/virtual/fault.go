package virtual

import (
	"context"
	stderrors "errors"
	"slices"
	"time"

	"github.com/pkg/errors"

	"sliod/tape"
	"sliod/tape/scsi"
)

// Devices that are no drive number.
const (
	Changer  = -1
	AnyDrive = -2
)

// Errors of the transports.
var (
	ErrClosed = stderrors.New("virtual: the library is closed")
	// ErrLost is what a fault with Lost gives, and what a device that died, or has no power, does.
	ErrLost = stderrors.New("virtual: the connection to the device was lost (injected)")
	// ErrTimeout: a device hung for longer than the command's timeout.
	ErrTimeout = stderrors.New("virtual: the device gave no answer within the command's timeout")
)

// Event is a stop point: a command that is about to run, or was run. The hook
// is called by the goroutine that runs the command: while it blocks, the device is
// busy. It must not use the same device.
type Event struct {
	Device   int // the drive's number from 0, or Changer
	After    bool
	Opcode   byte
	CDB      []byte
	Nth      uint64 // commands with this opcode that the device got since Open, this one included
	Volume   tape.Barcode
	Position tape.Position // of a drive with a volume, before or after the command

	out *outcome
}

// outcome is what hooks and faults want to become of a command.
type outcome struct {
	sense   *scsi.Sense
	lost    bool
	flips   []int64
	drop    bool
	effects []Effect
}

// Fail has the command answer s. Before the command, it is not carried out;
// after it, only its answer changes.
func (e Event) Fail(s scsi.Sense) { e.out.sense = &s }

// Lose has the transport fail: nobody knows what became of the command.
func (e Event) Lose() { e.out.lost = true }

// Flip turns a bit over in what the command carries: bit 0 is the lowest of the first byte. On
// the way to the device if called before the command, on the way back if after.
func (e Event) Flip(bit int64) { e.out.flips = append(e.out.flips, bit) }

// Fault makes commands fail without a hook, or something happen at them.
type Fault struct {
	Device  int          // drive number, Changer or AnyDrive
	Opcode  byte         // of the commands meant
	Also    byte         // another opcode of the commands meant; 0: none
	Action  byte         // of those that share an opcode: the service action; 0: any
	Any     bool         // every command, whatever its opcode
	Volume  tape.Barcode // only with this volume in the drive, or in the arm; "": any
	Nth     int          // the first of them that fails, from 1 (0: the same)
	Times   int          // how many fail (0: one; -1: all from then on)
	Sense   scsi.Sense   // the answer
	Lost    bool         // instead: the transport fails
	After   bool         // the command is carried out, and then fails
	Effects []Effect     // instead: what happens
	Now     bool         // the effects happen when the fault is set, and no command is meant
}

// hits reports whether the command of e is meant.
func (f *Fault) hits(e *Event) bool {
	if f.After != e.After || f.Volume != "" && f.Volume != e.Volume || f.Device != e.Device && !(f.Device == AnyDrive && e.Device >= 0) {
		return false
	}
	if !f.Any && f.Opcode != e.Opcode && (f.Also == 0 || f.Also != e.Opcode) {
		return false
	}
	return f.Action == 0 || len(e.CDB) > 1 && e.CDB[1]&0x1F == f.Action
}

// SetFault adds a fault, and returns a function that takes it away.
func (l *Library) SetFault(f Fault) (remove func()) {
	if f.Now {
		for _, x := range f.Effects {
			x.happen(l, f.Device)
		}
		return func() {}
	}
	f.Nth = max(f.Nth, 1)
	if f.Times == 0 {
		f.Times = 1
	}
	p := &f
	l.mu.Lock()
	l.faults = append(l.faults, p)
	l.mu.Unlock()
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.faults = slices.DeleteFunc(l.faults, func(q *Fault) bool { return q == p })
	}
}

// Hook sets the function that every command calls before and after it runs;
// nil: none.
func (l *Library) Hook(fn func(Event)) {
	l.mu.Lock()
	l.hook = fn
	l.mu.Unlock()
}

// Hang has a drive (or Changer) answer no command, until release is called. A
// command meanwhile waits for that, for its context, its timeout, or Close.
func (l *Library) Hang(device int) (release func()) {
	c := make(chan struct{})
	l.mu.Lock()
	old := l.hangs[device]
	l.hangs[device] = c
	l.mu.Unlock()
	if old != nil {
		close(old)
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.hangs[device] == c {
			delete(l.hangs, device)
			close(c)
		}
	}
}

type blockAddress struct {
	volume   tape.Barcode
	position tape.Position
}

// badBlock says what cannot be done with a block.
type badBlock struct{ read, write bool }

// SetUnreadable makes a block fail to be read with a medium error, or readable again. Writing
// it anew does not heal it.
func (l *Library) SetUnreadable(v tape.Barcode, at tape.Position, unreadable bool) {
	l.setBad(v, at, func(b *badBlock) { b.read = unreadable })
}

// SetUnwritable makes a block fail to be written with a medium error, or writable
// again.
func (l *Library) SetUnwritable(v tape.Barcode, at tape.Position, unwritable bool) {
	l.setBad(v, at, func(b *badBlock) { b.write = unwritable })
}

func (l *Library) setBad(v tape.Barcode, at tape.Position, set func(*badBlock)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bad[blockAddress{v, at}]
	if set(&b); b == (badBlock{}) {
		delete(l.bad, blockAddress{v, at})
	} else {
		l.bad[blockAddress{v, at}] = b
	}
}

func (l *Library) isBad(v tape.Barcode, at tape.Position) badBlock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.bad) == 0 {
		return badBlock{}
	}
	return l.bad[blockAddress{v, at}]
}

// before counts a command, waits while the device hangs, and asks hook and
// faults.
func (l *Library) before(ctx context.Context, e *Event, timeout time.Duration) error {
	l.mu.Lock()
	k := commandKey{e.Device, e.Opcode}
	l.counts[k]++
	e.Nth = l.counts[k]
	l.mu.Unlock()
	if err := l.waitHang(ctx, e.Device, timeout); err != nil {
		return err
	}
	if err := l.point(e); err != nil {
		return err
	}
	for _, x := range e.out.effects {
		if x.Hang > 0 { // this command is the first that hangs
			return l.waitHang(ctx, e.Device, timeout)
		}
	}
	return nil
}

// waitHang waits while a device hangs.
func (l *Library) waitHang(ctx context.Context, device int, timeout time.Duration) error {
	l.mu.Lock()
	hang := l.hangs[device]
	l.mu.Unlock()
	if hang == nil {
		return nil
	}
	var timer <-chan time.Time
	if timeout > 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-hang:
		return nil
	case <-timer:
		return errors.WithStack(ErrTimeout)
	case <-ctx.Done():
		return errors.WithStack(ctx.Err())
	case <-l.closing:
		return errors.WithStack(ErrClosed)
	}
}

// point is one stop point.
func (l *Library) point(e *Event) error {
	e.out = &outcome{}
	l.mu.Lock()
	hook := l.hook
	if !e.After && l.goneLocked(e.Device) {
		l.mu.Unlock()
		return errors.WithStack(ErrLost)
	}
	for _, f := range l.faults {
		if !f.hits(e) {
			continue
		}
		if f.Nth > 1 {
			f.Nth--
		} else if f.Times != 0 {
			f.Times = max(f.Times-1, -1)
			e.out.lost = e.out.lost || f.Lost
			e.out.effects = append(e.out.effects, f.Effects...)
			if !f.Lost && len(f.Effects) == 0 {
				s := f.Sense
				e.out.sense = &s
			}
		}
	}
	l.mu.Unlock()
	for _, x := range e.out.effects {
		if x.happen(l, e.Device) {
			e.out.lost = true
		}
		e.out.drop = e.out.drop || x.Drop
		if x.Flip {
			e.out.flips = append(e.out.flips, x.Bit)
		}
	}
	if hook != nil {
		hook(*e)
	}
	if e.out.lost {
		return errors.WithStack(ErrLost)
	}
	return nil
}

type commandKey struct {
	device int
	opcode byte
}

// answer puts sense data into a command.
func answer(c *scsi.Command, s *scsi.Sense) {
	if s != nil {
		c.Status, c.Sense = scsi.CheckCondition, s.Bytes()
	}
}
