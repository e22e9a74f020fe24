package backend

import (
	"cmp"
	"context"
	stderrors "errors"
	"fmt"
	"slices"
	"time"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/backend/sliver"
	"sliod/tape"
)

// reclaimShare is the share of the cache, and reclaimMost the bytes, that are moved off a volume at a time.
const (
	reclaimShare = 1.0 / 8
	reclaimMost  = 16 << 30
)

// reclaim empties one volume.
type reclaim struct {
	fs  *FS
	vol catalog.Volume
	rec catalog.Reclaim
	// begins is told the bytes that are to be moved; moved and failed as those of moveOff.
	begins func(bytes int64)
	moved  func(k sliver.Key, bytes int64)
	failed func(k sliver.Key, err error)
}

// reclaimTries is how often a volume is emptied again to which something came meanwhile.
const reclaimTries = 4

var (
	errCameMeanwhile = stderrors.New("something has come to the volume meanwhile")
	errCalledOff     = stderrors.New("it was called off: the volume is used again")
)

// errLeft is the error of a volume that could not be emptied.
type errLeft struct {
	n     int
	first error
}

func (e *errLeft) Error() string {
	return fmt.Sprintf("%d slivers could not be moved to another volume, the first one because: %v", e.n, e.first)
}
func (e *errLeft) Unwrap() error { return e.first }

// run moves all that is needed off the volume, in the order of the tape, and then makes it a scratch volume. It is
// on record, so that a restart goes on with it.
func (rc *reclaim) run(ctx context.Context) error {
	fs := rc.fs
	b := tape.Barcode(rc.vol.Barcode)
	if err := fs.mover.Retire(b, rc.vol.UUID, rc.begin); err != nil {
		return err
	}
	if err := fs.cat.Sync(); err != nil {
		return err
	}
	for try := 1; ; try++ {
		err := rc.empty(ctx, try == 1)
		if err == nil {
			break
		}
		if stderrors.Is(err, errCalledOff) {
			return firstError(rc.end(), err)
		}
		// A batch that was being written when it was retired is on it now.
		if !stderrors.Is(err, errCameMeanwhile) || try == reclaimTries {
			return err
		}
	}
	return firstError(rc.end(), fs.forgetBad())
}

// end takes it off the record.
func (rc *reclaim) end() error {
	return rc.fs.cat.Update(func(tx *catalog.Tx) error { return tx.DeleteReclaim(rc.vol.No) })
}

// stands is an error if the volume is not to be emptied any longer: its state is another one, or it was formatted.
func (rc *reclaim) stands() error {
	v, err := rc.fs.volumeNo(rc.vol.No)
	if err == nil && (v.UUID != rc.vol.UUID || v.State != catalog.VolFull && v.State != catalog.VolSuspect) {
		err = errCalledOff
	}
	return err
}

// empty moves what is on the volume, until nothing is left, and makes it a scratch volume.
func (rc *reclaim) empty(ctx context.Context, first bool) error {
	fs := rc.fs
	b := tape.Barcode(rc.vol.Barcode)
	for ; ; first = false {
		bytes, left, err := rc.round(ctx, first)
		if err != nil {
			return err
		}
		if left != nil {
			return left
		}
		if bytes == 0 {
			break // nothing was on it
		}
	}
	for _, no := range rc.rec.Targets {
		v, err := fs.volumeNo(no)
		if err != nil {
			return err
		}
		// A catalog that is lost is rebuilt from the indexes: those of the new volumes first.
		if err := fs.mover.SyncIndex(ctx, tape.Barcode(v.Barcode)); err != nil {
			return errors.WithMessagef(err, "the index of volume %s, which has copies of what was on %s", v.Barcode, b)
		}
	}
	if err := rc.handOver(ctx); err != nil {
		if ctx.Err() != nil {
			return err
		}
		// Nothing is lost by it: the volume keeps its index until it is formatted.
		fs.log.WithField("volume", b).WithError(err).Warn("what only the index of the volume tells is not on other volumes yet; that is done when it is formatted")
	}
	return fs.mover.Emptied(ctx, b, func() error { return firstError(rc.stands(), fs.needsNothingOn(rc.vol.No)) })
}

