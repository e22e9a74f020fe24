package virtual

import (
	"slices"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
)

// Config says what library to emulate.
type Config struct {
	Dir          string // holds the library; made if it is not there
	Drives       int    // at least 1
	Slots        int    // at least 1
	ImportExport int    // elements of the mail slot
	Cartridges   int    // made when the library is new; 0: one for every slot
	Cleaners     int    // cleaning cartridges, made when the library is new and put into the last slots
	Cartridge    string // "LTO-5" to "LTO-9"; "": LTO-9
	Capacity     int64  // of a new cartridge in bytes, at least 1 MiB; 0: the real one's
	EarlyWarning int64  // bytes before the end of a partition; 0: 3 %, at least 1 MiB, at most a quarter
	Profile      string // what the drives are like: ProfileModern, ProfileOld, ProfileSSC2
	// NoEncryption: the drives cannot encrypt; else they do, as LTO drives do since LTO-4.
	NoEncryption bool
	Speed        float64
	Clock        Clock   // nil: the machine's
	Faults       []Fault // set from the start; ParseFaults reads them from a file
	Log          *logrus.Entry
}

const (
	minCapacity   = 1 << 20
	maxElements   = 3000 // of a kind: keeps the address ranges apart
	maxPartitions = 2
	maxRecord     = 8 << 20
)

func (c *Config) check() (generation, error) {
	if c.Cartridge == "" {
		c.Cartridge = "LTO-9"
	}
	g, ok := generations[c.Cartridge]
	switch {
	case c.Dir == "":
		return g, errors.New("virtual: no directory was given for the library")
	case !ok:
		return g, errors.Errorf("virtual: there is no cartridge type %q: give LTO-5, LTO-6, LTO-7, LTO-8 or LTO-9", c.Cartridge)
	case c.Drives < 1 || c.Drives > 200:
		return g, errors.Errorf("virtual: %d drives: give 1 to 200", c.Drives)
	case c.Slots < 1 || c.Slots > maxElements:
		return g, errors.Errorf("virtual: %d slots: give 1 to %d", c.Slots, maxElements)
	case c.ImportExport < 0 || c.ImportExport > 200:
		return g, errors.Errorf("virtual: %d import/export elements: give 0 to 200", c.ImportExport)
	case c.Cartridges < 0 || c.Cartridges > c.Slots:
		return g, errors.Errorf("virtual: %d cartridges do not fit into %d slots", c.Cartridges, c.Slots)
	case c.Cleaners < 0 || c.Cleaners > min(c.Slots-max(c.Cartridges, 1), 99):
		return g, errors.Errorf("virtual: %d cleaning cartridges do not fit into %d slots beside the others", c.Cleaners, c.Slots)
	case c.Capacity != 0 && c.Capacity < minCapacity:
		return g, errors.Errorf("virtual: a capacity of %d bytes: give at least %d", c.Capacity, minCapacity)
	case slices.ContainsFunc(c.Faults, func(f Fault) bool { return f.Device >= c.Drives }):
		return g, errors.Errorf("virtual: a fault names a drive that is not there: the last of %d is number %d", c.Drives, c.Drives-1)
	case c.EarlyWarning < 0:
		return g, errors.Errorf("virtual: an early warning of %d bytes", c.EarlyWarning)
	case c.Profile != ProfileModern && c.Profile != ProfileOld && c.Profile != ProfileSSC2:
		return g, errors.Errorf("virtual: there is no drive profile %q: give \"\", %q or %q", c.Profile, ProfileOld, ProfileSSC2)
	case !(c.Speed >= 0) || c.Speed > 1e9:
		return g, errors.Errorf("virtual: a speed of %v: give 0 for instant, 1 for a real drive's time, 60 for sixty times faster", c.Speed)
	}
	if c.Capacity == 0 {
		c.Capacity = g.Capacity
	}
	if c.Cartridges == 0 {
		c.Cartridges = c.Slots - c.Cleaners
	}
	if c.Clock == nil {
		c.Clock = wallClock{}
	}
	return g, nil
}
