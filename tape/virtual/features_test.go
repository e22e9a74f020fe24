package virtual

import (
	"bytes"
	"context"
	"reflect"
	"slices"
	"testing"

	"sliod/tape"
	"sliod/tape/geometry"
	"sliod/tape/scsi"
	"sliod/tape/tapetest"
)

// TestProtection: a bit that turns over between driver and drive is told, in both
// directions, and the medium is not blamed.
func TestProtection(t *testing.T) {
	for _, generation := range []string{"LTO-7", "LTO-9"} {
		l := open(t, t.TempDir(), func(c *Config) { c.Cartridge = generation })
		d := mount(t, l)
		ctx := t.Context()
		if lim := d.Limits(); !lim.Protected || lim.MaxBlock != maxRecord-scsi.ProtectionSize {
			t.Fatalf("%+v", lim)
		}
		p := tapetest.Record(1, 1000)
		keep := bytes.Clone(p)
		l.SetFault(faultsOf(t, "flip command=write nth=2 bit=4321")[0])
		l.SetFault(faultsOf(t, "flip command=read nth=2 bit=4321")[0])
		noError(t, d.WriteBlock(ctx, p))
		wantKind(t, d.WriteBlock(ctx, p), tape.ProtectionError)
		if !bytes.Equal(p, keep) {
			t.Fatal("the fault changed the writer's memory")
		}
		at, err := d.Position(ctx)
		noError(t, err)
		if at != positionOf(1) {
			t.Fatalf("a record that was refused is at %v", at)
		}
		noError(t, d.WriteBlock(ctx, p))
		noError(t, d.Rewind(ctx))
		buf := make([]byte, 1000) // just the record
		n, err := d.ReadBlock(ctx, buf)
		noError(t, err)
		if !bytes.Equal(buf[:n], p) {
			t.Fatal("reads wrong")
		}
		_, err = d.ReadBlock(ctx, make([]byte, 1002)) // half of the checksum in the buffer
		wantKind(t, err, tape.ProtectionError)
		noError(t, d.Locate(ctx, positionOf(1)))
		buf = make([]byte, 5000)
		n, err = d.ReadBlock(ctx, buf)
		noError(t, err)
		if !bytes.Equal(buf[:n], p) {
			t.Fatal("reads wrong")
		}
		// What is on tape has no checksum behind it.
		if e, err := l.drives[0].cart.parts[0].entry(0); err != nil || e.length != 1000 {
			t.Fatalf("%+v %v", e, err)
		}
		// A reset turns it off; the driver turns it on again.
		noError(t, d.LocateEnd(ctx, 0))
		noError(t, d.WriteFilemarks(ctx, 0))
		l.Reset(0)
		if _, err := d.Position(ctx); err != nil {
			t.Fatal(err)
		}
		if !l.drives[0].protection.Write {
			t.Fatal("records go without checksums after a reset")
		}
		wantKind(t, d.WriteBlock(ctx, make([]byte, d.Limits().MaxBlock+1)), tape.IllegalRequest)
		noError(t, d.WriteBlock(ctx, make([]byte, d.Limits().MaxBlock)))
	}
}

// noTails hides that a transport carries tails.
type noTails struct{ scsi.Transport }

// TestProtectionCopied is protection over a transport that needs record and
// checksum in one piece, and without.
func TestProtectionCopied(t *testing.T) {
	l := open(t, t.TempDir())
	mount(t, l)
	d, err := scsi.NewDrive(noTails{l.Transport(0)}, scsi.DriveOptions{})
	noError(t, err)
	tapetest.TestDrive(t, d)
	if !d.Limits().Protected {
		t.Fatal("not protected")
	}
	noError(t, d.Rewind(t.Context()))
	l.SetFault(faultsOf(t, "flip command=read bit=3")[0])
	noError(t, d.Format(t.Context(), 1))
	noError(t, d.WriteBlock(t.Context(), []byte("record")))
	noError(t, d.Rewind(t.Context()))
	_, err = d.ReadBlock(t.Context(), make([]byte, 100))
	wantKind(t, err, tape.ProtectionError)

	off, err := scsi.NewDrive(l.Transport(0), scsi.DriveOptions{NoProtection: true})
	noError(t, err)
	tapetest.TestDrive(t, off) // also turns off what was on
	if off.Limits().Protected || l.drives[0].protection.Write {
		t.Fatal("protected though nobody wants it")
	}
	narrow, err := scsi.NewDrive(l.Transport(0), scsi.DriveOptions{MaxTransfer: 512 << 10})
	noError(t, err)
	noError(t, narrow.Load(t.Context()))
	if lim := narrow.Limits(); lim.Protected || lim.MaxBlock != 512<<10 {
		t.Fatalf("records of 512 KiB do not fit: %+v", lim)
	}
	l = open(t, t.TempDir(), func(c *Config) { c.Cartridge = "LTO-6" })
	if mount(t, l).Limits().Protected {
		t.Fatal("an LTO-6 drive protects by CRC-32C")
	}
}

