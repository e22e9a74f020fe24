package ltfs

import (
	"context"
	"io"

	"github.com/pkg/errors"
	"sliod/tape"
)

// found is an index construct on tape: filemark, index, filemark.
type found struct {
	start      uint64       // first record of the XML
	after      tape.BlockNo // behind the closing filemark
	generation uint64
}

// recordReader reads the records from the head to the next filemark as one
// stream. The end of data before a filemark is io.ErrUnexpectedEOF: the writing
// was cut off.
type recordReader struct {
	ctx  context.Context
	v    *Volume
	buf  []byte
	rest []byte
	err  error
}

func (r *recordReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if err := r.ctx.Err(); err != nil {
			r.err = err
			continue
		}
		n, err := r.v.readRecord(r.ctx, r.buf)
		r.rest = r.buf[:n]
		switch {
		case err == nil:
		case tape.KindOf(err) == tape.Filemark:
			r.rest, r.err = nil, io.EOF
		case tape.KindOf(err) == tape.EndOfData:
			r.rest, r.err = nil, io.ErrUnexpectedEOF
		default:
			r.rest, r.err = nil, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (v *Volume) reader(ctx context.Context, at tape.Position) (*recordReader, error) {
	if err := v.seek(ctx, at); err != nil {
		return nil, err
	}
	return &recordReader{ctx: ctx, v: v, buf: make([]byte, v.blockSize)}, nil
}

// blames says whether err means that what is on tape is wrong, so that another
// index may serve; not a dead drive, not the caller's context.
func blames(err error) bool {
	if errors.Is(err, ErrCorrupt) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return true
	}
	switch tape.KindOf(err) {
	case tape.MediumError, tape.BadBlockLength, tape.Filemark, tape.EndOfData:
		return true
	}
	return false
}

// lastConstruct finds the last index construct of a partition that ends at or
// before block end, which must be the end of data or a filemark. It looks at
// what lies between each two filemarks, from behind; nil: there is none.
func (v *Volume) lastConstruct(ctx context.Context, p tape.Partition, end tape.BlockNo) (*found, error) {
	close := end
	first := true
	for {
		// The smallest index construct ends in a filemark at labelBlocks+2.
		if close < labelBlocks+2 {
			return nil, nil
		}
		if err := v.seek(ctx, tape.Position{Partition: p, Block: close}); err != nil {
			return nil, err
		}
		open, err := v.spaceBack(ctx, p)
		if err != nil {
			return nil, err
		}
		if first {
			// open is the last filemark: it ought to close a construct.
			first, close = false, open
			continue
		}
		if open < labelBlocks {
			return nil, nil
		}
		if open+1 < close {
			f, err := v.constructAt(ctx, p, open+1)
			if err != nil {
				return nil, err
			}
			if f != nil {
				f.after = close + 1
				return f, nil
			}
		}
		close = open
	}
}

// spaceBack goes before the filemark before the head.
func (v *Volume) spaceBack(ctx context.Context, p tape.Partition) (tape.BlockNo, error) {
	v.posKnown = false
	if err := v.d.SpaceFilemarks(ctx, -1); err != nil {
		return 0, errors.WithMessagef(err, "look for filemarks in partition %d", p)
	}
	at, err := v.d.Position(ctx)
	if err != nil {
		return 0, errors.WithMessage(err, "ask for the position")
	}
	if at.Partition != p {
		return 0, errors.Wrapf(ErrInconsistent, "the head left partition %d while spacing", p)
	}
	v.pos, v.posKnown = at, true
	return at.Block, nil
}

// constructAt returns the index that begins at a block, or nil if there is none
// of this volume there.
func (v *Volume) constructAt(ctx context.Context, p tape.Partition, at tape.BlockNo) (*found, error) {
	r, err := v.reader(ctx, tape.Position{Partition: p, Block: at})
	if err != nil {
		return nil, err
	}
	x, err := parseHeader(r)
	if err != nil {
		if blames(err) {
			return nil, nil
		}
		return nil, err
	}
	if !v.belongs(x, p, uint64(at)) {
		return nil, nil
	}
	return &found{start: uint64(at), generation: x.Generation}, nil
}

// belongs says whether an index names this volume and the place it is at.
func (v *Volume) belongs(x *Index, p tape.Partition, at uint64) bool {
	return x.UUID == v.label.UUID && x.Location.StartBlock == at && v.TapePartition(x.Location.Partition) == p &&
		(x.Location.Partition == v.label.Index || x.Location.Partition == v.label.Data)
}

// load reads the whole index at a block.
func (v *Volume) load(ctx context.Context, p tape.Partition, at uint64) (*Index, error) {
	r, err := v.reader(ctx, tape.Position{Partition: p, Block: tape.BlockNo(at)})
	if err != nil {
		return nil, err
	}
	x, err := Parse(r)
	if err != nil {
		return nil, errors.WithMessagef(err, "index at block %d of partition %d", at, p)
	}
	if !v.belongs(x, p, at) {
		return nil, errors.Wrapf(ErrCorrupt, "the index at block %d of partition %d is one of volume %s at %s:%d", at, p, x.UUID, x.Location.Partition, x.Location.StartBlock)
	}
	return x, nil
}

// skim reads the index at a block to its end, to see whether it is all there, and
// keeps nothing of it.
func (v *Volume) skim(ctx context.Context, p tape.Partition, at uint64) error {
	r, err := v.reader(ctx, tape.Position{Partition: p, Block: tape.BlockNo(at)})
	if err != nil {
		return err
	}
	return errors.WithMessagef(newScanner(r).skim(), "index at block %d of partition %d", at, p)
}
