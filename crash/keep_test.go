package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	stderrors "errors"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/sirupsen/logrus"

	"sliod/backend"
	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/backend/policy"
	"sliod/client9p"
	"sliod/tape"
	"sliod/tape/virtual"
)

// keeping is something that keeps data alive, which the server does by itself or is told to.
type keeping struct {
	name string
	// copies is on how many volumes the rule has files before, and when it is done.
	before, copies int
	remove         int  // of the files, before
	bad            bool // the first copy of a file cannot be read
	again          bool // the volume does not tell whether it was begun
	// begin has it done; over says whether it is done, or why not yet.
	begin func(ctx context.Context, k *kept) error
	over  func(v *backend.VolumeInfo) bool // of the volume that has the files before
}

var keepings = []keeping{
	{name: "reclaim", before: 1, copies: 1, remove: 5, over: isScratch, begin: func(ctx context.Context, k *kept) error {
		return k.job(ctx, backend.JobReclaim, k.volume)
	}},
	{name: "second copies", again: true, before: 1, copies: 2, over: func(*backend.VolumeInfo) bool { return true }, begin: func(ctx context.Context, k *kept) error {
		return k.job(ctx, backend.JobArchive, "/")
	}},
	{name: "repair", again: true, before: 2, copies: 2, bad: true, over: func(v *backend.VolumeInfo) bool { return v.BadCopies == 0 }, begin: func(ctx context.Context, k *kept) error {
		_ = k.job(ctx, backend.JobVerify, "volume="+k.volume) // it finds the bad copy, and fails, unless that was replaced
		return nil
	}},
	{name: "evacuation", before: 1, copies: 1, over: func(v *backend.VolumeInfo) bool { return v.State == "suspect" && v.UsedBytes == 0 }, begin: func(ctx context.Context, k *kept) error {
		return k.job(ctx, backend.JobVolumesSet, k.volume, "suspect")
	}},
}

func isScratch(v *backend.VolumeInfo) bool { return v.State == "scratch" }

const keptFiles, keptSize = 10, 700_001

func keptName(i int) string { return fmt.Sprintf("f%02d", i) }

// TestCrashKeeping kills the server at each write to a tape and each write to the catalog's log while it empties a volume,
// makes further copies, replaces a bad copy, or copies a suspect volume away; before the write or after it. The server
// is started again: all files are there, what was begun comes to its end, and then the files are there still, when
// everything in the cache was evicted and scratch volumes were formatted and written.
// SLIOD_CRASH_KEEPING=N does N of these, all does all.
func TestCrashKeeping(t *testing.T) {
	n, whole := 16, false
	switch s := os.Getenv("SLIOD_CRASH_KEEPING"); s {
	case "":
	case "all":
		whole = true
	default:
		n = int(number(t, "SLIOD_CRASH_KEEPING", 0))
	}
	if testing.Short() {
		n /= 4
	}
	seed := number(t, "SLIOD_CRASH_SEED", rand.Uint64()>>16)
	t.Logf("SLIOD_CRASH_KEEPING=%d SLIOD_CRASH_SEED=%d", n, seed)
	r := rand.New(rand.NewPCG(seed, 7))
	for i := range keepings {
		k := &keepings[i]
		t.Run(k.name, func(t *testing.T) {
			base, err := os.MkdirTemp("", "sliod-keep-")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(base)
			volume := k.prepare(t, base)
			points := k.points(t, base, volume)
			all := len(points)
			if !whole {
				r.Shuffle(all, func(i, j int) { points[i], points[j] = points[j], points[i] })
				points = points[:min(all, n/len(keepings))]
			}
			killed := map[string]int{}
			for _, p := range points {
				where, err := k.killed(t, base, volume, p)
				if err != nil {
					t.Fatalf("killed at %s: %v", p.encode(), err)
				}
				killed[where]++
			}
			t.Logf("%d of %d points; killed: %v", len(points), all, killed)
		})
	}
}

// kept is a child of such a test, and a client of it.
type kept struct {
	*served
	*writer
	volume string
	bad    bool // the log may speak of the bad copy
}

