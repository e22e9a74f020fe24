package cache

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/hugelgupf/p9/linux"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// req is a parked request of a test.
type req struct {
	vfs.Waiter
	k      sliver.Key
	off    int
	data   []byte // nil for a read
	n      int
	done   bool
	err    error
	wakes  int
	merged int // bytes that Merged reported
}

func (r *req) Wake(n int, err error) { r.n, r.err, r.done = n, err, true; r.wakes++ }

// model is what the cache should hold, as plain bytes.
type model struct {
	t      interface{ Fatalf(string, ...any) }
	c      *Cache
	cur    map[sliver.Key][]byte         // acknowledged content
	tape   map[sliver.Key][]byte         // what the catalog says is on tape
	ver    map[sliver.Key]sliver.Version // of what is on tape; 1 if there is none
	faults map[sliver.Key]uint64
	reqs   []*req
	gone   map[sliver.Key]uint64 // fault numbers that are over
	arch   map[sliver.Key]archived
	// torn are bytes of cur that a failed write may have changed, until they are seen.
	torn map[sliver.Key][]bool
	bad  bool // the disk fails now and then

	headReads int
}

type archived struct {
	v    sliver.Version
	data []byte
}

func (m *model) Fault(k sliver.Key, seq uint64) { m.faults[k] = seq }
func (m *model) Unwanted(sliver.Key, uint64)    {}
func (m *model) Reclass(sliver.Key, uint64)     {}
func (m *model) Pressure()                      {}
func (m *model) Merged(k sliver.Key, end int, w *vfs.Waiter, n int) {
	for _, r := range m.reqs {
		if &r.Waiter == w {
			if r.done {
				m.t.Fatalf("Merged of %v after the wake", k)
			}
			r.merged = n
			if k != r.k || end != r.off+n || n < 1 || n > len(r.data) {
				m.t.Fatalf("Merged(%v, %d, n=%d) for a write of %d bytes at %d of %v", k, end, n, len(r.data), r.off, r.k)
			}
			m.apply(k, r.off, r.data[:n])
			return
		}
	}
	m.t.Fatalf("Merged for an unknown waiter")
}

func (m *model) apply(k sliver.Key, off int, p []byte) {
	cur := m.cur[k]
	if n := off + len(p); n > len(cur) {
		cur = append(bytes.Clone(cur), make([]byte, n-len(cur))...)
	} else {
		cur = bytes.Clone(cur)
	}
	copy(cur[off:], p)
	m.cur[k] = cur
	m.mend(k, off, off+len(p))
}

// behind is what the catalog would say.
func (m *model) behind(k sliver.Key) Behind {
	if t, ok := m.tape[k]; ok {
		return Behind{sliver.Absent, len(t)}
	}
	return Behind{State: sliver.Hole}
}

func (m *model) read(k sliver.Key, off, n int) {
	r := &req{k: k, off: off}
	r.Waiter.Waker = r
	d, err := m.c.Read(k, m.behind(k), off, n, &r.Waiter)
	if err == vfs.ErrParked {
		m.reqs = append(m.reqs, r)
		return
	}
	if err != nil {
		m.t.Fatalf("read %v: %v", k, err)
	}
	m.compare(k, off, n, d)
	d.Release()
}

func (m *model) compare(k sliver.Key, off, n int, d vfs.Data) {
	if d.Len() != n {
		m.t.Fatalf("read %v [%d,+%d): %d bytes", k, off, n, d.Len())
	}
	want := make([]byte, n)
	got := append(bytes.Clone(d.Bytes), make([]byte, d.Zeros)...)
	m.seen(k, off, got)
	if cur := m.cur[k]; off < len(cur) {
		copy(want, cur[off:])
	}
	if !bytes.Equal(got, want) {
		i := 0
		for got[i] == want[i] {
			i++
		}
		m.t.Fatalf("read %v [%d,+%d): byte %d is %d, want %d (state %v)", k, off, n, off+i, got[i], want[i], m.c.State(k, m.behind(k)))
	}
}

// tear notes that a write has failed: the bytes that the sliver has there may be anything,
// but it is no longer than it was.
func (m *model) tear(k sliver.Key, off, n int) {
	if m.torn[k] == nil {
		m.torn[k] = make([]bool, sliver.Size)
	}
	for i := off; i < min(off+n, len(m.cur[k])); i++ {
		m.torn[k][i] = true
	}
}

// mend says that the bytes from off to end are known again.
func (m *model) mend(k sliver.Key, off, end int) {
	if t := m.torn[k]; t != nil {
		clear(t[off:end])
	}
}

