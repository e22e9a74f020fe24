package simulate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sliod/tape"
	"sliod/tape/geometry"
)

// checker looks at every step that drives begin: whether it can follow the ones before.
type checker struct {
	t      interface{ Fatalf(string, ...any) }
	drives []checked
	where  map[tape.Barcode]int // the drive that has a volume, from its fetching until it is home
	arm    time.Duration        // when it has done its last move
	read   int64
	wrote  int64
	mounts int64
	moves  int64
}

type checked struct {
	step  Step
	until time.Duration
	vol   tape.Barcode // in the drive, or on its way
	ready bool
}

func newChecker(t interface{ Fatalf(string, ...any) }, drives int) *checker {
	return &checker{t: t, drives: make([]checked, drives), where: map[tape.Barcode]int{}}
}

func (c *checker) begins(e Event) {
	d := &c.drives[e.Drive]
	fail := func(what string) { c.t.Fatalf("%v: %s (it %v until %v with %q)", e, what, d.step, d.until, d.vol) }
	if d.step != Resting && e.At != d.until {
		fail("the step before has not ended, or the drive did nothing in between")
	}
	if e.Step != Resting && e.Until <= e.At {
		fail("it takes no time")
	}
	switch e.Step {
	case Unloading:
		if !d.ready || e.Volume != d.vol {
			fail("unloads what is not there")
		}
		d.ready = false
	case GoingHome:
		if d.step != Unloading || e.Volume != d.vol {
			fail("takes home what was not unloaded")
		}
		c.move(e, fail)
	case Fetching:
		if d.step == GoingHome {
			delete(c.where, d.vol)
			d.vol = ""
		}
		if d.vol != "" {
			fail("two cartridges in a drive")
		}
		if other, ok := c.where[e.Volume]; ok {
			fail(fmt.Sprintf("drive %d has the volume", other))
		}
		c.where[e.Volume], d.vol = e.Drive, e.Volume
		c.move(e, fail)
	case Loading:
		if d.step != Fetching || e.Volume != d.vol {
			fail("loads what was not fetched")
		}
		d.ready = true
		c.mounts++
	case Reading, Writing:
		if !d.ready || e.Volume != d.vol || e.Bytes < 1 {
			fail("works on what is not mounted")
		}
		if e.Step == Reading {
			c.read += e.Bytes
		} else {
			c.wrote += e.Bytes
		}
	case Resting:
		if d.step == GoingHome {
			delete(c.where, d.vol)
			d.vol = ""
		}
		if e.Volume != d.vol {
			fail("rests with another volume")
		}
	}
	d.step, d.until = e.Step, e.Until
}

// move: the arm does one move at a time.
func (c *checker) move(e Event, fail func(string)) {
	if e.Until-geometry.RobotMove < c.arm || e.Until-geometry.RobotMove < e.At {
		fail("the arm does two moves at once")
	}
	c.arm = e.Until
	c.moves++
}

