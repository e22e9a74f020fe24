package backend

import "time"

// JobKind says what a job does to its paths, or to its volumes.
type JobKind string

// Kinds of jobs.
const (
	JobArchive JobKind = "archive" // copy dirty slivers to tape
	JobEvict   JobKind = "evict"   // drop the cached copy of archived slivers
	JobRecall  JobKind = "recall"  // bring slivers back from tape
	JobPin     JobKind = "pin"     // keep in the cache
	JobUnpin   JobKind = "unpin"   // let go again

	JobFormat        JobKind = "format"         // BARCODE [force]: make a volume empty
	JobLabel         JobKind = "label"          // BARCODE [TEXT]: give a volume a name for people
	JobVolumesImport JobKind = "volumes-import" // [BARCODE...]: from the mail slots into the library
	JobDrivesReset   JobKind = "drives-reset"   // SERIAL...: put drives back in service
	JobVolumesExport JobKind = "volumes-export" // BARCODE...: to the mail slots
	JobVolumesSet    JobKind = "volumes-set"    // BARCODE STATE: what a volume may be used for
	JobVerifyFormat  JobKind = "verify-format"  // BARCODE [data]: check a volume against the rules of LTFS
	JobReclaim       JobKind = "reclaim"        // BARCODE...: move what is needed to other volumes, and make them scratch
	JobVerify        JobKind = "verify"         // [volume=BARCODE...] [PATH...]: read copies on tape and compare them with their checksums
	JobImport        JobKind = "import"         // BARCODE [PATH] [KEY=VALUE...]: show the tree of a foreign volume
)

// OnPaths says whether the arguments of such a job are paths of the archive; else they
// are those of a job on volumes.
func (k JobKind) OnPaths() bool {
	switch k {
	case JobArchive, JobEvict, JobRecall, JobPin, JobUnpin:
		return true
	}
	return false
}

// JobStatus is a job as `sliod queue --json` and ctl's job files show it.
type JobStatus struct {
	ID       uint64   `json:"id"`
	Kind     JobKind  `json:"kind"`
	Paths    []string `json:"paths"`              // of a job on volumes: empty
	Volumes  []string `json:"volumes,omitempty"`  // of a job on volumes: their barcodes
	Step     string   `json:"step,omitempty"`     // what a job on volumes does just now
	Notes    []string `json:"notes,omitempty"`    // what a job on volumes has to tell
	State    string   `json:"state"`              // "running", "done", "failed", "cancelled"
	Priority Priority `json:"priority,omitempty"` // of a job on files
	Listed   int64    `json:"listed,omitempty"`   // paths that the job was given, if paths has not all of them
	// PinnedUntil is until when the job pins its files. None: it does not.
	PinnedUntil time.Time `json:"pinned_until,omitzero"`
	Files       int64     `json:"files"` // found so far
	FilesDone   int64     `json:"files_done"`
	Bytes       int64     `json:"bytes"` // to move, found so far
	BytesDone   int64     `json:"bytes_done"`
	Failed      int64     `json:"failed"`           // files that could not be done
	Errors      []string  `json:"errors,omitempty"` // the first few, each with its path
	StartedAt   time.Time `json:"started_at"`
	FinishedAt  time.Time `json:"finished_at,omitzero"`
	// ETA is when a job on files that runs will be done, by an estimate. None: it is not known.
	ETA time.Time `json:"eta,omitzero"`
}

// Status is what `sliod status --json` prints.
type Status struct {
	Version    string    `json:"version"`
	PID        int       `json:"pid"`
	State      string    `json:"state_dir"`
	StartedAt  time.Time `json:"started_at"`
	Listen     []string  `json:"listen"`
	Files      int64     `json:"files"` // and directories
	Cache      CacheInfo `json:"cache"`
	Tape       TapeInfo  `json:"tape"`
	Parked     int64     `json:"parked_requests"`
	Faults     int64     `json:"faults"`        // faults in flight
	FaultsDone int64     `json:"faults_done"`   // since start
	FaultsFail int64     `json:"faults_failed"` // since start
	Estimates  Estimates `json:"estimates"`     // of when recalls would be done, since start
}

// Estimates compares estimates of single recalls with what came.
type Estimates struct {
	Compared         int64   `json:"compared"`
	EstimatedSeconds float64 `json:"estimated_seconds"` // mean
	TookSeconds      float64 `json:"took_seconds"`      // mean
	OffSeconds       float64 `json:"off_seconds"`       // mean difference, without its sign
	Close            int64   `json:"close"`             // off by a fifth at most, or by a second
}

// CacheInfo describes the page cache, in bytes.
type CacheInfo struct {
	SizeBytes  int64 `json:"size_bytes"`
	UsedBytes  int64 `json:"used_bytes"`
	DirtyBytes int64 `json:"dirty_bytes"`
	Evictions  int64 `json:"evictions"`
	StubBytes  int64 `json:"stub_bytes"` // see cache.stub
	StubReads  int64 `json:"stub_reads"` // of files on tape, since the start
}

