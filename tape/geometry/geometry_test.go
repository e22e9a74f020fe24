package geometry

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"sliod/tape"
)

func generation(t testing.TB, name string) Generation {
	t.Helper()
	g, ok := ByName(name)
	if !ok {
		t.Fatalf("no generation %s", name)
	}
	return g
}

// TestAverages: the model gives the published averages of LTO-9.
func TestAverages(t *testing.T) {
	g := generation(t, "LTO-9")
	var sum, rewind float64
	const n = 20000
	for i := range n {
		at := Offset(float64(i) / n * float64(g.Capacity))
		sum += g.Locate(0, at)
		rewind += g.Rewind(at)
	}
	if avg := sum / n; avg < 45 || avg > 52 {
		t.Errorf("average locate from the beginning %.1f s", avg)
	}
	if avg := rewind / n; avg < 47 || avg > 55 {
		t.Errorf("average rewind %.1f s", avg)
	}
	if back := g.Locate(70e9, 70e9-1e9); math.Abs(back-11.2) > 2 {
		t.Errorf("a step back takes %.1f s", back)
	}
	if x := g.Exchange().Seconds(); x < 60 || x > 90 {
		t.Errorf("an exchange takes %.0f s", x)
	}
}

func TestGenerations(t *testing.T) {
	for _, name := range Names() {
		g := generation(t, name)
		if g.Wraps%Bands != 0 {
			t.Errorf("%s: %d wraps", name, g.Wraps)
		}
		if all := g.WrapBytes * float64(g.Wraps) / float64(g.Capacity); all < 0.999 || all > 1.001 {
			t.Errorf("%s: wraps hold %.4f of the capacity", name, all)
		}
		if v := g.Length / (g.WrapBytes / g.Rate); v < 4 || v > 8 { // metres a second
			t.Errorf("%s: the tape runs at %.1f m/s", name, v)
		}
		if same, ok := ByDensity(g.Density); !ok || same != g {
			t.Errorf("%s is not found by its density", name)
		}
		if same, ok := ByBarcode(tape.Barcode("A00001" + g.Suffix)); !ok || same != g {
			t.Errorf("%s is not found by a barcode", name)
		}
	}
	for _, ok := range []bool{second(ByName("LTO-99")), second(ByDensity(0)), second(ByBarcode("A00001")), second(ByBarcode(""))} {
		if ok {
			t.Error("what is not known is found")
		}
	}
}

func second(_ Generation, ok bool) bool { return ok }

// rounded is more than the same sum differs by, added up in another order: seconds.
const rounded = 1e-6

// TestWhere: the two wraps that meet at a turn meet at the same place on the tape.
func TestWhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, _ := ByName(rapid.SampledFrom(Names()).Draw(t, "generation"))
		w := rapid.IntRange(1, g.Wraps-1).Draw(t, "wrap")
		turn := Offset(float64(w) * g.WrapBytes)
		a, b := g.Where(turn-1), g.Where(turn)
		if a.Wrap != int32(w-1) || b.Wrap != int32(w) || math.Abs(a.Metres-b.Metres) > 0.001 || a.Forward() == b.Forward() {
			t.Fatalf("%+v and %+v meet at a turn", a, b)
		}
		from := Offset(rapid.Float64Range(0, float64(g.Capacity)).Draw(t, "from"))
		to := Offset(rapid.Float64Range(0, float64(g.Capacity)).Draw(t, "to"))
		x, y := g.Where(from), g.Where(to)
		took := g.Locate(from, to)
		if took != g.Travel(x, y) || g.ReadsOn(x, y) != (took < startStop) {
			t.Fatalf("%v to %v takes %v", from, to, took)
		}
		d := math.Abs(x.Metres - y.Metres)
		least := startStop + wind(d)
		if most := least + 2*turnAround + otherWrap + otherBand; took >= startStop && (took < least-rounded || took > most+rounded) {
			t.Fatalf("%v m take %v, not %v to %v", d, took, least, most)
		}
		if from <= to {
			if r, turns := g.Read(from, to), float64(y.Wrap-x.Wrap); math.Abs(r-float64(to-from)/g.Rate-turns*wrapTurn) > rounded {
				t.Fatalf("reading from %v to %v takes %v", from, to, r)
			}
		}
	})
}