// runAll has a new library do what rs ask, and checks what it does.
func runAll(t interface{ Fatalf(string, ...any) }, cfg Config, rs []Request) (*Result, string) {
	setDefault(&cfg.Drives, 2)
	c := newChecker(t, cfg.Drives)
	var log strings.Builder
	cfg.Begins = func(e Event) {
		c.begins(e)
		fmt.Fprintln(&log, e)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatalf("%v", err)
	}
	asked := map[Request]int{}
	var read, wrote int64
	s.onServed = func(k Kind, p *pending, a arrival) {
		r := Request{At: a.at, Block: p.block, Length: p.length, Kind: k}
		if p.volume != nil {
			r.Volume = p.volume.barcode
		}
		if asked[r]--; asked[r] < 0 {
			t.Fatalf("%+v was served, and not asked for, or twice", r)
		}
		if s.now <= a.at {
			t.Fatalf("%+v was served before it came", r)
		}
	}
	for _, r := range rs {
		asked[r]++
		if r.Kind == Archive {
			wrote += r.Length
		} else {
			read += r.Length
		}
		if err := s.Add(r); err != nil {
			t.Fatalf("%v: %v", r, err)
		}
	}
	res, err := s.Finish()
	if err != nil {
		t.Fatalf("%v", err)
	}
	for r, n := range asked {
		if n != 0 {
			t.Fatalf("%+v was not served", r)
		}
	}
	if res.Joined == 0 && res.ReadBytes != read || res.ReadBytes > read || res.WrittenBytes != wrote || c.read != res.ReadBytes || c.wrote != res.WrittenBytes {
		t.Fatalf("%d bytes read of %d, %d written of %d; %d joined", res.ReadBytes, read, res.WrittenBytes, wrote, res.Joined)
	}
	sum := int64(0)
	for k := range res.ByKind {
		sum += res.ByKind[k].Count()
	}
	if n := int64(len(rs)); res.Requests != n || res.Wait.Count() != n || sum != n {
		t.Fatalf("%d requests, %d asked, %d served, %d by kind", n, res.Requests, res.Wait.Count(), sum)
	}
	// A mount or a move that had begun when the last request was served does not count.
	if res.Mounts > c.mounts || res.Mounts < c.mounts-int64(cfg.Drives) || res.RobotMoves > c.moves || res.RobotMoves < c.moves-int64(cfg.Drives) {
		t.Fatalf("%d mounts of %d, %d moves of %d", res.Mounts, c.mounts, res.RobotMoves, c.moves)
	}
	total := 0.0
	for a := range activities {
		if u := res.Use(a); u < -1e-9 || u > 1 {
			t.Fatalf("activity %d has a share of %v", a, u)
		}
		total += res.Use(a)
	}
	if total < 0.999 || total > 1.001 {
		t.Fatalf("the drives' time adds up to %v", total)
	}
	var binned Bin
	for i := range res.Series.Bins {
		binned.join(&res.Series.Bins[i])
	}
	if binned.Served != int64(len(rs)) || binned.Peak != res.PeakWaiting || binned.WaitMax != res.Wait.Max() || binned.Queue != binned.WaitSum {
		t.Fatalf("over time: %+v, want %d served, a peak of %d, a longest wait of %v; the queue's area is the sum of the waits", binned, len(rs), res.PeakWaiting, res.Wait.Max())
	}
	return res, log.String()
}

// TestConservation: whatever comes, in every order, each request is served once, not before it
// came, by steps that can be; and the same trace gives the same steps.
func TestConservation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{
			Drives: rapid.IntRange(1, 4).Draw(t, "drives"), Order: Order(rapid.IntRange(0, int(orders)-1).Draw(t, "order")),
			Choice: rapid.SampledFrom([]Choice{ByPolicy, ByPolicy, Oldest}).Draw(t, "choice"),
			Linger: rapid.SampledFrom([]time.Duration{-1, 5 * time.Second, time.Minute, time.Hour}).Draw(t, "linger"),
			// Small volumes get full.
			ArchiveDrives: rapid.IntRange(0, 2).Draw(t, "archive drives"), RecallDrives: rapid.IntRange(0, 2).Draw(t, "recall drives"), Slots: 40,
		}
		var rs []Request
		at := time.Duration(rapid.IntRange(0, 1000).Draw(t, "start")) * time.Second
		small := rapid.Bool().Draw(t, "small")
		if small {
			cfg.Capacity = 10 << 30
		}
		for range rapid.IntRange(1, 60).Draw(t, "n") {
			r := drawRequest(t, at)
			if rapid.IntRange(0, 3).Draw(t, "again") == 0 && len(rs) > 0 {
				r = rs[rapid.IntRange(0, len(rs)-1).Draw(t, "which")]
				r.At = at
			}
			if small && r.Kind != Archive {
				r.Block %= 8 << 10
			}
			if rapid.IntRange(0, 2).Draw(t, "at once") == 0 {
				r.At = at
			}
			at = r.At
			rs = append(rs, r)
		}
		res, log := runAll(t, cfg, rs)
		again, log2 := runAll(t, cfg, rs)
		a, _ := json.Marshal(res)
		b, _ := json.Marshal(again)
		if log != log2 || string(a) != string(b) {
			t.Fatalf("two runs differ:\n%s\n%s", a, b)
		}
	})
}

