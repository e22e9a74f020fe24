package sliver

import (
	"strings"
	"testing"
)

// golden is the table of legal moves: a row for each state, x where it may go.
const golden = `
            hole absent faulting clean dirty archiving
hole        .    .      .        .     x     .
absent      x    .      x        .     x     .
faulting    x    x      .        x     x     .
clean       x    x      .        .     x     .
dirty       x    .      .        .     .     x
archiving   x    .      .        x     x     .
`

func TestMovesGolden(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(golden), "\n")
	cols := strings.Fields(lines[0])
	if len(lines)-1 != int(numStates) || len(cols) != int(numStates) {
		t.Fatalf("the table has %d rows and %d columns for %d states", len(lines)-1, len(cols), numStates)
	}
	for from, l := range lines[1:] {
		f := strings.Fields(l)
		if f[0] != State(from).String() {
			t.Errorf("row %d is %s, not %s", from, f[0], State(from))
		}
		for to, x := range f[1:] {
			if cols[to] != State(to).String() {
				t.Errorf("column %d is %s, not %s", to, cols[to], State(to))
			}
			if got := State(from).MayBecome(State(to)); got != (x == "x") {
				t.Errorf("%v -> %v: legal is %v, the table says %q", State(from), State(to), got, x)
			}
		}
	}
	if numStates.MayBecome(Hole) || Hole.MayBecome(numStates) {
		t.Error("a state that does not exist may move")
	}
	if got := State(77).String(); got != "state(77)" {
		t.Error(got)
	}
}

func TestResident(t *testing.T) {
	for s := Hole; s <= numStates; s++ {
		if want := s == Clean || s == Dirty || s == Archiving; s.Resident() != want {
			t.Errorf("%v: resident is %v", s, s.Resident())
		}
	}
}

func TestArithmetic(t *testing.T) {
	for _, x := range []struct {
		off uint64
		no  No
		in  int
	}{{0, 0, 0}, {Size - 1, 0, Size - 1}, {Size, 1, 0}, {MaxFileSize, MaxFileSize / Size, Size - 1}} {
		if no, in := At(x.off); no != x.no || in != x.in || no.Start()+uint64(in) != x.off {
			t.Errorf("At(%d) = %d, %d", x.off, no, in)
		}
	}
	for _, x := range []struct {
		size uint64
		n    No
		len  int
		cnt  No
	}{{0, 0, 0, 0}, {1, 0, 1, 1}, {Size, 0, Size, 1}, {Size, 1, 0, 1}, {Size + 5, 1, 5, 2}, {3 * Size, 1, Size, 3}, {MaxFileSize, MaxFileSize / Size, Size - 1, MaxFileSize/Size + 1}} {
		if got := LenIn(x.size, x.n); got != x.len {
			t.Errorf("LenIn(%d, %d) = %d, want %d", x.size, x.n, got, x.len)
		}
		if got := Count(x.size); got != x.cnt {
			t.Errorf("Count(%d) = %d, want %d", x.size, got, x.cnt)
		}
	}
	if b, i := No(PerBmap*3 + 7).Bmap(); b != 3 || i != 7 || b.First() != PerBmap*3 {
		t.Error(b, i)
	}
}
