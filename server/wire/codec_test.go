package wire

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/hugelgupf/p9/p9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// samples is one of each message, with every field set.
func samples() []Message {
	q := p9.QID{Type: p9.TypeDir, Version: 5, Path: 1 << 40}
	b := func(s string) []byte { return []byte(s) }
	walk := &MsgTwalk{Fid: 1, NewFid: 2, N: 3}
	walk.Names[0], walk.Names[1], walk.Names[2] = b("a"), b("bc"), b("")
	rwalk := &MsgRwalk{N: 2}
	rwalk.QIDs[0], rwalk.QIDs[1] = q, p9.QID{Path: 9}
	attr := p9.Attr{Mode: 0o104755, UID: 1, GID: 2, NLink: 3, RDev: 4, Size: 5, BlockSize: 6, Blocks: 7, ATimeSeconds: 8,
		ATimeNanoSeconds: 9, MTimeSeconds: 10, MTimeNanoSeconds: 11, CTimeSeconds: 12, CTimeNanoSeconds: 13,
		BTimeSeconds: 14, BTimeNanoSeconds: 15, Gen: 16, DataVersion: 17}
	return []Message{
		&MsgTversion{Msize: 8192, Version: b(Version)}, &MsgRversion{Msize: 8192, Version: b(Version)},
		&MsgTauth{Afid: 1, Uname: b("u"), Aname: b("a"), NUname: 4},
		&MsgTattach{Fid: 1, Afid: NoFid, Uname: b("nobody"), Aname: b("/x"), NUname: NoUname}, &MsgRattach{QID: q},
		&MsgTflush{OldTag: 7}, &MsgRflush{}, walk, rwalk,
		&MsgTlopen{Fid: 1, Flags: 0o100002}, &MsgRlopen{QID: q, IOUnit: 3}, &MsgRlerror{Errno: 5},
		&MsgTlcreate{Fid: 1, Name: b("f"), Flags: 2, Mode: 0o4755, GID: 6}, &MsgRlcreate{QID: q, IOUnit: 3},
		&MsgTsymlink{Dir: 1, Name: b("f"), Target: b("../x"), GID: 6}, &MsgRsymlink{QID: q},
		&MsgTmknod{Dir: 1, Name: b("f"), Mode: 0o10644, Major: 1, Minor: 2, GID: 6}, &MsgRmknod{QID: q},
		&MsgTrename{Fid: 1, Dir: 2, Name: b("f")}, &MsgRrename{}, &MsgTreadlink{Fid: 1}, &MsgRreadlink{Target: b("t")},
		&MsgTgetattr{Fid: 1, Mask: AttrAll}, &MsgRgetattr{Valid: AttrAll, QID: q, Attr: attr},
		&MsgTsetattr{Fid: 1, Valid: SetAll, Attr: p9.SetAttr{Permissions: 0o7777, UID: 1, GID: 2, Size: 3, ATimeSeconds: 4,
			ATimeNanoSeconds: 5, MTimeSeconds: 6, MTimeNanoSeconds: 7}}, &MsgRsetattr{},
		&MsgTxattrwalk{Fid: 1, NewFid: 2, Name: b("user.x")}, &MsgRxattrwalk{Size: 9},
		&MsgTxattrcreate{Fid: 1, Name: b("user.x"), Size: 9, Flags: 2}, &MsgRxattrcreate{},
		&MsgTreaddir{Fid: 1, Offset: 2, Count: 3}, &MsgTread{Fid: 1, Offset: 2, Count: 3}, &MsgRwrite{Count: 4},
		&MsgTfsync{Fid: 1, DataOnly: 1}, &MsgRfsync{},
		&MsgTlock{Fid: 1, LockType: 1, Flags: 1, Start: 2, Length: 3, ProcID: 4, ClientID: b("host")}, &MsgRlock{Status: 1},
		&MsgTgetlock{Fid: 1, LockType: 2, Start: 2, Length: 3, ProcID: 4, ClientID: b("host")},
		&MsgRgetlock{LockType: 1, Start: 2, Length: 3, ProcID: 4, ClientID: b("host")},
		&MsgTlink{Dir: 1, Fid: 2, Name: b("l")}, &MsgRlink{}, &MsgTmkdir{Dir: 1, Name: b("d"), Mode: 0o1777, GID: 4}, &MsgRmkdir{QID: q},
		&MsgTrenameat{OldDir: 1, OldName: b("a"), NewDir: 2, NewName: b("b")}, &MsgRrenameat{},
		&MsgTunlinkat{Dir: 1, Name: b("a"), Flags: 0x200}, &MsgRunlinkat{}, &MsgTclunk{Fid: 1}, &MsgRclunk{},
		&MsgTremove{Fid: 1}, &MsgRremove{}, &MsgTstatfs{Fid: 1},
		&MsgTseek{Fid: 1, Offset: 1 << 40, Whence: 4}, &MsgRseek{Offset: 1 << 41},
		&MsgTallocate{Fid: 1, Mode: 3, Offset: 1 << 40, Length: 1 << 41}, &MsgRallocate{Count: 1 << 42},
		&MsgTcopy{Fid: 1, Offset: 1 << 40, ToFid: 2, ToOffset: 1 << 41, Count: 1 << 42}, &MsgRcopy{Count: 1 << 43, Again: 1},
		&MsgRstatfs{Stat: p9.FSStat{Type: 1, BlockSize: 2, Blocks: 3, BlocksFree: 4, BlocksAvailable: 5, Files: 6, FilesFree: 7, FSID: 8, NameLength: 9}},
	}
}

