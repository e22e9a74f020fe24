package mover

import (
	"context"
	"strings"

	"sliod/tape"
	"sliod/tape/ltfs"
	"sliod/tape/ltfs/ltfscheck"
)

// FormatReport is what CheckFormat finds.
type FormatReport = ltfscheck.Report

// CheckFormat has volume b checked against the rules of LTFS, by a reader of its own.
// With data, all that the newest index describes is read as well. Nothing is changed,
// but that a volume which is in use gets its index before.
func (m *Mover) CheckFormat(ctx context.Context, b tape.Barcode, data bool) (rep *FormatReport, err error) {
	err = m.UseVolume(ctx, b, UseOptions{Raw: true}, func(ctx context.Context, s *Session) (err error) {
		if err := ltfs.Unlock(ctx, s.Drive, m.mountOptions(s.Volume.Pool)); err != nil {
			return err
		}
		rep, err = ltfscheck.Check(ctx, s.Drive, ltfscheck.Options{Data: data, Every: data})
		return err
	})
	if err == nil && rep.Serial != "" && !strings.HasPrefix(string(b), rep.Serial) {
		rep.Findings = append(rep.Findings, ltfscheck.Finding{Severity: ltfscheck.Note, Text: "the barcode does not begin with the volume serial " + rep.Serial})
	}
	return rep, err
}
