package rebuild

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/hugelgupf/p9/p9"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"sliod/backend"
	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
	"sliod/tape"
	"sliod/tape/virtual"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mib = 1 << 20

var root = &vfs.Cred{}

// fataler is a testing.TB or a rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

// rig is an archive over a virtual library whose state can be thrown away.
type rig struct {
	t    fataler
	dir  string
	log  *logrus.Entry
	lib  *virtual.Library
	fs   *backend.FS
	opts backend.Options
	// hidden is a cartridge that the archive does not find.
	hidden tape.Barcode
}

// library is the virtual library without the hidden cartridge.
func (r *rig) library() *tape.Library {
	l := *r.lib.Tape()
	if r.hidden != "" {
		l.Changer = without{l.Changer, r.hidden}
	}
	return &l
}

func newRig(t fataler, dir string, change ...func(*virtual.Config)) *rig {
	t.Helper()
	l := logrus.New()
	l.SetOutput(io.Discard)
	if os.Getenv("REBUILD_LOG") != "" {
		l.SetOutput(os.Stderr)
	}
	r := &rig{t: t, dir: dir, log: logrus.NewEntry(l)}
	cfg := virtual.Config{Dir: filepath.Join(dir, "library"), Drives: 2, Slots: 8, Capacity: 64 * mib, Log: r.log}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if r.lib, err = virtual.Open(cfg); err != nil {
		t.Fatalf("%v", err)
	}
	r.opts = backend.Options{Dir: dir, Log: r.log, CacheBytes: 16 * mib, ArchiveIdle: 1, SyncInterval: 2 * time.Millisecond}
	r.opts.Mover.Log, r.opts.Mover.IndexIdle, r.opts.Mover.Linger = r.log, 1, time.Hour
	return r
}

func (r *rig) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("%+v", err)
	}
}

// end closes all.
func (r *rig) end() {
	r.close()
	r.ok(r.lib.Close())
}

func (r *rig) open() {
	r.t.Helper()
	o := r.opts
	o.Library = r.library()
	var err error
	r.fs, err = backend.Open(o)
	r.ok(err)
}

func (r *rig) close() {
	r.t.Helper()
	if r.fs != nil {
		r.ok(r.fs.Close(context.Background()))
		r.fs = nil
	}
}

// patience is how long a test waits for what must come. Nothing passes by it.
const patience = 5 * time.Minute

// settle returns when all that there is is on tape, removals and attributes too. The
// archive is closed then.
func (r *rig) settle() {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for linger := time.Millisecond; ; {
		begin := time.Now()
		if r.fs == nil {
			r.open()
		}
		id, err := r.fs.StartJob(backend.JobArchive, []string{"/"})
		r.ok(err)
		r.wait(id)
		time.Sleep(linger) // removals come to tape in the background
		if len(r.pending()) == 0 {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("not all came to tape within %v: %v", patience, r.pending())
		}
		linger = max(2*linger, time.Since(begin)/4) // where a round takes long, a mount does
	}
}

func (r *rig) wait(id uint64) backend.JobStatus {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		for _, j := range r.fs.Queue().Jobs {
			if j.ID == id && j.State != "running" {
				if j.State != "done" {
					r.t.Fatalf("%+v", j)
				}
				return j
			}
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("job %d does not end", id)
		}
		time.Sleep(time.Millisecond)
	}
}

func (r *rig) pending() (ids []sliver.FileID) {
	r.t.Helper()
	r.catalog(func(tx *catalog.Tx) error {
		return tx.Pending(func(id sliver.FileID) bool { ids = append(ids, id); return true })
	})
	return ids
}

func (r *rig) catalog(fn func(*catalog.Tx) error) {
	r.t.Helper()
	r.close()
	cat, err := catalog.Open(filepath.Join(r.dir, "catalog"), catalog.Options{Log: r.log})
	r.ok(err)
	err = cat.View(fn)
	if cerr := cat.Close(); err == nil {
		err = cerr
	}
	r.ok(err)
}

// forget throws the state away.
func (r *rig) forget() {
	r.t.Helper()
	r.close()
	for _, d := range []string{"catalog", "cache"} {
		r.ok(os.RemoveAll(filepath.Join(r.dir, d)))
	}
}

func (r *rig) options() Options {
	return Options{Dir: r.dir, Library: r.library(), Log: r.log, UID: 0, GID: 0, batch: 7}
}

func (r *rig) rebuild() *Report {
	r.t.Helper()
	rep, err := Run(context.Background(), r.options())
	r.ok(err)
	r.atHome()
	return rep
}

// atHome checks that no cartridge is left in a drive.
func (r *rig) atHome() {
	r.t.Helper()
	list, err := r.lib.Tape().Changer.Inventory(context.Background())
	r.ok(err)
	for _, e := range list {
		if e.Kind == tape.DriveElement && e.Full {
			r.t.Fatalf("cartridge %s was left in drive %s", e.Volume, e.Drive)
		}
	}
}

func (r *rig) node(path string) vfs.Node {
	r.t.Helper()
	n, err := r.fs.Attach(root, path)
	if err != nil {
		r.t.Fatalf("%s: %v", path, err)
	}
	return n
}

// in calls fn with the directory of a path and the last name.
func (r *rig) in(path string, fn func(dir vfs.Node, name string) error) {
	r.t.Helper()
	dir, name := filepath.Split(path)
	n := r.node(dir)
	defer n.Release()
	if err := fn(n, name); err != nil {
		r.t.Fatalf("%s: %v", path, err)
	}
}

func (r *rig) mkdir(path string) {
	r.t.Helper()
	r.in(path, func(d vfs.Node, name string) error { _, err := d.Mkdir(root, name, 0o750, 5); return err })
}

