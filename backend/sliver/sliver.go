// Package sliver holds the words that every part of the backend shares: the
// numbers that name a file, a sliver and a bmap, the arithmetic between them,
// and the states of a sliver with their legal moves. It imports nothing of the
// project.
package sliver

import "fmt"

const (
	// Size is the number of bytes in a sliver, the unit of caching,
	// checksumming and faulting.
	Size = 1 << 20
	// PerBmap is the number of slivers in a bmap, the unit of a catalog record.
	PerBmap = 128
	// MaxFileSize is the largest size of a file in bytes, 2^63-1.
	MaxFileSize = 1<<63 - 1
)

// FileID is a file's number. It is never used again, so a late completion can
// never meet another file under the same number. qid.path is the FileID.
type FileID uint64

// RootID is the FileID of the archive's root directory.
const RootID FileID = 1

// No numbers the slivers of one file from 0.
type No uint64

// BmapNo numbers the bmaps of one file from 0.
type BmapNo uint64

// Version names one content of one sliver. Versions come from one counter that
// never repeats (see package cache), so two contents never share a version.
type Version uint64

// Key names a sliver of a file.
type Key struct {
	File FileID
	No   No
}

func (k Key) String() string { return fmt.Sprintf("%d/%d", k.File, k.No) }

// At returns the sliver that holds byte off of a file, and the offset of that
// byte in the sliver.
func At(off uint64) (No, int) { return No(off / Size), int(off % Size) }

// Start returns the offset in the file of the sliver's first byte.
func (n No) Start() uint64 { return uint64(n) * Size }

// Bmap returns the bmap that the sliver belongs to, and its index in it.
func (n No) Bmap() (BmapNo, int) { return BmapNo(n / PerBmap), int(n % PerBmap) }

// First returns the bmap's first sliver.
func (b BmapNo) First() No { return No(b) * PerBmap }

// Count returns how many slivers a file of size bytes has.
func Count(size uint64) No { return No((size + Size - 1) / Size) }

// LenIn returns how many bytes of a file of size bytes lie in sliver n.
func LenIn(size uint64, n No) int {
	start := n.Start()
	switch {
	case size <= start:
		return 0
	case size-start >= Size:
		return Size
	}
	return int(size - start)
}
