package mover

import (
	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
	"sliod/tape/ltfs"
)

// Files is what the mover needs of the archive's tree; package backend
// implements it. Methods are called from several goroutines, with no lock of the
// mover held. They must not wait for tape.
type Files interface {
	// Locate says where the archived content of a sliver is. An error fails the
	// fault.
	Locate(k sliver.Key) (Located, error)
	// Next starts faults, through the cache, for at most limit absent slivers
	// that follow k in its file, of a class. Somebody of that class waits for k, and its
	// drive stands there.
	Next(k sliver.Key, limit int, class vfs.Class) []Want
	// Plan says what there is to archive of a file; nil if the file is gone.
	Plan(f sliver.FileID) (*Plan, error)
	// Archived is called when the content named by done is on the medium. It
	// commits that to the catalog, syncs the catalog, and then ends the slivers'
	// archiving in the cache (EndArchive). dataVersion is that of the plan's
	// inode: if the file still has it, its attributes are on tape too. kept[i]
	// says that done[i] still is the newest content. now is the file's data version: another
	// than dataVersion means that it has changed since the plan. If it fails, nothing was
	// committed, and the mover ends the archiving as failed.
	Archived(f sliver.FileID, dataVersion uint64, done []Done) (kept []bool, now uint64, err error)
	// Lacking returns, sorted by their numbers, the slivers of a file that are archived in their
	// newest content, and are on fewer volumes than they are to be. None if the file is gone.
	Lacking(f sliver.FileID, o CopyOptions) ([]Lack, error)
	// Copied is called when the further copies named by done are on the medium. It adds them to
	// the records of the slivers that still have that version, and no copy on that volume, counts the others dead, and syncs the
	// catalog. kept[i] says whether done[i] is in the catalog. If it fails, nothing was committed.
	Copied(f sliver.FileID, done []Done) (kept []bool, err error)
	// Removed is called when the removal of a file is on tape, for which Plan said that
	// it is gone.
	Removed(f sliver.FileID) error
	// Bad is called when the copy of version v of a sliver on a volume could not be read,
	// through the volume's fault.
	Bad(k sliver.Key, v sliver.Version, on catalog.VolumeNo, why error)
	// Summed is called when a sliver was read whose record has no checksum: sum is
	// the XXH64 of its archived bytes, and what a later recall is checked against.
	Summed(k sliver.Key, v sliver.Version, sum uint64) error
	// Unarchived is called before a volume is formatted whose index has an entry of the
	// file: its attributes have to be archived again.
	Unarchived(f sliver.FileID) error
	// OnVolume calls fn for every file that has a sliver on volume v, also one that is
	// overwritten in the cache alone or was removed while it is open, each once, until fn returns false.
	OnVolume(v catalog.VolumeNo, fn func(sliver.FileID) bool) error
}

// Located says where the archived content of a sliver is, and what it is.
type Located struct {
	Copies   []catalog.Copy
	ArchLen  int    // archived bytes, over which Sum goes
	ValidLen int    // of these, bytes that are still valid: a truncate cuts them
	Sum      uint64 // XXH64, if HasSum
	HasSum   bool
	Version  sliver.Version
	Bad      []catalog.VolumeNo // volumes whose copy was found to be bad: they are tried last
}

// Want is a fault that the cache has started.
type Want struct {
	Key sliver.Key
	Seq uint64
}

// Plan is what there is to archive of a file: its dirty slivers, and all that
// its entries in the index of a volume say.
type Plan struct {
	File  sliver.FileID
	Names []string // all paths from the root, "/" between, none at the begin
	// Dirs are the directories of the names, and Above those on the way to the first
	// name, from the one in the root down. The root has neither.
	Dirs, Above []sliver.FileID
	Inode       catalog.Inode
	Xattrs      map[string][]byte
	Dirty       []sliver.No // sorted
	Target      string      // of a symbolic link
	// Slivers calls fn for each sliver of the file that has content, in order, as it
	// is now, until fn returns false. The pieces are those on volume v, none if it has
	// no copy. A sliver whose newest content is not on tape has version 0. It may be
	// nil if the file has none anywhere.
	Slivers func(v catalog.VolumeNo, fn func(OnTape) bool) error

	hash *fileHash  // of what was archived by it
	was  *ltfs.File // the entry that it takes the place of
}

// OnTape is a sliver as one volume has it.
type OnTape struct {
	No      sliver.No
	Len     int // valid bytes
	ArchLen int
	Version sliver.Version // 0: not on tape
	Sum     uint64
	HasSum  bool
	Pieces  []catalog.Piece
}

// Done is a sliver whose content is on the medium.
type Done struct {
	No      sliver.No
	Version sliver.Version
	Sum     uint64 // XXH64 of the Len bytes
	Len     int
	Copy    catalog.Copy
}
