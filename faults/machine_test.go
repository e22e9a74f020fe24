package faults

import (
	"context"
	stderrors "errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"sliod/backend"
	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/backend/vfs"
	"sliod/tape"
	"sliod/tape/ltfs"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

const (
	mib       = 1 << 20
	blockSize = 512 << 10
	drives    = 2
	slots     = 6
)

// patience bounds each step. It is time of the bubble's clock: nothing else is left
// to do when it has passed. The longest that the drivers wait for a device is 2.5 h.
const patience = 48 * time.Hour

var root = &vfs.Cred{}

// machine is a server without its sockets: an archive with a library, in a directory
// that is its disk. It can be stopped and started again.
type machine struct {
	dir string
	log *logrus.Entry
	out *journal // the log, for a failure

	hook func(virtual.Event) // of the library, if set
	// library is what a drill wants other than usual; zero values are the usual ones.
	library virtual.Config
	// tune changes the archive's options, if set.
	tune func(*backend.Options)
	// catalog is the disk of the catalog, if set; logged is called before each write to its log.
	catalog *pebblevfs.MemFS
	logged  func()

	pools *pools // nil: one pool, in clear

	x   *injector // of this life
	lib *virtual.Library
	fs  *backend.FS
}

// journal is a log that is read while it is written.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func newMachine(dir string) *machine {
	l := logrus.New()
	m := &machine{dir: dir, out: new(journal)}
	l.SetOutput(m.out)
	m.log = logrus.NewEntry(l)
	return m
}

func (m *machine) libraryConfig() virtual.Config {
	c := m.library
	c.Dir, c.Log, c.Drives = filepath.Join(m.dir, "library"), m.log, drives
	if c.Slots == 0 {
		c.Slots = slots
	}
	if c.Capacity == 0 {
		c.Capacity = 96 * mib
	}
	return c
}

func (m *machine) options() backend.Options {
	o := backend.Options{
		Dir: filepath.Join(m.dir, "state"), Log: m.log, CacheBytes: 16 * mib, CacheStub: 4 << 10, ArchiveIdle: 5 * time.Minute, SyncInterval: time.Minute,
		Mover: mover.Config{Log: m.log, BlockSize: blockSize, BatchBytes: 4 * mib, ReadAhead: 2, IndexIdle: time.Second, Linger: 100 * time.Hour},
	}
	if m.catalog != nil {
		o.CatalogDisk = m.catalogDisk()
	}
	if m.pools != nil {
		o.Mover.Pools = m.pools
	}
	if m.tune != nil {
		m.tune(&o)
	}
	return o
}

// pools are what a machine has of pools and keys.
type pools struct {
	key    *tape.EncryptionKey // all is encrypted with it; nil: in clear
	shared bool                // all volumes come from the pool "scratch"
}

// Of implements mover.Pools.
func (p *pools) Of(b tape.Barcode) string {
	if p.shared && b != precious {
		return catalog.ScratchPool
	}
	return ""
}

// Source implements mover.Pools.
func (p *pools) Source(string) ltfs.KeySource {
	if p == nil || p.key == nil {
		return nil
	}
	return func(id string) (*tape.EncryptionKey, error) {
		if id != "" && id != p.key.ID {
			return nil, fmt.Errorf("there is no key %q", id)
		}
		return p.key, nil
	}
}

// catalogDisk is what the catalog is on; nil: the disk.
func (m *machine) catalogDisk() catalog.Disk {
	switch {
	case m.catalog == nil:
		return nil
	case m.logged == nil:
		return m.catalog
	}
	return watchedDisk{m.catalog, m.logged}
}

// start opens the library through x, and the archive. The error is one that an
// operator sees when the server does not come up.
func (m *machine) start(x *injector) error {
	m.x = x
	var err error
	if m.lib, err = virtual.Open(m.libraryConfig()); err != nil {
		return err
	}
	m.lib.Hook(m.hook)
	o := m.options()
	if o.Library, err = x.library(m.lib, drives); err == nil {
		m.fs, err = backend.Open(o)
	}
	if err != nil {
		m.fs = nil
		_ = m.lib.Close()
	}
	return err
}

// stop ends the life in good order. The error is of the way home of the volumes;
// everything is closed in any case.
func (m *machine) stop() error {
	if m.fs == nil {
		return nil
	}
	var err error
	within("close the archive", func() { err = m.fs.Close(context.Background()) })
	m.fs = nil
	if cerr := m.lib.Close(); cerr != nil {
		err = stderrors.Join(err, fmt.Errorf("close the library: %w", cerr))
	}
	return err
}

// within runs fn, and panics with all stacks if it does not come back.
func within(what string, fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		b := make([]byte, 1<<20)
		panic(fmt.Sprintf("faults: hung for %v: %s\n%s", patience, what, b[:runtime.Stack(b, true)]))
	}
}

// waiter is a parked request.
type waiter struct {
	vfs.Waiter
	woken chan struct{}
	n     int
	err   error
}

func newWaiter() *waiter {
	w := &waiter{woken: make(chan struct{})}
	w.Waker = w
	return w
}

