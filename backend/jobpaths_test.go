package backend

import (
	"bytes"
	stderrors "errors"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

// migrated makes n files of one sliver, and one of 3, that are on tape only.
func (w *world) migrated(n int) (paths []string, content map[string][]byte) {
	w.t.Helper()
	content = map[string][]byte{}
	for i := range n {
		name := fmt.Sprintf("f%03d", i)
		content["/"+name] = pattern(i, mib)
		if i == 0 {
			content["/"+name] = pattern(i, 3*mib)
		}
		w.put(name, content["/"+name])
		paths = append(paths, "/"+name)
	}
	w.job(JobArchive, "/")
	w.job(JobEvict, "/")
	return paths, content
}

// list begins a job on a list of paths.
func (w *world) list(kind JobKind, o JobOptions, paths ...string) *job {
	w.t.Helper()
	l, err := w.fs.NewJob(kind, o)
	if err != nil {
		w.t.Fatal(err)
	}
	unknown, err := l.Add(paths)
	if err != nil {
		w.t.Fatal(err)
	}
	l.Skip(unknown)
	id, err := l.Start()
	if err != nil {
		w.t.Fatal(err)
	}
	return w.fs.jobs.find(id)
}

// leftover returns how many records of jobs and pins the catalog has.
func (w *world) leftover() (jobs, items, pins int) {
	w.t.Helper()
	err := w.fs.cat.View(func(tx *catalog.Tx) error {
		err := tx.Jobs(func(j catalog.Job) bool {
			jobs++
			_ = tx.JobItems(j.ID, someVolume, nil, func(catalog.JobItem) bool { items++; return true })
			return true
		})
		return firstError(err, tx.AllPins(func(sliver.FileID) bool { pins++; return true }))
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return jobs, items, pins
}

func TestListWithUnknownPaths(t *testing.T) {
	w := newWorld(t)
	paths, content := w.migrated(5)
	list := append([]string{"/none", paths[0]}, paths...) // one of them twice
	list = append(list, "also/none")
	j := w.list(JobRecall, JobOptions{}, list...)
	<-j.finished
	s := j.status()
	if s.State != jobFailed || s.Failed != 2 || s.Files != 5 || s.FilesDone != 5 || s.Bytes != 7*mib || s.BytesDone != 7*mib || s.Listed != 0 || len(s.Paths) != 8 {
		t.Errorf("%+v", s)
	}
	want := []string{"path 1 (/none): ", "path 8 (also/none): "}
	for i, e := range s.Errors {
		if len(s.Errors) != 2 || !strings.HasPrefix(e, want[i]) {
			t.Errorf("%q, want %q", s.Errors, want)
		}
	}
	for p := range content {
		if st := w.state(p); st != string(Premigrated) {
			t.Errorf("%s is %s", p, st)
		}
	}
	if jobs, items, _ := w.leftover(); jobs+items > 0 {
		t.Errorf("%d jobs and %d files are left in the catalog", jobs, items)
	}
}

// TestListsAreForgotten: one that was not begun leaves nothing, neither when it is
// dropped nor when the server ends before.
func TestListsAreForgotten(t *testing.T) {
	w := newWorld(t)
	paths, _ := w.migrated(3)
	l, err := w.fs.NewJob(JobRecall, JobOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Add(paths); err != nil {
		t.Fatal(err)
	}
	if jobs, _, _ := w.leftover(); jobs != 1 || len(w.fs.jobsShown()) != 2 {
		t.Errorf("%d jobs in the catalog, shown %+v", jobs, w.fs.jobsShown())
	}
	l.Drop()
	l.Drop()
	if jobs, items, _ := w.leftover(); jobs+items > 0 {
		t.Errorf("%d jobs and %d files are left in the catalog", jobs, items)
	}
	if l, err = w.fs.NewJob(JobRecall, JobOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Add(paths); err != nil {
		t.Fatal(err)
	}
	w.restart()
	if jobs, items, _ := w.leftover(); jobs+items > 0 {
		t.Errorf("%d jobs and %d files are left in the catalog", jobs, items)
	}
}

// killed returns a copy of the state folder, as kill -9 would leave it: with what the system has
// of the files at this moment.
func (w *world) killed() (dir string) {
	w.t.Helper()
	dir = w.t.TempDir()
	if out, err := exec.Command("cp", "-a", w.opts.Dir+"/.", dir).CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// moveTo has the next open find such a copy. The archive is closed.
func (w *world) moveTo(dir string) {
	w.t.Helper()
	if err := w.lib.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.cfg.Dir = dir + "/library"
	var err error
	if w.lib, err = virtual.Open(w.cfg); err != nil {
		w.t.Fatal(err)
	}
	w.opts.Dir = dir
}

// killWhile has the next open find the archive as kill -9 would leave it now, while g holds a device
// and j is under way.
func (w *world) killWhile(j *job, g *stand) {
	w.t.Helper()
	dir := w.killed()
	g.release()
	<-j.finished
	w.close()
	w.moveTo(dir)
}

// closeWhile closes the archive while g holds a device, which goes on when j has been left for the
// next start.
func (w *world) closeWhile(j *job, g *stand) {
	w.t.Helper()
	closed := make(chan struct{})
	go func() { defer close(closed); w.close() }()
	soon(w.t, j.finished, "the job does not stop")
	g.release()
	soon(w.t, closed, "the archive does not close")
}

// TestJobGoesOnAfterARestart: a job on a list and a tree that the server's end, or kill
// -9, cuts off is done by the next run, under its number, and tells what it has done.
func TestJobGoesOnAfterARestart(t *testing.T) {
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprint("kill ", kill), func(t *testing.T) {
			w := newWorld(t, oneDrive)
			paths, content := w.migrated(12)
			g := w.holdRead(6)
			j := w.list(JobRecall, JobOptions{Pin: time.Hour, Priority: PriorityLow}, append(slices.Clone(paths[:4]), "/", "/none")...)
			g.wait()
			id := j.ID
			if kill {
				w.killWhile(j, g)
			} else {
				w.closeWhile(j, g)
			}
			w.open()
			j = w.fs.jobs.find(id)
			if j == nil {
				t.Fatalf("job %d is gone: %+v", id, w.fs.Jobs())
			}
			soon(t, j.finished, "the job does not end")
			s := j.status()
			if s.State != jobFailed || s.Failed != 1 || s.Files != 12 || s.FilesDone != 12 || s.BytesDone != s.Bytes || s.Priority != PriorityLow || s.PinnedUntil.IsZero() {
				t.Errorf("%+v", s)
			}
			for p, want := range content {
				if st := w.state(p); st != string(Premigrated) {
					t.Errorf("%s is %s", p, st)
				}
				w.wantContent(strings.TrimPrefix(p, "/"), want)
			}
			if jobs, items, pins := w.leftover(); jobs != 1 || items != 0 || pins != 12 {
				t.Errorf("%d jobs, %d files to do, %d pins are in the catalog", jobs, items, pins)
			}
			if next := w.list(JobEvict, JobOptions{}, "/f000"); next.ID <= id {
				t.Errorf("job %d comes after job %d", next.ID, id)
			} else {
				<-next.finished
			}
		})
	}
}

// TestCancelledJob: what it has done stays, what waits is let go, and nothing goes on
// after a restart.
func TestCancelledJob(t *testing.T) {
	w := newWorld(t, oneDrive)
	paths, _ := w.migrated(12)
	g := w.holdRead(6)
	j := w.list(JobRecall, JobOptions{}, paths...)
	g.wait()
	if err := w.fs.CancelJob(j.ID); err != nil {
		t.Fatal(err)
	}
	soon(t, j.finished, "the job does not end")
	g.release()
	s := j.status()
	if s.State != jobCancelled || s.FilesDone == 0 || s.FilesDone > 6 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
	eventually(t, "no fault is left", func() bool { return w.fs.Status().Faults == 0 && w.fs.Status().Parked == 0 })
	if jobs, items, _ := w.leftover(); jobs+items > 0 {
		t.Errorf("%d jobs and %d files are left in the catalog", jobs, items)
	}
	if err := w.fs.CancelJob(j.ID); !stderrors.Is(err, linux.EINVAL) {
		t.Errorf("cancelled twice: %v", err)
	}
	if err := w.fs.CancelJob(999); !stderrors.Is(err, linux.ENOENT) {
		t.Errorf("no such job: %v", err)
	}
	if err := w.fs.ReleaseJob(j.ID); !stderrors.Is(err, linux.EINVAL) {
		t.Errorf("it pins nothing: %v", err)
	}
	w.job(JobRecall, "/")
}

// TestCancelledThenKilled: a job that was cancelled does not go on, though kill -9 came before it
// had ended. What it has pinned stays so.
func TestCancelledThenKilled(t *testing.T) {
	for _, pin := range []time.Duration{0, time.Hour} {
		t.Run(fmt.Sprint("pin ", pin), func(t *testing.T) {
			w := newWorld(t, oneDrive)
			paths, _ := w.migrated(4)
			first := w.list(JobPin, JobOptions{Pin: pin}, paths[0])
			<-first.finished
			_, _, before := w.leftover()
			w.fs.pinMu.Lock()
			j := w.list(JobPin, JobOptions{Pin: pin}, paths[1:]...)
			eventually(t, "the job stands at its first file", func() bool { return j.paths.underWay() == 1 })
			err := w.fs.CancelJob(j.ID)
			dir := w.killed()
			select {
			case <-j.finished:
				t.Error("the job has ended")
			default:
			}
			w.fs.pinMu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			soon(t, j.finished, "the job does not end")
			w.close()
			w.moveTo(dir)
			w.open()
			again := w.fs.jobs.find(j.ID)
			if pin == 0 {
				if again != nil {
					t.Errorf("the job is there: %+v", again.status())
				}
			} else if again == nil {
				t.Error("the job is gone, and so are its pins")
			} else if s := again.status(); s.State != jobCancelled || s.FilesDone != 0 || s.PinnedUntil.IsZero() || s.FinishedAt.IsZero() {
				t.Errorf("%+v", s)
			}
			if _, items, pins := w.leftover(); items != 0 || pins != before {
				t.Errorf("%d files to do and %d pins are in the catalog", items, pins)
			}
		})
	}
}

// TestReleasedWhileItRuns: the pins of a job that is released do not come back with a restart, and it
// pins nothing more: neither until its time, nor for ever.
func TestReleasedWhileItRuns(t *testing.T) {
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprint("recall, kill ", kill), func(t *testing.T) {
			w := newWorld(t, oneDrive)
			paths, _ := w.migrated(6)
			g := w.holdRead(1) // so nothing is done that would be recorded
			j := w.list(JobRecall, JobOptions{Pin: time.Hour}, paths...)
			g.wait()
			eventually(t, "all are pinned", func() bool { _, _, pins := w.leftover(); return pins == 6 })
			if err := w.fs.ReleaseJob(j.ID); err != nil {
				t.Fatal(err)
			}
			if kill {
				w.killWhile(j, g)
			} else {
				w.closeWhile(j, g)
			}
			w.open()
			again := w.fs.jobs.find(j.ID)
			if again == nil {
				t.Fatal("the job does not go on")
			}
			if s := again.status(); !s.PinnedUntil.IsZero() {
				t.Errorf("it pins again: %+v", s)
			}
			soon(t, again.finished, "the job does not end")
			if jobs, _, pins := w.leftover(); jobs+pins != 0 {
				t.Errorf("%d jobs and %d pins are left", jobs, pins)
			}
		})
	}
	t.Run("pin", func(t *testing.T) {
		w := newWorld(t, oneDrive)
		paths, _ := w.migrated(3)
		w.fs.pinMu.Lock() // the job stands at its first file
		j := w.list(JobPin, JobOptions{Pin: time.Hour}, paths...)
		released := make(chan error, 1)
		go func() { released <- w.fs.ReleaseJob(j.ID) }()
		eventually(t, "the job pins no more", func() bool { return j.status().PinnedUntil.IsZero() })
		w.fs.pinMu.Unlock()
		if err := <-released; err != nil {
			t.Fatal(err)
		}
		soon(t, j.finished, "the job does not end")
		if jobs, _, pins := w.leftover(); jobs+pins != 0 {
			t.Errorf("%d jobs and %d pins are left", jobs, pins)
		}
	})
}

func TestBadJobOptions(t *testing.T) {
	w := newWorld(t)
	for _, x := range []struct {
		kind JobKind
		o    JobOptions
	}{{JobRecall, JobOptions{Priority: "urgent"}}, {JobEvict, JobOptions{Pin: time.Hour}}, {JobRecall, JobOptions{Pin: -1}}, {JobArchive, JobOptions{Priority: PriorityLow}}, {JobFormat, JobOptions{}}} {
		if _, err := w.fs.NewJob(x.kind, x.o); !stderrors.Is(err, linux.EINVAL) {
			t.Errorf("%v: %v", x, err)
		}
	}
}

func TestPinsOfJobs(t *testing.T) {
	w := newWorld(t, func(o *Options, _ *virtual.Config) { o.CacheBytes, o.CachePinned = 32*mib, 0.5 })
	paths, _ := w.migrated(8)
	pin := func(p string) string { return w.xattrOf(p, "user.sliod.pin") }
	first := w.list(JobRecall, JobOptions{Pin: time.Hour}, paths[:4]...)
	<-first.finished
	second := w.list(JobPin, JobOptions{Pin: 2 * time.Hour}, paths[3])
	<-second.finished
	if got, want := pin(paths[0]), first.status().PinnedUntil.UTC().Format(time.RFC3339); got != want {
		t.Errorf("pinned until %q, want %q", got, want)
	}
	if got, want := pin(paths[3]), second.status().PinnedUntil.UTC().Format(time.RFC3339); got != want {
		t.Errorf("pinned until %q, want %q", got, want)
	}
	w.job(JobPin, paths[1])
	if got := pin(paths[1]); got != "1" {
		t.Errorf("pinned by hand: %q", got)
	}
	// The limit is 16 MiB: 6 are pinned.
	w.put("big", pattern(9, 11*mib))
	if s := w.ends(JobPin, "/big"); s.Failed != 1 || !strings.Contains(s.Errors[0], "pinned files may hold no more") {
		t.Errorf("a pin beyond the limit: %+v", s)
	}
	w.restart()
	if got := pin(paths[0]); got == "0" {
		t.Error("a pin was lost at a restart")
	}
	// What is pinned stays, though more than the cache holds goes through it.
	w.job(JobArchive, "/")
	for i := range 5 {
		w.put(fmt.Sprint("other", i), pattern(i, 10*mib))
		w.job(JobArchive, "/")
	}
	for _, p := range paths[:4] {
		if st := w.state(p); st != string(Premigrated) {
			t.Errorf("%s, which is pinned, is %s", p, st)
		}
	}
	if err := w.fs.ReleaseJob(first.ID); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"0", "1", "0"} {
		if got := pin(paths[i]); got != want {
			t.Errorf("%s after the release: %q, want %q", paths[i], got, want)
		}
	}
	if pin(paths[3]) == "0" {
		t.Error("the release of one job has ended the pin of another")
	}
	w.job(JobUnpin, paths[3], paths[1])
	if jobs, _, pins := w.leftover(); pins != 0 || jobs != 1 {
		t.Errorf("%d pins and %d jobs are left", pins, jobs)
	}
	if err := w.root.UnlinkAt(rootCred, "f002", 0); err != nil {
		t.Fatal(err)
	}
}

// TestPinsEnd: a pin ends at its time, also when the server was not there then.
func TestPinsEnd(t *testing.T) {
	w := newWorld(t)
	paths, _ := w.migrated(3)
	j := w.list(JobRecall, JobOptions{Pin: 50 * time.Millisecond}, paths...)
	<-j.finished
	eventually(t, "the pins end", func() bool { _, _, pins := w.leftover(); return pins == 0 })
	eventually(t, "the job is gone", func() bool { jobs, _, _ := w.leftover(); return jobs == 0 })
	j = w.list(JobRecall, JobOptions{Pin: time.Hour}, paths...)
	<-j.finished
	err := w.fs.cat.Update(func(tx *catalog.Tx) error {
		rec, err := tx.Job(j.ID)
		if err != nil {
			return err
		}
		s, err := loadState(&rec)
		if err != nil {
			return err
		}
		s.PinnedUntil = time.Now().Add(-time.Second)
		return s.put(tx)
	})
	if err != nil {
		t.Fatal(err)
	}
	w.restart()
	eventually(t, "the pins end", func() bool { jobs, _, pins := w.leftover(); return pins+jobs == 0 })
}

// TestPinsOfVanishedJobs: what no job and no user holds is let go at the next start.
func TestPinsOfVanishedJobs(t *testing.T) {
	w := newWorld(t)
	paths, _ := w.migrated(4)
	j := w.list(JobRecall, JobOptions{Pin: time.Hour}, paths[0], paths[1])
	<-j.finished
	w.job(JobPin, paths[2])
	_, _, own := w.placeOf("f001", 0)
	_, _, other := w.placeOf("f003", 0)
	err := w.fs.cat.Update(func(tx *catalog.Tx) error {
		return firstError(tx.PutPin(4711, own.File), tx.PutPin(4711, other.File))
	})
	if err != nil {
		t.Fatal(err)
	}
	w.restart()
	held := 0
	err = w.fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Held(4711, func(sliver.FileID) bool { held++; return true })
	})
	if err != nil || held > 0 {
		t.Errorf("%d pins are left of a job that is not there: %v", held, err)
	}
	if _, _, pins := w.leftover(); pins != 3 {
		t.Errorf("%d files are pinned", pins)
	}
	if got := w.xattrOf(paths[3], "user.sliod.pin"); got != "0" {
		t.Errorf("user.sliod.pin is %q", got)
	}
}

