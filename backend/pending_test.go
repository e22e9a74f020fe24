package backend

import (
	"testing"
	"time"

	"sliod/tape/virtual"
)

// TestDataAfterAttributes: a file of which the mover has the attributes, that come to tape with the next index, gets data. They
// are archived before that index.
func TestDataAfterAttributes(t *testing.T) {
	w := newWorld(t, func(o *Options, _ *virtual.Config) {
		o.ArchiveIdle, o.Mover.IndexIdle, o.Mover.IndexInterval, o.Mover.Linger = 1, time.Hour, time.Hour, time.Hour
	})
	due := func() {
		t.Helper()
		if err := w.fs.syncAll(); err != nil {
			t.Fatal(err)
		}
		w.fs.archivePending(t.Context(), false)
	}
	w.put("first", []byte("has the volume mounted"))
	due()
	eventually(t, "the volume is written", func() bool { return w.state("first") == string(Premigrated) })
	n, f := w.create("f")
	defer n.Release()
	defer f.Close()
	due()
	eventually(t, "the mover has taken the attributes", func() bool { return w.fs.mover.Status().Archive == 0 })
	w.write(f, 0, pattern(1, 1<<20))
	due()
	eventually(t, "the data is on tape", func() bool { return w.state("f") == string(Premigrated) })
	w.restart()
	w.job(JobEvict, "/f")
	w.wantContent("f", pattern(1, 1<<20))
}
