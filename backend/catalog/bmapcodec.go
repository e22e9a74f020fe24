package catalog

import (
	"encoding/binary"

	"github.com/pkg/errors"

	"sliod/backend/sliver"
)

// A bmap's record is the format byte and then one entry for each sliver that is
// not a hole, in order. Entries say what differs from what the entry before lets
// one expect, so a sliver archived in sequence takes 11 bytes, 8 of them its
// checksum. docs/catalog.md has the layout.

// Flags of an entry, its first byte.
const (
	entGap     = 1 << iota // uint: how many holes (at least 1) lie between the entry before and this one
	entDirty               // int Slot, int Seq: what is added to those of the dirty entry before
	entShort               // uint Len, which is not sliver.Size
	entArchLen             // uint ArchLen, which is not Len
	entVersion             // int: what is added to the Version of the entry before, not 1
	entSum                 // 8 bytes Sum, least significant first
	entCopy                // there is one copy, and it is simple
	entCopies              // uint: number of copies that follow, not one simple one; clear with entCopy clear: none
)

// Kinds of a copy when entCopies is set.
const (
	copySimple  = 1 // int block, int offset, as after entCopy
	copyGeneral = 0 // uint volume, uint number of pieces; each: byte partition, int block, int offset, uint length. Zeros: byte partition, uint length
)

// maxTrack is how many copies of a sliver are predicted separately; those after
// it share the last prediction.
const maxTrack = 4

// track is where the last piece of the n-th copy of the slivers began.
type track struct {
	volume VolumeNo
	piece  Piece
}

// bmapState is what both sides know before an entry.
type bmapState struct {
	next      int // index of the sliver that follows the entry before
	slot, seq uint64
	version   sliver.Version
	tracks    [maxTrack]track
}

func (s *bmapState) track(i int) *track { return &s.tracks[min(i, maxTrack-1)] }

// simple says that a copy is one piece, holds the whole archived content, and
// lies on the volume and partition of its track.
func (t *track) simple(c *Copy, archLen uint32) bool {
	return len(c.Pieces) == 1 && c.Volume == t.volume && c.Pieces[0].Partition == t.piece.Partition && c.Pieces[0].Len == archLen
}

// flags returns the first byte of the entry of sliver i.
func (s *bmapState) flags(i int, r *SliverRec) (f byte) {
	if i != s.next {
		f |= entGap
	}
	if r.Dirty {
		f |= entDirty
	}
	if r.Len != sliver.Size {
		f |= entShort
	}
	if r.ArchLen != r.Len {
		f |= entArchLen
	}
	if r.Version != s.version+1 {
		f |= entVersion
	}
	if r.HasSum {
		f |= entSum
	}
	switch {
	case len(r.Copies) == 1 && s.tracks[0].simple(&r.Copies[0], r.ArchLen):
		f |= entCopy
	case len(r.Copies) > 0:
		f |= entCopies
	}
	return f
}

func appendPlace(b []byte, t *track, p Piece) []byte {
	b = appendInt(b, int64(p.Block-t.piece.Block))
	return appendInt(b, int64(p.Offset)-int64(t.piece.Offset))
}

func encodeBmap(b []byte, m *Bmap) ([]byte, error) {
	var s bmapState
	b = append(b, recordFormat)
	for i := range m.Slivers {
		r := &m.Slivers[i]
		if r.Hole() {
			continue
		}
		if r.Len > sliver.Size || r.ArchLen > sliver.Size {
			return nil, errors.Errorf("catalog: sliver %d of a bmap has length %d and archived length %d: the most is %d", i, r.Len, r.ArchLen, sliver.Size)
		}
		for _, c := range r.Copies {
			for _, p := range c.Pieces {
				if p.IsZeros() && (p.Block != 0 || p.Offset != 0) {
					return nil, errors.Errorf("catalog: sliver %d of a bmap has a piece of zeros with a place: %+v", i, p)
				}
			}
		}
		b = s.append(b, i, r)
	}
	return b, nil
}

