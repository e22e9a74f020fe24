package ltfsimport

import (
	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape/ltfs"
)

// labelBlocks is how many blocks the labels of a partition take.
const labelBlocks = 4

// maxBroken is the size up to which a file is taken over that cannot be read: there is a record for
// each of its slivers.
const maxBroken = 16 << 40

// content makes the bmaps of a file.
func (b *builder) content(f *ltfs.File, it *item) error {
	if it.inode.Mode&modeType != modeFile {
		return nil
	}
	if err := b.checkSize(f, it); err != nil {
		return err
	}
	c := cutter{b: b, file: it.inode.ID, size: it.inode.Size}
	if it.meta != nil && it.meta.Size == f.Length {
		c.list = it.meta.Slivers // else another program has changed the file: the index is right
	}
	err := b.checkExtents(f, it.path)
	switch {
	case err == nil:
		err = c.cut(f)
	case b.o.BrokenExtents && it.inode.Size <= maxBroken:
		b.note("%v; reading it is an error", err)
		err = c.unreadable()
	}
	return err
}

// checkSize refuses a file that is larger than files can be.
func (b *builder) checkSize(f *ltfs.File, it *item) error {
	if f.Length <= sliver.MaxFileSize {
		return nil
	}
	return broken(it.path, "its length of %d bytes is more than a file can have", f.Length)
}

// checkExtents finds extents that cannot be what they say.
func (b *builder) checkExtents(f *ltfs.File, path string) error {
	var end uint64
	for i := range f.Extents {
		e := &f.Extents[i]
		if e.FileOffset < end {
			return broken(path, "its extents overlap at byte %d", e.FileOffset)
		}
		end = e.FileOffset + e.ByteCount
		switch {
		case e.Partition != b.label.Index && e.Partition != b.label.Data:
			return broken(path, "an extent is in partition %q, which the volume does not have", e.Partition)
		case e.StartBlock < labelBlocks:
			return broken(path, "an extent begins in block %d, in the label", e.StartBlock)
		case uint64(e.ByteOffset) >= b.blockSize:
			return broken(path, "an extent begins at byte %d of a record of at most %d", e.ByteOffset, b.blockSize)
		case e.FileOffset+e.ByteCount < e.FileOffset || e.FileOffset+e.ByteCount > f.Length:
			return broken(path, "an extent ends behind the file's length of %d bytes", f.Length)
		case e.StartBlock+(uint64(e.ByteOffset)+e.ByteCount)/b.blockSize < e.StartBlock:
			return broken(path, "an extent ends behind the last block that a partition can have")
		case !b.canHold(*e):
			return broken(path, "an extent of %d bytes from block %d on ends behind the data of its partition", e.ByteCount, e.StartBlock)
		}
	}
	return nil
}

// cutter cuts the extents of a file at the boundaries of its slivers. Slivers come in
// order, as the extents of an index are sorted.
type cutter struct {
	b    *builder
	file sliver.FileID
	size uint64
	list []ltfs.SliverMeta // what SLIOD noted of the slivers; nil for other programs

	bmap *catalog.Bmap // that is being filled
	no   sliver.BmapNo

	at     sliver.No // the sliver that is being filled, if pieces is not empty
	pieces []catalog.Piece
	have   uint32 // bytes in pieces
}

// cut makes the records of all slivers of f.
func (c *cutter) cut(f *ltfs.File) error {
	bs := c.b.blockSize
	for i := range f.Extents {
		e := &f.Extents[i]
		c.b.res.Bytes += int64(e.ByteCount)
		c.b.done += int64(e.ByteCount)
		for done := uint64(0); done < e.ByteCount; {
			no, in := sliver.At(e.FileOffset + done)
			if err := c.upTo(no); err != nil {
				return err
			}
			n := min(e.ByteCount-done, uint64(sliver.Size-in))
			if gap := uint32(in) - c.have; gap > 0 {
				c.pieces = append(c.pieces, catalog.Zeros(gap))
			}
			place := uint64(e.ByteOffset) + done
			c.pieces = append(c.pieces, catalog.Piece{
				Partition: c.b.partition(e.Partition), Block: e.StartBlock + place/bs, Offset: uint32(place % bs), Len: uint32(n),
			})
			c.have = uint32(in) + uint32(n)
			done += n
		}
	}
	if err := c.upTo(sliver.Count(c.size)); err != nil {
		return err
	}
	return c.end()
}