// TestPinnedFileIsRemoved: its pins go with it.
func TestPinnedFileIsRemoved(t *testing.T) {
	w := newWorld(t)
	paths, _ := w.migrated(2)
	j := w.list(JobRecall, JobOptions{Pin: time.Hour}, paths...)
	<-j.finished
	if err := w.root.UnlinkAt(rootCred, "f001", 0); err != nil {
		t.Fatal(err)
	}
	if _, _, pins := w.leftover(); pins != 1 {
		t.Errorf("%d files are pinned", pins)
	}
}

// TestJobOrder: a job's files are done in the order of the tape, whatever that of the list.
func TestJobOrder(t *testing.T) {
	w := newWorld(t, oneDrive)
	paths, _ := w.migrated(6)
	slices.Reverse(paths)
	g := w.hold(at(scsi.OpRead6, false))
	j := w.list(JobRecall, JobOptions{}, paths...)
	var last catalog.JobItem
	for _, item := range itemsOf(t, j.paths) {
		if item.Volume < last.Volume || item.Volume == last.Volume && item.Block < last.Block {
			t.Errorf("%+v comes behind %+v", item, last)
		}
		last = item
	}
	g.wait()
	g.release()
	<-j.finished
}

func itemsOf(t testing.TB, r *pathJob) (all []catalog.JobItem) {
	t.Helper()
	err := r.fs.cat.View(func(tx *catalog.Tx) error {
		for v := catalog.VolumeNo(0); v < 10; v++ {
			if err := tx.JobItems(r.ID, v, nil, func(i catalog.JobItem) bool { all = append(all, i); return true }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// BenchmarkMillionPaths is the memory and the time that a list of a million paths
// takes: of files that are empty, as their content is not what is measured.
func BenchmarkMillionPaths(b *testing.B) {
	const files, rounds = 50_000, 20
	w := newWorld(b)
	var paths []string
	for i := range files {
		if i%1000 == 0 {
			n := w.node("/")
			if _, err := n.Mkdir(rootCred, fmt.Sprint("d", i/1000), 0o755, 0); err != nil {
				b.Fatal(err)
			}
			n.Release()
		}
		d := w.node(fmt.Sprint("/d", i/1000))
		n, f, err := d.Create(rootCred, fmt.Sprint("file", i), openReadWrite, 0o644, 0)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
		n.Release()
		d.Release()
		paths = append(paths, fmt.Sprintf("/d%d/file%d", i/1000, i))
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		before := heap()
		var most uint64
		begin := time.Now()
		l, err := w.fs.NewJob(JobRecall, JobOptions{})
		if err != nil {
			b.Fatal(err)
		}
		for range rounds {
			for part := range slices.Chunk(paths, 5000) {
				if _, err := l.Add(part); err != nil {
					b.Fatal(err)
				}
			}
			most = max(most, heap())
		}
		listed := time.Since(begin)
		id, err := l.Start()
		if err != nil {
			b.Fatal(err)
		}
		j := w.fs.jobs.find(id)
		<-j.finished
		most = max(most, heap())
		b.ReportMetric(float64(int64(most)-int64(before))/(1<<20), "MiB-heap")
		b.ReportMetric(listed.Seconds(), "s-listed")
		b.ReportMetric((time.Since(begin) - listed).Seconds(), "s-done")
		if s := j.status(); s.State != jobDone || s.Files != files {
			b.Fatalf("%+v", s)
		}
	}
}

// TestEstimates: what waits for tape has an estimate, in the queue, of the job and of the file;
// and how good they were is counted.
func TestEstimates(t *testing.T) {
	w := newWorld(t, oneDrive)
	paths, _ := w.migrated(12)
	g := w.holdRead(3)
	begin := time.Now()
	j := w.list(JobRecall, JobOptions{}, paths...)
	g.wait()
	eta := func() time.Time {
		s, _ := w.fs.Job(j.ID)
		return s.ETA
	}
	eventually(t, "the job has an estimate", func() bool { return !eta().IsZero() })
	if at := eta(); at.Before(begin) || at.After(time.Now().Add(time.Hour)) {
		t.Errorf("the job is to be done %v from now", time.Until(at))
	}
	node := w.node(paths[11])
	defer node.Release()
	var said []byte
	eventually(t, "the last file has an estimate", func() bool {
		var err error
		said, err = node.Xattr(rootCred, "user.sliod.eta")
		return err == nil
	})
	if q := w.fs.Queue(); len(q.Recalls) != 1 || q.Recalls[0].ETA.IsZero() || q.Jobs[len(q.Jobs)-1].ETA.IsZero() {
		t.Errorf("%+v", q)
	}
	if at, err := time.Parse(time.RFC3339, string(said)); err != nil || at.Before(begin.Truncate(time.Second)) {
		t.Errorf("the file is to be there at %v, %v", at, err)
	}
	if err := node.SetXattr(rootCred, "user.sliod.eta", []byte("now"), 0); err != linux.EPERM {
		t.Errorf("an estimate can be set: %v", err)
	}
	g.release()
	<-j.finished
	if _, err := node.Xattr(rootCred, "user.sliod.eta"); err != linux.ENODATA {
		t.Errorf("a file that is here has an estimate: %v", err)
	}
	if e := w.fs.Status().Estimates; e.Compared == 0 || e.TookSeconds <= 0 {
		t.Errorf("%+v", e)
	}
}

// A file that is being read, or synced, while it is to go from the cache goes all the same.
func TestEvictWhileRead(t *testing.T) {
	w := newWorld(t)
	content := pattern(1, 2*mib+5000)
	w.put("f", content)
	w.job(JobArchive, "/f")
	f, done := w.openFile("f")
	defer done()
	d, err := f.ReadAt(mib, mib, &newWaiter().Waiter)
	if err != nil {
		t.Fatal(err)
	}
	w.job(JobEvict, "/f")
	if got := w.state("f"); got != string(Migrated) {
		t.Errorf("%s after evict", got)
	}
	if got := gather(&d); !bytes.Equal(got, content[mib:2*mib]) { // releases it
		t.Error("what was being read has changed")
	}
	if n := w.fs.cache.Stats().UsedBytes; n != 0 {
		t.Errorf("%d bytes are in use after the reader is done", n)
	}
	w.wantContent("f", content)
}
