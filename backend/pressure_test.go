package backend

import (
	"bytes"
	stderrors "errors"
	"fmt"
	"testing"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/vfs"
	"sliod/tape/scsi"
)

// Appends that wait for the same sliver follow one another: none lands on another.
func TestParkedAppendsDoNotOverlap(t *testing.T) {
	for _, size := range []int{5000, mib - 300, mib, 0} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			w := newWorld(t, oneDrive)
			old := pattern(1, size)
			w.put("f", old)
			w.job(JobArchive, "/f")
			w.job(JobEvict, "/f")
			n := w.node("f")
			defer n.Release()
			var fs [4]vfs.File
			for i := range fs {
				f, err := n.Open(rootCred, openReadWrite|openAppend)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				fs[i] = f
			}
			var all []*pend
			g := w.hold(at(scsi.OpRead6, false))
			for i := range 12 {
				all = append(all, w.writeReq(fs[i%4], 0, bytes.Repeat([]byte{byte(i + 1)}, 1000)))
			}
			if all[0].parked {
				g.wait()
			}
			g.release()
			total := 0
			var counts [13]int
			for i, p := range all {
				m, err := p.wrote()
				if err != nil || m < 1 {
					t.Fatalf("append %d: %d, %v", i, m, err)
				}
				total += m
				counts[i+1] = m
			}
			got := w.content("f")
			if len(got) != size+total || !bytes.Equal(got[:size], old) {
				t.Fatalf("after appends of %d bytes to %d the file has %d", total, size, len(got))
			}
			for _, b := range got[size:] {
				counts[b]--
			}
			for i, c := range counts {
				if c != 0 {
					t.Errorf("%d bytes of append %d are missing", c, i)
				}
			}
		})
	}
}

// A cache full of small dirty files, whose bytes are few, is full all the same.
func TestPressureArchivesWhateverIsDirty(t *testing.T) {
	w := newWorld(t, oneDrive, small(16))
	for i := range 1200 {
		w.put(fmt.Sprint("f", i), pattern(i, 4097)) // in a slot of 16 KiB
	}
	for i := range 1200 {
		w.wantContent(fmt.Sprint("f", i), pattern(i, 4097))
	}
}

// A file without a name that is larger than the cache goes to tape too.
func TestUnlinkedFileLargerThanCache(t *testing.T) {
	w := newWorld(t, oneDrive, small(16))
	n, f := w.create("f")
	if err := w.root.UnlinkAt(rootCred, "f", 0); err != nil {
		t.Fatal(err)
	}
	want := pattern(1, 40*mib)
	w.write(f, 0, want)
	if !bytes.Equal(w.read(f, 0, len(want)), want) {
		t.Error("the content differs")
	}
	f.Close()
	n.Release()
	if err := w.fs.syncAll(); err != nil {
		t.Fatal(err)
	}
	// The mover or the syncer may be about to let go of it.
	eventually(t, "nothing of the cache is in use after the file is gone", func() bool { return w.fs.cache.Stats().UsedBytes == 0 })
	w.restart()
	if _, err := w.fs.Attach(rootCred, "/f"); !stderrors.Is(err, linux.ENOENT) {
		t.Error(err)
	}
}
