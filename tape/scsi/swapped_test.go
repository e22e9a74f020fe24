package scsi

import (
	"testing"

	"sliod/tape"
)

// TestChangedBehindAReset: a drive was switched off and on, and has another cartridge. It tells both, one after the other; the second
// is told to a command that we send to make the settings again, and nothing goes to the other medium.
func TestChangedBehindAReset(t *testing.T) {
	f := newFake(t)
	d := f.load(t, DriveOptions{})
	f.on(Locate16{}, says(Sense{Key: AttentionKey, Code: CodeReset}))
	sense := ModeSense{Ten: true, Page: PageConfiguration}
	mode := f.answers[code(sense)]
	changed := says(Sense{Key: AttentionKey, Code: CodeMediumChanged})
	f.on(sense, func(c *Command) *Sense {
		if s := changed(c); s != nil {
			return s
		}
		return mode(c)
	})
	f.forget()
	wantKind(t, d.Locate(t.Context(), tape.Position{Block: 5}), tape.UnitAttention)
	wantKind(t, d.WriteBlock(t.Context(), []byte("a")), tape.UnitAttention)
	if n := len(sent[Locate16](f)) + len(sent[Write6](f)); n != 1 {
		t.Errorf("%d commands went to the medium, want that one which told of the reset", n)
	}
	if err := d.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.Locate(t.Context(), tape.Position{Block: 5}); err != nil {
		t.Errorf("after it was loaded again: %v", err)
	}
}

// TestDeferredHardwareError: what a drive could not write for its own reasons is told as its own fault.
func TestDeferredHardwareError(t *testing.T) {
	f := newFake(t)
	d := f.load(t, DriveOptions{})
	for key, want := range map[Key]tape.Kind{HardwareKey: tape.HardwareError, MediumErrorKey: tape.KindOther} {
		f.on(Write6{}, says(Sense{Key: key, Code: CodeInternalFailure, Deferred: true}))
		err := d.WriteBlock(t.Context(), []byte("a"))
		wantKind(t, err, tape.Deferred)
		if got := tape.KindOf(err.(*tape.Error).Err); got != want {
			t.Errorf("sense key %v: caused by %v, want %v", key, got, want)
		}
	}
}
