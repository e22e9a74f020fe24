package scsi

import (
	"testing"

	"sliod/tape"
)

var senses = []struct {
	name  string
	bytes string
	sense Sense
	kind  tape.Kind
}{
	{"filemark", "f0 00 80 00 08 00 00 0a 00 00 00 00 00 01 00 00 00 00",
		Sense{Code: CodeFilemark, Filemark: true, Info: 0x80000, InfoValid: true}, tape.Filemark},
	{"short record", "f0 00 20 00 00 00 64 0a 00 00 00 00 00 00 00 00 00 00",
		Sense{ILI: true, Info: 100, InfoValid: true}, tape.BadBlockLength},
	{"long record", "f0 00 20 ff ff ff 9c 0a 00 00 00 00 00 00 00 00 00 00",
		Sense{ILI: true, Info: -100, InfoValid: true}, tape.BadBlockLength},
	{"early warning", "f0 00 40 00 00 00 00 0a 00 00 00 00 00 02 00 00 00 00",
		Sense{Code: CodeEndOfMedium, EOM: true, InfoValid: true}, tape.EarlyWarning},
	{"programmable early warning", "70 00 00 00 00 00 00 0a 00 00 00 00 00 07 00 00 00 00",
		Sense{Code: CodeProgrammable}, tape.EarlyWarning},
	{"beginning", "f0 00 40 00 00 00 01 0a 00 00 00 00 00 04 00 00 00 00",
		Sense{Code: CodeBeginning, EOM: true, Info: 1, InfoValid: true}, tape.KindOther},
	{"overflow", "70 00 4d 00 00 00 00 0a 00 00 00 00 00 02 00 00 00 00",
		Sense{Key: VolumeOverflow, Code: CodeEndOfMedium, EOM: true}, tape.EndOfMedium},
	{"end of data", "70 00 08 00 00 00 00 0a 00 00 00 00 00 05 00 00 00 00",
		Sense{Key: BlankCheck, Code: CodeEndOfData}, tape.EndOfData},
	{"deferred write error", "71 00 03 00 00 00 00 0a 00 00 00 00 0c 00 00 00 00 00",
		Sense{Deferred: true, Key: MediumErrorKey, Code: CodeWriteError}, tape.Deferred},
	{"medium changed", "70 00 06 00 00 00 00 0a 00 00 00 00 28 00 00 00 00 00",
		Sense{Key: AttentionKey, Code: CodeMediumChanged}, tape.UnitAttention},
	{"becoming ready", "70 00 02 00 00 00 00 0a 00 00 00 00 04 01 00 00 00 00",
		Sense{Key: NotReadyKey, Code: CodeBecomingReady}, tape.NotReady},
	{"no medium", "70 00 02 00 00 00 00 0a 00 00 00 00 3a 00 00 00 00 00",
		Sense{Key: NotReadyKey, Code: CodeNoMedium}, tape.NotReady},
	{"read error", "70 00 03 00 00 00 00 0a 00 00 00 00 11 00 00 00 00 00",
		Sense{Key: MediumErrorKey, Code: CodeReadError}, tape.MediumError},
	{"hardware", "70 00 04 00 00 00 00 0a 00 00 00 00 44 00 00 00 00 00",
		Sense{Key: HardwareKey, Code: CodeInternalFailure}, tape.HardwareError},
	{"protection", "70 00 0b 00 00 00 00 0a 00 00 00 00 10 01 00 00 00 00",
		Sense{Key: AbortedCommand, Code: CodeProtectionFailed}, tape.ProtectionError},
	{"write protected", "70 00 07 00 00 00 00 0a 00 00 00 00 27 00 00 00 00 00",
		Sense{Key: ProtectKey, Code: CodeWriteProtected}, tape.WriteProtected},
	{"destination full", "70 00 05 00 00 00 00 0a 00 00 00 00 3b 0d 00 00 00 00",
		Sense{Key: IllegalKey, Code: CodeDestinationFull}, tape.ElementFull},
	{"source empty", "70 00 05 00 00 00 00 0a 00 00 00 00 3b 0e 00 00 00 00",
		Sense{Key: IllegalKey, Code: CodeSourceEmpty}, tape.ElementEmpty},
	{"removal prevented", "70 00 05 00 00 00 00 0a 00 00 00 00 53 02 00 00 00 00",
		Sense{Key: IllegalKey, Code: CodeRemovalPrevented}, tape.RemovalPrevented},
	{"unknown command", "70 00 05 00 00 00 00 0a 00 00 00 00 20 00 00 00 00 00",
		Sense{Key: IllegalKey, Code: CodeInvalidOpcode}, tape.IllegalRequest},
	{"cleaning", "70 00 03 00 00 00 00 0a 00 00 00 00 00 17 00 00 00 00",
		Sense{Key: MediumErrorKey, Code: CodeCleaning}, tape.CleaningNeeded},
	{"descriptor filemark", "72 00 00 01 00 00 00 10 00 0a 80 00 00 00 00 00 00 08 00 00 04 02 00 80",
		Sense{Descriptor: true, Code: CodeFilemark, Filemark: true, Info: 0x80000, InfoValid: true}, tape.Filemark},
	{"descriptor deferred", "73 04 44 00 00 00 00 00",
		Sense{Descriptor: true, Deferred: true, Key: HardwareKey, Code: CodeInternalFailure}, tape.Deferred},
	{"descriptor long record", "72 00 00 00 00 00 00 10 00 0a 80 00 ff ff ff ff ff ff ff 9c 04 02 00 20",
		Sense{Descriptor: true, ILI: true, Info: -100, InfoValid: true}, tape.BadBlockLength},
}

func TestSense(t *testing.T) {
	for _, c := range senses {
		b := unhex(t, c.bytes)
		got, ok := ParseSense(b)
		if !ok || got != c.sense {
			t.Errorf("%s: %+v %v, want %+v", c.name, got, ok, c.sense)
		}
		if string(got.Bytes()) != string(b) {
			t.Errorf("%s: encoded % x, want % x", c.name, got.Bytes(), b)
		}
		if got.Kind() != c.kind {
			t.Errorf("%s: %v, want %v", c.name, got.Kind(), c.kind)
		}
	}
	for _, in := range []string{"", "70", "7f 00 00 00", "72 00 00", "00 00 00 00 00 00 00 00"} {
		if s, ok := ParseSense(unhex(t, in)); ok {
			t.Errorf("%s: %+v", in, s)
		}
	}
	// cut short after the key, as some bridges do
	if s, ok := ParseSense([]byte{0x70, 0, 3}); !ok || s.Kind() != tape.MediumError {
		t.Error(s, ok)
	}
}

func FuzzSense(f *testing.F) {
	for _, c := range senses {
		f.Add(unhex(f, c.bytes))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := ParseSense(b)
		if !ok {
			return
		}
		_, _, _ = s.Kind(), s.String(), s.readiness()
		if again, ok := ParseSense(s.Bytes()); !ok || again != s {
			t.Fatalf("% x is %+v, encoded % x is %+v", b, s, s.Bytes(), again)
		}
	})
}