func blank(m Message) Message {
	return reflect.New(reflect.TypeOf(m).Elem()).Interface().(Message)
}

func TestRoundTrip(t *testing.T) {
	var c Codec
	for _, m := range samples() {
		f := c.Append([]byte("before"), 77, m)[6:]
		h := ParseHeader(f)
		if int(h.Size) != len(f) || h.Tag != 77 || h.Type != m.Type() {
			t.Errorf("%v: header %+v of %d bytes", m.Type(), h, len(f))
		}
		got := blank(m)
		if err := c.Decode(f[HeaderSize:], got); err != nil {
			t.Errorf("%v: %v", m.Type(), err)
		}
		if again := c.Append(nil, 77, got); !bytes.Equal(again, f) {
			t.Errorf("%v: %x became %x", m.Type(), f, again)
		}
	}
}

// TestStrict cuts every message at every byte and adds one: nothing but the whole is
// accepted.
func TestStrict(t *testing.T) {
	var c Codec
	for _, m := range samples() {
		body := c.Append(nil, 1, m)[HeaderSize:]
		for n := range len(body) {
			if m.Type() == Tfsync && n == 4 {
				continue // without its last field, as older clients send it
			}
			if err := c.Decode(body[:n], blank(m)); err != ErrMalformed {
				t.Errorf("%v cut to %d of %d bytes: %v", m.Type(), n, len(body), err)
			}
		}
		if err := c.Decode(append(body, 0), blank(m)); err != ErrMalformed {
			t.Errorf("%v with a byte more: %v", m.Type(), err)
		}
	}
}

func TestWalkOfTooManyNames(t *testing.T) {
	body := le.AppendUint16(make([]byte, 8), MaxWalk+1)
	body = append(body, make([]byte, 2*(MaxWalk+1))...)
	if err := new(Codec).Decode(body, new(MsgTwalk)); err != ErrMalformed {
		t.Fatal(err)
	}
}

