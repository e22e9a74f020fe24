package scsi

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"sliod/tape"
)

func testKey() []byte {
	return bytes.Repeat([]byte{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF}, 2)
}

const (
	keyHex   = "00 11 22 33 44 55 66 77 88 99 aa bb cc dd ee ff 00 11 22 33 44 55 66 77 88 99 aa bb cc dd ee ff "
	helloHex = "48 65 6c 6c 6f 20 77 6f 72 6c 64 21"
)

func parsed[T any](f func([]byte) (T, error)) func([]byte) (any, error) {
	return func(b []byte) (any, error) { return f(b) }
}

// The bytes are those of stenc's tests (tests/scsi.cpp), where the pages from the drive were
// recorded from devices; "ltfs" is what LTFS sends (sg_set_key in sg_tape.c), with its data key
// identifier of 12 bytes as A-KAD.
func TestSecurityPages(t *testing.T) {
	hello := []byte("Hello world!")
	for _, tc := range []struct {
		name  string
		page  interface{ Bytes() []byte }
		parse func([]byte) (any, error)
		hex   string
	}{
		{"off", SetEncryption{Scope: 2, External: 1, Algorithm: 1}, parsed(ParseSetEncryption),
			"00 10 00 10 40 40 00 00 01 00 00 00 00 00 00 00 00 00 00 00"},
		{"on", SetEncryption{Scope: 2, External: 1, Encrypt: EncryptOn, Decrypt: DecryptOn, Algorithm: 1, Key: testKey()}, parsed(ParseSetEncryption),
			"00 10 00 30 40 40 02 02 01 00 00 00 00 00 00 00 00 00 00 20 " + keyHex},
		{"options", SetEncryption{Scope: 2, External: 1, RawMode: 2, OnUnload: true, Encrypt: EncryptOn, Decrypt: DecryptOn, Algorithm: 1, DataForm: 1, Key: testKey()}, parsed(ParseSetEncryption),
			"00 10 00 30 40 64 02 02 01 00 01 00 00 00 00 00 00 00 00 20 " + keyHex},
		{"named", SetEncryption{Scope: 2, External: 1, Encrypt: EncryptOn, Decrypt: DecryptOn, Algorithm: 1, DataForm: 2, Key: testKey(),
			Data: []KeyData{{Type: UnauthenticatedData, Data: hello}}}, parsed(ParseSetEncryption),
			"00 10 00 40 40 40 02 02 01 00 02 00 00 00 00 00 00 00 00 20 " + keyHex + "00 00 00 0c " + helloHex},
		{"ltfs", SetEncryption{Scope: 2, Encrypt: EncryptOn, Decrypt: DecryptMixed, Algorithm: 1, Key: testKey(),
			Data: []KeyData{{Type: AuthenticatedData, Data: hello}}}, parsed(ParseSetEncryption),
			"00 10 00 40 40 00 02 03 01 00 00 00 00 00 00 00 00 00 00 20 " + keyHex + "01 00 00 0c " + helloHex},
		{"status", EncryptionStatus{Scope: 2, KeyScope: 2, Encrypt: EncryptOn, Decrypt: DecryptOn, Algorithm: 1, Instance: 1, Control: 1, Holds: true,
			Data: []KeyData{{UnauthenticatedData, 1, hello}}}, parsed(ParseEncryptionStatus),
			"00 20 00 24 42 02 02 01 00 00 00 01 18 00 00 00 00 00 00 00 00 00 00 00 00 01 00 0c " + helloHex},
		{"next block", NextBlock{Block: 1, Status: BlockReadable, Algorithm: 1, Data: []KeyData{{UnauthenticatedData, 1, hello}}}, parsed(ParseNextBlock),
			"00 21 00 1c 00 00 00 00 00 00 00 01 05 01 00 00 00 01 00 0c " + helloHex},
	} {
		want := unhex(t, tc.hex)
		if got := tc.page.Bytes(); !bytes.Equal(got, want) {
			t.Errorf("%s: % x\nwant % x", tc.name, got, want)
		}
		if got, err := tc.parse(want); err != nil || !reflect.DeepEqual(got, tc.page) {
			t.Errorf("%s: %+v, %v\nwant %+v", tc.name, got, err, tc.page)
		}
		for n := range want { // cut short anywhere
			if _, err := tc.parse(want[:n]); err == nil {
				t.Errorf("%s: %d bytes of it are taken", tc.name, n)
			}
		}
	}
	caps := unhex(t, "00 10 00 44 09 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "+
		"01 00 00 14 8a 8c 00 20 00 3c 00 20 ed 00 00 00 00 00 00 00 00 01 00 14 "+
		"02 00 00 18 8a 8f 00 20 00 3c 00 20 d9 00 00 00 00 00 00 00 00 01 00 10 00 00 00 00")
	want := EncryptionCapabilities{External: 2, Config: 1, Algorithms: []Algorithm{
		{Index: 1, Usable: true, Decrypt: 2, Encrypt: 2, MaxU: 32, MaxA: 60, KeyLength: 32, Code: AlgorithmAES256GCM},
		{Index: 2, Usable: true, Decrypt: 2, Encrypt: 2, UFixed: true, AFixed: true, MaxU: 32, MaxA: 60, KeyLength: 32, Code: 0x00010010}}}
	if got, err := ParseEncryptionCapabilities(caps); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("capabilities: %+v, %v", got, err)
	}
	if again, err := ParseEncryptionCapabilities(want.Bytes()); err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("capabilities again: %+v, %v", again, err)
	}
}

