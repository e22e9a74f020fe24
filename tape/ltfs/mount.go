package ltfs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
	"sliod/tape"
)

// Creator is what labels and indexes say who wrote them.
const Creator = "SLIOD 1.0 - Linux - sliod"

// MountOptions are the options of Mount.
type MountOptions struct {
	Log *logrus.Entry
	// Creator is written in indexes; "" means the constant Creator.
	Creator string
	// IgnoreMAM finds the index by the tape alone, even if the cartridge's
	// memory says where it is. Slower; for verify, and after ErrInconsistent.
	IgnoreMAM bool
	// Key finds the volume's key, if it is encrypted. Asked for "" it says what the volume is to
	// be written with: if that is not how it is, the volume is only read. nil: there are no
	// keys, and an encrypted volume is a *KeyError.
	Key KeySource
	// Pool is the name of the volume's pool; "": not known.
	Pool string
}

// Repair says what Mount found on a volume that was not closed in good order.
// The volume can be read as it is. Before it is written the caller decides:
// Volume.Adopt keeps the data behind the last index, which the caller's catalog
// knows; Volume.CutOff lets it be overwritten. The next WriteIndex makes the
// volume consistent again.
type Repair struct {
	Reasons []string // what was found, for a person
	// From and To bound what lies in the data partition and no index describes:
	// blocks From up to and without To. They are equal if there is nothing.
	From, To tape.BlockNo
	// Generations of the last index in the index and in the data partition, 0:
	// none. They are the same number on a volume of one partition.
	IndexGeneration, DataGeneration uint64
}

func (r *Repair) String() string {
	return fmt.Sprintf("%s (blocks %d to %d are in no index)", strings.Join(r.Reasons, "; "), r.From, r.To)
}

// Mount reads the labels and the newest consistent index of the medium that is
// loaded in d. If the cartridge's memory says where that index is and the drive
// vouches for it, one LOCATE suffices; else both partitions are searched from
// their ends. Mount writes nothing.
//
// A medium that is not LTFS gives ErrNotLTFS with what was found; labels that
// contradict each other, or a volume without any readable index, ErrInconsistent; one
// that is encrypted, without its key, a *KeyError.
func Mount(ctx context.Context, d tape.Drive, o MountOptions) (*Volume, error) {
	v := newVolume(d, o.Log, o.Creator)
	v.pool = o.Pool
	err := v.beginKeys(ctx, o.Key)
	if err == nil {
		err = v.unlocked(ctx, v.readLabels)
	}
	if err == nil {
		err = v.learnIndexRoom(ctx)
	}
	if err == nil && !o.IgnoreMAM {
		err = v.keyFromMemory(ctx)
	}
	if err == nil {
		err = v.unlocked(ctx, func(ctx context.Context) error { return v.findIndex(ctx, o.IgnoreMAM) })
	}
	if err != nil {
		return nil, errors.WithMessagef(err, "mount the volume in drive %s", d.Serial())
	}
	v.index.dirty = false
	v.learnLimits()
	if v.repair != nil {
		v.log.WithField("volume", v.barcode).Warnf("the volume was not closed in good order: %s", v.repair)
	}
	return v, nil
}

func newVolume(d tape.Drive, log *logrus.Entry, creator string) *Volume {
	if log == nil {
		l := logrus.New()
		l.SetOutput(io.Discard)
		log = logrus.NewEntry(l)
	}
	if creator == "" {
		creator = Creator
	}
	return &Volume{d: d, log: log, creator: creator, limit: -1}
}

// Repair returns what was wrong when the volume was mounted, nil if nothing or
// since it has been put right.
func (v *Volume) Repair() *Repair { return v.repair }

// Adopt keeps what lies behind the last index: Append goes on behind it.
func (v *Volume) Adopt() {
	if v.repair != nil {
		v.changed = true
	}
}

// CutOff lets the next Append or WriteIndex overwrite what lies behind the last
// index. It may be called only before the first Append.
func (v *Volume) CutOff() error {
	switch {
	case v.repair == nil:
		return nil
	case v.unflushed || v.end != v.repair.To:
		return errors.Errorf("cut off the end of volume %s: it has been written since it was mounted", v.barcode)
	}
	v.end = v.repair.From
	v.changed = true
	return nil
}