// copyBase makes a directory like base.
func copyBase(t *testing.T, base string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sliod-keep-")
	if err == nil {
		err = os.CopyFS(dir, os.DirFS(filepath.Join(base, "disk")))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// start has a child serve what is in dir.
func (k *keeping) start(ctx context.Context, dir string, copies int, volume string, p *killPoint) (*kept, error) {
	x := &run{dir: dir, slots: 6}
	c := &kept{volume: volume, bad: k.bad}
	what := fmt.Sprintf("%s=%d %s", envKeep, copies, volume)
	if !k.bad {
		what = fmt.Sprintf("%s=%d -", envKeep, copies)
	}
	var err error
	if c.served, err = x.startWith(p, what); err != nil {
		return nil, err
	}
	select {
	case ok := <-c.ready:
		if !ok {
			<-c.Done()
			return c, client9p.ErrClosed
		}
	case <-ctx.Done():
		return c, ctx.Err()
	}
	c.writer = newWriter(0, 0, new(counts))
	return c, c.connect(ctx, filepath.Join(dir, "sock"))
}

// job does a job, which must end well.
func (k *kept) job(ctx context.Context, kind backend.JobKind, args ...string) error {
	end, err := k.finish(ctx, kind, strings.Join(args, "\x00"))
	if err == nil && !strings.Contains(end, `"done"`) {
		err = fmt.Errorf("%s %v: %s", kind, args, end)
	}
	return err
}

// put makes a file that survives.
func (k *kept) put(ctx context.Context, name string, p []byte) error {
	f, err := k.dir.Create(ctx, name, readWrite, 0o644, client9p.NoGID)
	if err != nil {
		return err
	}
	for off := 0; off < len(p); {
		n, err := f.Write(ctx, p[off:], uint64(off))
		if err != nil {
			return err
		}
		off += n
	}
	return stderrors.Join(k.fsync(ctx, f), f.Clunk(ctx))
}

// compare reads all files.
func (k *kept) compare(ctx context.Context, known map[string][]byte) error {
	for name, want := range known {
		got, err := k.readAll(ctx, name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%s has %d bytes, and others than the %d that were acknowledged", name, len(got), len(want))
		}
	}
	return nil
}

// volumes is what `sliod volumes --json` gets.
func (k *kept) volumes(ctx context.Context) (all []backend.VolumeInfo, err error) {
	f, err := k.ctl.Walk(ctx, "volumes")
	if err == nil {
		err = f.Open(ctx, 0)
	}
	if err != nil {
		return nil, err
	}
	text, err := f.ReadAll(ctx, 1<<20)
	if err == nil {
		err = json.Unmarshal(text, &struct {
			Volumes *[]backend.VolumeInfo `json:"volumes"`
		}{&all})
	}
	return all, stderrors.Join(err, f.Clunk(ctx))
}

// knownFiles are the files, but for those that were removed.
func (k *keeping) knownFiles() map[string][]byte {
	known := map[string][]byte{}
	for i := k.remove; i < keptFiles; i++ {
		known[keptName(i)] = pattern(uint64(i)+1, keptSize+100_000*i)
	}
	return known
}

// prepare makes the state that each run begins with, and returns the volume that has the files.
func (k *keeping) prepare(t *testing.T, base string) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dir := filepath.Join(base, "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := k.start(ctx, dir, k.before, "-", nil)
	if err != nil {
		t.Fatal(err)
	}
	step := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%v\n%s", err, c.tail())
		}
	}
	for i := range keptFiles {
		step(c.put(ctx, keptName(i), pattern(uint64(i)+1, keptSize+100_000*i)))
	}
	step(c.job(ctx, backend.JobArchive, "/"))
	for i := range k.remove {
		step(c.dir.Unlink(ctx, keptName(i)))
	}
	step(c.job(ctx, backend.JobEvict, "/"))
	all, err := c.volumes(ctx)
	step(err)
	i := slices.IndexFunc(all, func(v backend.VolumeInfo) bool { return v.UsedBytes > 0 })
	if i < 0 {
		t.Fatalf("%+v", all)
	}
	c.close()
	step(c.Process().Signal(syscall.SIGTERM))
	<-c.Done()
	if err := os.Remove(filepath.Join(dir, "sock")); err != nil {
		t.Error(err)
	}
	return all[i].Barcode
}

