package scsi

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/pkg/errors"
)

// ReportSupported is REPORT SUPPORTED OPERATION CODES (SPC-5), of all commands.
type ReportSupported struct {
	Timeouts bool // RCTD: with command timeouts
	Alloc    uint32
}

// CDB implements CommandBlock.
func (c ReportSupported) CDB() []byte {
	b := make([]byte, 12)
	b[0], b[1], b[2] = OpMaintenanceIn, actionSupported, bit(c.Timeouts, 0x80)
	binary.BigEndian.PutUint32(b[6:], c.Alloc)
	return b
}

func parseReportSupported(b []byte) (CommandBlock, error) {
	if b[2]&7 != 0 { // one command only
		return nil, ErrField
	}
	return ReportSupported{b[2]&0x80 != 0, binary.BigEndian.Uint32(b[6:])}, nil
}

// Supported is a command that a device knows.
type Supported struct {
	Opcode      byte
	Action      uint16 // if HasAction
	HasAction   bool
	Length      uint16 // of its command block
	HasTimeouts bool
	Nominal     uint32 // s; after it the device may still be at work
	Recommended uint32 // s; after it something is wrong. 0: not told
}

const (
	supportedSize = 8
	timeoutsSize  = 12
)

// SupportedBytes encodes the answer to ReportSupported.
func SupportedBytes(ss []Supported) []byte {
	b := make([]byte, 4)
	for _, s := range ss {
		x := make([]byte, supportedSize)
		x[0], x[5] = s.Opcode, bit(s.HasTimeouts, 2)|bit(s.HasAction, 1)
		binary.BigEndian.PutUint16(x[2:], s.Action)
		binary.BigEndian.PutUint16(x[6:], s.Length)
		b = append(b, x...)
		if s.HasTimeouts {
			x := make([]byte, timeoutsSize)
			binary.BigEndian.PutUint16(x, timeoutsSize-2)
			binary.BigEndian.PutUint32(x[4:], s.Nominal)
			binary.BigEndian.PutUint32(x[8:], s.Recommended)
			b = append(b, x...)
		}
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// ParseSupported decodes it. What was cut short by the allocation length is left out.
func ParseSupported(b []byte) ([]Supported, error) {
	if len(b) < 4 {
		return nil, errors.Errorf("scsi: list of commands of %d bytes is shorter than its header", len(b))
	}
	b = b[4:min(uint64(len(b)), 4+uint64(binary.BigEndian.Uint32(b)))]
	var ss []Supported
	for len(b) >= supportedSize {
		s := Supported{Opcode: b[0], Action: binary.BigEndian.Uint16(b[2:]), HasAction: b[5]&1 != 0, HasTimeouts: b[5]&2 != 0, Length: binary.BigEndian.Uint16(b[6:])}
		b = b[supportedSize:]
		if s.HasTimeouts {
			if len(b) < timeoutsSize {
				break
			}
			n := 2 + int(binary.BigEndian.Uint16(b))
			if n < timeoutsSize {
				return nil, errors.Errorf("scsi: a timeouts descriptor of %d bytes", n)
			}
			s.Nominal, s.Recommended = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
			b = b[min(n, len(b)):]
		}
		ss = append(ss, s)
	}
	return ss, nil
}

// longest bounds what a drive may recommend: an erasure of an LTO-9 tape takes 21 hours, and nothing
// that SLIOD sends takes longer.
const longest = 24 * time.Hour

// learnTimeouts asks, once, how long the drive's commands may take. What it
// recommends counts where it is longer than our table.
func (d *Drive) learnTimeouts(ctx context.Context) error {
	if d.timed {
		return nil
	}
	buf := make([]byte, 16<<10)
	n, err := d.patient(ctx, call{"report commands", ReportSupported{Timeouts: true, Alloc: uint32(len(buf))}, In, buf, d.times.Short})
	if s, ok := senseOf(err); ok && s.Key == IllegalKey && !s.Deferred {
		d.timed = true
		return nil
	}
	if err != nil {
		return err
	}
	d.timed = true
	ss, err := ParseSupported(buf[:n])
	if err != nil {
		d.log.WithError(err).Warn("the drive's list of commands makes no sense and is left alone")
		return nil
	}
	d.times.raise(ss)
	return nil
}

// raise takes over what a device recommends where it is longer.
func (t *Timeouts) raise(ss []Supported) {
	for _, s := range ss {
		var field *time.Duration
		switch s.Opcode {
		case OpRead6:
			field = &t.Read
		case OpWrite6:
			field = &t.Write
		case OpWriteFilemarks6:
			field = &t.Filemarks
		case OpSpace6, OpSpace16, OpLocate10, OpLocate16:
			field = &t.Move
		case OpRewind:
			field = &t.Rewind
		case OpLoadUnload:
			field = &t.Load
		case OpFormatMedium:
			field = &t.Format
		case OpTestUnitReady, OpModeSense6, OpModeSense10, OpModeSelect6, OpModeSelect10, OpLogSense, OpReadAttribute, OpWriteAttribute, OpReadPosition:
			field = &t.Short
		default:
			continue
		}
		*field = max(*field, min(time.Duration(s.Recommended)*time.Second, longest))
	}
}