// fill gives the tape sparse records of 1 GiB: their content is never read.
func fill(t testing.TB, l *Library, partition, records int) {
	t.Helper()
	p := l.drives[0].cart.parts[partition]
	for range records {
		p.pending = append(p.pending, entry{recordEntry, 1 << 30, p.end, p.marks, 0, 0})
		p.end += 1 << 30
	}
	noError(t, p.flush())
}

func TestOrder(t *testing.T) {
	l := open(t, t.TempDir(), func(c *Config) { c.Capacity = 0 })
	d := mount(t, l)
	ctx := t.Context()
	noError(t, d.Format(ctx, 2))
	fill(t, l, 1, 1000)
	lim := d.Limits()
	if !lim.HasOrder || lim.MaxSegments != maxSegments {
		t.Fatalf("%+v", lim)
	}
	var segments []tape.Segment
	for i := range 300 {
		at := tape.BlockNo(i * 617 % 999)
		segments = append(segments, tape.Segment{Partition: 1, First: at, Last: at + 1})
	}
	noError(t, d.Locate(ctx, tape.Position{Partition: 1}))
	order, err := d.Order(ctx, segments)
	noError(t, err)
	g := generations["LTO-9"]
	cost := func(order []int) (sum float64) {
		at := l.drives[0].base(1)
		for _, i := range order {
			from := l.drives[0].base(1) + geometry.Offset(segments[i].First)*(1<<30)
			sum += g.Locate(at, from)
			at = from + 2<<30
		}
		return sum
	}
	byBlock := make([]int, len(segments))
	for i := range byBlock {
		byBlock[i] = i
	}
	slices.SortFunc(byBlock, func(a, b int) int { return int(segments[a].First) - int(segments[b].First) })
	if len(order) != len(segments) || cost(order) > 0.8*cost(byBlock) {
		t.Fatalf("%.0f s in the drive's order, %.0f s by block", cost(order), cost(byBlock))
	}
	if order, err := d.Order(ctx, nil); err != nil || len(order) != 0 {
		t.Fatal(order, err)
	}
	if order, err := d.Order(ctx, []tape.Segment{segments[0], segments[0]}); err != nil || len(order) != 2 { // twice the same
		t.Fatal(order, err)
	}
	for _, bad := range [][]tape.Segment{{{Partition: 2}}, {{Partition: 1, First: 5, Last: 4}}, {{Partition: 1, First: 999, Last: 1000}}, make([]tape.Segment, maxSegments+1)} {
		if _, err := d.Order(ctx, bad); tape.KindOf(err) != tape.IllegalRequest {
			t.Errorf("%d segments from %+v: %v", len(bad), bad[0], err)
		}
	}
	// A drive that answers nonsense.
	for i, change := range []func(b []byte){
		func(b []byte) { copy(b[8+5:8+15], "0000000001") },
		func(b []byte) { copy(b[8+5:8+15], "0000000009") },
		func(b []byte) { copy(b[8+5:8+15], "-000000001") },
		func(b []byte) { b[8+23]++ },
		func(b []byte) { b[7] -= 32 },
		func(b []byte) { b[9]++ },
	} {
		wrong, err := scsi.NewDrive(&meddler{l.Transport(0), change}, scsi.DriveOptions{})
		noError(t, err)
		noError(t, wrong.Load(ctx))
		if _, err := wrong.Order(ctx, segments[:2]); tape.KindOf(err) != tape.HardwareError {
			t.Errorf("answer %d is taken: %v", i, err)
		}
	}
	old := mount(t, open(t, t.TempDir(), func(c *Config) { c.Cartridge = "LTO-8" }))
	_, err = old.Order(ctx, segments[:1])
	wantKind(t, err, tape.IllegalRequest)
}

