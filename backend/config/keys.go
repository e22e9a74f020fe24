package config

import (
	"fmt"
	"time"

	"sliod/backend/policy"
	"sliod/export"
)

// Key is one key of the file.
type Key struct {
	Section string
	Field   string
	// Default is the default as it would be written in the file.
	Default string
	// Unit says what a value is counted in.
	Unit string
	// Meaning is one or more sentences for docs/configuration.md.
	Meaning string
	// Library is the kind of library that the key is for, a value of library.kind.
	// Empty: any. With another kind the key is refused.
	Library string

	// One of these is set: value, the field of a Config; or, for keys of sections with
	// names, pool, rule or export, that of a section.
	value  func(*Config) value
	rule   func(*policy.Rule) value
	pool   func(*Pool) value
	export func(*export.Export) value
}

// named says whether the key is of a section with a name of its own, as [pool.NAME].
func (k *Key) named() bool { return k.value == nil }

// stubSizes are the sizes of the slots of package cache, and 0.
var stubSizes = []int64{0, 4 * kib, 16 * kib, 60 * kib, 252 * kib, mib}

// Name returns the key's full name: "cache.size", "pool.NAME.key_id".
func (k *Key) Name() string {
	if k.named() {
		return k.Section + ".NAME." + k.Field
	}
	return k.Section + "." + k.Field
}

// at returns the key's field in c, in the section called name if sections have names:
// that is made if it is not there.
func (k *Key) at(c *Config, name string) value {
	switch {
	case k.pool != nil:
		return k.pool(c.poolNamed(name))
	case k.rule != nil:
		return k.rule(c.ruleNamed(name))
	case k.export != nil:
		return k.export(c.exportNamed(name))
	}
	return k.value(c)
}

// blank is a field that belongs to nothing.
func (k *Key) blank() value { return k.at(new(Config), "NAME") }

// Allowed says which values the key takes, in words.
func (k *Key) Allowed() string { return k.blank().allowed() }

func (k *Key) setDefault(c *Config) error { return k.at(c, "").setText(k.Default) }

// Keys returns the table of keys in the order of the documentation. The caller
// must not change it.
func Keys() []Key { return keys }

func init() { keys = append(append(append(keys, exportKeys...), poolKeys...), ruleKeys...) }

const (
	kib = int64(1) << 10
	mib = int64(1) << 20
	gib = int64(1) << 30
	tib = int64(1) << 40
)

