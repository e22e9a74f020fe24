package mover

import (
	"io"
	"time"

	"github.com/sirupsen/logrus"

	"sliod/tape/schedule"
)

// Config are the mover's settings. A zero value of a field stands for its
// default.
type Config struct {
	Log *logrus.Entry

	// BatchBytes and BatchTime end a batch: what was written is flushed to the
	// medium and committed. A batch also ends when nothing more is queued.
	BatchBytes int64         // default 1 GiB
	BatchTime  time.Duration // default 30 s

	// SHA256: the SHA-256 of files that are archived whole is put in the index.
	SHA256 bool

	// ReadAhead is the number of slivers after a recalled one for which
	// Files.Next is asked; negative: none. Default DefaultReadAhead.
	ReadAhead int

	// IndexBytes and IndexInterval: a volume gets a new index after this many
	// bytes, or this long after the first byte that its newest index lacks.
	IndexBytes    int64         // default 64 GiB
	IndexInterval time.Duration // default 10 min
	// IndexIdle: files that have only new attributes are archived when the index
	// is on tape; it is written when the queue has been empty for this long.
	IndexIdle time.Duration // default 2 s

	// Linger is how long a volume that nobody needs stays in its drive. Default
	// 1 min; negative: none.
	Linger time.Duration

	// BackgroundWait is how long work in the background, as verifying volumes, waits for a
	// drive that has nothing else to do. After it, it has a drive for a turn (Schedule.Turn) like any other
	// work. Default 1 h.
	BackgroundWait time.Duration

	// Look is how often the library is asked what is where, beside when that matters: a
	// cartridge that was put in by hand is noticed. Default 1 min; negative: never.
	Look time.Duration
	// LookAgain: somebody who wants a volume that is not in the library has it looked for again,
	// unless that was done within this time. Default 10 s; negative: always.
	LookAgain time.Duration
	// Cleaning are patterns (path.Match) of the barcodes of cleaning cartridges. Default "CLN*".
	Cleaning []string

	// Pools have the volumes' pools and keys; nil: there are none.
	Pools Pools

	// BlockSize is the record size of newly formatted volumes. Default 512 KiB.
	BlockSize int
	// WriteShare and ReadShare are the shares of the drives, from 0 to 1, that may
	// archive and recall at the same time; see shares.go. Defaults 0.5 and 1.
	WriteShare, ReadShare float64
	// ArchiveDrives and RecallDrives are the same as numbers. Default: what the shares
	// say, at least 1.
	ArchiveDrives, RecallDrives int
	// Goal is what the order of the recalls on a volume is good for. Default schedule.LeastTime.
	Goal schedule.Goal
	// Schedule is the choice between volumes. Default schedule.DefaultPolicy.
	Schedule schedule.Policy
}

// DefaultReadAhead is the default of Config.ReadAhead.
const DefaultReadAhead = 8

func (c Config) withDefaults(drives int) Config {
	if c.Log == nil {
		quiet := logrus.New()
		quiet.SetOutput(io.Discard)
		c.Log = logrus.NewEntry(quiet)
	}
	setDefault(&c.BatchBytes, 1<<30)
	setDefault(&c.BatchTime, 30*time.Second)
	setDefault(&c.ReadAhead, DefaultReadAhead)
	setDefault(&c.IndexBytes, 64<<30)
	setDefault(&c.IndexInterval, 10*time.Minute)
	setDefault(&c.IndexIdle, 2*time.Second)
	setDefault(&c.Linger, time.Minute)
	setDefault(&c.BackgroundWait, time.Hour)
	setDefault(&c.Look, time.Minute)
	setDefault(&c.LookAgain, 10*time.Second)
	if c.Cleaning == nil {
		c.Cleaning = []string{"CLN*"}
	}
	if c.Pools == nil {
		c.Pools = noPools{}
	}
	setDefault(&c.BlockSize, 512<<10)
	setDefault(&c.WriteShare, 0.5)
	setDefault(&c.ReadShare, 1)
	setDefault(&c.ArchiveDrives, schedule.Share(c.WriteShare, drives))
	setDefault(&c.RecallDrives, schedule.Share(c.ReadShare, drives))
	setDefault(&c.Goal, schedule.LeastTime)
	setDefault(&c.Schedule, schedule.DefaultPolicy)
	return c
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// Field keys of the log.
const (
	fieldVolume = "volume"
	fieldDrive  = "drive"
	fieldFile   = "file"
)