// meddler changes lists of segments on their way to the driver.
type meddler struct {
	scsi.Transport
	change func([]byte)
}

func (m *meddler) Do(ctx context.Context, c *scsi.Command) error {
	err := m.Transport.Do(ctx, c)
	if c.CDB[0] == scsi.OpMaintenanceIn && c.CDB[1] == 0x1D {
		m.change(c.Data)
	}
	return err
}

func TestWraps(t *testing.T) {
	l := open(t, t.TempDir(), func(c *Config) { c.Capacity = 0 })
	d := mount(t, l)
	ctx := t.Context()
	if ws, err := d.Wraps(ctx); err != nil || len(ws) != 0 || !d.Limits().HasWraps {
		t.Fatal(ws, err)
	}
	fill(t, l, 0, 200)
	ws, err := d.Wraps(ctx)
	noError(t, err)
	const gib, wrap = 1 << 30, 64.29e9
	var want []tape.WrapEnd
	for w := range 3 { // 200 GiB are 3.3 wraps
		want = append(want, tape.WrapEnd{Wrap: w, End: tape.BlockNo(float64(w+1) * wrap / gib)})
	}
	if !reflect.DeepEqual(ws, want) {
		t.Fatalf("%+v, want %+v", ws, want)
	}
	noError(t, d.Format(ctx, 2))
	fill(t, l, 1, 100)
	ws, err = d.Wraps(ctx)
	noError(t, err)
	if want := []tape.WrapEnd{{Wrap: int(float64(l.drives[0].base(1)) / wrap), Partition: 1, End: 59}}; !reflect.DeepEqual(ws, want) {
		t.Fatalf("%+v, want %+v", ws, want)
	}
	// The short form.
	c := &scsi.Command{CDB: scsi.ReadWraps{Valid: true, Wrap: 3, Alloc: 10}.CDB(), Dir: scsi.In, Data: make([]byte, 10)}
	noError(t, l.Transport(0).Do(ctx, c))
	if want := []byte{0, 8, 0, 0, 0, 0, 0, 0, 0, 59}; c.Status != scsi.Good || ws[0].Wrap == 3 && !bytes.Equal(c.Data, want) {
		t.Fatalf("%x % x", c.Status, c.Data)
	}
	old := mount(t, open(t, t.TempDir(), func(c *Config) { c.Cartridge = "LTO-6" }))
	_, err = old.Wraps(ctx)
	wantKind(t, err, tape.IllegalRequest)
}

// TestCleaning: a drive that must be cleaned refuses to work, says so by TapeAlert at every load, and
// is well after a cleaning cartridge has been in it.
func TestCleaning(t *testing.T) {
	l := open(t, t.TempDir(), func(c *Config) {
		c.Cleaners, c.Slots = 1, 4
		c.Faults = faultsOf(t, "clean device=0")
	})
	const cleaner = slotAddress + 3
	ctx := t.Context()
	changer, d := l.Tape().Changer, l.Tape().Drives[0]
	alerts := func(want ...tape.Alert) {
		t.Helper()
		got, err := d.Alerts(ctx)
		noError(t, err)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("alerts %v, want %v", got, want)
		}
	}
	alerts(tape.AlertCleanNow)
	noError(t, changer.Move(ctx, slotAddress, driveAddress))
	noError(t, d.Load(ctx))
	alerts(tape.AlertCleanNow)
	alerts()
	wantKind(t, d.WriteBlock(ctx, []byte("x")), tape.CleaningNeeded)
	alerts(tape.AlertCleanNow)
	noError(t, d.Unload(ctx))
	noError(t, changer.Move(ctx, driveAddress, slotAddress))

	clean := func(want tape.Alert) {
		t.Helper()
		noError(t, changer.Move(ctx, cleaner, driveAddress))
		if err := d.Load(ctx); want != 11 {
			wantKind(t, err, tape.HardwareError)
		} else if noError(t, err); !d.Limits().Cleaning {
			t.Fatal("the driver does not see a cleaning cartridge")
		}
		c := &scsi.Command{CDB: scsi.TestUnitReady{}.CDB()}
		noError(t, l.Transport(0).Do(ctx, c))
		if s, _ := scsi.ParseSense(c.Sense); s.Key != scsi.NotReadyKey || s.Code>>8 != 0x30 {
			t.Fatalf("a cleaning cartridge in the drive answers %v", s)
		}
		alerts(want)
		noError(t, d.Unload(ctx))
		noError(t, changer.Move(ctx, driveAddress, cleaner))
	}
	clean(11)
	noError(t, changer.Move(ctx, slotAddress, driveAddress))
	noError(t, d.Load(ctx))
	alerts()
	noError(t, d.WriteBlock(ctx, []byte("x")))
	noError(t, d.Unload(ctx))
	noError(t, changer.Move(ctx, driveAddress, slotAddress))
	m, err := readMemory(l.cartridgeDir("CLNU01L1"))
	noError(t, err)
	if m.Cleanings != 1 {
		t.Fatalf("%d cleanings", m.Cleanings)
	}
	m.Cleanings = maxCleanings - 1
	noError(t, m.save(l.cartridgeDir("CLNU01L1")))
	l.SetDirty(0, tape.AlertCleanPeriodic)
	alerts(tape.AlertCleanPeriodic)
	clean(11)
	if l.dirtiness(0) != 0 {
		t.Fatal("not clean after the 50th cleaning")
	}
	l.SetDirty(0, tape.AlertCleanPeriodic)
	alerts(tape.AlertCleanPeriodic)
	clean(tape.AlertCleaningExpired)
	if l.dirtiness(0) != tape.AlertCleanPeriodic {
		t.Fatal("a cleaning cartridge that is used up cleaned")
	}
}

