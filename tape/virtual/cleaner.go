package virtual

import (
	"os"
	"strings"

	"github.com/pkg/errors"

	"sliod/tape"
	"sliod/tape/scsi"
)

const (
	cleanerType   = "cleaning"
	maxCleanings  = 50
	cleanerPrefix = "CLN" // of the barcodes of cleaning cartridges, as with real libraries
)

// isCleaner tells a cleaning cartridge by its barcode.
func isCleaner(b tape.Barcode) bool { return strings.HasPrefix(string(b), cleanerPrefix) }

// createCleaner makes a cleaning cartridge: it has a memory and no tape.
func createCleaner(dir string, barcode tape.Barcode) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return errors.WithStack(err)
	}
	m := memory{Format: cartridgeFormat, Barcode: barcode, Type: cleanerType, Serial: "V" + string(barcode), Attributes: map[string]attribute{}}
	return m.save(dir)
}

// clean is what a drive does with a cleaning cartridge instead of loading it: it cleans itself,
// once for each time that the cartridge is put in, and waits for it to be taken out. The answer
// is 2/30 03 (cleaning cartridge installed) from then on; 2/30 07 (cleaning failure) if the cartridge
// is used up.
func (d *drive) clean() *scsi.Sense {
	if d.cleaned {
		return d.cleanerState()
	}
	d.cleaned = true
	m, err := readMemory(d.dir)
	if err == nil && m.Cleanings < maxCleanings {
		m.Cleanings++
		err = m.save(d.dir)
		d.expired = false
	} else {
		d.expired = true
	}
	switch {
	case err != nil:
		d.log.WithError(err).Errorf("cannot use cleaning cartridge %s", d.barcode)
		d.expired = true
		d.lib.raise(d.no, tape.AlertCleaningInvalid)
	case d.expired:
		d.lib.raise(d.no, tape.AlertCleaningExpired)
	default:
		d.lib.raise(d.no, 11) // a cleaning medium is in the drive
		d.lib.setDirty(d.no, 0)
	}
	return d.cleanerState()
}

func (d *drive) cleanerState() *scsi.Sense {
	if d.expired {
		return sense(scsi.NotReadyKey, 0x3007)
	}
	return sense(scsi.NotReadyKey, 0x3003)
}
