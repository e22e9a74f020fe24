package backend

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// instances returns what the archive says of its run, and of those that it follows.
func (w *world) instances() []string {
	w.t.Helper()
	return strings.Fields(w.xattrOf("/", "user.sliod.instance"))
}

// noteKilled has the last run, which has been closed, count as one that was killed.
func (w *world) noteKilled(name string) {
	w.t.Helper()
	if err := replaceFile(filepath.Join(w.opts.Dir, instanceFile), []byte(name+" running\n")); err != nil {
		w.t.Fatal(err)
	}
}

// TestInstancesWithoutALoss: the archive names the runs before it as long as all ended cleanly.
func TestInstancesWithoutALoss(t *testing.T) {
	w := newWorld(t)
	want := w.instances()
	if len(want) != 1 {
		t.Fatalf("a new archive says %q", want)
	}
	next := func(want []string) []string {
		t.Helper()
		w.open()
		got := w.instances()
		if !slices.Equal(got[1:], want) {
			t.Fatalf("this run follows %q, want %q", got[1:], want)
		}
		return got
	}
	for range keptInstances + 1 {
		w.close()
		want = next(want[:min(len(want), keptInstances-1)])
	}
	if n := len(want); n != keptInstances {
		t.Errorf("%d runs are named", n)
	}
	w.close()
	w.noteKilled(want[0])
	want = next(nil)
	w.close()
	next(want)
}

// TestStartThatFails: it counts for nothing, whatever it fails by: the next start follows the last
// run that clients knew, if that ended cleanly.
func TestStartThatFails(t *testing.T) {
	for _, c := range []struct {
		name string
		fail func(t *testing.T, w *world, o *Options) (heal func())
	}{
		{"the cache", func(_ *testing.T, _ *world, o *Options) func() {
			o.CacheBytes = mib
			return func() {}
		}},
		{"the library", func(_ *testing.T, w *world, _ *Options) func() {
			return w.lib.SetFault(virtual.Fault{Device: virtual.Changer, Opcode: scsi.OpReadElementStatus, Times: -1,
				Sense: scsi.Sense{Key: scsi.HardwareKey, Code: scsi.CodeInternalFailure}})
		}},
		{"its note", func(t *testing.T, w *world, _ *Options) func() {
			name := filepath.Join(w.opts.Dir, instanceFile+".new")
			if err := os.Mkdir(name, 0o700); err != nil {
				t.Fatal(err)
			}
			return func() { _ = os.Remove(name) }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			content := pattern(1, 3*mib)
			w.put("f", content) // it is dirty at the stop
			want := w.instances()
			for _, killed := range []bool{false, true} {
				w.close()
				if killed {
					w.noteKilled(want[0])
					want = nil
				}
				o := w.opts
				o.Library = w.lib.Tape()
				heal := c.fail(t, w, &o)
				if fs, err := Open(o); err == nil {
					_ = fs.Close(context.Background())
					t.Fatal("it started")
				} else {
					t.Log(err)
				}
				heal()
				w.open()
				got := w.instances()
				if !slices.Equal(got[1:], want) {
					t.Errorf("killed %v: this run follows %q, want %q", killed, got[1:], want)
				}
				want = got
				w.wantContent("f", content)
			}
		})
	}
}

// TestTapeErrorAtTheStop: it is told, and loses nothing that clients were told.
func TestTapeErrorAtTheStop(t *testing.T) {
	w := newWorld(t, oneDrive, func(o *Options, _ *virtual.Config) {
		o.Mover.IndexIdle, o.Mover.Linger = time.Hour, time.Hour // the index is left for the stop
	})
	w.put("f", pattern(1, mib))
	w.job(JobArchive, "/f")
	content := pattern(2, mib)
	w.put("g", content) // unsynced
	want := w.instances()
	heal := w.lib.SetFault(virtual.Fault{Device: virtual.AnyDrive, Opcode: scsi.OpWriteFilemarks6, Times: -1,
		Sense: scsi.Sense{Key: scsi.MediumErrorKey, Code: scsi.CodeWriteError}})
	w.root.Release()
	if err := w.fs.Close(t.Context()); err == nil {
		t.Fatal("the error is not told")
	}
	heal()
	w.open()
	if got := w.instances(); !slices.Equal(got[1:], want) {
		t.Errorf("this run follows %q, want %q", got[1:], want)
	}
	w.wantContent("g", content)
}
