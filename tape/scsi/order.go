package scsi

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/pkg/errors"

	"sliod/tape"
)

// The recommended access order (RAO) of IBM's LTO-9 and enterprise drives: GENERATE
// sends user data segments, RECEIVE gets them back in the order in which the drive
// would read them.
type (
	// GenerateOrder is GENERATE RECOMMENDED ACCESS ORDER.
	GenerateOrder struct {
		Process uint8 // 1: only estimate times; 2: reorder
		Type    uint8 // of segments; 0: without geometry
		Length  uint32
	}
	// ReceiveOrder is RECEIVE RECOMMENDED ACCESS ORDER.
	ReceiveOrder struct {
		Limits bool   // instead of the list: how many segments GENERATE takes
		Offset uint32 // into the list
		Alloc  uint32
		Type   uint8
	}
)

const (
	orderReorder = 2
	orderHeader  = 8
	segmentSize  = 32 // of a segment without geometry
	segmentName  = 10
)

// CDB implements CommandBlock.
func (c GenerateOrder) CDB() []byte {
	b := make([]byte, 12)
	b[0], b[1], b[2], b[3] = OpMaintenanceOut, actionOrder, c.Process&7, c.Type&7
	binary.BigEndian.PutUint32(b[6:], c.Length)
	return b
}

// CDB implements CommandBlock.
func (c ReceiveOrder) CDB() []byte {
	b := make([]byte, 12)
	b[0], b[1], b[10] = OpMaintenanceIn, actionOrder|bit(c.Limits, 0x80), c.Type&7
	binary.BigEndian.PutUint32(b[2:], c.Offset)
	binary.BigEndian.PutUint32(b[6:], c.Alloc)
	return b
}

func parseGenerateOrder(b []byte) (CommandBlock, error) {
	c := GenerateOrder{b[2] & 7, b[3] & 7, binary.BigEndian.Uint32(b[6:])}
	if c.Process != 1 && c.Process != orderReorder {
		return nil, ErrField
	}
	return c, nil
}

func parseReceiveOrder(b []byte) (CommandBlock, error) {
	return ReceiveOrder{b[1]&0x80 != 0, binary.BigEndian.Uint32(b[2:]), binary.BigEndian.Uint32(b[6:]), b[10] & 7}, nil
}

// OrderLimits is the answer to RECEIVE with its limits bit.
type OrderLimits struct {
	Segments uint16 // most that GENERATE takes
	Size     uint16 // bytes of the largest descriptor
}

// Bytes encodes l.
func (l OrderLimits) Bytes() []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, l.Segments), l.Size)
}

// ParseOrderLimits decodes what Bytes encodes.
func ParseOrderLimits(b []byte) (OrderLimits, error) {
	if len(b) < 4 {
		return OrderLimits{}, errors.Errorf("scsi: limits of the access order of %d bytes, expected 4", len(b))
	}
	return OrderLimits{binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])}, nil
}

// NamedSegment is a segment as GENERATE and RECEIVE carry it.
type NamedSegment struct {
	Name string // at most 10 bytes, chosen by the host
	tape.Segment
}

// OrderBytes encodes a list of segments. GENERATE sends it with process and status 0.
func OrderBytes(process, status uint8, ss []NamedSegment) []byte {
	b := make([]byte, orderHeader, orderHeader+segmentSize*len(ss))
	b[0], b[1] = process&7, status&7
	binary.BigEndian.PutUint32(b[4:], uint32(segmentSize*len(ss)))
	for _, s := range ss {
		d := make([]byte, segmentSize)
		binary.BigEndian.PutUint16(d, segmentSize-2)
		copy(d[5:5+segmentName], s.Name)
		d[15] = byte(s.Partition)
		binary.BigEndian.PutUint64(d[16:], uint64(s.First))
		binary.BigEndian.PutUint64(d[24:], uint64(s.Last))
		b = append(b, d...)
	}
	return b
}

