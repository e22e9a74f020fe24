package backend

import (
	"bytes"
	"context"
	stderrors "errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/sirupsen/logrus"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
	"sliod/tape"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

const mib = 1 << 20

// patience is how long a test waits for what must come. Nothing passes by it.
const patience = 2 * time.Minute

// oneDrive makes a world in which one drive has all volumes, a sliver is one
// record, and nothing is read that nobody asked for.
func oneDrive(o *Options, c *virtual.Config) {
	c.Drives = 1
	o.Mover.BlockSize = mib
	o.Mover.ReadAhead = -1
}

// stand holds a device of the library at a stop point, until it is opened.
type stand struct {
	w       *world
	reached chan struct{} // closed when the device stands there
	open    chan struct{}
	once    sync.Once
}

// hold arms a gate: the first command that stop chooses waits at it. There is one
// gate at a time.
func (w *world) hold(stop func(virtual.Event) bool) *stand {
	g := &stand{w: w, reached: make(chan struct{}), open: make(chan struct{})}
	var first sync.Once
	w.lib.Hook(func(e virtual.Event) {
		if stop(e) {
			first.Do(func() {
				close(g.reached)
				<-g.open
			})
		}
	})
	w.t.Cleanup(g.release)
	return g
}

// holdRead is hold for the nth READ(6) from now on, before it is done.
func (w *world) holdRead(nth int) *stand {
	n := 0
	return w.hold(func(e virtual.Event) bool {
		if e.Opcode == scsi.OpRead6 && !e.After {
			n++
		}
		return n == nth
	})
}

// wait returns when the device stands at the gate.
func (g *stand) wait() {
	g.w.t.Helper()
	soon(g.w.t, g.reached, "the library does not come to the stop point")
}

func (g *stand) release() {
	g.once.Do(func() {
		g.w.lib.Hook(nil)
		close(g.open)
	})
}

func at(opcode byte, after bool) func(virtual.Event) bool {
	return func(e virtual.Event) bool { return e.Opcode == opcode && e.After == after }
}

// stopPoints are the steps of a fault at which a test may interfere. Those of the
// drive need a volume that is mounted, at another place than the data.
var stopPoints = []struct {
	name string
	cold bool // with no volume in the drive
	stop func(virtual.Event) bool
}{
	{"before mount", true, at(scsi.OpMoveMedium, false)},
	{"before locate", false, at(scsi.OpLocate16, false)},
	{"before read", false, at(scsi.OpRead6, false)},
	{"after read", false, at(scsi.OpRead6, true)},
}

func soon(t testing.TB, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatal(what)
	}
}

// eventually waits for what other goroutines bring about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// pend is a request that is parked, or was answered at once.
type pend struct {
	*waiter
	t      testing.TB
	f      vfs.File
	off    uint64
	count  int
	parked bool
	data   []byte // of a read that was answered
}

func (w *world) readReq(f vfs.File, off uint64, n int) *pend {
	w.t.Helper()
	p := &pend{waiter: newWaiter(), t: w.t, f: f, off: off, count: n}
	d, err := f.ReadAt(off, n, &p.Waiter)
	if p.parked = err == vfs.ErrParked; !p.parked {
		p.data, p.err = gather(&d), err
	}
	return p
}

func (w *world) writeReq(f vfs.File, off uint64, data []byte) *pend {
	w.t.Helper()
	p := &pend{waiter: newWaiter(), t: w.t, f: f, off: off, count: len(data)}
	n, err := f.WriteAt(off, data, &p.Waiter)
	if p.parked = err == vfs.ErrParked; !p.parked {
		p.n, p.err = n, err // else the wake brings them, and may have done so by now
	}
	return p
}

// mustPark fails the test if the request was answered.
func (p *pend) mustPark() *pend {
	p.t.Helper()
	if !p.parked {
		p.t.Fatalf("a request at %d of %d bytes was answered and not parked: n %d, %d bytes, %v", p.off, p.count, p.n, len(p.data), p.err)
	}
	return p
}

// wrote waits for the answer to a write.
func (p *pend) wrote() (int, error) {
	p.t.Helper()
	if p.parked {
		soon(p.t, p.woken, "a parked write is not answered")
	}
	return p.n, p.err
}

