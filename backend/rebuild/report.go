package rebuild

import "sliod/tape"

// Totals count what a rebuild has made.
type Totals struct {
	Files, Dirs int64 // Files: all that are not directories
	Bytes       int64 // sizes of the files
	Removed     int64 // files with entries on tape that were removed since
	Adopted     int64 // of Files and Dirs: those that another program has put on a volume
	Foreign     int64 // files that another program has changed

	// LostFiles have slivers that no volume has: reading those is EIO.
	LostFiles   int64
	LostSlivers int64
	LostBytes   int64
	LostFound   int64 // files in /lost+found: their directories are on no volume
	Renamed     int64 // files that got another name, since a newer one has theirs
	Damaged     int64 // entries whose metadata cannot be read, taken over as another program's
	Dropped     int64 // xattrs and names that the archive cannot hold
}

// VolumeState says what was found on a cartridge.
type VolumeState string

// Volume states.
const (
	VolumeRead       VolumeState = "read"
	VolumeBlank      VolumeState = "blank"
	VolumeForeign    VolumeState = "foreign"    // not of SLIOD: not touched
	VolumeUnreadable VolumeState = "unreadable" // what it holds is missing
	VolumeCleaning   VolumeState = "cleaning"
	VolumeOther      VolumeState = "of another archive" // not touched
)

// VolumeReport says what came of one cartridge.
type VolumeReport struct {
	Barcode tape.Barcode
	State   VolumeState
	Why     string // of foreign and unreadable ones, and those of another archive
	Archive string // its identity, "" if it has none
	Files   int64  // entries in its index
	Bytes   int64  // that its index names
	// Unknown is the most that may lie behind its last index, in bytes. What that is
	// only the lost catalog knew.
	Unknown int64
}

// LostFile is a file of which slivers are missing.
type LostFile struct {
	Path string
}

// Report is the outcome of a rebuild.
type Report struct {
	Totals
	Archive string         // its identity; "" if no volume had one, and it is new
	Volumes []VolumeReport // by barcode
	// Missing are volumes that the archive had when the last indexes were written, and that
	// are not there.
	Missing []tape.Barcode
	Lost    []LostFile // the first maxLost
	Resumed bool
}

// maxLost bounds the list of files that have lost something.
const maxLost = 1000

// Progress is how far a rebuild is.
type Progress struct {
	Step          string // "reading volumes", "building files", "placing names"
	Volumes, Read int    // cartridges to look at, and those done
	Files         int64  // entries read, or files built, or names placed
	Total         int64  // of Files in this step, 0: not known
}
