package mover

import (
	"context"
	"testing"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/tape"
)

func TestBlame(t *testing.T) {
	of := map[tape.Kind]blame{
		tape.KindOther: blameVolume, tape.Filemark: blameVolume, tape.EndOfData: blameVolume, tape.BadBlockLength: blameVolume,
		tape.EarlyWarning: blameVolume, tape.EndOfMedium: blameVolume, tape.MediumError: blameVolume, tape.WriteProtected: blameVolume,
		tape.NotFound: blameVolume, tape.ElementFull: blameVolume, tape.ElementEmpty: blameVolume, tape.Deferred: blameVolume,
		tape.WrongKey:      blameVolume, // every drive would say the same
		tape.HardwareError: blameDrive, tape.NotReady: blameDrive, tape.IllegalRequest: blameDrive, tape.RemovalPrevented: blameDrive,
		tape.CleaningNeeded: blameDrive, tape.Disconnected: blameDrive, tape.ProtectionError: blameDrive,
		tape.UnitAttention: blameNobody,
	}
	for k := tape.KindOther; k.String()[:4] != "kind"; k++ {
		want, ok := of[k]
		if !ok {
			t.Errorf("nobody has decided who is to blame for %v", k)
		}
		if got := blameFor(errors.WithMessage(&tape.Error{Kind: k}, "reading")); got != want {
			t.Errorf("%v: blame %d, want %d", k, got, want)
		}
	}
	if len(of) != int(tape.ProtectionError)+1 {
		t.Errorf("%d kinds", len(of))
	}
	for err, want := range map[error]blame{context.Canceled: blameNobody, catalog.ErrStopped: blameDrive, errChecksum: blameVolume} {
		if got := blameFor(errors.WithMessage(err, "reading")); got != want {
			t.Errorf("%v: blame %d, want %d", err, got, want)
		}
	}
	// What was in a drive's buffer is lost: why says whose fault it is.
	for k, want := range map[tape.Kind]blame{tape.UnitAttention: blameNobody, tape.HardwareError: blameDrive, tape.MediumError: blameVolume} {
		err := &tape.Error{Kind: tape.Deferred, Err: errors.WithMessage(&tape.Error{Kind: k}, "the drive was reset")}
		if got := blameFor(errors.WithMessage(err, "writing")); got != want {
			t.Errorf("deferred, %v: blame %d, want %d", k, got, want)
		}
	}
	// The context's end tells more than what it broke off.
	if got := blameFor(&tape.Error{Kind: tape.HardwareError, Err: context.Canceled}); got != blameNobody {
		t.Errorf("cancelled: blame %d", got)
	}
}
