package virtual

import (
	"context"
	stderrors "errors"
	"testing"
	"testing/synctest"
	"time"

	"sliod/tape"
	"sliod/tape/scsi"
	"sliod/tape/tapetest"
)

func positionOf(block int) tape.Position { return tape.Position{Block: tape.BlockNo(block)} }

func wantKind(t *testing.T, err error, want tape.Kind) {
	t.Helper()
	if err == nil || tape.KindOf(err) != want {
		t.Fatalf("got %v, want an error of kind %v", err, want)
	}
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFaults(t *testing.T) {
	l := open(t, t.TempDir())
	d := mount(t, l)
	ctx := t.Context()
	l.SetFault(Fault{Opcode: scsi.OpWrite6, Nth: 2, Sense: scsi.Sense{Key: scsi.MediumErrorKey, Code: scsi.CodeWriteError}})
	noError(t, d.WriteBlock(ctx, []byte("a")))
	wantKind(t, d.WriteBlock(ctx, []byte("b")), tape.MediumError)
	at, err := d.Position(ctx)
	noError(t, err)
	if at != positionOf(1) {
		t.Fatal(at)
	}
	noError(t, d.WriteBlock(ctx, []byte("b")))
	l.SetFault(Fault{Device: AnyDrive, Volume: "A00001L9", Opcode: scsi.OpWriteFilemarks6, Sense: scsi.Sense{Deferred: true, Key: scsi.MediumErrorKey, Code: scsi.CodeWriteError}})
	wantKind(t, d.WriteFilemarks(ctx, 0), tape.Deferred)
	l.SetFault(Fault{Opcode: scsi.OpWriteFilemarks6, Lost: true, After: true})
	wantKind(t, d.WriteFilemarks(ctx, 0), tape.Disconnected)
	remove := l.SetFault(Fault{Opcode: scsi.OpRewind, Times: -1, Lost: true})
	wantKind(t, d.Rewind(ctx), tape.Disconnected)
	wantKind(t, d.Rewind(ctx), tape.Disconnected)
	remove()
	noError(t, d.Rewind(ctx))
	l.SetUnreadable("A00001L9", positionOf(1), true)
	buf := make([]byte, 10)
	_, err = d.ReadBlock(ctx, buf)
	noError(t, err)
	_, err = d.ReadBlock(ctx, buf)
	wantKind(t, err, tape.MediumError)
	l.SetUnreadable("A00001L9", positionOf(1), false)
	noError(t, d.Locate(ctx, positionOf(1)))
	_, err = d.ReadBlock(ctx, buf)
	noError(t, err)

	var seen []Event
	l.Hook(func(e Event) {
		seen = append(seen, e)
		if e.After && e.Opcode == scsi.OpRead6 {
			e.Fail(scsi.Sense{Key: scsi.HardwareKey, Code: scsi.CodeInternalFailure})
		}
	})
	noError(t, d.Rewind(ctx))
	_, err = d.ReadBlock(ctx, buf)
	wantKind(t, err, tape.HardwareError)
	l.Hook(nil)
	if len(seen) != 4 || seen[3].Position != positionOf(1) || !seen[3].After || seen[3].Volume != "A00001L9" {
		t.Fatalf("%+v", seen)
	}
}

// TestAttention: a unit attention is taken where nothing is lost by it, and
// told where something may be.
func TestAttention(t *testing.T) {
	l := open(t, t.TempDir())
	d := mount(t, l)
	ctx := t.Context()
	attention := func(op byte, code scsi.Code) {
		l.SetFault(Fault{Opcode: op, Sense: scsi.Sense{Key: scsi.AttentionKey, Code: code}})
	}
	noError(t, d.WriteBlock(ctx, []byte("a")))
	attention(scsi.OpWrite6, scsi.CodeModeChanged)
	noError(t, d.WriteBlock(ctx, []byte("b"))) // the position is as it was
	attention(scsi.OpWriteFilemarks6, scsi.CodeReset)
	wantKind(t, d.WriteFilemarks(ctx, 0), tape.Deferred) // the buffer may be gone
	_, err := d.Position(ctx)
	noError(t, err)
	noError(t, d.WriteFilemarks(ctx, 0))
	attention(scsi.OpRewind, scsi.CodeReset)
	noError(t, d.Rewind(ctx))
	_, err = d.Position(ctx)
	noError(t, err)
	attention(scsi.OpRead6, scsi.CodeReset)
	buf := make([]byte, 10)
	n, err := d.ReadBlock(ctx, buf)
	noError(t, err)
	if string(buf[:n]) != "a" {
		t.Fatalf("%q", buf[:n])
	}
	// A reset that moved the head: the read would have got another record.
	l.Hook(func(e Event) {
		if e.Opcode == scsi.OpRead6 && !e.After {
			l.Hook(nil)
			l.drives[0].block = 0 // the hook runs with the drive's turn
			e.Fail(scsi.Sense{Key: scsi.AttentionKey, Code: scsi.CodeReset})
		}
	})
	_, err = d.ReadBlock(ctx, buf)
	wantKind(t, err, tape.UnitAttention)
	attention(scsi.OpLocate16, scsi.CodeMediumChanged)
	wantKind(t, d.Locate(ctx, positionOf(1)), tape.UnitAttention)
	wantKind(t, d.WriteBlock(ctx, []byte("astray")), tape.UnitAttention) // still
	noError(t, d.Load(ctx))
	noError(t, d.WriteBlock(ctx, []byte("a")))
}

// TestUnloadWithAttention: a cartridge that the last run left in a drive can be
// unloaded at once. The drive still has to tell of a reset and of its medium;
// neither means anything to who has not loaded it.
func TestUnloadWithAttention(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	mount(t, l)
	noError(t, l.Kill())
	l = open(t, dir)
	noError(t, l.Tape().Drives[0].Unload(t.Context()))
}

func TestSeparateInventory(t *testing.T) {
	l := open(t, t.TempDir())
	want, err := l.Tape().Changer.Inventory(t.Context())
	noError(t, err)
	l.Hook(func(e Event) {
		if e.Opcode == scsi.OpReadElementStatus && !e.After && e.CDB[1]&0x10 != 0 && e.CDB[6]&1 != 0 {
			e.Fail(scsi.Sense{Key: scsi.IllegalKey, Code: scsi.CodeInvalidField})
		}
	})
	got, err := l.Tape().Changer.Inventory(t.Context())
	noError(t, err)
	if len(got) != len(want) || len(got) != 7 {
		t.Fatal(got)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
}

func TestCapacity(t *testing.T) {
	l := open(t, t.TempDir(), func(c *Config) { c.Capacity, c.EarlyWarning = 4<<20, 1<<20 })
	d := mount(t, l)
	ctx := t.Context()
	p := tapetest.Record(0, 256<<10)
	warned, n := 0, 0
	for ; ; n++ {
		err := d.WriteBlock(ctx, p)
		if tape.KindOf(err) == tape.EarlyWarning {
			warned++
		} else if err != nil {
			wantKind(t, err, tape.EndOfMedium)
			break
		}
	}
	if n != 16 || warned != 4 {
		t.Fatalf("%d records fit, %d with a warning", n, warned)
	}
	if err := d.WriteFilemarks(ctx, 0); tape.KindOf(err) != tape.EarlyWarning {
		t.Fatal(err)
	}
	noError(t, d.Rewind(ctx))
	noError(t, d.WriteBlock(ctx, p))
	noError(t, d.WriteFilemarks(ctx, 1))
	if l := d.Limits(); l.CapacityBytes != 4<<20 || l.RemainingBytes != 3<<20 {
		t.Fatalf("%+v", l)
	}
}

func TestWriteProtect(t *testing.T) {
	l := open(t, t.TempDir())
	noError(t, l.SetWriteProtect("A00001L9", true))
	d := mount(t, l)
	if !d.Limits().WriteProtected {
		t.Fatal("not write protected")
	}
	wantKind(t, d.WriteBlock(t.Context(), []byte("x")), tape.WriteProtected)
	wantKind(t, d.WriteFilemarks(t.Context(), 0), tape.WriteProtected)
	wantKind(t, d.WriteAttribute(t.Context(), 0, 0x0806, tape.AttrASCII, []byte("x")), tape.WriteProtected)
	wantKind(t, d.Format(t.Context(), 1), tape.WriteProtected)
}

// TestReopen: what is where survives a kill, and a library has one owner.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	mount(t, l)
	if _, err := Open(Config{Dir: dir, Drives: 2, Slots: 4}); err == nil {
		t.Fatal("a library was opened twice")
	}
	noError(t, l.Kill())
	noError(t, l.Close())
	wantKind(t, l.Tape().Drives[0].Rewind(t.Context()), tape.Disconnected)
	l = open(t, dir, func(c *Config) { c.Drives = 1 })
	noError(t, l.Tape().Drives[0].Load(t.Context()))
	es, err := l.Tape().Changer.Inventory(t.Context())
	noError(t, err)
	for _, e := range es {
		if e.Kind == tape.DriveElement && (e.Volume != "A00001L9" || e.Source != slotAddress) {
			t.Fatalf("%+v", e)
		}
	}
	noError(t, l.Close())
	for _, bad := range []Config{{}, {Dir: dir, Drives: 1}, {Dir: dir, Slots: 1}, {Dir: dir, Drives: 1, Slots: 1},
		{Dir: dir, Drives: 1, Slots: 4, Cartridge: "DAT"}, {Dir: dir, Drives: 1, Slots: 4, Speed: -1}, {Dir: dir, Drives: 1, Slots: 4, Capacity: 5}} {
		if l, err := Open(bad); err == nil {
			l.Close()
			t.Errorf("%+v is taken", bad)
		}
	}
}

func TestHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, t.TempDir())
		d := mount(t, l)
		release := l.Hang(0)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantKind(t, d.Rewind(ctx), tape.Disconnected)
		if err := d.Rewind(t.Context()); !stderrors.Is(err, ErrTimeout) || time.Since(start) != 601*time.Second {
			t.Fatal(err, time.Since(start))
		}
		done := make(chan error)
		go func() { done <- d.Rewind(t.Context()) }()
		synctest.Wait()
		release()
		noError(t, <-done)
		l.Hang(0)
		go func() { done <- d.Rewind(t.Context()) }()
		synctest.Wait()
		noError(t, l.Close())
		wantKind(t, <-done, tape.Disconnected)
	})
}

