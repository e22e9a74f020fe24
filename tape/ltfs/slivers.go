package ltfs

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/pkg/errors"
)

const (
	sliverSize = 1 << 20 // bytes in a full sliver, as in package sliver
	// sliversPerXattr bounds one xattr to about 96 KiB of base64, so that
	// XML readers with limits on a text get along with files of any size.
	sliversPerXattr = 8192
)

// encodeSlivers packs a list in one or more values. Each is the version byte 1
// and runs to its end. A run is consecutive slivers, full but perhaps the last:
//
//	uvarint  number of the first, minus the one behind the run before (0 at the
//	         start of a value)
//	uvarint  count, at least 1
//	uvarint  length in bytes of the last
//	count *  varint   version, minus that of the sliver before plus 1
//	                  (the first of a value: minus 1)
//	count *  8 bytes  sum, little-endian
func encodeSlivers(list []SliverMeta) ([][]byte, error) {
	var out [][]byte
	for i := range list {
		if list[i].Len > sliverSize || i > 0 && list[i].No <= list[i-1].No {
			return nil, errors.Errorf("encode the sliver list: sliver %d of %d bytes is out of order or too long", list[i].No, list[i].Len)
		}
	}
	for part := range slices.Chunk(list, sliversPerXattr) {
		b := make([]byte, 1, 16+len(part)*10)
		b[0] = metaVersion
		var next, version uint64
		for len(part) > 0 {
			n := 1
			for n < len(part) && part[n].No == part[n-1].No+1 && part[n-1].Len == sliverSize {
				n++
			}
			run := part[:n]
			part = part[n:]
			b = binary.AppendUvarint(b, run[0].No-next)
			b = binary.AppendUvarint(b, uint64(n))
			b = binary.AppendUvarint(b, uint64(run[n-1].Len))
			for i := range run {
				b = binary.AppendVarint(b, int64(run[i].Version-version-1))
				version = run[i].Version
			}
			for i := range run {
				b = binary.LittleEndian.AppendUint64(b, run[i].Sum)
			}
			next = run[n-1].No + 1
		}
		out = append(out, b)
	}
	return out, nil
}

// decodeSlivers appends the slivers of one value to list.
func decodeSlivers(list []SliverMeta, b []byte) ([]SliverMeta, error) {
	damaged := func() ([]SliverMeta, error) {
		return nil, errors.Wrapf(ErrCorrupt, "%s is damaged or of an unknown version", keySlivers)
	}
	if len(b) == 0 || b[0] != metaVersion {
		return damaged()
	}
	d := decoder{b: b[1:]}
	var next, version uint64
	for len(d.b) > 0 {
		gap, count, last := d.uvarint(), d.uvarint(), d.uvarint()
		first := next + gap
		// Each sliver takes at least nine bytes: a false count cannot cost memory.
		if d.bad || count == 0 || count > uint64(len(d.b))/9 || last > sliverSize || first < next || first+count < first {
			return damaged()
		}
		if n := len(list); n > 0 && list[n-1].No >= first {
			return damaged()
		}
		at := len(list)
		for i := range count {
			version += uint64(d.varint()) + 1
			list = append(list, SliverMeta{No: first + i, Version: version, Len: sliverSize})
		}
		list[len(list)-1].Len = uint32(last)
		if d.bad || uint64(len(d.b)) < 8*count {
			return damaged()
		}
		for i := range count {
			list[at+int(i)].Sum = binary.LittleEndian.Uint64(d.b[8*i:])
		}
		d.b = d.b[8*count:]
		next = first + count
	}
	return list, nil
}

// encodeSums lists the slivers whose checksum does not go over their Len bytes: a
// truncate has cut them since they were archived, or they have none. nil if there
// are no such. It is the version byte 1 and for each:
//
//	uvarint  number, minus the one behind the one before
//	uvarint  bytes that the checksum goes over, 0: there is no checksum
func encodeSums(list []SliverMeta) []byte {
	var b []byte
	var next uint64
	for i := range list {
		s := &list[i]
		if !s.NoSum && s.SumLen <= s.Len || s.Version == 0 {
			continue
		}
		n := s.SumLen
		if s.NoSum {
			n = 0
		}
		if b == nil {
			b = []byte{metaVersion}
		}
		b = binary.AppendUvarint(b, s.No-next)
		b = binary.AppendUvarint(b, uint64(n))
		next = s.No + 1
	}
	return b
}

// decodeSums is the reverse of encodeSums. list is sorted.
func decodeSums(list []SliverMeta, b []byte) error {
	if len(b) == 0 || b[0] != metaVersion {
		return errors.Wrapf(ErrCorrupt, "%s of an unknown version", keySums)
	}
	d := decoder{b: b[1:]}
	var next uint64
	for len(d.b) > 0 {
		no, n := next+d.uvarint(), d.uvarint()
		i, ok := slices.BinarySearchFunc(list, no, func(s SliverMeta, no uint64) int { return cmp.Compare(s.No, no) })
		if d.bad || !ok || no < next || n > sliverSize {
			return errors.Wrapf(ErrCorrupt, "%s is damaged", keySums)
		}
		list[i].SumLen, list[i].NoSum = uint32(n), n == 0
		next = no + 1
	}
	return nil
}

// SetRemoved notes in the root directory the files that are gone from the
// archive while entries of theirs remain on other volumes, which could not be
// changed then. A rebuild leaves out a file that any volume notes here: FileIDs
// are never used again. The runs need not be sorted, and may overlap.
func (x *Index) SetRemoved(runs []FileIDRun) {
	x.dirty = true
	if len(runs) == 0 {
		x.Root.DeleteXattr(keyRemoved)
		return
	}
	runs = slices.Clone(runs)
	slices.SortFunc(runs, func(a, b FileIDRun) int { return cmp.Compare(a.First, b.First) })
	b := []byte{metaVersion}
	var next uint64
	for i := 0; i < len(runs); {
		first, end := runs[i].First, runs[i].First+runs[i].Count
		for i++; i < len(runs) && runs[i].First <= end; i++ {
			end = max(end, runs[i].First+runs[i].Count)
		}
		b = binary.AppendUvarint(b, first-next)
		b = binary.AppendUvarint(b, end-first)
		next = end
	}
	old, _ := x.Root.Xattr(keyRemoved)
	x.estimate += 2 * int64(len(b)-len(old))
	x.Root.SetXattr(keyRemoved, b)
}

// Removed returns what SetRemoved noted, as runs: each the first FileID and how
// many follow each other.
func (x *Index) Removed() ([]FileIDRun, error) {
	b, ok := x.Root.Xattr(keyRemoved)
	if !ok {
		return nil, nil
	}
	if len(b) == 0 || b[0] != metaVersion {
		return nil, errors.Wrapf(ErrCorrupt, "%s of an unknown version", keyRemoved)
	}
	var runs []FileIDRun
	d := decoder{b: b[1:]}
	var next uint64
	for len(d.b) > 0 {
		gap, count := d.uvarint(), d.uvarint()
		first := next + gap
		if d.bad || count == 0 || first < next || first+count < first {
			return nil, errors.Wrapf(ErrCorrupt, "%s is damaged", keyRemoved)
		}
		runs = append(runs, FileIDRun{first, count})
		next = first + count
	}
	return runs, nil
}

// FileIDRun is a run of FileIDs.
type FileIDRun struct{ First, Count uint64 }
