package scsi

import (
	"encoding/binary"
	"strings"

	"github.com/pkg/errors"
)

// Vital product data pages, and device types.
const (
	PageSupported = 0x00
	PageSerial    = 0x80

	DeviceTape    = 0x01
	DeviceChanger = 0x08
)

// InquiryData is what INQUIRY says of a device.
type InquiryData struct {
	Device                    uint8
	Vendor, Product, Revision string // at most 8, 16 and 4 characters
}

// Bytes encodes q.
func (q InquiryData) Bytes() []byte {
	b := make([]byte, 36)
	b[0], b[1], b[2], b[3], b[4] = q.Device&0x1F, 0x80, 6, 2, 31 // removable, SPC-4, response format 2
	copyPadded(b[8:16], q.Vendor)
	copyPadded(b[16:32], q.Product)
	copyPadded(b[32:36], q.Revision)
	return b
}

// ParseInquiry decodes standard INQUIRY data.
func ParseInquiry(b []byte) (InquiryData, error) {
	if len(b) < 36 {
		return InquiryData{}, errors.Errorf("scsi: inquiry data of %d bytes, expected 36", len(b))
	}
	return InquiryData{b[0] & 0x1F, text(b[8:16]), text(b[16:32]), text(b[32:36])}, nil
}

// VitalPage encodes a page of vital product data.
func VitalPage(device, page uint8, data []byte) []byte {
	b := []byte{device & 0x1F, page, 0, 0}
	binary.BigEndian.PutUint16(b[2:], uint16(len(data)))
	return append(b, data...)
}

// ParseVital returns the data of a page of vital product data.
func ParseVital(page uint8, b []byte) ([]byte, error) {
	if len(b) < 4 || b[1] != page {
		return nil, errors.Errorf("scsi: %d bytes are not vital product data page %02x", len(b), page)
	}
	return b[4:min(len(b), 4+int(binary.BigEndian.Uint16(b[2:])))], nil
}

// BlockLimits is what READ BLOCK LIMITS answers.
type BlockLimits struct {
	Granularity uint8 // a length is a multiple of 2^Granularity
	Max         uint32
	Min         uint16
}

// Bytes encodes l.
func (l BlockLimits) Bytes() []byte {
	b := make([]byte, 6)
	b[0] = l.Granularity & 0x1F
	put24(b[1:], l.Max)
	binary.BigEndian.PutUint16(b[4:], l.Min)
	return b
}

// ParseBlockLimits decodes the answer to READ BLOCK LIMITS.
func ParseBlockLimits(b []byte) (BlockLimits, error) {
	if len(b) < 6 {
		return BlockLimits{}, errors.Errorf("scsi: block limits of %d bytes, expected 6", len(b))
	}
	return BlockLimits{b[0] & 0x1F, get24(b[1:]), binary.BigEndian.Uint16(b[4:])}, nil
}

// copyPadded copies s into b and fills the rest with blanks.
func copyPadded(b []byte, s string) {
	for i := copy(b, s); i < len(b); i++ {
		b[i] = ' '
	}
}

// text takes a fixed field's text without its padding.
func text(b []byte) string { return strings.Trim(string(b), " \x00") }