// TestTime runs a mount and a read at the time of an LTO-9 drive.
func TestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, t.TempDir(), func(c *Config) { c.Speed = 1 })
		start := time.Now()
		took := func(what string, min, max float64) {
			t.Helper()
			if s := time.Since(start).Seconds(); s < min || s > max {
				t.Errorf("%s took %.2f s, want %v to %v", what, s, min, max)
			}
			start = time.Now()
		}
		d := mount(t, l)
		took("mount", 27, 28)
		p := tapetest.Record(0, 1<<20)
		for range 32 {
			noError(t, d.WriteBlock(t.Context(), p))
		}
		took("writing into the buffer", 0, 0.01)
		noError(t, d.WriteFilemarks(t.Context(), 0))
		took("flush", 2, 2.2)
		noError(t, d.Rewind(t.Context()))
		took("rewind", 4, 10)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		noError(t, d.Unload(ctx)) // its time ends with the context, the command is done
		took("cancelled unload", 1, 1)
		wantKind(t, l.Tape().Changer.Move(t.Context(), driveAddress, slotAddress+1), tape.ElementFull)
		noError(t, l.Tape().Changer.Move(t.Context(), driveAddress, slotAddress))
		took("move", 10, 10)
	})
}

// FuzzDevices sends arbitrary command blocks to the emulated devices.
func FuzzDevices(f *testing.F) {
	for _, b := range []scsi.CommandBlock{scsi.Read6{Length: 5}, scsi.Write6{Length: 5}, scsi.WriteFilemarks6{Count: 2}, scsi.Space16{Code: 1, Count: -1 << 63},
		scsi.Locate16{ChangePartition: true, Partition: 1, Block: 1 << 63}, scsi.ModeSelect{Ten: true, Pages: true, Length: 20}, scsi.FormatMedium{Format: 1},
		scsi.ReadAttribute{Alloc: 1 << 31}, scsi.WriteAttribute{Length: 1 << 31}, scsi.ReadElementStatus{Count: 9, Alloc: 99}, scsi.MoveMedium{From: slotAddress, To: driveAddress},
		scsi.GenerateOrder{Process: 2, Length: 72}, scsi.ReceiveOrder{Alloc: 99}, scsi.ReceiveOrder{Limits: true, Alloc: 4}, scsi.ReadWraps{All: true, Alloc: 4000},
		scsi.AllowOverwrite{Mode: 2}, scsi.ReportDensity{Media: true, Alloc: 99}, scsi.ReportSupported{Timeouts: true, Alloc: 999}, scsi.LogSense{Page: scsi.LogTapeAlert, Alloc: 999},
		scsi.ModeSense{Ten: true, Page: scsi.PageAll, Subpage: 0xFF, Alloc: 999}} {
		f.Add(b.CDB(), []byte("some data for it"), true)
		f.Add(b.CDB(), make([]byte, 100), false)
	}
	for _, p := range []scsi.ModePage{scsi.Protection{Method: 2, Size: 4, Write: true, Read: true}.Page(), scsi.ConfigurationExtension{AppendOnly: true, EarlyWarning: 1}.Page()} {
		data := scsi.ModeData{Pages: []scsi.ModePage{p}}.Bytes(true)
		f.Add(scsi.ModeSelect{Ten: true, Pages: true, Length: uint16(len(data))}.CDB(), data, true)
	}
	f.Add(scsi.GenerateOrder{Process: 2, Length: 40}.CDB(), scsi.OrderBytes(0, 0, []scsi.NamedSegment{{Name: "a"}}), true)
	l := open(f, f.TempDir())
	mount(f, l)
	f.Fuzz(func(t *testing.T, cdb, data []byte, out bool) {
		for _, device := range []int{0, 1, Changer} {
			c := &scsi.Command{CDB: cdb, Data: data, Dir: scsi.In}
			if out {
				c.Dir = scsi.Out
			}
			if len(cdb) > 0 && cdb[0] == scsi.OpWriteFilemarks6 && len(cdb) > 3 {
				cdb[2], cdb[3] = 0, 0 // many filemarks are only slow
			}
			if err := l.Transport(device).Do(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if _, ok := scsi.ParseSense(c.Sense); c.Status == scsi.CheckCondition && !ok || c.Residual < 0 || c.Residual > len(data) {
				t.Fatalf("%+v", c)
			}
		}
	})
}
