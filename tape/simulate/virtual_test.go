package simulate

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sliod/tape"
	"sliod/tape/geometry"
	"sliod/tape/ltfs"
	"sliod/tape/virtual"
)

const (
	testRecord  = 1 << 20
	testRecords = 48 // of a volume
	slotBase    = 1024
	driveBase   = 256
)

// makeLibrary makes an emulated library of LTFS volumes with data on them, at no speed at all.
// It returns the block of the first record of data.
func makeLibrary(t *testing.T, cfg virtual.Config) tape.BlockNo {
	t.Helper()
	cfg.Speed = 0
	l, err := virtual.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d, ctx := l.Tape().Drives[0], t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var first tape.BlockNo
	record := make([]byte, testRecord)
	for n := range cfg.Slots {
		must(l.Tape().Changer.Move(ctx, slotBase+uint16(n), driveBase))
		must(d.Load(ctx))
		must(ltfs.Format(ctx, d, ltfs.FormatOptions{Barcode: tape.Barcode(barcode('A', n+1, "L9")), BlockSize: testRecord}))
		v, err := ltfs.Mount(ctx, d, ltfs.MountOptions{})
		must(err)
		for i := range testRecords {
			x, err := v.Append(ctx, record)
			must(err)
			if i == 0 {
				first = tape.BlockNo(x[0].StartBlock)
			}
		}
		must(v.WriteIndex(ctx))
		must(v.Close(ctx))
		must(d.Unload(ctx))
		must(l.Tape().Changer.Move(ctx, driveBase, slotBase+uint16(n)))
	}
	return first
}

// replay has the emulated library take the steps that a simulation took, each drive its own, at the pace of the
// emulated devices, and returns when the last read was done.
func replay(t *testing.T, cfg virtual.Config, first tape.BlockNo, steps []Event) (makespan time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		cfg.Speed = 1
		l, err := virtual.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		start := time.Now()
		var mu sync.Mutex
		moved := sync.NewCond(&mu)
		away := map[tape.Barcode]bool{}
		last := time.Duration(0) // guarded by mu
		slot := func(b tape.Barcode) uint16 {
			n := 0
			_, _ = fmt.Sscanf(string(b[1:]), "%d", &n) // it is one of ours
			return slotBase + uint16(n-1)
		}
		do := func(d int, e Event) error {
			drive, ctx := l.Tape().Drives[d], t.Context()
			switch e.Step {
			case Resting:
				time.Sleep(time.Until(start.Add(e.Until)))
			case Unloading:
				return drive.Unload(ctx)
			case GoingHome:
				if err := l.Tape().Changer.Move(ctx, driveBase+uint16(d), slot(e.Volume)); err != nil {
					return err
				}
				mu.Lock()
				delete(away, e.Volume)
				moved.Broadcast()
				mu.Unlock()
			case Fetching:
				mu.Lock()
				for away[e.Volume] {
					moved.Wait()
				}
				away[e.Volume] = true
				mu.Unlock()
				return l.Tape().Changer.Move(ctx, slot(e.Volume), driveBase+uint16(d))
			case Loading:
				if err := drive.Load(ctx); err != nil {
					return err
				}
				_, err := ltfs.Mount(ctx, drive, ltfs.MountOptions{})
				return err
			case Reading:
				if err := drive.Locate(ctx, tape.Position{Partition: 1, Block: first + e.Block}); err != nil {
					return err
				}
				for buf, n := make([]byte, testRecord), e.Bytes; n > 0; n -= testRecord {
					if _, err := drive.ReadBlock(ctx, buf); err != nil {
						return err
					}
				}
				mu.Lock()
				last = max(last, time.Since(start))
				mu.Unlock()
			}
			return nil
		}
		var wg sync.WaitGroup
		for d := range cfg.Drives {
			wg.Go(func() {
				for _, e := range steps {
					if e.Drive != d {
						continue
					}
					if err := do(d, e); err != nil {
						t.Errorf("%v: %v", e, err)
						return
					}
				}
			})
		}
		wg.Wait()
		makespan = last
	})
	return makespan
}

// agreement is how much the simulation may differ from the emulated library, as a share. What is
// different: the emulation reads labels and indexes as records, and places records behind them.
const agreement = 0.005