// TestMap lays records of random sizes on a tape, compressed by the drive where it tells the ends
// of wraps, and compares where they are with what a map says that knows these ends and some sizes.
func TestMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, _ := ByName(rapid.SampledFrom(Names()).Draw(t, "generation"))
		v := Volume{Generation: g, Partitions: rapid.IntRange(1, 2).Draw(t, "partitions")}
		p := tape.Partition(v.Partitions - 1)
		start := Offset(0)
		if p > 0 {
			start = g.SecondPartition(g.FirstPartition(g.Capacity))
		}
		wraps, onTape := rapid.Bool().Draw(t, "wraps"), 1.0
		if wraps {
			onTape = rapid.Float64Range(0.4, 1).Draw(t, "bytes on tape, of a byte")
		}
		step := rapid.IntRange(1, 20).Draw(t, "a point every so many records")
		largest := g.WrapBytes / 100 // huge, for short tests
		var at []Offset              // of each record
		ended := 0                   // the first record behind the last end of a wrap that is told
		o, bytes := start, 0.0
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed of the sizes"), 0)) // rapid's own are nearly all small
		for range rapid.OneOf(rapid.IntRange(1, 30), rapid.IntRange(500, 1000)).Draw(t, "records") {
			size := largest * (0.05 + 0.95*rng.Float64())
			w, next := int(float64(o)/g.WrapBytes), int(float64(o+Offset(size))/g.WrapBytes)
			if next >= g.Wraps {
				break
			}
			if wraps && next > w {
				v.Wraps = append(v.Wraps, tape.WrapEnd{Wrap: w, Partition: p, End: tape.BlockNo(len(at))})
				ended = len(at) + 1
			}
			at = append(at, o)
			o, bytes = o+Offset(size), bytes+size/onTape
			if len(at)%step == 0 {
				v.Points = append(v.Points, Point{p, tape.BlockNo(len(at)), int64(bytes)})
			}
		}
		m := NewMap(v)
		for i, want := range at {
			if i >= len(at)/step*step {
				break // behind all points
			}
			// A map counts the record that runs over the end of a wrap as if it ended there: it is
			// off by one record, and by what lies between two points. Behind the last end, the
			// bytes on tape are guessed by the wrap before, and both of its ends are off.
			worst := largest * float64(step)
			switch {
			case !wraps && step == 1:
				worst = float64(step + len(at)) // rounded
			case i > ended && len(v.Wraps) > 0:
				worst *= 2
			case len(v.Wraps) == 0:
				worst += float64(want-start) * (1/onTape - 1) // nothing tells how they are compressed
			}
			got := m.At(tape.Position{Partition: p, Block: tape.BlockNo(i)}, 0)
			if d := math.Abs(float64(got - want)); d > worst {
				t.Fatalf("record %d is at %v, the map says %v: off by %v records of the largest size, not by %v", i, want, got, d/largest, worst/largest)
			}
			if step == 1 && i < ended && g.Where(got).Wrap != g.Where(want).Wrap {
				t.Fatalf("record %d is in wrap %d, the map says %d", i, g.Where(want).Wrap, g.Where(got).Wrap)
			}
		}
		last := Offset(-1)
		for i := range 3 * len(at) { // also behind what is known
			got := m.At(tape.Position{Partition: p, Block: tape.BlockNo(i)}, 0)
			if got <= last && got < m.end-1 {
				t.Fatalf("record %d is not behind the one before", i)
			}
			last = got
		}
	})
}

// TestMapOfRoundedSizes: places that float64 does not keep apart are no division by zero.
func TestMapOfRoundedSizes(t *testing.T) {
	g, _ := ByName("LTO-9")
	m := NewMap(Volume{
		Generation: g,
		Wraps:      []tape.WrapEnd{{Wrap: 0, End: 1}, {Wrap: 1, End: 2}},
		Points:     []Point{{Block: 1, Bytes: 1000}, {Block: math.MaxUint64, Bytes: 1001}},
	})
	if at := m.At(tape.Position{Block: 3}, 0); !(at >= 0 && at < m.end) {
		t.Errorf("block 3 is at %v", at)
	}
}

// TestMapNonsense: a drive or a catalog that contradicts itself, or the medium, does no harm.
func TestMapNonsense(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(append(Names(), "")).Draw(t, "generation")
		g, _ := ByName(name)
		v := Volume{Generation: g, Partitions: rapid.IntRange(-1, 3).Draw(t, "partitions"), BlockBytes: rapid.IntRange(-1, 1<<30).Draw(t, "block"),
			CapacityBytes: rapid.Int64Range(0, 1<<60).Draw(t, "capacity")}
		for range rapid.IntRange(0, 5).Draw(t, "wraps") {
			v.Wraps = append(v.Wraps, tape.WrapEnd{Wrap: rapid.IntRange(-2, 400).Draw(t, "wrap"), Partition: tape.Partition(rapid.IntRange(0, 2).Draw(t, "p")),
				End: tape.BlockNo(rapid.Uint64().Draw(t, "end"))})
		}
		for range rapid.IntRange(0, 5).Draw(t, "points") {
			v.Points = append(v.Points, Point{tape.Partition(rapid.IntRange(0, 2).Draw(t, "p")), tape.BlockNo(rapid.Uint64().Draw(t, "block")), rapid.Int64().Draw(t, "bytes")})
		}
		m := NewMap(v)
		at := tape.Position{Partition: tape.Partition(rapid.IntRange(0, 255).Draw(t, "p")), Block: tape.BlockNo(rapid.Uint64().Draw(t, "block"))}
		if got := m.At(at, rapid.Uint32().Draw(t, "offset")); !(got >= 0 && got < m.end) {
			t.Fatalf("%v is at %v, the tape has %v", at, got, m.end)
		}
	})
}
