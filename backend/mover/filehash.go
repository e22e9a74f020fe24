package mover

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"slices"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape/ltfs"
)

const (
	// hashInline is up to how many bytes are hashed at once: to hand them over costs
	// more.
	hashInline = 16 << 10
	// hashBuffers is how many slivers may wait to be hashed.
	hashBuffers = 4
)

// fileHash is the SHA-256 of a file that is archived whole in one run. It belongs to
// the bytes that were written, which the extents name: an entry carries it only if it
// has these extents and no others, so it cannot be wrong, whatever happens to the file
// meanwhile.
type fileHash struct {
	sum     hash.Hash
	volume  catalog.VolumeNo
	length  uint64
	extents []ltfs.Extent
}

// beginHash returns the hash of a file of which n slivers are about to be written, if these
// are all, or nil.
func (d *drive) beginHash(plan *Plan, n int) *fileHash {
	size := plan.Inode.Size
	if !d.m.cfg.SHA256 || size == 0 || sliver.No(n) != sliver.Count(size) {
		return nil
	}
	return &fileHash{sum: sha256.New(), volume: d.vol.rec().No}
}

// hasher hashes slivers in a goroutine of its own, so that the drive goes on streaming.
// The goroutine lives as long as a batch. It may lag behind by the buffers there are; it
// catches up while the drive flushes.
type hasher struct {
	free  chan []byte   // buffers that are not being hashed
	jobs  chan hashJob  // nil: no goroutine
	ended chan struct{} // closed by the goroutine
}

type hashJob struct {
	h    *fileHash
	buf  []byte
	data []byte
}

// archiveBuffer returns a buffer for the next sliver. hashSliver or freeBuffer gives
// it back.
func (d *drive) archiveBuffer() []byte {
	if !d.m.cfg.SHA256 {
		return d.buf
	}
	if d.hasher.free == nil {
		d.hasher.free = make(chan []byte, hashBuffers)
		for range hashBuffers {
			d.hasher.free <- make([]byte, sliver.Size)
		}
	}
	return <-d.hasher.free
}

func (d *drive) freeBuffer(buf []byte) {
	if d.m.cfg.SHA256 {
		d.hasher.free <- buf
	}
}

// hashSliver adds a sliver, which is in buf, to the hash of its file. The caller may
// read it until it asks for another buffer. A sliver that was left out, or a volume in
// between, ends the hash.
func (d *drive) hashSliver(it *archiveItem, no sliver.No, buf []byte, n int) {
	h := it.hash
	if h != nil && (h.volume != d.vol.rec().No || h.length != no.Start()) {
		h, it.hash = nil, nil
	}
	if h == nil {
		d.freeBuffer(buf)
		return
	}
	first := h.length == 0
	h.length += uint64(n)
	if first && n <= hashInline {
		h.sum.Write(buf[:n])
		d.freeBuffer(buf)
		return
	}
	if d.hasher.jobs == nil {
		d.hasher.jobs, d.hasher.ended = make(chan hashJob, hashBuffers), make(chan struct{})
		go d.hasher.run(d.hasher.jobs, d.hasher.ended)
	}
	d.hasher.jobs <- hashJob{h, buf, buf[:n]}
}

func (x *hasher) run(jobs <-chan hashJob, ended chan<- struct{}) {
	defer close(ended)
	for j := range jobs {
		j.h.sum.Write(j.data)
		x.free <- j.buf
	}
}

// endHashing returns when all slivers are hashed and the goroutine has ended.
func (d *drive) endHashing() {
	if d.hasher.jobs != nil {
		close(d.hasher.jobs)
		<-d.hasher.ended
		d.hasher.jobs = nil
	}
}

// putHash puts the SHA-256 in a file's new entry, if it is known: that of this run, or
// that of the old entry if the bytes are still the same.
func (d *drive) putHash(plan *Plan, f *ltfs.File) {
	if n := len(f.Extents); n == 0 || f.Extents[n-1].FileOffset+f.Extents[n-1].ByteCount != f.Length {
		return
	}
	if h := plan.hash; h != nil && h.volume == d.vol.rec().No && h.length == f.Length && slices.Equal(h.extents, f.Extents) {
		f.SetXattr(ltfs.KeySHA256, []byte(hex.EncodeToString(h.sum.Sum(nil))))
		return
	}
	if old := plan.was; old != nil && old.Length == f.Length && slices.Equal(old.Extents, f.Extents) {
		if sum, ok := old.Xattr(ltfs.KeySHA256); ok {
			f.SetXattr(ltfs.KeySHA256, sum)
		}
	}
}

// entryOf returns the file's entry in the mounted index, or nil.
func (d *drive) entryOf(id sliver.FileID) *ltfs.File {
	for _, path := range d.paths[id] {
		e, err := d.lv.Index().Lookup(path)
		if err != nil {
			continue
		}
		if f, ok := e.(*ltfs.File); ok {
			if owner, ok := fileOf(f); ok && owner == id {
				return f
			}
		}
	}
	return nil
}
