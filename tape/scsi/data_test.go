package scsi

import (
	"reflect"
	"testing"
	"time"

	"sliod/tape"
)

func TestPositionData(t *testing.T) {
	long := unhex(t, "40 00 00 00 00000001 0000000000000005 0000000000000002 0000000000000000")
	p, err := ParsePosition(PositionLong, long)
	if want := (PositionData{End: true, Partition: 1, Block: 5, Filemarks: 2}); err != nil || p != want {
		t.Fatal(p, err)
	}
	if string(p.Bytes(PositionLong)) != string(long) {
		t.Fatalf("% x", p.Bytes(PositionLong))
	}
	short := unhex(t, "80 01 0000 00000000 00000000 00000000 00000000")
	if p, err := ParsePosition(PositionShort, short); err != nil || p != (PositionData{Beginning: true, Partition: 1}) {
		t.Fatal(p, err)
	}
	if p, _ := ParsePosition(PositionShort, PositionData{Block: 1 << 40}.Bytes(PositionShort)); !p.Unknown {
		t.Fatal("a block number that does not fit is taken")
	}
	if _, err := ParsePosition(PositionLong, short); err == nil {
		t.Fatal("a short form is taken for a long one")
	}
}

func TestPartitionPage(t *testing.T) {
	// What LTFS sends to format a cartridge: see the reference.
	p := Partitioning{MaxAdditional: 1, Additional: 1, Initiator: true, Flags: 0x1C, Recognition: 3, Unit: 9, Sizes: []uint16{1, 0xFFFF}}
	b := ModeData{Buffered: 1, HasBlock: true, Pages: []ModePage{p.Page()}}.Bytes(true)
	want := unhex(t, "001a 00 10 00 00 0008 0000000000000000 11 0a 01 01 3c 03 09 00 0001 ffff")
	if string(b) != string(want) {
		t.Fatalf("% x\nwant % x", b, want)
	}
	m, err := ParseMode(true, b)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParsePartitioning(m.Find(PagePartitions)); err != nil || !reflect.DeepEqual(got, p) {
		t.Fatal(got, err)
	}
	if m.Find(0x10) != nil {
		t.Fatal("found a page that is not there")
	}
}

func TestElementStatus(t *testing.T) {
	want := []ElementStatus{
		{Type: 1, Address: 1},
		{Type: 4, Address: 256, Full: true, Accessible: true, SourceValid: true, Source: 1024, Tag: "A00001L9",
			DeviceID: DeviceID{2, 1, []byte("SLIOD   VIRTUAL LTO-9   VD00000001")}},
		{Type: 4, Address: 257, Accessible: true, DeviceID: DeviceID{2, 0, []byte("1013000123")}},
		{Type: 2, Address: 1024, Exception: true, Code: 0x8301},
		{Type: 2, Address: 1025, Full: true, Tag: "A00002L9"},
	}
	b := ElementBytes(ReadElementStatus{VolumeTags: true, DeviceIDs: true}, want)
	got, size, err := ParseElements(b, true)
	if err != nil || size != len(b) || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v %d %v", got, size, err)
	}
	if s := got[1].DeviceID.Serial(); s != "VD00000001" {
		t.Fatal(s)
	}
	if s := got[2].Element().Drive; s != "1013000123" {
		t.Fatal(s)
	}
	if n, all, err := ParseElements(b[:len(b)-1], true); err != nil || len(n) != 4 || all != len(b) {
		t.Fatal(n, all, err)
	}
	// As a library without volume tags or designators answers.
	b = unhex(t, "0400 0001 00 000014 02 00 000c 00 00000c 0400 09 00 0000 000000 80 0100")
	got, _, err = ParseElements(b, false)
	if err != nil || len(got) != 1 || got[0].Element() != (tape.Element{Address: 0x400, Kind: tape.Slot, Full: true, Source: 0x100, SourceValid: true}) {
		t.Fatalf("%+v %v", got, err)
	}
}

func TestAttributes(t *testing.T) {
	as := []Attribute{{0x0009, true, tape.AttrBinary, []byte{0, 0, 0, 5}}, {0x0806, false, tape.AttrASCII, []byte("A00001L9")}}
	b := AppendAttributes(nil, as...)
	if want := unhex(t, "00000016 0009 80 0004 00000005 0806 01 0008 4130303030314c39"); string(b) != string(want) {
		t.Fatalf("% x", b)
	}
	if got, err := ParseAttributes(b); err != nil || !reflect.DeepEqual(got, as) {
		t.Fatal(got, err)
	}
	if got, err := ParseAttributes(b[:len(b)-1]); err == nil || len(got) != 1 {
		t.Fatal(got, err)
	}
}

func TestLogPage(t *testing.T) {
	b := unhex(t, "31 00 0010 0001 03 04 00000fa0 0003 03 04 00001000")
	l, err := ParseLog(b)
	if err != nil || string(l.Bytes()) != string(b) {
		t.Fatal(l, err)
	}
	if n, ok := l.Find(CapacityRemaining0); !ok || n != 4000 {
		t.Fatal(n, ok)
	}
	if _, ok := l.Find(CapacityRemaining1); ok {
		t.Fatal("found a parameter that is not there")
	}
}

