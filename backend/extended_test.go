package backend

import (
	"bytes"
	stderrors "errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend/catalog"
	"sliod/backend/vfs"
	"sliod/tape/scsi"
)

const punchHole = vfs.PunchHole | vfs.KeepSize

// allocate does all of the range, waiting for tape where it must.
func allocate(f vfs.File, mode vfs.AllocateMode, off, n uint64) error {
	for n > 0 {
		wt := newWaiter()
		done, err := f.(vfs.Extended).Allocate(mode, off, n, &wt.Waiter)
		if err == vfs.ErrParked {
			<-wt.woken
			done, err = uint64(wt.n), wt.err
		}
		if err != nil {
			return err
		}
		off, n = off+done, n-done
	}
	return nil
}

// copyRange copies all of the range, or to the end of src.
func copyRange(dst, src vfs.File, from, to, n uint64) (uint64, error) {
	for all := uint64(0); ; {
		wt := newWaiter()
		done, err := dst.(vfs.Extended).CopyFrom(src, from+all, to+all, n-all, &wt.Waiter)
		parked := err == vfs.ErrParked
		if parked {
			<-wt.woken
			done, err = uint64(wt.n), wt.err
		}
		all += done
		if err != nil || all == n || !parked && done == 0 {
			return all, err
		}
	}
}

func punched(content []byte, off, n int) []byte {
	c := bytes.Clone(content)
	clear(c[min(off, len(c)):min(off+n, len(c))])
	return c
}

func (w *world) dead() (n int64) {
	w.t.Helper()
	if err := w.fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Volumes(func(v catalog.Volume) bool { n += v.Dead; return true })
	}); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func wantSeek(t *testing.T, f vfs.File, off uint64, whence vfs.Whence, want uint64, wantErr error) {
	t.Helper()
	got, err := f.(vfs.Extended).Seek(off, whence)
	if !stderrors.Is(err, wantErr) || err == nil && got != want {
		t.Errorf("seek %d from %d: %d, %v; want %d, %v", whence, off, got, err, want, wantErr)
	}
}

// Holes are found in a file that is dirty, on tape, and read in part, and nothing is
// recalled for it.
func TestSeek(t *testing.T) {
	w := newWorld(t, oneDrive)
	n, f := w.create("f")
	w.write(f, mib+7, pattern(1, mib))     // slivers 1 and 2
	w.write(f, 200*mib+5, pattern(2, 100)) // in another bmap
	size := uint64(200*mib + 105)
	check := func() {
		t.Helper()
		wantSeek(t, f, 0, vfs.SeekData, mib, nil)
		wantSeek(t, f, 0, vfs.SeekHole, 0, nil)
		wantSeek(t, f, mib+9, vfs.SeekData, mib+9, nil)
		wantSeek(t, f, mib+9, vfs.SeekHole, 3*mib, nil)
		wantSeek(t, f, 3*mib, vfs.SeekData, 200*mib, nil)
		wantSeek(t, f, 200*mib+1, vfs.SeekHole, size, nil)
		wantSeek(t, f, size, vfs.SeekHole, 0, linux.ENXIO)
		wantSeek(t, f, size, vfs.SeekData, 0, linux.ENXIO)
		wantSeek(t, f, 0, 9, 0, linux.EINVAL)
	}
	check()
	if err := fsync(f); err != nil {
		t.Fatal(err)
	}
	check()
	w.job(JobArchive, "/f")
	check()
	w.job(JobEvict, "/f")
	check()
	if err := allocate(f, punchHole, 200*mib, mib); err != nil {
		t.Fatal(err)
	}
	wantSeek(t, f, 3*mib, vfs.SeekData, 0, linux.ENXIO)
	wantSeek(t, f, mib, vfs.SeekHole, 3*mib, nil)
	if got := w.fs.cache.Stats().Faults; got != 0 {
		t.Errorf("%d faults", got)
	}
	f.Close()
	n.Release()
}

