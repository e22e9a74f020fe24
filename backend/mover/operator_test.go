package mover

import (
	"strings"
	"testing"

	"sliod/backend/catalog"
	"sliod/tape"
)

func TestSetVolumeState(t *testing.T) {
	r := newRig(t, setup{slots: 4, cfg: quietly})
	set := func(b tape.Barcode, to string) error {
		t.Helper()
		s, err := ParseVolumeState(to)
		if err != nil {
			t.Fatal(err)
		}
		return r.m.SetVolumeState(t.Context(), b, s)
	}
	ok := func(b tape.Barcode, to string) {
		t.Helper()
		if err := set(b, to); err != nil {
			t.Fatal(err)
		}
		if s := r.status(b); s.State != to {
			t.Fatalf("volume %s is %s, want %s", b, s.State, to)
		}
	}
	refused := func(b tape.Barcode, to, why string) {
		t.Helper()
		if err := set(b, to); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s of %s: %v, want %q", to, b, err, why)
		}
	}
	files, b := r.archived(2, mib+1)
	// In a drive, and on the shelf.
	for range 2 {
		ok(b, "suspect")
		if _, c := r.archived(1, mib); c == b {
			t.Errorf("archived on %s, which is suspect", b)
		}
		ok(b, "append")
		for _, f := range files {
			r.check(f)
		}
		if s := r.status(b); !s.Room || s.Reason != "" {
			t.Errorf("volume %+v", s)
		}
		r.goHome()
	}
	ok(b, "read-only")
	r.stop()
	r.start()
	if s := r.status(b); s.State != "read-only" {
		t.Errorf("after a restart volume %s is %s", b, s.State)
	}
	ok(b, "full")
	refused(b, "scratch", "sliod format")
	refused("A00004L9", "append", "none of this archive")
	if err := set("A00004L9", "read-only"); err != nil || r.status("A00004L9").State != "foreign" {
		t.Errorf("read-only of a blank cartridge: %v, %+v", err, r.status("A00004L9"))
	}
	ok("A00004L9", "scratch")
	refused("NONE", "append", "there is no volume")
	if _, err := ParseVolumeState("good"); err == nil {
		t.Error("a state that does not exist")
	}
	for _, f := range files {
		r.check(f)
	}
}

// TestSetDoesNotHideWhatIsWrong: a cartridge that is another one than the catalog says is not
// written, whatever the operator says.
func TestSetDoesNotHideWhatIsWrong(t *testing.T) {
	r := newRig(t, setup{slots: 4, cfg: quietly})
	_, b := r.archived(2, mib+1)
	r.stop()
	r.swap(b, "A00003L9")
	r.start()
	if err := r.m.SetVolumeState(t.Context(), b, catalog.VolAppend); err != nil {
		t.Fatal(err)
	}
	_, c := r.archived(1, mib)
	if s := r.status(b); s.State != "suspect" || c == b {
		t.Errorf("volume %+v, archived on %s", s, c)
	}
	// Of what was imported to be read only nothing is made that is written.
	v := r.volumeOf(string(c))
	r.goHome()
	if err := r.m.updateVolume(v, func(rec *catalog.Volume) { rec.Flags |= catalog.VolImported }); err != nil {
		t.Fatal(err)
	}
	r.become("another")
	if err := r.m.SetVolumeState(t.Context(), c, catalog.VolAppend); err != nil {
		t.Fatal(err)
	}
	if _, d := r.archived(1, mib); d == c {
		t.Errorf("archived on the imported volume %s", c)
	}
	if s := r.status(c); s.State != "read-only" {
		t.Errorf("volume %+v", s)
	}
}