// append appends the entry of sliver i.
func (s *bmapState) append(b []byte, i int, r *SliverRec) []byte {
	f := s.flags(i, r)
	b = append(b, f)
	if f&entGap != 0 {
		b = appendUint(b, uint64(i-s.next))
	}
	if f&entDirty != 0 {
		b = appendInt(b, int64(r.Slot-s.slot))
		b = appendInt(b, int64(r.Seq-s.seq))
		s.slot, s.seq = r.Slot, r.Seq
	}
	if f&entShort != 0 {
		b = appendUint(b, uint64(r.Len))
	}
	if f&entArchLen != 0 {
		b = appendUint(b, uint64(r.ArchLen))
	}
	if f&entVersion != 0 {
		b = appendInt(b, int64(r.Version-s.version))
	}
	if f&entSum != 0 {
		b = binary.LittleEndian.AppendUint64(b, r.Sum)
	}
	switch {
	case f&entCopy != 0:
		b = appendPlace(b, &s.tracks[0], r.Copies[0].Pieces[0])
		s.tracks[0].piece = r.Copies[0].Pieces[0]
	case f&entCopies != 0:
		b = appendUint(b, uint64(len(r.Copies)))
		for n := range r.Copies {
			b = s.appendCopy(b, n, &r.Copies[n], r.ArchLen)
		}
	}
	s.next, s.version = i+1, r.Version
	return b
}

func (s *bmapState) appendCopy(b []byte, n int, c *Copy, archLen uint32) []byte {
	t := s.track(n)
	if t.simple(c, archLen) {
		b = appendPlace(append(b, copySimple), t, c.Pieces[0])
		t.piece = c.Pieces[0]
		return b
	}
	b = appendUint(append(b, copyGeneral), uint64(c.Volume))
	b = appendUint(b, uint64(len(c.Pieces)))
	t.volume = c.Volume
	for _, p := range c.Pieces {
		if p.IsZeros() {
			b = appendUint(append(b, ZeroPartition), uint64(p.Len))
			continue
		}
		b = appendPlace(append(b, p.Partition), t, p)
		b = appendUint(b, uint64(p.Len))
		t.piece = p
	}
	return b
}

// bmapDecoder reads a record. The copies and pieces of all slivers share few
// allocations; each slice is cut to its length, so that append never reaches
// into a neighbour.
type bmapDecoder struct {
	decoder
	s      bmapState
	copies []Copy
	pieces []Piece
}

func decodeBmap(m *Bmap, b []byte) error {
	d := bmapDecoder{decoder: decoder{b: b}}
	d.format(recordFormat)
	for len(d.b) > 0 {
		d.entry(m)
	}
	return d.end("bmap")
}

// entry reads one entry. It accepts only what append writes.
func (d *bmapDecoder) entry(m *Bmap) {
	s := &d.s
	f := d.byte()
	i := uint64(s.next)
	if f&entGap != 0 {
		i += d.uint()
	}
	if i >= sliver.PerBmap {
		d.fail("sliver beyond its end")
		return
	}
	r := &m.Slivers[i]
	slot, seq := s.slot, s.seq
	if f&entDirty != 0 {
		r.Dirty = true
		slot += uint64(d.int())
		seq += uint64(d.int())
		r.Slot, r.Seq = slot, seq
	}
	r.Len = sliver.Size
	if f&entShort != 0 {
		r.Len = d.uint32()
	}
	r.ArchLen = r.Len
	if f&entArchLen != 0 {
		r.ArchLen = d.uint32()
	}
	if r.Len > sliver.Size || r.ArchLen > sliver.Size {
		d.fail("length above that of a sliver")
		return
	}
	r.Version = s.version + 1
	if f&entVersion != 0 {
		r.Version = s.version + sliver.Version(d.int())
	}
	if f&entSum != 0 {
		if v := d.bytes(8); v != nil {
			r.HasSum, r.Sum = true, binary.LittleEndian.Uint64(v)
		}
	}
	before := s.tracks[0] // the flags must be what this predicts; they depend on no other track
	switch {
	case f&(entCopy|entCopies) == entCopy|entCopies:
		d.fail("both one copy and several")
	case f&entCopy != 0:
		c := d.newCopies(1)
		c[0] = Copy{Volume: s.tracks[0].volume, Pieces: d.newPieces(1)}
		c[0].Pieces[0] = d.place(&s.tracks[0], s.tracks[0].piece.Partition, r.ArchLen)
		r.Copies = c
	case f&entCopies != 0:
		d.readCopies(r)
	}
	if d.bad != "" {
		return
	}
	after := s.tracks[0]
	s.tracks[0] = before
	if want := s.flags(int(i), r); r.Hole() || f != want {
		d.fail("entry not in its canonical form")
	}
	s.tracks[0] = after
	s.next, s.version, s.slot, s.seq = int(i)+1, r.Version, slot, seq
}