func TestDensities(t *testing.T) {
	// LTO-9 as a drive tells it: SSC-5, density support descriptor.
	b := unhex(t, "0036 0000 60 60 a0 0000 004a1c 007f 2300 01120880"+
		"4c544f2d43564520 552d393036202020 556c747269756d20392f31365420202020202020")
	ds, err := ParseDensities(b)
	want := []Density{{Primary: 0x60, Secondary: 0x60, Writable: true, Default: true, BitsPerMM: 0x4A1C, Width: 127, Tracks: 8960, CapacityMB: 17959040,
		Organization: "LTO-CVE", Name: "U-906", Description: "Ultrium 9/16T"}}
	if err != nil || !reflect.DeepEqual(ds, want) {
		t.Fatalf("%+v %v", ds, err)
	}
	if got := DensityBytes(want); string(got) != string(b) {
		t.Fatalf("% x\nwant % x", got, b)
	}
	if ds, err := ParseDensities(b[:len(b)-1]); err != nil || len(ds) != 0 {
		t.Fatal(ds, err)
	}
	if _, err := ParseDensities(unhex(t, "0036")); err == nil {
		t.Fatal("a header cut short is taken")
	}
}

func TestSupported(t *testing.T) {
	b := unhex(t, "0000003c 08 00 0000 00 02 0006 000a 00 00 00000000 00000924"+
		"a3 00 001d 00 03 000c 000a 00 00 00000001 00000b7c"+
		"12 00 0000 00 00 0006 2b 00 0000 00 00 000a 00 00 0000")
	ss, err := ParseSupported(b)
	want := []Supported{
		{Opcode: 0x08, Length: 6, HasTimeouts: true, Recommended: 2340},
		{Opcode: 0xA3, Action: 0x1D, HasAction: true, Length: 12, HasTimeouts: true, Nominal: 1, Recommended: 2940},
		{Opcode: 0x12, Length: 6}, {Opcode: 0x2B, Length: 10},
	}
	if err != nil || !reflect.DeepEqual(ss, want) {
		t.Fatalf("%+v %v", ss, err)
	}
	if got := SupportedBytes(want); string(got[4:]) != string(b[4:len(got)]) {
		t.Fatalf("% x\nwant % x", got, b)
	}
	times := LTO9Timeouts
	times.raise([]Supported{{Opcode: OpRead6, Recommended: 9999}, {Opcode: OpWrite6, Recommended: 1}, {Opcode: OpRewind, Recommended: 0xFFFFFFFF}, {Opcode: 0xB5, Recommended: 7000}})
	changed := LTO9Timeouts
	changed.Read, changed.Rewind = 9999*time.Second, longest
	if times != changed {
		t.Fatalf("%+v", times)
	}
}

func TestPartitionRecords(t *testing.T) {
	b := unhex(t, "07 00 0000 0000a410 07 00 0001 ffffffff 09 00 0002 000100000000")
	got := ParsePartitionRecords(b)
	if want := map[tape.Partition]uint64{0: 42000, 2: 1 << 32}; !reflect.DeepEqual(got, want) {
		t.Fatal(got)
	}
	if p := PartitionRecords(42000); string(p) != string(b[:8]) {
		t.Fatalf("% x", p)
	}
	for _, bad := range []string{"", "07 00 00", "03 00 0000 07", "ff 00 0000 0000", "07 00 0100 00000001"} {
		if got := ParsePartitionRecords(unhex(t, bad)); len(got) > 0 {
			t.Errorf("%s: %v", bad, got)
		}
	}
}

// FuzzData feeds every decoder of parameter data.
func FuzzData(f *testing.F) {
	f.Add(PositionData{Block: 7}.Bytes(PositionLong))
	f.Add(ModeData{HasBlock: true, Pages: []ModePage{{Page: 0x10, Subpage: 1, Data: make([]byte, 28)}, Compression{}.Page()}}.Bytes(true))
	f.Add(LogData{Page: LogCapacity, Parameters: []LogParameter{{1, 3, []byte{1, 2}}}}.Bytes())
	f.Add(AppendAttributes(nil, Attribute{ID: 9, Value: []byte{1}}))
	f.Add(DensityBytes([]Density{{Primary: 0x60, Writable: true, Name: "U-906"}}))
	f.Add(SupportedBytes([]Supported{{Opcode: 8, Length: 6, HasTimeouts: true, Recommended: 2340}, {Opcode: 18}}))
	f.Add(PartitionRecords(1, 2))
	f.Add(VitalPage(1, PageSerial, []byte("serial")))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, ten := range []bool{false, true} {
			if m, err := ParseMode(ten, b); err == nil {
				for _, p := range m.Pages {
					_, _ = ParsePartitioning(p.Data)
					_, _ = ParseElementAddresses(p.Data)
					_, _ = ParseCompression(p.Data)
				}
			}
		}
		_, _ = ParsePosition(PositionLong, b)
		_, _ = ParsePosition(PositionShort, b)
		if l, err := ParseLog(b); err == nil {
			l.Find(1)
		}
		_, _ = ParseAttributes(b)
		_, _ = ParseDensities(b)
		_, _ = ParseSupported(b)
		_ = ParsePartitionRecords(b)
		_, _ = ParseConfigurationExtension(b)
		_, _ = ParseVital(PageSerial, b)
		_, _ = ParseInquiry(b)
		_, _ = ParseBlockLimits(b)
	})
}

func FuzzElements(f *testing.F) {
	es := []ElementStatus{{Type: 1, Address: 1}, {Type: 4, Address: 256, Full: true, Tag: "A00001L9", DeviceID: DeviceID{2, 1, []byte("SLIOD   VIRTUAL LTO-9   VD00000001")}}}
	f.Add(ElementBytes(ReadElementStatus{VolumeTags: true, DeviceIDs: true}, es), true)
	f.Add(ElementBytes(ReadElementStatus{VolumeTags: true}, es), false)
	f.Add(ElementBytes(ReadElementStatus{}, es), true)
	f.Fuzz(func(t *testing.T, b []byte, ids bool) {
		es, _, err := ParseElements(b, ids)
		if err != nil {
			return
		}
		for _, e := range es {
			_ = e.Element()
		}
	})
}