// points are all the places at which a run can be killed.
func (k *keeping) points(t *testing.T, base, volume string) (all []killPoint) {
	dir := copyBase(t, base)
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	never := killPoint{any: true, n: 1 << 40}
	c, err := k.start(ctx, dir, k.copies, volume, &never)
	if err == nil {
		err = c.done(ctx, k)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, c.tail())
	}
	c.close()
	if err := c.served.killed(); err != nil && !k.bad {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "count"))
	if err != nil {
		t.Fatal(err)
	}
	var writes, commits int64
	if _, err := fmt.Sscan(string(text), &writes, &commits); err != nil || writes < 10 || commits < 5 {
		t.Fatalf("%q: %v", text, err)
	}
	for _, after := range []bool{false, true} {
		for n := range writes {
			all = append(all, killPoint{name: "write", opcode: opWrite, n: n + 1, after: after})
		}
		for n := range commits {
			all = append(all, killPoint{name: "commit", opcode: opCommit, n: n + 1, after: after})
		}
	}
	return all
}

// done begins what is to be done, and waits until it is.
func (c *kept) done(ctx context.Context, k *keeping) error {
	if err := k.begin(ctx, c); err != nil {
		return err
	}
	return c.over(ctx, k)
}

func (c *kept) over(ctx context.Context, k *keeping) error {
	for {
		all, err := c.volumes(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(v backend.VolumeInfo) bool { return v.Barcode == c.volume })
		if k.over(&all[i]) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("it is not over: %+v: %w", all[i], err)
		}
		time.Sleep(5 * time.Millisecond) // the server needs the processor
	}
}