var keys = []Key{
	{
		Section: "server", Field: "listen", Default: "", Unit: "addresses",
		Meaning: "Where the server listens: a list of `tcp:HOST:PORT`, `tls:HOST:PORT`, `unix:PATH` and `vsock:[CID:]PORT`. An empty list stands for " +
			"`tcp:127.0.0.1:5640` and `unix:DIR/sliod.sock`, where DIR is the state directory. `--listen` on the command line " +
			"takes the place of this key. TCP beyond loopback, TLS and vsock need an `[export.NAME]` that lets such clients in.",
		value: func(c *Config) value {
			return &texts{&c.Server.Listen, checkAddr, "a list such as [\"tcp:127.0.0.1:5640\", \"unix:/run/sliod.sock\"]"}
		},
	},
	{
		Section: "server", Field: "msize", Default: "1MiB", Unit: "size",
		Meaning: "The largest 9P message that the server agrees to. Linux asks for 128 KiB unless its mount option `msize` says more, " +
			"and takes 1 MiB at most.",
		value: func(c *Config) value { return &size{&c.Server.MsizeBytes, 8 * kib, 4 * mib, false} },
	},
	{
		Section: "cache", Field: "size", Default: "1GiB", Unit: "size",
		Meaning: "The size of the page cache. It is allocated on disk, in the state directory, when the server first starts: " +
			"a disk without room is an error then, never later.",
		value: func(c *Config) value { return &size{&c.Cache.SizeBytes, 16 * mib, 1024 * tib, false} },
	},
	{
		Section: "cache", Field: "high_water", Default: "0.9", Unit: "share of the cache",
		Meaning: "Eviction of archived slivers begins when more than this share of the cache is used.",
		value:   func(c *Config) value { return &share{&c.Cache.HighWater, 0.05, 1} },
	},
	{
		Section: "cache", Field: "low_water", Default: "0.8", Unit: "share of the cache",
		Meaning: "Eviction ends when no more than this share is used. It must be lower than `high_water`.",
		value:   func(c *Config) value { return &share{&c.Cache.LowWater, 0, 0.99} },
	},
	{
		Section: "cache", Field: "pinned", Default: "0.5", Unit: "share of the cache",
		Meaning: "Pinned files may hold this share of the cache. Pinning more is an error (ENOSPC), so that pins never keep others from getting a slot.",
		value:   func(c *Config) value { return &share{&c.Cache.Pinned, 0.01, 0.9} },
	},
	{
		Section: "cache", Field: "stub", Default: "0", Unit: "size",
		Meaning: "How much of the beginning of each archived file stays in the cache when the file is evicted, so that what only looks at a file does not bring it from tape: " +
			"a read that lies in it is answered at once. A first sliver (a file up to 1 MiB is one) that is no longer than this stays whole. The sizes are those of the cache's slots. " +
			"Stubs hold at most a quarter of the cache; those that were read least lately go first, and all of them before a writer would find no space. See cache.md. 0 turns this off.",
		value: func(c *Config) value { return &oneSize{&c.Cache.StubBytes, stubSizes} },
	},
	{
		Section: "cache", Field: "sync", Default: "5s", Unit: "time",
		Meaning: "How often data is written to disk that no program has asked to be synced. A crash of the machine loses at most this much of such data.",
		value:   func(c *Config) value { return &duration{&c.Cache.Sync, 100 * time.Millisecond, time.Hour} },
	},
	{
		Section: "cache", Field: "scrub", Default: "30d", Unit: "time",
		Meaning: "In what time all that is in the cache and on tape is compared with its checksums once, slowly: 10 TB in 30 days are 4 MB a second. What the disk has " +
			"changed is dropped and read from tape again when it is needed. 0 turns this off.",
		value: func(c *Config) value { return &duration{&c.Cache.Scrub, 0, 10 * 365 * 24 * time.Hour} },
	},
	{
		Section: "archive", Field: "idle", Default: "30s", Unit: "time",
		Meaning: "A file is archived when nothing has been written to it for this long.",
		value:   func(c *Config) value { return &duration{&c.Archive.Idle, 0, 30 * 24 * time.Hour} },
	},
	{
		Section: "archive", Field: "dirty", Default: "0.3", Unit: "share of the cache",
		Meaning: "When more than this share of the cache holds data that is not on tape yet, archiving begins without waiting for `idle`. It must not be higher than `cache.high_water`.",
		value:   func(c *Config) value { return &share{&c.Archive.Dirty, 0.01, 0.95} },
	},
	{
		Section: "archive", Field: "batch_bytes", Default: "1GiB", Unit: "size",
		Meaning: "After this many bytes written to a volume, what was written is flushed to the medium and committed to the catalog; " +
			"only then may it be evicted. Smaller batches make cache space free sooner; larger ones let the drive stream longer.",
		value: func(c *Config) value { return &size{&c.Archive.BatchBytes, mib, 64 * tib, false} },
	},
	{
		Section: "archive", Field: "batch_time", Default: "30s", Unit: "time",
		Meaning: "The same as `batch_bytes`, by time: a batch ends at the latest this long after its first byte.",
		value:   func(c *Config) value { return &duration{&c.Archive.BatchTime, 100 * time.Millisecond, time.Hour} },
	},
	{
		Section: "archive", Field: "run_bytes", Default: "1GiB", Unit: "size",
		Meaning: "What is due by `idle` waits until this many bytes are due for a pool, so that the drive gets a run of work and streams, instead of stopping behind each file. `run_wait`, `dirty`, a cache that is short of " +
			"slots, a command and a batch that is being written end the wait. A virtual library without delays never waits.",
		value: func(c *Config) value { return &size{&c.Archive.RunBytes, 0, 64 << 40, false} },
	},
	{
		Section: "archive", Field: "run_wait", Default: "5m", Unit: "time",
		Meaning: "How long what is due waits at most for `run_bytes`.",
		value:   func(c *Config) value { return &duration{&c.Archive.RunWait, 0, 24 * time.Hour} },
	},
	{
		Section: "archive", Field: "sha256", Default: "on", Unit: "word",
		Meaning: "Whether the SHA-256 of a file that is archived whole is put in the volume's index, where other programs look for it " +
			"(`ltfs.hash.sha256sum`). It takes a part of a processor core while the drive writes.",
		value: func(c *Config) value { return &choice{&c.Archive.SHA256, []string{"on", "off"}} },
	},
	{
		Section: "recall", Field: "ahead", Default: "8", Unit: "slivers (MiB)",
		Meaning: "How many slivers after the one that somebody waits for are brought from tape in the same pass. 0 turns this off.",
		value:   func(c *Config) value { return &count{&c.Recall.Ahead, 0, 4096} },
	},
	{
		Section: "recall", Field: "goal", Default: "time", Unit: "word",
		Meaning: "What the order in which slivers are read from a volume is good for. `time`: all that waits is done as early as possible; drives that recommend an order (RAO, LTO-9) are asked for theirs. " +
			"`wait`: those who wait do so as short as possible on average; what is near and short goes first, and the whole takes longer. `time` is the default, as a file is of use when the last of its slivers is there, " +
			"and as drives that are done sooner keep queues short for all.",
		value: func(c *Config) value { return &choice{&c.Recall.Goal, []string{"time", "wait"}} },
	},
	recallKey("clients", "allow", "word", recallMeaning+" This is for those who use no export: local peers, and the mount of `sliod serve --mount`; an `[export.NAME]` has its own rule.",
		func(r *export.Recall) value { return recallMode(r) }),
	recallKey("files", "0", "files", recallFiles, func(r *export.Recall) value { return &count{&r.Files, 0, 1e9} }),
	recallKey("bytes", "0B", "size", recallBytes, func(r *export.Recall) value { return &size{&r.Bytes, 16 * mib, 1024 * tib, true} }),
	recallKey("per", "1h", "time", recallPer, func(r *export.Recall) value { return &duration{&r.Per, time.Second, 31 * 24 * time.Hour} }),
	recallKey("users", "", "users", recallUsers, func(r *export.Recall) value { return recallExceptions(r) }),
	recallKey("error", "EAGAIN", "word", recallError, func(r *export.Recall) value { return &choice{&r.Error, export.RecallErrors} }),
	{
		Section: "index", Field: "bytes", Default: "64GiB", Unit: "size",
		Meaning: "A volume gets a new LTFS index after this many bytes were written to it. An index is written as well when the volume is unmounted. " +
			"Data after the newest index is known to the catalog only.",
		value: func(c *Config) value { return &size{&c.Index.Bytes, mib, 64 * tib, false} },
	},
	{
		Section: "index", Field: "interval", Default: "10m", Unit: "time",
		Meaning: "A volume gets a new LTFS index at the latest this long after the first byte that its newest index does not name.",
		value:   func(c *Config) value { return &duration{&c.Index.Interval, time.Second, 7 * 24 * time.Hour} },
	},
	{
		Section: "mount", Field: "linger", Default: "1m", Unit: "time",
		Meaning: "How long a volume that nobody needs stays in its drive before it goes back to its slot. A drive that another volume needs is " +
			"given up at once.",
		value: func(c *Config) value { return &duration{&c.Mount.Linger, 0, 24 * time.Hour} },
	},
	{
		Section: "drives", Field: "write_share", Default: "0.5", Unit: "share of the drives",
		Meaning: "At most this share of the drives, and at least one drive, archives at the same time, so that recalls find a drive.",
		value:   func(c *Config) value { return &share{&c.Drives.WriteShare, 0, 1} },
	},
	{
		Section: "drives", Field: "read_share", Default: "1", Unit: "share of the drives",
		Meaning: "While there is archive work that a drive could do, at most this share of the drives, and at least one drive, recalls at the same time. " +
			"With 0.75 and four drives, one of them is left to writing as long as there is something to write.",
		value: func(c *Config) value { return &share{&c.Drives.ReadShare, 0, 1} },
	},
	{
		Section: "verify", Field: "every", Default: "180d", Unit: "time",
		Meaning: "A volume is verified when that was last done this long ago, or when it is this old and never was: all copies on it are read and compared with their checksums, one volume at a " +
			"time, by a drive that has nothing else to do. What cannot be read any longer is found while there may be another copy, and a cartridge is read end to end twice a year by it. " +
			"0 turns this off: then volumes are verified by `sliod verify` alone.",
		value: func(c *Config) value { return &duration{&c.Verify.Every, 0, 10 * 365 * 24 * time.Hour} },
	},
	{
		Section: "reclaim", Field: "dead", Default: "0.5", Unit: "share of the volume",
		Meaning: "A volume of which more than this share is of files that are gone or have changed is emptied in the background: what is needed is copied to other volumes of its pool and read back, " +
			"and the volume is scratch again. The share is of what is on a full volume, and of the capacity of one that still has room. Volumes that gave errors (`suspect`) are emptied as well, " +
			"whatever is dead, and stay suspect. 0 turns both off: then volumes are emptied by `sliod reclaim` alone.",
		value: func(c *Config) value { return &share{&c.Reclaim.Dead, 0, 1} },
	},
	{
		Section: "import", Field: "uid", Default: "-1", Unit: "user",
		Meaning: "The owner of imported files whose volume names none. -1 is the user who runs the server. LTFS has no owners: only volumes of " +
			"another SLIOD archive name them.",
		value: func(c *Config) value { return &count{&c.Import.UID, -1, 1<<31 - 1} },
	},
	{
		Section: "import", Field: "gid", Default: "-1", Unit: "group",
		Meaning: "The group of imported files whose volume names none. -1 is the group of the server.",
		value:   func(c *Config) value { return &count{&c.Import.GID, -1, 1<<31 - 1} },
	},
	{
		Section: "import", Field: "mode", Default: "0644", Unit: "octal mode",
		Meaning: "The permissions of imported files whose volume names none. Files that the volume calls read-only lose the write bits.",
		value:   func(c *Config) value { return &octal{&c.Import.Mode} },
	},
	{
		Section: "import", Field: "dir_mode", Default: "0755", Unit: "octal mode",
		Meaning: "The permissions of imported directories, as `mode`.",
		value:   func(c *Config) value { return &octal{&c.Import.DirMode} },
	},
	{
		Section: "library", Field: "kind", Default: "virtual", Unit: "word",
		Meaning: "What the tape library is. `virtual` is an emulated library whose cartridges are files. `scsi` is a medium changer with drives on this " +
			"machine's SCSI generic devices: `sliod discover` lists them and prints the configuration that fits.",
		value: func(c *Config) value { return &choice{&c.Library.Kind, []string{"virtual", "scsi"}} },
	},
	{
		Section: "library", Field: "changer", Default: "", Unit: "device", Library: "scsi",
		Meaning: "The medium changer: `serial:` and its serial number, or a path such as `/dev/sg2` or a link below `/dev/tape`. " +
			"Numbers of `/dev/sg` can be others after a reboot, serial numbers cannot. Empty: the only changer of this machine.",
		value: func(c *Config) value {
			return &device{text{&c.Library.Changer, "a path, or `serial:` and a serial number"}}
		},
	},
	{
		Section: "library", Field: "devices", Default: "", Unit: "devices", Library: "scsi",
		Meaning: "The drives, each named like the changer. Empty: those whose serial numbers the changer reports. For a changer that does not report " +
			"them, list all its drives here, in the order of their element addresses.",
		value: func(c *Config) value {
			return &texts{&c.Library.Devices, checkDevice, "a list such as [\"serial:1013000123\", \"/dev/sg1\"]"}
		},
	},
	{
		Section: "library", Field: "cleaning", Default: "CLN*", Unit: "patterns",
		Meaning: "The barcodes of cleaning cartridges, with `*`, `?` and `[...]` as in a shell. They are never used for data, and fetched when a drive " +
			"asks to be cleaned. An empty list: there are none.",
		value: func(c *Config) value {
			return &texts{&c.Library.Cleaning, checkPattern, "a list such as [\"CLN*\"]"}
		},
	},
	{
		Section: "library", Field: "dir", Default: "", Unit: "path", Library: "virtual",
		Meaning: "Where the virtual library keeps its cartridges. Empty: the folder `library` in the state directory. A relative path starts at " +
			"the folder of the configuration file.",
		value: func(c *Config) value { return &text{&c.Library.Dir, "a path"} },
	},
	{
		Section: "library", Field: "drives", Default: "2", Unit: "drives", Library: "virtual",
		Meaning: "The number of drives of the virtual library.",
		value:   func(c *Config) value { return &count{&c.Library.Drives, 1, 64} },
	},
	{
		Section: "library", Field: "slots", Default: "16", Unit: "slots", Library: "virtual",
		Meaning: "The number of storage slots of the virtual library. A new library has a cartridge in each; slots that are added later are empty.",
		value:   func(c *Config) value { return &count{&c.Library.Slots, 1, 3000} },
	},
	{
		Section: "library", Field: "mail_slots", Default: "1", Unit: "slots", Library: "virtual",
		Meaning: "The number of mail slots (import/export elements) of the virtual library.",
		value:   func(c *Config) value { return &count{&c.Library.MailSlots, 0, 200} },
	},
	{
		Section: "library", Field: "cartridge", Default: "LTO-9", Unit: "word", Library: "virtual",
		Meaning: "The generation of the virtual library's drives and cartridges. A library that was made with another one is refused.",
		value: func(c *Config) value {
			return &choice{&c.Library.Cartridge, []string{"LTO-5", "LTO-6", "LTO-7", "LTO-8", "LTO-9"}}
		},
	},
	{
		Section: "library", Field: "capacity", Default: "0B", Unit: "size", Library: "virtual",
		Meaning: "The capacity of one virtual cartridge, for those that a new library is made with. 0 is the capacity of a real one (LTO-9: 18 TB). The cartridges' files grow as they are written.",
		value:   func(c *Config) value { return &size{&c.Library.CapacityBytes, 16 * mib, 64 * tib, true} },
	},
	{
		Section: "library", Field: "speed", Default: "instant", Unit: "factor", Library: "virtual",
		Meaning: "How fast the virtual library is. `\"instant\"` takes no time; 1 takes the time of a real drive; 60 is sixty times faster.",
		value:   func(c *Config) value { return &speed{&c.Library.Speed, 0.01, 1e6} },
	},
	{
		Section: "library", Field: "cleaners", Default: "0", Unit: "cartridges", Library: "virtual",
		Meaning: "How many cleaning cartridges a new virtual library has, in its last slots.",
		value:   func(c *Config) value { return &count{&c.Library.Cleaners, 0, 99} },
	},
	{
		Section: "library", Field: "faults", Default: "", Unit: "path", Library: "virtual",
		Meaning: "A script of faults that the virtual library plays, for drills; docs/virtual-library.md describes it. Empty: none. A relative path " +
			"starts at the folder of the configuration file.",
		value: func(c *Config) value { return &text{&c.Library.Faults, "a path"} },
	},
	{
		Section: "tls", Field: "cert", Default: "", Unit: "path",
		Meaning: "The server's certificate in PEM, for `tls:` addresses, with those of CAs in between behind it. A relative path starts at the folder of the " +
			"configuration file. The files of this section are read again when one has changed; a pair that does not fit leaves the old one in use. `cert`, `key` and `client_ca` are all set, or none.",
		value: func(c *Config) value { return &text{&c.TLS.Cert, "a path"} },
	},
	{
		Section: "tls", Field: "key", Default: "", Unit: "path",
		Meaning: "The key of `cert`, which nobody but the server should be able to read.",
		value:   func(c *Config) value { return &text{&c.TLS.Key, "a path"} },
	},
	{
		Section: "tls", Field: "client_ca", Default: "", Unit: "path",
		Meaning: "The certificates of the CAs that sign those of users. A client without a certificate of one of them is refused.",
		value:   func(c *Config) value { return &text{&c.TLS.ClientCA, "a path"} },
	},
	{
		Section: "log", Field: "level", Default: "info", Unit: "word",
		Meaning: "What is logged, on standard error: messages of this level and the ones before it in the list.",
		value: func(c *Config) value {
			return &choice{&c.Log.Level, []string{"error", "warning", "info", "debug", "trace"}}
		},
	},
}

