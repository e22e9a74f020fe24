package virtual

import (
	"bytes"
	"testing"

	"sliod/tape/scsi"
	"sliod/tape/tapetest"
)

// TestAbortedCommand: a command that the drive aborted (a damaged frame on the link) is
// sent again if it was not done, and is an error if it was: no record is written or
// passed over twice.
func TestAbortedCommand(t *testing.T) {
	for _, op := range []byte{scsi.OpWrite6, scsi.OpWriteFilemarks6, scsi.OpRead6, scsi.OpLocate16, scsi.OpModeSense10} {
		for _, after := range []bool{false, true} {
			l := open(t, t.TempDir())
			d := mount(t, l)
			ctx := t.Context()
			noError(t, d.WriteBlock(ctx, tapetest.Record(0, 1000)))
			noError(t, d.WriteFilemarks(ctx, 0))
			l.SetFault(Fault{Device: 0, Opcode: op, Sense: scsi.Sense{Key: scsi.AbortedCommand, Code: 0x4700}, After: after})
			failed := false
			step := func(err error) {
				t.Helper()
				if err != nil && !after {
					t.Errorf("op %02x: %v", op, err)
				}
				failed = failed || err != nil
			}
			step(d.WriteBlock(ctx, tapetest.Record(1, 1000)))
			step(d.WriteFilemarks(ctx, 1))
			step(d.Locate(ctx, positionOf(0)))
			buf := make([]byte, 1000)
			for i := range 2 {
				_, err := d.ReadBlock(ctx, buf)
				step(err)
				if !failed && !bytes.Equal(buf, tapetest.Record(i, 1000)) {
					t.Errorf("op %02x, after %t: record %d is another", op, after, i)
				}
			}
			if moves := op == scsi.OpWrite6 || op == scsi.OpWriteFilemarks6 || op == scsi.OpRead6; after && failed != moves {
				t.Errorf("op %02x was done, and its answer lost: failed %t", op, failed)
			}
		}
	}
}
