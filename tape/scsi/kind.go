package scsi

import "sliod/tape"

// A rule gives sense data a meaning. The first that fits wins.
type rule struct {
	key      Key
	code     Code
	mask     Code // bits of code that count: 0xFFFF both bytes, 0xFF00 the first, 0 none
	filemark bool // the flag must be set
	eom      bool
	ili      bool
	kind     tape.Kind
}

// rules is the one place where sense data becomes a tape.Kind.
var rules = []rule{
	{key: NoSense, code: CodeBeginning, mask: 0xFFFF, kind: tape.KindOther},
	{key: NoSense, filemark: true, kind: tape.Filemark},
	{key: NoSense, code: CodeFilemark, mask: 0xFFFF, kind: tape.Filemark},
	{key: NoSense, ili: true, kind: tape.BadBlockLength},
	{key: NoSense, code: CodeProgrammable, mask: 0xFFFF, kind: tape.EarlyWarning},
	{key: NoSense, eom: true, kind: tape.EarlyWarning},
	{key: NoSense, code: CodeEndOfMedium, mask: 0xFFFF, kind: tape.EarlyWarning},
	{key: NotReadyKey, code: CodeCleaning, mask: 0xFFFF, kind: tape.CleaningNeeded},
	{key: MediumErrorKey, code: CodeCleaning, mask: 0xFFFF, kind: tape.CleaningNeeded},
	{key: HardwareKey, code: CodeCleaning, mask: 0xFFFF, kind: tape.CleaningNeeded},
	{key: NotReadyKey, kind: tape.NotReady},
	{key: MediumErrorKey, code: CodeEndOfData, mask: 0xFFFF, kind: tape.EndOfData},
	{key: MediumErrorKey, code: CodeEndOfMedium, mask: 0xFFFF, kind: tape.EndOfMedium},
	{key: MediumErrorKey, kind: tape.MediumError},
	{key: HardwareKey, kind: tape.HardwareError},
	{key: IllegalKey, code: CodeDestinationFull, mask: 0xFFFF, kind: tape.ElementFull},
	{key: IllegalKey, code: CodeSourceEmpty, mask: 0xFFFF, kind: tape.ElementEmpty},
	{key: IllegalKey, code: CodeRemovalPrevented, mask: 0xFFFF, kind: tape.RemovalPrevented},
	{key: IllegalKey, kind: tape.IllegalRequest},
	{key: AttentionKey, kind: tape.UnitAttention},
	{key: ProtectKey, kind: tape.WriteProtected},
	{key: BlankCheck, kind: tape.EndOfData},
	{key: AbortedCommand, kind: tape.HardwareError},
	{key: VolumeOverflow, kind: tape.EndOfMedium},
}

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

// SenseError is the cause in a *tape.Error that came from sense data.
type SenseError struct{ Sense Sense }

func (e *SenseError) Error() string { return "device answered " + e.Sense.String() }
