package backend

import (
	"context"
	stderrors "errors"
	"time"

	"sliod/backend/catalog"
	"sliod/backend/mover"
)

// scrubAgain is when a volume that could not be read at all is tried again.
const scrubAgain = time.Hour

// scrubDue verifies the volume that has been due for the longest time, if there is one. tried has when
// volumes could not be read.
func (fs *FS) scrubDue(ctx context.Context, now time.Time, tried map[catalog.VolumeNo]time.Time) {
	v, err := fs.dueVolume(now, tried)
	if err != nil {
		fs.log.WithError(err).Warn("which volume is due to be verified could not be found out")
	}
	if v == nil || err != nil || !fs.passes.try() {
		return
	}
	defer fs.passes.give()
	log := fs.log.WithField("volume", v.Barcode)
	log.Debug("the volume is due: it is verified")
	var good, bad int
	p := pass{fs: fs, vol: *v, stop: func() bool { return len(fs.passes.wanted) > 0 }, look: func(_ *mover.Check, err error) {
		if good++; err != nil {
			good, bad = good-1, bad+1
		}
	}}
	err = p.run(ctx, false)
	switch {
	case err == nil && bad > 0:
		log.Errorf("the volume was verified: %d copies are bad, %d good", bad, good)
	case err == nil:
		log.Infof("the volume was verified: %d copies are good", good)
	case ctx.Err() == nil && !stderrors.Is(err, errPassStopped):
		tried[v.No] = now
		log.WithError(err).Warn("the volume could not be verified; it is tried again later")
	}
}

// dueVolume returns the volume that is to be verified now: the one whose pass was cut off, else the
// one that has been due for the longest time; nil if none is.
func (fs *FS) dueVolume(now time.Time, tried map[catalog.VolumeNo]time.Time) (*catalog.Volume, error) {
	here := fs.readableVolumes()
	var best *catalog.Volume
	var since time.Time
	err := fs.cat.View(func(tx *catalog.Tx) error {
		var all []catalog.Volume
		if err := tx.Volumes(func(v catalog.Volume) bool { all = append(all, v); return true }); err != nil {
			return err
		}
		for i := range all {
			v := &all[i]
			if !here[v.Barcode] || now.Sub(tried[v.No]) < scrubAgain {
				continue
			}
			p, err := passOf(tx, v)
			if err != nil {
				return err
			}
			last := timeOf(p.Verified)
			if p.Verified == (catalog.Time{}) {
				last = timeOf(v.Formatted) // before that there was nothing; of imported ones: never
			}
			if p.Begun != (catalog.Time{}) {
				last = time.Time{}
			}
			if now.Sub(last) >= fs.opts.VerifyEvery && (best == nil || last.Before(since)) {
				best, since = v, last
			}
		}
		return nil
	})
	return best, err
}

func timeOf(t catalog.Time) time.Time { return time.Unix(t.Sec, int64(t.Nsec)) }
