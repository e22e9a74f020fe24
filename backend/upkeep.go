package backend

import (
	"context"
	"time"

	"sliod/backend/catalog"
)

// upkeep starts what the archive does by itself as long as it is open, beside syncing and archiving. Each has a goroutine of its
// own: a volume that is being emptied takes hours, and what is bad meanwhile is to be repaired.
func (fs *FS) upkeep(ctx context.Context) {
	begin := func(interval time.Duration, look func(now time.Time)) {
		fs.wg.Go(func() { every(ctx, interval, look) })
	}
	r := &repairer{fs: fs}
	begin(fs.opts.Look, func(now time.Time) { r.look(ctx, now) })
	begin(fs.opts.Look, func(time.Time) { fs.mover.WriteLackingIndexes(ctx) })
	emptied := map[catalog.VolumeNo]time.Time{}
	begin(fs.opts.Look, func(now time.Time) { fs.reclaimDue(ctx, now, emptied) })
	if fs.opts.VerifyEvery > 0 {
		verified := map[catalog.VolumeNo]time.Time{}
		begin(fs.opts.Look, func(now time.Time) { fs.scrubDue(ctx, now, verified) })
	}
	if fs.opts.CacheScrub > 0 {
		begin(fs.cacheScrub())
	}
	fs.wg.Go(func() { fs.keepPins(ctx) })
}

// every calls do each time an interval has passed, until ctx ends. If do takes longer, the next call comes at once.
func every(ctx context.Context, interval time.Duration, do func(now time.Time)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do(time.Now())
		}
	}
}