// Wake implements vfs.Waker.
func (w *waiter) Wake(n int, err error) {
	w.n, w.err = n, err
	close(w.woken)
}

// answer waits for the answer to a parked request.
func (w *waiter) answer(what string) (int, error) {
	within(what, func() { <-w.woken })
	return w.n, w.err
}

// create makes a file with content, and syncs it. None of this needs the tape.
func (m *machine) create(path string, content []byte) error {
	dir, err := m.fs.Attach(root, filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Release()
	n, f, err := dir.Create(root, filepath.Base(path), p9.OpenFlags(unix.O_RDWR|unix.O_EXCL), 0o644, 0)
	if err != nil {
		return err
	}
	defer n.Release()
	defer f.Close()
	if _, err := m.writeAt(f, 0, content); err != nil {
		return err
	}
	return m.sync(f)
}

// writeAt writes all of p, and says how much was written before an error.
func (m *machine) writeAt(f vfs.File, off uint64, p []byte) (int, error) {
	done := 0
	for done < len(p) {
		w := newWaiter()
		n, err := f.WriteAt(off+uint64(done), p[done:], &w.Waiter)
		if stderrors.Is(err, vfs.ErrParked) {
			n, err = w.answer("a write")
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

func (m *machine) sync(f vfs.File) error {
	w := newWaiter()
	err := f.Fsync(false, &w.Waiter)
	if stderrors.Is(err, vfs.ErrParked) {
		_, err = w.answer("an fsync")
	}
	return err
}

// with opens path and calls fn.
func (m *machine) with(path string, fn func(vfs.File) error) error {
	n, err := m.fs.Attach(root, path)
	if err != nil {
		return err
	}
	defer n.Release()
	f, err := n.Open(root, p9.OpenFlags(unix.O_RDWR))
	if err != nil {
		return err
	}
	defer f.Close()
	return fn(f)
}

// read reads a whole file.
func (m *machine) read(path string) (all []byte, err error) {
	err = m.with(path, func(f vfs.File) error {
		for {
			w := newWaiter()
			d, err := f.ReadAt(uint64(len(all)), mib, &w.Waiter)
			if stderrors.Is(err, vfs.ErrParked) {
				if _, err := w.answer("a read of " + path); err != nil {
					return err
				}
				continue
			}
			if err != nil {
				return err
			}
			if d.Len() == 0 {
				d.Release()
				return nil
			}
			for s := &d; s != nil; s = s.More {
				all = append(append(all, s.Bytes...), make([]byte, s.Zeros)...)
			}
			d.Release()
		}
	})
	return all, err
}

// job runs a job of the operator's to its end.
func (m *machine) job(kind backend.JobKind, paths ...string) error {
	id, err := m.fs.StartJob(kind, paths)
	if err != nil {
		return err
	}
	var s backend.JobStatus
	within(fmt.Sprintf("%s %v", kind, paths), func() {
		// Of the bubble's clock, which a drive may have hours to wait for.
		pause := 10 * time.Millisecond
		for s, _ = m.fs.Job(id); s.State == "running"; s, _ = m.fs.Job(id) {
			time.Sleep(pause)
			pause = min(2*pause, time.Minute)
		}
	})
	if s.State != "done" {
		return fmt.Errorf("%s %v: %d of %d files failed: %s", kind, paths, s.Failed, s.Files, strings.Join(s.Errors, "; "))
	}
	return nil
}

// isEIO says whether a client sees err as an I/O error.
func isEIO(err error) bool { return stderrors.Is(err, linux.EIO) }

// health is what an operator sees of the library after something went wrong.
type health struct {
	failedDrives int
	suspect      []string // volumes
	errors       []string
}

func (m *machine) health() health {
	var h health
	for _, d := range m.fs.Drives() {
		if d.State == "failed" {
			h.failedDrives++
		}
	}
	for _, v := range m.fs.Volumes() {
		if v.State == "suspect" || v.State == "read-only" {
			h.suspect = append(h.suspect, v.Barcode)
		}
	}
	for _, e := range m.fs.Queue().Errors {
		h.errors = append(h.errors, e.Op+": "+e.Message)
	}
	return h
}

func (h *health) join(o health) {
	h.failedDrives = max(h.failedDrives, o.failedDrives)
	for _, v := range o.suspect {
		if !slices.Contains(h.suspect, v) {
			h.suspect = append(h.suspect, v)
		}
	}
	h.errors = append(h.errors, o.errors...)
}

// precious is the cartridge that the library has from somebody else. It is the first
// that the mover would take as a scratch volume.
const precious = "A00001L9"

// addForeign writes something to the first cartridge of a new library: nothing that
// ever happens may have it overwritten.
func (m *machine) addForeign() error {
	lib, err := virtual.Open(m.libraryConfig())
	if err != nil {
		return err
	}
	defer lib.Close()
	return onVolume(lib, precious, func(d *scsi.Drive) error {
		ctx := context.Background()
		if err := d.WriteBlock(ctx, []byte("precious")); err != nil {
			return err
		}
		return d.WriteFilemarks(ctx, 1)
	})
}
