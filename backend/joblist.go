package backend

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// Priority says how urgent a job on files is.
type Priority string

// Priorities of jobs.
const (
	PriorityHigh   Priority = "high"   // as if a client waited
	PriorityNormal Priority = "normal" // behind clients
	PriorityLow    Priority = "low"    // when nobody else wants a drive
)

var classes = map[Priority]vfs.Class{PriorityHigh: vfs.Client, PriorityNormal: vfs.Bulk, PriorityLow: vfs.Background}

// JobOptions are what a job on files can be told beside its files.
type JobOptions struct {
	Priority Priority // of JobRecall; "": normal
	// Pin, of JobRecall and JobPin: the files are pinned until this long after the job
	// has begun, or until it is released. 0: JobRecall pins nothing, JobPin for ever.
	Pin time.Duration
}

func (o *JobOptions) check(kind JobKind) error {
	switch {
	case o.Priority == "" && kind == JobRecall:
		o.Priority = PriorityNormal
	case o.Priority != "" && kind != JobRecall:
		return refusef(linux.EINVAL, "%s has no priority", kind)
	}
	switch {
	case o.Priority != "" && classes[o.Priority] == 0 && o.Priority != PriorityHigh:
		return refusef(linux.EINVAL, "%s: priority %q is not high, normal or low", kind, o.Priority)
	case o.Pin < 0:
		return refusef(linux.EINVAL, "%s: a pin of %v is over already", kind, o.Pin)
	case o.Pin > 0 && kind != JobRecall && kind != JobPin:
		return refusef(linux.EINVAL, "%s pins nothing", kind)
	}
	return nil
}

// UnknownPath is a path of a list that leads nowhere.
type UnknownPath struct {
	Index int // in the call of Add
	Err   error
}

// JobList takes the paths of a job, any number of them, before it begins. It is used by
// one goroutine. It must be ended with Start or Drop.
type JobList interface {
	// Add finds files. Directories stand for all below them. Those that are not there
	// are returned; Skip counts them as failed.
	Add(paths []string) ([]UnknownPath, error)
	// Skip has the job go on without unknown paths of the last Add.
	Skip(unknown []UnknownPath)
	// Start begins the job, which is on disk then, and returns its number.
	Start() (id uint64, err error)
	// Drop forgets the list. After Start it does nothing.
	Drop()
}

const (
	keptJobPaths = 10  // of a job's list, for people
	itemStep     = 512 // files of a job that one transaction or one scan handles
	// offTape is where the files of a job are kept that need no volume.
	offTape = ^catalog.VolumeNo(0)
	// someVolume is where all files of a job are kept whose order is that of their
	// numbers; volume 0 has the trees.
	someVolume = catalog.VolumeNo(1)
)

// jobList implements JobList. Its files are in the catalog from the first on, so a list
// may be of any length.
type jobList struct {
	fs      *FS
	state   jobState
	paths   int64
	last    []string // of the last Add
	ended   bool
	durable bool
}

// NewJob implements Admin.
func (fs *FS) NewJob(kind JobKind, o JobOptions) (JobList, error) { return fs.newList(kind, o, true) }

func (fs *FS) newList(kind JobKind, o JobOptions, durable bool) (*jobList, error) {
	if !kind.OnPaths() {
		return nil, refusef(linux.EINVAL, "%s: no such kind of job", kind)
	}
	if err := o.check(kind); err != nil {
		return nil, err
	}
	l := &jobList{fs: fs, durable: durable}
	l.state = jobState{JobStatus: JobStatus{Kind: kind, State: jobListing, Priority: o.Priority, Paths: []string{}}, Pin: o.Pin}
	id, err := fs.newJobID(func(tx *catalog.Tx, id uint64) error {
		l.state.ID = id
		return l.state.put(tx)
	})
	if err != nil {
		return nil, err
	}
	l.state.ID = id
	return l, nil
}

