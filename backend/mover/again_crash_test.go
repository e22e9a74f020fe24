package mover

import (
	"context"
	"testing"

	"sliod/backend/catalog"
	"sliod/tape"
	"sliod/tape/virtual"
)

// onlyScratch is the barcode of the one volume of scratchRig.
const onlyScratch = tape.Barcode("A00001L9")

// cutOffAt crashes while a file is archived, before the first command to the drive for which at is true.
func (r *rig) cutOffAt(at func(n int, e virtual.Event) bool) {
	r.t.Helper()
	cut := false
	r.stopAt(func(n int, e virtual.Event) bool {
		cut = cut || at(n, e)
		return cut
	})
	if !cut {
		r.t.Fatal("it was not cut off")
	}
	r.crash()
}

// firstWrite is where a format has erased the medium, and has the new UUID on record.
func firstWrite(_ int, e virtual.Event) bool { return e.Opcode == opWrite }

// TestProtectedWhileScratch sets the tab of a scratch volume: a blank one, one that had data, and one whose
// format was cut off. When the tab is moved back it is formatted and written, as it would have been.
func TestProtectedWhileScratch(t *testing.T) {
	for _, k := range []struct {
		name      string
		used, cut bool
	}{{"blank", false, false}, {"blank, cut off", false, true}, {"used", true, false}, {"used, cut off", true, true}} {
		t.Run(k.name, func(t *testing.T) {
			r := scratchRig(t, k.used)
			if k.cut {
				r.cutOffAt(firstWrite)
				r.start()
			}
			tab := func(on bool) {
				t.Helper()
				r.use(onlyScratch, UseOptions{Raw: true}, func(context.Context, *Session) error { return nil }) // it goes home
				if err := r.lib.SetWriteProtect(onlyScratch, on); err != nil {
					t.Fatal(err)
				}
			}
			tab(true)
			if r.archiveErr(r.fill(1, mib)[0]) == nil {
				t.Fatal("archived on a protected volume")
			}
			if s := r.status(onlyScratch); s.State != "read-only" {
				t.Errorf("%+v", s)
			}
			tab(false)
			r.restart(r.s.cfg.Pools)
			f := r.fill(1, mib)[0]
			r.archive(f)
			r.evict(f)
			r.check(f)
			if s := r.status(onlyScratch); s.State != "append" || s.Used != mib {
				t.Errorf("%+v", s)
			}
			if rec := r.volumeOf(string(onlyScratch)).rec(); rec.EndOfData.Block > 16 || rec.Flags&(catalog.VolProtected|catalog.VolWasScratch) != 0 {
				t.Errorf("%+v: it was not formatted", rec)
			}
		})
	}
}
