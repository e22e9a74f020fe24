package ltfs

import (
	"context"

	"github.com/pkg/errors"
	"sliod/tape"
)

// ReadExtent reads the bytes of e into p, which must be e.ByteCount long: all of
// them, or an error. The drive is sent elsewhere only if the head is not there
// already, so extents read in the order of the tape stream; the record last read
// is kept, so small extents that share a record cost one read.
//
// An error of Kind MediumError, Filemark, EndOfData or BadBlockLength, and
// ErrCorrupt, blame the volume.
func (v *Volume) ReadExtent(ctx context.Context, e Extent, p []byte) error {
	if v.closed {
		return errors.Errorf("volume %s is closed", v.barcode)
	}
	if uint64(len(p)) != e.ByteCount {
		return errors.Errorf("read extent %+v of volume %s into %d bytes: the lengths differ", e, v.barcode, len(p))
	}
	if e.Partition != v.label.Index && e.Partition != v.label.Data {
		return errors.Wrapf(ErrCorrupt, "read extent %+v of volume %s: it has no partition %q", e, v.barcode, e.Partition)
	}
	if uint64(e.ByteOffset) >= uint64(v.blockSize) {
		// The format wants the offset inside the first record.
		return errors.Wrapf(ErrCorrupt, "read extent %+v of volume %s: it begins outside its record of at most %d bytes", e, v.barcode, v.blockSize)
	}
	at := tape.Position{Partition: v.TapePartition(e.Partition), Block: tape.BlockNo(e.StartBlock)}
	if at.Block < labelBlocks {
		return errors.Wrapf(ErrCorrupt, "read extent %+v of volume %s: it lies in the label", e, v.barcode)
	}
	off := int(e.ByteOffset)
	for len(p) > 0 {
		if err := ctx.Err(); err != nil {
			return errors.WithStack(err)
		}
		if at.Partition == v.dp && v.endKnown && at.Block >= v.end {
			return errors.Errorf("read block %v of volume %s: it has not been written", at, v.barcode)
		}
		if err := v.fetch(ctx, at); err != nil {
			return err
		}
		if off >= len(v.rec) || len(p) > len(v.rec)-off && len(v.rec) < v.blockSize {
			return errors.Wrapf(ErrCorrupt, "read extent %+v of volume %s: record %v has %d bytes, too few", e, v.barcode, at, len(v.rec))
		}
		n := copy(p, v.rec[off:])
		p, off = p[n:], 0
		at.Block++
	}
	return nil
}

// fetch makes v.rec the record at a position.
func (v *Volume) fetch(ctx context.Context, at tape.Position) error {
	if v.recOK && v.recPos == at {
		return nil
	}
	if err := v.seek(ctx, at); err != nil {
		return err
	}
	if cap(v.rec) < v.blockSize {
		v.rec = make([]byte, v.blockSize)
	}
	v.recOK = false
	n, err := v.readRecord(ctx, v.rec[:v.blockSize])
	if err != nil {
		return errors.WithMessagef(err, "read block %v of volume %s", at, v.barcode)
	}
	v.rec, v.recPos, v.recOK = v.rec[:n], at, true
	return nil
}
