package scsi

import (
	"context"
	"encoding/binary"

	"github.com/pkg/errors"

	"sliod/tape"
)

// ReadWraps is READ END OF WRAP POSITION (IBM LTO reference, LTO-7 and later).
type ReadWraps struct {
	All   bool  // the long form: every wrap
	Valid bool  // without All: of Wrap, else of the first one
	Wrap  uint8 // 0 with All
	Alloc uint32
}

const (
	wrapsHeader = 4
	wrapSize    = 12
	maxWraps    = 1024 // more than any tape has: 280 on LTO-9
	// noObject in a descriptor: nothing has been written at the end of the wrap.
	noObject = 1<<48 - 1
)

// CDB implements CommandBlock.
func (c ReadWraps) CDB() []byte {
	b := make([]byte, 12)
	b[0], b[1], b[2], b[3], b[5] = OpMaintenanceIn, actionWraps, wrapsOfTape, bit(c.Valid, 1)|bit(c.All, 2), c.Wrap
	binary.BigEndian.PutUint32(b[6:], c.Alloc)
	return b
}

func parseReadWraps(b []byte) (CommandBlock, error) {
	c := ReadWraps{b[3]&2 != 0, b[3]&1 != 0, b[5], binary.BigEndian.Uint32(b[6:])}
	if c.All && c.Valid || !c.Valid && c.Wrap != 0 {
		return nil, ErrField
	}
	return c, nil
}

// WrapsBytes encodes the long form. A negative End is a wrap whose end holds no data.
func WrapsBytes(ws []tape.WrapEnd) []byte {
	b := make([]byte, wrapsHeader, wrapsHeader+wrapSize*len(ws))
	binary.BigEndian.PutUint16(b, uint16(2+wrapSize*len(ws)))
	for _, w := range ws {
		b = binary.BigEndian.AppendUint16(b, uint16(w.Wrap))
		b = binary.BigEndian.AppendUint16(b, uint16(w.Partition))
		b = append(b, 0, 0)
		b = append48(b, uint64(w.End))
	}
	return b
}

// WrapBytes encodes the short form: the object at the end of one wrap.
func WrapBytes(end tape.BlockNo) []byte {
	return append48([]byte{0, 8, 0, 0}, uint64(end))
}

func append48(b []byte, v uint64) []byte {
	return append(b, byte(v>>40), byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// NoObject is the End of a wrap that holds no data at its end.
const NoObject tape.BlockNo = noObject

// ParseWraps decodes the long form, wraps without data included (NoObject). One
// that is cut short is an error.
func ParseWraps(b []byte) ([]tape.WrapEnd, error) {
	if len(b) < wrapsHeader {
		return nil, errors.Errorf("scsi: end of wrap positions of %d bytes are shorter than their header", len(b))
	}
	n := int(binary.BigEndian.Uint16(b)) - 2
	b = b[wrapsHeader:]
	if n < 0 || n > len(b) || n%wrapSize != 0 {
		return nil, errors.Errorf("scsi: end of wrap positions name %d bytes, %d follow", n, len(b))
	}
	var ws []tape.WrapEnd
	for b = b[:n]; len(b) > 0; b = b[wrapSize:] {
		p := binary.BigEndian.Uint16(b[2:])
		if p > 0xFF {
			return nil, errors.Errorf("scsi: a wrap in partition %d", p)
		}
		end := uint64(binary.BigEndian.Uint16(b[6:]))<<32 | uint64(binary.BigEndian.Uint32(b[8:]))
		ws = append(ws, tape.WrapEnd{Wrap: int(binary.BigEndian.Uint16(b)), Partition: tape.Partition(p), End: tape.BlockNo(end)})
	}
	return ws, nil
}

// learnWraps asks whether the drive tells where wraps end.
func (d *Drive) learnWraps(ctx context.Context) error {
	buf := make([]byte, wrapsHeader+6)
	_, err := d.ask(ctx, call{op: "read end of wrap position", block: ReadWraps{Alloc: uint32(len(buf))}, dir: In, data: buf, timeout: d.times.Short})
	if err != nil {
		var lacks bool
		if lacks, err = d.lacking(err); lacks || err != nil {
			return err
		}
	}
	d.limits.HasWraps = true // also if it has nothing to tell of this medium
	return nil
}

// Wraps implements tape.Drive.
func (d *Drive) Wraps(ctx context.Context) ([]tape.WrapEnd, error) {
	buf := make([]byte, wrapsHeader+wrapSize*maxWraps)
	n, err := d.ask(ctx, call{op: "read end of wrap position", block: ReadWraps{All: true, Alloc: uint32(len(buf))}, dir: In, data: buf, timeout: d.times.Short})
	if err != nil {
		return nil, err
	}
	all, err := ParseWraps(buf[:n])
	if err != nil {
		return nil, d.place(d.fail("read end of wrap position", tape.HardwareError, nil, err))
	}
	var ws []tape.WrapEnd
	for _, w := range all {
		if w.End == NoObject {
			continue
		}
		if len(ws) > 0 && w.Wrap <= ws[len(ws)-1].Wrap {
			return nil, d.place(d.fail("read end of wrap position", tape.HardwareError, nil, errors.Errorf("wrap %d follows wrap %d", w.Wrap, ws[len(ws)-1].Wrap)))
		}
		ws = append(ws, w)
	}
	return ws, nil
}
