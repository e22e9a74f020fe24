package scsi

import (
	"context"
	"slices"
	"testing"

	"sliod/tape"
)

// fake is a tape drive made of answers: by operation code, and by service action where
// there are any. What it has no answer for it does not know (5/20 00).
type fake struct {
	answers map[string]func(*Command) *Sense
	log     []CommandBlock
}

func code(c CommandBlock) string {
	b := c.CDB()
	k := string(b[:1])
	switch b[0] {
	case OpMaintenanceIn, OpMaintenanceOut, OpReadPosition:
		k += string(rune(b[1] & 0x1F))
	case OpModeSense6, OpModeSense10:
		k += string([]byte{b[2] & 0x3F, b[3]})
	case OpLogSense:
		k += string([]byte{b[2] & 0x3F})
	}
	return k
}

// on sets the answer to commands like c: data, sense data, or both.
func (f *fake) on(c CommandBlock, fn func(*Command) *Sense) { f.answers[code(c)] = fn }

// gives answers with data.
func gives(b []byte) func(*Command) *Sense {
	return func(c *Command) *Sense {
		c.Residual = len(c.Data) - copy(c.Data, b)
		return nil
	}
}

// says answers with sense data each time, from the list, and nil when it is used up.
func says(ss ...Sense) func(*Command) *Sense {
	return func(*Command) *Sense {
		if len(ss) == 0 {
			return nil
		}
		s := ss[0]
		ss = ss[1:]
		return &s
	}
}

func (f *fake) Do(ctx context.Context, c *Command) error {
	block, err := ParseStream(c.CDB)
	c.Status, c.Residual = Good, len(c.Data)
	if err == nil {
		f.log = append(f.log, block)
		if fn := f.answers[code(block)]; fn != nil {
			if c.Dir == Out {
				c.Residual = 0
			}
			if s := fn(c); s != nil {
				c.Status, c.Sense = CheckCondition, s.Bytes()
			}
			return nil
		}
	}
	c.Status, c.Sense = CheckCondition, Sense{Key: IllegalKey, Code: CodeInvalidOpcode}.Bytes()
	return nil
}

func (f *fake) Close() error { return nil }

// sent returns the commands of a type that came since the last call of forget.
func sent[T CommandBlock](f *fake) (cs []T) {
	for _, c := range f.log {
		if c, ok := c.(T); ok {
			cs = append(cs, c)
		}
	}
	return cs
}

func (f *fake) forget() { f.log = nil }

// page answers MODE SENSE for a page.
func (f *fake) page(p ModePage) {
	f.on(ModeSense{Ten: true, Page: p.Page, Subpage: p.Subpage}, gives(ModeData{Buffered: 1, HasBlock: true, Density: 0x58, Pages: []ModePage{p}}.Bytes(true)))
}

// newFake is a drive with a cartridge at its beginning, which knows what a drive of LTO-5 must.
func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{answers: map[string]func(*Command) *Sense{}}
	ok := func(c *Command) *Sense { return nil }
	for _, c := range []CommandBlock{TestUnitReady{}, LoadUnload{}, PreventAllow{}, Rewind{}, Locate16{}, Write6{}, WriteFilemarks6{}, ModeSelect{Ten: true}, ModeSelect{}, FormatMedium{}, AllowOverwrite{}} {
		f.on(c, ok)
	}
	f.on(Inquiry{}, func(c *Command) *Sense {
		if c.CDB[1]&1 != 0 {
			return gives(VitalPage(DeviceTape, PageSerial, []byte("F001")))(c)
		}
		return gives(InquiryData{Device: DeviceTape, Vendor: "FAKE"}.Bytes())(c)
	})
	f.on(ReadBlockLimits{}, gives(BlockLimits{Max: 8 << 20, Min: 1}.Bytes()))
	f.on(ReadPosition{PositionLong}, gives(PositionData{Beginning: true}.Bytes(PositionLong)))
	f.page(ModePage{Page: PageConfiguration, Data: make([]byte, 14)})
	return f
}

func (f *fake) drive(t *testing.T, o DriveOptions) *Drive {
	t.Helper()
	d, err := NewDrive(f, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (f *fake) load(t *testing.T, o DriveOptions) *Drive {
	t.Helper()
	d := f.drive(t, o)
	if err := d.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

func wantKind(t *testing.T, err error, want tape.Kind) {
	t.Helper()
	if err == nil || tape.KindOf(err) != want {
		t.Fatalf("got %v, want an error of kind %v", err, want)
	}
}

func wantSent[T interface {
	CommandBlock
	comparable
}](t *testing.T, f *fake, want ...T) {
	t.Helper()
	if got := sent[T](f); !slices.Equal(got, want) {
		t.Fatalf("sent %+v, want %+v", got, want)
	}
}