func TestWORM(t *testing.T) {
	l := open(t, t.TempDir())
	noError(t, l.SetWORM("A00001L9", true))
	d := mount(t, l)
	l.drives[0].protection = scsi.Protection{}
	ctx := t.Context()
	write := func() scsi.Sense {
		s, _ := raw(t, l, scsi.Write6{Length: 5}, scsi.Out, []byte("first"))
		return s
	}
	if s := write(); s.Key != 0 {
		t.Fatal(s)
	}
	raw(t, l, scsi.WriteFilemarks6{}, scsi.None, nil)
	noError(t, d.Rewind(ctx))
	if s := write(); !s.Is(scsi.ProtectKey, codeOverwrite) {
		t.Fatalf("overwriting a WORM medium: %v", s)
	}
	if s, _ := raw(t, l, scsi.FormatMedium{}, scsi.None, nil); !s.Is(scsi.ProtectKey, codeOverwrite) {
		t.Fatalf("formatting a WORM medium: %v", s)
	}
	noError(t, d.LocateEnd(ctx, 0))
	if s := write(); s.Key != 0 {
		t.Fatal(s)
	}
	got, err := d.Alerts(ctx)
	noError(t, err)
	if !slices.Contains(got, tape.AlertWORMOverwrite) {
		t.Fatal(got)
	}
	_, b := raw(t, l, scsi.ModeSense{Ten: true, Page: pageMedium, Alloc: 255}, scsi.In, make([]byte, 255))
	m, err := scsi.ParseMode(true, b)
	noError(t, err)
	if m.Medium != 0x9C || m.Find(pageMedium)[0] != 1 {
		t.Fatalf("%+v", m)
	}
}

// raw runs a command that the driver has no method for.
func raw(t *testing.T, l *Library, b scsi.CommandBlock, dir scsi.Direction, data []byte) (scsi.Sense, []byte) {
	t.Helper()
	c := &scsi.Command{CDB: b.CDB(), Dir: dir, Data: data}
	noError(t, l.Transport(0).Do(t.Context(), c))
	s, _ := scsi.ParseSense(c.Sense)
	return s, c.Data[:c.Transferred()]
}