// A range is punched out of a file in each state, at ends of slivers and within them.
func TestPunch(t *testing.T) {
	ranges := [][2]int{{0, mib}, {mib, 2 * mib}, {100, 50}, {mib - 10, 20}, {mib - 10, mib + 20}, {2*mib + 5, mib}, {3 * mib, 500}, {0, 10 * mib}, {3*mib + 100, mib}}
	const size = 3*mib + 500
	for _, state := range []string{"dirty", "synced", "clean", "absent"} {
		t.Run(state, func(t *testing.T) {
			w := newWorld(t, oneDrive)
			want := map[string][]byte{}
			content := pattern(1, size)
			for i := range ranges {
				name := fmt.Sprint("f", i)
				want[name] = content
				w.put(name, want[name])
			}
			if state == "clean" || state == "absent" {
				w.job(JobArchive, "/")
			}
			if state == "absent" {
				w.job(JobEvict, "/")
			}
			for i, r := range ranges {
				name := fmt.Sprint("f", i)
				f, done := w.openFile(name)
				if state == "synced" {
					if err := fsync(f); err != nil {
						t.Fatal(err)
					}
				}
				if err := allocate(f, punchHole, uint64(r[0]), uint64(r[1])); err != nil {
					t.Fatal(err)
				}
				want[name] = punched(want[name], r[0], r[1])
				w.wantContent(name, want[name])
				done()
			}
			w.restart()
			for name := range want {
				w.wantContent(name, want[name])
			}
			w.job(JobArchive, "/")
			w.job(JobEvict, "/")
			for name := range want {
				w.wantContent(name, want[name])
			}
			w.quiet()
		})
	}
}

// What a punch, or a truncate, takes from tape is counted as dead.
func TestPunchAndTruncateCountDead(t *testing.T) {
	w := newWorld(t, oneDrive)
	n, f := w.create("f")
	defer n.Release()
	defer f.Close()
	w.write(f, 0, pattern(1, 6*mib))
	w.write(f, 150*mib, pattern(2, 2*mib)) // in another bmap
	w.job(JobArchive, "/f")
	w.job(JobEvict, "/f")
	if err := allocate(f, punchHole, 2*mib, 3*mib); err != nil {
		t.Fatal(err)
	}
	if got := w.dead(); got != 3*mib {
		t.Errorf("a punch of 3 MiB left %d dead bytes", got)
	}
	if err := n.Setattr(rootCred, p9.SetAttrMask{Size: true}, p9.SetAttr{Size: mib + 5}, true); err != nil {
		t.Fatal(err)
	}
	if got := w.dead(); got != 6*mib { // sliver 5 and the last two; of sliver 1 five bytes stay
		t.Errorf("a punch of 3 MiB and a truncate of 3 more left %d dead bytes", got)
	}
}

// A sliver is punched while its fault stands at each step, with a read and a write
// that wait for it.
func TestPunchOfFaulting(t *testing.T) {
	for _, sp := range stopPoints {
		t.Run(sp.name, func(t *testing.T) {
			w := newWorld(t, oneDrive)
			want := pattern(1, 3*mib)
			w.archived("f", want)
			if sp.cold {
				w.restart()
			}
			f, done := w.openFile("f")
			defer done()
			g := w.hold(sp.stop)
			rd := w.readReq(f, mib, 5000).mustPark()
			wr := w.writeReq(f, mib+100, pattern(2, 50)).mustPark()
			g.wait()
			if err := allocate(f, punchHole, mib, mib); err != nil {
				t.Fatal(err)
			}
			wr.wantWrote(50)
			want = overlay(punched(want, mib, mib), mib+100, pattern(2, 50))
			rd.wantRead(want[mib : mib+5000])
			g.release()
			w.wantContent("f", want)
			w.job(JobArchive, "/f")
			w.job(JobEvict, "/f")
			w.wantContent("f", want)
			w.quiet()
		})
	}
}

// The edge of a punch that waits for tape can be cancelled, and does not make a file
// longer again that was cut meanwhile.
func TestPunchEdgeWaits(t *testing.T) {
	w := newWorld(t, oneDrive)
	want := pattern(1, 2*mib)
	w.archived("f", want)
	f, done := w.openFile("f")
	defer done()
	g := w.hold(at(scsi.OpRead6, false))
	wt, other := newWaiter(), newWaiter()
	x := f.(vfs.Extended)
	if _, err := x.Allocate(punchHole, 100, 50, &wt.Waiter); err != vfs.ErrParked {
		t.Fatal(err)
	}
	if _, err := x.Allocate(punchHole, 500, 50, &other.Waiter); err != vfs.ErrParked {
		t.Fatal(err)
	}
	g.wait()
	if !f.Cancel(&other.Waiter) {
		t.Error("not cancelled")
	}
	n := w.node("f")
	defer n.Release()
	if err := n.Setattr(rootCred, p9.SetAttrMask{Size: true}, p9.SetAttr{Size: 120}, true); err != nil {
		t.Fatal(err)
	}
	g.release()
	soon(t, wt.woken, "the punch is not woken")
	if err := allocate(f, punchHole, 100, 50); err != nil {
		t.Fatal(err)
	}
	w.wantContent("f", punched(want[:120], 100, 50))
	w.quiet()
}

