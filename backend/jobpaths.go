package backend

import (
	"context"
	"fmt"
	"sync"
	"time"

	stderrors "errors"

	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// pathJob is a job on files while it runs. What it has still to do is in the catalog,
// so that it goes on after a restart; in memory are only the files that are under way.
//
//	trees ----walk----> items, in tape order ----do----> under way ----> done, not recorded yet
//	   (catalog)          (catalog)                       (memory)         (memory)   flush: items go
type pathJob struct {
	*job
	cancel context.CancelFunc
	// recording is held while the job's record is changed in the catalog.
	recording sync.Mutex
	// flushed is signalled when there is something to record, settled when nothing is
	// under way.
	flush, settled chan struct{}

	// Guarded by job.mu.
	class     vfs.Class
	state     jobState // as the catalog has it: jobCancelled before State is; changed with recording held, too
	cancelled bool     // by the user
	over      bool     // what is still under way is nobody's business
	under     int      // files under way
	done      []doneItem
	waiting   map[*sliverRecall]struct{}
}

// doneItem is a file that is done, or has failed.
type doneItem struct {
	item catalog.JobItem
	err  error
}

// errStopped ends what waits for a job that is cancelled, or stopped by the server's end.
var errStopped = stderrors.New("the job was stopped")

// enterPathJob enters a job in the table and runs it.
func (fs *FS) enterPathJob(s jobState) {
	ctx, cancel := context.WithCancel(fs.jobs.ctx)
	r := &pathJob{
		job:   &job{fs: fs, finished: make(chan struct{}), JobStatus: s.JobStatus},
		class: classes[s.Priority], cancel: cancel, state: s,
		flush: make(chan struct{}, 1), settled: make(chan struct{}, 1), waiting: make(map[*sliverRecall]struct{}),
	}
	r.job.paths = r
	fs.jobs.enter(r.job)
	fs.pinsChanged()
	fs.wg.Add(1)
	go func() {
		defer fs.wg.Done()
		defer cancel()
		r.run(ctx)
	}()
}

// run does the job. If the server ends meanwhile, the rest stays in the catalog.
func (r *pathJob) run(ctx context.Context) {
	recorded := make(chan error, 1)
	doing, enough := context.WithCancel(context.Background())
	go func() { recorded <- r.record(doing) }()
	err := r.expand(ctx)
	if err == nil {
		err = r.doAll(ctx)
	}
	for err == nil && r.underWay() > 0 && ctx.Err() == nil {
		select {
		case <-r.settled:
		case <-ctx.Done():
		}
	}
	r.abandon()
	enough()
	err = firstError(err, <-recorded, r.write())
	r.mu.Lock()
	cancelled := r.cancelled
	r.mu.Unlock()
	if ctx.Err() != nil && !cancelled { // the next start goes on with it
		close(r.finished)
		return
	}
	r.end(err)
	if err := r.conclude(); err != nil {
		r.fs.log.WithError(err).WithField("job", r.ID).Error("the end of a job could not be recorded; it begins again at the next start")
	}
	close(r.finished)
}

// conclude takes a job that has ended out of the catalog, but for what it pins.
func (r *pathJob) conclude() error {
	r.recording.Lock()
	defer r.recording.Unlock()
	r.mu.Lock()
	s := r.state
	s.JobStatus = r.JobStatus
	r.mu.Unlock()
	if s.PinnedUntil.IsZero() {
		return r.fs.dropJob(s.ID)
	}
	return r.fs.dropItems(s.ID, s.put) // its pins need the record at every moment
}

// expand walks the trees of the job, and gives it what is in them.
func (r *pathJob) expand(ctx context.Context) error {
	for {
		trees, err := r.items(0, nil, 1)
		if err != nil || len(trees) == 0 {
			return err
		}
		var found []catalog.JobItem
		err = r.fs.walk(ctx, trees[0].File, func(ino *inode) error {
			item, ok, err := r.fs.jobItem(r.Kind, ino)
			switch {
			case err != nil:
				return err
			case item.Tree && r.Kind == JobArchive && r.fs.pending.has(ino.id):
				// A directory is only attributes, which come to tape with the volume's next index:
				// the job gives it to the mover, and neither counts it nor waits for it.
				r.fs.archive([]sliver.FileID{ino.id}, r.fs.archiveFailed)
			case ok && !item.Tree:
				found = append(found, item)
			}
			if len(found) < itemStep {
				return nil
			}
			err = r.add(found, nil)
			found = found[:0]
			return err
		})
		if err == nil {
			err = r.add(found, &trees[0])
		}
		if err != nil {
			return err
		}
	}
}

func (r *pathJob) add(items []catalog.JobItem, tree *catalog.JobItem) error {
	r.recording.Lock()
	defer r.recording.Unlock()
	r.mu.Lock()
	s := r.state
	r.mu.Unlock()
	if err := s.add(r.fs.cat, items, tree); err != nil {
		return err
	}
	r.mu.Lock()
	r.state = s
	r.Files, r.Bytes = s.Files, s.Bytes
	r.mu.Unlock()
	return nil
}

// items returns up to n files that are to be done on a volume, behind after.
func (r *pathJob) items(v catalog.VolumeNo, after *catalog.JobItem, n int) (list []catalog.JobItem, err error) {
	err = r.fs.cat.View(func(tx *catalog.Tx) error {
		return tx.JobItems(r.ID, v, after, func(i catalog.JobItem) bool {
			list = append(list, i)
			return len(list) < n
		})
	})
	return list, err
}

// each calls do for every file on a volume, in order.
func (r *pathJob) each(ctx context.Context, v catalog.VolumeNo, do func(context.Context, catalog.JobItem, *inode)) error {
	var after *catalog.JobItem
	for {
		list, err := r.items(v, after, itemStep)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, item := range list {
			if ctx.Err() != nil {
				return nil
			}
			r.mu.Lock()
			r.under++
			r.mu.Unlock()
			ino, err := r.fs.get(item.File)
			if err != nil {
				if stderrors.Is(err, linux.ENOENT) {
					err = nil // gone meanwhile
				}
				r.finish(item, 0, err)
				continue
			}
			do(ctx, item, ino)
			ino.release()
		}
		after = &list[len(list)-1]
	}
}

func (r *pathJob) doAll(ctx context.Context) error {
	do := map[JobKind]func(context.Context, catalog.JobItem, *inode){
		JobArchive: r.archive, JobEvict: r.evict, JobPin: r.pin, JobUnpin: r.pin,
	}[r.Kind]
	if do == nil {
		return r.recallAll(ctx)
	}
	return r.each(ctx, someVolume, do)
}

func (r *pathJob) archive(_ context.Context, item catalog.JobItem, ino *inode) {
	fs := r.fs
	_, dirty, _, _ := fs.cache.FileStats(ino.id)
	if dirty == 0 && !fs.pending.has(ino.id) && !fs.wantsCopies(ino.id) {
		r.finish(item, 0, nil)
		return
	}
	watch := fs.jobs.watchArchive(ino.id, r.job, int64(item.Bytes))
	fs.archive([]sliver.FileID{ino.id}, func(id sliver.FileID, err error) {
		r.finish(item, fs.jobs.unwatchArchive(id, watch), err)
	})
}

func (r *pathJob) evict(_ context.Context, item catalog.JobItem, ino *inode) {
	cached, _, _, _ := r.fs.cache.FileStats(ino.id)
	_, dirty := r.fs.cache.EvictFile(ino.id)
	left, _, _, _ := r.fs.cache.FileStats(ino.id)
	r.moved(cached - left)
	if dirty > 0 {
		what := "1 sliver is"
		if dirty > 1 {
			what = fmt.Sprintf("%d slivers are", dirty)
		}
		r.finish(item, cached-left, fmt.Errorf("%s not on tape yet: archive the file first", what))
		return
	}
	r.finish(item, cached-left, nil)
}

func (r *pathJob) pin(_ context.Context, item catalog.JobItem, ino *inode) {
	r.mu.Lock()
	forEver, until := r.state.Pin == 0, r.PinnedUntil
	r.mu.Unlock()
	var err error
	switch {
	case r.Kind == JobUnpin:
		err = r.fs.unpinFile(ino.id)
	case forEver:
		err = r.fs.pinFile(ino, byUser)
	case time.Now().Before(until):
		err = r.fs.pinFile(ino, r.ID)
	}
	r.finish(item, 0, err)
}

// pinUntil says until when the job pins.
func (r *pathJob) pinUntil() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.PinnedUntil
}