// readLabels reads the label of each partition and learns which is which.
func (v *Volume) readLabels(ctx context.Context) error {
	serial, l, err := v.readLabel(ctx, 0)
	if err != nil {
		return v.firstLabelLost(ctx, err)
	}
	if l.Location != l.Index && l.Location != l.Data {
		return errors.Wrapf(ErrInconsistent, "the label calls its partition %q, and the volume's partitions %q and %q", l.Location, l.Index, l.Data)
	}
	v.label = l
	v.blockSize = int(l.BlockSize)
	if l.Index != l.Data {
		v.ip, v.dp = 0, 1
		if l.Location == l.Data {
			v.ip, v.dp = 1, 0
		}
		serial1, l1, err := v.readLabel(ctx, 1)
		if err != nil {
			if errors.Is(err, ErrNotLTFS) {
				return errors.Wrapf(ErrInconsistent, "partition 0 has a label of volume %s, partition 1 has none: %v", serial, err)
			}
			return err
		}
		if !l.sameVolume(l1) || serial != serial1 || l.Location == l1.Location || l1.Location != l.Index && l1.Location != l.Data {
			return errors.Wrapf(ErrInconsistent, "the labels differ: partition 0 is of %s %q (%s), partition 1 of %s %q (%s)",
				serial, l.UUID, l.Location, serial1, l1.UUID, l1.Location)
		}
		if v.ip == 1 {
			v.label = l1
		}
	}
	if m := v.d.Limits().MaxBlock; m > 0 && v.blockSize > m {
		return errors.Errorf("volume %s has records of %d bytes; the drive takes no more than %d", serial, v.blockSize, m)
	}
	v.barcode = tape.Barcode(serial)
	if v.d.Limits().HasMAM {
		b, err := v.d.ReadAttribute(ctx, 0, mamBarcode)
		if err != nil {
			return v.mamError(err)
		}
		if bc := strings.Trim(string(b), " \x00"); serial != "" && strings.HasPrefix(bc, serial) {
			v.barcode = tape.Barcode(bc)
		}
	}
	return nil
}

// firstLabelLost sees to it that a volume of which only partition 0 is blank is not
// taken for a blank medium, and formatted. err is why there is no label.
func (v *Volume) firstLabelLost(ctx context.Context, err error) error {
	var n *NotLTFSError
	if !errors.As(err, &n) || !n.Blank || v.d.Limits().Partitions < 2 {
		return err
	}
	serial, l, err1 := v.readLabel(ctx, 1)
	if err1 != nil {
		v.posKnown = false
		k := tape.KindOf(err1)
		if !errors.Is(err1, ErrNotLTFS) && !blames(err1) && k != tape.IllegalRequest {
			return err1 // of the drive: it is not known
		}
		var other *NotLTFSError
		if k == tape.IllegalRequest || k == tape.EndOfData || errors.As(err1, &other) && (other.Blank || other.Unfinished) {
			return err // nor has partition 1, or there is none
		}
		return errors.WithStack(&NotLTFSError{Found: fmt.Sprintf("partition 0 is blank, and partition 1 is not: %v", err1)})
	}
	return errors.Wrapf(ErrInconsistent, "partition 1 has a label of volume %s (%s), partition 0 has none: %v", serial, l.UUID, err)
}