// handOver has what only the index of the volume may tell put on other volumes: attributes, as of directories and
// empty files, and which files were removed. So a scratch volume may get lost.
func (rc *reclaim) handOver(ctx context.Context) error {
	fs := rc.fs
	to, err := rc.heir()
	if err != nil {
		return err
	}
	var ids []sliver.FileID
	if err := fs.mover.HandOver(ctx, tape.Barcode(rc.vol.Barcode), to, func(f sliver.FileID) { ids = append(ids, f) }); err != nil {
		return err
	}
	for chunk := range slices.Chunk(ids, copyBatch) {
		ended := make(chan error, len(chunk))
		for _, f := range chunk {
			if err := (files{fs}).Unarchived(f); err != nil {
				return err
			}
		}
		fs.archive(chunk, func(_ sliver.FileID, err error) {
			if stderrors.As(err, new(*shortError)) || stderrors.As(err, new(errNever)) {
				err = nil // its attributes are on tape, or its rule wants them nowhere by now
			}
			ended <- err
		})
		var first error
		for range chunk {
			select {
			case err := <-ended:
				first = firstError(first, err)
			case <-ctx.Done():
				return errors.WithStack(ctx.Err())
			}
		}
		if first != nil {
			return first
		}
	}
	return nil
}

// heir returns a volume whose index can take the list of removed files over: one that has got copies, else any
// that has room; "" if there is none.
func (rc *reclaim) heir() (tape.Barcode, error) {
	var best tape.Barcode
	readable := rc.fs.readableVolumes()
	err := rc.fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Volumes(func(v catalog.Volume) bool {
			target := slices.Contains(rc.rec.Targets, v.No)
			if v.No != rc.vol.No && v.State == catalog.VolAppend && readable[v.Barcode] && (best == "" || target) {
				best = tape.Barcode(v.Barcode)
			}
			return !target || best == ""
		})
	})
	return best, err
}

// begin puts on record that the volume is being emptied.
func (rc *reclaim) begin(tx *catalog.Tx) error {
	r, err := tx.Reclaim(rc.vol.No)
	if stderrors.Is(err, catalog.ErrNotFound) || err == nil && r.UUID != rc.vol.UUID {
		r, err = catalog.Reclaim{Volume: rc.vol.No, UUID: rc.vol.UUID, Begun: rc.fs.now()}, nil
	}
	rc.rec = r
	return firstError(err, tx.PutReclaim(&r))
}

// wrote notes volumes that have copies of what was on this one.
func (rc *reclaim) wrote(on []catalog.VolumeNo) error {
	old := len(rc.rec.Targets)
	for _, no := range on {
		if !slices.Contains(rc.rec.Targets, no) {
			rc.rec.Targets = append(rc.rec.Targets, no)
		}
	}
	if len(rc.rec.Targets) == old {
		return nil
	}
	return rc.fs.cat.Update(func(tx *catalog.Tx) error { return tx.PutReclaim(&rc.rec) })
}

// round goes over the volume once. It returns how many bytes were found on it, and what could not be moved.
func (rc *reclaim) round(ctx context.Context, first bool) (found int64, left error, err error) {
	fs := rc.fs
	lost := &errLeft{}
	mo := &moveOff{fs: fs, vol: rc.vol, moved: rc.moved, wrote: rc.wrote, failed: func(k sliver.Key, err error) {
		if lost.n++; lost.first == nil {
			lost.first = err
		}
		rc.failed(k, err)
	}}
	window := int64(min(float64(fs.cache.Stats().SizeBytes)*reclaimShare, reclaimMost))
	for from := (place{}); ; {
		list, bytes, err := fs.copiesOn(ctx, rc.vol.No, from, copyWindow)
		if err != nil {
			return found, nil, err
		}
		if from == (place{}) {
			if found = bytes; first {
				rc.begins(bytes)
			}
		}
		if len(list) == 0 {
			break
		}
		for len(list) > 0 {
			n := fs.fitting(rc.vol.No, list, window)
			if err := rc.giveWay(ctx); err != nil {
				return found, nil, err
			}
			if err := rc.stands(); err != nil {
				return found, nil, err
			}
			if err := mo.run(ctx, list[:n]); err != nil {
				return found, nil, err
			}
			from = list[n-1].at
			from.offset++
			list = list[n:]
		}
	}
	if lost.n > 0 {
		return found, lost, nil
	}
	return found, nil, nil
}