// A sliver is punched while it is being written to tape: what came to tape is dead,
// and the sliver stays a hole.
func TestPunchOfArchiving(t *testing.T) {
	w := newWorld(t, oneDrive)
	w.premigrated("first", []byte("so that the volume is mounted"))
	want := pattern(1, 3*mib)
	w.put("f", want)
	g := w.hold(at(scsi.OpWrite6, false))
	id, err := w.fs.StartJob(JobArchive, []string{"/f"})
	if err != nil {
		t.Fatal(err)
	}
	g.wait()
	f, done := w.openFile("f")
	defer done()
	if err := allocate(f, punchHole, 0, 2*mib); err != nil {
		t.Fatal(err)
	}
	g.release()
	eventually(t, "the job ends", func() bool { s, ok := w.fs.Job(id); return ok && s.State == "done" })
	want = punched(want, 0, 2*mib)
	w.wantContent("f", want)
	w.job(JobArchive, "/f")
	w.job(JobEvict, "/f")
	w.wantContent("f", want)
	w.quiet()
}

// The other modes of fallocate(2).
func TestAllocateModes(t *testing.T) {
	w := newWorld(t, oneDrive)
	want := pattern(1, 1000)
	w.put("f", want)
	f, done := w.openFile("f")
	defer done()
	for _, tc := range []struct {
		mode   vfs.AllocateMode
		off, n uint64
		err    error
	}{
		{0, 500, 1500, nil},
		{vfs.KeepSize, 0, 5000, nil},
		{vfs.ZeroRange | vfs.KeepSize, 900, 9000, nil},
		{vfs.ZeroRange, 100, 3000, nil},
		{0, 0, 1 << 60, linux.ENOSPC},
		{vfs.KeepSize, 0, 1 << 60, linux.ENOSPC},
		{vfs.PunchHole, 0, 1, linux.EOPNOTSUPP},
		{0x08, 0, mib, linux.EOPNOTSUPP}, // COLLAPSE_RANGE
		{punchHole, 1 << 63, 1, linux.EFBIG},
	} {
		if err := allocate(f, tc.mode, tc.off, tc.n); !stderrors.Is(err, tc.err) {
			t.Errorf("mode %#x at %d: %v, want %v", tc.mode, tc.off, err, tc.err)
			continue
		}
		switch {
		case tc.err != nil:
		case tc.mode&vfs.ZeroRange != 0:
			want = punched(want, int(tc.off), int(tc.n))
			fallthrough
		default:
			if end := int(tc.off + tc.n); tc.mode&vfs.KeepSize == 0 && end > len(want) {
				want = resized(want, end)
			}
		}
		w.wantContent("f", want)
	}
	w.restart()
	w.wantContent("f", want)
}

func TestCopy(t *testing.T) {
	w := newWorld(t, oneDrive)
	src := overlay(pattern(1, 2*mib), 5*mib, pattern(2, 777)) // with a hole
	w.archived("src", src)
	dst := pattern(3, 3*mib)
	w.archived("dst", dst)
	s, done := w.openFile("src")
	defer done()
	d, done2 := w.openFile("dst")
	defer done2()
	for _, r := range []struct{ from, to, n, want int }{
		{0, 0, mib, mib}, {mib - 50, 2*mib + 3, 100, 100}, {500, 2 * mib, 5 * mib, 5*mib + 777 - 500}, {5*mib + 770, 7, 100, 7}, {9 * mib, 0, 5, 0},
	} {
		n, err := copyRange(d, s, uint64(r.from), uint64(r.to), uint64(r.n))
		if r.want = min(r.want, r.n); int(n) != r.want || err != nil {
			t.Fatalf("%+v: %d, %v", r, n, err)
		}
		if n > 0 {
			dst = overlay(dst, r.to, src[r.from:r.from+int(n)])
		}
		w.wantContent("dst", dst)
	}
	w.wantContent("src", src)
	if _, err := copyRange(s, s, 0, 50, 100); err != linux.EINVAL {
		t.Errorf("overlapping: %v", err)
	}
	w.job(JobArchive, "/")
	w.job(JobEvict, "/")
	w.wantContent("dst", dst)
	w.quiet()
}

