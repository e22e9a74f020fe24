package backend

import (
	"testing"
	"time"

	"sliod/backend/catalog"
	"sliod/tape/virtual"
)

// TestLackingIndexComesByItself: the server stops before it has written the index of a volume, and nobody asks for what is on
// that afterwards.
func TestLackingIndexComesByItself(t *testing.T) {
	w := newWorld(t, oneDrive, func(o *Options, _ *virtual.Config) { o.Look, o.Mover.IndexIdle = time.Hour, time.Hour })
	w.put("f", pattern(1, 1000))
	w.job(JobArchive, "/f")
	name, _, _ := w.placeOf("f", 0)
	lacks := func() (yes bool) {
		err := w.fs.cat.View(func(tx *catalog.Tx) error {
			v, err := tx.VolumeByBarcode(string(name))
			yes = v.Flags&catalog.VolUnindexed != 0
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return yes
	}
	w.root.Release()
	w.fs.stopMover()
	_ = w.fs.Close(t.Context()) // the library was cut short
	w.open()
	if !lacks() {
		t.Fatal("the index was written")
	}
	w.close()
	w.opts.Look = 10 * time.Millisecond
	w.open()
	eventually(t, "the index is written", func() bool { return !lacks() })
}
