package scsi

import (
	"testing"

	"sliod/tape"
)

// kinds lists what real drives answer (SPC-5's list; IBM's own codes by the tables of
// the LTFS reference implementation), and what is made of it.
var kinds = []struct {
	key  Key
	code Code
	kind tape.Kind
}{
	{NoSense, 0x0000, tape.KindOther}, {NoSense, 0x0001, tape.Filemark}, {NoSense, 0x0002, tape.EarlyWarning}, {NoSense, 0x0004, tape.KindOther},
	{NoSense, 0x0005, tape.EndOfData}, {NoSense, 0x0007, tape.EarlyWarning}, {NoSense, 0x0016, tape.NotReady}, {NoSense, 0x0017, tape.CleaningNeeded},
	{NoSense, 0x0018, tape.NotReady}, {NoSense, 0x8282, tape.CleaningNeeded},
	{NotReadyKey, 0x0017, tape.CleaningNeeded}, {NotReadyKey, 0x0400, tape.NotReady}, {NotReadyKey, 0x0401, tape.NotReady}, {NotReadyKey, 0x0402, tape.NotReady},
	{NotReadyKey, 0x0403, tape.NotReady}, {NotReadyKey, 0x0404, tape.NotReady}, {NotReadyKey, 0x0412, tape.NotReady}, {NotReadyKey, 0x3003, tape.NotReady},
	{NotReadyKey, 0x3007, tape.HardwareError}, {NotReadyKey, 0x3A00, tape.NotReady}, {NotReadyKey, 0x3A04, tape.NotReady}, {NotReadyKey, 0x3E00, tape.NotReady},
	{NotReadyKey, 0x5300, tape.HardwareError},
	{MediumErrorKey, 0x0005, tape.EndOfData}, {MediumErrorKey, 0x0017, tape.CleaningNeeded}, {MediumErrorKey, 0x0302, tape.MediumError},
	{MediumErrorKey, 0x0900, tape.MediumError}, {MediumErrorKey, 0x0C00, tape.MediumError}, {MediumErrorKey, 0x1100, tape.MediumError},
	{MediumErrorKey, 0x1403, tape.MediumError}, {MediumErrorKey, 0x3000, tape.MediumError}, {MediumErrorKey, 0x300D, tape.WriteProtected},
	{MediumErrorKey, 0x3100, tape.MediumError}, {MediumErrorKey, 0x5200, tape.MediumError}, {MediumErrorKey, 0x8501, tape.WriteProtected},
	{MediumErrorKey, 0xEED0, tape.WrongKey},
	{HardwareKey, 0x0017, tape.CleaningNeeded}, {HardwareKey, 0x1001, tape.ProtectionError}, {HardwareKey, 0x1004, tape.ProtectionError},
	{HardwareKey, 0x1501, tape.HardwareError}, {HardwareKey, 0x4400, tape.HardwareError}, {HardwareKey, 0x5301, tape.HardwareError}, {HardwareKey, 0xEE0F, tape.WrongKey},
	{IllegalKey, 0x2000, tape.IllegalRequest}, {IllegalKey, 0x2400, tape.IllegalRequest}, {IllegalKey, 0x2611, tape.WrongKey}, {IllegalKey, 0x2612, tape.WrongKey},
	{IllegalKey, 0x3000, tape.MediumError}, {IllegalKey, 0x3005, tape.WriteProtected}, {IllegalKey, 0x3B0D, tape.ElementFull}, {IllegalKey, 0x3B0E, tape.ElementEmpty},
	{IllegalKey, 0x5301, tape.RemovalPrevented}, {IllegalKey, 0x5302, tape.RemovalPrevented}, {IllegalKey, 0x5303, tape.RemovalPrevented},
	{IllegalKey, 0x8503, tape.WriteProtected}, {IllegalKey, 0xEE10, tape.WrongKey}, {IllegalKey, 0xEE2B, tape.WrongKey}, {IllegalKey, 0xEF01, tape.WrongKey},
	{AttentionKey, 0x2800, tape.UnitAttention}, {AttentionKey, 0x2900, tape.UnitAttention}, {AttentionKey, 0x2904, tape.UnitAttention},
	{AttentionKey, 0x2A01, tape.UnitAttention}, {AttentionKey, 0x2A11, tape.UnitAttention}, {AttentionKey, 0x5A01, tape.UnitAttention},
	{ProtectKey, 0x2610, tape.WrongKey}, {ProtectKey, 0x2700, tape.WriteProtected}, {ProtectKey, 0x2A13, tape.WrongKey}, {ProtectKey, 0x300C, tape.WriteProtected},
	{ProtectKey, 0x5001, tape.WriteProtected}, {ProtectKey, 0x5A02, tape.WriteProtected}, {ProtectKey, 0x7401, tape.WrongKey}, {ProtectKey, 0x7402, tape.WrongKey},
	{ProtectKey, 0x7403, tape.WrongKey}, {ProtectKey, 0x7405, tape.WrongKey}, {ProtectKey, 0xEF10, tape.WrongKey},
	{BlankCheck, 0x0000, tape.EndOfData}, {BlankCheck, 0x0005, tape.EndOfData}, {BlankCheck, 0x1403, tape.MediumError},
	{AbortedCommand, 0x1001, tape.ProtectionError}, {AbortedCommand, 0x4400, tape.HardwareError}, {AbortedCommand, 0x4B02, tape.HardwareError},
	{VolumeOverflow, 0x0002, tape.EndOfMedium}, {Miscompare, 0x1D00, tape.KindOther},
}

func TestKinds(t *testing.T) {
	for _, c := range kinds {
		for _, descriptor := range []bool{false, true} {
			s, ok := ParseSense(Sense{Key: c.key, Code: c.code, Descriptor: descriptor}.Bytes())
			if !ok || s.Kind() != c.kind {
				t.Errorf("%v: %v, want %v", s, s.Kind(), c.kind)
			}
			s, ok = ParseSense(Sense{Key: c.key, Code: c.code, Descriptor: descriptor, Deferred: true}.Bytes())
			if !ok || s.Kind() != tape.Deferred {
				t.Errorf("%v: %v, want %v", s, s.Kind(), tape.Deferred)
			}
		}
	}
}

func TestReadiness(t *testing.T) {
	for _, c := range []struct {
		key  Key
		code Code
		want readiness
	}{
		{NotReadyKey, 0x0400, waits}, {NotReadyKey, 0x0401, waits}, {NotReadyKey, 0x0404, waits}, {NotReadyKey, 0x0407, waits}, {NotReadyKey, 0x3E00, waits},
		{NoSense, 0x0016, waits}, {NoSense, 0x0000, broken},
		{NotReadyKey, 0x0402, needsLoad}, {NotReadyKey, 0x3A00, needsLoad}, {NotReadyKey, 0x3A04, needsLoad},
		{NotReadyKey, 0x0403, broken}, {NotReadyKey, 0x0412, broken}, {NotReadyKey, 0x0410, broken}, {NotReadyKey, 0x5300, broken}, {NotReadyKey, 0x3A02, broken},
		{NotReadyKey, 0x3003, cleans}, {MediumErrorKey, 0x3003, cleans}, {NoSense, 0x3003, cleans}, {NotReadyKey, 0x3007, broken},
		{HardwareKey, 0x0401, broken}, {AttentionKey, 0x2800, broken},
	} {
		if got := (Sense{Key: c.key, Code: c.code}).readiness(); got != c.want {
			t.Errorf("%X/%04x: %d, want %d", c.key, c.code, got, c.want)
		}
	}
}
