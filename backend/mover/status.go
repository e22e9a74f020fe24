package mover

import (
	"cmp"
	stderrors "errors"
	"slices"
	"strings"
	"time"

	"sliod/backend/catalog"
	"sliod/tape"
)

// Stats counts what the mover has done since Start.
type Stats struct {
	Recalled      int64 // slivers delivered
	Failed        int64 // faults that no copy could serve
	Copied        int64 // slivers that got a further copy
	Batches       int64
	Mounts        int64
	Cleanings     int64
	ReadBytes     int64
	WrittenBytes  int64 // committed
	Verified      int64 // copies that were read and are good
	VerifiedBytes int64
}

// States of cartridges that are never used for data.
const (
	StateCleaning = "cleaning"
	stateNameless = "no barcode" // or it cannot be read
)

// VolumeStatus is one volume.
type VolumeStatus struct {
	Barcode  tape.Barcode // "" if it has none that can be read
	UUID     string
	State    string // scratch, append, full, suspect, read-only, foreign, cleaning, no barcode
	Where    string // "slot 3" (counted from 1), "drive D1", "mail slot 1", "away"
	Imported bool   // another program or archive wrote it, and its tree was imported
	Reason   string // why it is not used, or not as it could be
	Capacity int64
	Used     int64
	Dead     int64
	Room     bool // more can be archived to it
	Readable bool // it may hold data of this archive, and can be fetched
	Pool     string
	KeyID    string // of the key that it is encrypted with; "": it is in clear, or not formatted
}

// DriveStatus is one drive.
type DriveStatus struct {
	Serial   string
	Volume   tape.Barcode
	State    string // empty, mounting, idle, reading, writing, unmounting, busy (lent), cleaning, blocked (by the library), failed
	Position tape.Position
	Job      string
	Err      error // the last that it was blamed for
}

// QueueStatus is what waits for one volume.
type QueueStatus struct {
	Volume  tape.Barcode // "" for recalls that wait for space in the cache
	Slivers int
	Waiters int // parked requests, when they were last counted
	Since   time.Time
	Done    time.Time // estimate of when all that is queued will be there; zero: not known
}

// Status is a picture of the mover at one moment.
type Status struct {
	Library     string
	Volumes     []VolumeStatus
	Drives      []DriveStatus
	Recalls     []QueueStatus
	Archive     int // files that wait for archiving, or for a further copy
	NoTapeSpace bool
	Errors      []TapeError // the last ones, oldest first
	Estimates   Accuracy    // since Start
	Stats       Stats
}

// Status returns what the mover is doing.
func (m *Mover) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Status{
		Library: m.lib.Name, Archive: m.queued + len(m.copyInbox), NoTapeSpace: m.noTape,
		Errors: slices.Clone(m.errs), Stats: m.stats, Estimates: m.est.accuracy,
	}
	for _, v := range m.volumes {
		s.Volumes = append(s.Volumes, m.volumeStatusLocked(v))
	}
	s.Volumes = append(s.Volumes, m.nameless...)
	slices.SortStableFunc(s.Volumes, func(a, b VolumeStatus) int { return strings.Compare(string(a.Barcode), string(b.Barcode)) })
	for _, d := range m.drives {
		ds := DriveStatus{Serial: d.tape.Serial(), State: driveStateNames[d.state], Position: d.position, Job: d.job, Err: d.lastErr}
		if v := cmp.Or(d.vol, d.lent); v != nil {
			ds.Volume = v.barcode()
		}
		if d.cleanSoon && ds.Err == nil && m.cleanerLocked(d) == nil {
			ds.Err = errNoCleaner
		}
		if d.failed {
			ds.State = driveStateNames[driveFailed]
		}
		if d.blocked != "" && d.out() {
			ds.State, ds.Err = driveStateNames[driveBlocked], stderrors.New(d.blocked)
		}
		s.Drives = append(s.Drives, ds)
	}
	s.Recalls = m.queueStatusLocked()
	return s
}

func (m *Mover) volumeStatusLocked(v *volume) VolumeStatus {
	vs := VolumeStatus{
		Barcode: v.barcode(), UUID: v.rec().UUID, Imported: v.rec().Flags&catalog.VolImported != 0, State: v.rec().State.String(), Where: m.whereLocked(v), Reason: v.why,
		Capacity: v.rec().Capacity, Used: v.rec().Used, Dead: v.rec().Dead, Room: v.isTarget(), Readable: v.readable(), Pool: v.rec().Pool, KeyID: v.rec().KeyID,
	}
	if foreign(v.rec()) {
		vs.State = "foreign"
	}
	if vs.Reason == "" && (v.rec().State == catalog.VolSuspect || v.rec().State == catalog.VolReadOnly) {
		vs.Reason = v.because
	}
	if v.cleaner {
		vs.State, vs.Reason = StateCleaning, cmp.Or(v.why, v.expired)
	}
	return vs
}

func (m *Mover) queueStatusLocked() []QueueStatus {
	byVolume := map[tape.Barcode]*QueueStatus{}
	now := time.Now()
	for _, r := range m.recalls {
		b := tape.Barcode("")
		switch {
		case r.state == inInbox || r.state == locating:
			continue
		case r.state == active:
			b = m.barcodeLocked(r)
		case r.vol != nil:
			b = r.vol.barcode()
		}
		q := byVolume[b]
		if q == nil {
			q = &QueueStatus{Volume: b, Since: r.since}
			byVolume[b] = q
		}
		if eta, ok := m.etaLocked(r, now); ok && eta.After(q.Done) {
			q.Done = eta
		}
		q.Slivers++
		q.Waiters += r.waiters
		if r.since.Before(q.Since) {
			q.Since = r.since
		}
	}
	qs := make([]QueueStatus, 0, len(byVolume))
	for _, q := range byVolume {
		qs = append(qs, *q)
	}
	slices.SortFunc(qs, func(a, b QueueStatus) int { return strings.Compare(string(a.Volume), string(b.Volume)) })
	return qs
}

func (m *Mover) barcodeLocked(r *recall) tape.Barcode {
	if v := m.volumes[r.copy.Volume]; v != nil {
		return v.barcode()
	}
	return ""
}