func (r *rig) rename(from, to string) {
	r.t.Helper()
	r.in(from, func(d vfs.Node, old string) error {
		dir, name := filepath.Split(to)
		n := r.node(dir)
		defer n.Release()
		return d.RenameAt(root, old, n, name)
	})
}

func (r *rig) remove(path string) {
	r.t.Helper()
	r.in(path, func(d vfs.Node, name string) error {
		n, err := d.Walk(root, name)
		if err != nil {
			return err
		}
		defer n.Release()
		return n.Remove(root)
	})
}

func (r *rig) link(path, to string) {
	r.t.Helper()
	r.in(to, func(d vfs.Node, name string) error {
		n := r.node(path)
		defer n.Release()
		return d.Link(root, n, name)
	})
}

type parked struct {
	vfs.Waiter
	woken chan struct{}
	n     int
	err   error
}

func newParked() *parked {
	w := &parked{woken: make(chan struct{})}
	w.Waker = w
	return w
}

func (w *parked) Wake(n int, err error) {
	w.n, w.err = n, err
	close(w.woken)
}

// write writes at off, and makes the file if need be.
func (r *rig) write(path string, off uint64, p []byte) {
	r.t.Helper()
	r.in(path, func(d vfs.Node, name string) error {
		n, f, err := d.Create(root, name, 2, 0o640, 7)
		if err != nil {
			return err
		}
		defer n.Release()
		defer f.Close()
		for len(p) > 0 {
			w := newParked()
			c, err := f.WriteAt(off, p, &w.Waiter)
			if err == vfs.ErrParked {
				<-w.woken
				c, err = w.n, w.err
			}
			if err != nil {
				return err
			}
			p, off = p[c:], off+uint64(c)
		}
		return nil
	})
}

func (r *rig) truncate(path string, size uint64) {
	r.t.Helper()
	n := r.node(path)
	defer n.Release()
	r.ok(n.Setattr(root, p9.SetAttrMask{Size: true}, p9.SetAttr{Size: size}, true))
}

func (r *rig) job(kind backend.JobKind, path string) {
	r.t.Helper()
	id, err := r.fs.StartJob(kind, []string{path})
	r.ok(err)
	r.wait(id)
}

// read returns a file's content, or the error of the first read that fails.
func (r *rig) read(path string) ([]byte, error) {
	r.t.Helper()
	n := r.node(path)
	defer n.Release()
	f, err := n.Open(root, 0)
	r.ok(err)
	defer f.Close()
	var all []byte
	for {
		w := newParked()
		d, err := f.ReadAt(uint64(len(all)), mib, &w.Waiter)
		if err == vfs.ErrParked {
			<-w.woken
			if w.err != nil {
				return all, w.err
			}
			continue
		}
		if err != nil {
			return all, err
		}
		if d.Len() == 0 {
			return all, nil
		}
		for s := &d; s != nil; s = s.More {
			all = append(append(all, s.Bytes...), make([]byte, s.Zeros)...)
		}
		d.Release()
	}
}

// snapshot describes the whole tree, a line for each path.
func (r *rig) snapshot() []string {
	r.t.Helper()
	if r.fs == nil {
		r.open()
	}
	var list []string
	var walk func(path string)
	walk = func(path string) {
		n := r.node(path)
		defer n.Release()
		a, err := n.Getattr(root)
		r.ok(err)
		line := fmt.Sprintf("%q id %d mode %o %d:%d nlink %d rdev %d size %d atime %d.%d mtime %d.%d ctime %d.%d", path, n.QID().Path,
			a.Mode, a.UID, a.GID, a.NLink, a.RDev, a.Size, a.ATimeSeconds, a.ATimeNanoSeconds, a.MTimeSeconds, a.MTimeNanoSeconds, a.CTimeSeconds, a.CTimeNanoSeconds)
		names, err := n.XattrList(root)
		r.ok(err)
		for _, x := range slices.Sorted(strings.SplitSeq(string(names), "\x00")) {
			if x != "" {
				v, err := n.Xattr(root, x)
				r.ok(err)
				line += fmt.Sprintf(" %s=%q", x, v)
			}
		}
		switch a.Mode & p9.FileMode(modeType) {
		case modeLink:
			to, err := n.Readlink(root)
			r.ok(err)
			line += " -> " + to
		case modeFile:
			b, err := r.read(path)
			if err != nil {
				line += " " + err.Error()
			}
			line += fmt.Sprintf(" %d bytes %016x", len(b), xxhash.Sum64(b))
		}
		list = append(list, line)
		if a.Mode&p9.FileMode(modeType) != modeDir {
			return
		}
		f, err := n.Open(root, 0)
		r.ok(err)
		var children []string
		r.ok(f.Readdir(2, func(d p9.Dirent) bool { children = append(children, d.Name); return true }))
		f.Close()
		slices.Sort(children)
		for _, c := range children {
			walk(strings.TrimSuffix(path, "/") + "/" + c)
		}
	}
	walk("/")
	return list
}

// same compares two snapshots.
func (r *rig) same(want, got []string) {
	r.t.Helper()
	if slices.Equal(want, got) {
		return
	}
	var b strings.Builder
	for _, l := range want {
		if !slices.Contains(got, l) {
			fmt.Fprintf(&b, "- %s\n", l)
		}
	}
	for _, l := range got {
		if !slices.Contains(want, l) {
			fmt.Fprintf(&b, "+ %s\n", l)
		}
	}
	r.t.Fatalf("the tree differs:\n%s", b.String())
}

// content is n bytes that a seed makes.
func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		seed = seed*6364136223846793005 + 1442695040888963407
		b[i] = byte(seed >> 56)
	}
	return b
}
