package scsi

import (
	"encoding/binary"

	"github.com/pkg/errors"
)

// Log pages.
const (
	LogPages      = 0x00
	LogVolume     = 0x17 // volume statistics
	LogTapeAlert  = 0x2E
	LogCapacity   = 0x31
	LogCumulative = 1 // page control: cumulative values
)

// Parameters of LogCapacity, in MiB.
const (
	CapacityRemaining0 = 0x0001
	CapacityRemaining1 = 0x0002
	CapacityMaximum0   = 0x0003
	CapacityMaximum1   = 0x0004
)

// LogParameter is one value of a log page.
type LogParameter struct {
	Code    uint16
	Control uint8
	Value   []byte
}

// Number reads a value of up to 8 bytes as a big-endian number.
func (p LogParameter) Number() uint64 {
	var n uint64
	for _, c := range p.Value[:min(len(p.Value), 8)] {
		n = n<<8 | uint64(c)
	}
	return n
}

// LogData is a log page.
type LogData struct {
	Page, Subpage uint8
	Parameters    []LogParameter
}

// Bytes encodes l.
func (l LogData) Bytes() []byte {
	b := []byte{l.Page & 0x3F, l.Subpage, 0, 0}
	if l.Subpage != 0 {
		b[0] |= 0x40
	}
	for _, p := range l.Parameters {
		b = binary.BigEndian.AppendUint16(b, p.Code)
		b = append(b, p.Control, byte(len(p.Value)))
		b = append(b, p.Value...)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-4))
	return b
}

// ParseLog decodes a log page. A page cut short by the allocation length gives
// the parameters that are whole. Values alias b.
func ParseLog(b []byte) (LogData, error) {
	if len(b) < 4 {
		return LogData{}, errors.Errorf("scsi: log page of %d bytes is shorter than its header", len(b))
	}
	l := LogData{Page: b[0] & 0x3F, Subpage: b[1]}
	b = b[4:min(len(b), 4+int(binary.BigEndian.Uint16(b[2:])))]
	for len(b) >= 4 && 4+int(b[3]) <= len(b) {
		n := 4 + int(b[3])
		l.Parameters = append(l.Parameters, LogParameter{binary.BigEndian.Uint16(b), b[2], b[4:n]})
		b = b[n:]
	}
	return l, nil
}

// Find returns the number in a parameter.
func (l LogData) Find(code uint16) (uint64, bool) {
	for _, p := range l.Parameters {
		if p.Code == code {
			return p.Number(), true
		}
	}
	return 0, false
}
