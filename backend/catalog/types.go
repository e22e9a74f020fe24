package catalog

import (
	"sliod/backend/acl"
	"sliod/backend/sliver"
)

// VolumeNo is the catalog's short number of a volume. It is never used again.
type VolumeNo uint32

// Piece is a run of bytes on a volume, an LTFS extent: Len bytes that begin
// Offset bytes into record Block of a partition. A piece of ZeroPartition is Len
// zeros that are nowhere on the volume: a gap between the extents of a file that
// another program has written. Its Block and Offset are 0.
type Piece struct {
	Partition uint8
	Block     uint64
	Offset    uint32
	Len       uint32
}

// ZeroPartition is the partition of a piece of zeros.
const ZeroPartition = 0xff

// Zeros returns a piece of n zeros.
func Zeros(n uint32) Piece { return Piece{Partition: ZeroPartition, Len: n} }

// IsZeros says that the piece is zeros, and not bytes on the volume.
func (p Piece) IsZeros() bool { return p.Partition == ZeroPartition }

// Copy is one archived copy of a sliver: the pieces, in the sliver's order, that
// together hold its archived bytes. There is usually one. A copy without pieces
// says that the content exists, and that Volume does not have it: the file came
// from a volume of another archive, which has the sliver on another one.
type Copy struct {
	Volume VolumeNo
	Pieces []Piece
}

// SliverRec says where one sliver's content is and what it must look like.
type SliverRec struct {
	// Dirty: the newest content is only in the cache, in Slot, with allocation
	// Seq. Slot and Seq are kept only while Dirty.
	Dirty     bool
	Slot, Seq uint64
	// Len is the number of valid bytes; zeros follow them.
	Len uint32
	// Version names the archived content, Sum is the XXH64 of its ArchLen bytes,
	// valid if HasSum. ArchLen may be more than Len after a truncate.
	Version sliver.Version
	Sum     uint64
	HasSum  bool
	ArchLen uint32
	// Copies are the archived copies. None, and not Dirty: a hole.
	Copies []Copy
}

// Hole says that the sliver has no content: neither dirty nor archived. All
// other fields of a hole are meaningless and are not stored.
func (r *SliverRec) Hole() bool { return !r.Dirty && len(r.Copies) == 0 }

// Bmap is the record of 128 slivers.
type Bmap struct {
	Slivers [sliver.PerBmap]SliverRec
}

// AllHoles says that no sliver of the bmap has content.
func (b *Bmap) AllHoles() bool {
	for i := range b.Slivers {
		if !b.Slivers[i].Hole() {
			return false
		}
	}
	return true
}

// Time is a point in time: seconds and nanoseconds (below 1e9) since the epoch.
// The zero value stands for "never" where that makes sense.
type Time struct {
	Sec  int64
	Nsec uint32
}

// Flags of an Inode.
const (
	FlagMetaDirty uint32 = 1 << iota // attributes are newer than on tape
	_                                // two that no release has used
	_
	FlagImported // it came with a volume that others wrote, and is in no index of ours unless FlagOnTape
	FlagOnTape   // the index of a volume may have an entry of it
	FlagNoBmaps  // no bmap of it has ever been stored
	FlagNoXattrs // no extended attribute of it has ever been stored
)

// Inode is a file's attributes.
type Inode struct {
	ID           sliver.FileID
	Generation   uint32
	Mode         uint32 // with the type bits of stat(2)
	UID, GID     uint32
	NLink        uint32
	Major, Minor uint32 // of device nodes
	Size         uint64 // bytes
	Atime, Mtime Time
	Ctime, Btime Time
	DataVersion  uint64        // grows with every change, and goes by the clock: see backend's newVersion
	Parent       sliver.FileID // of a directory: its parent; else that of the first name, a hint for paths
	NextCookie   uint64        // directories: the cookie for the next entry; the first is FirstCookie
	Target       string        // of a symbolic link
	Flags        uint32
	Archived     Time    // when it was last archived; zero: never
	ACL          acl.ACL // who else may do what; Mode goes with it
	DefaultACL   acl.ACL // of a directory: what new files inherit
}

// FirstCookie is the cookie of a directory's first entry: 1 and 2 stand for "."
// and "..", which are not stored.
const FirstCookie uint64 = 3

// MaxName is the longest name of a directory entry or xattr in bytes.
const MaxName = 255

// Dirent is a directory entry. Name is arbitrary bytes except NUL and '/', and
// neither "." nor "..". Cookie is the entry's place in readdir order, unique in
// its directory and at least FirstCookie.
type Dirent struct {
	Name   string
	ID     sliver.FileID
	Type   uint8 // d_type of readdir(3)
	Cookie uint64
}

// VolState says what a volume can be used for.
type VolState uint8

// States of a volume.
const (
	VolScratch  VolState = iota // may be formatted
	VolAppend                   // has room
	VolFull                     // only read
	VolSuspect                  // gave errors: read if there is no other copy
	VolReadOnly                 // write-protected, or said so by the operator
	numVolStates
)

var volStateNames = [numVolStates]string{"scratch", "append", "full", "suspect", "read-only"}

func (s VolState) String() string {
	if s < numVolStates {
		return volStateNames[s]
	}
	return "unknown"
}

// VolPos is a place on a volume.
type VolPos struct {
	Partition uint8
	Block     uint64
}

// Volume is what the catalog knows of a cartridge.
type Volume struct {
	No         VolumeNo
	Barcode    string
	UUID       string // of its LTFS labels; "" if not formatted
	Pool       string
	State      VolState
	Capacity   int64 // bytes, native
	Used       int64 // bytes written to it
	Dead       int64 // of these, bytes that no file needs any longer
	Generation uint64
	Formatted  Time
	BlockSize  uint32
	EndOfData  VolPos // the end of the data that the catalog has committed
	Flags      uint32
	KeyID      string // of the key that the volume is encrypted with; "": it is in clear
	ReadErrors uint32 // copies that could not be read, since it was formatted or found good
}

// Flags of a Volume.
const (
	// VolImported: another program or another archive wrote the volume, and its
	// tree was imported.
	VolImported uint32 = 1 << iota
	// VolProtected: the volume is read-only because the cartridge is write-protected. It
	// goes back to append, or to scratch, when the tab was moved.
	VolProtected
	// VolTaken: the volume came from ScratchPool into its pool. When it is scratch again, it
	// may come into any other.
	VolTaken
	// VolWasScratch: the volume was scratch before VolProtected made it read-only, and becomes that again.
	VolWasScratch
	// VolUnindexed: the catalog has data on the volume that its index lacks.
	VolUnindexed
)

// Names of pools.
const (
	// DefaultPool is that of the volumes that no pool of the configuration takes.
	DefaultPool = "default"
	// ScratchPool has volumes that come into any pool that has none with room.
	ScratchPool = "scratch"
)

// PoolName is the name of a pool: "", of volumes and files of an archive without pools, stands
// for DefaultPool.
func PoolName(pool string) string {
	if pool == "" {
		return DefaultPool
	}
	return pool
}

// Job is a request of the operator that outlives a restart. Data belongs to
// whoever runs the job.
type Job struct {
	ID      uint64
	Kind    string
	Paths   []string
	Created Time
	Data    []byte
}
