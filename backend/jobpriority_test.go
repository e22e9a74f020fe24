package backend

import (
	stderrors "errors"
	"testing"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/vfs"
)

// TestPriorityChanges: what waits of a job goes before another job when its priority is raised, what comes later of it has
// the new class as well, and a restart remembers it.
func TestPriorityChanges(t *testing.T) {
	w := newWorld(t, oneDrive)
	paths, _ := w.migrated(12)
	g := w.holdRead(3)
	j := w.list(JobRecall, JobOptions{Priority: PriorityLow}, paths...)
	g.wait()
	_, _, last := w.placeOf("f011", 0)
	eventually(t, "all wait", func() bool { return w.fs.Status().Parked == 12 }) // of 14, two are there
	if c := w.classOf(last); c != vfs.Background {
		t.Fatalf("class %v", c)
	}
	for _, c := range []struct {
		p     Priority
		class vfs.Class
	}{{PriorityHigh, vfs.Client}, {PriorityNormal, vfs.Bulk}} {
		if err := w.fs.SetJobPriority(j.ID, c.p); err != nil {
			t.Fatal(err)
		}
		j.mu.Lock()
		for r := range j.paths.waiting {
			if r.Waiter.Class != c.class {
				t.Errorf("priority %s: a sliver waits with class %v", c.p, r.Waiter.Class)
			}
		}
		j.mu.Unlock()
	}
	if s, _ := w.fs.Job(j.ID); s.Priority != PriorityNormal {
		t.Errorf("%+v", s)
	}
	closed, closing := make(chan struct{}), w.fs.jobs.ctx
	go func() { defer close(closed); w.close() }()
	soon(t, closing.Done(), "the archive does not begin to close")
	g.release()
	soon(t, closed, "the archive does not close")
	w.open()
	again := w.fs.jobs.find(j.ID)
	if again == nil || again.status().Priority != PriorityNormal {
		t.Fatalf("after a restart: %+v", w.fs.Jobs())
	}
	soon(t, again.finished, "the job does not end")
	for _, tc := range []struct {
		id   uint64
		p    Priority
		want linux.Errno
	}{{j.ID, PriorityHigh, linux.EINVAL}, {999, PriorityHigh, linux.ENOENT}, {j.ID, "urgent", linux.EINVAL}} {
		if err := w.fs.SetJobPriority(tc.id, tc.p); !stderrors.Is(err, tc.want) {
			t.Errorf("job %d, priority %s: %v", tc.id, tc.p, err)
		}
	}
	archive := w.job(JobArchive, "/")
	if err := w.fs.SetJobPriority(archive.ID, PriorityHigh); !stderrors.Is(err, linux.EINVAL) {
		t.Errorf("an archive job has a priority: %v", err)
	}
}
