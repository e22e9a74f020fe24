package catalog

import (
	"encoding/binary"

	"github.com/pkg/errors"

	"sliod/backend/sliver"
)

// JobItem is a file that a job has still to do. The items of a job are kept, and come
// back from a scan, in the order of volume, partition, block and file: the order on
// tape, if they are where the file begins.
type JobItem struct {
	Volume    VolumeNo
	Partition uint8
	Block     uint64
	File      sliver.FileID
	// Tree: the file stands for all below it, which has not been found yet.
	Tree bool
	// Bytes is how much there is to move for it, as far as is known.
	Bytes uint64
}

const itemKeyLen = 1 + 8 + 4 + 1 + 8 + 8

func (i *JobItem) key(job uint64) []byte {
	k := key8(make([]byte, 0, itemKeyLen), keyItem, job)
	k = binary.BigEndian.AppendUint32(k, uint32(i.Volume))
	k = append(k, i.Partition)
	k = binary.BigEndian.AppendUint64(k, i.Block)
	return binary.BigEndian.AppendUint64(k, uint64(i.File))
}

func encodeJobItem(b []byte, i *JobItem) []byte {
	tree := byte(0)
	if i.Tree {
		tree = 1
	}
	return appendUint(append(b, recordFormat, tree), i.Bytes)
}

func decodeJobItem(key, value []byte) (i JobItem, err error) {
	if len(key) != itemKeyLen {
		return i, corrupt("key %q of a job's file has %d bytes instead of %d", key, len(key), itemKeyLen)
	}
	k := key[9:]
	i.Volume, i.Partition = VolumeNo(binary.BigEndian.Uint32(k)), k[4]
	i.Block, i.File = binary.BigEndian.Uint64(k[5:]), sliver.FileID(binary.BigEndian.Uint64(k[13:]))
	d := decoder{b: value}
	d.format(recordFormat)
	switch tree := d.byte(); tree {
	case 0, 1:
		i.Tree = tree == 1
	default:
		d.fail("unknown flag")
	}
	i.Bytes = d.uint()
	if err := d.end("file of a job"); err != nil {
		return JobItem{}, errors.WithMessagef(err, "file %d", i.File)
	}
	return i, nil
}

// PutJobItem gives a job a file to do, and says whether that is new. One that it has
// in the same place stays as it is.
func (t *Tx) PutJobItem(job uint64, i *JobItem) (added bool, err error) {
	k := i.key(job)
	if _, found, err := t.get(k); err != nil || found {
		return false, err
	}
	return true, t.set(k, encodeJobItem(nil, i))
}

// DeleteJobItem takes a file from a job, if it has it.
func (t *Tx) DeleteJobItem(job uint64, i *JobItem) error { return t.delete(i.key(job)) }

// JobItems calls fn for the files that a job has to do on a volume, behind the item
// after (nil: from the first), until fn returns false.
func (t *Tx) JobItems(job uint64, v VolumeNo, after *JobItem, fn func(JobItem) bool) error {
	from := (&JobItem{Volume: v}).key(job)
	if after != nil {
		from = append(after.key(job), 0)
	}
	_, to := bounds(keyItem, job)
	if v+1 != 0 {
		to = (&JobItem{Volume: v + 1}).key(job)
	}
	return t.scan(from, to, func(key, value []byte) (bool, error) {
		i, err := decodeJobItem(key, value)
		return err == nil && fn(i), err
	})
}

// NextJobVolume returns the first volume from v on of which a job has files.
func (t *Tx) NextJobVolume(job uint64, v VolumeNo) (next VolumeNo, found bool, err error) {
	from := (&JobItem{Volume: v}).key(job)
	_, to := bounds(keyItem, job)
	err = t.scan(from, to, func(key, value []byte) (bool, error) {
		i, err := decodeJobItem(key, value)
		next, found = i.Volume, err == nil
		return false, err
	})
	return next, found, err
}

// PutPin says that holder keeps a file in the cache: the number of a job, or 0 for
// the user.
func (t *Tx) PutPin(holder uint64, f sliver.FileID) error {
	if err := t.set(key88(nil, keyPin, uint64(f), holder), []byte{recordFormat}); err != nil {
		return err
	}
	return t.set(key88(nil, keyHeld, holder, uint64(f)), []byte{recordFormat})
}

// DeletePin ends that, if it is so.
func (t *Tx) DeletePin(holder uint64, f sliver.FileID) error {
	if err := t.delete(key88(nil, keyPin, uint64(f), holder)); err != nil {
		return err
	}
	return t.delete(key88(nil, keyHeld, holder, uint64(f)))
}

// Pins calls fn for each holder that keeps a file in the cache, until it returns false.
func (t *Tx) Pins(f sliver.FileID, fn func(holder uint64) bool) error {
	from, to := bounds(keyPin, uint64(f))
	return t.pairs(from, to, func(_, holder uint64) bool { return fn(holder) })
}

// Held calls fn for each file that holder keeps in the cache, until it returns false.
func (t *Tx) Held(holder uint64, fn func(sliver.FileID) bool) error {
	from, to := bounds(keyHeld, holder)
	return t.pairs(from, to, func(_, f uint64) bool { return fn(sliver.FileID(f)) })
}

// AllPins calls fn for each file that is kept in the cache, once, until it returns false.
func (t *Tx) AllPins(fn func(sliver.FileID) bool) error {
	from, to := kindBounds(keyPin)
	last := uint64(0)
	return t.pairs(from, to, func(f, _ uint64) bool {
		if f == last {
			return true
		}
		last = f
		return fn(sliver.FileID(f))
	})
}

// pairs scans records whose keys are two numbers and whose values say nothing.
func (t *Tx) pairs(from, to []byte, fn func(a, b uint64) bool) error {
	return t.scan(from, to, func(key, value []byte) (bool, error) {
		b, err := tail8(key, 17)
		if err != nil {
			return false, err
		}
		d := decoder{b: value}
		d.format(recordFormat)
		if err := d.end("pin"); err != nil {
			return false, err
		}
		return fn(binary.BigEndian.Uint64(key[1:]), b), nil
	})
}