// seen takes torn bytes for what they are from now on.
func (m *model) seen(k sliver.Key, off int, p []byte) {
	t := m.torn[k]
	if t == nil {
		return
	}
	cur := bytes.Clone(m.cur[k])
	for i := off; i < min(off+len(p), len(cur)); i++ {
		if t[i] {
			cur[i] = p[i-off]
		}
	}
	m.cur[k] = cur
	m.mend(k, off, off+len(p))
}

func (m *model) write(k sliver.Key, off int, p []byte) {
	resident := m.c.State(k, m.behind(k)).Resident()
	r := &req{k: k, off: off, data: p}
	r.Waiter.Waker = r
	m.reqs = append(m.reqs, r)
	n, err := m.c.Write(k, m.behind(k), off, p, &r.Waiter)
	switch {
	case err == vfs.ErrParked:
		return
	case err != nil && m.bad:
		if n != 0 {
			m.t.Fatalf("write %v: %d, %v", k, n, err)
		}
		if resident {
			m.tear(k, off, len(p))
		}
		m.reqs = m.reqs[:len(m.reqs)-1]
		return
	case err != nil:
		m.t.Fatalf("write %v: %v", k, err)
	case n != len(p):
		m.t.Fatalf("write %v of %d bytes returned %d", k, len(p), n)
	}
	m.reqs = m.reqs[:len(m.reqs)-1]
	m.apply(k, off, p)
}

// reap checks and forgets the requests that were woken.
func (m *model) reap() {
	var rest []*req
	for _, r := range m.reqs {
		switch {
		case !r.done:
			rest = append(rest, r)
		case r.wakes != 1:
			m.t.Fatalf("woken %d times", r.wakes)
		case r.data != nil && r.err == nil && (r.n < 1 || r.merged != r.n):
			m.t.Fatalf("write woken with %d, merged %d", r.n, r.merged)
		case r.err != nil && r.merged != 0:
			m.t.Fatalf("write merged and failed with %v", r.err)
		case r.err != nil && r.data != nil && r.Kind != kindStaged:
			m.tear(r.k, r.off, r.N)
		}
	}
	m.reqs = rest
}

// check compares all that can be read without tape, and the counters.
func (m *model) check() {
	m.reap()
	c := m.c
	c.mu.Lock()
	var used, quar, heads int64
	for i := range c.chunks {
		ch := &c.chunks[i]
		n, clean, kept := 0, 0, 0
		for _, s := range ch.slots {
			if s == nil {
				continue
			}
			n++
			used += int64(s.class.size())
			switch {
			case s.e == nil || s.e.queue == nil:
			case s.e.queue == &c.heads.queue:
				kept++
				heads += int64(s.class.size())
			default:
				clean++
			}
			if s.refs.Load() < 1 {
				m.t.Fatalf("slot with %d references", s.refs.Load())
			}
		}
		if ch.slots != nil && (n != int(ch.used) || kept != int(ch.kept) || ch.class != classWhole && clean != int(ch.clean)) {
			m.t.Fatalf("chunk %d: used %d counted %d, clean %d counted %d, kept %d counted %d", i, ch.used, n, ch.clean, clean, ch.kept, kept)
		}
	}
	for _, q := range c.quar {
		quar += int64(q.s.class.size())
	}
	if heads != c.heads.held {
		m.t.Fatalf("heads hold %d bytes, counted %d", c.heads.held, heads)
	}
	if used != c.stats.UsedBytes || quar != c.stats.QuarantinedBytes {
		m.t.Fatalf("used %d counted %d, quarantined %d counted %d", c.stats.UsedBytes, used, c.stats.QuarantinedBytes, quar)
	}
	if len(c.parked) != len(m.reqs) {
		m.t.Fatalf("%d requests parked in the cache, %d known", len(c.parked), len(m.reqs))
	}
	if len(c.retrying) != 0 || int(c.spaceLen.Load()) != c.space.Len() {
		m.t.Fatalf("retrying %d, space %d/%d", len(c.retrying), c.spaceLen.Load(), c.space.Len())
	}
	for id, f := range c.files {
		var d, cl, fa int
		var b int64
		for _, e := range f.slivers {
			if e.isHead() {
				m.checkHead(e)
				continue
			}
			switch e.state {
			case sliver.Dirty, sliver.Archiving:
				d, b = d+1, b+int64(e.len)
			case sliver.Clean:
				cl, b = cl+1, b+int64(e.len)
			case sliver.Faulting:
				fa++
				if e.seq == 0 || e.copying != 0 || e.filling {
					m.t.Fatalf("fault of %v is left without an end", e.key)
				}
			default:
				m.t.Fatalf("entry in state %v", e.state)
			}
		}
		if d != f.dirty || cl != f.clean || fa != f.faulting || b != f.bytes {
			m.t.Fatalf("file %d: counters are wrong", id)
		}
	}
	c.mu.Unlock()
	for k := range m.cur {
		if st := c.State(k, m.behind(k)); st.Resident() {
			m.read(k, 0, sliver.Size)
		}
		if d, ok := c.ReadHead(k.File, m.version(k), 0, sliver.Size); ok && k.No == 0 {
			m.compare(k, 0, d.Len(), d)
			d.Release()
			m.headReads++
		}
	}
}

