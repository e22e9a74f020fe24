package scsi

import (
	"context"

	"sliod/tape"
)

// AlertParameter encodes a flag of LogTapeAlert.
func AlertParameter(a tape.Alert, set bool) LogParameter {
	return LogParameter{Code: uint16(a), Control: 0xC0, Value: []byte{bit(set, 1)}}
}

// ParseAlerts takes the flags that are set out of LogTapeAlert, in their order.
func ParseAlerts(l LogData) []tape.Alert {
	var set []tape.Alert
	for _, p := range l.Parameters {
		if p.Code >= 1 && p.Code <= 64 && p.Number()&1 != 0 {
			set = append(set, tape.Alert(p.Code))
		}
	}
	return set
}

// Alerts implements tape.Drive. It needs no medium, and a unit attention does not
// hinder it.
func (d *Drive) Alerts(ctx context.Context) ([]tape.Alert, error) {
	l, err := d.LogPage(ctx, LogTapeAlert)
	if err != nil {
		return nil, err
	}
	return ParseAlerts(l), nil
}
