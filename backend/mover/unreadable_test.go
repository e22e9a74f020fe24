package mover

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape/ltfs"
)

// unread makes the n slivers of the cache that lie last in its file unreadable, as a disk does that fails. After
// the test's work give their places back with what it returns; what they had is gone.
func (r *rig) unread(n int) (giveBack func()) {
	r.t.Helper()
	f, err := os.OpenFile(filepath.Join(r.dir, "cache", "arena"), os.O_RDWR, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	fi, err := f.Stat()
	if err != nil {
		r.t.Fatal(err)
	}
	size, buf, zeros := fi.Size(), make([]byte, mib), make([]byte, mib)
	at := size
	for n > 0 && at > 0 {
		at -= mib
		if _, err := f.ReadAt(buf, at); err != nil && err != io.EOF {
			r.t.Fatal(err)
		}
		if !bytes.Equal(buf, zeros) {
			n--
		}
	}
	if err := f.Truncate(at); err != nil {
		r.t.Fatal(err)
	}
	return func() {
		if err := f.Truncate(size); err != nil {
			r.t.Error(err)
		}
		f.Close()
	}
}

// TestArchiveOfWhatCannotBeRead: who asks is told, and what could be read is in the index, as the catalog has it on tape.
func TestArchiveOfWhatCannotBeRead(t *testing.T) {
	for _, c := range []struct{ unread, inIndex int }{{1, 1}, {3, 0}} {
		r := newRig(t, setup{cfg: quietly})
		first := r.fill(1, 1000)[0]
		r.archive(first)
		b := r.onlyVolume()
		f := r.fill(1, 3*mib)[0]
		giveBack := r.unread(c.unread)
		done := make(chan error, 1)
		r.m.Archive(Place{}, []sliver.FileID{f}, func(_ sliver.FileID, err error) { done <- err })
		if err := <-done; err == nil {
			t.Errorf("%d slivers could not be read, and the file is said to be on tape", c.unread)
		}
		giveBack()
		r.stop()
		r.onTape(b, func(lv *ltfs.Volume) {
			if n := lv.Index().Files(); n != 1+c.inIndex || lv.Repair() != nil {
				t.Errorf("the index has %d files, %v", n, lv.Repair())
			}
		})
	}
}

// TestBatchOfNothing: a volume that is full before anything of a batch is on it lacks nothing in its index.
func TestBatchOfNothing(t *testing.T) {
	r := newRig(t, setup{slots: 2, cfg: quietly})
	r.archived(1, mib)
	b := r.onlyVolume()
	r.goHome()
	d := r.m.drives[0]
	r.use(b, UseOptions{}, func(_ context.Context, s *Session) error {
		it := &archiveItem{file: 7}
		d.commit(&batch{parts: []part{{item: it, more: true}}})
		return nil
	})
	if rec := r.volumeOf(string(b)).rec(); rec.Flags&catalog.VolUnindexed != 0 {
		t.Errorf("%+v", rec)
	}
}
