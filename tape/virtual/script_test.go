package virtual

import (
	stderrors "errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sliod/tape"
	"sliod/tape/scsi"
	"sliod/tape/tapetest"
)

// faultsOf parses a script that must be right.
func faultsOf(t testing.TB, script string) []Fault {
	t.Helper()
	fs, err := ParseFaults("drill", strings.NewReader(script))
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

func TestParseFaults(t *testing.T) {
	for line, want := range map[string]Fault{
		"fail command=write nth=3 sense=write-error": {Device: AnyDrive, Opcode: scsi.OpWrite6, Nth: 3, Times: 1,
			Sense: scsi.Sense{Key: scsi.MediumErrorKey, Code: scsi.CodeWriteError}},
		"fail command=0x0A device=1 volume=A00001L9 times=always sense=3/0c/00+deferred+eom after  # why": {Device: 1, Opcode: scsi.OpWrite6,
			Volume: "A00001L9", Nth: 1, Times: -1, After: true, Sense: scsi.Sense{Deferred: true, EOM: true, Key: scsi.MediumErrorKey, Code: scsi.CodeWriteError}},
		"fail command=move sense=element-full": {Device: Changer, Opcode: scsi.OpMoveMedium, Nth: 1, Times: 1,
			Sense: scsi.Sense{Key: scsi.IllegalKey, Code: scsi.CodeDestinationFull}},
		"fail command=locate sense=4/44/00 times=2": {Device: AnyDrive, Opcode: scsi.OpLocate10, Also: scsi.OpLocate16, Nth: 1, Times: 2,
			Sense: scsi.Sense{Key: scsi.HardwareKey, Code: scsi.CodeInternalFailure}},
		"lose command=read-wraps": {Device: AnyDrive, Opcode: 0xA3, Action: 0x1F, Nth: 1, Times: 1, Lost: true},
		"bad volume=A00001L9 block=1:7 on=both": {Device: AnyDrive, Volume: "A00001L9", Nth: 1, Times: 1, Now: true,
			Effects: []Effect{{Bad: &BadBlock{"A00001L9", tape.Position{Partition: 1, Block: 7}, true, true}}}},
		"hang device=0 seconds=1.5":           {Nth: 1, Times: 1, Now: true, Effects: []Effect{{Hang: 1500 * time.Millisecond}}},
		"hang device=0 seconds=2 command=any": {Any: true, Nth: 1, Times: 1, Effects: []Effect{{Hang: 2 * time.Second}}},
		"drop nth=2":                          {Device: Changer, Opcode: scsi.OpMoveMedium, Nth: 2, Times: 1, Effects: []Effect{{Drop: true}}},
		"jam":                                 {Device: Changer, Opcode: scsi.OpMoveMedium, Nth: 1, Times: -1, Sense: scsi.Sense{Key: scsi.HardwareKey, Code: codeArmFailed}},
		"die device=changer":                  {Device: Changer, Nth: 1, Times: 1, Now: true, Effects: []Effect{{Die: true}}},
		"power command=write-filemarks":       {Device: AnyDrive, Opcode: scsi.OpWriteFilemarks6, Nth: 1, Times: 1, Effects: []Effect{{PowerOff: true}}},
		"away commands=4 command=read":        {Device: AnyDrive, Opcode: scsi.OpRead6, Nth: 1, Times: 1, Effects: []Effect{{Away: 4}}},
		"away seconds=3":                      {Device: AnyDrive, Nth: 1, Times: 1, Now: true, Effects: []Effect{{AwayFor: 3 * time.Second}}},
		"reset device=1 command=read":         {Device: 1, Opcode: scsi.OpRead6, Nth: 1, Times: 1, Effects: []Effect{{Reset: true}}},
		"alert device=0 flag=30":              {Nth: 1, Times: 1, Now: true, Effects: []Effect{{Alert: 30}}},
		"clean device=0":                      {Nth: 1, Times: 1, Now: true, Effects: []Effect{{Dirty: tape.AlertCleanNow}}},
		"clean device=0 urgency=periodic":     {Nth: 1, Times: 1, Now: true, Effects: []Effect{{Dirty: tape.AlertCleanPeriodic}}},
		"flip command=write bit=77":           {Device: AnyDrive, Opcode: scsi.OpWrite6, Nth: 1, Times: 1, Effects: []Effect{{Flip: true, Bit: 77}}},
	} {
		fs, err := ParseFaults("f", strings.NewReader("\n  # a comment\n"+line+"\n"))
		if err != nil || len(fs) != 1 || !reflect.DeepEqual(fs[0], want) {
			t.Errorf("%s:\n%+v, %v\nwant %+v", line, fs, err, want)
		}
	}
	for line, want := range map[string]string{
		"explode":                              `f:2: there is no fault "explode"`,
		"fail":                                 "f:2: fail needs command=",
		"fail command=write":                   "f:2: fail needs sense=",
		"fail command=dance sense=full":        `f:2: there is no command "dance"`,
		"fail command=write sense=sad":         "f:2: sense=sad: give KEY/ASC/ASCQ",
		"fail command=write sense=3/0c":        "f:2: sense=3/0c: give",
		"fail command=write sense=10/0c/00":    "f:2: sense=10/0c/00: give",
		"fail command=write sense=3/0c/00+odd": "f:2: sense=3/0c/00+odd: give +deferred",
		"fail command=write nth=0 sense=full":  "f:2: nth=0: give a whole number from 1",
		"fail command=write command=read":      `f:2: "command" is given twice`,
		"fail write":                           `f:2: "write" is not KEY=VALUE`,
		"drop sense=full":                      `f:2: drop takes no "sense"`,
		"bad volume=A block=seven":             "f:2: block=seven: give PARTITION:BLOCK",
		"bad volume=A block=1:7 on=paper":      "f:2: on=paper: give read, write or both",
		"bad volume=A block=1:7 device=0":      `f:2: bad takes no "device"`,
		"hang device=0 seconds=-1":             "f:2: seconds=-1: give",
		"hang device=0 seconds=nan":            "f:2: seconds=nan: give",
		"hang device=0 seconds=1 nth=2":        "f:2: nth, times and after count commands",
		"away":                                 "f:2: away needs commands= or seconds=",
		"alert device=0 flag=65":               "f:2: flag=65: give a whole number from 1 to 64",
		"die device=drive0":                    "f:2: device=drive0: give a whole number",
		"clean device=0 urgency=soon":          "f:2: urgency=soon: give now or periodic",
		"lose command=read after=perhaps":      "f:2: after=perhaps: give yes or no",
		strings.Repeat("x", maxScriptLine):     "f:2",
	} {
		_, err := ParseFaults("f", strings.NewReader("# first\n"+line+"\n"))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.40s: %v, want %s", line, err, want)
		}
	}
	if _, err := ParseFaults("f", strings.NewReader(strings.Repeat("jam\n", maxScript+1))); err == nil {
		t.Error("a script without end is taken")
	}
}

