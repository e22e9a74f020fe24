package main

import (
	"cmp"
	"context"
	"os"
	"path/filepath"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"

	"sliod/backend/config"
	"sliod/tape"
	"sliod/tape/sg"
	"sliod/tape/virtual"
)

// openLibrary opens the library that the configuration describes. A virtual library
// without a folder of its own lies in stateDir. The caller closes it.
func openLibrary(ctx context.Context, cfg *config.Config, stateDir string, log *logrus.Entry) (*tape.Library, error) {
	if cfg.Library.Kind == "scsi" {
		lib, err := sg.OpenLibrary(ctx, sg.Options{Changer: cfg.Library.Changer, Devices: cfg.Library.Devices, Log: log})
		return lib, errors.WithMessage(err, "open the tape library")
	}
	dir := libraryDir(cfg, stateDir)
	faults, err := readFaults(cfg.Library.Faults)
	if err != nil {
		return nil, err
	}
	v, err := virtual.Open(virtual.Config{
		Dir: dir, Drives: cfg.Library.Drives, Slots: cfg.Library.Slots, ImportExport: cfg.Library.MailSlots, Cartridge: cfg.Library.Cartridge,
		Capacity: cfg.Library.CapacityBytes, Speed: cfg.Library.Speed, Cleaners: cfg.Library.Cleaners, Faults: faults, Log: log,
	})
	if err != nil {
		return nil, errors.WithMessagef(err, "open the virtual library in %s", dir)
	}
	return v.Tape(), nil
}

// libraryDir is the folder of the virtual library.
func libraryDir(cfg *config.Config, stateDir string) string {
	return cmp.Or(cfg.Library.Dir, filepath.Join(stateDir, "library"))
}

// readFaults reads the script of faults for a drill; none if name is empty.
func readFaults(name string) ([]virtual.Fault, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, errors.Wrap(err, "read the fault script that library.faults names")
	}
	defer f.Close()
	return virtual.ParseFaults(name, f)
}