// giveWay waits until a drive has nothing else to do than this volume.
func (rc *reclaim) giveWay(ctx context.Context) error {
	return rc.fs.mover.UseVolume(ctx, tape.Barcode(rc.vol.Barcode), mover.UseOptions{Background: true},
		func(context.Context, *mover.Session) error { return nil })
}

// fitting returns how many copies from the begin of list are at most so many bytes, at least 1.
func (fs *FS) fitting(no catalog.VolumeNo, list []copyAt, most int64) int {
	n := int(min(int64(len(list)), max(1, most/sliver.Size)))
	for n < len(list) { // small ones: look how small
		checks, err := fs.checksOf(no, list[:min(len(list), 2*n)])
		if err != nil {
			break
		}
		var bytes int64
		for _, c := range checks {
			bytes += int64(c.ArchLen) + 4096 // a slot is no smaller
		}
		if bytes > most {
			break
		}
		n = min(len(list), 2*n)
	}
	return n
}

// needsNothingOn is an error if a record names a copy on a volume.
func (fs *FS) needsNothingOn(no catalog.VolumeNo) error {
	n := 0
	err := fs.cat.View(func(tx *catalog.Tx) error {
		return tx.AllBmaps(func(_ sliver.FileID, _ sliver.BmapNo, b *catalog.Bmap) bool {
			for i := range b.Slivers {
				if slices.ContainsFunc(b.Slivers[i].Copies, func(c catalog.Copy) bool { return c.Volume == no }) {
					n++
				}
			}
			return true
		})
	})
	if err == nil && n > 0 {
		err = errors.WithMessagef(errCameMeanwhile, "%d slivers", n)
	}
	return err
}

// volumeNo returns the record of a volume.
func (fs *FS) volumeNo(no catalog.VolumeNo) (v catalog.Volume, err error) {
	err = fs.cat.View(func(tx *catalog.Tx) error {
		v, err = tx.Volume(no)
		return err
	})
	return v, err
}

// readableVolumes are those that may hold data of the archive and can be fetched, by barcode.
func (fs *FS) readableVolumes() map[string]bool {
	readable := map[string]bool{}
	for _, v := range fs.mover.Status().Volumes {
		readable[string(v.Barcode)] = v.Readable
	}
	return readable
}

// reclaimDue empties the volume that needs it most, if there is one.
func (fs *FS) reclaimDue(ctx context.Context, now time.Time, tried map[catalog.VolumeNo]time.Time) {
	if !fs.reclaims.try() {
		return
	}
	defer fs.reclaims.give()
	// Nobody empties a volume from here on, after which it could be formatted and written to.
	v, why, err := fs.wantsReclaim(now, tried)
	if err != nil {
		fs.log.WithError(err).Warn("which volume is to be emptied could not be found out")
	}
	if v == nil || err != nil {
		return
	}
	log := fs.log.WithField("volume", v.Barcode)
	log.Infof("the volume is emptied: %s", why)
	var slivers, bytes int64
	rc := reclaim{fs: fs, vol: *v, begins: func(int64) {}, failed: func(sliver.Key, error) {}, moved: func(_ sliver.Key, n int64) {
		slivers, bytes = slivers+1, bytes+n
	}}
	err = rc.run(ctx)
	switch {
	case err == nil:
		log.Infof("the volume is empty: %d slivers (%d bytes) were moved to others", slivers, bytes)
	case ctx.Err() == nil:
		tried[v.No] = now
		log.WithError(err).Warn("the volume could not be emptied; it is tried again later")
	}
}

