package backend

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

const (
	keptJobs      = 1000 // finished jobs that can still be asked for
	keptJobErrors = 10
	shownJobs     = 10 // ended jobs that Queue shows
)

// job is a command of the operator on a set of files, or on volumes (volumejob.go).
type job struct {
	fs *FS
	// finished is closed when the job has ended.
	finished chan struct{}
	paths    *pathJob // nil: a job on volumes

	mu sync.Mutex
	JobStatus
}

type jobTable struct {
	ctx context.Context
	// alloc guards last, and is taken before mu.
	alloc sync.Mutex
	last  uint64
	left  []jobState // of the last run, while the archive is being opened
	mu    sync.Mutex
	m     map[uint64]*job
	ids   []uint64
	// archiving has the jobs that wait for a file to be archived.
	archiving map[sliver.FileID][]*archiveWatch
}

var rootCred = &vfs.Cred{}

// StartJob implements Admin.
func (fs *FS) StartJob(kind JobKind, args []string) (uint64, error) {
	if v, ok := volumeJobs[kind]; ok {
		return fs.startVolumeJob(kind, v, args)
	}
	l, err := fs.NewJob(kind, JobOptions{})
	if err != nil {
		return 0, err
	}
	return StartList(l, args)
}

// StartList begins a job on files that are all known, or none. The list is over then.
func StartList(l JobList, paths []string) (uint64, error) {
	unknown, err := l.Add(paths)
	if err == nil && len(unknown) > 0 {
		err = fmt.Errorf("%s: %w", paths[unknown[0].Index], unknown[0].Err)
	}
	if err != nil {
		l.Drop()
		return 0, err
	}
	return l.Start()
}

// begin enters a job in the table and runs it in a goroutine of its own.
func (fs *FS) begin(s JobStatus, run func(context.Context, *job)) uint64 {
	t := &fs.jobs
	t.alloc.Lock()
	t.last++
	s.ID, s.State, s.StartedAt = t.last, jobRunning, time.Now()
	t.alloc.Unlock()
	j := &job{fs: fs, finished: make(chan struct{}), JobStatus: s}
	t.enter(j)
	fs.wg.Add(1)
	go func() {
		defer fs.wg.Done()
		run(t.ctx, j)
	}()
	return j.ID
}

// enter makes a job known.
func (t *jobTable) enter(j *job) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = make(map[uint64]*job)
	}
	t.m[j.ID] = j
	t.ids = append(t.ids, j.ID)
	t.forgetLocked()
}

// find returns a job, or nil.
func (t *jobTable) find(id uint64) *job {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.m[id]
}

// all returns the jobs, the oldest first.
func (t *jobTable) all() []*job {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*job, 0, len(t.ids))
	for _, id := range t.ids {
		all = append(all, t.m[id])
	}
	return all
}

// forgetLocked drops the oldest finished jobs, but for those that pin files.
func (t *jobTable) forgetLocked() {
	for i := 0; len(t.ids) > keptJobs && i < len(t.ids); {
		if s := t.m[t.ids[i]].status(); s.State == jobRunning || !s.PinnedUntil.IsZero() {
			i++
			continue
		}
		delete(t.m, t.ids[i])
		t.ids = append(t.ids[:i], t.ids[i+1:]...)
	}
}

func (j *job) status() JobStatus {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.JobStatus
	s.Errors, s.Notes = slices.Clone(s.Errors), slices.Clone(s.Notes)
	return s
}

// shown is status with an estimate of the job's end.
func (j *job) shown() JobStatus {
	s := j.status()
	if j.paths != nil && s.State == jobRunning {
		s.ETA = j.paths.eta(&s, time.Now())
	}
	return s
}

// Job implements Admin.
func (fs *FS) Job(id uint64) (JobStatus, bool) {
	j := fs.jobs.find(id)
	if j == nil {
		return JobStatus{}, false
	}
	return j.shown(), true
}

// Jobs implements Admin: the oldest first.
func (fs *FS) Jobs() []JobStatus {
	list := fs.jobs.all()
	all := make([]JobStatus, len(list))
	for i, j := range list {
		all[i] = j.shown()
	}
	return all
}

// found counts one more file, of which so many bytes are to be moved.
func (j *job) found(bytes int64) {
	j.mu.Lock()
	j.Files++
	j.Bytes += bytes
	j.mu.Unlock()
}

func (j *job) moved(bytes int64) {
	j.mu.Lock()
	j.BytesDone += bytes
	j.mu.Unlock()
}

// end ends the job. err is an error of the job as a whole.
func (j *job) end(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.State, j.FinishedAt = jobDone, time.Now()
	if err != nil {
		j.Failed++
		j.Errors = append(j.Errors, err.Error())
	}
	if j.Failed > 0 {
		j.State = jobFailed
	}
	if j.paths != nil && j.paths.cancelled {
		j.State = jobCancelled
	}
}

// walk calls fn for a file and all below it, until it returns an error. What goes away
// meanwhile is passed over.
func (fs *FS) walk(ctx context.Context, id sliver.FileID, fn func(*inode) error) error {
	for todo := []sliver.FileID{id}; len(todo) > 0; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("the server stopped before the job was done: %w", err)
		}
		id = todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		ino, err := fs.get(id)
		if err != nil {
			continue
		}
		r := ino.attr()
		err = fn(ino)
		ino.release()
		if err != nil {
			return err
		}
		if !isDir(&r) {
			continue
		}
		err = fs.cat.View(func(tx *catalog.Tx) error {
			return tx.Readdir(id, 0, func(e catalog.Dirent) bool {
				todo = append(todo, e.ID)
				return true
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// archiveWatch counts the bytes of one file as they come to tape, for a job's
// progress.
type archiveWatch struct {
	job  *job
	all  int64
	left int64 // bytes that have not been counted yet; guarded by jobTable.mu
}

func (t *jobTable) watchArchive(id sliver.FileID, j *job, bytes int64) *archiveWatch {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.archiving == nil {
		t.archiving = make(map[sliver.FileID][]*archiveWatch)
	}
	w := &archiveWatch{j, bytes, bytes}
	t.archiving[id] = append(t.archiving[id], w)
	return w
}

// archived notes that bytes of a file have come to tape.
func (t *jobTable) archived(id sliver.FileID, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.archiving[id] {
		n := min(bytes, w.left)
		w.left -= n
		w.job.moved(n)
	}
}

// unwatchArchive ends a watch, and returns how many bytes were counted.
func (t *jobTable) unwatchArchive(id sliver.FileID, w *archiveWatch) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.archiving[id] = slices.DeleteFunc(t.archiving[id], func(x *archiveWatch) bool { return x == w })
	if len(t.archiving[id]) == 0 {
		delete(t.archiving, id)
	}
	return w.all - w.left
}

// jobsShown returns the jobs that run and the last ones that have ended, for
// Queue: the oldest first.
func (fs *FS) jobsShown() []JobStatus {
	all := fs.Jobs()
	ended := 0
	for i := range all {
		if all[i].State != jobRunning {
			ended++
		}
	}
	return slices.DeleteFunc(all, func(s JobStatus) bool {
		if s.State == jobRunning {
			return false
		}
		ended--
		return ended >= shownJobs
	})
}

// String names the job in logs.
func (j *job) String() string {
	return fmt.Sprintf("%s %s", j.Kind, volumeWord(&j.JobStatus))
}
