package tapetest

import (
	"context"
	"testing"

	"sliod/tape"
)

// TestChanger runs the contract of a changer over a library with at least one
// drive and one cartridge in a slot. All drives must be empty. It puts the cartridge back.
func TestChanger(t *testing.T, lib *tape.Library) {
	ctx := t.Context()
	es := inventory(t, lib)
	var slot, drive, other tape.Element
	serials := map[string]tape.Drive{}
	for _, d := range lib.Drives {
		serials[d.Serial()] = d
	}
	for i, e := range es {
		if i > 0 && es[i-1].Address >= e.Address {
			t.Fatalf("elements are not in order: %+v", es)
		}
		switch {
		case e.Kind == tape.Slot && e.Full && slot.Kind == 0:
			slot = e
		case e.Kind == tape.Slot && e.Full:
			other = e
		case e.Kind == tape.DriveElement && drive.Kind == 0:
			drive = e
		}
		if e.Full != (e.Volume != "") {
			t.Errorf("element %+v", e)
		}
		if e.Kind == tape.DriveElement && serials[e.Drive] == nil {
			t.Errorf("no drive has the serial number of element %+v", e)
		}
	}
	d := serials[drive.Drive]
	if slot.Kind == 0 || d == nil {
		t.Fatalf("no full slot or no drive in %+v", es)
	}
	kind(t, d.Load(ctx), tape.NotReady)
	kind(t, lib.Changer.Move(ctx, drive.Address, slot.Address), tape.ElementEmpty)
	must(t, lib.Changer.Move(ctx, slot.Address, drive.Address))
	if other.Kind != 0 {
		kind(t, lib.Changer.Move(ctx, other.Address, drive.Address), tape.ElementFull)
	}
	must(t, d.Load(ctx))
	kind(t, lib.Changer.Move(ctx, drive.Address, slot.Address), tape.RemovalPrevented)
	for _, e := range inventory(t, lib) {
		switch e.Address {
		case slot.Address:
			if e.Full {
				t.Errorf("still in its slot: %+v", e)
			}
		case drive.Address:
			if e.Volume != slot.Volume || !e.Full || e.SourceValid && e.Source != slot.Address {
				t.Errorf("not in the drive: %+v", e)
			}
		}
	}
	must(t, d.Unload(ctx))
	must(t, lib.Changer.Move(ctx, drive.Address, slot.Address))
	if err := lib.Changer.Move(ctx, slot.Address, 0xFFFF); err == nil {
		t.Error("moved to an element that is not there")
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := lib.Changer.Move(gone, slot.Address, drive.Address); err == nil {
		t.Error("moved for a context that had ended")
	}
}

func inventory(t *testing.T, lib *tape.Library) []tape.Element {
	t.Helper()
	es, err := lib.Changer.Inventory(t.Context())
	must(t, err)
	return es
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func kind(t *testing.T, err error, want tape.Kind) {
	t.Helper()
	if err == nil || tape.KindOf(err) != want {
		t.Fatalf("got %v, want an error of kind %v", err, want)
	}
}
