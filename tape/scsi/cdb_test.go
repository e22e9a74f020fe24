package scsi

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
)

// The bytes are written down from SSC-5, SPC-5 and SMC-3.
var blocks = []struct {
	block   CommandBlock
	changer bool
	bytes   string
}{
	{TestUnitReady{}, false, "00 00 00 00 00 00"},
	{RequestSense{true, 252}, false, "03 01 00 00 fc 00"},
	{SecurityIn{0x20, 0x21, 0x0400}, false, "a2 20 00 21 00 00 00 00 04 00 00 00"},
	{SecurityOut{0x20, 0x10, 0x44}, false, "b5 20 00 10 00 00 00 00 00 44 00 00"},
	{Inquiry{Alloc: 96}, false, "12 00 00 00 60 00"},
	{Inquiry{true, 0x80, 0x0102}, false, "12 01 80 01 02 00"},
	{ModeSense{Page: 0x11, Alloc: 255}, false, "1a 00 11 00 ff 00"},
	{ModeSense{true, true, 1, 0x10, 0x01, 0x1234}, false, "5a 08 50 01 00 00 00 12 34 00"},
	{ModeSelect{Pages: true, Length: 12}, false, "15 10 00 00 0c 00"},
	{ModeSelect{true, true, true, 0x0122}, false, "55 11 00 00 00 00 00 01 22 00"},
	{LogSense{1, 0x2E, 0, 0x0203, 0x0405}, false, "4d 00 6e 00 00 02 03 04 05 00"},
	{LogSense{1, 0x17, 0, 0, 0xFFFF}, false, "4d 00 57 00 00 00 00 ff ff 00"},
	{LogSense{0, 0x31, 0, 0, 64}, false, "4d 00 31 00 00 00 00 00 40 00"},
	{ReadAttribute{false, 1, 0x080C, 0x01020304}, false, "8c 00 00 00 00 00 00 01 08 0c 01 02 03 04 00 00"},
	{ReadAttribute{true, 0, 0, 1024}, false, "8c 01 00 00 00 00 00 00 00 00 00 00 04 00 00 00"},
	{WriteAttribute{true, 1, 75}, false, "8d 01 00 00 00 00 00 01 00 00 00 00 00 4b 00 00"},
	{PreventAllow{1}, false, "1e 00 00 00 01 00"},
	{Read6{Length: 0x080000}, false, "08 00 08 00 00 00"},
	{Read6{false, true, 0x010203}, false, "08 02 01 02 03 00"},
	{Write6{Length: 0x080000}, false, "0a 00 08 00 00 00"},
	{WriteFilemarks6{}, false, "10 00 00 00 00 00"},
	{WriteFilemarks6{false, 0x010203}, false, "10 00 01 02 03 00"},
	{WriteFilemarks6{true, 1}, false, "10 01 00 00 01 00"},
	{Space6{SpaceFilemarks, 2}, false, "11 01 00 00 02 00"},
	{Space6{SpaceFilemarks, -2}, false, "11 01 ff ff fe 00"},
	{Space6{SpaceBlocks, -0x800000}, false, "11 00 80 00 00 00"},
	{Space6{Code: SpaceEnd}, false, "11 03 00 00 00 00"},
	{Space16{SpaceFilemarks, -2}, false, "91 01 00 00 ff ff ff ff ff ff ff fe 00 00 00 00"},
	{Erase6{}, false, "19 00 00 00 00 00"},
	{Erase6{true, true}, false, "19 03 00 00 00 00"},
	{ReportDensity{true, false, 0x0344}, false, "44 01 00 00 00 00 00 03 44 00"},
	{ReportDensity{false, true, 4}, false, "44 02 00 00 00 00 00 00 04 00"},
	{ReportSupported{true, 4096}, false, "a3 0c 80 00 00 00 00 00 10 00 00 00"},
	{AllowOverwrite{Mode: OverwriteFormat}, false, "82 00 02 00 00 00 00 00 00 00 00 00 00 00 00 00"},
	{PreventAllow{}, false, "1e 00 00 00 00 00"},
	{ModeSense{Ten: true, NoDescriptors: true, Page: 0x10, Subpage: 1, Alloc: 255}, false, "5a 08 10 01 00 00 00 00 ff 00"},
	{Rewind{}, false, "01 00 00 00 00 00"},
	{LoadUnload{Load: true}, false, "1b 00 00 00 01 00"},
	{LoadUnload{}, false, "1b 00 00 00 00 00"},
	{Locate10{false, true, 1, 0x01020304}, false, "2b 02 00 01 02 03 04 00 01 00"},
	{Locate16{false, true, 1, 0x0102030405060708}, false, "92 02 00 01 01 02 03 04 05 06 07 08 00 00 00 00"},
	{ReadPosition{PositionShort}, false, "34 00 00 00 00 00 00 00 00 00"},
	{ReadPosition{PositionLong}, false, "34 06 00 00 00 00 00 00 00 00"},
	{ReadBlockLimits{}, false, "05 00 00 00 00 00"},
	{FormatMedium{false, 1}, false, "04 00 01 00 00 00"},
	{AllowOverwrite{1, 1, 0x0102030405060708}, false, "82 00 01 01 01 02 03 04 05 06 07 08 00 00 00 00"},
	{InitializeElementStatus{}, true, "07 00 00 00 00 00"},
	{InitializeElementRange{0x0102, 3}, true, "e7 01 01 02 00 00 00 03 00 00"},
	{ReadElementStatus{true, 4, 0x0100, 0xFFFF, true, true, 0x010203}, true, "b8 14 01 00 ff ff 03 01 02 03 00 00"},
	{MoveMedium{1, 0x0203, 0x0405, false}, true, "a5 00 00 01 02 03 04 05 00 00 00 00"},
	{PositionToElement{0, 0x0203, false}, true, "2b 00 00 00 02 03 00 00 00 00"},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCommandBlocks(t *testing.T) {
	for _, c := range blocks {
		want := unhex(t, c.bytes)
		if got := c.block.CDB(); !bytes.Equal(got, want) {
			t.Errorf("%T%+v: % x, want % x", c.block, c.block, got, want)
		}
		parse := ParseStream
		if c.changer {
			parse = ParseChanger
		}
		if got, err := parse(want); err != nil || !reflect.DeepEqual(got, c.block) {
			t.Errorf("% x: %T%+v, %v; want %T%+v", want, got, got, err, c.block, c.block)
		}
		if _, err := parse(want[:len(want)-1]); err == nil {
			t.Errorf("% x cut short is taken", want)
		}
	}
}

func TestRefusedBlocks(t *testing.T) {
	for in, want := range map[string]error{
		"":                              ErrOpcode,
		"ff 00 00 00 00 00":             ErrOpcode,
		"0b 00 00 00 00 00":             ErrOpcode,
		"08 03 00 00 01 00":             ErrField, // FIXED and SILI
		"10 02 00 00 01 00":             ErrField, // setmarks
		"34 03 00 00 00 00 00 00 00 00": ErrField,
		"12 00 80 00 60 00":             ErrField, // a page without EVPD
		"1b 00 00 00 04 00":             ErrField, // EOT
		"2b 04 00 00 00 00 00 00 00 00": ErrField, // BT
	} {
		if got, err := ParseStream(unhex(t, in)); err != want {
			t.Errorf("%s: %v, %v; want %v", in, got, err, want)
		}
	}
}

func FuzzStreamBlock(f *testing.F) { fuzzBlock(f, ParseStream) }

func FuzzChangerBlock(f *testing.F) { fuzzBlock(f, ParseChanger) }

// fuzzBlock checks that what parses is encoded to something that parses alike.
func fuzzBlock(f *testing.F, parse func([]byte) (CommandBlock, error)) {
	for _, c := range blocks {
		f.Add(unhex(f, c.bytes))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parse(b)
		if err != nil {
			return
		}
		again, err := parse(c.CDB())
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Fatalf("% x is %+v, encoded % x is %+v, %v", b, c, c.CDB(), again, err)
		}
	})
}
