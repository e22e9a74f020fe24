package virtual

import (
	"bytes"
	"context"
	"os"
	"testing"

	"sliod/tape"
	"sliod/tape/scsi"
	"sliod/tape/tapetest"
)

// TestFailEveryCommand fails the first command of a script, then the second, and so
// on, until none is left: each failure is told, and a failed run leaves what a
// later one can use.
func TestFailEveryCommand(t *testing.T) {
	for name, fail := range map[string]func(Event){
		"hardware error": func(e Event) { e.Fail(scsi.Sense{Key: scsi.HardwareKey, Code: scsi.CodeInternalFailure}) },
		"lost":           Event.Lose,
	} {
		for _, after := range []bool{false, true} {
			l := open(t, t.TempDir(), func(c *Config) { c.Slots = 1 })
			d := mount(t, l)
			noError(t, d.Unload(t.Context()))
			for n, done := 1, false; !done; n++ {
				count, asking := 0, false
				l.Hook(func(e Event) {
					if e.After == after {
						if count++; count == n {
							asking = e.Opcode == scsi.OpLogSense // its failure is logged: the flush before was done
							fail(e)
						}
					}
				})
				err := script(t.Context(), d)
				l.Hook(nil)
				if done = count < n; done != (err == nil) && !asking {
					if _, ok := err.(*tape.Error); !ok || err == nil {
						t.Fatalf("%s, after %v, command %d: %v", name, after, n, err)
					}
				}
				if n > 100 {
					t.Fatal("the script does not end")
				}
			}
		}
	}
}

func script(ctx context.Context, d tape.Drive) error {
	p := tapetest.Record(1, 3000)
	buf := make([]byte, 3000)
	for _, step := range []func() error{
		func() error { return d.Load(ctx) },
		func() error { return d.Format(ctx, 2) },
		func() error { return d.Locate(ctx, tape.Position{Partition: 1}) },
		func() error { return d.WriteBlock(ctx, p) },
		func() error { return d.WriteFilemarks(ctx, 1) },
		func() error { return d.WriteAttribute(ctx, 1, 0x080C, tape.AttrBinary, p[:70]) },
		func() error { return d.LocateEnd(ctx, 0) },
		func() error { return d.Locate(ctx, tape.Position{Partition: 1}) },
		func() error {
			n, err := d.ReadBlock(ctx, buf)
			if err == nil && !bytes.Equal(buf[:n], p) {
				panic("read something else")
			}
			return err
		},
		func() error { return d.Unload(ctx) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// TestResetBeforeCapacity: a reset that the drive tells when it is asked for its capacity
// must not let the next write go to the beginning of the tape.
func TestResetBeforeCapacity(t *testing.T) {
	l := open(t, t.TempDir())
	d := mount(t, l)
	ctx := t.Context()
	noError(t, d.WriteBlock(ctx, []byte("first")))
	l.Hook(func(e Event) {
		if e.Opcode == scsi.OpLogSense && !e.After {
			l.Hook(nil)
			l.drives[0].block = 0
			e.Fail(scsi.Sense{Key: scsi.AttentionKey, Code: scsi.CodeReset})
		}
	})
	wantKind(t, d.WriteFilemarks(ctx, 0), tape.UnitAttention)
	noError(t, d.LocateEnd(ctx, 0))
	at, err := d.Position(ctx)
	noError(t, err)
	if at != positionOf(1) {
		t.Fatal(at)
	}
}

// TestFlushFails: after a failed flush what was on disk can be read, nothing can be
// written, and the cartridge comes out.
func TestFlushFails(t *testing.T) {
	l := open(t, t.TempDir())
	d := mount(t, l)
	ctx := t.Context()
	noError(t, d.WriteBlock(ctx, []byte("first")))
	noError(t, d.WriteFilemarks(ctx, 0))
	noError(t, d.WriteBlock(ctx, []byte("second")))
	p := l.drives[0].cart.parts[0]
	readOnly, err := os.Open(p.index.Name())
	noError(t, err)
	p.index.Close()
	p.index = &file{readOnly}
	wantKind(t, d.WriteFilemarks(ctx, 0), tape.MediumError)
	noError(t, d.Rewind(ctx))
	buf := make([]byte, 10)
	n, err := d.ReadBlock(ctx, buf)
	noError(t, err)
	if string(buf[:n]) != "first" {
		t.Fatalf("%q", buf[:n])
	}
	_, err = d.ReadBlock(ctx, buf)
	wantKind(t, err, tape.EndOfData)
	wantKind(t, d.WriteBlock(ctx, []byte("third")), tape.MediumError)
	noError(t, d.Unload(ctx))
	noError(t, d.Load(ctx))
	noError(t, d.LocateEnd(ctx, 0))
	noError(t, d.WriteBlock(ctx, []byte("third")))
	noError(t, d.WriteFilemarks(ctx, 0))
}