// newJobID takes a number that no job has had since the start, and that no job in the
// catalog has.
func (fs *FS) newJobID(put func(tx *catalog.Tx, id uint64) error) (id uint64, err error) {
	t := &fs.jobs
	t.alloc.Lock()
	defer t.alloc.Unlock()
	err = fs.cat.Update(func(tx *catalog.Tx) error {
		for id = 0; id <= t.last; {
			if id, err = tx.NextJobID(); err != nil {
				return err
			}
		}
		return put(tx, id)
	})
	if err == nil {
		t.last = id
	}
	return id, err
}

func (l *jobList) Add(paths []string) (unknown []UnknownPath, err error) {
	l.last = paths
	var items []catalog.JobItem
	for i, p := range paths {
		if len(l.state.Paths) < keptJobPaths {
			l.state.Paths = append(l.state.Paths, p)
		}
		l.paths++
		n, err := l.fs.Attach(rootCred, p)
		if err != nil {
			unknown = append(unknown, UnknownPath{i, err})
			continue
		}
		item, ok, err := l.fs.jobItem(l.state.Kind, n.(*node).ino)
		n.Release()
		if err != nil {
			return unknown, err
		}
		if ok {
			items = append(items, item)
		}
	}
	return unknown, l.put(items)
}

// addFile is Add for a file that the caller has.
func (l *jobList) addFile(ino *inode) error {
	item, ok, err := l.fs.jobItem(l.state.Kind, ino)
	if err != nil || !ok {
		return err
	}
	return l.put([]catalog.JobItem{item})
}

