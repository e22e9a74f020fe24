package backend

import (
	"math/rand/v2"
	"time"

	"sliod/backend/sliver"
)

// cacheScrub says how often do is to be called, which compares some of what is in the cache with its checksums, for all of it
// to be compared once in Options.CacheScrub. It begins somewhere, so that restarts do not have it look at the same slots
// again and again.
func (fs *FS) cacheScrub() (step time.Duration, do func(time.Time)) {
	step, bytes := scrubStep(int64(fs.cache.Chunks())*sliver.Size, fs.opts.CacheScrub)
	at := rand.IntN(fs.cache.Chunks())
	return step, func(time.Time) {
		at, _, _ = fs.cache.Scrub(at, bytes) // what is bad was said, and is gone
	}
}

// scrubStep says how many bytes are looked at how often, for all of size to be looked at once in every.
func scrubStep(size int64, every time.Duration) (step time.Duration, bytes int64) {
	step = max(time.Second, time.Duration(float64(every)*sliver.Size/float64(size)))
	return step, max(1, int64(float64(size)*float64(step)/float64(every)))
}