// Random operations on two files against a model in memory, while both go to tape and
// are evicted again and again.
func TestExtendedModel(t *testing.T) {
	w := newWorld(t, oneDrive)
	seed := rand.Uint64()
	t.Log("seed", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	model := [2][]byte{pattern(1, 3*mib+100), pattern(2, mib)}
	names := [2]string{"a", "b"}
	for i, name := range names {
		w.put(name, model[i])
	}
	const limit = 5 * mib
	for step := range 200 {
		i := rnd.IntN(2)
		f, done := w.openFile(names[i])
		off, n := rnd.IntN(limit), 1+rnd.IntN(1<<(1+rnd.IntN(21)))
		if rnd.IntN(3) == 0 {
			off = off / mib * mib
		}
		n = min(n, limit-off)
		switch rnd.IntN(8) {
		case 0, 1:
			if err := allocate(f, punchHole, uint64(off), uint64(n)); err != nil {
				t.Fatal(step, err)
			}
			model[i] = punched(model[i], off, n)
		case 2:
			if err := allocate(f, vfs.ZeroRange, uint64(off), uint64(n)); err != nil {
				t.Fatal(step, err)
			}
			model[i] = overlay(model[i], off, make([]byte, n))
		case 3:
			w.write(f, uint64(off), pattern(step, n))
			model[i] = overlay(model[i], off, pattern(step, n))
		case 4:
			src, sdone := w.openFile(names[1-i])
			from := rnd.IntN(limit)
			m, err := copyRange(f, src, uint64(from), uint64(off), uint64(n))
			if want := max(0, min(n, len(model[1-i])-from)); int(m) != want || err != nil {
				t.Fatal(step, m, want, err)
			}
			if m > 0 {
				model[i] = overlay(model[i], off, model[1-i][from:from+int(m)])
			}
			sdone()
		case 5:
			node := w.node(names[i])
			if err := node.Setattr(rootCred, p9.SetAttrMask{Size: true}, p9.SetAttr{Size: uint64(off)}, true); err != nil {
				t.Fatal(step, err)
			}
			node.Release()
			model[i] = resized(model[i], min(off, len(model[i])))
			model[i] = resized(model[i], off)
		case 6:
			if got, want := w.read(f, uint64(off), n), model[i][min(off, len(model[i])):min(off+n, len(model[i]))]; !bytes.Equal(got, want) {
				t.Fatalf("step %d: %d bytes at %d, want %d, the first difference is at %d", step, len(got), off, len(want), firstDifference(got, want))
			}
		case 7:
			w.job(JobArchive, "/")
			w.job(JobEvict, "/"+names[i])
			if rnd.IntN(4) == 0 {
				done()
				w.restart()
				f, done = w.openFile(names[i])
			}
		}
		// Data is never where a hole is said to be.
		for at := uint64(0); at < uint64(len(model[i])); {
			hole, err := f.(vfs.Extended).Seek(at, vfs.SeekHole)
			if err != nil {
				t.Fatal(step, err)
			}
			end, err := f.(vfs.Extended).Seek(hole, vfs.SeekData)
			if err != nil {
				end = uint64(len(model[i]))
			}
			if bytes.Trim(model[i][hole:end], "\x00") != nil {
				t.Fatalf("step %d: data from %d to %d is said to be a hole", step, hole, end)
			}
			at = end
		}
		done()
	}
	for i, name := range names {
		w.wantContent(name, model[i])
	}
	w.quiet()
}

// A file that is on tape only has a block: tar -S stores a file without any as zeros, and
// does not look at its data.
func TestBlocksOfMigratedFile(t *testing.T) {
	w := newWorld(t, oneDrive)
	w.archived("f", pattern(1, 100))
	w.put("empty", nil)
	for name, want := range map[string]uint64{"f": 1, "empty": 0} {
		n := w.node(name)
		a, err := n.Getattr(rootCred)
		n.Release()
		if err != nil || a.Blocks != want {
			t.Errorf("%s: %d blocks, %v; want %d", name, a.Blocks, err, want)
		}
	}
}
