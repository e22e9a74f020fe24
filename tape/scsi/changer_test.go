package scsi_test

import (
	"context"
	"slices"
	"testing"

	"sliod/tape"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// quirks is a changer that is not as good as the one behind it.
type quirks struct {
	scsi.Transport
	answer func(block scsi.CommandBlock) *scsi.Sense // nil: as the one behind it
	log    []scsi.CommandBlock
}

func (q *quirks) Do(ctx context.Context, c *scsi.Command) error {
	block, err := scsi.ParseChanger(c.CDB)
	if err != nil {
		return err
	}
	q.log = append(q.log, block)
	if s := q.answer(block); s != nil {
		c.Status, c.Sense, c.Residual = scsi.CheckCondition, s.Bytes(), len(c.Data)
		return nil
	}
	return q.Transport.Do(ctx, c)
}

func newQuirks(t *testing.T, answer func(scsi.CommandBlock) *scsi.Sense) (*virtual.Library, *quirks, *scsi.Changer) {
	t.Helper()
	lib, err := virtual.Open(virtual.Config{Dir: t.TempDir(), Drives: 2, Slots: 3, ImportExport: 1, Capacity: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lib.Close() })
	q := &quirks{Transport: lib.Transport(virtual.Changer), answer: answer}
	c, err := scsi.NewChanger(q, scsi.ChangerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	q.log = nil
	return lib, q, c
}

func inventory(t *testing.T, c *scsi.Changer) map[uint16]tape.Element {
	t.Helper()
	es, err := c.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := map[uint16]tape.Element{}
	for _, e := range es {
		m[e.Address] = e
	}
	return m
}

// TestInventoryAsksTwice: some libraries refuse barcodes and serial numbers together, older
// ones the serial numbers altogether.
func TestInventoryAsksTwice(t *testing.T) {
	for name, tc := range map[string]struct {
		refuse  func(scsi.ReadElementStatus) bool
		serials bool
	}{
		"together":   {func(b scsi.ReadElementStatus) bool { return b.VolumeTags && b.DeviceIDs }, true},
		"altogether": {func(b scsi.ReadElementStatus) bool { return b.DeviceIDs }, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, q, c := newQuirks(t, func(block scsi.CommandBlock) *scsi.Sense {
				if b, ok := block.(scsi.ReadElementStatus); ok && tc.refuse(b) {
					return &scsi.Sense{Key: scsi.IllegalKey, Code: scsi.CodeInvalidField}
				}
				return nil
			})
			for range 2 {
				barcodes, serials := 0, 0
				for _, e := range inventory(t, c) {
					if e.Volume != "" {
						barcodes++
					}
					if e.Drive != "" {
						serials++
					}
				}
				if barcodes != 3 || (serials == 2) != tc.serials {
					t.Errorf("%d barcodes, %d serial numbers", barcodes, serials)
				}
			}
			asked := 0
			for _, b := range q.log {
				if s, ok := b.(scsi.ReadElementStatus); ok && s.VolumeTags && s.DeviceIDs {
					asked++
				}
			}
			if asked != 1 {
				t.Errorf("both were asked for together %d times", asked)
			}
		})
	}
}

// TestInitialize: a library that has not looked at its elements is told to, with the command
// that it knows; slots that are not in order are looked at again, once.
func TestInitialize(t *testing.T) {
	ready := false
	lib, q, c := newQuirks(t, func(block scsi.CommandBlock) *scsi.Sense {
		switch block.(type) {
		case scsi.InitializeElementStatus:
			ready = true
		case scsi.ReadElementStatus:
			if !ready {
				return &scsi.Sense{Key: scsi.NotReadyKey, Code: scsi.CodeNeedsLoad}
			}
		}
		return nil
	})
	es := inventory(t, c)
	if !ready || len(es) != 1+2+3+1 {
		t.Errorf("initialised %v, %d elements", ready, len(es))
	}
	var slot, drive uint16
	for a, e := range es {
		switch e.Kind {
		case tape.Slot:
			slot = max(slot, a)
		case tape.DriveElement:
			drive = max(drive, a)
		}
	}
	for a, x := range map[uint16]virtual.Exception{slot: {Code: 0x8301, NoTag: true}, drive: {Code: 0x1234, OutOfReach: true}} {
		if err := lib.SetException(a, &x); err != nil {
			t.Fatal(err)
		}
	}
	ranges := func() (n int) {
		for _, b := range q.log {
			if r, ok := b.(scsi.InitializeElementRange); ok {
				n++
				if r.Start != slot || r.Count != 1 {
					t.Errorf("range %+v", r)
				}
			}
		}
		return n
	}
	for range 2 {
		es = inventory(t, c)
		if e := es[slot]; !e.Full || e.Volume != "" || e.Fault != "the barcode cannot be read" {
			t.Errorf("%+v", e)
		}
		if e := es[drive]; e.Fault != "the library reports an exception, code 12 34; the arm cannot reach it" {
			t.Errorf("%+v", e)
		}
	}
	if n := ranges(); n != 1 {
		t.Errorf("initialised %d ranges", n)
	}
	// In order again, and then not: that is news.
	if err := lib.SetException(slot, nil); err != nil {
		t.Fatal(err)
	}
	if e := inventory(t, c)[slot]; e.Fault != "" || e.Volume == "" {
		t.Errorf("%+v", e)
	}
	if err := lib.SetException(slot, &virtual.Exception{Code: 0x8301}); err != nil {
		t.Fatal(err)
	}
	inventory(t, c)
	if n := ranges(); n != 2 {
		t.Errorf("initialised %d ranges", n)
	}
}

// TestRelease: another program has locked the mail slots. They are released before a move to
// one, and before a move that is refused for it is tried again.
func TestRelease(t *testing.T) {
	locked, always := true, false
	_, q, c := newQuirks(t, func(block scsi.CommandBlock) *scsi.Sense {
		switch b := block.(type) {
		case scsi.PreventAllow:
			if b.Prevent == 0 {
				locked = false
			}
		case scsi.MoveMedium:
			if locked || always {
				return &scsi.Sense{Key: scsi.IllegalKey, Code: scsi.CodeRemovalPrevented}
			}
		}
		return nil
	})
	es := inventory(t, c)
	var mail uint16
	var slots []uint16
	for a, e := range es {
		switch {
		case e.Kind == tape.ImportExport:
			mail = a
		case e.Kind == tape.Slot:
			slots = append(slots, a)
		}
	}
	slices.Sort(slots)
	if err := c.Move(t.Context(), slots[0], mail); err != nil {
		t.Fatal(err)
	}
	locked = true
	if err := c.Move(t.Context(), mail, slots[0]); err != nil {
		t.Fatal(err)
	}
	for _, b := range q.log {
		if p, ok := b.(scsi.PreventAllow); ok && p.Prevent != 0 {
			t.Error("the doors were locked")
		}
	}
	always = true
	if err := c.Move(t.Context(), slots[0], mail); tape.KindOf(err) != tape.RemovalPrevented {
		t.Errorf("move: %v", err)
	}
}

// TestMoveAttention: a unit attention that tells of a reset is taken; one that says that
// cartridges were moved is not.
func TestMoveAttention(t *testing.T) {
	var next *scsi.Sense
	_, _, c := newQuirks(t, func(block scsi.CommandBlock) *scsi.Sense {
		if _, ok := block.(scsi.MoveMedium); !ok {
			return nil
		}
		s := next
		next = nil
		return s
	})
	var slot, mail uint16
	for a, e := range inventory(t, c) {
		switch {
		case e.Kind == tape.ImportExport:
			mail = a
		case e.Kind == tape.Slot:
			slot = a
		}
	}
	next = &scsi.Sense{Key: scsi.AttentionKey, Code: scsi.CodeReset}
	if err := c.Move(t.Context(), slot, mail); err != nil {
		t.Fatal(err)
	}
	for _, code := range []scsi.Code{scsi.CodeImportExport, scsi.CodeMediumChanged} {
		next = &scsi.Sense{Key: scsi.AttentionKey, Code: code}
		if err := c.Move(t.Context(), mail, slot); tape.KindOf(err) != tape.UnitAttention {
			t.Errorf("%v: %v", code, err)
		}
	}
	if err := c.Move(t.Context(), mail, slot); err != nil {
		t.Fatal(err)
	}
}
