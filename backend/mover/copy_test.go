package mover

import (
	"context"
	stderrors "errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// byName are pools by patterns of barcodes, in pairs of pattern and pool, without keys.
type byName [][2]string

func (p byName) Of(b tape.Barcode) string {
	for _, x := range p {
		if ok, _ := path.Match(x[0], string(b)); ok {
			return x[1]
		}
	}
	return catalog.DefaultPool
}

func (byName) Source(string) ltfs.KeySource { return nil }

// poolOfVolume is the pool of a volume in the catalog.
func (r *rig) poolOfVolume(no catalog.VolumeNo) (pool string) {
	r.t.Helper()
	if err := r.cat.View(func(tx *catalog.Tx) error {
		v, err := tx.Volume(no)
		pool = v.Pool
		return err
	}); err != nil {
		r.t.Fatal(err)
	}
	return pool
}

// entryOn returns what the index of a volume says of a file.
func (r *rig) entryOn(no catalog.VolumeNo, f sliver.FileID) (m *ltfs.Meta, bytes uint64) {
	r.t.Helper()
	err := r.m.UseVolume(r.t.Context(), r.barcode(no), UseOptions{}, func(_ context.Context, s *Session) error {
		return s.LTFS.Index().Walk(func(_ string, e ltfs.Entry) error {
			if id, ok := fileOf(e); ok && id == f {
				m, _ = ltfs.DecodeMeta(e)
				if lf, ok := e.(*ltfs.File); ok {
					for _, x := range lf.Extents {
						bytes += x.ByteCount
					}
				}
			}
			return nil
		})
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return m, bytes
}

// TestCopyToAnotherVolume: a further copy is on another volume, its index says so, and a recall
// is served by it when the first one is gone.
func TestCopyToAnotherVolume(t *testing.T) {
	for _, drives := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d drives", drives), func(t *testing.T) {
			r := newRig(t, setup{drives: drives, cache: 64 * mib})
			files := r.fill(20, 3*mib/2)
			r.archive(files...)
			if err := r.copyErr(CopyOptions{Copies: 2}, files...); err != nil {
				t.Fatal(err)
			}
			first := catalog.VolumeNo(0)
			for _, f := range files {
				for no := range sliver.No(2) {
					on := r.copies(keyOf(f, no))
					if len(on) != 2 || on[0] == on[1] {
						t.Fatalf("sliver %d of file %d is on volumes %v", no, f, on)
					}
					first = on[0]
				}
			}
			if n := r.m.Status().Stats.Copied; n != 40 {
				t.Errorf("%d slivers were copied, not 40", n)
			}
			before := r.m.Status().Stats.WrittenBytes
			if err := r.copyErr(CopyOptions{Copies: 2}, files...); err != nil {
				t.Fatal(err)
			}
			if now := r.m.Status().Stats.WrittenBytes; now != before {
				t.Errorf("a second request has written %d bytes", now-before)
			}
			for _, no := range r.copies(keyOf(files[3], 0)) {
				m, n := r.entryOn(no, files[3])
				if m == nil || len(m.Slivers) != 2 || n != 3*mib/2 || m.Slivers[0].Version == 0 {
					t.Errorf("the index of volume %d has %d bytes of the file: %+v", no, n, m)
				}
			}
			r.evict(files...)
			for b := range tape.BlockNo(200) {
				r.lib.SetUnreadable(r.barcode(first), tape.Position{Partition: 1, Block: b}, true)
			}
			for _, f := range files {
				r.check(f)
			}
		})
	}
}

// TestCopyToPool: the copies go to the pool that is asked for, also of a file that lies on
// several volumes of another one.
func TestCopyToPool(t *testing.T) {
	r := newRig(t, setup{drives: 2, slots: 6, capacity: 40 * mib, cache: 128 * mib, cfg: Config{Pools: byName{{"*[123]L?", "near"}, {"*[456]L?", "away"}}}})
	f := r.create("big", 0)
	if err := r.write(f, 0, make([]byte, 60*mib+5)); err != nil {
		t.Fatal(err)
	}
	if err := r.archiveTo(Place{Pool: "near"}, f); err != nil {
		t.Fatal(err)
	}
	if err := r.copyErr(CopyOptions{Pool: "away"}, f); err != nil {
		t.Fatal(err)
	}
	for no := range sliver.No(61) {
		on := r.copies(keyOf(f, no))
		if len(on) != 2 || r.poolOfVolume(on[0]) != "near" || r.poolOfVolume(on[1]) != "away" {
			t.Fatalf("sliver %d is on volumes %v", no, on)
		}
	}
	r.evict(f)
	r.check(f)
}