// read waits for the answer to a read.
func (p *pend) read() ([]byte, error) {
	p.t.Helper()
	if p.parked {
		soon(p.t, p.woken, "a parked read is not answered")
		if p.err == nil {
			p.data, p.err = readOnce(p.f, p.off, p.count)
		}
	}
	return p.data, p.err
}

// wantRead compares the answer to a read.
func (p *pend) wantRead(want []byte) {
	p.t.Helper()
	got, err := p.read()
	if err != nil || !bytes.Equal(got, want) {
		p.t.Errorf("the read at %d gives %d bytes, %v; want %d, the first difference is at %d", p.off, len(got), err, len(want), firstDifference(got, want))
	}
}

func (p *pend) wantWrote(n int) {
	p.t.Helper()
	if got, err := p.wrote(); got != n || err != nil {
		p.t.Errorf("the write at %d gives %d, %v; want %d", p.off, got, err, n)
	}
}

func (p *pend) cancel() bool { return p.f.Cancel(&p.Waiter) }

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// archived makes a file that is on tape only.
func (w *world) archived(name string, content []byte) {
	w.t.Helper()
	w.put(name, content)
	w.job(JobArchive, "/"+name)
	w.job(JobEvict, "/"+name)
	if got := w.state(name); got != string(Migrated) {
		w.t.Fatalf("%s is %s and not migrated", name, got)
	}
}

// quiet waits until nothing is parked and no fault is left.
func (w *world) quiet() {
	w.t.Helper()
	if n := w.fs.cache.Stats().Parked; n != 0 {
		w.t.Errorf("%d requests are still parked", n)
	}
	eventually(w.t, "all faults are over", func() bool { return w.fs.cache.Stats().Faulting == 0 })
}

func (w *world) wantContent(name string, want []byte) {
	w.t.Helper()
	if got := w.content(name); !bytes.Equal(got, want) {
		w.t.Errorf("%s has %d bytes, want %d; the first difference is at %d", name, len(got), len(want), firstDifference(got, want))
	}
}

// logLines keeps what is logged as a warning or worse.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (w *world) logged() *logLines {
	l := new(logLines)
	w.opts.Log.Logger.AddHook(l)
	return l
}

func (l *logLines) Levels() []logrus.Level { return logrus.AllLevels[:logrus.WarnLevel+1] }

func (l *logLines) Fire(e *logrus.Entry) error {
	s, err := e.String()
	l.mu.Lock()
	l.lines = append(l.lines, s)
	l.mu.Unlock()
	return err
}

// has says whether one line has all of parts.
func (l *logLines) has(parts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.lines, func(line string) bool {
		return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) })
	})
}

