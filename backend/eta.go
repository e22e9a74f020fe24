package backend

import (
	"time"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/mover"
	"sliod/backend/sliver"
)

// eta is when the job will be done: zero if it is not known. Of a recall the mover knows when the
// slivers will be there that the job waits for; what is behind them takes as long, byte for byte. Other
// jobs go on as fast as they have gone till now.
func (r *pathJob) eta(s *JobStatus, now time.Time) time.Time {
	left := s.Bytes - s.BytesDone
	if left <= 0 {
		return time.Time{}
	}
	if s.Kind != JobRecall {
		if s.BytesDone == 0 {
			return time.Time{}
		}
		took := now.Sub(s.StartedAt).Seconds()
		return now.Add(time.Duration(took * float64(left) / float64(s.BytesDone) * float64(time.Second)))
	}
	r.mu.Lock()
	keys := make([]sliver.Key, 0, len(r.waiting))
	bytes := int64(0)
	for w := range r.waiting {
		keys = append(keys, w.key)
		bytes += w.bytes
	}
	r.mu.Unlock()
	at, known := r.fs.mover.ETA(keys)
	if known == 0 || bytes == 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(float64(at.Sub(now)) * max(1, float64(left)/float64(bytes))))
}

// etaXattr is the value of user.sliod.eta: when what is on its way of the file will be there. ENODATA: nothing
// is, or it is not known.
func (ino *inode) etaXattr() ([]byte, error) {
	fs := ino.fs
	var keys []sliver.Key
	for _, n := range fs.cache.FaultingSlivers(ino.id) {
		keys = append(keys, sliver.Key{File: ino.id, No: n})
	}
	at, known := fs.mover.ETA(keys)
	if known == 0 {
		return nil, linux.ENODATA
	}
	return []byte(at.UTC().Format(time.RFC3339)), nil
}

func estimates(a mover.Accuracy) (e Estimates) {
	e.Compared, e.Close = a.Compared, a.Close
	if n := float64(a.Compared); n > 0 {
		e.EstimatedSeconds, e.TookSeconds, e.OffSeconds = a.Estimated.Seconds()/n, a.Took.Seconds()/n, a.Off.Seconds()/n
	}
	return e
}