// TestCopyErrors: what cannot be copied is told, and nothing is lost by it.
func TestCopyErrors(t *testing.T) {
	r := newRig(t, setup{slots: 1})
	files := r.fill(3, mib)
	r.archive(files...)
	if err := r.copyErr(CopyOptions{Copies: 2}, files...); !stderrors.Is(err, errTapeSpace) {
		t.Fatalf("with one volume: %v", err)
	}
	if r.m.Status().NoTapeSpace {
		t.Error("a copy that has no volume makes writers fail")
	}
	if err := r.copyErr(CopyOptions{Pool: "nowhere"}, files[0]); !stderrors.Is(err, errTapeSpace) {
		t.Fatalf("to a pool without volumes: %v", err)
	}
	on := r.copies(keyOf(files[0], 0))
	if err := r.copyErr(CopyOptions{Not: on}, files[0]); !stderrors.Is(err, errTapeSpace) {
		t.Fatalf("to no volume but the one there is: %v", err)
	}
	r2 := newRig(t, setup{})
	files = r2.fill(3, 2*mib)
	r2.archive(files...)
	r2.evict(files[1])
	if err := r2.copyErr(CopyOptions{Copies: 2}, files...); !stderrors.Is(err, ErrNotResident) {
		t.Fatalf("of what is not in the cache: %v", err)
	}
	for i, f := range files {
		want := 2
		if i == 1 {
			want = 1
		}
		if n := len(r2.copies(keyOf(f, 1))); n != want {
			t.Errorf("file %d has %d copies, not %d", i, n, want)
		}
	}
	r2.check(files[1])
	if err := r2.copyErr(CopyOptions{Copies: 2}, files...); err != nil {
		t.Fatal(err)
	}
	if n := len(r2.copies(keyOf(files[1], 1))); n != 2 {
		t.Errorf("a file that was recalled has %d copies", n)
	}
}

// TestCopyOfWhatIsResident: slivers that are in the cache are copied, whatever those of the same file that are not could
// go to: here the mounted volume could take only one of these.
func TestCopyOfWhatIsResident(t *testing.T) {
	r := newRig(t, setup{cfg: Config{ReadAhead: -1}})
	f := r.fill(1, 2*mib)[0]
	// only keeps one sliver in the cache.
	only := func(no sliver.No) {
		r.evict(f)
		if _, err := r.read(keyOf(f, no), mib); err != nil {
			t.Fatal(err)
		}
	}
	r.archive(f)
	first := r.copies(keyOf(f, 0))[0]
	only(0)
	if err := r.copyErr(CopyOptions{Copies: 2}, f); !stderrors.Is(err, ErrNotResident) {
		t.Fatal(err)
	}
	second := r.copies(keyOf(f, 0))[1]
	only(1)
	if err := r.copyErr(CopyOptions{Copies: 2, Not: []catalog.VolumeNo{second}}, f); !stderrors.Is(err, ErrNotResident) {
		t.Fatal(err)
	}
	if a, b := r.copies(keyOf(f, 0)), r.copies(keyOf(f, 1)); len(a) != 2 || len(b) != 2 || a[1] == b[1] {
		t.Fatalf("the slivers are on volumes %v and %v", a, b)
	}
	if err := r.copyErr(CopyOptions{Copies: 2, Not: []catalog.VolumeNo{first}}, f); !stderrors.Is(err, ErrNotResident) {
		t.Fatal(err)
	}
	if a, b := r.copies(keyOf(f, 0)), r.copies(keyOf(f, 1)); len(a) != 2 || len(b) != 3 {
		t.Errorf("the slivers are on volumes %v and %v", a, b)
	}
}

// TestCopyOfDirty: what is written is not copied, and what lies beside it is.
func TestCopyOfDirty(t *testing.T) {
	r := newRig(t, setup{})
	f := r.fill(1, 3*mib)[0]
	r.archive(f)
	if err := r.write(f, mib+5, []byte("changed")); err != nil {
		t.Fatal(err)
	}
	if err := r.copyErr(CopyOptions{Copies: 2}, f); err != nil {
		t.Fatal(err)
	}
	for no, want := range []int{2, 1, 2} {
		if n := len(r.copies(keyOf(f, sliver.No(no)))); n != want {
			t.Errorf("sliver %d has %d copies, not %d", no, n, want)
		}
	}
	r.archive(f)
	r.evict(f)
	r.check(f)
}