// upTo ends the sliver that is being filled if it lies before no, and then makes the records
// of slivers before no that the list has and no extent is of.
func (c *cutter) upTo(no sliver.No) error {
	if len(c.pieces) > 0 && c.at < no {
		if err := c.finish(); err != nil {
			return err
		}
	}
	for len(c.list) > 0 && sliver.No(c.list[0].No) < no {
		s := c.list[0]
		c.list = c.list[1:]
		if sliver.No(s.No) < sliver.Count(c.size) && s.Len > 0 {
			if err := c.put(sliver.No(s.No), c.elsewhere(s)); err != nil {
				return err
			}
		}
	}
	c.at = no
	return nil
}

// finish makes the record of the sliver that is being filled.
func (c *cutter) finish() error {
	no, valid := c.at, uint32(sliver.LenIn(c.size, c.at))
	r := catalog.SliverRec{Len: valid, ArchLen: valid}
	if len(c.list) > 0 && sliver.No(c.list[0].No) == no {
		s := c.list[0]
		c.list = c.list[1:]
		if s.Len <= valid && s.Len >= c.have {
			r.Len, r.ArchLen = s.Len, s.Len
			r.Sum, r.HasSum = sumOf(s)
		}
	}
	if c.have < r.ArchLen {
		c.pieces = append(c.pieces, catalog.Zeros(r.ArchLen-c.have))
	}
	r.Copies = []catalog.Copy{{Volume: c.b.o.Volume, Pieces: c.pieces}}
	c.pieces, c.have = nil, 0
	return c.put(no, r)
}

// elsewhere is the record of a sliver that is on another volume of its archive.
func (c *cutter) elsewhere(s ltfs.SliverMeta) catalog.SliverRec {
	n := min(s.Len, uint32(sliver.LenIn(c.size, sliver.No(s.No))))
	r := catalog.SliverRec{Len: n, ArchLen: n}
	if n == s.Len {
		r.Sum, r.HasSum = sumOf(s)
	}
	r.Copies = []catalog.Copy{{Volume: c.b.o.Volume}}
	return r
}

// sumOf returns the checksum of the valid bytes. One that goes over more of them, as a
// truncate has cut some off since, is of no use.
func sumOf(s ltfs.SliverMeta) (sum uint64, ok bool) {
	if s.NoSum || s.SumLen > s.Len || s.Version == 0 {
		return 0, false
	}
	return s.Sum, true
}

// unreadable makes records of a file whose content is not known.
func (c *cutter) unreadable() error {
	for no := range sliver.Count(c.size) {
		if err := c.b.ctx.Err(); err != nil {
			return err
		}
		n := uint32(sliver.LenIn(c.size, no))
		r := catalog.SliverRec{Len: n, ArchLen: n, Copies: []catalog.Copy{{Volume: c.b.o.Volume}}}
		if err := c.put(no, r); err != nil {
			return err
		}
	}
	return c.end()
}

// put enters the record of one sliver. Versions of imported content begin at 1 in
// each file: the cache's own are far above.
func (c *cutter) put(no sliver.No, r catalog.SliverRec) error {
	bm, i := no.Bmap()
	if c.bmap == nil || c.no != bm {
		if err := c.end(); err != nil {
			return err
		}
		c.bmap, c.no = new(catalog.Bmap), bm
	}
	r.Version = sliver.Version(no) + 1
	c.bmap.Slivers[i] = r
	return nil
}

// bmapBytes is what a bmap takes in memory, without its pieces, about.
const bmapBytes = 12 << 10

// end hands the bmap that was filled to the batch.
func (c *cutter) end() error {
	if c.bmap == nil {
		return nil
	}
	m, no, file := c.bmap, c.no, c.file
	c.bmap = nil
	n := bmapBytes
	for i := range m.Slivers {
		for _, cp := range m.Slivers[i].Copies {
			n += 16 + 24*len(cp.Pieces)
		}
	}
	c.b.step(n, func(tx *catalog.Tx) error { return tx.PutBmap(file, no, m) })
	return c.b.flushIfFull()
}
