package rebuild

import (
	"encoding/binary"
	"slices"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape/ltfs"
)

// viewOf returns the slivers of a file as the index of one volume has them: those
// that lie on the volume with their pieces, the others with a copy without any.
func viewOf(lv *ltfs.Volume, vol catalog.VolumeNo, f *ltfs.File, m *ltfs.Meta) map[sliver.BmapNo]*catalog.Bmap {
	views := map[sliver.BmapNo]*catalog.Bmap{}
	for i := range m.Slivers {
		s := &m.Slivers[i]
		no := sliver.No(s.No)
		rec := catalog.SliverRec{
			Len: s.Len, ArchLen: max(s.Len, s.SumLen), Version: sliver.Version(s.Version), Sum: s.Sum, HasSum: !s.NoSum && s.Version != 0,
			Copies: []catalog.Copy{{Volume: noVolume}},
		}
		if !rec.HasSum {
			rec.Sum = 0
		}
		if s.Version != 0 {
			if p := piecesOf(lv, f, no.Start(), s.Len, rec.ArchLen); p != nil {
				rec.Copies[0] = catalog.Copy{Volume: vol, Pieces: p}
			}
		}
		put(views, no, rec)
	}
	return views
}

// foreignView returns the slivers of a file that another program has written: where
// its extents are. They have no checksums yet.
func foreignView(lv *ltfs.Volume, vol catalog.VolumeNo, f *ltfs.File) map[sliver.BmapNo]*catalog.Bmap {
	views := map[sliver.BmapNo]*catalog.Bmap{}
	var next sliver.No
	for _, x := range f.Extents {
		if x.ByteCount == 0 || x.FileOffset >= sliver.MaxFileSize {
			continue
		}
		first, _ := sliver.At(x.FileOffset)
		last, _ := sliver.At(x.FileOffset + x.ByteCount - 1)
		for no := max(first, next); no <= last; no++ {
			n := uint32(sliver.LenIn(f.Length, no))
			if p := piecesOf(lv, f, no.Start(), n, n); p != nil {
				put(views, no, catalog.SliverRec{Len: n, ArchLen: n, Copies: []catalog.Copy{{Volume: vol, Pieces: p}}})
			}
		}
		next = last + 1
	}
	return views
}

func put(views map[sliver.BmapNo]*catalog.Bmap, no sliver.No, rec catalog.SliverRec) {
	b, i := no.Bmap()
	if views[b] == nil {
		views[b] = new(catalog.Bmap)
	}
	views[b].Slivers[i] = rec
}

// piecesOf returns where n bytes of a file from start lie on the volume, with zeros
// for gaps; nil if none of them do. If archived is more than n, a truncate has cut
// the sliver, and the rest follows the last piece on tape.
func piecesOf(lv *ltfs.Volume, f *ltfs.File, start uint64, n, archived uint32) []catalog.Piece {
	at, end := start, start+uint64(n)
	i, _ := slices.BinarySearchFunc(f.Extents, start, func(x ltfs.Extent, at uint64) int {
		if x.FileOffset+x.ByteCount <= at {
			return -1
		}
		return 1
	})
	var list []catalog.Piece
	found := false
	bs := uint64(lv.BlockSize())
	for ; i < len(f.Extents) && f.Extents[i].FileOffset < end; i++ {
		x := &f.Extents[i]
		if x.ByteCount == 0 {
			continue
		}
		if x.FileOffset > at {
			list = append(list, catalog.Zeros(uint32(x.FileOffset-at)))
			at = x.FileOffset
		}
		skip := at - x.FileOffset
		count := min(x.FileOffset+x.ByteCount, end) - at
		off := uint64(x.ByteOffset) + skip
		list = append(list, catalog.Piece{
			Partition: uint8(lv.TapePartition(x.Partition)), Block: x.StartBlock + off/bs, Offset: uint32(off % bs), Len: uint32(count),
		})
		at += count
		found = true
	}
	if !found {
		return nil
	}
	if at < end {
		list = append(list, catalog.Zeros(uint32(end-at)))
	}
	if last := &list[len(list)-1]; archived > n && !last.IsZeros() {
		last.Len += archived - n
	}
	return list
}

// fit makes pieces n bytes long; nil if they are too short.
func fit(list []catalog.Piece, n uint32) []catalog.Piece {
	var out []catalog.Piece
	for _, p := range list {
		if n == 0 {
			break
		}
		p.Len = min(p.Len, n)
		n -= p.Len
		out = append(out, p)
	}
	if n > 0 {
		return nil
	}
	return out
}

func appendRun(b []byte, r ltfs.FileIDRun) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, r.First), r.Count)
}