// checkHead says what an entry that is a head must be. The cache's lock is held.
func (m *model) checkHead(h *entry) {
	k := h.sliver()
	first := h.file.slivers[0]
	_, onTape := m.tape[k]
	switch {
	case h.state != sliver.Clean || h.queue != &m.c.heads.queue || h.len == 0 || h.len > m.c.heads.size:
		m.t.Fatalf("head of file %d: %v, %d bytes", k.File, h.state, h.len)
	case !onTape:
		m.t.Fatalf("file %d has a head and nothing on tape", k.File)
	case first != nil && first.state != sliver.Clean && first.state != sliver.Faulting:
		m.t.Fatalf("file %d has a head, and its sliver is %v", k.File, first.state)
	}
}

func (m *model) version(k sliver.Key) sliver.Version {
	if v, ok := m.ver[k]; ok {
		return v
	}
	return 1
}

func newModel(t interface{ Fatalf(string, ...any) }, c *Cache) *model {
	m := &model{t: t, c: c, cur: map[sliver.Key][]byte{}, tape: map[sliver.Key][]byte{}, ver: map[sliver.Key]sliver.Version{},
		faults: map[sliver.Key]uint64{}, gone: map[sliver.Key]uint64{}, arch: map[sliver.Key]archived{}, torn: map[sliver.Key][]bool{}}
	c.SetEvents(m)
	return m
}

// deliver ends a fault with what is on tape.
func (m *model) deliver(k sliver.Key) error {
	seq := m.faults[k]
	t := m.tape[k]
	if alive, _, _ := m.c.FaultWanted(k, seq); !alive {
		if err := m.c.Deliver(k, seq, bytes.Repeat([]byte{0xEE}, sliver.Size), 1, 1); err != ErrStale {
			m.t.Fatalf("delivery of an old fault: %v", err)
		}
		delete(m.faults, k)
		return ErrStale
	}
	return m.c.Deliver(k, seq, t, m.version(k), xxhash.Sum64(t))
}

func (m *model) archive(k sliver.Key, end bool) {
	buf := make([]byte, sliver.Size)
	n, v, err := m.c.BeginArchive(k, buf)
	if err != nil {
		return
	}
	m.reap()
	m.seen(k, 0, buf[:n])
	if n > len(m.cur[k]) || !bytes.Equal(buf[:n], m.cur[k][:n]) || n != len(m.cur[k]) {
		m.t.Fatalf("archived %d bytes of %v, not the content of %d bytes", n, k, len(m.cur[k]))
	}
	m.arch[k] = archived{v, buf[:n]}
	if end {
		m.endArchive(k, true)
	}
}

func (m *model) endArchive(k sliver.Key, ok bool) {
	a, have := m.arch[k]
	if !have {
		return
	}
	delete(m.arch, k)
	if ok = ok && m.c.ArchiveIs(k, a.v); ok {
		m.tape[k], m.ver[k] = a.data, a.v
	}
	if m.c.EndArchive(k, a.v, xxhash.Sum64(a.data), ok) != ok {
		m.t.Fatalf("EndArchive of %v: not %v", k, ok)
	}
}

func TestModel(t *testing.T) { testModel(t, false) }

// A disk that fails changes nothing but the bytes that could not be written, and not the
// length: what was acknowledged is there, and nobody waits for ever.
func TestModelBadDisk(t *testing.T) { testModel(t, true) }

// fails has writes and syncs fail now and then. A write has torn a part of its place by then.
func fails(c *Cache, r *rand.Rand) {
	for _, d := range []*disk{&c.st.arena, &c.st.slots} {
		d.fail = func(op string, off, n int64) error {
			if r.IntN(16) > 0 {
				return nil
			}
			if op == "write" {
				if err := d.put(bytes.Repeat([]byte{0xBD}, r.IntN(int(n)+1)), off); err != nil {
					return err
				}
			}
			return []error{unix.EIO, unix.ENOSPC}[r.IntN(2)]
		}
	}
}