// readLabel reads VOL1, filemark, label XML, filemark from the start of p.
func (v *Volume) readLabel(ctx context.Context, p tape.Partition) (string, *Label, error) {
	if err := v.seek(ctx, tape.Position{Partition: p}); err != nil {
		return "", nil, err
	}
	size := 1 << 20
	if m := v.d.Limits().MaxBlock; m > 0 {
		size = min(size, m)
	}
	buf := make([]byte, size)
	n, err := v.readRecord(ctx, buf)
	switch {
	case err == nil:
	case tape.KindOf(err) == tape.EndOfData:
		return "", nil, errors.WithStack(&NotLTFSError{Blank: true, Found: fmt.Sprintf("partition %d is blank", p)})
	case tape.KindOf(err) == tape.Filemark:
		// Alone it is what erases a medium where the drive has no command for that.
		if _, err := v.readRecord(ctx, buf); tape.KindOf(err) == tape.EndOfData {
			return "", nil, errors.WithStack(&NotLTFSError{Blank: true, Found: fmt.Sprintf("partition %d has nothing but a filemark", p)})
		}
		return "", nil, errors.WithStack(&NotLTFSError{Found: fmt.Sprintf("partition %d begins with a filemark", p)})
	case tape.KindOf(err) == tape.BadBlockLength:
		return "", nil, errors.WithStack(&NotLTFSError{Found: fmt.Sprintf("partition %d begins with a record of more than %d bytes", p, size)})
	default:
		return "", nil, errors.WithMessagef(err, "read the label of partition %d", p)
	}
	serial, err := parseVOL1(buf[:n])
	if err != nil {
		return "", nil, errors.WithStack(err)
	}
	notLTFS := func(what string, unfinished bool) error {
		return errors.WithStack(&NotLTFSError{Serial: serial, Unfinished: unfinished, Found: fmt.Sprintf("partition %d has a VOL1 label of %q, then %s", p, serial, what)})
	}
	if n, err = v.readRecord(ctx, buf); err == nil {
		return "", nil, notLTFS(describe(buf[:n])+" where a filemark should be", false)
	} else if k := tape.KindOf(err); k == tape.EndOfData {
		return "", nil, notLTFS("nothing", true)
	} else if k != tape.Filemark {
		return "", nil, errors.WithMessagef(err, "read the label of partition %d", p)
	}
	if n, err = v.readRecord(ctx, buf); err != nil {
		if k := tape.KindOf(err); k == tape.EndOfData || k == tape.Filemark {
			return "", nil, notLTFS("a filemark and no label: formatting was cut off", k == tape.EndOfData)
		}
		return "", nil, errors.WithMessagef(err, "read the label of partition %d", p)
	}
	if !bytes.Contains(buf[:n], []byte("ltfslabel")) {
		return "", nil, notLTFS("a filemark and "+describe(buf[:n]), false)
	}
	l, err := ParseLabel(buf[:n])
	if err != nil {
		return "", nil, errors.WithMessagef(err, "partition %d", p)
	}
	return serial, l, nil
}

// findIndex loads the newest index and learns where the data end.
func (v *Volume) findIndex(ctx context.Context, ignoreMAM bool) error {
	if !ignoreMAM {
		done, err := v.byMemory(ctx)
		if done || err != nil {
			return err
		}
	}
	return v.bySearch(ctx)
}

// byMemory finds the index through attribute 080C, if it is valid.
func (v *Volume) byMemory(ctx context.Context) (bool, error) {
	cd, ok, err := v.coherencyOf(ctx, v.dp)
	if err != nil || !ok {
		return false, err
	}
	ci := cd
	if v.ip != v.dp {
		if ci, ok, err = v.coherencyOf(ctx, v.ip); err != nil || !ok || ci.Generation != cd.Generation {
			return false, err
		}
	}
	x, err := v.load(ctx, v.ip, ci.Block)
	if err == nil && x.Generation != ci.Generation {
		err = errors.Wrapf(ErrCorrupt, "the cartridge's memory says generation %d, the index there %d", ci.Generation, x.Generation)
	}
	if err == nil && v.ip != v.dp && (x.Previous == nil || *x.Previous != Location{v.label.Data, cd.Block}) {
		err = errors.Wrapf(ErrCorrupt, "the cartridge's memory puts the data partition's index at block %d, the index partition's does not", cd.Block)
	}
	if err != nil {
		if blames(err) {
			v.log.WithError(err).Warn("the cartridge's memory does not lead to the index; searching the tape")
			return false, nil
		}
		return false, err
	}
	v.index, v.lastIndex = x, cd.Block
	return true, nil
}

