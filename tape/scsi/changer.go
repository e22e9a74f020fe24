package scsi

import (
	"context"
	stderrors "errors"
	"maps"
	"slices"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"

	"sliod/tape"
)

// ChangerOptions tune a Changer. The zero value is useful.
type ChangerOptions struct {
	Log      *logrus.Entry // nil: silent
	Timeouts *Timeouts     // nil: LTO9Timeouts
}

// Changer is a medium changer behind a Transport.
type Changer struct {
	turn     chan struct{} // holds one token: who has it may use dev and what follows
	dev      device
	inquiry  InquiryData
	separate bool            // VolTag and DVCID together were refused
	byType   bool            // the report of all types at once was not readable
	noRange  bool            // INITIALIZE ELEMENT STATUS WITH RANGE was refused
	looked   map[uint16]bool // elements that are not in order, and that it has looked at again
	mail     map[uint16]bool // import/export elements, as the last inventory saw them
}

var _ tape.Changer = (*Changer)(nil)

// NewChanger asks the device behind t what it is. It refuses one that is not a
// medium changer. t stays the caller's.
func NewChanger(t Transport, o ChangerOptions) (*Changer, error) {
	c := &Changer{turn: make(chan struct{}, 1), dev: newDevice(t, o.Log, o.Timeouts), looked: map[uint16]bool{}, mail: map[uint16]bool{}}
	c.turn <- struct{}{}
	var err error
	if c.inquiry, _, err = c.dev.inquire(context.Background()); err != nil && !refused(err) {
		return nil, err
	}
	if c.inquiry.Device != DeviceChanger {
		return nil, errors.Errorf("scsi: %s %s is a device of type %02x, not a medium changer", c.inquiry.Vendor, c.inquiry.Product, c.inquiry.Device)
	}
	return c, nil
}

// take waits for the turn.
func (c *Changer) take(ctx context.Context, op string) error {
	select {
	case <-c.turn:
		return nil
	case <-ctx.Done():
		return c.dev.fail(op, tape.KindOther, nil, ctx.Err())
	}
}

func (c *Changer) give() { c.turn <- struct{}{} }

// Inventory implements tape.Changer: all elements, by address. A library that has not
// looked at its elements yet is told to; and it looks again, once, at slots that it reports as
// not in order.
func (c *Changer) Inventory(ctx context.Context) ([]tape.Element, error) {
	if err := c.take(ctx, "inventory"); err != nil {
		return nil, err
	}
	defer c.give()
	es, err := c.report(ctx)
	if s, ok := senseOf(err); ok && s.Is(NotReadyKey, CodeNeedsLoad) {
		if err := c.initialize(ctx); err != nil {
			return nil, err
		}
		es, err = c.report(ctx)
	}
	if err != nil {
		return nil, err
	}
	if c.lookCloser(ctx, es) {
		if again, err := c.report(ctx); err == nil {
			es = again
		}
	}
	clear(c.mail)
	for a, e := range es {
		if tape.ElementKind(e.Type) == tape.ImportExport {
			c.mail[a] = true
		}
	}
	return sorted(es), nil
}

// lookCloser has the library look again at slots that it reports as not in order, each once,
// and says whether it did.
func (c *Changer) lookCloser(ctx context.Context, es map[uint16]ElementStatus) bool {
	looked := false
	for _, a := range slices.Sorted(maps.Keys(es)) {
		e := es[a]
		kind := tape.ElementKind(e.Type)
		if !e.Exception {
			delete(c.looked, a)
			continue
		}
		if c.looked[a] || c.noRange || kind != tape.Slot && kind != tape.ImportExport {
			continue
		}
		c.looked[a] = true
		_, err := c.dev.patient(ctx, call{"initialize element status with range", InitializeElementRange{Start: a, Count: 1}, None, nil, c.dev.times.Inventory})
		if refused(err) {
			c.noRange = true
			break
		}
		if err != nil {
			c.dev.log.WithError(err).Warnf("the library cannot look at element %d again", a)
			continue
		}
		looked = true
	}
	return looked
}

// report asks for all elements, with barcodes and the drives' serial numbers.
func (c *Changer) report(ctx context.Context) (map[uint16]ElementStatus, error) {
	count := 256 // enough for most; a report that is cut short says how long it is
	if m, err := c.dev.modeSense(ctx, PageElements, c.dev.patient); err == nil {
		if a, err := ParseElementAddresses(m.Find(PageElements)); err == nil {
			count = int(a.Arms.Count) + int(a.Slots.Count) + int(a.ImportExport.Count) + int(a.Drives.Count)
		}
	} else if !refused(err) {
		return nil, err
	}
	size := statusHeader + 4*pageHeader + count*128
	if !c.separate {
		es, err := c.elements(ctx, ReadElementStatus{VolumeTags: true, DeviceIDs: true, Current: true, Count: 0xFFFF}, size)
		if err == nil {
			return es, nil
		}
		if !refused(err) {
			return nil, err
		}
		c.separate = true
	}
	es, err := c.elements(ctx, ReadElementStatus{VolumeTags: true, Current: true, Count: 0xFFFF}, size)
	if err != nil {
		return nil, err
	}
	ids, err := c.status(ctx, ReadElementStatus{Type: uint8(tape.DriveElement), DeviceIDs: true, Current: true, Count: 0xFFFF}, size)
	if err != nil && !refused(err) { // old libraries cannot name their drives: the addresses must do
		return nil, err
	}
	for a, e := range ids {
		if have, ok := es[a]; ok {
			have.DeviceID = e.DeviceID
			es[a] = have
		}
	}
	return es, nil
}