// ParseOrder decodes a list of segments. Descriptors may be longer than SLIOD's, as
// those with geometry are. A list that is cut short is an error.
func ParseOrder(b []byte) ([]NamedSegment, error) {
	if len(b) < orderHeader {
		return nil, errors.Errorf("scsi: list of segments of %d bytes is shorter than its header", len(b))
	}
	n := uint64(binary.BigEndian.Uint32(b[4:]))
	b = b[orderHeader:]
	if n > uint64(len(b)) {
		return nil, errors.Errorf("scsi: list of segments names %d bytes, %d follow", n, len(b))
	}
	var ss []NamedSegment
	for b = b[:n]; len(b) > 0; {
		if len(b) < segmentSize {
			return nil, errors.New("scsi: list of segments cut short")
		}
		size := 2 + int(binary.BigEndian.Uint16(b))
		if size < segmentSize || size > len(b) {
			return nil, errors.Errorf("scsi: a segment's descriptor of %d bytes, %d follow", size, len(b))
		}
		ss = append(ss, NamedSegment{text(b[5 : 5+segmentName]), tape.Segment{
			Partition: tape.Partition(b[15]), First: tape.BlockNo(binary.BigEndian.Uint64(b[16:])), Last: tape.BlockNo(binary.BigEndian.Uint64(b[24:]))}})
		b = b[size:]
	}
	return ss, nil
}

// learnOrder asks whether the drive recommends an order, and of how many segments.
func (d *Drive) learnOrder(ctx context.Context) error {
	buf := make([]byte, 4)
	n, err := d.ask(ctx, call{op: "receive access order", block: ReceiveOrder{Limits: true, Alloc: uint32(len(buf))}, dir: In, data: buf, timeout: d.times.Short})
	if err != nil {
		_, err = d.lacking(err)
		return err
	}
	l, err := ParseOrderLimits(buf[:n])
	if err != nil || l.Segments == 0 || l.Size < segmentSize {
		d.log.WithError(err).Warnf("the drive's limits of the access order, %+v, make no sense: it is not asked for one", l)
		return nil
	}
	d.limits.HasOrder, d.limits.MaxSegments = true, int(l.Segments)
	return nil
}

// unable refuses what the drive need not be asked: the head stays where it is.
func (d *Drive) unable(op string, cause error) error {
	return &tape.Error{Op: op, Drive: d.serial, Position: d.pos, Kind: tape.IllegalRequest, Err: cause}
}

// Order implements tape.Drive. What the drive answers is checked: an order that is
// none has Kind HardwareError.
func (d *Drive) Order(ctx context.Context, segments []tape.Segment) ([]int, error) {
	if !d.limits.HasOrder {
		return nil, d.unable("order", errors.New("the drive recommends no order"))
	}
	if len(segments) > d.limits.MaxSegments {
		return nil, d.unable("order", errors.Errorf("%d segments: the drive takes %d", len(segments), d.limits.MaxSegments))
	}
	if len(segments) == 0 {
		return nil, nil
	}
	named := make([]NamedSegment, len(segments))
	for i, s := range segments {
		named[i] = NamedSegment{fmt.Sprintf("%0*d", segmentName, i), s}
	}
	data := OrderBytes(0, 0, named)
	if _, err := d.ask(ctx, call{op: "generate access order", block: GenerateOrder{Process: orderReorder, Length: uint32(len(data))}, dir: Out, data: data, timeout: d.times.Move}); err != nil {
		return nil, err
	}
	// Room for descriptors of twice the size: RECEIVE may add what the drive estimates.
	buf := make([]byte, orderHeader+2*segmentSize*len(segments))
	n, err := d.ask(ctx, call{op: "receive access order", block: ReceiveOrder{Alloc: uint32(len(buf))}, dir: In, data: buf, timeout: d.times.Move})
	if err != nil {
		return nil, err
	}
	order, err := permutation(buf[:n], segments)
	if err != nil {
		return nil, d.place(d.fail("receive access order", tape.HardwareError, nil, err))
	}
	return order, nil
}

// permutation reads an answer to Order and checks that it names each segment once.
func permutation(b []byte, segments []tape.Segment) ([]int, error) {
	ss, err := ParseOrder(b)
	if err != nil {
		return nil, err
	}
	if len(ss) != len(segments) {
		return nil, errors.Errorf("the drive put %d segments in order, %d were sent", len(ss), len(segments))
	}
	order, seen := make([]int, 0, len(ss)), make([]bool, len(ss))
	for _, s := range ss {
		i, err := strconv.Atoi(s.Name)
		if err != nil || i < 0 || i >= len(segments) || seen[i] || s.Segment != segments[i] {
			return nil, errors.Errorf("the drive's order holds segment %q %+v, which was not sent or comes twice", s.Name, s.Segment)
		}
		seen[i] = true
		order = append(order, i)
	}
	return order, nil
}
