package ltfs

import (
	"context"
	"io"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
	"sliod/tape"
)

// labelBlocks is how many blocks the labels take: VOL1, filemark, label XML,
// filemark. The first index construct begins there.
const labelBlocks = 4

// Volume is a mounted volume. Like the drive that it is in, it belongs to one
// goroutine.
type Volume struct {
	d       tape.Drive
	log     *logrus.Entry
	label   *Label
	barcode tape.Barcode
	index   *Index
	creator string
	repair  *Repair

	ip, dp    tape.Partition // index and data partition; equal if there is one
	blockSize int

	pos      tape.Position // of the head
	posKnown bool

	end       tape.BlockNo // of the data partition: where the next record goes
	endKnown  bool
	lastIndex uint64 // first record of the data partition's last index, 0: none

	buf       []byte // the record that is being filled; it will be block end
	changed   bool   // since the last WriteIndex
	unflushed bool   // records or bytes of buf are not certain to be on tape
	full      bool
	failed    error // a write failed: what is on tape is not known any longer
	closed    bool

	keys    KeySource
	key     *tape.EncryptionKey // that the volume is encrypted with; nil: it is in clear
	want    *tape.EncryptionKey // that its pool writes with
	wantErr error               // why that is not known
	pool    string

	indexRoom int64 // bytes that the index partition takes, 0: not known, or there is none
	remaining int64 // bytes left in the data partition, -1: not known
	limit     int64 // RemainingBytes as the drive last said it

	rec    []byte        // the record last read
	recPos tape.Position // where it is
	recOK  bool
}

// Barcode returns the volume's name: the barcode in the cartridge's memory if
// it belongs to the label's volume serial, else the volume serial.
func (v *Volume) Barcode() tape.Barcode { return v.barcode }

// UUID returns the volume's UUID, lower-case.
func (v *Volume) UUID() string { return v.label.UUID }

// Label returns a copy of the index partition's label.
func (v *Volume) Label() Label { return *v.label }

// BlockSize returns the size in bytes of a full record.
func (v *Volume) BlockSize() int { return v.blockSize }

// Generation returns the number of the last index written or read.
func (v *Volume) Generation() uint64 { return v.index.Generation }

// Partitions returns 1 or 2. A volume of one partition has the constructs of
// LTFS but can be read by SLIOD only.
func (v *Volume) Partitions() int { return len(v.partitions()) }

// DataPartition returns the letter that extents of new data carry.
func (v *Volume) DataPartition() PartitionID { return v.label.Data }

// TapePartition returns the number of the tape partition that a letter means.
func (v *Volume) TapePartition(p PartitionID) tape.Partition {
	if p == v.label.Index {
		return v.ip
	}
	return v.dp
}

// Index returns the tree. It may be changed until the next WriteIndex; call its
// MarkDirty if an entry was changed in place.
func (v *Volume) Index() *Index { return v.index }

// EndOfData returns where in the data partition the next record goes. On a
// volume that was mounted by the cartridge's memory and not yet written, it is
// where the last index begins, behind which there is no data.
func (v *Volume) EndOfData() tape.Position {
	if !v.endKnown {
		return tape.Position{Partition: v.dp, Block: tape.BlockNo(v.lastIndex)}
	}
	return tape.Position{Partition: v.dp, Block: v.end}
}

// Remaining returns how many bytes of data Append will take beside the index,
// at a guess; -1 if the drive does not tell.
func (v *Volume) Remaining() int64 {
	switch {
	case v.full, v.indexFull():
		return 0
	case v.remaining < 0:
		return -1
	}
	return max(0, v.remaining-v.reserve()-int64(len(v.buf)))
}

// reserve is the room kept for indexes: the next one, and the one after, which
// will have grown, with a few records for filemarks and rounding.
func (v *Volume) reserve() int64 {
	return 2*v.index.EstimateBytes() + 4*int64(v.blockSize)
}

// indexFull says that the index partition has little room left for a larger index.
// The last eighth is for what is put in the index without new data, and for the files
// that are appended before they are.
func (v *Volume) indexFull() bool {
	return v.indexRoom > 0 && v.index.EstimateBytes() > v.indexRoom/8*7
}

