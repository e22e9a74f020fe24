package scsi

import (
	"context"
	"testing"

	"sliod/tape"
)

// tgtChanger answers READ ELEMENT STATUS as tgt does: the report of all types has its pages in
// the wrong places, and each report lacks its last eight bytes.
type tgtChanger struct{ asked []uint8 }

func (c *tgtChanger) Close() error { return nil }

func (c *tgtChanger) Do(_ context.Context, cmd *Command) error {
	cmd.Status, cmd.Sense, cmd.Residual = Good, nil, 0
	block, err := ParseChanger(cmd.CDB)
	if err != nil {
		return err
	}
	serial := func(s string) DeviceID {
		return DeviceID{CodeSet: 2, Type: 1, ID: append([]byte("IBM     ULT3580-TD5     "+s), 0, 0)}
	}
	all := []ElementStatus{{Type: 1, Address: 1}, {Type: 2, Address: 400, Full: true, Tag: "A00001L5"}, {Type: 2, Address: 401},
		{Type: 4, Address: 500, DeviceID: serial("DRIVE001")}, {Type: 4, Address: 501, DeviceID: serial("DRIVE002")}}
	switch q := block.(type) {
	case Inquiry:
		copy(cmd.Data, InquiryData{Device: DeviceChanger, Vendor: "STK"}.Bytes())
	case ReadElementStatus:
		c.asked = append(c.asked, q.Type)
		var of []ElementStatus
		for _, e := range all {
			if q.Type == 0 || e.Type == q.Type {
				of = append(of, e)
			}
		}
		b := ElementBytes(q, of)
		if q.Type == 0 {
			b = append(b[:statusHeader:statusHeader], append(make([]byte, pageHeader), b[statusHeader:]...)...)
		} else if len(of) == 0 {
			put24(b[5:], pageHeader)
		} else {
			b = b[:len(b)-8]
		}
		copy(cmd.Data, b)
	default:
		cmd.Status, cmd.Sense = CheckCondition, Sense{Key: IllegalKey, Code: CodeInvalidOpcode}.Bytes()
	}
	return nil
}

// TestReportsByType: a changer whose whole report cannot be read is asked type by type, and
// from then on only so.
func TestReportsByType(t *testing.T) {
	tr := &tgtChanger{}
	c, err := NewChanger(tr, ChangerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]uint8{{0, 1, 2, 3, 4}, {1, 2, 3, 4}} {
		tr.asked = nil
		es, err := c.Inventory(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if string(tr.asked) != string(want) {
			t.Errorf("asked for types %v, want %v", tr.asked, want)
		}
		if len(es) != 5 || es[1].Volume != "A00001L5" || es[3].Drive != "DRIVE001" || es[4].Drive != "DR" || es[4].Kind != tape.DriveElement {
			t.Errorf("%+v", es)
		}
	}
}

func TestSerialOfADesignator(t *testing.T) {
	for _, tc := range []struct {
		id   DeviceID
		want string
	}{
		{DeviceID{2, 1, []byte("IBM     ULT3580-TD5     1013000123")}, "1013000123"},
		{DeviceID{2, 1, []byte("IBM     ULT3580-TD5     10130\x00\x00rest")}, "10130"},
		{DeviceID{2, 0, []byte("  HU1234  ")}, "HU1234"},
		{DeviceID{1, 3, []byte{0x50, 0x01, 0x04, 0xF0, 0, 0x8C, 0x11, 0x22}}, ""},
		{DeviceID{}, ""},
	} {
		if got := tc.id.Serial(); got != tc.want {
			t.Errorf("% x: %q, want %q", tc.id.ID, got, tc.want)
		}
	}
}
