package scsi

import (
	"encoding/binary"
	"fmt"
)

// Key is a sense key (SPC-5).
type Key uint8

// Sense keys.
const (
	NoSense        Key = 0x0
	RecoveredError Key = 0x1
	NotReadyKey    Key = 0x2
	MediumErrorKey Key = 0x3
	HardwareKey    Key = 0x4
	IllegalKey     Key = 0x5
	AttentionKey   Key = 0x6
	ProtectKey     Key = 0x7
	BlankCheck     Key = 0x8
	AbortedCommand Key = 0xB
	VolumeOverflow Key = 0xD
	Miscompare     Key = 0xE
)

// Code is an additional sense code and its qualifier: 0x2800 is 28h/00h.
type Code uint16

// Additional sense codes used by SLIOD.
const (
	CodeNone              Code = 0x0000
	CodeFilemark          Code = 0x0001
	CodeEndOfMedium       Code = 0x0002
	CodeBeginning         Code = 0x0004
	CodeEndOfData         Code = 0x0005
	CodeProgrammable      Code = 0x0007 // programmable early warning
	CodeInProgress        Code = 0x0016 // operation in progress
	CodeCleaning          Code = 0x0017
	CodeBecomingReady     Code = 0x0401
	CodeNeedsLoad         Code = 0x0402
	CodeWriteError        Code = 0x0C00
	CodeProtectionFailed  Code = 0x1001
	CodeReadError         Code = 0x1100
	CodeParameterLength   Code = 0x1A00
	CodeInvalidOpcode     Code = 0x2000
	CodeInvalidElement    Code = 0x2101
	CodeInvalidField      Code = 0x2400
	CodeInvalidParameter  Code = 0x2600
	CodeWriteProtected    Code = 0x2700
	CodeMediumChanged     Code = 0x2800
	CodeImportExport      Code = 0x2801
	CodeReset             Code = 0x2900
	CodeModeChanged       Code = 0x2A01
	CodeCleaningCartridge Code = 0x3003
	CodeNoMedium          Code = 0x3A00
	CodeDestinationFull   Code = 0x3B0D
	CodeSourceEmpty       Code = 0x3B0E
	CodeInternalFailure   Code = 0x4400
	CodeLoadEjectFailed   Code = 0x5300
	CodeRemovalPrevented  Code = 0x5302
	CodeSequentialPastEnd Code = 0x3B00
)

// Sense is decoded sense data.
type Sense struct {
	Deferred   bool // it blames an earlier command
	Key        Key
	Code       Code
	Filemark   bool
	EOM        bool // end of medium, or of partition; going backward: its beginning
	ILI        bool // incorrect length
	Info       int64
	InfoValid  bool
	Descriptor bool // descriptor format (72h, 73h)
}

// Is reports whether s has this key and code.
func (s Sense) Is(k Key, c Code) bool { return s.Key == k && s.Code == c }

func (s Sense) String() string {
	out := fmt.Sprintf("%X/%02x %02x", uint8(s.Key), uint8(s.Code>>8), uint8(s.Code))
	if s.Deferred {
		out = "deferred " + out
	}
	for _, f := range []struct {
		on   bool
		name string
	}{{s.Filemark, "filemark"}, {s.EOM, "EOM"}, {s.ILI, "ILI"}} {
		if f.on {
			out += " " + f.name
		}
	}
	if s.InfoValid {
		out += fmt.Sprintf(" information %d", s.Info)
	}
	return out
}

// ParseSense decodes sense data in either format. ok is false if b is no sense
// data. A fixed format that was cut short is decoded as far as it goes.
func ParseSense(b []byte) (s Sense, ok bool) {
	if len(b) < 3 {
		return Sense{}, false
	}
	switch b[0] & 0x7F {
	case 0x70, 0x71:
		s = Sense{Deferred: b[0]&1 != 0, Key: Key(b[2] & 0x0F), Filemark: b[2]&0x80 != 0, EOM: b[2]&0x40 != 0, ILI: b[2]&0x20 != 0}
		if len(b) >= 7 && b[0]&0x80 != 0 {
			s.Info, s.InfoValid = int64(int32(binary.BigEndian.Uint32(b[3:]))), true
		}
		if len(b) >= 14 {
			s.Code = Code(binary.BigEndian.Uint16(b[12:]))
		}
		return s, true
	case 0x72, 0x73:
		if len(b) < 8 {
			return Sense{}, false
		}
		s = Sense{Descriptor: true, Deferred: b[0]&1 != 0, Key: Key(b[1] & 0x0F), Code: Code(binary.BigEndian.Uint16(b[2:]))}
		d := b[8:min(len(b), 8+int(b[7]))]
		for len(d) >= 2 {
			n := 2 + int(d[1])
			if n > len(d) {
				break
			}
			switch {
			case d[0] == 0x00 && n >= 12:
				s.Info, s.InfoValid = int64(binary.BigEndian.Uint64(d[4:])), d[2]&0x80 != 0
				if !s.InfoValid {
					s.Info = 0
				}
			case d[0] == 0x04 && n >= 4:
				s.Filemark, s.EOM, s.ILI = d[3]&0x80 != 0, d[3]&0x40 != 0, d[3]&0x20 != 0
			}
			d = d[n:]
		}
		return s, true
	}
	return Sense{}, false
}

// Bytes encodes s, in the format that s.Descriptor says. The fixed format holds
// only 32 bits of Info: what does not fit is left out.
func (s Sense) Bytes() []byte {
	flags := bit(s.Filemark, 0x80) | bit(s.EOM, 0x40) | bit(s.ILI, 0x20)
	if !s.Descriptor {
		b := make([]byte, 18)
		b[0], b[2], b[7] = 0x70|bit(s.Deferred, 1), flags|byte(s.Key)&0x0F, 10
		if s.InfoValid && s.Info == int64(int32(s.Info)) {
			b[0] |= 0x80
			binary.BigEndian.PutUint32(b[3:], uint32(int32(s.Info)))
		}
		binary.BigEndian.PutUint16(b[12:], uint16(s.Code))
		return b
	}
	b := make([]byte, 8, 24)
	b[0], b[1] = 0x72|bit(s.Deferred, 1), byte(s.Key)&0x0F
	binary.BigEndian.PutUint16(b[2:], uint16(s.Code))
	if s.InfoValid {
		b = append(b, 0, 0x0A, 0x80, 0)
		b = binary.BigEndian.AppendUint64(b, uint64(s.Info))
	}
	if flags != 0 {
		b = append(b, 4, 2, 0, flags)
	}
	b[7] = byte(len(b) - 8)
	return b
}
