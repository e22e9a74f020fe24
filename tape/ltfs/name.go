package ltfs

import (
	"context"
	stderrors "errors"
	"io"

	"github.com/pkg/errors"
	"sliod/tape"
)

// maxName is the longest name of a volume in bytes: the length of attribute 0803.
const maxName = 160

// Name returns the volume's name for people: that of the index's root.
func (v *Volume) Name() string { return v.index.Root.Name }

// SetName gives the volume a name for people, at most 160 bytes long: in the index,
// which the caller writes, and at once in the cartridge's memory.
func (v *Volume) SetName(ctx context.Context, name string) error {
	if len(name) > maxName {
		return errors.Errorf("the name %q of volume %s has more than %d bytes", name, v.barcode, maxName)
	}
	v.index.Root.Name = name
	v.index.MarkDirty()
	return v.writeIdentity(ctx, string(v.barcode), name)
}

// firstIndex is how many blocks the first index of most volumes takes: filemark, a record, filemark.
const firstIndex = 3

// LabelUUIDs reads the labels of a medium that Mount has refused. It returns the UUIDs that they
// have, and whether there is nothing else: a partition without a label is blank, or its
// label was cut off; behind one there is no more than a first index.
func LabelUUIDs(ctx context.Context, d tape.Drive) (uuids []string, nothingElse bool, err error) {
	v := newVolume(d, nil, "")
	nothingElse = true
	for p := tape.Partition(0); p < 2; p++ {
		_, l, err := v.readLabel(ctx, p)
		var not *NotLTFSError
		switch {
		case err == nil:
			uuids = append(uuids, l.UUID)
			end, err := v.locateEnd(ctx, p)
			switch {
			case err == nil:
				if nothingElse && end > labelBlocks+firstIndex {
					if nothingElse, err = v.onlyFirstIndex(ctx, p, l, end); err != nil {
						return nil, false, err
					}
				}
			case stderrors.Is(err, ErrInconsistent), blames(err):
				nothingElse = false
			default:
				return nil, false, err
			}
			if l.Index == l.Data {
				return uuids, nothingElse, nil
			}
		case stderrors.As(err, &not):
			nothingElse = nothingElse && (not.Blank || not.Unfinished)
		case stderrors.Is(err, ErrCorrupt), blames(err):
			nothingElse = false
		default:
			return nil, false, err
		}
		if len(uuids) == 0 {
			break // it is not known how many partitions there are
		}
	}
	return uuids, nothingElse, nil
}

// onlyFirstIndex says whether there is nothing behind the label l of partition p but a volume's first index, whole or
// cut off. It is a large one if it has a long list of removed files.
func (v *Volume) onlyFirstIndex(ctx context.Context, p tape.Partition, l *Label, end tape.BlockNo) (bool, error) {
	v.blockSize = int(l.BlockSize)
	at := tape.Position{Partition: p, Block: labelBlocks}
	r, err := v.reader(ctx, at)
	if err != nil {
		return false, err
	}
	if n, err := r.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		return false, other(err) // no filemark
	}
	at.Block++
	if r, err = v.reader(ctx, at); err != nil {
		return false, err
	}
	x, err := parseHeader(r)
	if err != nil || x.UUID != l.UUID || x.Generation > 1 {
		return false, other(err)
	}
	if r, err = v.reader(ctx, at); err != nil {
		return false, err
	}
	switch _, err := io.Copy(io.Discard, r); {
	case stderrors.Is(err, io.ErrUnexpectedEOF):
		return true, nil
	case err != nil:
		return false, other(err)
	}
	return v.pos.Block == end, nil
}

// other is err, unless that is of what is on the tape.
func other(err error) error {
	if err == nil || blames(err) || tape.KindOf(err) == tape.WrongKey {
		return nil
	}
	return err
}
