package backend

import (
	"context"
	stderrors "errors"
	"sync"

	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"

	"sliod/backend/cache"
	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// copier makes the further copies that rules want. It has one goroutine, which looks at each file
// again whenever something was done for it:
//
//	nothing lacks a copy        the file is pending no longer, its caller is told
//	what lacks one is cached    Mover.Copy, pool after pool
//	some of it is on tape only  a round: recalled together with others', then Mover.Copy
type copier struct {
	fs   *FS
	wake chan struct{} // capacity 1

	mu       sync.Mutex
	closed   bool
	todo     []*copyItem
	fetch    []*copyItem // wait for the next round
	fetching bool        // a round is running
}

// copyItem is a file that gets its copies.
type copyItem struct {
	id     sliver.FileID
	done   func(sliver.FileID, error)
	pool   string // what it lacks
	copies int
	lacks  []mover.Lack
	left   int // slivers that lacked a copy when last looked
	tries  int // looks since that became less
}

// maxCopyTries is how often a file is looked at without a copy having been made: its slivers may
// be evicted again and again before their turn comes.
const maxCopyTries = 8

func newCopier(fs *FS) *copier { return &copier{fs: fs, wake: make(chan struct{}, 1)} }

// add has a file copied as its rule says. done is called once, never at once but if the archive ends.
func (c *copier) add(id sliver.FileID, done func(sliver.FileID, error)) {
	c.put(&copyItem{id: id, done: done, left: -1})
}

func (c *copier) put(items ...*copyItem) {
	c.mu.Lock()
	closed := c.closed
	if !closed {
		c.todo = append(c.todo, items...)
	}
	c.mu.Unlock()
	if closed {
		for _, it := range items {
			it.done(it.id, errStopping)
		}
		return
	}
	c.poke()
}

func (c *copier) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// errStopping ends what waits when the archive is closed.
var errStopping = errors.WithMessage(linux.EIO, "the server is stopping")

// run is the goroutine.
func (c *copier) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			c.mu.Lock()
			c.closed = true
			left := append(c.todo, c.fetch...)
			c.todo, c.fetch = nil, nil
			c.mu.Unlock()
			for _, it := range left {
				it.done(it.id, errStopping)
			}
			return
		case <-c.wake:
			c.step()
		}
	}
}

// step looks at what is to do.
func (c *copier) step() {
	c.mu.Lock()
	todo := c.todo
	c.todo = nil
	c.mu.Unlock()
	type work struct {
		pool   string
		copies int
	}
	cached := map[work][]*copyItem{}
	for _, it := range todo {
		ready, err := c.look(it)
		switch {
		case err != nil:
			it.done(it.id, &shortError{err})
		case len(it.lacks) == 0:
			it.done(it.id, nil)
		case ready:
			w := work{it.pool, it.copies}
			cached[w] = append(cached[w], it)
		default:
			c.mu.Lock()
			c.fetch = append(c.fetch, it)
			c.mu.Unlock()
		}
	}
	for _, items := range cached {
		c.copy(items)
	}
	c.mu.Lock()
	round := c.fetch
	if c.fetching {
		round = nil
	}
	if len(round) > 0 {
		c.fetching, c.fetch = true, nil
	}
	c.mu.Unlock()
	if len(round) > 0 {
		c.fs.wg.Add(1)
		go func() {
			defer c.fs.wg.Done()
			c.round(round)
		}()
	}
}

// look finds out what a file lacks, and whether that is in the cache. A file that lacks nothing
// is pending no longer.
func (c *copier) look(it *copyItem) (cached bool, err error) {
	fs := c.fs
	it.lacks = nil
	v, err := fs.verdict(it.id)
	if err != nil {
		return false, err
	}
	pools, n := v.ByPool()
	if v.Never {
		pools = nil // by now
	}
	for _, p := range pools {
		o := mover.CopyOptions{Pool: p, Copies: n[p]}
		lacks, err := files{fs}.Lacking(it.id, o)
		if err != nil {
			return false, err
		}
		if len(lacks) > 0 {
			it.pool, it.copies, it.lacks = p, n[p], lacks
			break
		}
	}
	if len(it.lacks) == 0 {
		return false, fs.settle(it.id)
	}
	if it.left < 0 || len(it.lacks) < it.left {
		it.tries = 0
	}
	it.left = len(it.lacks)
	if it.tries++; it.tries > maxCopyTries {
		return false, errors.Errorf("%d slivers were not in the cache when their turn came, %d times", it.left, maxCopyTries)
	}
	for _, l := range it.lacks {
		if st := fs.cache.State(sliver.Key{File: it.id, No: l.No}, cache.Behind{State: sliver.Absent}); st != sliver.Clean {
			return false, nil
		}
	}
	return true, nil
}

// copy gives files that lack copies in the same pool to the mover, and looks at them again when that
// is done.
func (c *copier) copy(items []*copyItem) {
	byID := map[sliver.FileID][]*copyItem{}
	var ids []sliver.FileID
	for _, it := range items {
		if byID[it.id] == nil {
			ids = append(ids, it.id)
		}
		byID[it.id] = append(byID[it.id], it)
	}
	first := items[0]
	c.fs.mover.Copy(ids, mover.CopyOptions{Pool: first.pool, Copies: first.copies}, func(id sliver.FileID, err error) {
		again := err == nil || stderrors.Is(err, mover.ErrNotResident)
		for _, it := range byID[id] {
			if again {
				c.put(it)
			} else {
				it.done(id, &shortError{err})
			}
		}
	})
}