func TestAppendOnly(t *testing.T) {
	l := open(t, t.TempDir())
	d := mount(t, l)
	ctx := t.Context()
	for range 3 {
		noError(t, d.WriteBlock(ctx, []byte("record")))
	}
	selects := func(e scsi.ConfigurationExtension) {
		t.Helper()
		data := scsi.ModeData{Buffered: 1, Pages: []scsi.ModePage{e.Page()}}.Bytes(true)
		data[0], data[1] = 0, 0
		if s, _ := raw(t, l, scsi.ModeSelect{Ten: true, Pages: true, Length: uint16(len(data))}, scsi.Out, data); s.Key != 0 {
			t.Fatal(s)
		}
	}
	selects(scsi.ConfigurationExtension{AppendOnly: true, EarlyWarning: 7})
	s, b := raw(t, l, scsi.ModeSense{Ten: true, Page: 0x10, Subpage: 1, Alloc: 255}, scsi.In, make([]byte, 255))
	m, err := scsi.ParseMode(true, b)
	if err != nil || s.Key != 0 {
		t.Fatal(s, err)
	}
	if e, err := scsi.ParseConfigurationExtension(m.FindSubpage(0x10, 1)); err != nil || !e.AppendOnly || e.EarlyWarning != 7 {
		t.Fatal(e, err)
	}
	selects(scsi.ConfigurationExtension{AppendOnly: true})
	noError(t, d.Locate(ctx, positionOf(1)))
	write := func() scsi.Sense {
		s, _ := raw(t, l, scsi.WriteFilemarks6{Count: 1}, scsi.None, nil)
		return s
	}
	if s := write(); s.Key != scsi.IllegalKey {
		t.Fatal(s)
	}
	if s, _ := raw(t, l, scsi.AllowOverwrite{Mode: 1, Block: 2}, scsi.None, nil); s.Key != scsi.IllegalKey {
		t.Fatalf("another place than the head's is allowed: %v", s)
	}
	if s, _ := raw(t, l, scsi.AllowOverwrite{Mode: 1, Block: 1}, scsi.None, nil); s.Key != 0 {
		t.Fatal(s)
	}
	if s := write(); s.Key != 0 {
		t.Fatal(s)
	}
	noError(t, d.Locate(ctx, positionOf(1)))
	if s := write(); s.Key != scsi.IllegalKey {
		t.Fatalf("allowed twice: %v", s)
	}
	noError(t, d.Rewind(ctx))
	format := func() scsi.Sense {
		s, _ := raw(t, l, scsi.FormatMedium{}, scsi.None, nil)
		return s
	}
	if s := format(); s.Key != scsi.IllegalKey {
		t.Fatal(s)
	}
	raw(t, l, scsi.AllowOverwrite{Mode: 2}, scsi.None, nil)
	if s := format(); s.Key != 0 {
		t.Fatal(s)
	}
}

// TestProgrammableWarning comes once, before the early warning.
func TestProgrammableWarning(t *testing.T) {
	l := open(t, t.TempDir(), func(c *Config) { c.Capacity, c.EarlyWarning = 8e6, 1e6 })
	mount(t, l)
	l.drives[0].protection = scsi.Protection{}
	l.drives[0].extension.EarlyWarning = 2
	var got []scsi.Code
	for range 8 {
		s, _ := raw(t, l, scsi.Write6{Length: 1e6}, scsi.Out, make([]byte, 1e6))
		got = append(got, s.Code)
	}
	if want := []scsi.Code{0, 0, 0, 0, 0, scsi.CodeProgrammable, 0, scsi.CodeEndOfMedium}; !reflect.DeepEqual(got, want) {
		t.Fatalf("%04x, want %04x", got, want)
	}
}

// TestVolumePage: what a host reads of a volume's life is plausible, and survives a load.
func TestVolumePage(t *testing.T) {
	l := open(t, t.TempDir())
	d := mount(t, l)
	ctx := t.Context()
	for i := range 4 {
		noError(t, d.WriteBlock(ctx, tapetest.Record(i, 1e6)))
	}
	noError(t, d.Unload(ctx))
	noError(t, d.Load(ctx))
	_, err := d.ReadBlock(ctx, make([]byte, 2e6))
	noError(t, err)
	_, b := raw(t, l, scsi.LogSense{Control: 1, Page: scsi.LogVolume, Alloc: 4096}, scsi.In, make([]byte, 4096))
	page, err := scsi.ParseLog(b)
	noError(t, err)
	for code, want := range map[uint16]uint64{0: 1, 1: 2, 0x0E: 0, 0x0F: 1, 0x10: 4, 0x11: 1, 0x16: 67, 0x17: 4, 0x80: 0} {
		if n, ok := page.Find(code); !ok || n != want {
			t.Errorf("parameter %04x is %d, %v; want %d", code, n, ok, want)
		}
	}
}