func (r *pathJob) underWay() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.under
}

// finish ends a file, of which moved bytes have been counted already. It never blocks.
func (r *pathJob) finish(item catalog.JobItem, moved int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || stderrors.Is(err, errStopped) || err != nil && r.fs.jobs.ctx.Err() != nil {
		// It is left for the next start, or cancelled.
		r.underLocked()
		return
	}
	if err == nil {
		r.BytesDone += int64(item.Bytes) - moved // what was not there to move
	}
	r.FilesDone++
	if err != nil {
		r.Failed++
	}
	r.done = append(r.done, doneItem{item, err})
	if len(r.done) >= itemStep {
		signal(r.flush)
	}
	r.underLocked()
}

func (r *pathJob) underLocked() {
	if r.under--; r.under == 0 {
		signal(r.settled)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// recordEvery is how often files that are done are recorded, beside when there are many.
const recordEvery = time.Second

// record takes files that are done out of the catalog, until ctx ends.
func (r *pathJob) record(ctx context.Context) error {
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-r.flush:
		}
		if err := r.write(); err != nil {
			r.cancel()
			return err
		}
	}
}

// write records what is done.
func (r *pathJob) write() error {
	r.recording.Lock()
	defer r.recording.Unlock()
	r.mu.Lock()
	done, s := r.done, r.state
	r.done = nil
	r.mu.Unlock()
	if len(done) == 0 {
		return nil
	}
	for _, d := range done {
		s.FilesDone++
		s.BytesDone += int64(d.item.Bytes)
		if d.err != nil {
			s.Failed++
			if len(s.Errors) < keptJobErrors {
				s.Errors = append(s.Errors, r.fs.fileWord(d.item.File)+": "+d.err.Error())
			}
		}
	}
	err := r.fs.cat.Update(func(tx *catalog.Tx) error {
		for i := range done {
			if err := tx.DeleteJobItem(s.ID, &done[i].item); err != nil {
				return err
			}
		}
		return s.put(tx)
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.Errors = s, s.Errors
	return err
}

// fileWord names a file to people.
func (fs *FS) fileWord(id sliver.FileID) string {
	if paths, err := fs.paths(id); err == nil && len(paths) > 0 {
		return "/" + paths[0]
	}
	return fmt.Sprintf("file %d", id)
}

// abandon lets go of what is under way.
func (r *pathJob) abandon() {
	r.mu.Lock()
	r.over = true
	waiting := r.waiting
	r.waiting = nil
	r.mu.Unlock()
	for w := range waiting {
		r.fs.cache.Cancel(&w.Waiter)
	}
}

// CancelJob implements Admin.
func (fs *FS) CancelJob(id uint64) error {
	j := fs.jobs.find(id)
	switch {
	case j == nil:
		return noJob(id)
	case j.paths == nil:
		return refusef(linux.EINVAL, "job %d is a job on volumes: it cannot be cancelled, and ends by itself", id)
	}
	return j.paths.cancelForGood()
}

// cancelForGood cancels the job. It is on disk then: a start that comes before its end is recorded
// does not go on with it.
func (r *pathJob) cancelForGood() error {
	r.recording.Lock()
	defer r.recording.Unlock()
	r.mu.Lock()
	s, running := r.state, r.State == jobRunning
	r.mu.Unlock()
	if !running {
		return refusef(linux.EINVAL, "job %d has ended", r.ID)
	}
	s.State = jobCancelled
	err := r.putState(&s)
	r.mu.Lock()
	r.state, r.cancelled = s, true
	r.mu.Unlock()
	r.cancel()
	return errors.WithMessagef(err, "job %d is cancelled, but a restart may go on with it, as that could not be recorded", r.ID)
}

// putState makes s the job's record, on disk. r.recording must be held.
func (r *pathJob) putState(s *jobState) error {
	if err := r.fs.cat.Update(s.put); err != nil {
		return err
	}
	return r.fs.cat.Sync()
}

// SetJobPriority implements Admin.
func (fs *FS) SetJobPriority(id uint64, p Priority) error {
	j := fs.jobs.find(id)
	switch {
	case j == nil:
		return noJob(id)
	case j.paths == nil || j.Kind != JobRecall:
		return refusef(linux.EINVAL, "job %d is no recall: it has no priority", id)
	case p != PriorityHigh && p != PriorityNormal && p != PriorityLow:
		return refusef(linux.EINVAL, "priority %q is not high, normal or low", p)
	}
	return j.paths.setPriority(p)
}

// setPriority changes the priority of the job, also of what it waits for. It is on disk then.
func (r *pathJob) setPriority(p Priority) error {
	r.recording.Lock()
	defer r.recording.Unlock()
	r.mu.Lock()
	s, running := r.state, r.State == jobRunning && !r.cancelled
	r.mu.Unlock()
	if !running {
		return refusef(linux.EINVAL, "job %d has ended", r.ID)
	}
	s.Priority = p
	if err := r.putState(&s); err != nil {
		return err
	}
	r.mu.Lock()
	r.class, r.Priority, r.state.Priority = classes[p], p, p
	waiting := make([]*sliverRecall, 0, len(r.waiting))
	for w := range r.waiting {
		waiting = append(waiting, w)
	}
	class := r.class
	r.mu.Unlock()
	for _, w := range waiting { // those that are about to be parked look themselves
		r.fs.cache.SetClass(&w.Waiter, class)
	}
	return nil
}

// loadJobs reads the jobs that the last run has left. Of those that were cancelled only what they
// pin stays.
func (fs *FS) loadJobs() error {
	var drop []uint64
	var cut []jobState
	var bad error
	err := fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Jobs(func(j catalog.Job) bool {
			if !JobKind(j.Kind).OnPaths() {
				return true
			}
			s, err := loadState(&j)
			if err != nil {
				bad = err
				return false
			}
			s.ID = j.ID
			if s.State == jobListing || s.State == jobCancelled && s.PinnedUntil.IsZero() {
				drop = append(drop, s.ID)
				return true
			}
			if s.State == jobCancelled && s.FinishedAt.IsZero() {
				s.FinishedAt = time.Now()
				cut = append(cut, s)
			}
			fs.jobs.left = append(fs.jobs.left, s)
			return true
		})
	})
	if err = firstError(err, bad); err != nil {
		return err
	}
	for _, id := range drop {
		if err := fs.dropJob(id); err != nil {
			return err
		}
	}
	for _, s := range cut {
		if err := fs.dropItems(s.ID, s.put); err != nil {
			return err
		}
	}
	return nil
}

// resumeJobs goes on with them.
func (fs *FS) resumeJobs() {
	for _, s := range fs.jobs.left {
		fs.jobs.last = max(fs.jobs.last, s.ID)
		if s.State == jobRunning {
			fs.log.WithField("job", s.ID).Infof("%s goes on: %d of %d files are left", s.Kind, s.Files-s.FilesDone, s.Files)
			fs.enterPathJob(s)
			continue
		}
		j := &job{fs: fs, finished: make(chan struct{}), JobStatus: s.JobStatus}
		close(j.finished)
		j.paths = &pathJob{job: j, state: s}
		fs.jobs.enter(j)
	}
	fs.jobs.left = nil
	fs.pinsChanged()
}
