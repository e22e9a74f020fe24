package mover

import (
	"context"
	stderrors "errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/tape"
	"sliod/tape/ltfs"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

func (r *rig) use(b tape.Barcode, o UseOptions, fn func(context.Context, *Session) error) {
	r.t.Helper()
	if err := r.m.UseVolume(r.t.Context(), b, o, fn); err != nil {
		r.t.Fatalf("use of %s: %v", b, err)
	}
}

func TestUseScratch(t *testing.T) {
	r := newRig(t, setup{})
	calls := 0
	r.use("A00002L9", UseOptions{Raw: true}, func(ctx context.Context, s *Session) error {
		calls++
		if s.LTFS != nil || s.MountErr != nil || s.Volume.Barcode != "A00002L9" || s.Volume.State != catalog.VolScratch {
			t.Errorf("raw session %+v", s)
		}
		if _, err := s.Drive.ReadBlock(ctx, make([]byte, 100)); tape.KindOf(err) != tape.EndOfData {
			t.Errorf("read of a blank cartridge: %v", err)
		}
		if st := r.m.Status().Drives[0]; st.State != "busy" || st.Volume != "A00002L9" {
			t.Errorf("drive %+v", st)
		}
		return nil
	})
	r.use("A00002L9", UseOptions{}, func(_ context.Context, s *Session) error {
		calls++
		var not *ltfs.NotLTFSError
		if s.LTFS != nil || !stderrors.As(s.MountErr, &not) || !not.Blank {
			t.Errorf("session %+v", s)
		}
		return nil
	})
	r.eventually("the cartridge is home", func(s Status) bool { return s.Volumes[1].Where == "slot 2" && s.Drives[0].Volume == "" })
	if st := r.m.Status().Volumes[1].State; st != "scratch" || calls != 2 {
		t.Errorf("state %s after %d calls", st, calls)
	}
	err := r.m.UseVolume(t.Context(), "NO SUCH", UseOptions{}, nil)
	if err == nil {
		t.Error("a volume that nobody knows was used")
	}
}

// TestUseMounted lends the volume that the archive works with, and looks that all
// goes on behind it.
func TestUseMounted(t *testing.T) {
	r := newRig(t, setup{})
	files := r.fill(3, 2*mib+7)
	r.archive(files...)
	r.evict(files...)
	b := r.onlyVolume()
	r.use(b, UseOptions{Write: true}, func(ctx context.Context, s *Session) error {
		if s.LTFS == nil || s.LTFS.UUID() != s.Volume.UUID {
			t.Fatalf("session %+v", s)
		}
		if n := s.LTFS.Index().Files(); n != 3 {
			t.Errorf("the index has %d files", n)
		}
		s.LTFS.Index().Root.SetXattr("test.use", []byte("was here"))
		s.LTFS.Index().MarkDirty()
		return s.Drive.Rewind(ctx)
	})
	r.check(files[0])
	// Raw, in between: the volume is closed, goes home, and comes back for the next recall.
	r.use(b, UseOptions{Raw: true}, func(ctx context.Context, s *Session) error {
		buf := make([]byte, 80)
		if err := s.Drive.Rewind(ctx); err != nil {
			return err
		}
		if n, err := s.Drive.ReadBlock(ctx, buf); err != nil || n != 80 || string(buf[:4]) != "VOL1" {
			t.Errorf("label %q: %v", buf[:n], err)
		}
		return nil
	})
	r.check(files[1])
	more := r.fill(2, mib)
	r.archive(more...)
	r.evict(more...)
	r.use(b, UseOptions{}, func(context.Context, *Session) error { return nil })
	for _, f := range slices.Concat(files, more) {
		r.check(f)
	}
	r.stop()
	r.onTape(b, func(lv *ltfs.Volume) {
		if v, ok := lv.Index().Root.Xattr("test.use"); !ok || string(v) != "was here" || lv.Repair() != nil {
			t.Errorf("xattr %q, %v", v, lv.Repair())
		}
		if n := lv.Index().Files(); n != 5 {
			t.Errorf("the index has %d files", n)
		}
	})
}

// TestUseFails: fn's error comes back, that of a drive is blamed on it, and the
// archive goes on with the other drive.
func TestUseFails(t *testing.T) {
	r := newRig(t, setup{drives: 2})
	files := r.fill(2, mib)
	r.archive(files...)
	r.evict(files...)
	mine := errors.New("mine")
	if err := r.m.UseVolume(t.Context(), r.onlyVolume(), UseOptions{}, func(context.Context, *Session) error { return mine }); err != mine {
		t.Errorf("error %v", err)
	}
	r.check(files[0])
	remove := r.lib.SetFault(virtual.Fault{Device: virtual.AnyDrive, Opcode: 0x01, Nth: 1, Sense: scsi.Sense{Key: scsi.HardwareKey, Code: scsi.CodeInternalFailure}})
	defer remove()
	err := r.m.UseVolume(t.Context(), r.onlyVolume(), UseOptions{}, func(ctx context.Context, s *Session) error { return s.Drive.Rewind(ctx) })
	if tape.KindOf(err) != tape.HardwareError {
		t.Errorf("error %v", err)
	}
	r.check(files[1])
}

// TestUseThatFailsWritesNothing: a volume that must not be written, and is refused by who would write to it, is not
// written afterwards either.
func TestUseThatFailsWritesNothing(t *testing.T) {
	r := newRig(t, setup{slots: 4, cfg: quietly})
	files, b := r.archived(1, mib)
	r.goHome()
	if err := r.m.SetVolumeState(t.Context(), b, catalog.VolReadOnly); err != nil {
		t.Fatal(err)
	}
	var writes atomic.Int64
	r.lib.Hook(func(e virtual.Event) {
		if !e.After && (e.Opcode == opWrite || e.Opcode == scsi.OpWriteFilemarks6 || e.Opcode == scsi.OpWriteAttribute) {
			writes.Add(1)
		}
	})
	for range 2 { // fetched for it, and mounted already
		refused := errors.New("refused")
		err := r.m.UseVolume(t.Context(), b, UseOptions{Write: true}, func(_ context.Context, s *Session) error {
			s.LTFS.Index().Root.SetXattr("test.use", []byte("half done"))
			s.LTFS.Index().MarkDirty() // as a signature of another archive would
			return refused
		})
		if err != refused {
			t.Error(err)
		}
		r.check(files[0])
	}
	r.goHome()
	r.lib.Hook(nil)
	if n := writes.Load(); n != 0 {
		t.Errorf("%d writes", n)
	}
}

func TestUseWaits(t *testing.T) {
	r := newRig(t, setup{})
	begun, release, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		done <- r.m.UseVolume(context.Background(), "A00001L9", UseOptions{Raw: true}, func(ctx context.Context, _ *Session) error {
			close(begun)
			select {
			case <-release:
			case <-ctx.Done():
				return ctx.Err()
			}
			return nil
		})
	}()
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error)
	go func() { second <- r.m.UseVolume(ctx, "A00002L9", UseOptions{}, nil) }()
	r.eventually("the second waits", func(Status) bool {
		r.m.mu.Lock()
		defer r.m.mu.Unlock()
		return r.m.useN == 1
	})
	cancel()
	if err := <-second; !stderrors.Is(err, context.Canceled) {
		t.Errorf("cancelled use: %v", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Errorf("first use: %v", err)
	}
	// Close ends the use that is under way.
	begun = make(chan struct{})
	go func() {
		done <- r.m.UseVolume(context.Background(), "A00001L9", UseOptions{}, func(ctx context.Context, _ *Session) error {
			close(begun)
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	<-begun
	go func() { second <- r.m.UseVolume(context.Background(), "A00002L9", UseOptions{}, nil) }()
	r.eventually("the second waits", func(Status) bool {
		r.m.mu.Lock()
		defer r.m.mu.Unlock()
		return r.m.useN == 1
	})
	r.stop()
	if err := <-done; !stderrors.Is(err, context.Canceled) {
		t.Errorf("use that was under way: %v", err)
	}
	if err := <-second; !stderrors.Is(err, errClosed) {
		t.Errorf("use that waited: %v", err)
	}
}
