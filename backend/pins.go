package backend

import (
	"context"
	stderrors "errors"
	"time"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
)

// A file is pinned as long as somebody holds it: the user (byUser), for ever, or a job,
// until its time. Who holds what is in the catalog, so pins outlive a restart; when a
// job's pins end is in the job's record.

// byUser is the holder of what `sliod pin` pins without a time.
const byUser uint64 = 0

// pinFile has a holder pin a file. The caller has a reference to it. The error is
// cache.ErrPinned if pinned files may hold no more of the cache.
func (fs *FS) pinFile(ino *inode, holder uint64) error {
	fs.pinMu.Lock()
	defer fs.pinMu.Unlock()
	if j := fs.jobs.find(holder); holder != byUser && (j == nil || j.paths.pinUntil().IsZero()) {
		return nil // it was released meanwhile
	}
	if a := ino.attr(); a.NLink == 0 {
		return nil
	}
	if err := fs.cache.Pin(ino.id, int64(ino.size())); err != nil {
		return err
	}
	err := fs.cat.Update(func(tx *catalog.Tx) error { return tx.PutPin(holder, ino.id) })
	if err != nil {
		return firstError(err, fs.letGoLocked([]sliver.FileID{ino.id}))
	}
	return nil
}

// unpinFile ends all pins of a file.
func (fs *FS) unpinFile(id sliver.FileID) error {
	fs.pinMu.Lock()
	defer fs.pinMu.Unlock()
	err := fs.cat.Update(func(tx *catalog.Tx) error { return deletePins(tx, id) })
	if err == nil {
		fs.cache.Unpin(id)
	}
	return err
}

// deletePins takes all pins of a file out of the catalog.
func deletePins(tx *catalog.Tx, id sliver.FileID) error {
	var holders []uint64
	err := tx.Pins(id, func(holder uint64) bool {
		holders = append(holders, holder)
		return true
	})
	for _, h := range holders {
		err = firstError(err, tx.DeletePin(h, id))
	}
	return err
}

// letGoLocked unpins the files of a list that nobody holds any longer. fs.pinMu must be held.
func (fs *FS) letGoLocked(ids []sliver.FileID) error {
	for _, id := range ids {
		held := false
		err := fs.cat.View(func(tx *catalog.Tx) error {
			return tx.Pins(id, func(uint64) bool {
				held = true
				return false
			})
		})
		if err != nil {
			return err
		}
		if !held {
			fs.cache.Unpin(id)
		}
	}
	return nil
}

// pinnedXattr is the value of user.sliod.pin: 0, 1, or until when the file is pinned.
func (fs *FS) pinnedXattr(id sliver.FileID) ([]byte, error) {
	value, until := "0", time.Time{}
	err := fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Pins(id, func(holder uint64) bool {
			if holder == byUser {
				value = "1"
			} else if j := fs.jobs.find(holder); j != nil {
				if at := j.status().PinnedUntil; at.After(until) {
					until = at
				}
			}
			return true
		})
	})
	if value == "0" && !until.IsZero() {
		value = until.UTC().Format(time.RFC3339)
	}
	return []byte(value), err
}

// ReleaseJob implements Admin.
func (fs *FS) ReleaseJob(id uint64) error {
	j := fs.jobs.find(id)
	if j == nil {
		return noJob(id)
	}
	if j.paths == nil || j.paths.pinUntil().IsZero() {
		return refusef(linux.EINVAL, "job %d pins nothing", id)
	}
	return fs.releasePins(j.paths)
}

// releasePins ends the pins of a job. They do not come back with a restart then.
func (fs *FS) releasePins(r *pathJob) error {
	r.recording.Lock() // not before its end is recorded
	defer r.recording.Unlock()
	r.mu.Lock()
	r.PinnedUntil, r.state.PinnedUntil = time.Time{}, time.Time{} // it pins no more
	s, running := r.state, r.State == jobRunning
	r.mu.Unlock()
	if running { // its end takes it out of the catalog
		if err := fs.cat.Update(s.put); err != nil {
			return err
		}
	}
	for {
		n, err := fs.releaseSome(r.ID)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
	}
	if !running {
		if err := fs.cat.Update(func(tx *catalog.Tx) error { return tx.DeleteJob(r.ID) }); err != nil {
			return err
		}
	}
	return fs.cat.Sync()
}

func (fs *FS) releaseSome(holder uint64) (n int, err error) {
	fs.pinMu.Lock()
	defer fs.pinMu.Unlock()
	var ids []sliver.FileID
	err = fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Held(holder, func(id sliver.FileID) bool {
			ids = append(ids, id)
			return len(ids) < itemStep
		})
	})
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	err = fs.cat.Update(func(tx *catalog.Tx) error {
		for _, id := range ids {
			if err := tx.DeletePin(holder, id); err != nil {
				return err
			}
		}
		return nil
	})
	return len(ids), firstError(err, fs.letGoLocked(ids))
}

// loadPins tells the cache what is pinned. Pins of files that are gone, and of jobs that are, are taken out of
// the catalog: nobody would ever end them. The jobs have been loaded.
func (fs *FS) loadPins() error {
	holders := map[uint64]bool{byUser: true}
	for _, s := range fs.jobs.left {
		holders[s.ID] = !s.PinnedUntil.IsZero()
	}
	type pin struct {
		holder uint64
		file   sliver.FileID
	}
	var gone []pin
	err := fs.cat.View(func(tx *catalog.Tx) error {
		var bad error
		err := tx.AllPins(func(id sliver.FileID) bool {
			r, err := tx.Inode(id)
			exists, held := err == nil, false
			if !exists && !stderrors.Is(err, catalog.ErrNotFound) {
				bad = err
				return false
			}
			bad = tx.Pins(id, func(holder uint64) bool {
				if exists && holders[holder] {
					held = true
				} else {
					gone = append(gone, pin{holder, id})
				}
				return true
			})
			if held {
				fs.cache.RestorePin(id, int64(r.Size))
			}
			return bad == nil
		})
		return firstError(err, bad)
	})
	for len(gone) > 0 && err == nil {
		some := gone[:min(len(gone), itemStep)]
		gone = gone[len(some):]
		err = fs.cat.Update(func(tx *catalog.Tx) error {
			for _, p := range some {
				if err := tx.DeletePin(p.holder, p.file); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return err
}

// pinsChanged has the keeper of pins look again at when the next ones end.
func (fs *FS) pinsChanged() { signal(fs.pinned) }

// keepPins ends the pins of jobs when their time has come, until ctx ends.
func (fs *FS) keepPins(ctx context.Context) {
	for {
		var next *pathJob
		var at time.Time
		for _, j := range fs.jobs.all() {
			if j.paths == nil {
				continue
			}
			if until := j.paths.pinUntil(); !until.IsZero() && (next == nil || until.Before(at)) {
				next, at = j.paths, until
			}
		}
		var due <-chan time.Time
		if next != nil {
			timer := time.NewTimer(time.Until(at))
			defer timer.Stop()
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return
		case <-fs.pinned:
		case <-due:
			fs.log.WithField("job", next.ID).Info("the time of what the job has pinned is over")
			if err := fs.releasePins(next); err != nil {
				fs.log.WithField("job", next.ID).WithError(err).Error("pins could not be ended; the next start tries again")
			}
		}
	}
}
