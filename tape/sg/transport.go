package sg

import (
	"context"
	stderrors "errors"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/pkg/errors"
	"golang.org/x/sys/unix"

	"sliod/tape/scsi"
)

// Transport carries commands to one device through its /dev/sg node. Do may be
// called from several goroutines; one command runs at a time.
type Transport struct {
	path   string
	limit  int
	port   port
	turn   chan struct{} // holds one token: who has it may use what follows
	frame  *frame
	pack   int32
	closed atomic.Bool
}

var _ scsi.Transport = (*Transport)(nil)

// port is the way to the kernel: tests put another in its place.
type port interface {
	// submit hands a command to the driver. An error means that it was not sent.
	submit(f *frame) error
	// await waits for the answer, which then lies in the frame. An error means that
	// there will be none.
	await(f *frame) error
	Close() error
}

func newTransport(path string, limit int, p port) *Transport {
	t := &Transport{path: path, limit: limit, port: p, turn: make(chan struct{}, 1), frame: new(frame)}
	t.turn <- struct{}{}
	return t
}

// Path is the device's node, such as "/dev/sg2".
func (t *Transport) Path() string { return t.path }

// MaxTransfer is the most bytes that the host carries with one command.
func (t *Transport) MaxTransfer() int { return t.limit }

// Do implements scsi.Transport. It waits for the device however long that takes, up to
// c.Timeout: ctx is looked at before the command only. Close ends the wait.
func (t *Transport) Do(ctx context.Context, c *scsi.Command) error {
	select {
	case <-t.turn:
	case <-ctx.Done():
		return errors.Wrapf(ctx.Err(), "sg: %s", t.path)
	}
	defer func() { t.turn <- struct{}{} }()
	if err := ctx.Err(); err != nil {
		return errors.Wrapf(err, "sg: %s", t.path)
	}
	switch {
	case len(c.CDB) < 6 || len(c.CDB) > maxCDB:
		return errors.Errorf("sg: %s: a command block of %d bytes: the driver takes 6 to %d", t.path, len(c.CDB), maxCDB)
	case c.Dir != scsi.None && len(c.Data) > t.limit:
		return errors.Errorf("sg: %s: command %02x with %d bytes of data: the host carries at most %d at once", t.path, c.CDB[0], len(c.Data), t.limit)
	}
	// The kernel keeps addresses of the frame and of the data from submit to await:
	// they must neither move nor be collected in between.
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(t.frame)
	if len(c.Data) > 0 {
		pin.Pin(&c.Data[0])
	}
	t.pack++
	t.frame.fill(c, t.pack)
	defer func() { t.frame.head.data = nil }() // the caller's again
	begin := time.Now()
	if err := t.port.submit(t.frame); err != nil {
		return errors.WithMessagef(t.explain(err), "sg: send command %02x to %s", c.CDB[0], t.path)
	}
	if err := t.port.await(t.frame); err != nil {
		return errors.WithMessagef(t.explain(err), "sg: wait for command %02x on %s, sent %v ago", c.CDB[0], t.path, time.Since(begin).Round(time.Millisecond))
	}
	if err := t.frame.answer(c); err != nil {
		return errors.WithMessagef(err, "command %02x on %s, after %v of at most %v", c.CDB[0], t.path,
			time.Since(begin).Round(time.Millisecond), time.Duration(t.frame.head.timeout)*time.Millisecond)
	}
	return nil
}

// Close implements scsi.Transport. A command that is under way is given up: what it did is
// not known.
func (t *Transport) Close() error {
	if t.closed.Swap(true) {
		return nil
	}
	return errors.Wrapf(t.port.Close(), "sg: close %s", t.path)
}

// explain says what the kernel's refusals mean here.
func (t *Transport) explain(err error) error {
	if t.closed.Load() {
		return errors.WithMessage(err, "the device was closed meanwhile")
	}
	for _, e := range []struct {
		errno error
		msg   string
	}{
		{unix.ENODEV, "the device is gone: its cable, its power, or its entry in the kernel"},
		{unix.ENXIO, "the kernel has taken the device offline"},
		{unix.ENOMEM, "the kernel has no memory for the transfer"},
		{unix.EPERM, "the kernel refuses this process; it needs CAP_SYS_RAWIO"},
	} {
		if stderrors.Is(err, e.errno) {
			return errors.WithMessage(err, e.msg)
		}
	}
	return err
}
