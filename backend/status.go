package backend

import (
	"os"
	"time"

	"sliod/backend/catalog"
	"sliod/backend/mover"
)

// spaceTTL is how old the library's space in a statfs answer may be.
const spaceTTL = time.Second

// Status implements Admin.
func (fs *FS) Status() Status {
	c, m := fs.cache.Stats(), fs.mover.Status()
	return Status{
		Version:   fs.opts.Version,
		PID:       os.Getpid(),
		State:     fs.opts.Dir,
		StartedAt: fs.started,
		Listen:    fs.opts.Listen,
		Files:     fs.files.Load(),
		Cache: CacheInfo{SizeBytes: c.SizeBytes, UsedBytes: c.UsedBytes, DirtyBytes: c.DirtyBytes, Evictions: c.Evictions,
			StubBytes: c.HeadBytes, StubReads: c.HeadHits},
		Tape: tapeInfo(&m),

		Parked:     int64(c.Parked),
		Faults:     int64(c.Faulting),
		FaultsDone: m.Stats.Recalled,
		FaultsFail: m.Stats.Failed,
		Estimates:  estimates(m.Estimates),
	}
}

func tapeInfo(m *mover.Status) TapeInfo {
	t := TapeInfo{Library: m.Library, Drives: len(m.Drives), Volumes: len(m.Volumes), WrittenBytes: m.Stats.WrittenBytes, ReadBytes: m.Stats.ReadBytes}
	for _, v := range m.Volumes {
		if v.Barcode == "" || v.State == mover.StateCleaning {
			t.Volumes--
			continue
		}
		t.CapacityBytes += v.Capacity
		t.UsedBytes += v.Used
		if v.Room {
			t.FreeBytes += max(0, v.Capacity-v.Used)
		}
	}
	return t
}

// tapeSpace returns the library's space, for statfs, which programs call often.
func (fs *FS) tapeSpace() TapeInfo {
	fs.space.mu.Lock()
	defer fs.space.mu.Unlock()
	if now := time.Now(); now.Sub(fs.space.at) > spaceTTL {
		m := fs.mover.Status()
		fs.space.info, fs.space.at = tapeInfo(&m), now
	}
	return fs.space.info
}

// Volumes implements Admin.
func (fs *FS) Volumes() []VolumeInfo {
	all := []VolumeInfo{}
	passes := fs.passesOf()
	for _, v := range fs.mover.Status().Volumes {
		encryption := ""
		switch {
		case v.KeyID != "":
			encryption = "on"
		case v.UUID != "" && v.State != catalog.VolScratch.String():
			encryption = "off"
		}
		p := passes[string(v.Barcode)]
		all = append(all, VolumeInfo{VerifiedAt: shownTime(p.Verified), VerifyingSince: shownTime(p.Begun), BadCopies: fs.bad.count(p.Volume), Barcode: string(v.Barcode), UUID: v.UUID, Pool: v.Pool, Encryption: encryption, KeyID: v.KeyID, Imported: v.Imported, State: v.State, Where: v.Where, Reason: v.Reason,
			CapacityBytes: v.Capacity, UsedBytes: v.Used, DeadBytes: v.Dead})
	}
	return all
}

// Drives implements Admin.
func (fs *FS) Drives() []DriveInfo {
	all := []DriveInfo{}
	for _, d := range fs.mover.Status().Drives {
		i := DriveInfo{Serial: d.Serial, Volume: string(d.Volume), State: d.State, Job: d.Job}
		if d.Volume != "" {
			i.Position = d.Position.String()
		}
		if d.Err != nil {
			i.Error = d.Err.Error()
		}
		all = append(all, i)
	}
	return all
}

// Queue implements Admin.
func (fs *FS) Queue() Queue {
	m := fs.mover.Status()
	q := Queue{Recalls: []QueueEntry{}, Jobs: fs.jobsShown()}
	for _, r := range m.Recalls {
		q.Recalls = append(q.Recalls, QueueEntry{Volume: string(r.Volume), Slivers: r.Slivers, Requests: r.Waiters, Since: r.Since, ETA: r.Done})
	}
	q.Archive.Files = m.Archive
	for _, e := range m.Errors {
		q.Errors = append(q.Errors, TapeError{Time: e.Time, Op: e.Op, Volume: string(e.Volume), Drive: e.Drive, Position: e.Position,
			Kind: e.Kind, Message: e.Err.Error()})
	}
	return q
}