// round recalls what some files lack, as much as the cache may hold of it, and has them copied.
func (c *copier) round(items []*copyItem) {
	fs := c.fs
	room := int(max(8, min(fs.cache.Stats().SizeBytes/sliver.Size/8, 1024)))
	var wait sync.WaitGroup
	var later []*copyItem
	for _, it := range items {
		if room <= 0 {
			later = append(later, it)
			continue
		}
		if !fs.mover.RoomFor(it.pool, it.lacks) {
			c.copy([]*copyItem{it}) // which says so, without a recall for nothing
			continue
		}
		f := new(fetched)
		for _, l := range it.lacks {
			if room <= 0 {
				break
			}
			if fs.fetch(f, sliver.Key{File: it.id, No: l.No}) {
				room--
			}
		}
		wait.Add(1)
		fs.wg.Add(1)
		go func() {
			defer fs.wg.Done()
			defer wait.Done()
			if err := f.wait(); err != nil {
				it.done(it.id, &shortError{err})
				return
			}
			c.copy([]*copyItem{it})
		}()
	}
	wait.Wait()
	c.mu.Lock()
	c.fetching = false
	c.fetch = append(later, c.fetch...)
	c.mu.Unlock()
	c.poke()
}

// fetched counts the slivers of one file that are being recalled.
type fetched struct {
	mu    sync.Mutex
	err   error
	ended sync.WaitGroup
}

// wait returns when all are there, or with the first error. It ends when the archive is closed,
// as all that is parked then is woken.
func (f *fetched) wait() error {
	f.ended.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// fetch starts the fault of one sliver if it is absent, in the background, and says whether it waits.
func (fs *FS) fetch(f *fetched, k sliver.Key) bool {
	ino, err := fs.get(k.File)
	if err != nil {
		return false
	}
	defer ino.release()
	ino.mu.Lock()
	defer ino.mu.Unlock()
	b, err := ino.behindLocked(k)
	if err != nil {
		f.failed(err)
		return false
	}
	if st := fs.cache.State(k, b); st != sliver.Absent && st != sliver.Faulting {
		return false
	}
	w := &fetchWaiter{f: f}
	w.Waiter.Waker, w.Class = w, vfs.Background
	f.ended.Add(1)
	d, err := fs.cache.Read(k, b, 0, 1, &w.Waiter)
	if err == vfs.ErrParked {
		return true
	}
	d.Release()
	f.ended.Done()
	if err != nil {
		f.failed(err)
	}
	return false
}

func (f *fetched) failed(err error) {
	f.mu.Lock()
	f.err = firstError(f.err, err)
	f.mu.Unlock()
}

type fetchWaiter struct {
	vfs.Waiter
	f *fetched
}

// Wake implements vfs.Waker.
func (w *fetchWaiter) Wake(_ int, err error) {
	if err != nil {
		w.f.failed(err)
	}
	w.f.ended.Done()
}

// settle ends that a file is pending, of which all is on tape as often as its rule says. What is on tape once by
// now, though it lacked nothing when it was looked at, keeps it pending.
func (fs *FS) settle(id sliver.FileID) error {
	v, err := fs.verdict(id)
	if err != nil {
		return err
	}
	ino, err := fs.get(id)
	if stderrors.Is(err, linux.ENOENT) {
		return nil // its removal is pending
	}
	if err != nil {
		return err
	}
	defer ino.release()
	ino.mu.Lock() // what the mover archives comes into the catalog under it
	defer ino.mu.Unlock()
	if ino.unarchived() || !fs.pending.has(id) {
		return nil
	}
	if short, err := fs.short(id, v); short || err != nil {
		return err
	}
	if err := fs.cat.Update(func(tx *catalog.Tx) error { return tx.DeletePending(id) }); err != nil {
		return err
	}
	fs.pending.remove(id)
	return nil
}

// unarchived says whether content or attributes of the file are newer than on tape.
func (ino *inode) unarchived() bool {
	ino.am.Lock()
	newer := ino.rec.Flags&catalog.FlagMetaDirty != 0 || ino.unsynced || ino.rec.NLink == 0
	ino.am.Unlock()
	_, dirty, _, _ := ino.fs.cache.FileStats(ino.id)
	return newer || dirty > 0
}

// short says whether slivers of a file that are on tape have fewer copies than v wants.
func (fs *FS) short(id sliver.FileID, v *verdict) (bool, error) {
	if len(v.Copies) < 2 || v.Never {
		return false, nil
	}
	pools, n := v.ByPool()
	for _, p := range pools {
		lacks, err := fs.lacking(id, mover.CopyOptions{Pool: p, Copies: n[p]})
		if err != nil || len(lacks) > 0 {
			return true, err
		}
	}
	return false, nil
}

// wantsCopies says whether a file that is archived lacks copies.
func (fs *FS) wantsCopies(id sliver.FileID) bool {
	v, err := fs.verdict(id)
	if err != nil {
		return false
	}
	short, err := fs.short(id, v)
	return short || err != nil
}
