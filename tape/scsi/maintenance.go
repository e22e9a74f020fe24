package scsi

import "sliod/tape"

// Operation codes that are told apart by a service action (SPC-5, MAINTENANCE IN and OUT).
const (
	OpMaintenanceIn  = 0xA3
	OpMaintenanceOut = 0xA4
)

// Service actions of MAINTENANCE IN and OUT.
const (
	actionSupported = 0x0C // REPORT SUPPORTED OPERATION CODES
	actionOrder     = 0x1D // RECEIVE or GENERATE RECOMMENDED ACCESS ORDER (IBM LTO and Jaguar references)
	actionWraps     = 0x1F // the drive's own: the next byte says which
	wrapsOfTape     = 0x45 // READ END OF WRAP POSITION
)

// parseMaintenance parses the commands that share A3h and A4h. A service action
// that is not known is ErrField, as SPC-5 wants it.
func parseMaintenance(b []byte) (CommandBlock, error) {
	switch action := b[1] & 0x1F; {
	case b[0] == OpMaintenanceIn && action == actionSupported:
		return parseReportSupported(b)
	case b[0] == OpMaintenanceOut && action == actionOrder:
		return parseGenerateOrder(b)
	case b[0] == OpMaintenanceIn && action == actionOrder:
		return parseReceiveOrder(b)
	case b[0] == OpMaintenanceIn && action == actionWraps && b[2] == wrapsOfTape:
		return parseReadWraps(b)
	}
	return nil, ErrField
}

// lacking looks at the failure of a command that only asks whether the drive has a
// feature: what the drive says against it must not keep a volume from being
// used. lacks: it does not know the command. err: it is about something else.
func (d *Drive) lacking(failed error) (lacks bool, err error) {
	s, ok := senseOf(failed)
	if !ok || s.Deferred || tape.KindOf(failed) == tape.UnitAttention {
		return false, failed
	}
	switch s.Key {
	case IllegalKey:
		return true, nil
	case MediumErrorKey, BlankCheck: // it knows the command, and not what to say of this medium
	default:
		return false, failed
	}
	d.log.WithError(failed).Warn("the drive could not say whether it has a feature")
	return false, nil
}