// wantsReclaim returns the volume that is to be emptied now: one whose emptying was begun, else a suspect
// one, else the one with the largest share of dead bytes, if that is above the limit and there is room
// for what it holds elsewhere.
func (fs *FS) wantsReclaim(now time.Time, tried map[catalog.VolumeNo]time.Time) (*catalog.Volume, string, error) {
	readable := fs.readableVolumes()
	type candidate struct {
		vol  catalog.Volume
		rank float64
		room bool // elsewhere
	}
	var list []candidate
	if err := fs.forgetCalledOff(); err != nil {
		return nil, "", err
	}
	err := fs.cat.View(func(tx *catalog.Tx) error {
		var all []catalog.Volume
		if err := tx.Volumes(func(v catalog.Volume) bool { all = append(all, v); return true }); err != nil {
			return err
		}
		for i := range all {
			v := &all[i]
			if !readable[v.Barcode] || now.Sub(tried[v.No]) < scrubAgain {
				continue
			}
			r := reclaimRank(v, fs.opts.ReclaimDead)
			if begun, err := tx.Reclaim(v.No); err == nil && begun.UUID == v.UUID {
				r = rankBegun
			} else if err != nil && !stderrors.Is(err, catalog.ErrNotFound) {
				return err
			}
			if r > 0 {
				list = append(list, candidate{*v, r, roomFor(v, all)})
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	slices.SortStableFunc(list, func(a, b candidate) int { return cmp.Compare(b.rank, a.rank) })
	for i := range list {
		c := &list[i]
		if !c.room { // then only if nothing has to be moved; the count of dead bytes is not exact
			if float64(c.vol.Dead) < 0.9*float64(c.vol.Used) {
				continue
			}
			live, _, err := fs.copiesOn(context.Background(), c.vol.No, place{}, 1)
			if err != nil {
				return nil, "", err
			}
			if len(live) > 0 {
				continue
			}
		}
		return &c.vol, reclaimWhy(&c.vol, c.rank), nil
	}
	return nil, "", nil
}

// forgetCalledOff drops the records of volumes that are being emptied no longer: the operator has called it off, or they are
// empty, and the server stopped before that was noted.
func (fs *FS) forgetCalledOff() error {
	off := func(tx *catalog.Tx) (list []catalog.VolumeNo, err error) {
		var bad error
		err = tx.Reclaims(func(r catalog.Reclaim) bool {
			var v catalog.Volume
			if v, bad = tx.Volume(r.Volume); bad == nil && (v.UUID != r.UUID || v.State != catalog.VolFull && v.State != catalog.VolSuspect) {
				list = append(list, r.Volume)
			}
			return bad == nil
		})
		return list, firstError(err, bad)
	}
	any := false
	err := fs.cat.View(func(tx *catalog.Tx) error {
		list, err := off(tx)
		any = len(list) > 0
		return err
	})
	if err != nil || !any {
		return err
	}
	return fs.cat.Update(func(tx *catalog.Tx) error {
		list, err := off(tx)
		for _, no := range list {
			err = firstError(err, tx.DeleteReclaim(no))
		}
		return err
	})
}

func reclaimWhy(v *catalog.Volume, rank float64) string {
	switch {
	case rank == rankBegun:
		return "that was begun before"
	case v.State == catalog.VolSuspect:
		return "it is suspect: what is good on it is copied away"
	}
	return fmt.Sprintf("%.0f %% of it is dead", 100*deadShare(v))
}

const (
	rankBegun   = 3
	rankSuspect = 2
)

// reclaimRank says how much a volume needs to be emptied, 0: not at all. With limit 0 none does.
func reclaimRank(v *catalog.Volume, limit float64) float64 {
	switch {
	case limit <= 0:
	case v.Flags&catalog.VolImported != 0 || v.UUID == "":
	case v.State == catalog.VolSuspect && v.Used > v.Dead:
		return rankSuspect
	case (v.State == catalog.VolFull || v.State == catalog.VolAppend) && v.Used > 0 && deadShare(v) >= limit:
		return deadShare(v)
	}
	return 0
}

// deadShare is the share of the cartridge that is dead: of a volume that still has room, emptying gains nothing yet.
func deadShare(v *catalog.Volume) float64 {
	size := v.Capacity
	if size == 0 || v.State == catalog.VolFull {
		size = v.Used
	}
	return float64(v.Dead) / float64(max(size, 1))
}

// roomFor says whether the other volumes that what is on v can go to have room for it.
func roomFor(v *catalog.Volume, all []catalog.Volume) bool {
	room := int64(0)
	for i := range all {
		w := &all[i]
		pool := catalog.PoolName(w.Pool)
		scratch := w.State == catalog.VolScratch && pool == catalog.ScratchPool
		if w.No == v.No || pool != catalog.PoolName(v.Pool) && !scratch || w.State != catalog.VolAppend && w.State != catalog.VolScratch {
			continue
		}
		if w.Capacity == 0 {
			return true // it was never in a drive, and is at least as large as what is dead elsewhere
		}
		room += w.Capacity - w.Used
	}
	return room > v.Used-v.Dead
}