// killed does one run.
func (k *keeping) killed(t *testing.T, base, volume string, p killPoint) (where string, err error) {
	dir := copyBase(t, base)
	defer func() {
		if err == nil {
			_ = os.RemoveAll(dir)
		} else {
			err = fmt.Errorf("%w\nthe state is in %s", err, dir)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	known := k.knownFiles()
	fresh := pattern(99, 300_000)
	where = "at the start"
	c, err := k.start(ctx, dir, k.copies, volume, &p)
	if err == nil {
		where = "at work"
		if err = c.put(ctx, "fresh", fresh); err == nil {
			known["fresh"] = fresh
			err = c.done(ctx, k)
		}
		c.close()
	}
	if err == nil {
		where = "after the end"
	} else if !gone(err) {
		_ = c.served.killed()
		return where, fmt.Errorf("before the kill: %w\n%s", err, c.tail())
	}
	if err := c.ended(); err != nil {
		return where, err
	}
	if c, err = k.start(ctx, dir, k.copies, volume, nil); err != nil {
		return where, fmt.Errorf("the next start: %w\n%s", err, c.tail())
	}
	defer c.close()
	err = c.afterwards(ctx, k, known)
	if err != nil {
		_ = c.served.killed()
		return where, fmt.Errorf("%w\n%s", err, c.tail())
	}
	c.close()
	return where, c.ended()
}

// afterwards is what must be after a restart.
func (c *kept) afterwards(ctx context.Context, k *keeping, known map[string][]byte) error {
	if err := c.compare(ctx, known); err != nil {
		return fmt.Errorf("after the kill: %w", err)
	}
	all, err := c.volumes(ctx)
	if err != nil {
		return err
	}
	// What is on record goes on by itself; what was not begun is begun again.
	i := slices.IndexFunc(all, func(v backend.VolumeInfo) bool { return v.Barcode == c.volume })
	if !k.over(&all[i]) || k.again {
		if err := k.begin(ctx, c); err != nil && !strings.Contains(err.Error(), "holds nothing of this archive") {
			return err
		}
	}
	if err := c.over(ctx, k); err != nil {
		return err
	}
	if err := c.job(ctx, backend.JobVerify, "/"); err != nil { // no copy that is named is bad
		return err
	}
	for i := range 3 {
		name := fmt.Sprintf("later%d", i)
		known[name] = pattern(uint64(200+i), 2<<20)
		if err := c.put(ctx, name, known[name]); err != nil {
			return err
		}
		// Scratch volumes are formatted for it.
		for _, j := range []backend.JobKind{backend.JobArchive, backend.JobEvict} {
			if err := c.job(ctx, j, "/"); err != nil {
				return err
			}
		}
	}
	return c.compare(ctx, known)
}

// ended is served.killed, for a log that may speak of the bad copy.
func (c *kept) ended() error {
	err := c.served.killed()
	if err != nil && c.bad && strings.HasPrefix(err.Error(), "the server's log has") {
		lines := slices.DeleteFunc(strings.Split(err.Error(), "\n")[1:], func(l string) bool {
			return strings.Contains(l, "a copy cannot be read") || strings.Contains(l, "recall failed")
		})
		if len(lines) == 0 {
			return nil
		}
	}
	return err
}

// opCommit stands for a write to the log of the catalog.
const opCommit = 0xFF

// commitDisk counts the writes to the catalog's log.
type commitDisk struct {
	vfs.FS
	hook func(after bool)
}

type commitLog struct {
	vfs.File
	hook func(after bool)
}

func (d commitDisk) log(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return commitLog{f, d.hook}, nil
}

func (d commitDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	return d.log(name, f, err)
}

func (d commitDisk) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(oldname, newname, c)
	return d.log(newname, f, err)
}

func (f commitLog) Write(p []byte) (int, error) {
	f.hook(false)
	n, err := f.File.Write(p)
	f.hook(true)
	return n, err
}

// serveKeep is the child: a small library, a rule of so many copies, and upkeep all the time.
func serveKeep(dir string) error {
	l := logrus.New()
	l.SetOutput(os.Stderr)
	log := logrus.NewEntry(l)
	copies, volume := 0, ""
	if _, err := fmt.Sscan(os.Getenv(envKeep), &copies, &volume); err != nil {
		return err
	}
	lib, err := virtual.Open(virtual.Config{Dir: filepath.Join(dir, "library"), Drives: 2, Slots: 6, Capacity: 64 << 20, Log: log})
	if err != nil {
		return err
	}
	if volume != "-" {
		lib.SetUnreadable(tape.Barcode(volume), tape.Position{Partition: 1, Block: 7}, true)
	}
	disk := commitDisk{FS: vfs.Default, hook: func(bool) {}}
	if s := os.Getenv(envKill); s != "" {
		k, err := decodeKillPoint(s)
		if err != nil {
			return err
		}
		disk.hook = k.keepHooks(lib, dir)
	}
	rules := &policy.Rules{Pools: []string{catalog.DefaultPool}}
	rules.Default.Copies = slices.Repeat(rules.Pools, copies)
	fs, err := backend.Open(backend.Options{
		Dir: filepath.Join(dir, "state"), Log: log, Library: lib.Tape(), CacheBytes: 32 << 20, CatalogDisk: disk,
		ArchiveIdle: -1, SyncInterval: 10 * time.Millisecond, Look: 20 * time.Millisecond, ReclaimDead: 0.9,
		Policy: rules,
		Mover:  mover.Config{Log: log, BatchBytes: 2 << 20, IndexIdle: 20 * time.Millisecond, Linger: 50 * time.Millisecond},
	})
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		if err := fs.Close(context.Background()); err != nil {
			fmt.Fprintf(os.Stderr, "child: %+v\n", err)
		}
		_ = lib.Close()
		os.Exit(0)
	}()
	return listen(dir, fs, log)
}

// keepHooks kill the child at its point, and count in the file "count" what there was of writes to tapes and to the catalog.
func (k *killPoint) keepHooks(lib *virtual.Library, dir string) func(after bool) {
	var writes, commits atomic.Int64
	var mu sync.Mutex // of the file
	see := func(n *atomic.Int64, opcode byte, after bool) {
		if after != k.after {
			return
		}
		if seen := n.Add(1); k.opcode == opcode && seen == k.n {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		if k.any {
			mu.Lock()
			defer mu.Unlock()
			text, name := fmt.Sprintln(writes.Load(), commits.Load()), filepath.Join(dir, "count")
			if err := stderrors.Join(os.WriteFile(name+".new", []byte(text), 0o600), os.Rename(name+".new", name)); err != nil {
				fmt.Fprintf(os.Stderr, "child: %v\n", err)
			}
		}
	}
	lib.Hook(func(e virtual.Event) {
		if e.Opcode == opWrite || e.Opcode == opFilemarks {
			see(&writes, opWrite, e.After)
		}
	})
	return func(after bool) { see(&commits, opCommit, after) }
}