// sections says what each section is about, in the order of the documentation. One with
// names may be there several times, as [name.NAME].
var sections = []struct{ name, about string }{
	{"server", "where the server listens"},
	{"cache", "the page cache"},
	{"archive", "when dirty slivers go to tape"},
	{"recall", "what comes from tape, and who may make it"},
	{"index", "how often a volume gets a new LTFS index"},
	{"mount", "volumes in drives"},
	{"drives", "how reading and writing share the drives"},
	{"verify", "reading what is on tape, to find what cannot be read any longer"},
	{"reclaim", "emptying volumes that hold little of use"},
	{"import", "owner and mode of what an imported volume says nothing about"},
	{"library", "the tape library"},
	{"tls", "the server's certificate"},
	{"log", "messages"},
	{exportSection, "what clients may attach to, and who; one section for each"},
	{poolSection, "volumes that are kept alike; one section for each pool"},
	{ruleSection, "which files go where, and when; one section for each rule, the first that fits holds"},
}

// check finds values that are allowed alone but not together. It returns the key
// to blame.
func (c *Config) check() (key, msg string) {
	if c.Cache.LowWater >= c.Cache.HighWater {
		return "cache.low_water", fmt.Sprintf("cache.low_water is %v; it must be lower than cache.high_water, which is %v",
			c.Cache.LowWater, c.Cache.HighWater)
	}
	if c.Archive.Dirty > c.Cache.HighWater {
		return "archive.dirty", fmt.Sprintf("archive.dirty is %v; it must not be higher than cache.high_water, which is %v",
			c.Archive.Dirty, c.Cache.HighWater)
	}
	if t := c.TLS; (t.Cert == "") != (t.Key == "") || (t.Cert == "") != (t.ClientCA == "") {
		return "tls.cert", "tls.cert, tls.key and tls.client_ca belong together: set all of them, or none"
	}
	if _, msg := c.Recall.Clients.Check(); msg != "" {
		return "recall.clients", "recall.clients: " + msg
	}
	if e, key, msg := export.CheckAll(c.Exports); e != nil {
		return "export." + e.Name + "." + key, msg
	}
	return "", ""
}