func FuzzSecurity(f *testing.F) {
	f.Add(SetEncryption{Encrypt: EncryptOn, Key: testKey(), Data: []KeyData{{1, 0, []byte("id")}}}.Bytes())
	f.Add(EncryptionStatus{Encrypt: EncryptOn, Data: []KeyData{{0, 1, []byte("id")}}}.Bytes())
	f.Add(NextBlock{Status: BlockLocked, Data: []KeyData{{1, 1, []byte("id")}}}.Bytes())
	f.Add(EncryptionCapabilities{Algorithms: []Algorithm{{Index: 1}, {Index: 2}}}.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		same := func(got any, err error, want any) {
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("% x: %+v, %v; want %+v", b, got, err, want)
			}
		}
		if p, err := ParseSetEncryption(b); err == nil {
			again, err := ParseSetEncryption(p.Bytes())
			same(again, err, p)
		}
		if p, err := ParseEncryptionStatus(b); err == nil {
			_ = keyName(p.Data)
			again, err := ParseEncryptionStatus(p.Bytes())
			same(again, err, p)
		}
		if p, err := ParseNextBlock(b); err == nil {
			again, err := ParseNextBlock(p.Bytes())
			same(again, err, p)
		}
		if p, err := ParseEncryptionCapabilities(b); err == nil {
			again, err := ParseEncryptionCapabilities(p.Bytes())
			same(again, err, p)
		}
	})
}

// cryptFake answers like a drive that encrypts; sets are the pages that it was sent.
type cryptFake struct {
	*fake
	sets []SetEncryption
	st   EncryptionStatus
}

func newCryptFake(t *testing.T, a Algorithm) *cryptFake {
	f := &cryptFake{fake: newFake(t)}
	f.on(SecurityIn{}, func(c *Command) *Sense {
		b, _ := ParseStream(c.CDB)
		switch b.(SecurityIn).Page {
		case PageEncryptionCapabilities:
			return gives(EncryptionCapabilities{Config: 1, Algorithms: []Algorithm{a}}.Bytes())(c)
		case PageEncryptionStatus:
			return gives(f.st.Bytes())(c)
		}
		return &Sense{Key: IllegalKey, Code: CodeInvalidField}
	})
	f.on(SecurityOut{}, f.takes(t))
	return f
}

func (f *cryptFake) takes(t *testing.T) func(*Command) *Sense {
	return func(c *Command) *Sense {
		p, err := ParseSetEncryption(bytes.Clone(c.Data))
		if err != nil {
			t.Error(err)
		}
		f.sets = append(f.sets, p)
		f.st = EncryptionStatus{Encrypt: p.Encrypt, Decrypt: p.Decrypt, Algorithm: p.Algorithm, Data: p.Data}
		return nil
	}
}

var aes256 = Algorithm{Index: 1, Usable: true, Decrypt: 2, Encrypt: 2, MaxU: 32, MaxA: 12, KeyLength: 32, Code: AlgorithmAES256GCM}

