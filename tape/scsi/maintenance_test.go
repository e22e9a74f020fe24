package scsi

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"reflect"
	"strings"
	"testing"

	"sliod/tape"
)

// The command blocks and data of logical block protection, the access order and the ends of
// wraps, written down from IBM's LTO reference as LTFS and CTA send them.
var maintenance = []struct {
	block CommandBlock
	bytes string
}{
	{GenerateOrder{Process: 2, Length: 0x01020304}, "a4 1d 02 00 00 00 01 02 03 04 00 00"},
	{GenerateOrder{Process: 1, Type: 1, Length: 40}, "a4 1d 01 01 00 00 00 00 00 28 00 00"},
	{ReceiveOrder{Alloc: 0x01020304}, "a3 1d 00 00 00 00 01 02 03 04 00 00"},
	{ReceiveOrder{Limits: true, Alloc: 4}, "a3 9d 00 00 00 00 00 00 00 04 00 00"},
	{ReceiveOrder{Offset: 0x20, Alloc: 8, Type: 1}, "a3 1d 00 00 00 20 00 00 00 08 01 00"},
	{ReadWraps{All: true, Alloc: 3364}, "a3 1f 45 02 00 00 00 00 0d 24 00 00"},
	{ReadWraps{Valid: true, Wrap: 0xAB, Alloc: 10}, "a3 1f 45 01 00 ab 00 00 00 0a 00 00"},
	{ModeSense{Ten: true, NoDescriptors: true, Page: 0x0A, Subpage: 0xF0, Alloc: 255}, "5a 08 0a f0 00 00 00 00 ff 00"},
}