// count returns how many lines have part.
func (l *logLines) count(part string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

// overlay returns content with p written at off.
func overlay(content []byte, off int, p []byte) []byte {
	c := resized(content, max(len(content), off+len(p)))
	copy(c[off:], p)
	return c
}

// resized returns a copy of content, cut or grown with zeros.
func resized(content []byte, n int) []byte {
	c := make([]byte, n)
	copy(c, content)
	return c
}

// placeOf returns where a sliver is on tape.
func (w *world) placeOf(path string, no sliver.No) (tape.Barcode, tape.Position, sliver.Key) {
	w.t.Helper()
	n := w.node(path).(*node)
	defer n.Release()
	k := sliver.Key{File: n.ino.id, No: no}
	var v catalog.Volume
	var p catalog.Piece
	err := w.fs.cat.View(func(tx *catalog.Tx) error {
		bm, i := no.Bmap()
		b, err := tx.Bmap(k.File, bm)
		if err != nil {
			return err
		}
		c := b.Slivers[i].Copies[0]
		p = c.Pieces[0]
		v, err = tx.Volume(c.Volume)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return tape.Barcode(v.Barcode), tape.Position{Partition: tape.Partition(p.Partition), Block: tape.BlockNo(p.Block)}, k
}

// Requests on two slivers, with each in each state: a read and a write over the
// boundary between them do what they do on a plain file.
func TestSpanningRequests(t *testing.T) {
	w := newWorld(t, oneDrive)
	states := []string{"resident", "absent", "hole", "dirty"}
	type op struct {
		off, n int
	}
	ops := []op{{mib - 3000, 64 << 10}, {mib - 64<<10 + 1, 64 << 10}, {0, 2 * mib}, {500_000, mib}}
	// All files are made and archived in one go; a hole is what was never written.
	name := func(a, b, kind string, o int) string { return fmt.Sprintf("%s-%s-%s-%d", a, b, kind, o) }
	content := map[string][]byte{}
	each := func(fn func(a, b, kind string, o int)) {
		for _, a := range states {
			for _, b := range states {
				for _, kind := range []string{"read", "write"} {
					for o := range ops {
						fn(a, b, kind, o)
					}
				}
			}
		}
	}
	const size = mib + 700_000 // the second sliver is short
	seed := 0
	each(func(a, b, kind string, o int) {
		seed++
		want := make([]byte, size)
		n, f := w.create(name(a, b, kind, o))
		for i, s := range []string{a, b} {
			if s == "hole" {
				continue
			}
			from, to := i*mib, min(size, (i+1)*mib)
			p := pattern(seed*2+i, to-from)
			copy(want[from:], p)
			w.write(f, uint64(from), p)
		}
		if err := n.Setattr(rootCred, p9.SetAttrMask{Size: true}, p9.SetAttr{Size: size}, true); err != nil {
			t.Fatal(err)
		}
		f.Close()
		n.Release()
		content[name(a, b, kind, o)] = want
		if seed%8 == 0 {
			w.job(JobArchive, "/")
			w.job(JobEvict, "/")
		}
	})
	each(func(a, b, kind string, o int) {
		nm := name(a, b, kind, o)
		want := content[nm]
		f, done := w.openFile(nm)
		defer done()
		for i, s := range []string{a, b} {
			from := i * mib
			switch s {
			case "resident":
				w.read(f, uint64(from), 1)
			case "dirty":
				p := pattern(seed+i, 1000)
				want = overlay(want, from+2000, p)
				w.write(f, uint64(from+2000), p)
			}
		}
		x := ops[o]
		if kind == "write" {
			p := pattern(seed+7, x.n)
			want = overlay(want, x.off, p)
			w.write(f, uint64(x.off), p)
		} else if got := w.read(f, uint64(x.off), x.n); !bytes.Equal(got, want[x.off:min(len(want), x.off+x.n)]) {
			t.Errorf("%s: the first difference is at %d", nm, x.off+firstDifference(got, want[x.off:]))
		}
		w.wantContent(nm, want)
		w.job(JobArchive, "/"+nm)
		w.job(JobEvict, "/"+nm)
		w.wantContent(nm, want)
		w.job(JobEvict, "/"+nm)
	})
	w.quiet()
}

// scene is a file with a read and a write parked on one of its slivers.
type scene struct {
	w    *world
	n    vfs.Node
	f    vfs.File
	rd   *pend // a read of the whole sliver
	wr   *pend // a write into its middle
	late bool  // the tape runs already: the write may be done
	open func()
}

// closeFile gives the file back, when the requests that were parked on it have
// ended: not before, as vfs.File demands.
func (s *scene) closeFile() {
	s.f.Close()
	s.n.Release()
	s.f, s.n = nil, nil
}

// What happens to a file while a fault of it stands at each point: the requests
// that are parked on it get what is right, and nothing is left over.
func TestInterference(t *testing.T) {
	const (
		size   = 4*mib - 5000
		target = 2 * mib // the sliver that the fault is for
		woff   = target + 1000
	)
	old, wdata := pattern(1, size), pattern(2, 50_000)
	written := overlay(old, woff, wdata)
	truncate := func(to int) func(*testing.T, *scene) [][]byte {
		return func(t *testing.T, s *scene) [][]byte {
			if err := s.n.Setattr(rootCred, p9.SetAttrMask{Size: true}, p9.SetAttr{Size: uint64(to)}, true); err != nil {
				t.Fatal(err)
			}
			s.open()
			s.wr.wantWrote(len(wdata))
			may := [][]byte{overlay(resized(old, to), woff, wdata)}
			if s.late {
				may = append(may, resized(written, to))
			}
			got, err := s.rd.read()
			if err != nil || !slices.ContainsFunc(may, func(m []byte) bool {
				return bytes.Equal(got, m[min(target, len(m)):min(len(m), target+mib)])
			}) && !(s.late && bytes.Equal(got, written[target:target+mib])) {
				t.Errorf("the read gives %d bytes, %v", len(got), err)
			}
			return may
		}
	}
	answered := func(s *scene) [][]byte {
		s.open()
		s.wr.wantWrote(len(wdata))
		s.rd.wantRead(written[target : target+mib])
		return [][]byte{written}
	}
	cases := []struct {
		name string
		// do interferes, opens the gate, and returns the contents that may be.
		do func(*testing.T, *scene) [][]byte
	}{
		{"nothing", func(_ *testing.T, s *scene) [][]byte { return answered(s) }},
		{"flush of the write", func(t *testing.T, s *scene) [][]byte {
			gone := s.wr.cancel()
			if !gone && !s.late {
				t.Error("the write could not be cancelled")
			}
			s.open()
			want := old
			if !gone {
				s.wr.wantWrote(len(wdata))
				want = written
			}
			s.rd.wantRead(want[target : target+mib])
			return [][]byte{want}
		}},
		{"flush of the read", func(t *testing.T, s *scene) [][]byte {
			if !s.rd.cancel() && !s.late {
				t.Error("the read could not be cancelled")
			}
			s.open()
			s.wr.wantWrote(len(wdata))
			return [][]byte{written}
		}},
		{"flush of all", func(t *testing.T, s *scene) [][]byte {
			r, w := s.rd.cancel(), s.wr.cancel()
			if (!r || !w) && !s.late {
				t.Error("a request could not be cancelled")
			}
			s.open()
			if w {
				return [][]byte{old}
			}
			s.wr.wantWrote(len(wdata))
			return [][]byte{written}
		}},
		{"flush, then again", func(_ *testing.T, s *scene) [][]byte {
			s.rd.cancel()
			if s.wr.cancel() {
				s.wr = s.w.writeReq(s.f, woff, wdata)
			}
			s.rd = s.w.readReq(s.f, target, mib)
			s.open()
			s.wr.wantWrote(len(wdata))
			s.rd.read()
			return [][]byte{written}
		}},
		{"truncate inside", truncate(woff + 20_000)},
		{"truncate inside, before the write", truncate(target + 10)},
		{"truncate at the sliver", truncate(target)},
		{"truncate before the sliver", truncate(mib + 17)},
		{"truncate to nothing", truncate(0)},
		{"truncate and grow", func(t *testing.T, s *scene) [][]byte {
			for _, to := range []uint64{target + 500, size} {
				if err := s.n.Setattr(rootCred, p9.SetAttrMask{Size: true}, p9.SetAttr{Size: to}, true); err != nil {
					t.Fatal(err)
				}
			}
			s.open()
			s.wr.wantWrote(len(wdata))
			s.rd.read()
			may := [][]byte{overlay(resized(old[:target+500], size), woff, wdata)}
			if s.late {
				may = append(may, resized(written[:target+500], size))
			}
			return may
		}},
		{"rename", func(t *testing.T, s *scene) [][]byte {
			if err := s.w.root.RenameAt(rootCred, "f", s.w.root, "g"); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := s.w.root.RenameAt(rootCred, "g", s.w.root, "f"); err != nil {
					t.Fatal(err)
				}
			}()
			return answered(s)
		}},
		{"unlink", func(t *testing.T, s *scene) [][]byte {
			if err := s.w.root.UnlinkAt(rootCred, "f", 0); err != nil {
				t.Fatal(err)
			}
			answered(s)
			if got := s.w.read(s.f, 0, size); !bytes.Equal(got, written) {
				t.Errorf("the unlinked file differs at %d", firstDifference(got, written))
			}
			return nil
		}},
		{"unlink and close", func(t *testing.T, s *scene) [][]byte {
			if err := s.w.root.UnlinkAt(rootCred, "f", 0); err != nil {
				t.Fatal(err)
			}
			// What a server does when the connection goes.
			for _, p := range []*pend{s.rd, s.wr} {
				if !p.cancel() && p.parked {
					soon(t, p.woken, "a request was neither cancelled nor answered")
				}
			}
			s.closeFile()
			s.open()
			return nil
		}},
		{"evict", func(t *testing.T, s *scene) [][]byte {
			st := s.w.ended(JobEvict, "/")
			// Once the write is merged its sliver is dirty, and the job says so.
			notOnTape := s.late && len(st.Errors) == 1 && strings.Contains(st.Errors[0], "not on tape yet")
			if st.State != "done" && !notOnTape {
				t.Errorf("%+v", st)
			}
			s.open()
			s.wr.wantWrote(len(wdata))
			s.rd.wantRead(written[target : target+mib])
			return [][]byte{written}
		}},
		{"recall job", func(t *testing.T, s *scene) [][]byte {
			id, err := s.w.fs.StartJob(JobRecall, []string{"/f"})
			if err != nil {
				t.Fatal(err)
			}
			s.w.fs.jobs.mu.Lock()
			j := s.w.fs.jobs.m[id]
			s.w.fs.jobs.mu.Unlock()
			may := answered(s)
			soon(t, j.finished, "the recall job does not end")
			if st := j.status(); st.State != "done" {
				t.Errorf("%+v", st)
			}
			return may
		}},
		{"shutdown", func(t *testing.T, s *scene) [][]byte {
			closed := make(chan struct{})
			go func() {
				defer close(closed)
				s.w.close()
			}()
			if s.late {
				s.open()
			}
			n, err := s.wr.wrote()
			if !s.late && !stderrors.Is(err, linux.EIO) {
				t.Errorf("the parked write gets %d, %v at shutdown", n, err)
			}
			soon(t, s.rd.woken, "the parked read is not answered at shutdown")
			s.closeFile()
			s.open()
			soon(t, closed, "the archive does not close")
			s.w.open()
			if err == nil {
				return [][]byte{written}
			}
			return [][]byte{old}
		}},
		{"shutdown cut short", func(t *testing.T, s *scene) [][]byte {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			closed := make(chan struct{})
			go func() {
				defer close(closed)
				s.w.root.Release()
				_ = s.w.fs.Close(ctx) // what the unmount says does not matter here
				s.w.fs = nil
			}()
			_, err := s.wr.wrote()
			soon(t, s.rd.woken, "the parked read is not answered at shutdown")
			s.closeFile()
			s.open()
			soon(t, closed, "the archive does not close")
			s.w.open()
			if err == nil {
				return [][]byte{written}
			}
			return [][]byte{old}
		}},
	}
	points := append(slices.Clone(stopPoints), stopPoints[0])
	points[len(points)-1].name = "at deliver" // the tape runs while the test interferes
	points[len(points)-1].cold = false
	points[len(points)-1].stop = at(scsi.OpRead6, true)
	for i, p := range points {
		t.Run(p.name, func(t *testing.T) {
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel() // most of the time goes into waiting for the disk
					w := newWorld(t, oneDrive)
					log := w.logged()
					w.archived("f", old)
					if p.cold {
						w.restart()
					}
					n := w.node("f")
					f, err := n.Open(rootCred, openReadWrite)
					if err != nil {
						t.Fatal(err)
					}
					g := w.hold(p.stop)
					s := &scene{w: w, n: n, f: f, open: g.release, late: i == len(points)-1}
					s.wr = w.writeReq(f, woff, wdata).mustPark()
					s.rd = w.readReq(f, target, mib).mustPark()
					g.wait()
					if s.late {
						g.release()
					}
					may := c.do(t, s)
					w.quiet()
					if s.f != nil {
						s.f.Close()
						s.n.Release()
					}
					if may != nil {
						got := w.content("f")
						j := slices.IndexFunc(may, func(m []byte) bool { return bytes.Equal(m, got) })
						if j < 0 {
							t.Fatalf("the file has %d bytes, want %d; the first difference is at %d", len(got), len(may[0]), firstDifference(got, may[0]))
						}
						w.job(JobArchive, "/")
						w.job(JobEvict, "/")
						w.restart()
						w.wantContent("f", may[j])
					} else { // who has delivered it notes that down still
						eventually(t, "nothing of the cache is in use after the file is gone", func() bool { return w.fs.cache.Stats().UsedBytes == 0 })
					}
					w.close()
					if log.has("while slots are being read") {
						t.Error("a slot is still pinned")
					}
				})
			}
		})
	}
}
