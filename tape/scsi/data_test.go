package scsi

import (
	"reflect"
	"testing"

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

// FuzzData feeds every decoder of parameter data.
func FuzzData(f *testing.F) {
	f.Add(PositionData{Block: 7}.Bytes(PositionLong))
	f.Add(ModeData{HasBlock: true, Pages: []ModePage{{Page: 0x10, Subpage: 1, Data: make([]byte, 28)}, Compression{}.Page()}}.Bytes(true))
	f.Add(LogData{Page: LogCapacity, Parameters: []LogParameter{{1, 3, []byte{1, 2}}}}.Bytes())
	f.Add(AppendAttributes(nil, Attribute{ID: 9, Value: []byte{1}}))
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
