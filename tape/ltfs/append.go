package ltfs

import (
	"context"
	stderrors "errors"

	"github.com/pkg/errors"
	"sliod/tape"
)

// Append adds p to the stream of full records at the end of the data partition
// and returns where it will be: one extent, none if p is empty. Small pieces
// share records. The bytes are on tape only after Flush has returned nil. p is
// not kept.
//
// ErrVolumeFull: p was not taken; what was appended before is kept and can
// still be flushed, unless Flush says otherwise. Any other error: nothing since
// the last Flush is certain, and the volume must be mounted again (ErrFailed).
func (v *Volume) Append(ctx context.Context, p []byte) ([]Extent, error) {
	if err := v.usable(); err != nil {
		return nil, err
	}
	if err := v.writable("append"); err != nil {
		return nil, err
	}
	if len(p) == 0 {
		return nil, nil
	}
	if v.full || v.remaining >= 0 && v.remaining < v.reserve()+int64(len(v.buf)+len(p)) {
		return nil, errors.Wrapf(ErrVolumeFull, "append %d bytes to volume %s", len(p), v.barcode)
	}
	if v.indexFull() {
		return nil, errors.Wrapf(ErrVolumeFull, "append %d bytes to volume %s: its index partition has room for an index of %d bytes only", len(p), v.barcode, v.indexRoom)
	}
	if err := v.findEnd(ctx); err != nil {
		return nil, err
	}
	e := Extent{StartBlock: uint64(v.end), ByteCount: uint64(len(p)), ByteOffset: uint32(len(v.buf)), Partition: v.label.Data}
	if v.buf == nil {
		v.buf = make([]byte, 0, v.blockSize)
	}
	v.changed, v.unflushed = true, true
	for len(p) > 0 {
		n := min(len(p), v.blockSize-len(v.buf))
		if n == v.blockSize {
			// A whole record: no need to copy it.
			if err := v.putRecord(ctx, p[:n]); err != nil {
				return nil, err
			}
		} else if v.buf = append(v.buf, p[:n]...); len(v.buf) == v.blockSize {
			if err := v.putRecord(ctx, v.buf); err != nil {
				return nil, err
			}
			v.buf = v.buf[:0]
		}
		p = p[n:]
	}
	return []Extent{e}, nil
}

// putRecord writes one record at the end of data.
func (v *Volume) putRecord(ctx context.Context, rec []byte) error {
	if err := v.seek(ctx, tape.Position{Partition: v.dp, Block: v.end}); err != nil {
		return v.fail(err)
	}
	if err := v.write(ctx, rec); err != nil {
		if tape.KindOf(err) == tape.EndOfMedium {
			// Not written, and the early warning came too late to save it: what
			// was appended since the last Flush is lost with it.
			v.full = true
			v.buf = v.buf[:0]
			v.failed = nil
			return v.fail(errors.Wrapf(stderrors.Join(ErrVolumeFull, err), "write a record to volume %s", v.barcode))
		}
		return v.fail(errors.WithMessagef(err, "write a record to volume %s", v.barcode))
	}
	v.end = v.pos.Block
	v.recOK = false
	return nil
}

// Flush writes the record that is not full and waits until the drive has
// everything on the medium (WRITE FILEMARKS of none, not immediate). nil: all
// that Append returned is on tape. An error: nothing since the last successful
// Flush is certain to be, and the volume must be mounted again. Data on tape is
// found again only through an index or the caller's own catalog.
func (v *Volume) Flush(ctx context.Context) error {
	if err := v.usable(); err != nil {
		return err
	}
	if !v.unflushed {
		return nil
	}
	if len(v.buf) > 0 {
		if err := v.putRecord(ctx, v.buf); err != nil {
			return err
		}
		v.buf = v.buf[:0]
	}
	if err := v.sync(ctx); err != nil {
		return err
	}
	v.unflushed = false
	v.learnLimits()
	return nil
}

// sync makes deferred errors come out: a write error that surfaced only while
// an index was written has cost users of LTFS their data.
func (v *Volume) sync(ctx context.Context) error {
	if err := v.wrote(v.d.WriteFilemarks(ctx, 0)); err != nil {
		return v.fail(errors.WithMessagef(err, "flush volume %s", v.barcode))
	}
	return nil
}

// findEnd learns where the data partition ends, on a volume that was mounted by
// the cartridge's memory, and checks that it ends in the index that the memory
// promised.
func (v *Volume) findEnd(ctx context.Context) error {
	if v.endKnown {
		return nil
	}
	end, err := v.locateEnd(ctx, v.dp)
	if err != nil {
		return err
	}
	if end < 2 {
		return errors.Wrapf(ErrInconsistent, "volume %s: the data partition ends at block %d, inside its label", v.barcode, end)
	}
	begin, err := v.lastMarks(ctx)
	if err != nil {
		return err
	}
	if uint64(begin)+1 != v.lastIndex {
		return errors.Wrapf(ErrInconsistent, "volume %s: the cartridge's memory puts the last index at block %d, the tape has its last filemarks from block %d to block %d; mount it again without trusting the memory",
			v.barcode, v.lastIndex, begin, end)
	}
	v.end, v.endKnown = end, true
	return nil
}

// lastMarks returns where the last filemark but one of the data partition is: there its last index construct begins, if
// it ends in one. The head is at the end of data.
func (v *Volume) lastMarks(ctx context.Context) (tape.BlockNo, error) {
	v.posKnown = false
	if err := v.d.SpaceFilemarks(ctx, -2); err != nil {
		return 0, errors.WithMessagef(err, "look before the last index of volume %s", v.barcode)
	}
	at, err := v.d.Position(ctx)
	if err != nil {
		return 0, errors.WithMessage(err, "ask for the position")
	}
	if at.Partition != v.dp {
		return 0, errors.Wrapf(ErrInconsistent, "volume %s: the head is in partition %d, looking for the last index", v.barcode, at.Partition)
	}
	return at.Block, nil
}

func (v *Volume) locateEnd(ctx context.Context, p tape.Partition) (tape.BlockNo, error) {
	v.posKnown = false
	if err := v.d.LocateEnd(ctx, p); err != nil {
		return 0, errors.WithMessagef(err, "go to the end of data of partition %d", p)
	}
	at, err := v.d.Position(ctx)
	if err != nil {
		return 0, errors.WithMessage(err, "ask for the position")
	}
	if at.Partition != p {
		return 0, errors.Wrapf(ErrInconsistent, "the head is in partition %d after going to the end of partition %d", at.Partition, p)
	}
	v.pos, v.posKnown = at, true
	return at.Block, nil
}
