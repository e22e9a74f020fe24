package sg

import (
	"fmt"
	"slices"

	"github.com/pkg/errors"

	"sliod/tape/scsi"
)

// hostNames are the codes of the host adapter (DID_* of <scsi/scsi.h>).
var hostNames = [...]string{
	"", "no connection to the device", "the bus stayed busy", "the command timed out", "there is no such target", "the command was aborted",
	"parity error on the bus", "internal error of the host adapter", "the device or the bus was reset", "unexpected interrupt", "pass-through failed",
	"soft error: the driver wants it tried again", "to be tried again at once", "to be queued again", "the transport was disrupted",
	"the transport failed", "the target failed", "reserved by another host", "no space on the target", "medium error",
}

// driverNames are the codes of the kernel's own layer (DRIVER_*), without the
// suggestions in the high bits.
var driverNames = [...]string{"", "the driver was busy", "soft error of the driver", "medium error in the driver", "error of the driver",
	"invalid request for the driver", "the driver's timeout", "hard error of the driver", ""}

// again are those of hostNames by which the driver says that the command was not done, and may be sent again: the
// bus stayed busy, to be tried or queued again. A link that comes and goes does it. A soft error (0B) does not say so much.
var again = [...]uint16{0x02, 0x0C, 0x0D}

// driverSense says that there is sense data: it is no error of its own.
const driverSense = 8

// answer fills in what the device said. An error means that it said nothing:
// a status byte counts as an answer, whatever the host adapter adds to it.
func (f *frame) answer(c *scsi.Command) error {
	h := &f.head
	c.Residual = min(max(int(h.residual), 0), len(c.Data))
	if h.dataLength == 0 {
		c.Residual = len(c.Data) // nothing was asked to go over
	}
	c.Status, c.Sense = scsi.Status(h.status), nil
	if n := min(int(h.senseLength), senseRoom); n > 0 {
		c.Sense = append([]byte(nil), f.sense[:n]...)
		if c.Status == scsi.Good { // the kernel has kept only the sense data
			c.Status = scsi.CheckCondition
		}
	}
	driver := h.driverStatus & 0x0F
	switch {
	case c.Status != scsi.Good:
		return nil
	case slices.Contains(again[:], h.hostStatus):
		c.Status = scsi.Busy // the package scsi sends it again, if the tape has not moved
	case h.hostStatus != 0:
		return errors.Errorf("sg: no answer from the device: %s (host status %02x)", name(hostNames[:], h.hostStatus), h.hostStatus)
	case driver != 0 && driver != driverSense:
		return errors.Errorf("sg: no answer from the device: %s (driver status %02x)", name(driverNames[:], driver), driver)
	}
	return nil
}

func name(list []string, code uint16) string {
	if int(code) < len(list) && list[code] != "" {
		return list[code]
	}
	return fmt.Sprintf("unknown code %d", code)
}