// TestDocumentedScript: the example of the documentation is one.
func TestDocumentedScript(t *testing.T) {
	doc, err := os.ReadFile("../../docs/virtual-library.md")
	noError(t, err)
	_, rest, ok := strings.Cut(string(doc), "```faults\n")
	script, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("no example of a fault script in the documentation")
	}
	if fs := faultsOf(t, script); len(fs) < len(verbs) {
		t.Fatalf("the example has %d faults, there are %d kinds", len(fs), len(verbs))
	}
	for name := range verbs {
		if !strings.Contains(string(doc), "| `"+name) {
			t.Errorf("the documentation does not say what %q is", name)
		}
	}
	for name := range commands {
		if !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("the documentation does not name the command %q", name)
		}
	}
	for name := range senses {
		if !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("the documentation does not name the sense %q", name)
		}
	}
}

// TestScript plays a script from the start.
func TestScript(t *testing.T) {
	l := open(t, t.TempDir(), func(c *Config) {
		c.Faults = faultsOf(t, `
			bad volume=A00001L9 block=0:1
			bad volume=A00001L9 block=0:3 on=write
			fail command=write-filemarks nth=2 sense=deferred-error
			fail command=rewind nth=2 times=2 sense=4/44/00 after
			alert device=0 flag=27
		`)
	})
	d := mount(t, l)
	ctx := t.Context()
	for i := range 3 {
		noError(t, d.WriteBlock(ctx, tapetest.Record(i, 100)))
	}
	wantKind(t, d.WriteBlock(ctx, []byte("x")), tape.MediumError)
	noError(t, d.WriteFilemarks(ctx, 0))
	wantKind(t, d.WriteFilemarks(ctx, 0), tape.Deferred)
	noError(t, d.Rewind(ctx))
	buf := make([]byte, 1000)
	_, err := d.ReadBlock(ctx, buf)
	noError(t, err)
	_, err = d.ReadBlock(ctx, buf)
	wantKind(t, err, tape.MediumError)
	wantKind(t, d.Rewind(ctx), tape.HardwareError)
	wantKind(t, d.Rewind(ctx), tape.HardwareError)
	noError(t, d.Rewind(ctx))
	got, err := d.Alerts(ctx)
	noError(t, err)
	if want := []tape.Alert{tape.AlertReadFailure, tape.AlertWriteFailure, 27, 30}; !reflect.DeepEqual(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
}

// TestPowerIsLost: from one command on nothing answers, and what was not flushed is gone.
func TestPowerIsLost(t *testing.T) {
	for _, after := range []string{"", " after"} {
		dir := t.TempDir()
		l := open(t, dir, func(c *Config) { c.Faults = faultsOf(t, "power command=write-filemarks nth=2"+after) })
		d := mount(t, l)
		ctx := t.Context()
		noError(t, d.WriteBlock(ctx, []byte("flushed")))
		noError(t, d.WriteFilemarks(ctx, 0))
		noError(t, d.WriteBlock(ctx, []byte("buffered")))
		if err := d.WriteFilemarks(ctx, 0); !stderrors.Is(err, ErrLost) {
			t.Fatal(err)
		}
		wantKind(t, d.Rewind(ctx), tape.Disconnected)
		wantKind(t, l.Tape().Drives[1].Load(ctx), tape.Disconnected)
		if _, err := l.Tape().Changer.Inventory(ctx); !stderrors.Is(err, ErrLost) {
			t.Fatal(err)
		}
		noError(t, l.Close())
		l = open(t, dir)
		d = l.Tape().Drives[0]
		noError(t, d.Load(ctx))
		noError(t, d.LocateEnd(ctx, 0))
		at, err := d.Position(ctx)
		noError(t, err)
		if want := map[string]int{"": 1, " after": 2}[after]; at != positionOf(want) {
			t.Fatalf("after %q: the tape ends at %v, want %d", after, at, want)
		}
		noError(t, l.Close())
	}
}

// TestAway: the library answers nothing for some commands, and then tells of a
// reset: what was buffered is a deferred error.
func TestAway(t *testing.T) {
	l := open(t, t.TempDir(), func(c *Config) { c.Faults = faultsOf(t, "away commands=3 command=read-position nth=4") })
	d := mount(t, l)
	ctx := t.Context()
	noError(t, d.WriteBlock(ctx, []byte("flushed")))
	noError(t, d.WriteFilemarks(ctx, 0))
	noError(t, d.WriteBlock(ctx, []byte("buffered")))
	for lost := 0; ; lost++ {
		_, err := d.Position(ctx)
		if tape.KindOf(err) == tape.Disconnected {
			if lost == 3 {
				t.Fatal("still away")
			}
			continue
		}
		if err == nil && lost == 0 {
			lost--
			continue
		}
		if lost != 3 {
			t.Fatalf("%d commands were lost: %v", lost, err)
		}
		wantKind(t, err, tape.Deferred)
		break
	}
	noError(t, d.Load(ctx))
	noError(t, d.LocateEnd(ctx, 0))
	at, err := d.Position(ctx)
	noError(t, err)
	if at != positionOf(1) {
		t.Fatal(at)
	}
	_, err = l.Tape().Changer.Inventory(ctx)
	noError(t, err)
}

func TestTimedFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, t.TempDir(), func(c *Config) {
			c.Faults = faultsOf(t, "hang device=0 command=rewind seconds=30\nhang device=0 command=rewind nth=2 seconds=900\naway command=rewind nth=3 seconds=5")
		})
		d := mount(t, l)
		ctx := t.Context()
		start := time.Now()
		noError(t, d.Rewind(ctx))
		if took := time.Since(start); took != 30*time.Second {
			t.Fatal(took)
		}
		if err := d.Rewind(ctx); !stderrors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
		_, err := d.Position(ctx) // waits for a minute, and the drive hangs for longer
		if !stderrors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Minute)
		wantKind(t, d.Rewind(ctx), tape.Disconnected)
		_, err = d.Position(ctx)
		wantKind(t, err, tape.Disconnected)
		time.Sleep(5 * time.Second)
		noError(t, d.Load(ctx))
		noError(t, l.Close())
	})
}

