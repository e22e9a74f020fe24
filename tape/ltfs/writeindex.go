package ltfs

import (
	"context"
	stderrors "errors"

	"github.com/pkg/errors"
	"sliod/tape"
)

// WriteIndex flushes and writes the index with the next generation number: at
// the end of the data partition, then over the one in the index partition, then
// the cartridge's memory. It does nothing if nothing was changed since the last
// one and the volume is consistent. At every instant of it at least one whole
// index that describes all data flushed before the last one is on tape.
//
// If the data partition has no room for it the index goes to the index partition
// alone and the error is ErrVolumeFull and ErrOneIndex; all data stays readable. If the index
// partition has none, and is known to, nothing is written and the error is
// ErrVolumeFull too; it is known before to Append, which then takes no more.
func (v *Volume) WriteIndex(ctx context.Context) error {
	if err := v.usable(); err != nil {
		return err
	}
	if !v.changed && !v.index.dirty && v.repair == nil {
		return nil
	}
	if err := v.writable("write index"); err != nil {
		return err
	}
	if err := v.checkIndexRoom(); err != nil {
		return err
	}
	if err := v.findEnd(ctx); err != nil {
		return err
	}
	if err := v.Flush(ctx); err != nil {
		return err
	}
	return v.writeIndexes(ctx)
}

func (v *Volume) writeIndexes(ctx context.Context) error {
	x := v.index
	x.Version, x.Creator = FormatVersion, v.creator
	v.nameKey()
	x.Generation++
	x.UpdateTime = now()
	at := make(map[tape.Partition]uint64)

	// The data partition. Its copy refers to the one before it.
	x.Location = Location{v.label.Data, uint64(v.end) + 1}
	x.Previous = nil
	if v.lastIndex != 0 {
		x.Previous = &Location{v.label.Data, v.lastIndex}
	}
	var fullErr error
	if err := v.seek(ctx, tape.Position{Partition: v.dp, Block: v.end}); err != nil {
		return v.fail(err)
	}
	// Whatever surfaces now was hidden in the drive's buffer, and must not be
	// taken for an error of the index.
	if err := v.sync(ctx); err != nil {
		return err
	}
	err := v.writeConstruct(ctx)
	noRoom := tape.KindOf(err) == tape.EndOfMedium && v.ip != v.dp && v.lastIndex != 0
	if noRoom {
		v.full = true
		if v.endsInConstruct(ctx, v.end, v.pos.Block+1) {
			err = nil
		}
	}
	switch {
	case err == nil:
		v.lastIndex = x.Location.StartBlock
		v.end = v.pos.Block
		at[v.dp] = v.lastIndex
	case noRoom:
		// The index partition's refers to the one before. A volume without one is being
		// formatted, and that has failed.
		fullErr = errors.Wrapf(stderrors.Join(ErrVolumeFull, ErrOneIndex), "write the index of volume %s to its data partition", v.barcode)
	default:
		return v.fail(err)
	}

	if v.ip != v.dp {
		begin, err := v.indexPlace(ctx)
		if err != nil {
			return v.fail(err)
		}
		x.Location = Location{v.label.Index, uint64(begin) + 1}
		x.Previous = nil
		if v.lastIndex != 0 {
			x.Previous = &Location{v.label.Data, v.lastIndex}
		}
		if err := v.seek(ctx, tape.Position{Partition: v.ip, Block: begin}); err != nil {
			return v.fail(err)
		}
		if err := v.writeConstruct(ctx); err != nil {
			if tape.KindOf(err) == tape.EndOfMedium {
				v.full = true
				err = errors.Wrapf(stderrors.Join(ErrVolumeFull, err), "write the index of volume %s to its index partition; the data partition has it", v.barcode)
			}
			return v.fail(err)
		}
		at[v.ip] = x.Location.StartBlock
	}
	if fullErr != nil {
		// The end of the data partition is half an index: the memory must not
		// say that all is well.
		return v.fail(fullErr)
	}
	if err := v.writeCoherency(ctx, at); err != nil {
		return v.fail(err)
	}
	v.changed, x.dirty, v.repair = false, false, nil
	v.learnLimits()
	return nil
}

// writeConstruct writes filemark, index, filemark at the head, and waits until
// they are on the medium.
func (v *Volume) writeConstruct(ctx context.Context) error {
	if v.recPos.Partition == v.pos.Partition {
		v.recOK = false
	}
	w := &recordWriter{ctx: ctx, v: v, buf: make([]byte, 0, v.blockSize)}
	err := v.write(ctx, nil)
	if err == nil {
		_, err = v.index.WriteTo(w)
	}
	if err == nil && len(w.buf) > 0 {
		err = v.write(ctx, w.buf)
	}
	if err == nil {
		err = v.write(ctx, nil)
	}
	if err != nil {
		return errors.WithMessagef(err, "write index %d of volume %s to partition %s", v.index.Generation, v.barcode, v.index.Location.Partition)
	}
	return nil
}

// endsInConstruct says whether the data partition ends in the index construct from begin to end: after a drive
// had no room for the last of it, it may be there all the same. Only the medium can tell, as the drive's position counts
// what was in its buffer, too. If the medium cannot be asked it does not.
func (v *Volume) endsInConstruct(ctx context.Context, begin, end tape.BlockNo) bool {
	at, err := v.locateEnd(ctx, v.dp)
	if err != nil || at != end {
		return false
	}
	mark, err := v.lastMarks(ctx)
	return err == nil && mark == begin
}

// indexPlace returns where the index partition's index construct begins: behind
// the label, over the old one; behind everything if there are files in the
// index partition, which other implementations may put there.
func (v *Volume) indexPlace(ctx context.Context) (tape.BlockNo, error) {
	if !v.index.usesPartition(v.index.Root, v.label.Index) {
		return labelBlocks, nil
	}
	return v.locateEnd(ctx, v.ip)
}

func (x *Index) usesPartition(d *Dir, p PartitionID) bool {
	for _, e := range d.children {
		switch e := e.(type) {
		case *File:
			for i := range e.Extents {
				if e.Extents[i].Partition == p {
					return true
				}
			}
		case *Dir:
			if x.usesPartition(e, p) {
				return true
			}
		}
	}
	return false
}

// recordWriter cuts a stream into records of the block size.
type recordWriter struct {
	ctx context.Context
	v   *Volume
	buf []byte
}

func (w *recordWriter) Write(p []byte) (int, error) {
	done := 0
	for len(p) > 0 {
		n := min(len(p), w.v.blockSize-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		if len(w.buf) == w.v.blockSize {
			if err := w.v.write(w.ctx, w.buf); err != nil {
				return done, err
			}
			w.buf = w.buf[:0]
		}
		p, done = p[n:], done+n
	}
	return done, nil
}

// Close writes the index if anything was changed, and ends the use of the
// volume. It does not unload the drive.
func (v *Volume) Close(ctx context.Context) error {
	if v.closed {
		return nil
	}
	var err error
	switch {
	case v.failed != nil:
		// What is on tape is in doubt; the next Mount finds out.
	case v.changed || v.index.dirty:
		err = v.WriteIndex(ctx)
	}
	v.closed = true
	v.buf, v.rec = nil, nil
	return err
}
