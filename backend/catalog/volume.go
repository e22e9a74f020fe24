package catalog

import (
	"encoding/binary"

	"github.com/pkg/errors"
)

func volumeKey(dst []byte, no VolumeNo) []byte {
	return binary.BigEndian.AppendUint32(append(dst, keyVolume), uint32(no))
}

// Volume returns the volume with a number.
func (t *Tx) Volume(no VolumeNo) (Volume, error) {
	v, err := t.find(volumeKey(t.key[:0], no))
	if err != nil {
		return Volume{}, err
	}
	return decodeVolume(no, v)
}

// VolumeByBarcode returns the volume with a barcode.
func (t *Tx) VolumeByBarcode(barcode string) (Volume, error) {
	v, err := t.find(keyPlain(t.key[:0], keyBarcode, barcode))
	if err != nil {
		return Volume{}, err
	}
	no, err := decodeNumber("barcode", v)
	if err == nil && no > 1<<32-1 {
		err = corrupt("volume number %d", no)
	}
	if err != nil {
		return Volume{}, errors.WithMessagef(err, "barcode %q", barcode)
	}
	return t.Volume(VolumeNo(no))
}

// PutVolume stores v under v.No, a number from NextVolumeNo, and makes it
// findable by its barcode. A barcode that another volume has is an error.
func (t *Tx) PutVolume(v *Volume) error {
	if v.Barcode == "" {
		return t.fail(errors.Errorf("catalog: volume number %d has no barcode", v.No))
	}
	other, err := t.VolumeByBarcode(v.Barcode)
	switch {
	case err == nil && other.No != v.No:
		return t.fail(errors.Errorf("catalog: volume number %d cannot have barcode %s: it belongs to number %d", v.No, v.Barcode, other.No))
	case err != nil && !errors.Is(err, ErrNotFound):
		return t.fail(err)
	}
	old, err := t.Volume(v.No)
	switch {
	case err == nil && old.Barcode != v.Barcode:
		if err := t.delete(keyPlain(nil, keyBarcode, old.Barcode)); err != nil {
			return err
		}
	case err != nil && !errors.Is(err, ErrNotFound):
		return t.fail(err)
	}
	rec, err := encodeVolume(t.val[:0], v)
	if err != nil {
		return t.fail(err)
	}
	t.val = rec
	if err := t.set(volumeKey(t.key[:0], v.No), rec); err != nil {
		return err
	}
	return t.set(keyPlain(nil, keyBarcode, v.Barcode), encodeNumber(nil, uint64(v.No)))
}

// Volumes calls fn for each volume in order of numbers until fn returns false.
func (t *Tx) Volumes(fn func(Volume) bool) error {
	from, to := kindBounds(keyVolume)
	return t.scan(from, to, func(key, value []byte) (bool, error) {
		if len(key) != 5 {
			return false, corrupt("volume key of %d bytes", len(key))
		}
		v, err := decodeVolume(VolumeNo(binary.BigEndian.Uint32(key[1:])), value)
		return err == nil && fn(v), err
	})
}

// Job returns the job with a number.
func (t *Tx) Job(id uint64) (Job, error) {
	v, err := t.find(key8(t.key[:0], keyJob, id))
	if err != nil {
		return Job{}, err
	}
	return decodeJob(id, v)
}

// PutJob stores j under j.ID, a number from NextJobID.
func (t *Tx) PutJob(j *Job) error {
	v, err := encodeJob(nil, j)
	if err != nil {
		return t.fail(err)
	}
	return t.set(key8(t.key[:0], keyJob, j.ID), v)
}

// DeleteJob deletes a job, if it is there.
func (t *Tx) DeleteJob(id uint64) error { return t.delete(key8(t.key[:0], keyJob, id)) }

// Jobs calls fn for each job in order of numbers until fn returns false.
func (t *Tx) Jobs(fn func(Job) bool) error {
	from, to := kindBounds(keyJob)
	return t.scan(from, to, func(key, value []byte) (bool, error) {
		id, err := tail8(key, 9)
		if err != nil {
			return false, err
		}
		j, err := decodeJob(id, value)
		return err == nil && fn(j), err
	})
}

// Counter returns a named number, 0 if it was never put.
func (t *Tx) Counter(name string) (uint64, error) {
	v, found, err := t.get(keyPlain(nil, keyCounter, name))
	if err != nil || !found {
		return 0, err
	}
	return decodeNumber("counter "+name, v)
}

// PutCounter stores a named number.
func (t *Tx) PutCounter(name string, n uint64) error {
	return t.set(keyPlain(nil, keyCounter, name), encodeNumber(nil, n))
}
