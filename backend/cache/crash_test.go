package cache

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"

	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

const sector = 512

// power keeps what is on stable storage: a copy of each file with the pages that
// were synced.
type power struct {
	arena, slots []byte
}

func (w *power) watch(c *Cache) {
	for _, x := range []struct {
		d *disk
		b *[]byte
	}{{&c.st.arena, &w.arena}, {&c.st.slots, &w.slots}} {
		*x.b = bytes.Clone(x.d.mem)
		x.d.synced = func(off, n int64) { copy((*x.b)[off:off+n], x.d.mem[off:off+n]) }
	}
}

// cut writes to dir what a loss of power would leave: what was synced, and any of
// the other sectors.
func (w *power) cut(t *rapid.T, c *Cache, dir string) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mode := rapid.IntRange(0, 2).Draw(t, "unsynced sectors")
	seed := rapid.Uint64().Draw(t, "seed")
	for _, x := range []struct {
		d *disk
		b []byte
	}{{&c.st.arena, w.arena}, {&c.st.slots, w.slots}} {
		img := bytes.Clone(x.b)
		for i := 0; mode > 0 && i < len(img); i += pageSize {
			if bytes.Equal(img[i:i+pageSize], x.d.mem[i:i+pageSize]) {
				continue
			}
			for j := i; j < i+pageSize; j += sector {
				seed = seed*6364136223846793005 + 1442695040888963407
				if mode == 1 || seed>>63 == 1 {
					copy(img[j:j+sector], x.d.mem[j:j+sector])
				}
			}
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(x.d.name)), img, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// catRec is the catalog's record of a sliver.
type catRec struct {
	dirty bool
	ref   Ref
	idx   int // into hist: the content that the ref was synced with
	ver   sliver.Version
	tape  []byte
}

type crasher struct {
	t       *rapid.T
	c       *Cache
	w       power
	dir     string
	cat     map[sliver.Key]catRec
	durable map[sliver.Key]catRec
	hist    map[sliver.Key][][]byte // all contents, oldest first; nil is a hole
	synced  map[sliver.Version]int
	crashes int
	heads   int // that were read after a crash
	budget  int
	faults  map[sliver.Key]uint64
}

func (x *crasher) Fault(k sliver.Key, seq uint64)           { x.faults[k] = seq }
func (x *crasher) Unwanted(sliver.Key, uint64)              {}
func (x *crasher) Reclass(sliver.Key, uint64)               {}
func (x *crasher) Merged(sliver.Key, int, *vfs.Waiter, int) {}
func (x *crasher) Pressure()                                {}
func (x *crasher) catSync()                                 { x.durable = maps.Clone(x.cat) }
func (x *crasher) last(k sliver.Key) []byte {
	if h := x.hist[k]; len(h) > 0 {
		return h[len(h)-1]
	}
	return nil
}

// decide is what the backend does with a record that was found.
func decide(cat map[sliver.Key]catRec) func(SlotRecord) Verdict {
	return func(r SlotRecord) Verdict {
		d, ok := cat[r.Key]
		switch {
		case !ok:
			return Drop
		case d.dirty && d.ref.Slot == r.Slot && d.ref.Seq == r.Seq:
			return KeepDirty
		case r.Head && r.Len > len(d.tape):
			return Drop
		case !d.dirty && !r.Dirty && d.ver == r.Version:
			return KeepClean
		}
		return Drop
	}
}

// crash takes the power away, starts again on a copy, and checks every promise.
func (x *crasher) crash() {
	x.crashes++
	dir := fmt.Sprintf("%s.crash", x.dir)
	defer os.RemoveAll(dir)
	x.w.cut(x.t, x.c, dir)
	c, err := Open(Config{Dir: dir, SizeBytes: MinSizeBytes, Stub: x.c.heads.size})
	if err != nil {
		x.t.Fatalf("open after a crash: %v", err)
	}
	defer c.Close()
	rs, err := c.Recover(decide(x.durable))
	if err != nil || !rs.Unclean {
		x.t.Fatalf("recover after a crash: %+v %v", rs, err)
	}
	for k, d := range x.durable {
		var w req
		w.Waiter.Waker = &w
		if !d.dirty {
			r, err := c.Read(k, Behind{sliver.Absent, len(d.tape)}, 0, sliver.Size, &w.Waiter)
			if err == vfs.ErrParked { // dropped: it comes from tape
				if h, ok := c.ReadHead(k.File, d.ver, 0, sliver.Size); ok && k.No == 0 {
					if !bytes.HasPrefix(d.tape, h.Bytes) || len(h.Bytes) == 0 {
						x.t.Fatalf("the head of sliver %v is not the beginning of what is on tape", k)
					}
					x.heads++
					h.Release()
				}
				continue
			}
			if err != nil || !bytes.Equal(r.Bytes, d.tape) {
				x.t.Fatalf("clean sliver %v is not what is on tape (%v)", k, err)
			}
			r.Release()
			continue
		}
		if fl := c.files[k.File]; k.No == 0 && fl.head() != nil {
			x.t.Fatalf("file %d is dirty and has a head", k.File)
		}
		if s := c.State(k, Behind{}); s != sliver.Dirty {
			x.t.Fatalf("sliver %v, which only the cache has, is %v; ref %+v", k, s, d.ref)
		}
		c.Truncate(k, d.ref.Len)
		r, err := c.Read(k, Behind{}, 0, d.ref.Len, &w.Waiter)
		if err != nil || len(r.Bytes) != d.ref.Len {
			x.t.Fatalf("dirty sliver %v: %d bytes, want %d (%v)", k, len(r.Bytes), d.ref.Len, err)
		}
		later := x.hist[k][d.idx:]
	bytes:
		for i, b := range r.Bytes {
			for _, h := range later {
				if i < len(h) && h[i] == b {
					continue bytes
				}
			}
			x.t.Fatalf("sliver %v byte %d is %d: neither what was synced nor anything written since", k, i, b)
		}
		r.Release()
	}
}

func (x *crasher) maybe() {
	if x.budget > 0 && rapid.IntRange(0, 11).Draw(x.t, "crash") == 0 {
		x.budget--
		x.crash()
	}
}

func (x *crasher) behind(k sliver.Key) Behind {
	if d, ok := x.cat[k]; ok && !d.dirty {
		return Behind{sliver.Absent, len(d.tape)}
	}
	return Behind{State: sliver.Hole}
}

func (x *crasher) write(k sliver.Key, off int, p []byte) {
	old := x.last(k)
	now := make([]byte, max(len(old), off+len(p)))
	copy(now, old)
	copy(now[off:], p)
	x.hist[k] = append(x.hist[k], now)
	var w req
	w.Waiter.Waker = &w
	n, err := x.c.Write(k, x.behind(k), off, p, &w.Waiter)
	if err == vfs.ErrParked {
		d := x.cat[k]
		if derr := x.c.Deliver(k, x.faults[k], d.tape, d.ver, xxhash.Sum64(d.tape)); derr != nil || !w.done {
			if !x.c.Cancel(&w.Waiter) {
				x.t.Fatalf("deliver: %v", derr)
			}
			x.c.Fail(k, x.faults[k], derr)
			x.hist[k] = x.hist[k][:len(x.hist[k])-1]
			return
		}
		n, err = w.n, w.err
	}
	if err != nil || n != len(p) {
		x.t.Fatalf("write: %d %v", n, err)
	}
}

// archive archives k; then runs while it is being archived.
func (x *crasher) archive(k sliver.Key, then func()) {
	buf := make([]byte, sliver.Size)
	n, v, err := x.c.BeginArchive(k, buf)
	if err != nil {
		return
	}
	if !bytes.Equal(buf[:n], x.last(k)) {
		x.t.Fatalf("archived something else")
	}
	then()
	ok := x.c.ArchiveIs(k, v)
	if ok {
		x.cat[k] = catRec{ver: v, tape: buf[:n]}
		x.catSync()
	}
	x.c.EndArchive(k, v, xxhash.Sum64(buf[:n]), ok)
}

func TestPowerLoss(t *testing.T) {
	base := inMemory(t)
	round, heads := 0, 0
	defer func() {
		if t.Logf("%d runs, %d heads read after a crash", round, heads); heads == 0 && round >= 100 && !t.Failed() {
			t.Error("no head was ever read")
		}
	}()
	runs(t, func(rt *rapid.T) {
		round++
		x := &crasher{t: rt, dir: fmt.Sprintf("%s/%d", base, round), cat: map[sliver.Key]catRec{}, hist: map[sliver.Key][][]byte{},
			synced: map[sliver.Version]int{}, faults: map[sliver.Key]uint64{}, budget: 4}
		c, err := Open(Config{Dir: x.dir, SizeBytes: MinSizeBytes, Events: x, Stub: rapid.SampledFrom([]int{0, 4 << 10, 4 << 10, 16 << 10, 60 << 10, 1 << 20}).Draw(rt, "stub")})
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(x.dir)
		defer c.Close()
		x.c = c
		defer func() { heads += x.heads }()
		x.w.watch(c)
		for _, d := range []*disk{&c.st.arena, &c.st.slots} {
			d.fail = func(string, int64, int64) error { x.maybe(); return nil }
		}
		defer func() { x.budget = 0 }()
		fill := byte(0)
		key := func() sliver.Key {
			return sliver.Key{File: sliver.FileID(rapid.IntRange(2, 3).Draw(rt, "file")), No: sliver.No(rapid.IntRange(0, 2).Draw(rt, "no"))}
		}
		evicted := 0 // crashes after an eviction, when heads are all that there is
		sizes := []int{1, 600, 4096, 5000, 20000, 100000}
		for range rapid.IntRange(5, 60).Draw(rt, "steps") {
			x.maybe()
			k := key()
			switch rapid.IntRange(0, 11).Draw(rt, "op") {
			default:
				fill++
				off := rapid.SampledFrom([]int{0, 0, 10, 4000, 15000, 60000}).Draw(rt, "off")
				x.write(k, off, bytes.Repeat([]byte{fill}, rapid.SampledFrom(sizes).Draw(rt, "len")))
			case 3, 4:
				refs, err := c.SyncFile(k.File)
				if err != nil {
					rt.Fatal(err)
				}
				for _, r := range refs {
					if _, ok := x.synced[r.Version]; !ok {
						x.synced[r.Version] = len(x.hist[r.Key]) - 1
					}
					if d, ok := x.cat[r.Key]; ok && !d.dirty && r.Version <= d.ver {
						continue
					}
					x.cat[r.Key] = catRec{dirty: true, ref: r, idx: x.synced[r.Version]}
				}
				for _, no := range c.DirtySlivers(k.File) {
					if !x.cat[sliver.Key{File: k.File, No: no}].dirty {
						rt.Fatalf("SyncFile has left out sliver %d", no)
					}
				}
				if rapid.IntRange(0, 3).Draw(rt, "catalog synced") > 0 {
					x.catSync()
				}
				x.maybe()
				c.Committed(refs) // also before the catalog is synced
			case 5:
				x.archive(k, func() {
					if rapid.IntRange(0, 4).Draw(rt, "written meanwhile") == 0 {
						fill++
						x.write(k, 0, []byte{fill})
					}
				})
			case 10, 11:
				for no := range sliver.No(3) {
					x.archive(sliver.Key{File: k.File, No: no}, func() {})
				}
				c.EvictFile(k.File)
				if evicted < 3 && rapid.Bool().Draw(rt, "crash") {
					evicted++
					x.crash()
				}
			case 6:
				for no := k.No; no < 3; no++ {
					delete(x.cat, sliver.Key{File: k.File, No: no})
				}
				c.Drop(k.File, k.No)
				for no := k.No; no < 3; no++ {
					k := sliver.Key{File: k.File, No: no}
					x.hist[k] = append(x.hist[k], nil)
				}
			case 7:
				mark, _ := c.Quarantine()
				x.catSync()
				c.ReleaseQuarantine(mark)
			case 8:
				c.Evict(k)
			case 9:
				n := rapid.SampledFrom(sizes).Draw(rt, "cut to")
				if old := x.last(k); len(old) > n && c.State(k, x.behind(k)).Resident() {
					x.hist[k] = append(x.hist[k], bytes.Clone(old[:n]))
					c.Truncate(k, n)
				}
			}
		}
		x.crash()
	})
}