func TestSetKey(t *testing.T) {
	f := newCryptFake(t, aes256)
	d := f.load(t, DriveOptions{})
	if !d.Limits().HasEncryption || len(f.sets) > 0 {
		t.Fatalf("%+v, and %d keys set by Load", d.Limits(), len(f.sets))
	}
	k := &tape.EncryptionKey{}
	copy(k.Key[:], testKey())
	for i, tc := range []struct {
		id   string
		want KeyData
	}{{"short", KeyData{Type: AuthenticatedData, Data: []byte("short")}}, {"longer than twelve", KeyData{Data: []byte("longer than twelve")}}} {
		k.ID = tc.id
		if err := d.SetKey(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		if p := f.sets[i]; p.Encrypt != EncryptOn || p.Decrypt != DecryptMixed || !p.OnUnload || !bytes.Equal(p.Key, testKey()) || !reflect.DeepEqual(p.Data, []KeyData{tc.want}) {
			t.Fatalf("%+v", p)
		}
	}
	if err := d.SetKey(t.Context(), k); err != nil || len(f.sets) != 2 {
		t.Fatalf("the same key again: %v, %d keys set", err, len(f.sets))
	}
	// Settings that another host has changed: the key is set before the record goes out.
	writes := 0
	f.on(Write6{}, func(*Command) *Sense {
		if writes++; writes == 1 {
			f.st = EncryptionStatus{}
			return &Sense{Key: AttentionKey, Code: 0x2A11}
		}
		if f.st.Encrypt != EncryptOn {
			t.Error("a record without the key")
		}
		f.on(ReadPosition{PositionLong}, gives(PositionData{Block: 1}.Bytes(PositionLong)))
		return nil
	})
	if err := d.WriteBlock(t.Context(), []byte("x")); err != nil || len(f.sets) != 3 {
		t.Fatalf("%v, %d keys set", err, len(f.sets))
	}
	// The drive does not take it any longer: nothing is written, until it does.
	writes = 0
	f.on(SecurityOut{}, func(*Command) *Sense { return &Sense{Key: IllegalKey, Code: CodeInvalidField} })
	err := d.WriteBlock(t.Context(), []byte("x"))
	wantKind(t, err, tape.IllegalRequest)
	wantKind(t, d.WriteBlock(t.Context(), []byte("x")), tape.IllegalRequest)
	if writes != 1 {
		t.Fatalf("%d writes went to a drive without its key", writes)
	}
	if text := fmt.Sprintf("%v %+v", err, err); !strings.Contains(text, "longer than twelve") || strings.Contains(text, keyHex[:12]) || strings.Contains(text, "00112233") {
		t.Fatal("not the id, or the key, is in the error: " + text)
	}
	f.on(SecurityOut{}, f.takes(t))
	if _, err := d.Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteBlock(t.Context(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	// Without the bit that clears the key at unload: it is cleared before.
	if err := d.Unload(t.Context()); err != nil || f.st.Encrypt != EncryptOff || len(f.sets[len(f.sets)-1].Key) > 0 {
		t.Fatalf("%v, %+v", err, f.st)
	}
}

// TestKeyNotTaken: a drive that says yes and does something else is found out.
func TestKeyNotTaken(t *testing.T) {
	f := newCryptFake(t, aes256)
	d := f.load(t, DriveOptions{})
	f.on(SecurityOut{}, func(*Command) *Sense { return nil })
	wantKind(t, d.SetKey(t.Context(), &tape.EncryptionKey{ID: "k"}), tape.HardwareError)
	wantKind(t, d.WriteBlock(t.Context(), []byte("x")), tape.HardwareError)
	f.st = EncryptionStatus{Encrypt: EncryptOn, Decrypt: DecryptMixed, Data: []KeyData{{AuthenticatedData, 1, []byte("another")}}}
	wantKind(t, d.SetKey(t.Context(), &tape.EncryptionKey{ID: "k"}), tape.HardwareError)
}

func TestNoEncryption(t *testing.T) {
	for name, f := range map[string]*fake{
		"unknown":        newFake(t),
		"not the medium": newCryptFake(t, Algorithm{Index: 1, Code: AlgorithmAES256GCM, KeyLength: 32, Encrypt: 2, Decrypt: 2}).fake,
		"other":          newCryptFake(t, Algorithm{Index: 1, Usable: true, Code: 0x00010010, KeyLength: 32, Encrypt: 2, Decrypt: 2}).fake,
		"too long":       newCryptFake(t, Algorithm{Index: 1, Usable: true, Code: AlgorithmAES256GCM, KeyLength: 32, Encrypt: 2, Decrypt: 2, MaxU: 8, MaxA: 4}).fake,
	} {
		d := f.load(t, DriveOptions{})
		if d.Limits().HasEncryption != (name == "too long") {
			t.Errorf("%s: %+v", name, d.Limits())
		}
		wantKind(t, d.SetKey(t.Context(), &tape.EncryptionKey{ID: "nine long"}), tape.IllegalRequest)
		if err := d.SetKey(t.Context(), nil); err != nil {
			t.Errorf("%s: off: %v", name, err)
		}
	}
}