// TestRefused has what a simulation does not take.
func TestRefused(t *testing.T) {
	for _, tc := range []struct {
		cfg  Config
		want string
	}{
		{Config{Drives: -1}, "-1 drives"}, {Config{Drives: 201}, "201 drives"}, {Config{Slots: -5}, "-5 slots"},
		{Config{Generation: "LTO-4"}, `no cartridge type "LTO-4": give one of LTO-5`}, {Config{Generation: "generic"}, "no cartridge type"},
		{Config{Capacity: 19e12}, "a capacity of 19000000000000 bytes"}, {Config{Capacity: 5}, "a capacity of 5"}, {Config{BlockSize: 9 << 20}, "records of"},
		{Config{BatchBytes: -1}, "must be more than 0"}, {Config{MaxWaiting: -1}, "must be more than 0"}, {Config{ArchiveDrives: -1}, "must be more than 0"},
	} {
		if _, err := New(tc.cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc.cfg, err)
		}
	}
	at := func(s int, v tape.Barcode, block tape.BlockNo) Request {
		return Request{time.Duration(s) * time.Second, v, block, 1 << 20, Read}
	}
	for _, tc := range []struct {
		name string
		cfg  Config
		rs   []Request
		want string
	}{
		{"backward", Config{}, []Request{at(5, "A1", 0), at(4, "A1", 0)}, "a request comes at 4s, before 5s"},
		{"beyond the end", Config{}, []Request{at(0, "A1", 40_000_000)}, "beyond the end of volume A1"},
		{"too many volumes", Config{Slots: 2}, []Request{at(0, "A1", 0), at(0, "A2", 0), at(0, "A3", 0)}, "volume A3 is one more than the 2 slots"},
		{"no scratch", Config{Slots: 1}, []Request{at(0, "A1", 0), {time.Hour, "", 0, 1 << 30, Archive}, at(9000, "A1", 0)}, "one more than the 1 slots"},
		{"too much", Config{MaxWaiting: 2}, []Request{at(0, "A1", 0), at(0, "A1", 9), at(0, "A1", 8)}, "2 requests wait after 0.0 days: this library cannot do the work"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := New(tc.cfg)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range tc.rs {
				if err = s.Add(r); err != nil {
					break
				}
			}
			if err == nil {
				_, err = s.Finish()
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Error(err)
			}
		})
	}
}

// TestGenerate: each pattern goes where it says, at the rate that it has, and is the same again.
func TestGenerate(t *testing.T) {
	for _, p := range Patterns {
		t.Run(string(p), func(t *testing.T) {
			y := Synthetic{Pattern: p, Volumes: 5, Rate: 100, Time: 100 * time.Hour, Seed: 7, Share: map[Kind]float64{Read: 3, Archive: 1}}
			make := func() (rs []Request) {
				if err := Generate(y, func(r Request) error { rs = append(rs, r); return nil }); err != nil {
					t.Fatal(err)
				}
				return rs
			}
			rs := make()
			if !slices.Equal(rs, make()) {
				t.Error("the same description gives two traces")
			}
			if len(rs) < 9500 || len(rs) > 10500 {
				t.Errorf("%d requests at 100 an hour in 100 hours", len(rs))
			}
			volumes := map[tape.Barcode]int{}
			var last, before Request
			archived, ahead := 0, 0
			for _, r := range rs {
				if r.At < last.At {
					t.Fatal("not in order")
				}
				last = r
				if r.Kind == Archive {
					archived++
					continue
				}
				volumes[r.Volume]++
				if r.Volume == before.Volume && r.Block > before.Block && r.Block < before.Block+40_000 {
					ahead++
				}
				before = r
			}
			if archived < len(rs)/5 || archived > len(rs)/3 {
				t.Errorf("%d of %d are archived, of a quarter", archived, len(rs))
			}
			reads := len(rs) - archived
			most := 0
			for _, n := range volumes {
				most = max(most, n)
			}
			ok := map[Pattern]bool{
				Uniform: most < reads/4 && ahead < reads/50, Clustered: ahead > reads/4 && len(volumes) == 5,
				Zipf: most > reads/3, Sequential: ahead > reads*9/10,
			}[p]
			if !ok {
				t.Errorf("of %d reads the most wanted volume has %d, and %d go a little ahead; %v", reads, most, ahead, volumes)
			}
			res, _ := runAll(t, Config{Drives: 4}, rs[:min(len(rs), 2000)])
			if res.Volumes < len(volumes) {
				t.Error(res.Volumes)
			}
		})
	}
	for want, y := range map[string]Synthetic{
		"no pattern":                 {Pattern: "x", Requests: 1},
		"no cartridge type":          {Generation: "x", Requests: 1},
		"-1 volumes":                 {Volumes: -1, Requests: 1},
		"records of 1 bytes":         {BlockSize: 1, Requests: 1},
		"requests of -1 bytes":       {Length: -1, Requests: 1},
		"-1 requests an hour":        {Rate: -1, Requests: 1},
		"below 0":                    {Requests: -1},
		"give the time of the trace": {},
		"a share of -1 of kind bulk": {Requests: 1, Share: map[Kind]float64{Bulk: -1}},
		"the shares of all kinds":    {Requests: 1, Share: map[Kind]float64{Bulk: 0}},
	} {
		if err := Generate(y, func(Request) error { return nil }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
