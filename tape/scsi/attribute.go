package scsi

import (
	"encoding/binary"

	"github.com/pkg/errors"

	"sliod/tape"
)

// Attributes of the medium's memory that SLIOD reads (SPC-5).
const (
	AttrRemaining    = 0x0000 // in MiB, of a partition
	AttrMaximum      = 0x0001
	AttrLoadCount    = 0x0003
	AttrChangeRef    = 0x0009 // volume change reference
	AttrManufacturer = 0x0400
	AttrMediumSerial = 0x0401
	AttrMediumType   = 0x0408 // 1 byte
)

// Values of AttrMediumType.
const (
	MediumData     = 0x00
	MediumCleaning = 0x01
	MediumWORM     = 0x80
)

// Attribute is one attribute of the medium's memory.
type Attribute struct {
	ID       uint16
	ReadOnly bool
	Format   tape.AttributeFormat
	Value    []byte
}

// AppendAttributes encodes attributes with the 4 bytes of header that READ ATTRIBUTE
// and WRITE ATTRIBUTE have.
func AppendAttributes(b []byte, as ...Attribute) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	for _, a := range as {
		b = binary.BigEndian.AppendUint16(b, a.ID)
		b = append(b, bit(a.ReadOnly, 0x80)|byte(a.Format)&3)
		b = binary.BigEndian.AppendUint16(b, uint16(len(a.Value)))
		b = append(b, a.Value...)
	}
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

// ParseAttributes decodes what AppendAttributes encodes. Attributes that the
// header counts but that are cut short give an error after the whole ones.
// Values alias b.
func ParseAttributes(b []byte) ([]Attribute, error) {
	if len(b) < 4 {
		return nil, errors.Errorf("scsi: attribute data of %d bytes is shorter than its header", len(b))
	}
	n := int(binary.BigEndian.Uint32(b))
	b = b[4:]
	cut := n > len(b)
	if !cut {
		b = b[:n]
	}
	var as []Attribute
	for len(b) > 0 {
		if len(b) < 5 {
			cut = true
			break
		}
		end := 5 + int(binary.BigEndian.Uint16(b[3:]))
		if end > len(b) {
			cut = true
			break
		}
		as = append(as, Attribute{binary.BigEndian.Uint16(b), b[2]&0x80 != 0, tape.AttributeFormat(b[2] & 3), b[5:end]})
		b = b[end:]
	}
	if cut {
		return as, errors.New("scsi: attribute data cut short")
	}
	return as, nil
}