func (l *jobList) put(items []catalog.JobItem) error {
	for len(items) > 0 {
		n := min(len(items), itemStep)
		if err := l.state.add(l.fs.cat, items[:n], nil); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

func (l *jobList) Skip(unknown []UnknownPath) {
	s := &l.state
	for _, u := range unknown {
		s.Failed++
		if len(s.Errors) < keptJobErrors {
			s.Errors = append(s.Errors, fmt.Sprintf("path %d (%s): %v", l.paths-int64(len(l.last))+int64(u.Index)+1, l.last[u.Index], u.Err))
		}
	}
}

func (l *jobList) Start() (uint64, error) {
	s := &l.state
	s.State, s.StartedAt = jobRunning, time.Now()
	if s.Pin > 0 {
		s.PinnedUntil = s.StartedAt.Add(s.Pin)
	}
	if l.paths > int64(len(s.Paths)) {
		s.Listed = l.paths
	}
	err := l.fs.cat.Update(s.put)
	if err == nil && l.durable {
		err = l.fs.cat.Sync()
	}
	if err != nil {
		l.Drop()
		return 0, err
	}
	l.ended = true
	l.fs.enterPathJob(*s)
	return s.ID, nil
}

func (l *jobList) Drop() {
	if l.ended {
		return
	}
	l.ended = true
	if err := l.fs.dropJob(l.state.ID); err != nil {
		l.fs.log.WithError(err).WithField("job", l.state.ID).Error("a job that was not begun could not be removed from the catalog; the next start tries again")
	}
}

// jobState is a job on files as the catalog keeps it: JSON in the data of the job's
// record. Files and bytes are done there when their items are gone.
type jobState struct {
	JobStatus
	Pin time.Duration `json:"pin,omitempty"`
}

// States of jobs.
const (
	jobListing   = "listing" // its paths are being taken in; such a job is not shown
	jobRunning   = "running"
	jobDone      = "done"
	jobFailed    = "failed"
	jobCancelled = "cancelled"
)

// put stores the state.
func (s *jobState) put(tx *catalog.Tx) error {
	data, err := json.Marshal(s)
	if err != nil {
		return errors.Wrapf(err, "job %d as JSON", s.ID)
	}
	return tx.PutJob(&catalog.Job{ID: s.ID, Kind: string(s.Kind), Created: catalogTime(s.StartedAt), Data: data})
}

func loadState(j *catalog.Job) (s jobState, err error) {
	if err := json.Unmarshal(j.Data, &s); err != nil {
		return s, errors.Wrapf(err, "job %d in the catalog", j.ID)
	}
	return s, nil
}

// add gives the job files to do and, in the same transaction, takes the tree off in
// which they were found, if it is not nil.
func (s *jobState) add(cat *catalog.Catalog, items []catalog.JobItem, tree *catalog.JobItem) error {
	next := *s
	err := cat.Update(func(tx *catalog.Tx) error {
		next = *s
		for i := range items {
			added, err := tx.PutJobItem(s.ID, &items[i])
			if err != nil {
				return err
			}
			if added && !items[i].Tree {
				next.Files++
				next.Bytes += int64(items[i].Bytes)
			}
		}
		if tree != nil {
			if err := tx.DeleteJobItem(s.ID, tree); err != nil {
				return err
			}
		}
		return next.put(tx)
	})
	if err == nil {
		*s = next
	}
	return err
}

// dropJob takes a job out of the catalog, with all that it has to do.
func (fs *FS) dropJob(id uint64) error {
	return fs.dropItems(id, func(tx *catalog.Tx) error { return tx.DeleteJob(id) })
}

// dropItems takes out of the catalog what a job has to do; end is done with the last of it.
func (fs *FS) dropItems(id uint64, end func(*catalog.Tx) error) error {
	for {
		var items []catalog.JobItem
		err := fs.cat.View(func(tx *catalog.Tx) error {
			for v := catalog.VolumeNo(0); ; v++ {
				next, found, err := tx.NextJobVolume(id, v)
				if err != nil || !found {
					return err
				}
				v = next
				err = tx.JobItems(id, v, nil, func(i catalog.JobItem) bool {
					items = append(items, i)
					return len(items) < itemStep
				})
				if err != nil || len(items) >= itemStep || v == offTape {
					return err
				}
			}
		})
		if err != nil {
			return err
		}
		err = fs.cat.Update(func(tx *catalog.Tx) error {
			for i := range items {
				if err := tx.DeleteJobItem(id, &items[i]); err != nil {
					return err
				}
			}
			if len(items) < itemStep {
				return end(tx)
			}
			return nil
		})
		if err != nil || len(items) < itemStep {
			return err
		}
	}
}

// jobItem says what a job of a kind has to do with a file: nothing if ok is false. It
// does not need the file's lock.
func (fs *FS) jobItem(kind JobKind, ino *inode) (item catalog.JobItem, ok bool, err error) {
	a := ino.attr()
	item = catalog.JobItem{Volume: someVolume, File: ino.id}
	if isDir(&a) {
		return catalog.JobItem{File: ino.id, Tree: true}, true, nil
	}
	cached, dirty, _, _ := fs.cache.FileStats(ino.id)
	switch kind {
	case JobArchive:
		item.Bytes = uint64(min(cached, int64(dirty)*sliver.Size))
		return item, true, nil
	case JobEvict:
		item.Bytes = uint64(cached)
		return item, isFile(&a), nil
	case JobRecall:
		if !isFile(&a) {
			return item, false, nil
		}
		onTape := int64(0)
		item.Volume = offTape
		err := fs.cat.View(func(tx *catalog.Tx) error {
			return tx.Bmaps(ino.id, 0, func(_ sliver.BmapNo, b *catalog.Bmap) bool {
				for i := range b.Slivers {
					r := &b.Slivers[i]
					if r.Dirty || len(r.Copies) == 0 {
						continue
					}
					onTape += int64(r.Len)
					for _, c := range r.Copies {
						if item.Volume == offTape && !isElsewhere(c) {
							placeItem(&item, c)
						}
					}
				}
				return true
			})
		})
		item.Bytes = uint64(max(0, onTape-cached))
		return item, true, err
	}
	return item, isFile(&a), nil
}

// placeItem notes where a copy begins.
func placeItem(item *catalog.JobItem, c catalog.Copy) {
	item.Volume = c.Volume
	for _, p := range c.Pieces {
		if !p.IsZeros() {
			item.Partition, item.Block = p.Partition, p.Block
			return
		}
	}
}