func TestTwriteAndData(t *testing.T) {
	f := append(AppendTwrite(nil, 3, 9, 1<<40, 5), "hello"...)
	fid, off, data, err := ParseTwrite(f[HeaderSize:])
	if fid != 9 || off != 1<<40 || string(data) != "hello" || err != nil || ParseHeader(f).Size != uint32(len(f)) {
		t.Fatal(fid, off, data, err)
	}
	for n := range len(f) - HeaderSize {
		if _, _, _, err := ParseTwrite(f[HeaderSize : HeaderSize+n]); err != ErrMalformed {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
	r := append(AppendRread(nil, 3, 5), "hello"...)
	if p, err := ParseData(r[HeaderSize:]); string(p) != "hello" || err != nil {
		t.Fatal(p, err)
	}
	d := AppendDirent(nil, p9.QID{Type: p9.TypeDir, Version: 1, Path: 2}, 3, 4, "name")
	got, rest, err := ParseDirent(d)
	want := p9.Dirent{QID: p9.QID{Type: p9.TypeDir, Version: 1, Path: 2}, Offset: 3, Type: 4, Name: "name"}
	if got != want || len(rest) != 0 || err != nil || len(d) != DirentOverhead+4 {
		t.Fatal(got, rest, err)
	}
	for n := range len(d) {
		if _, _, err := ParseDirent(d[:n]); err != ErrMalformed {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	c := new(Codec)
	out := make([]byte, 0, 4096)
	for _, m := range samples() {
		body := c.Append(nil, 1, m)[HeaderSize:]
		into := blank(m)
		if n := testing.AllocsPerRun(20, func() {
			_ = c.Decode(body, into) // judged elsewhere
			_ = c.Append(out, 1, into)
		}); n != 0 {
			t.Errorf("%v: %v allocations", m.Type(), n)
		}
	}
}

// TestSetattrMask compares every bit with p9's decoder by name.
func TestSetattrMask(t *testing.T) {
	for bit, want := range map[uint32]p9.SetAttrMask{
		SetMode: {Permissions: true}, SetUID: {UID: true}, SetGID: {GID: true}, SetSize: {Size: true},
		SetAtime: {ATime: true}, SetMtime: {MTime: true}, SetCtime: {CTime: true},
		SetAtimeTo: {ATimeNotSystemTime: true}, SetMtimeTo: {MTimeNotSystemTime: true},
	} {
		if got := (&MsgTsetattr{Valid: bit}).Mask(); got != want {
			t.Errorf("bit %#x: %v, want %v", bit, got, want)
		}
	}
	if SetMtimeTo != 0x100 || SetAll != 0x1ff {
		t.Error("bits are not those of the protocol")
	}
}

func TestTypeNames(t *testing.T) {
	for typ, want := range map[Type]string{Tread: "Tread", Rread: "Rread", Rlerror: "Rlerror", 222: "message type 222"} {
		if typ.String() != want {
			t.Errorf("%d is %q, want %q", uint8(typ), typ, want)
		}
	}
}

// FuzzDecode decodes anything as every message: no panic, views within the body, and
// what is accepted encodes to the same bytes.
func FuzzDecode(f *testing.F) {
	var c Codec
	for _, m := range samples() {
		f.Add(c.Append(nil, 1, m)[HeaderSize:])
	}
	f.Add(append(AppendTwrite(nil, 3, 9, 1<<40, 5), "hello"...)[HeaderSize:])
	f.Fuzz(func(t *testing.T, body []byte) {
		var c Codec
		for _, m := range samples() {
			into := blank(m)
			if c.Decode(body, into) != nil {
				continue
			}
			got := c.Append(nil, 1, into)[HeaderSize:]
			if into.Type() == Tfsync && len(body) == 4 {
				got = got[:4]
			}
			if !bytes.Equal(got, body) {
				t.Fatalf("%v: %x became %x", into.Type(), body, got)
			}
		}
		if _, _, data, err := ParseTwrite(body); err == nil && len(data) > len(body) {
			t.Fatal("Twrite's data is larger than its frame")
		}
		for b := body; ; {
			_, rest, err := ParseDirent(b)
			if err != nil {
				break
			}
			b = rest
		}
	})
}