func TestMaintenanceBlocks(t *testing.T) {
	for _, c := range maintenance {
		want := unhex(t, c.bytes)
		if got := c.block.CDB(); !bytes.Equal(got, want) {
			t.Errorf("%T%+v: % x, want % x", c.block, c.block, got, want)
		}
		if got, err := ParseStream(want); err != nil || !reflect.DeepEqual(got, c.block) {
			t.Errorf("% x: %T%+v, %v; want %T%+v", want, got, got, err, c.block, c.block)
		}
	}
	for _, in := range []string{
		"a3 1e 00 00 00 00 00 00 00 00 00 00",
		"a4 1f 45 00 00 00 00 00 00 00 00 00",
		"a3 1f 46 02 00 00 00 00 00 00 00 00",
		"a3 1f 45 03 00 00 00 00 00 00 00 00", // both forms
		"a3 1f 45 02 00 01 00 00 00 00 00 00", // all wraps and one
		"a4 1d 00 00 00 00 00 00 00 00 00 00", // no such process
	} {
		if got, err := ParseStream(unhex(t, in)); err != ErrField {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
}

func TestProtectionPage(t *testing.T) {
	// What LTFS sends behind its header to turn CRC-32C on: bytes 20, 21 and 22 of 02, 04, c0.
	p := Protection{Method: 2, Size: 4, Write: true, Read: true}
	b := ModeData{Buffered: 1, HasBlock: true, Pages: []ModePage{p.Page()}}.Bytes(true)
	want := unhex(t, "002e 00 10 00 00 0008 0000000000000000 4a f0 001c 02 04 c0 00"+strings.Repeat("00", 24))
	if !bytes.Equal(b, want) {
		t.Fatalf("% x\nwant % x", b, want)
	}
	m, err := ParseMode(true, b)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseProtection(m.FindSubpage(PageControl, SubpageProtection)); err != nil || got != p {
		t.Fatal(got, err)
	}
	if m.Find(PageControl) != nil || m.FindSubpage(PageControl, 1) != nil {
		t.Fatal("found a page that is not there")
	}
	e := ConfigurationExtension{AppendOnly: true, EarlyWarning: 0x1234}
	if d := e.Page().Data; !bytes.Equal(d[:5], []byte{0, 0x10, 0x12, 0x34, 0}) || len(d) != 28 {
		t.Fatalf("% x", d)
	}
	if got, err := ParseConfigurationExtension(e.Page().Data); err != nil || got != e {
		t.Fatal(got, err)
	}
}

func TestOrderData(t *testing.T) {
	ss := []NamedSegment{{"0000000007", tape.Segment{Partition: 1, First: 0x0102030405060708, Last: 0x1112131415161718}}, {"b", tape.Segment{Last: 9}}}
	want := unhex(t, "02 00 0000 00000040"+
		"001e 000000 30303030303030303037 01 0102030405060708 1112131415161718"+
		"001e 000000 62000000000000000000 00 0000000000000000 0000000000000009")
	b := OrderBytes(2, 0, ss)
	if !bytes.Equal(b, want) {
		t.Fatalf("% x\nwant % x", b, want)
	}
	if got, err := ParseOrder(b); err != nil || !reflect.DeepEqual(got, ss) {
		t.Fatal(got, err)
	}
	// With geometry a descriptor is longer.
	long := append(unhex(t, "02 00 0000 00000024 0022"), b[10:40]...)
	long = append(long, 1, 2, 3, 4)
	if got, err := ParseOrder(long); err != nil || !reflect.DeepEqual(got, ss[:1]) {
		t.Fatal(got, err)
	}
	for n := range len(b) {
		if got, err := ParseOrder(b[:n]); err == nil {
			t.Fatalf("%d bytes of %d are taken: %v", n, len(b), got)
		}
	}
	if l, err := ParseOrderLimits([]byte{0x0A, 0x8C, 0, 32}); err != nil || l != (OrderLimits{2700, 32}) {
		t.Fatal(l, err)
	}
}

func TestWrapData(t *testing.T) {
	ws := []tape.WrapEnd{{Wrap: 0, Partition: 1, End: 0x010203040506}, {Wrap: 279, End: NoObject}}
	want := unhex(t, "001a 0000 0000 0001 0000 010203040506 0117 0000 0000 ffffffffffff")
	b := WrapsBytes(ws)
	if !bytes.Equal(b, want) {
		t.Fatalf("% x\nwant % x", b, want)
	}
	if got, err := ParseWraps(b); err != nil || !reflect.DeepEqual(got, ws) {
		t.Fatal(got, err)
	}
	for n := range len(b) {
		if got, err := ParseWraps(b[:n]); err == nil {
			t.Fatalf("%d bytes of %d are taken: %v", n, len(b), got)
		}
	}
	if got := WrapBytes(5); !bytes.Equal(got, []byte{0, 8, 0, 0, 0, 0, 0, 0, 0, 5}) {
		t.Fatalf("% x", got)
	}
}

func TestAlertData(t *testing.T) {
	l := LogData{Page: LogTapeAlert}
	for a := tape.Alert(1); a.Valid(); a++ {
		l.Parameters = append(l.Parameters, AlertParameter(a, a == tape.AlertCleanNow || a == 64))
	}
	b := l.Bytes()
	if want := unhex(t, "2e 00 0140 0001 c0 01 00 0002 c0 01 00"); !bytes.Equal(b[:len(want)], want) || len(b) != 4+64*5 {
		t.Fatalf("% x", b)
	}
	l, err := ParseLog(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := ParseAlerts(l); !reflect.DeepEqual(got, []tape.Alert{tape.AlertCleanNow, 64}) {
		t.Fatal(got)
	}
}

// TestGuard: what goes over the wire, by a transport with tails and by one without.
func TestGuard(t *testing.T) {
	record := []byte("123456789") // its CRC-32C is e3069283, with the lowest byte first
	sum := []byte{0x83, 0x92, 0x06, 0xE3}
	if binary.LittleEndian.Uint32(sum) != crc32.Checksum(record, castagnoli) {
		t.Fatal("not CRC-32C")
	}
	for _, tails := range []bool{true, false} {
		g := guard{on: true, tails: tails}
		cmd := &Command{CDB: Write6{Length: 9}.CDB(), Dir: Out, Data: record}
		if !g.arm(cmd) || !bytes.Equal(cmd.CDB, Write6{Length: 13}.CDB()) {
			t.Fatalf("% x", cmd.CDB)
		}
		if sent := append(bytes.Clone(cmd.Data), cmd.Tail...); !bytes.Equal(sent, append(bytes.Clone(record), sum...)) {
			t.Fatalf("% x", sent)
		}
		for _, c := range []struct {
			name string
			room int
			came []byte
			s    *Sense
			n    int
			bad  bool
		}{
			{"whole", 9, append(bytes.Clone(record), sum...), nil, 9, false},
			{"short", 11, append(bytes.Clone(record), sum...), &Sense{ILI: true, Info: 2, InfoValid: true}, 9, false},
			{"much shorter", 100, append(bytes.Clone(record), sum...), &Sense{ILI: true, Info: 91, InfoValid: true}, 9, false},
			{"changed", 9, append([]byte("123456788"), sum...), nil, 0, true},
			{"changed sum", 9, append(bytes.Clone(record), 0x83, 0x92, 0x06, 0xE2), nil, 0, true},
			{"too long", 5, append(bytes.Clone(record), sum...), &Sense{ILI: true, Info: -4, InfoValid: true}, 5, false},
			{"filemark", 9, nil, &Sense{Filemark: true, Code: CodeFilemark, Info: 9, InfoValid: true}, 0, false},
			{"end", 9, nil, &Sense{Key: BlankCheck, Code: CodeEndOfData}, 0, false},
			{"near the end", 9, append(bytes.Clone(record), sum...), &Sense{EOM: true, Code: CodeEndOfMedium}, 9, false},
			{"nothing", 9, nil, nil, 0, true},
		} {
			data := make([]byte, c.room)
			cmd := &Command{CDB: Read6{Length: uint32(c.room)}.CDB(), Dir: In, Data: data}
			g.arm(cmd)
			over := copy(cmd.Data, c.came)
			over += copy(cmd.Tail, c.came[over:])
			cmd.Residual = c.room + ProtectionSize - over
			if c.s != nil {
				cmd.Status, cmd.Sense = CheckCondition, c.s.Bytes()
			}
			n, err := g.finish(cmd, data)
			if n != c.n || (err != nil) != c.bad {
				t.Errorf("tails %v, %s: %d, %v", tails, c.name, n, err)
			}
			if err == nil && !bytes.Equal(data[:n], record[:n]) {
				t.Errorf("tails %v, %s: %q", tails, c.name, data[:n])
			}
		}
		if g.arm(&Command{CDB: TestUnitReady{}.CDB()}) || g.arm(&Command{CDB: Read6{Fixed: true}.CDB()}) {
			t.Error("other commands get a checksum")
		}
	}
}

// FuzzMaintenance feeds the decoders of what drives answer.
func FuzzMaintenance(f *testing.F) {
	f.Add(OrderBytes(2, 0, []NamedSegment{{"0000000000", tape.Segment{}}}))
	f.Add(WrapsBytes([]tape.WrapEnd{{Wrap: 3, End: 9}}))
	f.Add(OrderLimits{2700, 32}.Bytes())
	f.Add(Protection{2, 4, true, true}.Page().Data)
	f.Fuzz(func(t *testing.T, b []byte) {
		if ss, err := ParseOrder(b); err == nil {
			if again, err := ParseOrder(OrderBytes(0, 0, ss)); err != nil || len(again) != len(ss) {
				t.Fatal(again, err)
			}
			if order, err := permutation(b, make([]tape.Segment, len(ss))); err == nil && len(order) != len(ss) {
				t.Fatal(order)
			}
		}
		if ws, err := ParseWraps(b); err == nil {
			if again, err := ParseWraps(WrapsBytes(ws)); err != nil || !reflect.DeepEqual(ws, again) {
				t.Fatalf("%+v, %+v, %v", ws, again, err)
			}
		}
		_, _ = ParseOrderLimits(b)
		_, _ = ParseProtection(b)
		_, _ = ParseConfigurationExtension(b)
		if l, err := ParseLog(b); err == nil {
			ParseAlerts(l)
		}
		for _, tails := range []bool{true, false} {
			g := guard{on: true, tails: tails}
			data := make([]byte, len(b)/2)
			cmd := &Command{CDB: Read6{Length: uint32(len(data))}.CDB(), Dir: In, Data: data}
			if !g.arm(cmd) {
				t.Fatal("not armed")
			}
			cmd.Residual = len(data) + ProtectionSize - len(b)
			copy(cmd.Data, b)
			if n, err := g.finish(cmd, data); err == nil && (n < 0 || n > len(data)) {
				t.Fatal(n)
			}
		}
	})
}

// BenchmarkGuard is what protection costs a record of 512 KiB.
func BenchmarkGuard(b *testing.B) {
	record := make([]byte, 512<<10)
	for name, g := range map[string]*guard{"tails": {on: true, tails: true}, "copied": {on: true}} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(record)))
			for b.Loop() {
				cmd := &Command{CDB: Write6{Length: uint32(len(record))}.CDB(), Dir: Out, Data: record}
				g.arm(cmd)
			}
		})
	}
}