// TestCopyAndCrash: a copy that was written and not committed, or not flushed, costs nothing
// but its space; one that was committed is in the index after the next mount.
func TestCopyAndCrash(t *testing.T) {
	r := newRig(t, setup{})
	files := r.fill(8, mib)
	r.archive(files...)
	r.tree.mu.Lock()
	r.fail = errors.New("power is lost before the catalog has it")
	r.tree.mu.Unlock()
	if err := r.copyErr(CopyOptions{Copies: 2}, files...); err == nil {
		t.Fatal("copied without a catalog")
	}
	r.crash()
	r.start()
	for _, f := range files {
		if on := r.copies(keyOf(f, 0)); len(on) != 1 {
			t.Fatalf("file %d is on volumes %v", f, on)
		}
		r.check(f)
	}
	if err := r.copyErr(CopyOptions{Copies: 2}, files...); err != nil {
		t.Fatal(err)
	}
	r.crash()
	r.start()
	for _, f := range files {
		on := r.copies(keyOf(f, 0))
		if len(on) != 2 {
			t.Fatalf("file %d is on volumes %v", f, on)
		}
		for _, no := range on {
			if m, n := r.entryOn(no, f); m == nil || n != mib {
				t.Fatalf("the index of volume %d has %d bytes of file %d", no, n, f)
			}
		}
		r.check(f)
	}
}

// TestCopyWriteError: a volume that fails under copies is left, and the copies go to another.
func TestCopyWriteError(t *testing.T) {
	r := newRig(t, setup{drives: 2})
	files := r.fill(8, mib)
	r.archive(files...)
	remove := r.lib.SetFault(virtual.Fault{Device: virtual.AnyDrive, Opcode: opWrite, Nth: 5, Sense: scsi.Sense{Key: scsi.MediumErrorKey, Code: scsi.CodeWriteError}})
	defer remove()
	if err := r.copyErr(CopyOptions{Copies: 2}, files...); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		on := r.copies(keyOf(f, 0))
		if len(on) != 2 || on[0] == on[1] {
			t.Fatalf("file %d is on volumes %v", f, on)
		}
	}
	r.evict(files...)
	for _, f := range files {
		r.check(f)
	}
}

// TestCopyEndsWithTheMover: nobody is left without an answer.
func TestCopyEndsWithTheMover(t *testing.T) {
	r := newRig(t, setup{slots: 3})
	files := r.fill(20, mib/2)
	r.archive(files...)
	answers := make(chan error, 2*len(files))
	r.m.Copy(files, CopyOptions{Copies: 2}, func(_ sliver.FileID, err error) { answers <- err })
	r.stop()
	r.m.Copy(files, CopyOptions{Copies: 3}, func(_ sliver.FileID, err error) { answers <- err })
	for i := range 2 * len(files) {
		select {
		case <-answers:
		case <-time.After(patience):
			t.Fatalf("%d answers of %d", i, 2*len(files))
		}
	}
}

// TestGroups: files of one group follow each other on tape, though they came mixed; a group
// that is added to for ever keeps nobody waiting.
func TestGroups(t *testing.T) {
	m := &Mover{lines: map[string]*line{}, waiting: map[sliver.FileID]*archiveItem{}}
	v := &volume{}
	v.record.Store(&catalog.Volume{No: 1, State: catalog.VolAppend})
	add := func(f sliver.FileID, group string) {
		m.enqueueLocked(&archiveItem{file: f, to: Place{Group: group}})
	}
	for f := range sliver.FileID(9) {
		add(f, string(rune('a'+f%3)))
	}
	var got []sliver.FileID
	for range 9 {
		it := m.takeLocked(v)
		got = append(got, it.file)
		if it.to.Group == "a" && it.file < 100 {
			add(100+it.file, "a")
		}
	}
	if want := []sliver.FileID{0, 3, 6, 1, 4, 7, 2, 5, 8}; !slices.Equal(got, want) {
		t.Errorf("taken in the order %v, not %v", got, want)
	}
	it := m.takeLocked(v)
	m.requeueLocked([]*archiveItem{it})
	if again := m.takeLocked(v); again != it {
		t.Errorf("what was put back is not taken first")
	}
	for m.takeLocked(v) != nil {
	}
	if m.queued != 0 || len(m.lines) != 0 {
		t.Errorf("%d files are left, in %d lines", m.queued, len(m.lines))
	}
}

// TestPoolWithoutVolumes: files for a pool that has no volume fail, and say so; the others go on,
// and writers are told that there is no space only while nothing goes on.
func TestPoolWithoutVolumes(t *testing.T) {
	r := newRig(t, setup{drives: 2, cfg: Config{Pools: byName{{"*L?", "near"}}}})
	files := r.fill(6, mib)
	errs := make(chan error, 3)
	r.m.Archive(Place{Pool: "nowhere"}, files[:3], func(_ sliver.FileID, err error) { errs <- err })
	r.archive(files[3:]...)
	for range 3 {
		select {
		case err := <-errs:
			if !stderrors.Is(err, errTapeSpace) || !strings.Contains(err.Error(), `pool "nowhere"`) {
				t.Errorf("archive to a pool without volumes: %v", err)
			}
		case <-time.After(patience):
			t.Fatal("no answer")
		}
	}
	more := r.fill(1, mib)
	r.archive(more...)
	if r.m.Status().NoTapeSpace {
		t.Error("there is no tape space, it says, after a file was archived")
	}
}
