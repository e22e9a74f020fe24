package e2e

import (
	"testing"

	"sliod/guest"
)

// TestTapeDevices runs the contract suites of transports, drives and changers over
// /dev/sg in a guest: an old library's devices.
func TestTapeDevices(t *testing.T) {
	t.Parallel()
	tapes := guest.Library(t, guest.TapesOptions{})
	m := guest.Boot(t, guest.Options{QEMU: tapes.QEMU, Bins: []string{guest.BuildTest(t, "sliod/tape/sg", "sgdevices")}})
	m.Must(t, "sg.test -test.v -test.run 'TestTransports|TestLibrary'")
}