// inMemory is a folder in memory, if there is one: where what a test looks for does not hang on
// the disk, it need not wait for it.
func inMemory(t *testing.T) string {
	if _, err := os.Stat("/dev/shm"); err != nil {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "sliod-cache")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// runs is how many runs of a random test there are, if -rapid.checks does not say: all of them
// would take minutes with the rules checked; and the race detector finds nothing in one goroutine.
func runs(t *testing.T, run func(rt *rapid.T)) {
	left := math.MaxInt
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		switch {
		case raceDetector:
			left = 3
		case invariants:
			left = 25
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		if left--; left >= 0 || t.Failed() {
			run(rt)
		}
	})
}

func testModel(t *testing.T, bad bool) {
	dir := inMemory(t)
	round, headReads := 0, 0
	defer func() {
		if t.Logf("%d runs, %d reads from heads", round, headReads); headReads == 0 && round >= 100 && !t.Failed() {
			t.Error("no head was ever read")
		}
	}()
	runs(t, func(rt *rapid.T) {
		round++
		d := fmt.Sprintf("%s/%d", dir, round)
		c, err := Open(Config{Dir: d, SizeBytes: MinSizeBytes, HighWater: 1, LowWater: 1, Stub: rapid.SampledFrom(StubSizes()).Draw(rt, "stub")})
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(d)
		defer c.Close()
		m := newModel(rt, c)
		defer func() { headReads += m.headReads }()
		if m.bad = bad; bad {
			seed := rapid.Uint64().Draw(rt, "disk")
			fails(c, rand.New(rand.NewPCG(seed, 0)))
			defer func() { c.st.arena.fail, c.st.slots.fail = nil, nil }()
		}
		var hold []*vfs.Data
		defer func() {
			for _, d := range hold {
				d.Release()
			}
		}()
		// Enough of the arena is taken that it fills.
		for i := range rapid.IntRange(0, 14).Draw(rt, "taken") {
			m.write(sliver.Key{File: 99, No: sliver.No(i)}, 0, bytes.Repeat([]byte{9}, 300<<10))
		}
		// Most slivers begin on tape, some in the cache as well.
		for f := sliver.FileID(2); f < 5; f++ {
			for no := sliver.No(0); no < 3; no++ {
				k := sliver.Key{File: f, No: no}
				n := rapid.SampledFrom([]int{0, 1, 3000, 4096, 30000, 200000, 1 << 20}).Draw(rt, "on tape")
				if n == 0 {
					continue
				}
				p := bytes.Repeat([]byte{0x80 + byte(f)<<2 + byte(no)}, n)
				m.tape[k], m.cur[k] = p, p
				if rapid.Bool().Draw(rt, "cached") {
					if _, ok := c.Want(k, m.behind(k), vfs.Client); ok {
						m.deliver(k)
					}
				}
			}
		}
		key := rapid.Custom(func(t *rapid.T) sliver.Key {
			return sliver.Key{File: sliver.FileID(rapid.IntRange(2, 4).Draw(t, "file")), No: sliver.No(rapid.IntRange(0, 2).Draw(t, "no"))}
		})
		place := rapid.SampledFrom([]int{0, 1, 100, 600, 4000, 4096, 5000, 16384, 20000, 61440, 70000, 258048, 300000, 1<<20 - 1})
		fill := byte(0)
		data := func(rt *rapid.T, off int) []byte {
			fill++
			n := min(rapid.SampledFrom([]int{1, 100, 512, 600, 4096, 5000, 20000, 100000, 1 << 20}).Draw(rt, "len"), sliver.Size-off)
			p := bytes.Repeat([]byte{fill}, n)
			p[0] = fill + 1
			return p
		}
		rt.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { m.check() },
			"read": func(rt *rapid.T) {
				k, off := key.Draw(rt, "k"), place.Draw(rt, "off")
				m.read(k, off, min(10000, sliver.Size-off))
			},
			"write":  func(rt *rapid.T) { k, off := key.Draw(rt, "k"), place.Draw(rt, "off"); m.write(k, off, data(rt, off)) },
			"write2": func(rt *rapid.T) { k, off := key.Draw(rt, "k"), place.Draw(rt, "off"); m.write(k, off, data(rt, off)) },
			"want":   func(rt *rapid.T) { k := key.Draw(rt, "k"); c.Want(k, m.behind(k), vfs.Client) },
			"deliver": func(rt *rapid.T) {
				k := key.Draw(rt, "k")
				if m.faults[k] != 0 {
					m.deliver(k)
				}
			},
			"reserve": func(rt *rapid.T) { k := key.Draw(rt, "k"); c.Reserve(k, m.faults[k]) },
			"fail": func(rt *rapid.T) {
				k := key.Draw(rt, "k")
				seq := m.faults[k]
				alive, _, _ := c.FaultWanted(k, seq)
				c.Fail(k, seq, linux.EIO)
				for _, r := range m.reqs {
					if alive && r.k == k && r.done && r.err != linux.EIO {
						rt.Fatalf("waiter of a failed fault got %v", r.err)
					}
				}
				if s := c.State(k, m.behind(k)); alive && s != sliver.Absent {
					rt.Fatalf("after a failed fault: %v", s)
				}
			},
			"dropfault": func(rt *rapid.T) { k := key.Draw(rt, "k"); c.DropFault(k, m.faults[k]) },
			"cancel": func(rt *rapid.T) {
				if len(m.reqs) == 0 {
					return
				}
				i := rapid.IntRange(0, len(m.reqs)-1).Draw(rt, "which")
				r := m.reqs[i]
				if !c.Cancel(&r.Waiter) || r.done {
					rt.Fatal("a parked request could not be cancelled")
				}
				m.reqs = append(m.reqs[:i:i], m.reqs[i+1:]...)
			},
			"truncate": func(rt *rapid.T) {
				k, n := key.Draw(rt, "k"), place.Draw(rt, "n")
				if n == 0 {
					return
				}
				m.mend(k, n, sliver.Size)
				if len(m.cur[k]) > n {
					m.cur[k] = bytes.Clone(m.cur[k][:n])
				}
				if t := m.tape[k]; len(t) > n {
					m.tape[k] = t[:n]
				}
				c.Truncate(k, n)
			},
			"drop": func(rt *rapid.T) {
				k := key.Draw(rt, "k")
				for no := k.No; no < 3; no++ {
					k := sliver.Key{File: k.File, No: no}
					delete(m.cur, k)
					delete(m.torn, k)
					delete(m.tape, k)
				}
				c.Drop(k.File, k.No)
			},
			"evict":     func(rt *rapid.T) { c.Evict(key.Draw(rt, "k")) },
			"evictfile": func(rt *rapid.T) { c.EvictFile(key.Draw(rt, "k").File) },
			"pin":       func(rt *rapid.T) { pin(c, key.Draw(rt, "k").File, rapid.Bool().Draw(rt, "on")) },
			"archive":   func(rt *rapid.T) { m.archive(key.Draw(rt, "k"), true) },
			"begin":     func(rt *rapid.T) { m.archive(key.Draw(rt, "k"), false) },
			"end":       func(rt *rapid.T) { m.endArchive(key.Draw(rt, "k"), rapid.Bool().Draw(rt, "ok")) },
			"sync": func(rt *rapid.T) {
				refs, err := c.SyncFile(key.Draw(rt, "k").File)
				if err != nil && bad {
					return
				}
				if err != nil {
					rt.Fatal(err)
				}
				if rapid.Bool().Draw(rt, "commit") {
					c.Committed(refs)
				}
			},
			"release": func(rt *rapid.T) { mark, _ := c.Quarantine(); c.ReleaseQuarantine(mark) },
			"hold": func(rt *rapid.T) {
				k := key.Draw(rt, "k")
				if c.State(k, m.behind(k)).Resident() && len(hold) < 3 {
					d, _ := c.Read(k, m.behind(k), 0, sliver.Size, nil)
					hold = append(hold, &d)
				}
			},
			"unhold": func(rt *rapid.T) {
				if len(hold) > 0 {
					hold[0].Release()
					hold = hold[1:]
				}
			},
		})
		// In the end everybody gets an answer: the mover archives, releases, delivers.
		for i := 0; len(m.reqs) > 0; i++ {
			if i > 200 {
				rt.Fatalf("%d requests wait for ever; stats %+v", len(m.reqs), c.Stats())
			}
			for _, d := range hold {
				d.Release()
			}
			hold = nil
			for _, f := range c.DirtyFiles() {
				c.Unpin(f)
				for _, no := range c.DirtySlivers(f) {
					k := sliver.Key{File: f, No: no}
					m.endArchive(k, true)
					m.archive(k, true)
				}
			}
			for f := sliver.FileID(2); f < 5; f++ {
				c.Unpin(f)
			}
			mark, _ := c.Quarantine()
			c.ReleaseQuarantine(mark)
			for k := range m.faults {
				m.deliver(k)
			}
			m.check()
		}
	})
}
