package backend

import (
	"context"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/sliver"
)

func init() {
	volumeJobs[JobReclaim] = volumeJob{checkReclaim, runReclaim}
}

func checkReclaim(fs *FS, args []string) ([]string, error) {
	if len(args) == 0 {
		return nil, refusef(linux.EINVAL, "give the barcodes of the volumes")
	}
	return checkKnown(fs, args)
}

func runReclaim(ctx context.Context, j *job, args []string) error {
	for _, b := range args {
		j.volumeDone(b, j.reclaimVolume(ctx, b))
	}
	return nil
}

// reclaimVolume empties a volume.
func (j *job) reclaimVolume(ctx context.Context, b string) error {
	fs := j.fs
	j.step("waiting until another volume is empty, before %s", b)
	if err := fs.reclaims.take(ctx); err != nil {
		return err
	}
	defer fs.reclaims.give()
	v, err := fs.volume(b) // as it is now: it may have been emptied, and formatted, meanwhile
	if err != nil {
		return err
	}
	j.step("moving what is needed on %s to other volumes", b)
	slivers := 0
	rc := reclaim{fs: fs, vol: v, begins: func(bytes int64) {
		j.mu.Lock()
		j.Bytes += bytes
		j.mu.Unlock()
	}, moved: func(_ sliver.Key, bytes int64) {
		slivers++
		j.moved(bytes)
	}, failed: func(k sliver.Key, err error) {
		fs.log.WithField("volume", b).WithField("file", k.File).WithError(err).Warnf("sliver %d could not be moved to another volume", k.No)
	}}
	err = rc.run(ctx)
	if slivers > 0 {
		j.note("%d slivers were moved from %s to other volumes", slivers, b)
	}
	if err != nil {
		return err
	}
	if v, err = fs.volume(b); err != nil {
		return err
	}
	j.note("%s is empty: it is %v now", b, v.State)
	return nil
}
