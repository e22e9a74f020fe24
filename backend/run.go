package backend

import (
	"time"

	"sliod/backend/sliver"
)

// run is what is due for one pool. A drive that gets less than a run stops behind each piece, goes back and
// begins anew, if the volume has not to be fetched first: so a little waits for more.
type run struct {
	files  []ruled
	bytes  int64
	oldest time.Time // since when one of them is due
	urgent bool
}

// add adds a file that is due. urgent: the cache needs its space.
func (r *run) add(fs *FS, id sliver.FileID, f *pendingFile, urgent bool) {
	cached, dirty, _, _ := fs.cache.FileStats(id)
	r.files = append(r.files, ruled{id, f.verdict})
	r.bytes += min(cached, int64(dirty)*sliver.Size)
	r.urgent = r.urgent || urgent
	if f.due.Before(r.oldest) {
		r.oldest = f.due
	}
}

// enough says whether to begin: there is enough for the drive to stream, or it has waited long
// enough, or the cache needs the space, or the mover writes to the pool anyway.
func (r *run) enough(fs *FS, pool string, now time.Time) bool {
	return r.urgent || r.bytes >= fs.opts.RunBytes || now.Sub(r.oldest) >= fs.opts.RunWait || fs.pending.isBusy(pool)
}