// TestAgreesWithTheVirtualLibrary runs small traces through the emulated library too: real commands to
// real drivers, with the times of the devices.
func TestAgreesWithTheVirtualLibrary(t *testing.T) {
	for _, tc := range []struct {
		name            string
		drives, volumes int
		trace           string
	}{
		{"one drive, one volume", 1, 1, "0,A00001L9,40,1048576,read\n0,A00001L9,3,2097152,read\n0,A00001L9,20,1048576,bulk\n0,A00001L9,4,8388608,read\n"},
		{"one drive, later", 1, 1, "0,A00001L9,40,1048576,read\n70,A00001L9,3,2097152,read\n300,A00001L9,7,2097152,read\n"},
		{"two drives, five volumes", 2, 5, `0,A00001L9,1,1048576,read
0,A00002L9,30,1048576,read
0,A00003L9,10,4194304,bulk
0,A00003L9,40,1048576,read
0,A00004L9,20,1048576,read
0,A00005L9,5,1048576,read
0,A00001L9,9,3145728,verify
200,A00002L9,2,1048576,read
200,A00001L9,44,1048576,read
450,A00005L9,45,1048576,read
451,A00003L9,0,16777216,read
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rs, err := readAll(Header + "\n" + tc.trace)
			if err != nil {
				t.Fatal(err)
			}
			var steps []Event
			log := strings.Builder{}
			cfg := Config{Drives: tc.drives, Slots: tc.volumes, BlockSize: testRecord, Capacity: 128 << 20}
			cfg.Begins = func(e Event) {
				if e.Step == Resting { // until it does something else
					e.Until = 0
				}
				for i := len(steps) - 1; i >= 0; i-- {
					if steps[i].Drive == e.Drive {
						if steps[i].Step == Resting {
							steps[i].Until = e.At
						}
						break
					}
				}
				steps = append(steps, e)
				fmt.Fprintln(&log, e)
			}
			s, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rs {
				if err := s.Add(r); err != nil {
					t.Fatal(err)
				}
			}
			r, err := s.Finish()
			if err != nil {
				t.Fatal(err)
			}
			vc := virtual.Config{Dir: t.TempDir(), Drives: tc.drives, Slots: tc.volumes, Capacity: 128 << 20}
			first := makeLibrary(t, vc)
			real := replay(t, vc, first, steps)
			// Two drives that ask for the arm at once get it in either order.
			off := math.Abs(real.Seconds()/r.Makespan.Seconds() - 1)
			if gap := real - r.Makespan; off > agreement && (tc.drives == 1 || max(gap, -gap) > geometry.RobotMove) {
				t.Errorf("the simulation takes %v, the emulated library %v: %.2f %%\n%s", r.Makespan, real, 100*off, log.String())
			} else {
				t.Logf("%v and %v", r.Makespan, real)
			}
		})
	}
}

// TestArchiveAgrees: so does archiving, from the format of a blank cartridge to the index that is written before
// the unload. Formatting is a long row of small steps, and simulated in the gross.
func TestArchiveAgrees(t *testing.T) {
	var steps []Event
	s, err := New(Config{Drives: 1, Capacity: 256 << 20, BatchBytes: 32 << 20, Linger: -1, Begins: func(e Event) { steps = append(steps, e) }})
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Duration{0, 0, 0, time.Hour} { // the last mounts a volume that is not blank
		if err := s.Add(Request{Kind: Archive, Length: 32 << 20, At: at}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		l, err := virtual.Open(virtual.Config{Dir: t.TempDir(), Drives: 1, Slots: 1, Capacity: 256 << 20, Speed: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		d, ctx := l.Tape().Drives[0], t.Context()
		var v *ltfs.Volume
		formatted := false
		do := func(step Step) error {
			switch step {
			case GoingHome:
				return l.Tape().Changer.Move(ctx, driveBase, slotBase)
			case Fetching:
				return l.Tape().Changer.Move(ctx, slotBase, driveBase)
			case Loading:
				if err := d.Load(ctx); err != nil {
					return err
				}
				if !formatted {
					if err := ltfs.Format(ctx, d, ltfs.FormatOptions{Barcode: "S00001L9"}); err != nil {
						return err
					}
				}
				formatted = true
				v, err = ltfs.Mount(ctx, d, ltfs.MountOptions{})
				return err
			case Writing:
				for range 32 {
					if _, err := v.Append(ctx, make([]byte, 1<<20)); err != nil {
						return err
					}
				}
				return v.Flush(ctx)
			case Unloading:
				if err := v.WriteIndex(ctx); err != nil {
					return err
				}
				return d.Unload(ctx)
			}
			return nil
		}
		var all, emulated time.Duration
		for _, e := range steps {
			if e.Step == Resting {
				continue
			}
			began := time.Now()
			if err := do(e.Step); err != nil {
				t.Fatal(err)
			}
			takes, took := e.Until-e.At, time.Since(began)
			all, emulated = all+takes, emulated+took
			if off := took - takes; max(off, -off) > 2*time.Second {
				t.Errorf("%v: simulated %v, emulated %v", e.Step, takes, took)
			}
		}
		if off := math.Abs(emulated.Seconds()/all.Seconds() - 1); off > agreement || len(steps) < 10 {
			t.Errorf("the simulation takes %v, the emulated library %v: %.2f %%", all, emulated, 100*off)
		}
		t.Logf("%v and %v", all, emulated)
	})
}