// place reads a piece's block and offset and moves the track to it.
func (d *bmapDecoder) place(t *track, partition uint8, length uint32) Piece {
	p := Piece{Partition: partition, Len: length}
	p.Block = t.piece.Block + uint64(d.int())
	off := d.int()
	p.Offset = uint32(int64(t.piece.Offset) + off)
	if int64(p.Offset)-int64(t.piece.Offset) != off {
		d.fail("offset outside 32 bits")
	}
	t.piece = p
	return p
}

func (d *bmapDecoder) readCopies(r *SliverRec) {
	n := d.uint()
	if n > uint64(len(d.b)) || n == 0 { // a copy takes at least a byte
		d.fail("bad number of copies")
		return
	}
	c := d.newCopies(int(n))
	for i := range c {
		t := d.s.track(i)
		switch kind := d.byte(); kind {
		case copySimple:
			c[i] = Copy{Volume: t.volume, Pieces: d.newPieces(1)}
			c[i].Pieces[0] = d.place(t, t.piece.Partition, r.ArchLen)
		case copyGeneral:
			before := *t
			c[i].Volume = VolumeNo(d.uint32())
			np := d.uint()
			if np > uint64(len(d.b))/2 { // a piece takes at least 2 bytes
				d.fail("bad number of pieces")
				return
			}
			t.volume = c[i].Volume
			if np > 0 {
				c[i].Pieces = d.newPieces(int(np))
			}
			for j := range c[i].Pieces {
				partition := d.byte()
				if partition == ZeroPartition {
					c[i].Pieces[j] = Zeros(d.uint32())
					continue
				}
				p := d.place(t, partition, 0)
				p.Len = d.uint32()
				t.piece, c[i].Pieces[j] = p, p
			}
			if before.simple(&c[i], r.ArchLen) {
				d.fail("copy not in its canonical form")
			}
		default:
			d.fail("unknown kind of copy")
		}
		if d.bad != "" {
			return
		}
	}
	r.Copies = c
}

// newCopies and newPieces cut n zero elements off a block that usually serves
// the whole bmap.
func (d *bmapDecoder) newCopies(n int) []Copy {
	if n > len(d.copies) {
		d.copies = make([]Copy, max(n, d.estimate()))
	}
	c := d.copies[:n:n]
	d.copies = d.copies[n:]
	return c
}

func (d *bmapDecoder) newPieces(n int) []Piece {
	if n > len(d.pieces) {
		d.pieces = make([]Piece, max(n, d.estimate()))
	}
	p := d.pieces[:n:n]
	d.pieces = d.pieces[n:]
	return p
}

// estimate is how many copies the rest of the record may have if they are of
// the common kind: at least one, at most one for each sliver.
func (d *bmapDecoder) estimate() int {
	return max(1, min(len(d.b)/11+1, sliver.PerBmap-d.s.next))
}
