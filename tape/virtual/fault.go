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
	// ErrLost is what a fault with Lost gives.
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
	sense *scsi.Sense
	lost  bool
}

// Fail has the command answer s. Before the command, it is not carried out;
// after it, only its answer changes.
func (e Event) Fail(s scsi.Sense) { e.out.sense = &s }

// Lose has the transport fail: nobody knows what became of the command.
func (e Event) Lose() { e.out.lost = true }

// Fault makes commands fail without a hook.
type Fault struct {
	Device int          // drive number, Changer or AnyDrive
	Opcode byte         // of the commands meant
	Volume tape.Barcode // only with this volume in the drive; "": any
	Nth    int          // the first of them that fails, from 1 (0: the same)
	Times  int          // how many fail (0: one; -1: all from then on)
	Sense  scsi.Sense   // the answer
	Lost   bool         // instead: the transport fails
	After  bool         // the command is carried out, and then fails
}

// SetFault adds a fault, and returns a function that takes it away.
func (l *Library) SetFault(f Fault) (remove func()) {
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

// SetUnreadable makes a block fail to be read with a medium error, or readable again. Writing
// it anew does not heal it.
func (l *Library) SetUnreadable(v tape.Barcode, at tape.Position, unreadable bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if unreadable {
		l.unreadable[blockAddress{v, at}] = true
	} else {
		delete(l.unreadable, blockAddress{v, at})
	}
}

func (l *Library) isUnreadable(v tape.Barcode, at tape.Position) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.unreadable) > 0 && l.unreadable[blockAddress{v, at}]
}

// before counts a command, waits while the device hangs, and asks hook and
// faults.
func (l *Library) before(ctx context.Context, e *Event, timeout time.Duration) error {
	l.mu.Lock()
	k := commandKey{e.Device, e.Opcode}
	l.counts[k]++
	e.Nth = l.counts[k]
	hang := l.hangs[e.Device]
	l.mu.Unlock()
	if hang != nil {
		var timer <-chan time.Time
		if timeout > 0 {
			t := time.NewTimer(timeout)
			defer t.Stop()
			timer = t.C
		}
		select {
		case <-hang:
		case <-timer:
			return errors.WithStack(ErrTimeout)
		case <-ctx.Done():
			return errors.WithStack(ctx.Err())
		case <-l.closing:
			return errors.WithStack(ErrClosed)
		}
	}
	return l.point(e)
}

// point is one stop point.
func (l *Library) point(e *Event) error {
	e.out = &outcome{}
	l.mu.Lock()
	hook := l.hook
	for _, f := range l.faults {
		if f.After != e.After || f.Opcode != e.Opcode || f.Volume != "" && f.Volume != e.Volume ||
			f.Device != e.Device && !(f.Device == AnyDrive && e.Device >= 0) {
			continue
		}
		if f.Nth > 1 {
			f.Nth--
		} else if f.Times != 0 {
			f.Times--
			e.out.lost = e.out.lost || f.Lost
			if !f.Lost {
				s := f.Sense
				e.out.sense = &s
			}
		}
	}
	l.mu.Unlock()
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
