package catalog

import (
	"encoding/binary"

	"github.com/pkg/errors"
)

const keyReclaim = 'q' // volume

// Reclaim says that a volume is being emptied: what is needed of it is copied to Targets. It is of no meaning
// once the volume has another UUID.
type Reclaim struct {
	Volume  VolumeNo
	UUID    string // of the volume when it began
	Begun   Time
	Targets []VolumeNo // volumes that have got copies so far
}

func reclaimKey(dst []byte, no VolumeNo) []byte {
	return binary.BigEndian.AppendUint32(append(dst, keyReclaim), uint32(no))
}

// Reclaim returns the record of a volume that is being emptied; ErrNotFound: it is not.
func (t *Tx) Reclaim(no VolumeNo) (Reclaim, error) {
	v, err := t.find(reclaimKey(t.key[:0], no))
	if err != nil {
		return Reclaim{}, err
	}
	return decodeReclaim(no, v)
}

// PutReclaim stores r under r.Volume.
func (t *Tx) PutReclaim(r *Reclaim) error {
	v, err := encodeReclaim(nil, r)
	if err != nil {
		return t.fail(err)
	}
	return t.set(reclaimKey(t.key[:0], r.Volume), v)
}

// DeleteReclaim deletes what PutReclaim stored, if it is there.
func (t *Tx) DeleteReclaim(no VolumeNo) error { return t.delete(reclaimKey(t.key[:0], no)) }

// Reclaims calls fn for each volume that is being emptied, until fn returns false.
func (t *Tx) Reclaims(fn func(Reclaim) bool) error {
	from, to := kindBounds(keyReclaim)
	return t.scan(from, to, func(key, value []byte) (bool, error) {
		if len(key) != 5 {
			return false, corrupt("reclaim key of %d bytes", len(key))
		}
		r, err := decodeReclaim(VolumeNo(binary.BigEndian.Uint32(key[1:])), value)
		return err == nil && fn(r), err
	})
}

func encodeReclaim(b []byte, r *Reclaim) ([]byte, error) {
	if err := r.Begun.check(); err != nil {
		return nil, err
	}
	b = appendString(append(b, recordFormat), r.UUID)
	b = appendTime(b, r.Begun)
	for _, no := range r.Targets {
		b = appendUint(b, uint64(no))
	}
	return b, nil
}

func decodeReclaim(no VolumeNo, b []byte) (Reclaim, error) {
	d := decoder{b: b}
	d.format(recordFormat)
	r := Reclaim{Volume: no, UUID: d.string(), Begun: d.time()}
	for len(d.b) > 0 {
		r.Targets = append(r.Targets, VolumeNo(d.uint32()))
	}
	if err := d.end("reclaim"); err != nil {
		return Reclaim{}, errors.WithMessagef(err, "volume number %d", no)
	}
	return r, nil
}
