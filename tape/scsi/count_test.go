package scsi

import (
	"fmt"
	"slices"
	"testing"

	"sliod/tape"
)

// longTape is a tape with more records than one SPACE passes: its filemarks, and the end of
// data.
type longTape struct {
	marks     []int64
	end, at   int64
	noReverse bool
	mute      bool // never says how far it came
	spaces    int
}

func (l *longTape) space(c *Command) *Sense {
	l.spaces++
	block, _ := ParseStream(c.CDB)
	s := block.(Space6)
	if s.Code == SpaceEnd {
		l.at = l.end
		return nil
	}
	n := int64(s.Count)
	if s.Code != SpaceBlocks || n < 0 && l.noReverse {
		return &Sense{Key: IllegalKey, Code: CodeInvalidField}
	}
	stop := func(at, left int64, sense Sense) *Sense {
		l.at = at
		if !l.mute {
			sense.Info, sense.InfoValid = left, true
		}
		return &sense
	}
	i, _ := slices.BinarySearch(l.marks, l.at)
	if n >= 0 {
		limit, sense := l.end, Sense{Key: BlankCheck, Code: CodeEndOfData}
		if i < len(l.marks) {
			limit, sense = l.marks[i], Sense{Code: CodeFilemark, Filemark: true}
		}
		if l.at+n <= limit {
			l.at += n
			return nil
		}
		left := n - (limit - l.at)
		if sense.Filemark {
			limit++
		}
		return stop(limit, left, sense)
	}
	limit, sense := int64(0), Sense{Code: CodeBeginning, EOM: true}
	if i > 0 {
		limit, sense = l.marks[i-1]+1, Sense{Code: CodeFilemark, Filemark: true}
	}
	if l.at+n >= limit {
		l.at += n
		return nil
	}
	left := -n - (l.at - limit)
	if sense.Filemark {
		limit--
	}
	return stop(limit, left, sense)
}

func (l *longTape) drive(t *testing.T) *Drive {
	f := newFake(t)
	f.on(ReadPosition{PositionLong}, nil)
	f.on(Locate16{}, nil)
	f.on(Rewind{}, func(*Command) *Sense { l.at = 0; return nil })
	f.on(Space6{}, l.space)
	f.on(Read6{}, func(c *Command) *Sense {
		_, mark := slices.BinarySearch(l.marks, l.at)
		switch {
		case l.at == l.end:
			return &Sense{Key: BlankCheck, Code: CodeEndOfData}
		case mark:
			l.at++
			return &Sense{Code: CodeFilemark, Filemark: true}
		}
		l.at++
		return nil
	})
	return f.load(t, DriveOptions{})
}

func TestCountLongTape(t *testing.T) {
	for _, noReverse := range []bool{false, true} {
		t.Run(fmt.Sprintf("noReverse=%v", noReverse), func(t *testing.T) {
			l := &longTape{marks: []int64{1, 3, 4, 12_000_000, 12_000_004}, end: 30_000_000, noReverse: noReverse}
			d := l.drive(t)
			ctx := t.Context()
			check := func(err error, want int64) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				if p, err := d.Position(ctx); err != nil || int64(p.Block) != want || l.at != want {
					t.Fatalf("the drive says %v %v and is at %d, want %d", p, err, l.at, want)
				}
			}
			to := func(b int64) error { return d.Locate(ctx, tape.Position{Block: tape.BlockNo(b)}) }
			check(to(20_000_000), 20_000_000)
			check(to(19_999_990), 19_999_990)
			check(to(12_000_002), 12_000_002)
			check(to(2), 2)
			check(d.LocateEnd(ctx, 0), 30_000_000)
			before := l.spaces
			check(d.LocateEnd(ctx, 0), 30_000_000)
			check(to(29_000_000), 29_000_000)
			check(d.LocateEnd(ctx, 0), 30_000_000)
			if n := l.spaces - before; n > 12 {
				t.Errorf("%d commands for what is known", n)
			}
			check(d.SpaceFilemarks(ctx, -2), 12_000_000)
			check(d.SpaceFilemarks(ctx, 2), 12_000_005)
			check(d.SpaceFilemarks(ctx, -5), 1)
			wantKind(t, d.SpaceFilemarks(ctx, 6), tape.EndOfData)
			check(nil, 30_000_000)
			wantKind(t, to(30_000_001), tape.EndOfData)
			wantKind(t, d.Locate(ctx, tape.Position{Partition: 1}), tape.IllegalRequest)
			wantKind(t, d.LocateEnd(ctx, 1), tape.IllegalRequest)
		})
	}
}

// TestCountMute: SPACE that stops at a filemark and does not say so would
// put the head elsewhere than we think. It is refused.
func TestCountMute(t *testing.T) {
	l := &longTape{marks: []int64{1}, end: 10, mute: true}
	d := l.drive(t)
	wantKind(t, d.Locate(t.Context(), tape.Position{Block: 5}), tape.HardwareError)
	if err := d.WriteBlock(t.Context(), []byte("a")); err == nil {
		t.Fatal("written at an unknown place")
	}
	if p, err := d.Position(t.Context()); err != nil || p != (tape.Position{}) || l.at != 0 {
		t.Fatal(p, err, l.at)
	}
	if err := d.WriteBlock(t.Context(), []byte("a")); err != nil {
		t.Fatal(err)
	}
}

// TestCountReset: after a reset nobody knows where the head is; after other
// unit attentions it is where it was.
func TestCountReset(t *testing.T) {
	l := &longTape{end: 10}
	d := l.drive(t)
	ctx := t.Context()
	if err := d.Locate(ctx, tape.Position{Block: 5}); err != nil {
		t.Fatal(err)
	}
	f := d.t.(*fake)
	f.on(Write6{}, says(Sense{Key: AttentionKey, Code: CodeModeChanged}))
	if err := d.WriteBlock(ctx, []byte("a")); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteFilemarks(ctx, 0); err != nil {
		t.Fatal(err)
	}
	l.at = 6
	f.on(Write6{}, says(Sense{Key: AttentionKey, Code: CodeReset}))
	wantKind(t, d.WriteBlock(ctx, []byte("a")), tape.UnitAttention)
	if p, err := d.Position(ctx); err != nil || p != (tape.Position{}) || l.at != 0 {
		t.Fatal(p, err, l.at)
	}
}