// TestArm: a jammed arm moves nothing; a cartridge that it drops is nowhere, until somebody picks it up.
func TestArm(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, func(c *Config) { c.Faults = faultsOf(t, "jam nth=1 times=1\ndrop volume=A00002L9") })
	ctx := t.Context()
	wantKind(t, l.Tape().Changer.Move(ctx, slotAddress, driveAddress), tape.HardwareError)
	wantKind(t, l.Tape().Changer.Move(ctx, slotAddress+1, driveAddress), tape.HardwareError)
	has := func(v tape.Barcode) bool {
		t.Helper()
		es, err := l.Tape().Changer.Inventory(ctx)
		if tape.KindOf(err) == tape.UnitAttention { // of a hand in the library
			es, err = l.Tape().Changer.Inventory(ctx)
		}
		noError(t, err)
		for _, e := range es {
			if e.Volume == v {
				return true
			}
		}
		return false
	}
	if has("A00002L9") || !has("A00001L9") {
		t.Fatal("the wrong cartridge was dropped, or none")
	}
	noError(t, l.Close())
	l = open(t, dir)
	if has("A00002L9") {
		t.Fatal("a dropped cartridge is back by itself")
	}
	noError(t, l.Insert("A00002L9", slotAddress+1))
	if !has("A00002L9") {
		t.Fatal("a cartridge that was picked up is not there")
	}
	if err := l.Insert("A00001L9", driveAddress); err == nil {
		t.Fatal("a cartridge was inserted twice")
	}
}

