package scsi

import "sliod/tape"

// A rule gives sense data a meaning. The first that fits wins.
type rule struct {
	key      Key
	code     Code
	mask     Code // bits of code that count: whole, both bytes; family, the first; 0, none
	filemark bool // the flag must be set
	eom      bool
	ili      bool
	kind     tape.Kind
}

const (
	whole  Code = 0xFFFF
	family Code = 0xFF00
)

// rules is the one place where sense data becomes a tape.Kind. Codes from 80h on are
// IBM's own, by the tables of the LTFS reference implementation; the others are
// from SPC-5's list. Within a key the exceptions come first.
var rules = []rule{
	// The command was done, or stopped for a reason that is no failure.
	{key: NoSense, code: CodeBeginning, mask: whole, kind: tape.KindOther},
	{key: NoSense, filemark: true, kind: tape.Filemark},
	{key: NoSense, code: CodeFilemark, mask: whole, kind: tape.Filemark},
	{key: NoSense, ili: true, kind: tape.BadBlockLength},
	{key: NoSense, code: CodeEndOfData, mask: whole, kind: tape.EndOfData}, // tgt's SPACE
	{key: NoSense, code: CodeProgrammable, mask: whole, kind: tape.EarlyWarning},
	{key: NoSense, eom: true, kind: tape.EarlyWarning},
	{key: NoSense, code: CodeEndOfMedium, mask: whole, kind: tape.EarlyWarning},
	{key: NoSense, code: CodeCleaning, mask: whole, kind: tape.CleaningNeeded},
	{key: NoSense, code: codeCleaningIBM, mask: whole, kind: tape.CleaningNeeded},
	{key: NoSense, code: CodeInProgress, mask: whole, kind: tape.NotReady},
	{key: NoSense, code: codeEraseInProgress, mask: whole, kind: tape.NotReady},

	{key: NotReadyKey, code: CodeCleaning, mask: whole, kind: tape.CleaningNeeded},
	{key: NotReadyKey, code: codeCleaningFailed, mask: whole, kind: tape.HardwareError},
	{key: NotReadyKey, code: CodeLoadEjectFailed, mask: family, kind: tape.HardwareError},
	{key: NotReadyKey, kind: tape.NotReady},

	{key: MediumErrorKey, code: CodeCleaning, mask: whole, kind: tape.CleaningNeeded},
	{key: MediumErrorKey, code: codeCleaningFailed, mask: whole, kind: tape.HardwareError},
	{key: MediumErrorKey, code: CodeEndOfData, mask: whole, kind: tape.EndOfData},
	{key: MediumErrorKey, code: CodeEndOfMedium, mask: whole, kind: tape.EndOfMedium},
	{key: MediumErrorKey, code: codeWORM, mask: whole, kind: tape.WriteProtected},
	{key: MediumErrorKey, code: codeProtectIBM, mask: family, kind: tape.WriteProtected},
	{key: MediumErrorKey, code: codeEncryptionIBM, mask: family, kind: tape.WrongKey},
	{key: MediumErrorKey, kind: tape.MediumError},

	{key: HardwareKey, code: CodeCleaning, mask: whole, kind: tape.CleaningNeeded},
	{key: HardwareKey, code: CodeProtectionFailed, mask: whole, kind: tape.ProtectionError},
	{key: HardwareKey, code: codeProtectionBuffered, mask: whole, kind: tape.ProtectionError},
	{key: HardwareKey, code: codeEncryptionIBM, mask: family, kind: tape.WrongKey},
	{key: HardwareKey, kind: tape.HardwareError},

	{key: IllegalKey, code: CodeDestinationFull, mask: whole, kind: tape.ElementFull},
	{key: IllegalKey, code: CodeSourceEmpty, mask: whole, kind: tape.ElementEmpty},
	{key: IllegalKey, code: codeNotUnloaded, mask: whole, kind: tape.RemovalPrevented},
	{key: IllegalKey, code: CodeRemovalPrevented, mask: whole, kind: tape.RemovalPrevented},
	{key: IllegalKey, code: codeRemovalInDrive, mask: whole, kind: tape.RemovalPrevented},
	{key: IllegalKey, code: codeKeyIncomplete, mask: whole, kind: tape.WrongKey},
	{key: IllegalKey, code: codeKeyNotFound, mask: whole, kind: tape.WrongKey},
	{key: IllegalKey, code: codeEncryptionIBM, mask: family, kind: tape.WrongKey},
	{key: IllegalKey, code: codeEncryption2IBM, mask: family, kind: tape.WrongKey},
	{key: IllegalKey, code: codeIncompatible, mask: whole, kind: tape.MediumError}, // this drive cannot use it
	{key: IllegalKey, code: codeCannotWrite, mask: whole, kind: tape.WriteProtected},
	{key: IllegalKey, code: codeProtectPosition, mask: whole, kind: tape.WriteProtected},
	{key: IllegalKey, kind: tape.IllegalRequest},

	{key: AttentionKey, kind: tape.UnitAttention},

	{key: ProtectKey, code: codeSecurity, mask: family, kind: tape.WrongKey},
	{key: ProtectKey, code: codeKeyFailLimit, mask: whole, kind: tape.WrongKey},
	{key: ProtectKey, code: codeKeyCounter, mask: whole, kind: tape.WrongKey},
	{key: ProtectKey, code: codeEncryptionIBM, mask: family, kind: tape.WrongKey},
	{key: ProtectKey, code: codeEncryption2IBM, mask: family, kind: tape.WrongKey},
	{key: ProtectKey, kind: tape.WriteProtected}, // 27 xx, 30 xx and 50 01 (WORM), 5A 02 (append only)

	{key: BlankCheck, code: codeEntityNotFound, mask: family, kind: tape.MediumError},
	{key: BlankCheck, kind: tape.EndOfData},

	{key: AbortedCommand, code: CodeProtectionFailed, mask: whole, kind: tape.ProtectionError},
	{key: AbortedCommand, code: codeProtectionBuffered, mask: whole, kind: tape.ProtectionError},
	{key: AbortedCommand, kind: tape.HardwareError},

	{key: VolumeOverflow, kind: tape.EndOfMedium},
}

