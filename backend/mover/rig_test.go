package mover

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"sliod/backend/cache"
	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
	"sliod/tape"
	"sliod/tape/virtual"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mib = 1 << 20

// setup says what a rig is made of.
type setup struct {
	drives, slots  int
	mail, cleaners int
	capacity       int64 // of a cartridge
	cache          int64
	cfg            Config
	ahead          int
	profile        string // of the drives
	speed          float64
	log            *logrus.Entry
	cartridge      string                      // "LTO-8" or so, "": LTO-9
	wrap           func(tape.Drive) tape.Drive // of each drive, if not nil
	arm            func(tape.Changer) tape.Changer
}

// patience is how long a test waits for what must come. Nothing passes by it.
const patience = 2 * time.Minute

// rig is a mover with everything around it.
type rig struct {
	*tree
	t   testing.TB
	dir string
	s   setup
	lib *virtual.Library
	up  bool
}

func newRig(t testing.TB, s setup) *rig {
	t.Helper()
	if s.drives == 0 {
		s.drives = 1
	}
	if s.slots == 0 {
		s.slots = 4
	}
	if s.capacity == 0 {
		s.capacity = 256 * mib
	}
	if s.cache == 0 {
		s.cache = 32 * mib
	}
	if s.cfg.Linger == 0 {
		s.cfg.Linger = time.Hour
	}
	if s.cfg.IndexIdle == 0 {
		s.cfg.IndexIdle = time.Nanosecond
	}
	l := logrus.New()
	l.SetOutput(io.Discard)
	if os.Getenv("MOVER_LOG") != "" {
		l.SetOutput(os.Stderr)
	}
	s.log = logrus.NewEntry(l)
	s.cfg.Log = s.log
	r := &rig{t: t, dir: t.TempDir(), s: s}
	r.start()
	t.Cleanup(func() {
		switch {
		case !r.up:
		case r.m.ctx.Err() != nil: // the test has cut it off
			r.crash()
		default:
			r.stop()
		}
	})
	return r
}

// openLibrary opens the library, which nobody has open.
func (r *rig) openLibrary() *virtual.Library {
	r.t.Helper()
	lib, err := virtual.Open(virtual.Config{
		Dir: filepath.Join(r.dir, "library"), Drives: r.s.drives, Slots: r.s.slots, Capacity: r.s.capacity, Profile: r.s.profile, Speed: r.s.speed, Log: r.s.log,
		ImportExport: r.s.mail, Cleaners: r.s.cleaners, Cartridge: r.s.cartridge,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return lib
}

// start opens all; what the tree knows is kept over a restart.
func (r *rig) start() {
	r.t.Helper()
	fatal := func(err error) {
		if err != nil {
			r.t.Helper()
			r.t.Fatal(err)
		}
	}
	r.lib = r.openLibrary()
	cat, err := catalog.Open(filepath.Join(r.dir, "catalog"), catalog.Options{Log: r.s.log})
	fatal(err)
	c, err := cache.Open(cache.Config{Dir: filepath.Join(r.dir, "cache"), SizeBytes: r.s.cache, Log: r.s.log})
	fatal(err)
	old := r.tree
	r.tree = newTree(r.t, cat, c)
	r.ahead = r.s.ahead
	if p := r.s.cfg.Pools; p != nil {
		r.to.Pool = p.Of("A00001L9")
	}
	if old != nil {
		r.like(old)
	}
	c.SetEvents(r.tree)
	_, err = c.Recover(func(cache.SlotRecord) cache.Verdict { return cache.Drop })
	fatal(err)
	lib := r.lib.Tape()
	if r.s.wrap != nil {
		drives := slices.Clone(lib.Drives)
		for i, d := range drives {
			drives[i] = r.s.wrap(d)
		}
		wrapped := *lib
		wrapped.Drives, wrapped.Speed, lib = drives, 0, &wrapped // what is around them may take its time
	}
	if r.s.arm != nil {
		armed := *lib
		armed.Changer, armed.Speed, lib = r.s.arm(lib.Changer), 0, &armed
	}
	r.m = New(r.s.cfg, lib, cat, c, r.tree)
	r.m.observer = make(chan struct{}, 1)
	c.OnSpaceFreed(r.m.SpaceFreed)
	fatal(r.m.Start(context.Background()))
	go r.archiver()
	r.up = true
}

// stop closes all in order.
func (r *rig) stop() {
	r.t.Helper()
	r.cache.WakeAll(io.ErrClosedPipe)
	if err := r.m.Close(); err != nil {
		r.t.Errorf("close the mover: %v", err)
	}
	r.closeRest()
}

func (r *rig) closeRest() {
	r.t.Helper()
	tr := r.tree
	tr.cache.SetEvents(quiet{})
	close(tr.pressed)
	<-tr.ended
	for _, f := range []func() error{r.cache.Close, r.cat.Close, r.lib.Close} {
		if err := f(); err != nil {
			r.t.Errorf("close: %v", err)
		}
	}
	r.up = false
}

// crash stops everything without writing an index.
func (r *rig) crash() {
	r.t.Helper()
	r.m.cancel()
	r.cache.WakeAll(io.ErrClosedPipe)
	_ = r.m.Close()
	r.closeRest()
}

// quiet are the events of a cache that is being closed.
type quiet struct{}

func (quiet) Fault(sliver.Key, uint64)                 {}
func (quiet) Unwanted(sliver.Key, uint64)              {}
func (quiet) Reclass(sliver.Key, uint64)               {}
func (quiet) Merged(sliver.Key, int, *vfs.Waiter, int) {}
func (quiet) Pressure()                                {}

// placeOfSliver returns the volume and the position of a sliver's first copy.
func (r *rig) placeOfSliver(k sliver.Key) (tape.Barcode, tape.Position) {
	r.t.Helper()
	rec := r.rec(k)
	if len(rec.Copies) == 0 {
		r.t.Fatalf("sliver %v has no copy", k)
	}
	return r.barcode(rec.Copies[0].Volume), placeOf(rec.Copies[0]).Position
}

func (r *rig) barcode(no catalog.VolumeNo) tape.Barcode {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	return r.m.volumes[no].barcode()
}

// eventually waits until the mover's status fits. It looks again when the mover
// says that something has changed.
func (r *rig) eventually(what string, ok func(Status) bool) {
	r.t.Helper()
	deadline := time.After(patience)
	for !ok(r.m.Status()) {
		select {
		case <-r.m.observer:
		case <-deadline:
			r.t.Fatalf("%s: not within %v: %+v", what, patience, r.m.Status())
		}
	}
}
