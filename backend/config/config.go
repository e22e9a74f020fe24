package config

import (
	"fmt"
	"os"
	"time"

	"github.com/pkg/errors"

	"sliod/backend/policy"
	"sliod/export"
)

// Config is the whole configuration. Every field has its default in the table of
// keys; a Config is made by Default, Load or Parse, never by hand.
type Config struct {
	Server  Server
	Cache   Cache
	Archive Archive
	Recall  Recall
	Index   Index
	Mount   Mount
	Drives  Drives
	Verify  Verify
	Reclaim Reclaim
	Import  Import
	Library Library
	TLS     TLS
	Log     Log
	// Exports are the sections [export.NAME], in the order of the file.
	Exports []export.Export
	// Pools are the sections [pool.NAME], in the order of the file.
	Pools []*Pool
	// Rules are the sections [rule.NAME], in the order of the file.
	Rules []*policy.Rule
}

// Server is section [server]: where the server listens and how it talks.
type Server struct {
	// Listen holds addresses as the command line takes them. Empty: the defaults,
	// which depend on the state directory.
	Listen []string
	// MsizeBytes is the largest message that the server agrees to.
	MsizeBytes int64
}

// Cache is section [cache]: the page cache.
type Cache struct {
	SizeBytes int64
	// HighWater and LowWater are shares of SizeBytes, from 0 to 1: eviction begins
	// above HighWater and goes on until LowWater.
	HighWater, LowWater float64
	// Pinned is the share that pinned files may hold.
	Pinned float64
	// StubBytes is how much of a file's beginning eviction leaves; the size of a slot, or 0.
	StubBytes int64
	// Sync is how often data is written back that no fsync asked for.
	Sync time.Duration
	// Scrub is in what time all of the cache is compared with its checksums once. 0: never.
	Scrub time.Duration
}

// Archive is section [archive]: when dirty slivers go to tape.
type Archive struct {
	// Idle is how long a file must be left alone before it is archived.
	Idle time.Duration
	// Dirty is the share of the cache, from 0 to 1, above which archiving begins
	// whatever Idle says.
	Dirty float64
	// BatchBytes and BatchTime end a batch: what was written is then flushed to
	// the medium and committed to the catalog.
	BatchBytes int64
	BatchTime  time.Duration
	// RunBytes is how much must be due for a pool before it is archived, unless something has been due for
	// RunWait, or the cache is short.
	RunBytes int64
	RunWait  time.Duration
	// SHA256 is "on" or "off": whether files that are archived whole get their
	// SHA-256 in the index.
	SHA256 string
}

// Recall is section [recall]: what comes from tape, and who may make it.
type Recall struct {
	// Ahead is the number of slivers that are fetched after the one that a reader
	// waits for. 0: none.
	Ahead int
	// Goal is "time" or "wait": what the order on a volume is good for.
	Goal string
	// Clients is the rule for those who use no export: local peers, and the mount of serve.
	Clients export.Recall
}

// Index is section [index]: how often a volume gets a new LTFS index.
type Index struct {
	Bytes    int64
	Interval time.Duration
}

// Mount is section [mount]: volumes in drives.
type Mount struct {
	// Linger is how long a volume that nobody needs stays in its drive.
	Linger time.Duration
}

// Drives is section [drives]: how reading and writing share the drives.
type Drives struct {
	// WriteShare and ReadShare are the shares of the drives, from 0 to 1, that may
	// archive and recall at the same time.
	WriteShare, ReadShare float64
}

// Verify is section [verify]: reading what is on tape, to find what cannot be read any longer.
type Verify struct {
	// Every is how long after its last verification a volume is verified again. 0: only by command.
	Every time.Duration
}

// Reclaim is section [reclaim]: emptying volumes that hold little of use.
type Reclaim struct {
	// Dead is the share of dead bytes, from 0 to 1, above which a volume is emptied. 0: only by command.
	Dead float64
}

// Import is section [import]: what an imported volume says nothing about.
type Import struct {
	UID, GID      int    // -1: those of the server
	Mode, DirMode uint32 // permission bits
}

// Library is section [library]: the tape library.
type Library struct {
	// Kind is "virtual" or "scsi".
	Kind string
	// Changer and Devices name the changer and the drives of kind "scsi", as
	// "serial:NUMBER" or a path. Empty: what is found.
	Changer string
	Devices []string
	// Cleaning are patterns (path.Match) of the barcodes of cleaning cartridges.
	Cleaning []string
	// Dir is where the virtual library keeps its cartridges. Empty: the folder
	// "library" of the state directory.
	Dir    string
	Drives int
	Slots  int
	// MailSlots are the import/export elements of the virtual library.
	MailSlots int
	// Cartridge is the generation of drives and cartridges: "LTO-5" to "LTO-9".
	Cartridge string
	// CapacityBytes is one cartridge's capacity. 0: that of a real one.
	CapacityBytes int64
	// Speed is 0 for no delays, 1 for a real drive's times, 60 for sixty times
	// faster.
	Speed float64
	// Cleaners is how many cleaning cartridges a new virtual library has.
	Cleaners int
	// Faults is a script of faults for the virtual library. Empty: none.
	Faults string
}

// Log is section [log].
type Log struct {
	Level string
}

// Error is one mistake in a configuration file.
type Error struct {
	File string
	Line int    // from 1; 0 if the mistake has no line
	Key  string // "cache.size"; empty if no key is concerned
	Msg  string // what is wrong and what is allowed
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Msg)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg)
}

// Default returns the configuration of an empty file.
func Default() *Config {
	c := new(Config)
	for i := range keys {
		k := &keys[i]
		if k.named() {
			continue // there is none
		}
		if err := k.setDefault(c); err != nil {
			panic("config: the default of " + k.Name() + " is not allowed: " + err.Error())
		}
	}
	return c
}

// Load reads the file called name. Mistakes in it are joined *Errors; a file that
// cannot be read is an error that wraps the system's.
func Load(name string) (*Config, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, errors.Wrap(err, "read the configuration")
	}
	return Parse(name, text)
}