// Codes that only the rules need.
const (
	codeEraseInProgress    Code = 0x0018
	codeCleaningIBM        Code = 0x8282
	codeProtectionBuffered Code = 0x1004
	codeEntityNotFound     Code = 0x1400
	codeKeyFailLimit       Code = 0x2610
	codeKeyIncomplete      Code = 0x2611
	codeKeyNotFound        Code = 0x2612
	codeKeyCounter         Code = 0x2A13
	codeIncompatible       Code = 0x3000
	codeCleaningFailed     Code = 0x3007
	codeCannotWrite        Code = 0x3005
	codeWORM               Code = 0x300D
	codeNotUnloaded        Code = 0x5301
	codeRemovalInDrive     Code = 0x5303
	codeSecurity           Code = 0x7400
	codeProtectIBM         Code = 0x8500
	codeProtectPosition    Code = 0x8503
	codeEncryptionIBM      Code = 0xEE00
	codeEncryption2IBM     Code = 0xEF00
)

// Kind says what s means. A recovered error is no error: exec asks for that
// before.
func (s Sense) Kind() tape.Kind {
	if s.Deferred {
		return tape.Deferred
	}
	for _, r := range rules {
		if r.key == s.Key && r.code&r.mask == s.Code&r.mask &&
			(!r.filemark || s.Filemark) && (!r.eom || s.EOM) && (!r.ili || s.ILI) {
			return r.kind
		}
	}
	return tape.KindOther
}

// readiness says what a drive that is not ready needs.
type readiness uint8

const (
	broken    readiness = iota // somebody must help: waiting does not
	waits                      // it becomes ready by itself
	needsLoad                  // a LOAD command
	cleans                     // a cleaning cartridge is in it, and works
)

// readiness sorts the answers to TEST UNIT READY.
func (s Sense) readiness() readiness {
	switch {
	case s.Code == CodeCleaningCartridge && (s.Key == NotReadyKey || s.Key == NoSense || s.Key == MediumErrorKey):
		return cleans
	case s.Key == NoSense && (s.Code == CodeInProgress || s.Code == codeEraseInProgress):
		return waits
	case s.Key != NotReadyKey:
		return broken
	}
	switch s.Code {
	case CodeNeedsLoad, CodeNoMedium, 0x3A04: // not present, but its memory can be read: it sits in the mouth
		return needsLoad
	case 0x0400, // cause not reportable
		CodeBecomingReady,
		0x0404, // format
		0x0407, // operation
		0x0409, // self-test
		0x0413, // creation of a security association
		0x3E00: // not yet configured itself
		return waits
	}
	// 04 03 and 04 11 want a person or a host, 04 12 is offline, 04 0A to 0C are ports
	// that may not, 04 10 a cartridge's memory that cannot be read.
	return broken
}

// SenseError is the cause in a *tape.Error that came from sense data.
type SenseError struct{ Sense Sense }

func (e *SenseError) Error() string { return "device answered " + e.Sense.String() }