func TestDeadDrive(t *testing.T) {
	l := open(t, t.TempDir(), func(c *Config) { c.Faults = faultsOf(t, "die device=0 command=write nth=2") })
	d := mount(t, l)
	ctx := t.Context()
	noError(t, d.WriteBlock(ctx, []byte("a")))
	wantKind(t, d.WriteBlock(ctx, []byte("b")), tape.Disconnected)
	wantKind(t, d.Rewind(ctx), tape.Disconnected)
	noError(t, l.Tape().Changer.Move(ctx, slotAddress+1, driveAddress+1))
	noError(t, l.Tape().Drives[1].Load(ctx))
}

// TestEveryDrive: device=any is every drive there is, and a drive that is not there is a mistake.
func TestEveryDrive(t *testing.T) {
	l := open(t, t.TempDir(), func(c *Config) { c.Faults = faultsOf(t, "alert device=any flag=28\nclean device=any urgency=periodic") })
	for _, d := range l.Tape().Drives {
		got, err := d.Alerts(t.Context())
		noError(t, err)
		if !reflect.DeepEqual(got, []tape.Alert{tape.AlertCleanPeriodic, 28}) {
			t.Errorf("drive %s: %v", d.Serial(), got)
		}
	}
	if l, err := Open(Config{Dir: t.TempDir(), Drives: 2, Slots: 2, Faults: faultsOf(t, "die device=2")}); err == nil {
		l.Close()
		t.Fatal("a fault of a drive that is not there is taken")
	}
}

func FuzzScript(f *testing.F) {
	f.Add("fail command=write nth=3 sense=write-error\n")
	f.Add("bad volume=A00001L9 block=1:7 on=both # x\njam\ndrop nth=2\n\n")
	f.Add("hang device=0 seconds=1e-9\naway commands=4 command=any\nflip command=read bit=77 times=always")
	f.Add("fail command=0xFF sense=f/ff/ff+deferred+eom+filemark+ili after=no device=changer")
	f.Fuzz(func(t *testing.T, script string) {
		fs, err := ParseFaults("f", strings.NewReader(script))
		if err != nil && !strings.HasPrefix(err.Error(), "f:") {
			t.Fatalf("an error without a line: %v", err)
		}
		for _, x := range fs {
			if x.Nth < 1 || x.Times == 0 || x.Device < AnyDrive || x.Now && len(x.Effects) == 0 {
				t.Fatalf("%+v", x)
			}
		}
	})
}

// TestFaultsFromConfig is the file that a drill is configured with.
func TestFaultsFromConfig(t *testing.T) {
	name := filepath.Join(t.TempDir(), "drill")
	noError(t, os.WriteFile(name, []byte("jam\nfail\n"), 0o600))
	f, err := os.Open(name)
	noError(t, err)
	defer f.Close()
	if _, err := ParseFaults(name, f); err == nil || !strings.HasPrefix(err.Error(), name+":2: ") {
		t.Fatal(err)
	}
}