func TestTracks(t *testing.T) {
	for name, g := range generations {
		heads := 32
		if g.Density < 0x5C {
			heads = 16
		}
		if g.Name != name || int(g.tracks) != g.Wraps*heads {
			t.Errorf("%s: %d tracks, %d wraps", name, g.tracks, g.Wraps)
		}
	}
}

// TestReports: what a drive says of itself agrees with what it does.
func TestReports(t *testing.T) {
	l := open(t, t.TempDir())
	d := mount(t, l)
	_, b := raw(t, l, scsi.ReportDensity{Media: true, Alloc: 4096}, scsi.In, make([]byte, 4096))
	ds, err := scsi.ParseDensities(b)
	noError(t, err)
	if len(ds) != 1 || ds[0].Primary != 0x60 || ds[0].Tracks != 8960 || ds[0].CapacityMB != 67 || !ds[0].Writable || ds[0].Name != "U-9" {
		t.Fatalf("%+v", ds)
	}
	_, b = raw(t, l, scsi.ReportSupported{Timeouts: true, Alloc: 1 << 14}, scsi.In, make([]byte, 1<<14))
	known, err := scsi.ParseSupported(b)
	noError(t, err)
	has := func(op byte, action uint16) bool {
		return slices.ContainsFunc(known, func(s scsi.Supported) bool {
			return s.Opcode == op && (!s.HasAction || s.Action == action) && s.HasTimeouts && s.Recommended > 0
		})
	}
	for op := range 256 {
		n := scsi.Length(byte(op))
		if n == 0 || op == scsi.OpMaintenanceIn || op == scsi.OpMaintenanceOut || byte(op) == scsi.OpFormatMedium || byte(op) == scsi.OpLoadUnload {
			continue
		}
		cdb := make([]byte, n)
		cdb[0] = byte(op)
		c := &scsi.Command{CDB: cdb}
		noError(t, l.Transport(0).Do(t.Context(), c))
		s, _ := scsi.ParseSense(c.Sense)
		if does := s.Code != scsi.CodeInvalidOpcode; does != has(byte(op), 0) && byte(op) != scsi.OpErase6 {
			t.Errorf("command %02x: does %v, says %v", op, does, has(byte(op), 0))
		}
	}
	if !has(scsi.OpMaintenanceIn, 0x1D) || !has(scsi.OpMaintenanceOut, 0x1D) || !has(scsi.OpMaintenanceIn, 0x1F) || !d.Limits().HasOrder {
		t.Error("no access order or ends of wraps")
	}
}

// TestAppendOnlyDriver: the driver overwrites where it means to, though the drive is set to append.
func TestAppendOnlyDriver(t *testing.T) {
	l := open(t, t.TempDir())
	mount(t, l)
	l.drives[0].extension.AppendOnly = true
	tapetest.TestDrive(t, l.Tape().Drives[0])
	if !l.drives[0].extension.AppendOnly {
		t.Fatal("the driver changed the drive's mode")
	}
}

// TestModeChanged: another host turns protection off while records are written.
func TestModeChanged(t *testing.T) {
	l := open(t, t.TempDir())
	d := mount(t, l)
	ctx := t.Context()
	p := tapetest.Record(1, 1000)
	for i, next := range []func() error{
		func() error { return d.WriteBlock(ctx, p) },
		func() error { _, err := d.Position(ctx); return err },
		func() error { return d.WriteFilemarks(ctx, 0) },
		func() error { return d.Locate(ctx, positionOf(1)) },
	} {
		noError(t, d.LocateEnd(ctx, 0))
		noError(t, d.WriteBlock(ctx, p))
		l.drives[0].protection = scsi.Protection{}
		l.drives[0].attention = append(l.drives[0].attention, scsi.CodeModeChanged)
		noError(t, next())
		if !l.drives[0].protection.Write {
			t.Fatalf("%d: records go without checksums", i)
		}
		noError(t, d.WriteBlock(ctx, p))
	}
	noError(t, d.Rewind(ctx))
	buf := make([]byte, 2000)
	for {
		n, err := d.ReadBlock(ctx, buf)
		if tape.KindOf(err) == tape.EndOfData {
			break
		}
		noError(t, err)
		if !bytes.Equal(buf[:n], p) {
			t.Fatalf("a record of %d bytes", n)
		}
	}
}