// checkIndexRoom refuses an index that the index partition cannot take, before
// anything is written.
func (v *Volume) checkIndexRoom() error {
	room := v.indexRoom - (labelBlocks+2)*int64(v.blockSize)
	if v.indexRoom <= 0 || v.index.EstimateBytes() <= room {
		return nil
	}
	n, err := v.index.WriteTo(io.Discard) // the estimate is generous
	if err != nil {
		return err
	}
	if n > room {
		return errors.Wrapf(ErrVolumeFull, "the index of volume %s takes %d bytes, its index partition has room for %d; remove files from the volume", v.barcode, n, room)
	}
	return nil
}

func (v *Volume) partitions() []tape.Partition {
	if v.ip == v.dp {
		return []tape.Partition{v.dp}
	}
	return []tape.Partition{v.ip, v.dp}
}

// seek brings the head to a block, with LOCATE only if it is not there.
func (v *Volume) seek(ctx context.Context, to tape.Position) error {
	if v.posKnown && v.pos == to {
		return nil
	}
	v.posKnown = false
	if err := v.d.Locate(ctx, to); err != nil {
		return errors.WithMessagef(err, "go to block %v", to)
	}
	v.pos, v.posKnown = to, true
	return nil
}

// readRecord reads the record at the head into buf. At a filemark and at the
// end of data the error has that Kind.
func (v *Volume) readRecord(ctx context.Context, buf []byte) (int, error) {
	n, err := v.d.ReadBlock(ctx, buf)
	switch {
	case err == nil, tape.KindOf(err) == tape.Filemark:
		v.pos.Block++
	case tape.KindOf(err) == tape.EndOfData:
	default:
		v.posKnown = false
	}
	return n, err
}

// write makes one record at the head, or a filemark if rec is nil, and notes
// how much room is left. The early warning is noted, not returned.
func (v *Volume) write(ctx context.Context, rec []byte) error {
	var err error
	if rec != nil {
		err = v.d.WriteBlock(ctx, rec)
	} else {
		err = v.d.WriteFilemarks(ctx, 1)
	}
	if err = v.wrote(err); err != nil {
		v.posKnown = false
		return err
	}
	v.pos.Block++
	if v.pos.Partition == v.dp && v.remaining >= 0 {
		v.remaining = max(0, v.remaining-int64(len(rec)))
	}
	return nil
}

// wrote takes the early warning out of the result of a write.
func (v *Volume) wrote(err error) error {
	if err != nil && tape.KindOf(err) == tape.EarlyWarning {
		if !v.full {
			// In the index partition it says that a larger index may not fit.
			v.full = true
			v.log.WithField("volume", v.barcode).Infof("the end of partition %d is near; the volume takes no more data", v.pos.Partition)
		}
		return nil
	}
	return err
}

// learnLimits takes the drive's word for what remains, whenever it has a new one.
func (v *Volume) learnLimits() {
	l := v.d.Limits()
	switch {
	case l.RemainingBytes == v.limit:
	case l.RemainingBytes == 0 && v.limit <= 0:
		v.limit, v.remaining = 0, -1 // 0 means not known, unless it was known before
	default:
		v.limit, v.remaining = l.RemainingBytes, l.RemainingBytes
	}
}

// usable says why the volume cannot be written, if so.
func (v *Volume) usable() error {
	switch {
	case v.closed:
		return errors.Errorf("volume %s is closed", v.barcode)
	case v.failed != nil:
		return errors.WithMessagef(v.failed, "volume %s must be mounted again", v.barcode)
	}
	return nil
}

// writable says whether the medium, or the lock that an LTFS program has put on the
// volume, lets it be written: "locked" after write errors, "permlocked" for good.
func (v *Volume) writable(op string) error {
	protected := &tape.Error{Op: op, Volume: v.barcode, Drive: v.d.Serial(), Kind: tape.WriteProtected}
	switch s := v.index.LockState; {
	case v.d.Limits().WriteProtected:
		return errors.WithStack(protected)
	case s == "locked", s == "permlocked":
		return errors.WithMessagef(errors.WithStack(protected), "the volume's index calls it %s", s)
	}
	return errors.WithMessage(v.Refusal(), op)
}

// fail notes that the tape's content is in doubt from here on. All that was
// flushed before is safe.
func (v *Volume) fail(err error) error {
	if v.failed == nil {
		v.failed = errors.Wrapf(ErrFailed, "%v", err)
	}
	v.buf = v.buf[:0]
	v.posKnown = false
	v.recOK = false
	return err
}

// Head is where the head was when the volume's own commands were last done.
func (v *Volume) Head() tape.Position { return v.pos }

// Moved says that somebody else has used the drive: where the head is, is not known any
// longer. The medium itself must be as it was.
func (v *Volume) Moved() { v.posKnown = false }
