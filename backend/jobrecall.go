package backend

import (
	"context"
	"sync"
	"time"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// recallWindow bounds the slivers that one recall job waits for at a time: a parked
// waiter each, and enough for the mover to find a good order.
const recallWindow = 16384

// recallAll does a recall job volume by volume, as many at a time as there are drives,
// and on each in the order of the tape.
func (r *pathJob) recallAll(ctx context.Context) error {
	workers := max(1, len(r.fs.opts.Library.Drives))
	volumes := make(chan catalog.VolumeNo)
	errs := make(chan error, workers)
	var all sync.WaitGroup
	for range workers {
		all.Add(1)
		go func() {
			defer all.Done()
			window := make(chan struct{}, max(1, recallWindow/workers))
			for v := range volumes {
				err := r.each(ctx, v, func(ctx context.Context, item catalog.JobItem, ino *inode) { r.recall(ctx, item, ino, window) })
				if err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	err := r.volumes(ctx, volumes, errs)
	close(volumes)
	all.Wait()
	select {
	case werr := <-errs:
		err = firstError(err, werr)
	default:
	}
	return err
}

// volumes sends the volumes of which the job has files.
func (r *pathJob) volumes(ctx context.Context, to chan<- catalog.VolumeNo, errs <-chan error) error {
	for v := catalog.VolumeNo(1); ; v++ {
		found := false
		err := r.fs.cat.View(func(tx *catalog.Tx) (err error) {
			v, found, err = tx.NextJobVolume(r.ID, v)
			return err
		})
		if err != nil || !found {
			return err
		}
		select {
		case to <- v:
		case err := <-errs:
			return err
		case <-ctx.Done():
			return nil
		}
		if v == offTape {
			return nil
		}
	}
}

// recall parks a waiter on each absent sliver of a file, as a client would.
func (r *pathJob) recall(ctx context.Context, item catalog.JobItem, ino *inode, window chan struct{}) {
	if until := r.pinUntil(); time.Now().Before(until) {
		if err := r.fs.pinFile(ino, r.ID); err != nil {
			r.finish(item, 0, err)
			return
		}
	}
	f := &fileRecall{job: r, item: item, window: window, left: 1}
	for n := sliver.No(0); n < sliver.Count(ino.size()); n++ {
		select {
		case window <- struct{}{}:
		case <-ctx.Done():
			f.end(errStopped)
			return
		}
		if !f.want(ino, n) {
			<-window
		}
	}
	f.end(nil)
}

// fileRecall counts the slivers of one file that a recall job waits for.
type fileRecall struct {
	job    *pathJob
	item   catalog.JobItem
	window chan struct{}

	mu    sync.Mutex
	left  int // waiters, and 1 while more may come
	moved int64
	err   error
}

// want starts the fault of one sliver if it is absent, and says whether it
// waits.
func (f *fileRecall) want(ino *inode, n sliver.No) bool {
	ino.mu.Lock()
	defer ino.mu.Unlock()
	k := sliver.Key{File: ino.id, No: n}
	b, err := ino.behindLocked(k)
	if err != nil {
		f.fail(err)
		return false
	}
	if st := ino.fs.cache.State(k, b); st != sliver.Absent && st != sliver.Faulting {
		return false
	}
	w := &sliverRecall{file: f, key: k, bytes: int64(b.Len)}
	w.Waiter.Waker, w.NoRead = w, true
	f.mu.Lock()
	f.left++
	f.mu.Unlock()
	if !f.job.wait(w) {
		f.end(errStopped)
		return false
	}
	d, err := ino.fs.cache.Read(k, b, 0, 1, &w.Waiter)
	if err == vfs.ErrParked {
		f.job.parked(w)
		return true
	}
	d.Release()
	f.job.woken(w)
	if err == nil {
		f.add(w.bytes)
	}
	f.end(err)
	return false
}

// wait notes that w is about to wait, and gives it the class of the job; false: the job is over.
func (r *pathJob) wait(w *sliverRecall) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return false
	}
	r.waiting[w] = struct{}{}
	w.Waiter.Class, w.class = r.class, r.class
	return true
}

// parked tells w, which has just been parked, what it missed: that the job is over, or has another class.
func (r *pathJob) parked(w *sliverRecall) {
	r.mu.Lock()
	over, class := r.over, r.class
	r.mu.Unlock()
	switch {
	case over:
		r.fs.cache.Cancel(&w.Waiter)
	case class != w.class:
		r.fs.cache.SetClass(&w.Waiter, class)
	}
}

func (r *pathJob) woken(w *sliverRecall) {
	r.mu.Lock()
	delete(r.waiting, w)
	r.mu.Unlock()
}

func (f *fileRecall) add(bytes int64) {
	f.mu.Lock()
	f.moved += bytes
	f.mu.Unlock()
	f.job.moved(bytes)
}

func (f *fileRecall) fail(err error) {
	f.mu.Lock()
	f.err = firstError(f.err, err)
	f.mu.Unlock()
}

// end counts one waiter off. The last one ends the file.
func (f *fileRecall) end(err error) {
	f.mu.Lock()
	f.err = firstError(f.err, err)
	f.left--
	left, err, moved := f.left, f.err, f.moved
	f.mu.Unlock()
	if left == 0 {
		f.job.finish(f.item, moved, err)
	}
}

// sliverRecall is a job's waiter on one sliver.
type sliverRecall struct {
	vfs.Waiter
	file  *fileRecall
	key   sliver.Key
	class vfs.Class // when it began to wait
	bytes int64
}

// Wake implements vfs.Waker.
func (w *sliverRecall) Wake(_ int, err error) {
	w.file.job.woken(w)
	if err == nil {
		w.file.add(w.bytes)
	}
	<-w.file.window
	w.file.end(err)
}
