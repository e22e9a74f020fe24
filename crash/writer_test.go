package crash

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	stderrors "errors"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend"
	"sliod/client9p"
)

// Flags of open(2).
const (
	readWrite = p9.OpenFlags(0o2)
	truncated = p9.OpenFlags(0o1000)
)

// writer loads the server through a connection of its own, in a directory of its
// own. What it knows outlives connections and servers.
type writer struct {
	no      int
	r       *rand.Rand
	seed    uint64 // of the next write's content
	inPlace []*inPlace
	swapped []*replaced
	counts  *counts

	// Of one connection:
	c    *client9p.Client
	root *client9p.Fid
	dir  *client9p.Fid
	ctl  *client9p.Fid
}

type counts struct{ ops, fsyncs, renames, jobs, reads atomic.Int64 }

func newWriter(no int, seed uint64, c *counts) *writer {
	w := &writer{no: no, r: rand.New(rand.NewPCG(seed, uint64(no))), seed: seed<<8 | uint64(no)<<48, counts: c}
	for i, max := range []int{3 << 20, 1200 << 10, 64 << 10} {
		w.inPlace = append(w.inPlace, &inPlace{name: fmt.Sprintf("f%d", i), max: max})
	}
	for i := range 2 {
		w.swapped = append(w.swapped, &replaced{name: fmt.Sprintf("r%d", i), writer: no, may: []uint64{0}})
	}
	return w
}

func (w *writer) path() string { return fmt.Sprintf("w%d", w.no) }

// connect begins a connection.
func (w *writer) connect(ctx context.Context, sock string) (err error) {
	if w.c, err = client9p.Dial(ctx, "unix", sock); err != nil {
		return err
	}
	if w.root, err = w.c.Attach(ctx, "root", 0, ""); err != nil {
		return err
	}
	if w.ctl, err = w.c.Attach(ctx, "root", 0, "ctl"); err != nil {
		return err
	}
	if _, err = w.root.Mkdir(ctx, w.path(), 0o755, client9p.NoGID); err != nil && !stderrors.Is(err, linux.EEXIST) {
		return err
	}
	w.dir, err = w.root.Walk(ctx, w.path())
	return err
}

func (w *writer) close() {
	if w.c != nil {
		_ = w.c.Close() // the server may be gone
		w.c = nil
	}
}