// bySearch finds the last index of each partition from its end.
func (v *Volume) bySearch(ctx context.Context) error {
	end, err := v.locateEnd(ctx, v.dp)
	if err != nil {
		return err
	}
	v.end, v.endKnown = end, true
	data, err := v.lastConstruct(ctx, v.dp, end)
	if err != nil {
		return err
	}
	last := data
	ix, indexEnd := data, end
	if v.ip != v.dp {
		if indexEnd, err = v.locateEnd(ctx, v.ip); err != nil {
			return err
		}
		if ix, err = v.lastConstruct(ctx, v.ip, indexEnd); err != nil {
			return err
		}
	}
	var reasons []string
	// The index partition's is tried first unless the other is newer; then the
	// data partition's, and those before it.
	if v.ip != v.dp && ix != nil && (data == nil || ix.generation >= data.generation) {
		x, err := v.load(ctx, v.ip, ix.start)
		if err == nil {
			v.index = x
		} else if !blames(err) {
			return err
		} else {
			reasons = append(reasons, fmt.Sprintf("the index partition's index cannot be read: %v", err))
		}
	}
	// What was cut off in the data partition is found even if it is not needed: the
	// next index must not refer to it.
	for ; data != nil && v.index != nil; data = last {
		err := v.skim(ctx, v.dp, data.start)
		if err == nil {
			break
		} else if !blames(err) {
			return err
		}
		reasons = append(reasons, fmt.Sprintf("index %d of the data partition cannot be read: %v", data.generation, err))
		if last, err = v.lastConstruct(ctx, v.dp, tape.BlockNo(data.start)); err != nil {
			return err
		}
	}
	for data != nil && v.index == nil {
		x, err := v.load(ctx, v.dp, data.start)
		if err == nil {
			v.index, last = x, data
			break
		} else if !blames(err) {
			return err
		}
		reasons = append(reasons, fmt.Sprintf("index %d cannot be read: %v", data.generation, err))
		if v.ip != v.dp && ix != nil && ix.generation < data.generation {
			if x, err := v.load(ctx, v.ip, ix.start); err == nil {
				v.index = x
				break
			} else if !blames(err) {
				return err
			}
		}
		if data, err = v.lastConstruct(ctx, v.dp, tape.BlockNo(data.start)); err != nil {
			return err
		}
	}
	if v.index == nil {
		return errors.Wrapf(ErrInconsistent, "volume %s has labels but no readable index (data partition up to block %d)%s", v.barcode, end, reasonList(reasons))
	}
	v.judge(reasons, last, ix, end, indexEnd)
	return nil
}

func reasonList(reasons []string) string {
	if len(reasons) == 0 {
		return ""
	}
	return ": " + strings.Join(reasons, "; ")
}

// judge decides whether what was found is consistent, and sets v.repair if not.
// data and ix are the last index constructs of the two partitions.
func (v *Volume) judge(reasons []string, data, ix *found, end, indexEnd tape.BlockNo) {
	r := &Repair{From: labelBlocks, To: end}
	if data != nil {
		v.lastIndex = data.start
		r.From, r.DataGeneration = data.after, data.generation
		if data.after != end {
			reasons = append(reasons, fmt.Sprintf("the data partition goes on behind its last index, from block %d to %d", data.after, end))
		}
	} else {
		reasons = append(reasons, "the data partition has no index")
	}
	if ix != nil {
		r.IndexGeneration = ix.generation
		if v.ip != v.dp && ix.after != indexEnd {
			reasons = append(reasons, fmt.Sprintf("the index partition goes on behind its last index, from block %d to %d", ix.after, indexEnd))
		}
	} else {
		reasons = append(reasons, "the index partition has no index")
	}
	if r.IndexGeneration != r.DataGeneration {
		reasons = append(reasons, fmt.Sprintf("the index partition is at generation %d, the data partition at %d", r.IndexGeneration, r.DataGeneration))
	}
	described := v.dataEndIn(v.index.Root)
	if described > end {
		reasons = append(reasons, fmt.Sprintf("data are lost: the index describes some up to block %d, the data partition ends at block %d", described, end))
	}
	if len(reasons) == 0 {
		return
	}
	// Nothing that the chosen index describes may be cut off: an index in the
	// index partition may be newer than the data partition's last.
	r.From = min(max(r.From, described), end)
	r.Reasons = reasons
	v.repair = r
}

// dataEndIn returns the block behind the last that an extent in d uses.
func (v *Volume) dataEndIn(d *Dir) tape.BlockNo {
	var last tape.BlockNo
	for _, e := range d.children {
		switch e := e.(type) {
		case *Dir:
			last = max(last, v.dataEndIn(e))
		case *File:
			for _, x := range e.Extents {
				if x.Partition == v.label.Data {
					bs := uint64(v.blockSize)
					last = max(last, tape.BlockNo(x.StartBlock+(uint64(x.ByteOffset)+x.ByteCount+bs-1)/bs))
				}
			}
		}
	}
	return last
}
