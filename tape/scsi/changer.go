package scsi

import (
	"context"
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
	separate bool // VolTag and DVCID together were refused
}

var _ tape.Changer = (*Changer)(nil)

// NewChanger asks the device behind t what it is. It refuses one that is not a
// medium changer. t stays the caller's.
func NewChanger(t Transport, o ChangerOptions) (*Changer, error) {
	c := &Changer{turn: make(chan struct{}, 1), dev: newDevice(t, o.Log, o.Timeouts)}
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

// Inventory implements tape.Changer: all elements, by address.
func (c *Changer) Inventory(ctx context.Context) ([]tape.Element, error) {
	if err := c.take(ctx, "inventory"); err != nil {
		return nil, err
	}
	defer c.give()
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
		es, err := c.status(ctx, ReadElementStatus{VolumeTags: true, DeviceIDs: true, Current: true, Count: 0xFFFF}, size)
		if err == nil {
			return sorted(es), nil
		}
		if !refused(err) {
			return nil, err
		}
		c.separate = true
	}
	es, err := c.status(ctx, ReadElementStatus{VolumeTags: true, Current: true, Count: 0xFFFF}, size)
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
	return sorted(es), nil
}

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
		list, all, err := ParseElements(buf[:n], q.DeviceIDs)
		if err != nil {
			return nil, c.dev.fail("read element status", tape.HardwareError, nil, err)
		}
		if all > n && size < max24 && all > size {
			size = all
			continue
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
// only tells of a reset.
func (c *Changer) Move(ctx context.Context, from, to uint16) error {
	if err := c.take(ctx, "move medium"); err != nil {
		return err
	}
	defer c.give()
	for try := 0; ; try++ {
		_, err := c.dev.exec(ctx, call{"move medium", MoveMedium{From: from, To: to}, None, nil, c.dev.times.Robot})
		if s, ok := senseOf(err); ok && s.Key == AttentionKey && s.Code&0xFF00 == CodeReset&0xFF00 && try < maxAttention {
			continue
		}
		if err != nil {
			return explain(err, "from element %d to element %d", from, to)
		}
		return nil
	}
}

// Initialize has the library look at all its elements, which can take an hour.
func (c *Changer) Initialize(ctx context.Context) error {
	if err := c.take(ctx, "initialize element status"); err != nil {
		return err
	}
	defer c.give()
	_, err := c.dev.patient(ctx, call{"initialize element status", InitializeElementStatus{}, None, nil, c.dev.times.Inventory})
	return err
}