// readAll reads a file, nil if there is none.
func (w *writer) readAll(ctx context.Context, name string) ([]byte, error) {
	f, err := w.dir.Walk(ctx, name)
	if stderrors.Is(err, linux.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := f.Open(ctx, 0); err != nil {
		return nil, err
	}
	all := make([]byte, 0, 4<<20)
	for {
		n, err := f.Read(ctx, all[len(all):cap(all)], uint64(len(all)))
		if err == io.EOF {
			return all, f.Clunk(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("%s at %d: %w", name, len(all), err)
		}
		all = all[:len(all)+n]
	}
}

// verify compares all files with what a crash may have left.
func (w *writer) verify(ctx context.Context) error {
	for _, f := range w.inPlace {
		got, err := w.readAll(ctx, f.name)
		if err != nil {
			return err
		}
		if got == nil {
			if f.exists {
				return fmt.Errorf("%s is not there; an fsync has confirmed it", f.name)
			}
			*f = inPlace{name: f.name, max: f.max}
			continue
		}
		if !f.made {
			return fmt.Errorf("%s is there, and was never made", f.name)
		}
		if err := f.check(got); err != nil {
			return err
		}
	}
	for _, f := range w.swapped {
		got, err := w.readAll(ctx, f.name)
		if err == nil {
			err = f.check(got)
		}
		if err != nil {
			return err
		}
	}
	// What was to replace a file holds anything, but it can be read.
	_, err := w.readAll(ctx, "new")
	return err
}

// load does random operations until one fails.
func (w *writer) load(ctx context.Context, op func()) error {
	for {
		op()
		w.counts.ops.Add(1)
		var err error
		switch k := w.r.IntN(20); {
		case k < 9:
			err = w.change(ctx)
		case k < 13:
			err = w.replace(ctx)
		case k < 15:
			err = w.read(ctx)
		default:
			err = w.job(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// change writes to a file in place, cuts it, or makes it durable, a few times.
func (w *writer) change(ctx context.Context) error {
	f := w.inPlace[w.r.IntN(len(w.inPlace))]
	var fid *client9p.Fid
	var err error
	if f.exists || f.cur != nil {
		if fid, err = w.dir.Walk(ctx, f.name); err == nil {
			err = fid.Open(ctx, readWrite)
		}
	} else {
		f.made = true
		fid, err = w.dir.Create(ctx, f.name, readWrite, 0o644, client9p.NoGID)
		if err == nil {
			f.cur = []byte{}
		}
	}
	if err != nil {
		return err
	}
	for range 1 + w.r.IntN(4) {
		if w.r.IntN(8) == 0 {
			e := edit{off: w.r.IntN(f.max)}
			if w.r.IntN(4) == 0 {
				e.off = 0
			}
			f.sent(e)
			if err := fid.Truncate(ctx, uint64(e.off)); err != nil {
				return err
			}
			f.done(e)
			continue
		}
		off, n := w.r.IntN(f.max), 1+w.r.IntN(64<<10)
		if w.r.IntN(6) == 0 {
			off, n = off&^(1<<20-1), 1<<20
		}
		if w.r.IntN(4) == 0 {
			off = len(f.cur)
		}
		off = min(off, f.max-1)
		w.seed++
		p := pattern(w.seed, min(n, f.max-off))
		for len(p) > 0 {
			f.sent(edit{off: off, data: p})
			n, err := fid.Write(ctx, p, uint64(off))
			if err != nil {
				return err
			}
			f.done(edit{off: off, data: p[:n]})
			off, p = off+n, p[n:]
		}
	}
	if w.r.IntN(2) == 0 {
		if err := w.fsync(ctx, fid); err != nil {
			return err
		}
		f.synced()
	}
	return fid.Clunk(ctx)
}

// fsync has more to promise than its file: the catalog up to now.
func (w *writer) fsync(ctx context.Context, fid *client9p.Fid) error {
	if err := fid.Fsync(ctx, false); err != nil {
		return err
	}
	w.counts.fsyncs.Add(1)
	for _, f := range w.swapped {
		f.synced()
	}
	for _, f := range w.inPlace {
		f.exists = f.exists || f.cur != nil
	}
	return nil
}

// replace gives a file a new version the safe way, or removes it.
func (w *writer) replace(ctx context.Context) error {
	f := w.swapped[w.r.IntN(len(w.swapped))]
	if w.r.IntN(10) == 0 {
		f.may = append(f.may, 0)
		if err := w.dir.Unlink(ctx, f.name); err != nil && !stderrors.Is(err, linux.ENOENT) {
			return err
		}
		return nil
	}
	f.version++
	fid, err := w.dir.Create(ctx, "new", readWrite|truncated, 0o644, client9p.NoGID)
	if err != nil {
		return err
	}
	p := f.content(f.version)
	for off := 0; off < len(p); {
		n, err := fid.Write(ctx, p[off:], uint64(off))
		if err != nil {
			return err
		}
		off += n
	}
	if err := w.fsync(ctx, fid); err != nil {
		return err
	}
	f.may = append(f.may, f.version)
	if err := w.dir.Rename(ctx, "new", w.dir, f.name); err != nil {
		return err
	}
	w.counts.renames.Add(1)
	return fid.Clunk(ctx)
}

// read compares a part of a file in place.
func (w *writer) read(ctx context.Context) error {
	f := w.inPlace[w.r.IntN(len(w.inPlace))]
	if len(f.cur) == 0 {
		return nil
	}
	fid, err := w.dir.Walk(ctx, f.name)
	if err == nil {
		err = fid.Open(ctx, 0)
	}
	if err != nil {
		return err
	}
	off := w.r.IntN(len(f.cur))
	p := make([]byte, min(len(f.cur)-off, 300_000))
	n, err := fid.Read(ctx, p, uint64(off))
	if err != nil {
		return err
	}
	w.counts.reads.Add(1)
	for i := range p[:n] {
		if p[i] != f.cur[off+i] {
			return fmt.Errorf("%s: byte %d is %#02x, %#02x was written (%d bytes read at %d)", f.name, off+i, p[i], f.cur[off+i], n, off)
		}
	}
	return fid.Clunk(ctx)
}

// job starts an archive, an eviction or a recall, and does not wait for it.
func (w *writer) job(ctx context.Context) error {
	kind := []backend.JobKind{backend.JobArchive, backend.JobEvict, backend.JobEvict, backend.JobRecall}[w.r.IntN(4)]
	_, err := w.startJob(ctx, kind, w.path())
	return err
}

func (w *writer) startJob(ctx context.Context, kind backend.JobKind, path string) (string, error) {
	f, err := w.ctl.Walk(ctx, "jobs", "new")
	if err == nil {
		err = f.Open(ctx, readWrite)
	}
	if err != nil {
		return "", err
	}
	if _, err := f.Write(ctx, []byte(string(kind)+"\x00"+path+"\x00"), 0); err != nil {
		return "", err
	}
	w.counts.jobs.Add(1)
	id, err := f.ReadAll(ctx, 100)
	if err != nil {
		return "", err
	}
	id = []byte(strings.TrimSpace(string(id)))
	if _, err := strconv.Atoi(string(id)); err != nil {
		return "", err
	}
	return string(id), f.Clunk(ctx)
}

// finish waits for a job, and says how it ended.
func (w *writer) finish(ctx context.Context, kind backend.JobKind, path string) (string, error) {
	id, err := w.startJob(ctx, kind, path)
	if err != nil {
		return "", err
	}
	for {
		f, err := w.ctl.Walk(ctx, "jobs", id)
		if err == nil {
			err = f.Open(ctx, 0)
		}
		if err != nil {
			return "", err
		}
		text, err := f.ReadAll(ctx, 1<<20)
		if err != nil {
			return "", err
		}
		if err := f.Clunk(ctx); err != nil {
			return "", err
		}
		if !strings.Contains(string(text), `"running"`) {
			return string(text), nil
		}
		time.Sleep(5 * time.Millisecond) // the server needs the processor
	}
}
