package cache

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
	"github.com/pkg/errors"

	"sliod/backend/sliver"
)

// The layout on disk; docs/cache.md draws it.
const (
	pageSize      = 4096
	chunkSize     = sliver.Size
	pagesPerChunk = chunkSize / pageSize

	recordSize  = 64
	headerSize  = pageSize // of the file slots; the chunk records follow
	headerUsed  = 64       // bytes of the header that mean something: one disk sector
	formatMagic = "SLIODSLT"
	// formatVersion is the newest layout that this code reads and writes.
	formatVersion = 1

	// MinSizeBytes is the smallest arena that Open accepts.
	MinSizeBytes = 16 << 20
)

// class is a size of slots.
type class uint8

const (
	class4K class = iota
	class16K
	class60K
	class252K
	classWhole
	numClasses
)

// classInfo says how a chunk is cut: count slots of size bytes after a header of
// first bytes, which has room for count records.
var classInfo = [numClasses]struct{ size, count, first int }{
	class4K:    {4 << 10, 252, 16 << 10},
	class16K:   {16 << 10, 63, 16 << 10},
	class60K:   {60 << 10, 17, 4 << 10},
	class252K:  {252 << 10, 4, 16 << 10},
	classWhole: {chunkSize, 1, 0},
}

func (c class) size() int { return classInfo[c].size }

// classFor returns the smallest class that holds n bytes.
func classFor(n int) class {
	for c := class4K; c < classWhole; c++ {
		if n <= c.size() {
			return c
		}
	}
	return classWhole
}

// recordKind says what a slot record means.
type recordKind uint8

const (
	recEmpty recordKind = iota // the slot or chunk holds nothing
	recClean                   // content is on tape too; sum is its XXH64
	recDirty                   // content may be only here
	recCut                     // chunk record: cut into small slots of a class; seq names the cut
)

// record is one slot record, or a chunk record, in memory.
type record struct {
	kind    recordKind
	class   class
	len     uint32
	key     sliver.Key
	seq     uint64
	version sliver.Version
	sum     uint64
	// unchecked: a clean record found after an unclean shutdown and not compared
	// with its sum before the next, proper one.
	unchecked bool
}

// encode writes r as 64 bytes. The checksum covers the arena's secret, the place
// and the cut, so that neither file content nor a record of an earlier cut or of
// another place can be taken for a record.
func (r *record) encode(b []byte, secret, slot, cut uint64) {
	clear(b[:recordSize])
	if r.kind == recEmpty {
		return
	}
	le := binary.LittleEndian
	b[0], b[1] = byte(r.kind), byte(r.class)
	if r.unchecked {
		b[2] = 1
	}
	le.PutUint32(b[4:], r.len)
	le.PutUint64(b[8:], uint64(r.key.File))
	le.PutUint64(b[16:], uint64(r.key.No))
	le.PutUint64(b[24:], r.seq)
	le.PutUint64(b[32:], uint64(r.version))
	le.PutUint64(b[40:], r.sum)
	le.PutUint64(b[56:], recordSum(b, secret, slot, cut))
}

func recordSum(b []byte, secret, slot, cut uint64) uint64 {
	var x [24 + 56]byte
	le := binary.LittleEndian
	le.PutUint64(x[0:], secret)
	le.PutUint64(x[8:], slot)
	le.PutUint64(x[16:], cut)
	copy(x[24:], b[:56])
	return xxhash.Sum64(x[:])
}

// decodeRecord reads a record. ok is false if the bytes are no record of this
// place; an empty record is all zero.
func decodeRecord(b []byte, secret, slot, cut uint64) (r record, ok bool) {
	if len(b) < recordSize {
		return r, false
	}
	if b[0] == 0 {
		for _, x := range b[:recordSize] {
			if x != 0 {
				return r, false
			}
		}
		return r, true
	}
	le := binary.LittleEndian
	if le.Uint64(b[56:]) != recordSum(b, secret, slot, cut) {
		return r, false
	}
	r = record{
		kind: recordKind(b[0]), class: class(b[1]), len: le.Uint32(b[4:]),
		key:       sliver.Key{File: sliver.FileID(le.Uint64(b[8:])), No: sliver.No(le.Uint64(b[16:]))},
		seq:       le.Uint64(b[24:]),
		version:   sliver.Version(le.Uint64(b[32:])),
		sum:       le.Uint64(b[40:]),
		unchecked: b[2] == 1,
	}
	if r.kind > recCut || r.class >= numClasses {
		return record{}, false
	}
	if r.kind == recCut && (cut != 0 || r.class == classWhole) {
		return record{}, false
	}
	if r.kind != recCut && int(r.len) > r.class.size() {
		return record{}, false
	}
	return r, true
}

// header is the first page of the file slots.
type header struct {
	version uint32
	clean   bool   // Close came to its end
	epoch   uint64 // number of opens
	chunks  uint64
	secret  uint64
}

func (h *header) encode(b []byte) {
	clear(b[:headerSize])
	le := binary.LittleEndian
	copy(b, formatMagic)
	le.PutUint32(b[8:], h.version)
	if h.clean {
		b[12] = 1
	}
	le.PutUint64(b[16:], h.epoch)
	le.PutUint64(b[24:], h.chunks)
	le.PutUint64(b[32:], h.secret)
	le.PutUint64(b[56:], xxhash.Sum64(b[:56]))
}

func decodeHeader(b []byte) (h header, err error) {
	if len(b) < headerUsed || string(b[:8]) != formatMagic {
		return h, errors.New("it does not begin with the mark of a slot table")
	}
	le := binary.LittleEndian
	// The version comes first: a newer one may keep its checksum elsewhere.
	h.version = le.Uint32(b[8:])
	if h.version > formatVersion {
		return h, errors.Errorf("its format version is %d and this sliod knows %d at most: use a newer sliod", h.version, formatVersion)
	}
	if le.Uint64(b[56:]) != xxhash.Sum64(b[:56]) {
		return h, errors.New("the checksum of its header is wrong")
	}
	h.clean = b[12] == 1
	h.epoch, h.chunks, h.secret = le.Uint64(b[16:]), le.Uint64(b[24:]), le.Uint64(b[32:])
	if h.version == 0 || h.chunks == 0 || h.chunks > 1<<43 {
		return h, errors.Errorf("its header is senseless (version %d, %d chunks)", h.version, h.chunks)
	}
	return h, nil
}
