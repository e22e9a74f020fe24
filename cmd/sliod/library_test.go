package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"sliod/backend/config"
	"sliod/tape"
)

// TestFaultScript: a drill is configured by a file, and its mistakes are told with their lines.
func TestFaultScript(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	write("drill", "# the arm is stuck\njam\n")
	cfg, err := config.Load(write("sliod.toml", "[library]\nfaults = \"drill\"\nslots = 4\ncleaners = 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	lib, err := openLibrary(t.Context(), cfg, dir, logrus.NewEntry(logrus.New()))
	if err != nil {
		t.Fatal(err)
	}
	es, err := lib.Changer.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var slots []tape.Element
	var drive uint16
	for _, e := range es {
		switch e.Kind {
		case tape.Slot:
			slots = append(slots, e)
		case tape.DriveElement:
			drive = e.Address
		}
	}
	if len(slots) != 4 || slots[3].Volume != "CLNU01L1" {
		t.Errorf("slots %+v", slots)
	}
	if err := lib.Changer.Move(t.Context(), slots[0].Address, drive); tape.KindOf(err) != tape.HardwareError {
		t.Errorf("the arm moves: %v", err)
	}
	if err := lib.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Library.Faults = write("wrong", "jam\n\nexplode\n")
	if _, err := openLibrary(t.Context(), cfg, dir, logrus.NewEntry(logrus.New())); err == nil || !strings.Contains(err.Error(), "wrong:3: there is no fault") {
		t.Errorf("a wrong script: %v", err)
	}
	cfg.Library.Faults = filepath.Join(dir, "missing")
	if _, err := openLibrary(t.Context(), cfg, dir, logrus.NewEntry(logrus.New())); err == nil || !strings.Contains(err.Error(), "library.faults") {
		t.Errorf("a missing script: %v", err)
	}
}
