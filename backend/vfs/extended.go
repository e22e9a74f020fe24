package vfs

// Extended is a File that can do what 9P2000.L has no messages for. The server
// serves it to clients that have agreed on the extension (docs/protocol.md); a File
// that is not Extended answers EOPNOTSUPP to them.
//
// Allocate and CopyFrom do a part of what is asked, as WriteAt does: they return how
// many bytes from the start of the range are done, and the client asks for the rest.
// They may park the Waiter. It is woken with the count, which may be 0: what was
// waited for is there, and the client shall ask again.
type Extended interface {
	File
	// Seek returns the first offset from off on that is in data or in a hole. ENXIO:
	// off is not in the file, or there is no data from there on. It never waits for
	// tape: data on tape is data. A hole may be taken for data, never data for a hole.
	Seek(off uint64, whence Whence) (uint64, error)
	// Allocate does what fallocate(2) does with the bytes from off on. EOPNOTSUPP for a
	// mode that the tree does not have.
	Allocate(mode AllocateMode, off, n uint64, w *Waiter) (uint64, error)
	// CopyFrom copies at most n bytes at from of src to the offset to of this file. 0
	// without an error: from is at the end of src. EXDEV if src is of another tree.
	CopyFrom(src File, from, to, n uint64, w *Waiter) (uint64, error)
}

// Whence says what Seek looks for; the numbers are those of lseek(2).
type Whence uint32

// What Seek looks for.
const (
	SeekData Whence = 3
	SeekHole Whence = 4
)

// AllocateMode is a mode of fallocate(2), with its bits.
type AllocateMode uint32

// Bits of a mode. Without PunchHole or ZeroRange space is made sure of.
const (
	KeepSize  AllocateMode = 0x01
	PunchHole AllocateMode = 0x02 // with KeepSize only
	ZeroRange AllocateMode = 0x10
)