// TapeInfo describes the library, in bytes.
type TapeInfo struct {
	Library       string `json:"library"`
	Drives        int    `json:"drives"`
	Volumes       int    `json:"volumes"`
	CapacityBytes int64  `json:"capacity_bytes"`
	UsedBytes     int64  `json:"used_bytes"`
	FreeBytes     int64  `json:"free_bytes"`    // on volumes that can still be written
	WrittenBytes  int64  `json:"written_bytes"` // since start
	ReadBytes     int64  `json:"read_bytes"`    // since start
}

// VolumeInfo is one volume as `sliod volumes --json` prints it.
type VolumeInfo struct {
	Barcode       string `json:"barcode"`
	UUID          string `json:"uuid,omitempty"`
	State         string `json:"state"`            // scratch, append, full, suspect, read-only, foreign, cleaning, "no barcode"
	Where         string `json:"where"`            // "slot 3", "drive D1", "mail slot 1", "away"
	Reason        string `json:"reason,omitempty"` // why it is not used, or not as it could be
	CapacityBytes int64  `json:"capacity_bytes"`
	UsedBytes     int64  `json:"used_bytes"`
	DeadBytes     int64  `json:"dead_bytes"`
	Pool          string `json:"pool,omitempty"`
	Encryption    string `json:"encryption,omitempty"` // "on" or "off"; none: the volume is not formatted
	KeyID         string `json:"key_id,omitempty"`     // of the key that it is encrypted with
	Imported      bool   `json:"imported,omitempty"`   // another program or archive wrote it, and its tree was imported
	// VerifiedAt: all that it held then was read at this time or later; none: never.
	VerifiedAt time.Time `json:"verified_at,omitzero"`
	// VerifyingSince: a pass over it was begun then and is not at its end.
	VerifyingSince time.Time `json:"verifying_since,omitzero"`
	BadCopies      int       `json:"bad_copies,omitempty"` // slivers whose copy on it could not be read, or is not what was written
}

// DriveInfo is one drive as `sliod drives --json` prints it.
type DriveInfo struct {
	Serial   string `json:"serial"`
	Volume   string `json:"volume,omitempty"`
	State    string `json:"state"` // empty, mounting, idle, reading, writing, unmounting, failed
	Position string `json:"position,omitempty"`
	Job      string `json:"job,omitempty"`
	Error    string `json:"error,omitempty"`
}

// QueueEntry is one volume's waiting recalls as `sliod queue --json` prints it.
type QueueEntry struct {
	Volume   string    `json:"volume"`
	Slivers  int       `json:"slivers"`
	Requests int       `json:"requests"` // parked requests that wait for them
	Since    time.Time `json:"since"`    // the oldest
	// ETA is when all of them will be there, by an estimate. None: it is not known.
	ETA time.Time `json:"eta,omitzero"`
}

// TapeError is one of the last errors of the library.
type TapeError struct {
	Time     time.Time `json:"time"`
	Op       string    `json:"op"`
	Volume   string    `json:"volume,omitempty"`
	Drive    string    `json:"drive,omitempty"`
	Position string    `json:"position,omitempty"`
	Kind     string    `json:"kind"`
	Message  string    `json:"message"`
}

// Queue is what `sliod queue --json` prints.
type Queue struct {
	Recalls []QueueEntry `json:"recalls"`
	Jobs    []JobStatus  `json:"jobs"`
	Archive struct {
		Files int `json:"files"`
	} `json:"archive"`
	Errors []TapeError `json:"errors,omitempty"`
}

// Admin is what the control tree needs of the archive. *FS implements it.
type Admin interface {
	Status() Status
	Volumes() []VolumeInfo
	Drives() []DriveInfo
	Queue() Queue
	// StartJob begins a job. The arguments are paths of the archive (absolute or
	// relative to its root; directories stand for all below them), or those of a job on
	// volumes. A path or a volume that does not exist is an error, and then nothing is started.
	StartJob(kind JobKind, args []string) (id uint64, err error)
	// NewJob begins a job on files whose paths come in parts.
	NewJob(kind JobKind, o JobOptions) (JobList, error)
	// CancelJob ends a job on files before it is done. What it has done stays. ENOENT:
	// there is no such job; EINVAL: it has ended, or is one on volumes.
	CancelJob(id uint64) error
	// SetJobPriority changes the priority of a recall that runs, also of what waits for tape already. It
	// survives a restart. ENOENT: there is no such job; EINVAL: it has ended, or is no recall.
	SetJobPriority(id uint64, p Priority) error
	// ReleaseJob ends the pins of a job. EINVAL: it has none.
	ReleaseJob(id uint64) error
	Job(id uint64) (JobStatus, bool)
	Jobs() []JobStatus
}
