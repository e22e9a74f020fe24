package virtual

import (
	"time"

	"sliod/tape/scsi"
)

// reportDensity answers with the one format that the drive and its cartridges have.
func (d *drive) reportDensity(c *scsi.Command, b scsi.ReportDensity) *scsi.Sense {
	if b.Types {
		return badField
	}
	g := d.lib.gen
	x := scsi.Density{Primary: g.Density, Secondary: g.Density, Writable: true, Default: true, BitsPerMM: g.bitsPerMM, Width: 127, Tracks: g.tracks,
		CapacityMB: uint32(g.Capacity / 1e6), Organization: "LTO-CVE", Name: "U-" + d.lib.cfg.Cartridge[len("LTO-"):], Description: "Ultrium " + d.lib.cfg.Cartridge[len("LTO-"):]}
	if b.Media {
		if s := d.notReady(); s != nil {
			return s
		}
		x.CapacityMB = uint32(d.cart.mem.Capacity / 1e6)
	}
	give(c, scsi.DensityBytes([]scsi.Density{x}), int(b.Alloc))
	return nil
}

// reportSupported lists the commands that the drive knows, with the timeouts that LTO-9 drives
// recommend.
func (d *drive) reportSupported(c *scsi.Command, b scsi.ReportSupported) *scsi.Sense {
	t, g := scsi.LTO9Timeouts, d.lib.gen
	var list []scsi.Supported
	add := func(takes time.Duration, opcodes ...byte) {
		for _, op := range opcodes {
			list = append(list, scsi.Supported{Opcode: op, Length: uint16(scsi.Length(op)), HasTimeouts: b.Timeouts, Recommended: uint32(takes / time.Second)})
		}
	}
	action := func(op byte, action uint16) {
		list = append(list, scsi.Supported{Opcode: op, Action: action, HasAction: true, Length: 12, HasTimeouts: b.Timeouts, Recommended: uint32(t.Short / time.Second)})
	}
	add(t.Short, scsi.OpTestUnitReady, scsi.OpRequestSense, scsi.OpReadBlockLimits, scsi.OpInquiry, scsi.OpModeSelect6, scsi.OpModeSense6,
		scsi.OpPreventAllow, scsi.OpReadPosition, scsi.OpReportDensity, scsi.OpLogSense, scsi.OpModeSelect10, scsi.OpModeSense10,
		scsi.OpAllowOverwrite, scsi.OpReadAttribute, scsi.OpWriteAttribute)
	if !d.lib.cfg.NoEncryption {
		add(t.Short, scsi.OpSecurityIn, scsi.OpSecurityOut)
	}
	add(t.Rewind, scsi.OpRewind)
	add(t.Format, scsi.OpFormatMedium)
	add(t.Read, scsi.OpRead6)
	add(t.Write, scsi.OpWrite6)
	add(t.Filemarks, scsi.OpWriteFilemarks6)
	add(t.Move, scsi.OpSpace6, scsi.OpSpace16, scsi.OpLocate10, scsi.OpLocate16)
	add(t.Load, scsi.OpLoadUnload)
	action(scsi.OpMaintenanceIn, 0x0C)
	if g.hasWraps() {
		action(scsi.OpMaintenanceIn, 0x1F)
	}
	if g.hasOrder() {
		action(scsi.OpMaintenanceIn, 0x1D)
		action(scsi.OpMaintenanceOut, 0x1D)
	}
	give(c, scsi.SupportedBytes(list), int(min(b.Alloc, maxRecord)))
	return nil
}
