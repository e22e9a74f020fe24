package simulate

import (
	"slices"
	"strings"
	"time"

	"github.com/pkg/errors"

	"sliod/tape/geometry"
	"sliod/tape/schedule"
)

// Choice is how a drive chooses the volume that it serves next.
type Choice uint8

// Choices.
const (
	// ByPolicy is how the server does it: schedule.Policy.
	ByPolicy Choice = iota
	// Oldest takes the volume whose oldest request waits longest, and keeps it until nothing
	// waits for it.
	Oldest
)

// Config says what library to simulate, and how it decides. A zero value of a field stands for
// its default.
type Config struct {
	Drives     int    // default 2
	Slots      int    // default 16: as many volumes there can be
	Generation string // "LTO-5" to "LTO-9"; default LTO-9
	Capacity   int64  // of a volume in bytes; default: a real one's
	BlockSize  int    // of records, bytes; default 512 KiB

	Order  Order
	Goal   schedule.Goal // of the order Sliod: LeastTime or LeastWait; default LeastTime
	Choice Choice
	Policy schedule.Policy // default schedule.DefaultPolicy
	// Linger is how long a volume that nobody needs stays in its drive. Default 1 min;
	// negative: none.
	Linger time.Duration
	// ArchiveDrives and RecallDrives are how many drives may archive and recall at the same time,
	// while there is work of both kinds. Defaults: half of them, at least 1, and all.
	ArchiveDrives, RecallDrives int
	// BatchBytes is how much is written between two flushes. Default 1 GiB.
	BatchBytes int64

	// MaxWaiting is how many requests may wait at once: they are what takes memory, and when they grow
	// without end the library cannot do the work. Default 2 million.
	MaxWaiting int
	// Begins is told of every step that a drive begins, if it is not nil.
	Begins func(Event)
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// check fills defaults in and returns the model of the generation.
func (c *Config) check() (geometry.Generation, error) {
	setDefault(&c.Drives, 2)
	setDefault(&c.Slots, 16)
	setDefault(&c.Generation, "LTO-9")
	setDefault(&c.BlockSize, 512<<10)
	setDefault(&c.Goal, schedule.LeastTime)
	setDefault(&c.Policy, schedule.DefaultPolicy)
	setDefault(&c.Linger, time.Minute)
	setDefault(&c.ArchiveDrives, max(1, c.Drives/2))
	setDefault(&c.RecallDrives, c.Drives)
	setDefault(&c.BatchBytes, 1<<30)
	setDefault(&c.MaxWaiting, 2_000_000)
	g, ok := geometry.ByName(c.Generation)
	if !ok || !slices.Contains(geometry.Names(), c.Generation) {
		return g, errors.Errorf("there is no cartridge type %q: give one of %s", c.Generation, strings.Join(geometry.Names(), ", "))
	}
	setDefault(&c.Capacity, g.Capacity)
	switch {
	case c.Drives < 1 || c.Drives > 200:
		return g, errors.Errorf("%d drives: give 1 to 200", c.Drives)
	case c.Slots < 1 || c.Slots > 100_000:
		return g, errors.Errorf("%d slots: give 1 to 100000", c.Slots)
	case c.Capacity < 1<<20 || c.Capacity > g.Capacity:
		return g, errors.Errorf("a capacity of %d bytes: give 1 MiB to that of %s, %d", c.Capacity, c.Generation, g.Capacity)
	case c.BlockSize < 512 || c.BlockSize > 8<<20:
		return g, errors.Errorf("records of %d bytes: give 512 to 8 MiB", c.BlockSize)
	case slices.Min(c.Policy.MaxWait[:]) < 0 || slices.Min(c.Policy.Turn[:]) < 0:
		return g, errors.New("a time of the policy is below 0")
	case c.ArchiveDrives < 0 || c.RecallDrives < 0 || c.BatchBytes < 1 || c.MaxWaiting < 1:
		return g, errors.New("the number of drives that archive, the batch and the number of requests that may wait must be more than 0")
	}
	return g, nil
}
