package virtual

import (
	"encoding/binary"
	"fmt"

	"sliod/tape/scsi"
)

// logSense answers LOG SENSE. Values are those of the emulated cartridge; what it has none of,
// such as retries, is 0.
func (d *drive) logSense(c *scsi.Command, b scsi.LogSense) *scsi.Sense {
	if b.Subpage != 0 {
		return badField
	}
	l := scsi.LogData{Page: b.Page}
	switch b.Page {
	case scsi.LogPages:
		give(c, []byte{0, 0, 0, 4, scsi.LogPages, scsi.LogVolume, scsi.LogTapeAlert, scsi.LogCapacity}, int(b.Alloc))
		return nil
	case scsi.LogTapeAlert:
		l.Parameters = d.alertPage()
	case scsi.LogVolume:
		l.Parameters = d.volumePage()
	case scsi.LogCapacity:
		if d.state == ready {
			for i, p := range d.cart.parts {
				l.Parameters = append(l.Parameters, logNumber(scsi.CapacityRemaining0+uint16(i), 4, d.remaining(p)/mib),
					logNumber(scsi.CapacityMaximum0+uint16(i), 4, p.capacity/mib))
			}
		}
	default:
		return badField
	}
	give(c, l.Bytes(), int(b.Alloc))
	return nil
}

func logNumber(code uint16, size int, v int64) scsi.LogParameter {
	return scsi.LogParameter{Code: code, Control: 3, Value: binary.BigEndian.AppendUint64(nil, uint64(v))[8-size:]}
}

func logText(code uint16, size int, v string) scsi.LogParameter {
	return scsi.LogParameter{Code: code, Control: 1, Value: fmt.Appendf(nil, "%-*.*s", size, size, v)}
}

// volumePage is volume statistics (SSC-4, 17h): of this load, and of the cartridge's life. MB
// are 10^6 bytes. A data set is about 6 MB on these generations.
func (d *drive) volumePage() []scsi.LogParameter {
	if d.state != ready {
		return []scsi.LogParameter{logNumber(0x0000, 1, 0)} // the page is not valid
	}
	const mb, dataSet = 1_000_000, 6_000_000
	m, before := d.cart.mem, d.cart.before
	ps := []scsi.LogParameter{
		logNumber(0x0000, 1, 1),
		logNumber(scsi.VolumeMounts, 8, int64(m.Loads)),
		logNumber(0x0002, 8, m.Use.Written/dataSet),
		logNumber(scsi.VolumeWriteRetries, 4, 0),
		logNumber(scsi.VolumeWriteErrors, 2, min(m.Use.WriteErrors, 0xFFFF)),
		logNumber(0x0005, 2, 0), // suspended writes
		logNumber(0x0006, 2, 0), // fatal suspended writes
		logNumber(0x0007, 8, m.Use.Read/dataSet),
		logNumber(scsi.VolumeReadRetries, 4, 0),
		logNumber(scsi.VolumeReadErrors, 2, min(m.Use.ReadErrors, 0xFFFF)),
		logNumber(scsi.VolumeLastWriteErrors, 2, min(m.Use.WriteErrors-before.WriteErrors, 0xFFFF)),
		logNumber(scsi.VolumeLastReadErrors, 2, min(m.Use.ReadErrors-before.ReadErrors, 0xFFFF)),
		logNumber(0x000E, 4, (m.Use.Written-before.Written)/mb),
		logNumber(0x000F, 4, (m.Use.Read-before.Read)/mb),
		logNumber(scsi.VolumeMBWritten, 8, m.Use.Written/mb),
		logNumber(scsi.VolumeMBRead, 8, m.Use.Read/mb),
		logNumber(0x0016, 4, m.Capacity/mb),
		logNumber(0x0017, 4, d.used()/mb),
		logText(0x0040, 32, m.Serial),
		logText(0x0042, 32, string(m.Barcode)),
		logText(0x0043, 8, "SLIOD"),
		logNumber(0x0080, 1, int64(boolByte(m.WriteProtected))),
		logNumber(0x0081, 1, int64(boolByte(m.WORM))),
		logNumber(scsi.VolumeBeginningPasses, 4, int64(m.Loads)),
		logNumber(scsi.VolumeMiddlePasses, 4, int64(m.Loads)),
	}
	return append(ps, d.partitionRecord(scsi.VolumePartitionSize, func(p *partition) int64 { return p.capacity / mb }),
		d.partitionRecord(scsi.VolumePartitionUsed, func(p *partition) int64 { return (p.capacity - d.remaining(p)) / mb }),
		d.partitionRecord(scsi.VolumePartitionLeft, func(p *partition) int64 { return max(d.remaining(p)-d.lib.earlyWarning(p), 0) / mb }))
}

// partitionRecord is a parameter with a record for each partition.
func (d *drive) partitionRecord(code uint16, of func(*partition) int64) scsi.LogParameter {
	var values []uint32
	for _, p := range d.cart.parts {
		values = append(values, uint32(of(p)))
	}
	return scsi.LogParameter{Code: code, Control: 3, Value: scsi.PartitionRecords(values...)}
}

// used is what all partitions hold.
func (d *drive) used() (n int64) {
	for _, p := range d.cart.parts {
		n += p.capacity - d.remaining(p)
	}
	return n
}

func boolByte(on bool) byte {
	if on {
		return 1
	}
	return 0
}
