//go:build sgdevices

// The contract suites over real devices, all that there are on the machine: their
// cartridges are overwritten. The tests in e2e build this file and run it in a guest.
package sg

import (
	"strings"
	"testing"

	"sliod/tape"
	"sliod/tape/scsi/scsitest"
	"sliod/tape/tapetest"
)

// TestTransports goes through all devices.
func TestTransports(t *testing.T) {
	f, err := Discover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Changers) == 0 || len(f.Drives) == 0 {
		t.Fatalf("%+v", f)
	}
	var paths []string
	for _, c := range f.Changers {
		paths = append(paths, c.Path)
	}
	for _, d := range f.Drives {
		paths = append(paths, d.Path)
	}
	for _, path := range paths {
		t.Run(path, func(t *testing.T) {
			tr, err := open(path, toOwn)
			if err != nil {
				t.Fatal(err)
			}
			if tr.MaxTransfer() < 1<<19 {
				t.Errorf("at most %d bytes of a command", tr.MaxTransfer())
			}
			if _, err := open(path, toOwn); err == nil || !strings.Contains(err.Error(), "in use by sg.test (process ") {
				t.Errorf("opened twice: %v", err)
			}
			scsitest.TestTransport(t, tr)
			for range 2 {
				if err := tr.Close(); err != nil {
					t.Error(err)
				}
			}
			if _, _, err := identify(tr); err == nil || !strings.Contains(err.Error(), "closed") {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}

// TestLibrary finds the drives by themselves, and runs the suites on a changer and
// a drive.
func TestLibrary(t *testing.T) {
	lib, err := OpenLibrary(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(lib.Name, len(lib.Drives), "drives")
	if _, err := OpenLibrary(t.Context(), Options{}); err == nil || !strings.Contains(err.Error(), "in use by") {
		t.Errorf("a second library: %v", err)
	}
	tapetest.TestChanger(t, lib)
	es, err := lib.Changer.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var slot, drive tape.Element
	for _, e := range es {
		switch {
		case e.Kind == tape.Slot && e.Full && slot.Kind == 0:
			slot = e
		case e.Kind == tape.DriveElement && e.Drive == lib.Drives[len(lib.Drives)-1].Serial():
			drive = e
		}
	}
	if err := lib.Changer.Move(t.Context(), slot.Address, drive.Address); err != nil {
		t.Fatal(err)
	}
	tapetest.TestDrive(t, lib.Drives[len(lib.Drives)-1])
	if err := lib.Drives[len(lib.Drives)-1].Unload(t.Context()); err != nil {
		t.Error(err)
	}
	if err := lib.Changer.Move(t.Context(), drive.Address, slot.Address); err != nil {
		t.Error(err)
	}
	if err := lib.Close(); err != nil {
		t.Error(err)
	}
}
