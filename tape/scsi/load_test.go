package scsi

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sliod/tape"
)

func TestLoadKeepsTheCartridgeIn(t *testing.T) {
	f := newFake(t)
	d := f.load(t, DriveOptions{})
	wantSent(t, f, PreventAllow{1})
	if err := d.Unload(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantSent(t, f, PreventAllow{1}, PreventAllow{0})
	if i, j := slices.Index(f.log, CommandBlock(PreventAllow{0})), slices.Index(f.log, CommandBlock(LoadUnload{})); i < 0 || j < i {
		t.Fatalf("ALLOW is command %d, UNLOAD %d", i, j)
	}
	// One that another run left in the drive.
	f.forget()
	if err := f.drive(t, DriveOptions{}).Unload(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantSent(t, f, PreventAllow{0})
	// One that stays when the use of the drive ends.
	f.forget()
	d = f.load(t, DriveOptions{})
	if err := d.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantSent(t, f, PreventAllow{1}, PreventAllow{0})
	// A drive that cannot.
	f.on(PreventAllow{}, nil)
	if err := f.load(t, DriveOptions{}).Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.load(t, DriveOptions{}).Unload(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestLoadWaits: a new LTO-9 cartridge takes its time, and other states have shorter limits or none.
func TestLoadWaits(t *testing.T) {
	until := func(f *fake, d time.Duration, s Sense) {
		end := time.Now().Add(d)
		f.on(TestUnitReady{}, func(*Command) *Sense {
			if time.Now().Before(end) {
				return &s
			}
			return nil
		})
	}
	for _, c := range []struct {
		code Code
		lasts,
		waits time.Duration
		ok bool
	}{
		{CodeBecomingReady, 2 * time.Hour, 2 * time.Hour, true},
		{CodeBecomingReady, 10 * time.Hour, LTO9Timeouts.Ready, false},
		{0x0400, 10 * time.Minute, 10 * time.Minute, true},
		{0x0400, 10 * time.Hour, LTO9Timeouts.Load, false},
		{0x0403, time.Hour, 0, false},
		{0x0412, time.Hour, 0, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			d := f.drive(t, DriveOptions{})
			start := time.Now()
			until(f, c.lasts, Sense{Key: NotReadyKey, Code: c.code})
			err := d.Load(t.Context())
			if took := time.Since(start); took < c.waits || took > c.waits+2*retryInterval {
				t.Errorf("%04x for %v: gave up after %v, want %v", c.code, c.lasts, took, c.waits)
			}
			if (err == nil) != c.ok || err != nil && tape.KindOf(err) != tape.NotReady {
				t.Errorf("%04x for %v: %v", c.code, c.lasts, err)
			}
		})
	}
}

func TestLoadAsksOnce(t *testing.T) {
	f := newFake(t)
	f.on(TestUnitReady{}, says(Sense{Key: AttentionKey, Code: CodeReset}, Sense{Key: NotReadyKey, Code: CodeNeedsLoad}))
	f.load(t, DriveOptions{})
	wantSent(t, f, LoadUnload{Load: true})
	f.forget()
	f.on(TestUnitReady{}, says(Sense{Key: NotReadyKey, Code: CodeNoMedium}, Sense{Key: NotReadyKey, Code: CodeNoMedium}))
	wantKind(t, f.drive(t, DriveOptions{}).Load(t.Context()), tape.NotReady)
	wantSent(t, f, LoadUnload{Load: true})
}

func TestLoadCleaningCartridge(t *testing.T) {
	f := newFake(t)
	f.on(TestUnitReady{}, func(*Command) *Sense { return &Sense{Key: NotReadyKey, Code: CodeCleaningCartridge} })
	d := f.load(t, DriveOptions{})
	if l := d.Limits(); l != (tape.Limits{Cleaning: true}) {
		t.Fatalf("%+v", l)
	}
	if got := sent[PreventAllow](f); len(got) > 0 {
		t.Fatal("the drive ejects a cleaning cartridge when it has done: it must not be kept in")
	}
	f.on(TestUnitReady{}, func(*Command) *Sense { return &Sense{Key: NotReadyKey, Code: codeCleaningFailed} })
	wantKind(t, d.Load(t.Context()), tape.HardwareError)
}

func TestLearnMedium(t *testing.T) {
	attributes := func(kind byte) func(*Command) *Sense {
		return gives(AppendAttributes(nil, Attribute{ID: AttrMediumType, ReadOnly: true, Value: []byte{kind}}))
	}
	medium := func(worm byte) ModePage {
		p := ModePage{Page: PageMedium, Data: make([]byte, 30)}
		p.Data[0] = worm
		return p
	}
	for name, c := range map[string]struct {
		change func(*fake)
		worm   bool
	}{
		"data":         {func(f *fake) { f.on(ReadAttribute{}, attributes(MediumData)); f.page(medium(1)) }, false}, // the memory knows best
		"memory":       {func(f *fake) { f.on(ReadAttribute{}, attributes(MediumWORM)) }, true},
		"page 1Dh":     {func(f *fake) { f.page(medium(1)) }, true},
		"page 1Dh, no": {func(f *fake) { f.page(medium(0)) }, false},
		"nobody knows": {func(f *fake) {}, false},
		"tgt's claim": {func(f *fake) {
			f.page(medium(1))
			f.on(ReadPosition{PositionLong}, gives([]byte{0x20, 31: 0}))
			f.on(Locate16{}, nil)
		}, false},
	} {
		f := newFake(t)
		c.change(f)
		d := f.load(t, DriveOptions{})
		if l := d.Limits(); l.WORM != c.worm || l.WriteProtected != c.worm {
			t.Errorf("%s: %+v", name, l)
		}
		if c.worm {
			wantKind(t, d.WriteBlock(t.Context(), []byte("x")), tape.WriteProtected)
			wantKind(t, d.WriteFilemarks(t.Context(), 1), tape.WriteProtected)
			wantKind(t, d.Format(t.Context(), 1), tape.WriteProtected)
			if len(sent[Write6](f))+len(sent[WriteFilemarks6](f))+len(sent[FormatMedium](f)) > 0 {
				t.Errorf("%s: something was sent", name)
			}
		}
	}
}

func TestLearnDensity(t *testing.T) {
	f := newFake(t)
	f.on(ReportDensity{}, gives(DensityBytes([]Density{{Primary: 0x58, CapacityMB: 1500000, Default: true}})))
	if l := f.load(t, DriveOptions{}).Limits(); !l.WriteProtected || l.Density != 0x58 || l.CapacityBytes != 1500e9 {
		t.Fatalf("%+v", l)
	}
	f.on(ReportDensity{}, gives(DensityBytes([]Density{{Primary: 0x46}, {Primary: 0x58, Writable: true}})))
	if l := f.load(t, DriveOptions{}).Limits(); l.WriteProtected || l.Density != 0x58 {
		t.Fatalf("%+v", l)
	}
}

func TestLearnCapacity(t *testing.T) {
	f := newFake(t)
	page := func(p uint8, ps ...LogParameter) {
		f.on(LogSense{Page: p}, gives(LogData{Page: p, Parameters: ps}.Bytes()))
	}
	page(LogVolume, LogParameter{Code: VolumePartitionSize, Value: PartitionRecords(100, 2000)}, LogParameter{Code: VolumePartitionLeft, Value: PartitionRecords(50, 1500)},
		LogParameter{Code: VolumeMounts, Value: []byte{0, 0, 0, 7}}, LogParameter{Code: VolumeWriteErrors, Value: []byte{0xFF, 0xFF}},
		LogParameter{Code: VolumeMBWritten, Value: []byte{0, 0, 0, 0, 0, 0, 0x10, 0}})
	d := f.load(t, DriveOptions{})
	if l := d.Limits(); l.CapacityBytes != 2100e6 || l.RemainingBytes != 1500e6 {
		t.Fatalf("%+v", l)
	}
	s, err := d.Statistics(t.Context())
	if err != nil || s.Mounts != 7 || s.WriteErrors != 0 || s.WrittenBytes != 4096e6 || !slices.Equal(s.Partitions, []tape.PartitionRoom{{SizeBytes: 100e6, LeftBytes: 50e6}, {SizeBytes: 2000e6, LeftBytes: 1500e6}}) {
		t.Fatalf("%+v %v", s, err)
	}
	four := func(n byte) []byte { return []byte{0, 0, 0, n} }
	page(LogCapacity, LogParameter{Code: CapacityMaximum0, Value: four(4)}, LogParameter{Code: CapacityRemaining0, Value: four(3)}, LogParameter{Code: CapacityMaximum1, Value: four(0)})
	if l := f.load(t, DriveOptions{}).Limits(); l.CapacityBytes != 4<<20 || l.RemainingBytes != 3<<20 {
		t.Fatalf("%+v", l)
	}
	f.on(LogSense{Page: LogVolume}, nil)
	f.on(LogSense{Page: LogCapacity}, nil)
	d = f.load(t, DriveOptions{})
	_, err = d.Statistics(t.Context())
	wantKind(t, err, tape.IllegalRequest)
}

func TestLearnTimeouts(t *testing.T) {
	f := newFake(t)
	f.on(ReportSupported{}, gives(SupportedBytes([]Supported{{Opcode: OpWrite6, Length: 6, HasTimeouts: true, Recommended: 5000}})))
	d := f.load(t, DriveOptions{})
	if d.times.Write != 5000*time.Second || d.times.Read != LTO9Timeouts.Read {
		t.Fatalf("%+v", d.times)
	}
	if err := d.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(sent[ReportSupported](f)); n != 1 {
		t.Fatalf("asked %d times", n)
	}
}

func TestConfigure(t *testing.T) {
	f := newFake(t)
	var selected []ModeData
	f.on(ModeSelect{Ten: true}, func(c *Command) *Sense {
		m, err := ParseMode(true, c.Data)
		if err != nil || c.Data[0] != 0 || c.Data[1] != 0 {
			t.Fatal(m, err)
		}
		for i := range m.Pages {
			m.Pages[i].Data = slices.Clone(m.Pages[i].Data)
		}
		selected = append(selected, m)
		return nil
	})
	f.page(Compression{Enabled: true, Capable: true, Decode: true}.Page())
	f.page(ConfigurationExtension{EarlyWarning: 5}.Page())
	f.load(t, DriveOptions{})
	if len(selected) > 0 {
		t.Fatalf("%+v", selected)
	}
	f.load(t, DriveOptions{NoCompression: true, EarlyWarningMB: 5000})
	if len(selected) != 2 {
		t.Fatalf("%+v", selected)
	}
	if c, err := ParseCompression(selected[0].Find(PageCompression)); err != nil || c != (Compression{false, true, true}) {
		t.Fatal(c, err)
	}
	if e, err := ParseConfigurationExtension(selected[1].FindSubpage(PageConfiguration, SubpageExtension)); err != nil || e != (ConfigurationExtension{false, 5000}) {
		t.Fatal(e, err)
	}
	// What the drive does not let itself be told is no error.
	f.on(ModeSelect{Ten: true}, func(*Command) *Sense { return &Sense{Key: IllegalKey, Code: CodeInvalidParameter} })
	f.load(t, DriveOptions{NoCompression: true})
}

// TestAppendOnly: a drive in append-only mode overwrites only where it was told.
func TestAppendOnly(t *testing.T) {
	f := newFake(t)
	f.page(ConfigurationExtension{AppendOnly: true}.Page())
	at := PositionData{Beginning: true}
	f.on(ReadPosition{PositionLong}, func(c *Command) *Sense { return gives(at.Bytes(PositionLong))(c) })
	f.on(Write6{}, func(*Command) *Sense { at = PositionData{Block: at.Block + 1}; return nil })
	f.on(WriteFilemarks6{}, func(c *Command) *Sense { at = PositionData{Block: at.Block + uint64(c.CDB[4])}; return nil })
	d := f.load(t, DriveOptions{})
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(d.WriteBlock(ctx, []byte("a")))
	must(d.WriteBlock(ctx, []byte("b")))
	must(d.WriteFilemarks(ctx, 1))
	must(d.WriteFilemarks(ctx, 0))
	wantSent(t, f, AllowOverwrite{1, 0, 0})
	must(d.Locate(ctx, tape.Position{Block: 1}))
	at = PositionData{Block: 1}
	must(d.WriteFilemarks(ctx, 0)) // writes nothing
	must(d.WriteFilemarks(ctx, 1))
	must(d.WriteBlock(ctx, []byte("c")))
	wantSent(t, f, AllowOverwrite{1, 0, 0}, AllowOverwrite{1, 0, 1})
	at = PositionData{Beginning: true}
	must(d.Format(ctx, 1))
	wantSent(t, f, AllowOverwrite{1, 0, 0}, AllowOverwrite{1, 0, 1}, AllowOverwrite{2, 0, 0})
}

func TestRecovered(t *testing.T) {
	f := newFake(t)
	d := f.load(t, DriveOptions{})
	f.on(Write6{}, says(Sense{Key: RecoveredError, Code: CodeCleaning}))
	if err := d.WriteBlock(t.Context(), []byte("a")); err != nil || len(sent[Write6](f)) != 1 {
		t.Fatal(err, len(sent[Write6](f)))
	}
	// Of an earlier command: this one was not done.
	f.on(Write6{}, says(Sense{Key: RecoveredError, Deferred: true}))
	if err := d.WriteBlock(t.Context(), []byte("a")); err != nil || len(sent[Write6](f)) != 3 {
		t.Fatal(err, len(sent[Write6](f)))
	}
	f.on(Write6{}, func(*Command) *Sense { return &Sense{Key: RecoveredError, Deferred: true} })
	wantKind(t, d.WriteBlock(t.Context(), []byte("a")), tape.HardwareError)
}

// TestOlderForms: LOCATE(10) and the short form of READ POSITION are enough.
func TestOlderForms(t *testing.T) {
	f := newFake(t)
	at := uint64(0)
	f.on(ReadPosition{PositionLong}, nil)
	f.on(ReadPosition{PositionShort}, func(c *Command) *Sense {
		return gives(PositionData{Beginning: at == 0, Block: at}.Bytes(PositionShort))(c)
	})
	f.on(Locate16{}, nil)
	f.on(Locate10{}, func(c *Command) *Sense { at = uint64(c.CDB[6]); return nil })
	d := f.load(t, DriveOptions{})
	if l := d.Limits(); !l.HasLocate || d.count != nil {
		t.Fatalf("%+v", l)
	}
	if err := d.Locate(t.Context(), tape.Position{Block: 7}); err != nil {
		t.Fatal(err)
	}
	if p, err := d.Position(t.Context()); err != nil || p.Block != 7 {
		t.Fatal(p, err)
	}
	wantSent(t, f, Locate10{}, Locate10{Block: 7})
	wantSent(t, f, Locate16{})
}

// TestUnloaded: a drive that goes on with a cartridge that was unloaded, as tgt's does, is
// not used.
func TestUnloaded(t *testing.T) {
	f := newFake(t)
	d := f.load(t, DriveOptions{})
	if err := d.Unload(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantKind(t, d.WriteBlock(t.Context(), []byte("a")), tape.NotReady)
	_, err := d.Position(t.Context())
	wantKind(t, err, tape.NotReady)
	wantKind(t, d.Locate(t.Context(), tape.Position{}), tape.NotReady)
	if n := len(sent[Write6](f)); n > 0 {
		t.Fatal("written")
	}
}
