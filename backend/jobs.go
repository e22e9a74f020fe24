package backend

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

const (
	keptJobs      = 1000 // finished jobs that can still be asked for
	keptJobErrors = 10
	shownJobs     = 10 // ended jobs that Queue shows
	// recallWindow bounds the slivers that one recall job waits for at a time: a
	// parked waiter each, and enough for the mover to find a good order.
	recallWindow = 16384
)

// job is a command of the operator on a set of files, or on volumes (volumejob.go).
type job struct {
	fs *FS
	// finished is closed when the job has ended.
	finished chan struct{}

	mu sync.Mutex
	JobStatus
}

type jobTable struct {
	ctx  context.Context
	mu   sync.Mutex
	last uint64
	m    map[uint64]*job
	ids  []uint64
	// archiving has the jobs that wait for a file to be archived.
	archiving map[sliver.FileID][]*archiveWatch
}

var rootCred = &vfs.Cred{}

// StartJob implements Admin.
func (fs *FS) StartJob(kind JobKind, args []string) (uint64, error) {
	if v, ok := volumeJobs[kind]; ok {
		return fs.startVolumeJob(kind, v, args)
	}
	if kind.OnPaths() {
		return fs.startPathJob(kind, args)
	}
	return 0, fmt.Errorf("%s: no such kind of job: %w", kind, linux.EINVAL)
}

func (fs *FS) startPathJob(kind JobKind, paths []string) (uint64, error) {
	var ids []sliver.FileID
	for _, p := range paths {
		n, err := fs.Attach(rootCred, p)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", p, err)
		}
		ids = append(ids, n.(*node).ino.id)
		n.Release()
	}
	return fs.startJobOn(kind, ids, paths), nil
}

// startJobOn begins a job on files and all below them.
func (fs *FS) startJobOn(kind JobKind, ids []sliver.FileID, paths []string) uint64 {
	return fs.begin(JobStatus{Kind: kind, Paths: paths}, func(ctx context.Context, j *job) { j.run(ctx, ids) })
}

// begin enters a job in the table and runs it in a goroutine of its own.
func (fs *FS) begin(s JobStatus, run func(context.Context, *job)) uint64 {
	t := &fs.jobs
	t.mu.Lock()
	t.last++
	s.ID, s.State, s.StartedAt = t.last, "running", time.Now()
	j := &job{fs: fs, finished: make(chan struct{}), JobStatus: s}
	if t.m == nil {
		t.m = make(map[uint64]*job)
	}
	t.m[j.ID] = j
	t.ids = append(t.ids, j.ID)
	t.forgetLocked()
	t.mu.Unlock()
	fs.wg.Add(1)
	go func() {
		defer fs.wg.Done()
		run(t.ctx, j)
	}()
	return j.ID
}