// elements runs q for the elements of all types: with one command if the library
// answers that as it should, else with one for each type (tgt's report of all types has its
// pages in the wrong places).
func (c *Changer) elements(ctx context.Context, q ReadElementStatus, size int) (map[uint16]ElementStatus, error) {
	if !c.byType {
		es, err := c.status(ctx, q, size)
		if !stderrors.Is(err, errReport) {
			return es, err
		}
		c.dev.log.WithError(err).Debug("the library is asked for each type of element by itself")
		c.byType = true
	}
	all := map[uint16]ElementStatus{}
	for t := tape.Arm; t <= tape.DriveElement; t++ {
		q.Type = uint8(t)
		es, err := c.status(ctx, q, size)
		if s, ok := senseOf(err); ok && s.Is(IllegalKey, CodeInvalidElement) {
			continue // it has none of this type
		}
		if err != nil {
			return nil, err
		}
		maps.Copy(all, es)
	}
	return all, nil
}

// errReport says that an answer to READ ELEMENT STATUS contradicts itself.
var errReport = stderrors.New("the report of the elements is not readable")

// status runs q, with a larger buffer if the report does not fit.
func (c *Changer) status(ctx context.Context, q ReadElementStatus, size int) (map[uint16]ElementStatus, error) {
	for {
		size = min(size, max24)
		q.Alloc = uint32(size)
		buf := make([]byte, size)
		n, err := c.dev.patient(ctx, call{"read element status", q, In, buf, c.dev.times.Inventory})
		if err != nil {
			return nil, err
		}
		if n >= statusHeader && elementsTold(buf) == 0 {
			return nil, nil // what follows the header does not matter
		}
		list, all, err := ParseElements(buf[:n], q.DeviceIDs)
		if err == nil && all > n && all > size && size < max24 {
			size = all
			continue
		}
		if told := elementsTold(buf[:n]); err == nil && len(list) < told && all <= n {
			err = errors.Errorf("scsi: %d elements are announced, and %d reported", told, len(list))
		}
		if err != nil {
			return nil, c.dev.fail("read element status", tape.HardwareError, nil, errors.Wrap(errReport, err.Error()))
		}
		es := make(map[uint16]ElementStatus, len(list))
		for _, e := range list {
			es[e.Address] = e
		}
		return es, nil
	}
}

func sorted(es map[uint16]ElementStatus) []tape.Element {
	out := make([]tape.Element, 0, len(es))
	for _, a := range slices.Sorted(maps.Keys(es)) {
		out = append(out, es[a].Element())
	}
	return out
}

// Move implements tape.Changer. A unit attention means that the cartridge was not moved; what
// was known of the elements may be wrong then, so it is an error, unless it
// only tells of a reset. SLIOD never locks the doors of the library; where another program has
// locked the mail slots, they are released before a move from or to one.
func (c *Changer) Move(ctx context.Context, from, to uint16) error {
	if err := c.take(ctx, "move medium"); err != nil {
		return err
	}
	defer c.give()
	released := c.mail[from] || c.mail[to]
	if released {
		if err := c.release(ctx); err != nil {
			return err
		}
	}
	for try := 0; ; try++ {
		_, err := c.dev.exec(ctx, call{"move medium", MoveMedium{From: from, To: to}, None, nil, c.dev.times.Robot})
		if s, ok := senseOf(err); ok && s.Key == AttentionKey && s.Code&0xFF00 == CodeReset&0xFF00 && try < maxAttention {
			continue
		}
		if tape.KindOf(err) == tape.RemovalPrevented && !released {
			if released = true; c.release(ctx) == nil {
				continue
			}
		}
		if err != nil {
			return explain(err, "from element %d to element %d", from, to)
		}
		return nil
	}
}

// release lets the operator, and the arm, take cartridges out of the library (PREVENT ALLOW
// MEDIUM REMOVAL). A library that does not know the command has no locks.
func (c *Changer) release(ctx context.Context) error {
	_, err := c.dev.patient(ctx, call{"allow medium removal", PreventAllow{}, None, nil, c.dev.times.Short})
	if refused(err) {
		return nil
	}
	return err
}

// Initialize has the library look at all its elements, which can take an hour.
func (c *Changer) Initialize(ctx context.Context) error {
	if err := c.take(ctx, "initialize element status"); err != nil {
		return err
	}
	defer c.give()
	return c.initialize(ctx)
}

func (c *Changer) initialize(ctx context.Context) error {
	c.dev.log.Info("the library looks at all its elements; this can take a long time")
	_, err := c.dev.patient(ctx, call{"initialize element status", InitializeElementStatus{}, None, nil, c.dev.times.Inventory})
	return err
}
