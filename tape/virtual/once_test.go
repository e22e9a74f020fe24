package virtual

import (
	"bytes"
	"context"
	stderrors "errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"sliod/tape/scsi"
	"sliod/tape/tapetest"
)

// spoiler is a transport that has one command of an opcode answered otherwise.
type spoiler struct {
	scsi.Transport
	op    byte // 0: none
	spoil func(do func() error, c *scsi.Command) error
}

func (s *spoiler) Do(ctx context.Context, c *scsi.Command) error {
	do := func() error { return s.Transport.Do(ctx, c) }
	if s.op == 0 || s.op != c.CDB[0] {
		return do()
	}
	s.op = 0
	return s.spoil(do, c)
}

// TestOnceAndNoMore: a command that the drive aborted (a damaged frame on the link), or was too busy for, is
// sent again if it was not done, and is an error if it was: no record is written or
// passed over twice. By SAM-5 a busy drive has done nothing; a bridge between may think otherwise.
func TestOnceAndNoMore(t *testing.T) {
	for name, answer := range map[string]func(*scsi.Command){
		"aborted": func(c *scsi.Command) {
			c.Status, c.Sense = scsi.CheckCondition, scsi.Sense{Key: scsi.AbortedCommand, Code: 0x4700}.Bytes()
		},
		"busy": func(c *scsi.Command) { c.Status = scsi.Busy },
	} {
		for _, op := range []byte{scsi.OpWrite6, scsi.OpWriteFilemarks6, scsi.OpRead6, scsi.OpLocate16, scsi.OpModeSense10} {
			for _, done := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %02x done %t", name, op, done), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { onceAndNoMore(t, answer, op, done) })
				})
			}
		}
	}
}

func onceAndNoMore(t *testing.T, answer func(*scsi.Command), op byte, done bool) {
	l := open(t, t.TempDir())
	mount(t, l)
	s := &spoiler{Transport: l.Transport(0), spoil: func(do func() error, c *scsi.Command) error {
		if done {
			if err := do(); err != nil {
				return err
			}
		}
		answer(c)
		return nil
	}}
	d, err := scsi.NewDrive(s, scsi.DriveOptions{})
	noError(t, err)
	ctx := t.Context()
	noError(t, d.Load(ctx))
	noError(t, d.WriteBlock(ctx, tapetest.Record(0, 1000)))
	noError(t, d.WriteFilemarks(ctx, 0))
	s.op = op
	failed := false
	step := func(err error) {
		t.Helper()
		if err != nil && !done {
			t.Error(err)
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
			t.Errorf("record %d is another", i)
		}
	}
	if moves := op == scsi.OpWrite6 || op == scsi.OpWriteFilemarks6 || op == scsi.OpRead6; done && failed != moves {
		t.Errorf("it was done, and its answer lost: failed %t", failed)
	}
}

// TestRecordsLost: a flush succeeds only if the drive is where all that was written puts it.
func TestRecordsLost(t *testing.T) {
	for name, spoil := range map[string]func(do func() error, c *scsi.Command) error{
		"lost":  func(_ func() error, c *scsi.Command) error { c.Status, c.Residual = scsi.Good, 0; return nil },
		"twice": func(do func() error, _ *scsi.Command) error { return stderrors.Join(do(), do()) },
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t, t.TempDir())
			mount(t, l)
			s := &spoiler{Transport: l.Transport(0), spoil: spoil}
			d, err := scsi.NewDrive(s, scsi.DriveOptions{})
			noError(t, err)
			ctx := t.Context()
			noError(t, d.Load(ctx))
			noError(t, d.WriteBlock(ctx, tapetest.Record(0, 1000)))
			s.op = scsi.OpWrite6
			noError(t, d.WriteBlock(ctx, tapetest.Record(1, 1000)))
			noError(t, d.WriteBlock(ctx, tapetest.Record(2, 1000)))
			if err := d.WriteFilemarks(ctx, 0); err == nil || !strings.Contains(err.Error(), "lost, or written twice") {
				t.Errorf("flushed: %v", err)
			}
		})
	}
}