// forgetLocked drops the oldest finished jobs.
func (t *jobTable) forgetLocked() {
	for i := 0; len(t.ids) > keptJobs && i < len(t.ids); {
		if t.m[t.ids[i]].status().State == "running" {
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

// Job implements Admin.
func (fs *FS) Job(id uint64) (JobStatus, bool) {
	fs.jobs.mu.Lock()
	j := fs.jobs.m[id]
	fs.jobs.mu.Unlock()
	if j == nil {
		return JobStatus{}, false
	}
	return j.status(), true
}

// Jobs implements Admin: the oldest first.
func (fs *FS) Jobs() []JobStatus {
	fs.jobs.mu.Lock()
	defer fs.jobs.mu.Unlock()
	all := make([]JobStatus, 0, len(fs.jobs.ids))
	for _, id := range fs.jobs.ids {
		all = append(all, fs.jobs.m[id].status())
	}
	return all
}

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

// done counts one file as done, or as failed.
func (j *job) done(id sliver.FileID, err error) {
	path := ""
	if err != nil {
		path = fmt.Sprintf("file %d", id)
		if paths, perr := j.fs.paths(id); perr == nil && len(paths) > 0 {
			path = "/" + paths[0]
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.FilesDone++
	if err == nil {
		return
	}
	j.Failed++
	if len(j.Errors) < keptJobErrors {
		j.Errors = append(j.Errors, path+": "+err.Error())
	}
}

func (j *job) run(ctx context.Context, ids []sliver.FileID) {
	var wait sync.WaitGroup
	each := map[JobKind]func(context.Context, *inode, *sync.WaitGroup){
		JobArchive: j.archive, JobEvict: j.evict, JobRecall: j.recall, JobPin: j.pin, JobUnpin: j.pin,
	}[j.Kind]
	var err error
	for _, id := range ids {
		err = firstError(err, j.fs.walk(ctx, id, func(ino *inode) { each(ctx, ino, &wait) }))
	}
	wait.Wait()
	j.end(err)
}

// end ends the job. err is an error of the job as a whole.
func (j *job) end(err error) {
	defer close(j.finished)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.State, j.FinishedAt = "done", time.Now()
	if err != nil {
		j.Failed++
		j.Errors = append(j.Errors, err.Error())
	}
	if j.Failed > 0 {
		j.State = "failed"
	}
}

// walk calls fn for a file and all below it. What goes away meanwhile is passed
// over.
func (fs *FS) walk(ctx context.Context, id sliver.FileID, fn func(*inode)) error {
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
		fn(ino)
		r := ino.attr()
		ino.release()
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

func (j *job) archive(_ context.Context, ino *inode, wait *sync.WaitGroup) {
	fs := j.fs
	if a := ino.attr(); isDir(&a) {
		// A directory is only attributes, which come to tape with the volume's next index:
		// the job gives it to the mover, and neither counts it nor waits for it.
		if fs.pending.has(ino.id) {
			fs.archive([]sliver.FileID{ino.id}, fs.archiveFailed)
		}
		return
	}
	cached, dirty, _, _ := fs.cache.FileStats(ino.id)
	if dirty == 0 && !fs.pending.has(ino.id) && !fs.wantsCopies(ino.id) {
		j.found(0)
		j.done(ino.id, nil)
		return
	}
	bytes := min(cached, int64(dirty)*sliver.Size)
	j.found(bytes)
	wait.Add(1)
	watch := fs.jobs.watchArchive(ino.id, j, bytes)
	fs.archive([]sliver.FileID{ino.id}, func(id sliver.FileID, err error) {
		defer wait.Done()
		fs.jobs.unwatchArchive(id, watch)
		j.done(id, err)
	})
}

// archiveWatch counts the bytes of one file as they come to tape, for a job's
// progress.
type archiveWatch struct {
	job  *job
	left int64 // bytes that have not been counted yet; guarded by jobTable.mu
}

func (t *jobTable) watchArchive(id sliver.FileID, j *job, bytes int64) *archiveWatch {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.archiving == nil {
		t.archiving = make(map[sliver.FileID][]*archiveWatch)
	}
	w := &archiveWatch{j, bytes}
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

// unwatchArchive ends a watch; what is left counts as done: it was cut, or is
// being written again.
func (t *jobTable) unwatchArchive(id sliver.FileID, w *archiveWatch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w.job.moved(w.left)
	t.archiving[id] = slices.DeleteFunc(t.archiving[id], func(x *archiveWatch) bool { return x == w })
	if len(t.archiving[id]) == 0 {
		delete(t.archiving, id)
	}
}

func (j *job) evict(_ context.Context, ino *inode, _ *sync.WaitGroup) {
	if a := ino.attr(); !isFile(&a) {
		return // only files are cached
	}
	cached, _, _, _ := j.fs.cache.FileStats(ino.id)
	_, dirty := j.fs.cache.EvictFile(ino.id)
	left, _, _, _ := j.fs.cache.FileStats(ino.id)
	j.found(cached)
	j.moved(cached - left)
	if dirty > 0 {
		j.done(ino.id, fmt.Errorf("%d slivers are not on tape yet: archive the file first", dirty))
		return
	}
	j.done(ino.id, nil)
}

func (j *job) pin(_ context.Context, ino *inode, _ *sync.WaitGroup) {
	j.found(0)
	ino.mu.Lock()
	err := ino.pinLocked(j.Kind == JobPin)
	ino.mu.Unlock()
	j.done(ino.id, err)
}

// recall parks a waiter on each absent sliver of a file, as a client would.
func (j *job) recall(ctx context.Context, ino *inode, wait *sync.WaitGroup) {
	r := &fileRecall{job: j, id: ino.id, wait: wait, window: make(chan struct{}, recallWindow), left: 1}
	j.found(0)
	wait.Add(1)
	a := ino.attr()
	if isFile(&a) {
		for n := sliver.No(0); n < sliver.Count(ino.size()) && ctx.Err() == nil; n++ {
			r.window <- struct{}{}
			if !r.want(ino, n) {
				<-r.window
			}
		}
	}
	r.end(nil)
}

// fileRecall counts the slivers of one file that a recall job waits for.
type fileRecall struct {
	job    *job
	id     sliver.FileID
	wait   *sync.WaitGroup
	window chan struct{}

	mu   sync.Mutex
	left int // waiters, and 1 while more may come
	err  error
}

// want starts the fault of one sliver if it is absent, and says whether it
// waits.
func (r *fileRecall) want(ino *inode, n sliver.No) bool {
	ino.mu.Lock()
	defer ino.mu.Unlock()
	k := sliver.Key{File: ino.id, No: n}
	b, err := ino.behindLocked(k)
	if err != nil {
		r.fail(err)
		return false
	}
	if st := ino.fs.cache.State(k, b); st != sliver.Absent && st != sliver.Faulting {
		return false
	}
	w := &sliverRecall{file: r, bytes: int64(b.Len)}
	w.Waiter.Waker = w
	r.mu.Lock()
	r.left++
	r.mu.Unlock()
	r.job.mu.Lock()
	r.job.Bytes += w.bytes
	r.job.mu.Unlock()
	d, err := ino.fs.cache.Read(k, b, 0, 1, &w.Waiter)
	if err == vfs.ErrParked {
		return true
	}
	d.Release()
	r.job.moved(w.bytes)
	r.end(err)
	return false
}

func (r *fileRecall) fail(err error) {
	r.mu.Lock()
	r.err = firstError(r.err, err)
	r.mu.Unlock()
}

// end counts one waiter off. The last one ends the file.
func (r *fileRecall) end(err error) {
	r.mu.Lock()
	r.err = firstError(r.err, err)
	r.left--
	left, err := r.left, r.err
	r.mu.Unlock()
	if left == 0 {
		r.job.done(r.id, err)
		r.wait.Done()
	}
}

// sliverRecall is a job's waiter on one sliver.
type sliverRecall struct {
	vfs.Waiter
	file  *fileRecall
	bytes int64
}

// Wake implements vfs.Waker.
func (w *sliverRecall) Wake(_ int, err error) {
	if err == nil {
		w.file.job.moved(w.bytes)
	}
	<-w.file.window
	w.file.end(err)
}

// jobsShown returns the jobs that run and the last ones that have ended, for
// Queue: the oldest first.
func (fs *FS) jobsShown() []JobStatus {
	all := fs.Jobs()
	ended := 0
	for i := range all {
		if all[i].State != "running" {
			ended++
		}
	}
	return slices.DeleteFunc(all, func(s JobStatus) bool {
		if s.State == "running" {
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
