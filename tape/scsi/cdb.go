package scsi

import stderrors "errors"

// CommandBlock is a command in a form that people can read. CDB gives its
// bytes; ParseStream and ParseChanger go the other way.
type CommandBlock interface{ CDB() []byte }

// Operation codes (SPC-5, SSC-5, SMC-3).
const (
	OpTestUnitReady           = 0x00
	OpRewind                  = 0x01
	OpRequestSense            = 0x03
	OpFormatMedium            = 0x04
	OpReadBlockLimits         = 0x05
	OpInitializeElementStatus = 0x07
	OpRead6                   = 0x08
	OpWrite6                  = 0x0A
	OpWriteFilemarks6         = 0x10
	OpSpace6                  = 0x11
	OpInquiry                 = 0x12
	OpErase6                  = 0x19
	OpModeSelect6             = 0x15
	OpModeSense6              = 0x1A
	OpLoadUnload              = 0x1B
	OpPreventAllow            = 0x1E
	OpLocate10                = 0x2B // of a drive
	OpPositionToElement       = 0x2B // of a changer
	OpReadPosition            = 0x34
	OpReportDensity           = 0x44
	OpLogSense                = 0x4D
	OpModeSelect10            = 0x55
	OpModeSense10             = 0x5A
	OpAllowOverwrite          = 0x82
	OpReadAttribute           = 0x8C
	OpWriteAttribute          = 0x8D
	OpSpace16                 = 0x91
	OpLocate16                = 0x92
	OpSecurityIn              = 0xA2
	OpMoveMedium              = 0xA5
	OpSecurityOut             = 0xB5
	OpReadElementStatus       = 0xB8
	OpInitializeElementRange  = 0xE7
)

// Errors of the parsers.
var (
	// ErrOpcode: no such command here; a device answers 5/20 00.
	ErrOpcode = stderrors.New("scsi: unknown operation code")
	// ErrField: a field has a value that is not allowed; a device answers 5/24 00.
	ErrField = stderrors.New("scsi: invalid field in command block")
)

// Length returns how long a command block of an operation code is (SAM-5: the
// top three bits are the group), or 0 for the variable and reserved groups.
func Length(opcode byte) int {
	switch opcode >> 5 {
	case 0:
		return 6
	case 1, 2:
		return 10
	case 4:
		return 16
	case 5:
		return 12
	}
	if opcode == OpInitializeElementRange {
		return 10
	}
	return 0
}

// checkLength refuses blocks that are too short for their operation code.
func checkLength(b []byte) error {
	if len(b) == 0 || Length(b[0]) == 0 {
		return ErrOpcode
	}
	if len(b) < Length(b[0]) {
		return ErrField
	}
	return nil
}

// bit returns v if on, else 0.
func bit(on bool, v byte) byte {
	if on {
		return v
	}
	return 0
}

func put24(b []byte, v uint32) { b[0], b[1], b[2] = byte(v>>16), byte(v>>8), byte(v) }

func get24(b []byte) uint32 { return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]) }
