package catalog

import (
	"encoding/binary"

	"github.com/pkg/errors"

	"sliod/backend/sliver"
)

const (
	keyBad      = 'e' // volume, file, sliver
	keyVerified = 'u' // file
	keyPass     = 'y' // volume
)

// Pass says how far the copies on a volume have been verified: a pass goes over them in
// the order of the tape. What is in front of a place was verified, as data are never written over.
type Pass struct {
	Volume VolumeNo
	UUID   string // of the volume's labels: of another one the record says nothing
	// Verified: the copies in front of Through were read at this time or later, by the
	// newest pass that came to its end. Zero: none did.
	Verified Time
	Through  VolPos
	// Begun: the running pass has read what lies in front of At. Zero: none is under way.
	Begun Time
	At    VolPos
}

// Bad is a copy of a sliver that could not be read, or was not what was written.
type Bad struct {
	Volume  VolumeNo
	Key     sliver.Key
	Version sliver.Version // of the copy: of another one the record says nothing
	Found   Time
	Why     string
}

// Verified says that every copy of a file's slivers was read at a time or later, if
// their versions are not above Version and there are not more than Copies.
type Verified struct {
	File    sliver.FileID
	At      Time
	Version sliver.Version
	Copies  uint64
}

func passKey(dst []byte, no VolumeNo) []byte {
	return binary.BigEndian.AppendUint32(append(dst, keyPass), uint32(no))
}

func badKey(dst []byte, no VolumeNo, k sliver.Key) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, keyBad), uint32(no))
	dst = binary.BigEndian.AppendUint64(dst, uint64(k.File))
	return binary.BigEndian.AppendUint64(dst, uint64(k.No))
}

// Pass returns the pass record of a volume; an empty one if there is none.
func (t *Tx) Pass(no VolumeNo) (Pass, error) {
	v, found, err := t.get(passKey(t.key[:0], no))
	if err != nil || !found {
		return Pass{Volume: no}, err
	}
	return decodePass(no, v)
}

// PutPass stores p under p.Volume.
func (t *Tx) PutPass(p *Pass) error {
	v, err := encodePass(nil, p)
	if err != nil {
		return t.fail(err)
	}
	return t.set(passKey(t.key[:0], p.Volume), v)
}

// DeletePass deletes the pass record of a volume, and those of its bad copies.
func (t *Tx) DeletePass(no VolumeNo) error {
	from := binary.BigEndian.AppendUint32([]byte{keyBad}, uint32(no))
	to := binary.BigEndian.AppendUint32([]byte{keyBad}, uint32(no)+1)
	if no == 1<<32-1 {
		to = []byte{keyBad + 1}
	}
	if err := t.deleteRange(from, to); err != nil {
		return err
	}
	return t.delete(passKey(t.key[:0], no))
}

// PutBad stores b.
func (t *Tx) PutBad(b *Bad) error {
	v, err := encodeBad(nil, b)
	if err != nil {
		return t.fail(err)
	}
	return t.set(badKey(t.key[:0], b.Volume, b.Key), v)
}

// DeleteBad deletes the record of a bad copy, if it is there.
func (t *Tx) DeleteBad(no VolumeNo, k sliver.Key) error {
	return t.delete(badKey(t.key[:0], no, k))
}

// Bads calls fn for each bad copy, volume by volume, until fn returns false.
func (t *Tx) Bads(fn func(Bad) bool) error {
	from, to := kindBounds(keyBad)
	return t.scan(from, to, func(key, value []byte) (bool, error) {
		if len(key) != 21 {
			return false, corrupt("key of a bad copy of %d bytes", len(key))
		}
		k := sliver.Key{File: sliver.FileID(binary.BigEndian.Uint64(key[5:])), No: sliver.No(binary.BigEndian.Uint64(key[13:]))}
		b, err := decodeBad(VolumeNo(binary.BigEndian.Uint32(key[1:])), k, value)
		return err == nil && fn(b), err
	})
}

// Verified returns when a file was verified by itself; an empty record: never.
func (t *Tx) Verified(id sliver.FileID) (Verified, error) {
	v, found, err := t.get(key8(t.key[:0], keyVerified, uint64(id)))
	if err != nil || !found {
		return Verified{File: id}, err
	}
	return decodeVerified(id, v)
}

// PutVerified stores v under v.File.
func (t *Tx) PutVerified(v *Verified) error {
	b, err := encodeVerified(nil, v)
	if err != nil {
		return t.fail(err)
	}
	return t.set(key8(t.key[:0], keyVerified, uint64(v.File)), b)
}

// DeleteVerified deletes what PutVerified stored, if it is there.
func (t *Tx) DeleteVerified(id sliver.FileID) error {
	return t.delete(key8(t.key[:0], keyVerified, uint64(id)))
}

// AllBmaps calls fn for every bmap of every file, by file and number, until fn returns false.
// The bmap is valid only during the call.
func (t *Tx) AllBmaps(fn func(id sliver.FileID, no sliver.BmapNo, m *Bmap) bool) error {
	from, to := kindBounds(keyBmap)
	var m Bmap
	return t.scan(from, to, func(key, value []byte) (bool, error) {
		if len(key) != 17 {
			return false, corrupt("bmap key of %d bytes", len(key))
		}
		id, no := sliver.FileID(binary.BigEndian.Uint64(key[1:])), sliver.BmapNo(binary.BigEndian.Uint64(key[9:]))
		m = Bmap{}
		if err := decodeBmap(&m, value); err != nil {
			return false, errors.WithMessagef(err, "file %d, bmap %d", id, no)
		}
		return fn(id, no, &m), nil
	})
}

func appendPos(b []byte, p VolPos) []byte { return appendUint(append(b, p.Partition), p.Block) }

func (d *decoder) pos() VolPos { return VolPos{Partition: d.byte(), Block: d.uint()} }

func encodePass(b []byte, p *Pass) ([]byte, error) {
	for _, t := range []Time{p.Verified, p.Begun} {
		if err := t.check(); err != nil {
			return nil, err
		}
	}
	b = appendString(append(b, recordFormat), p.UUID)
	b = appendPos(appendTime(b, p.Verified), p.Through)
	return appendPos(appendTime(b, p.Begun), p.At), nil
}

func decodePass(no VolumeNo, b []byte) (Pass, error) {
	d := decoder{b: b}
	d.format(recordFormat)
	p := Pass{Volume: no, UUID: d.string(), Verified: d.time(), Through: d.pos(), Begun: d.time(), At: d.pos()}
	if err := d.end("pass"); err != nil {
		return Pass{}, errors.WithMessagef(err, "volume number %d", no)
	}
	return p, nil
}

func encodeBad(b []byte, x *Bad) ([]byte, error) {
	if err := x.Found.check(); err != nil {
		return nil, err
	}
	b = appendUint(append(b, recordFormat), uint64(x.Version))
	return append(appendTime(b, x.Found), x.Why...), nil
}

func decodeBad(no VolumeNo, k sliver.Key, b []byte) (Bad, error) {
	d := decoder{b: b}
	d.format(recordFormat)
	x := Bad{Volume: no, Key: k, Version: sliver.Version(d.uint()), Found: d.time()}
	x.Why = string(d.bytes(uint64(len(d.b))))
	if err := d.end("bad copy"); err != nil {
		return Bad{}, errors.WithMessagef(err, "volume number %d, sliver %v", no, k)
	}
	return x, nil
}

func encodeVerified(b []byte, v *Verified) ([]byte, error) {
	if err := v.At.check(); err != nil {
		return nil, err
	}
	b = appendUint(appendTime(append(b, recordFormat), v.At), uint64(v.Version))
	return appendUint(b, v.Copies), nil
}

func decodeVerified(id sliver.FileID, b []byte) (Verified, error) {
	d := decoder{b: b}
	d.format(recordFormat)
	v := Verified{File: id, At: d.time(), Version: sliver.Version(d.uint()), Copies: d.uint()}
	if err := d.end("verified file"); err != nil {
		return Verified{}, errors.WithMessagef(err, "file %d", id)
	}
	return v, nil
}

// Before says whether p comes before q on a volume.
func (p VolPos) Before(q VolPos) bool {
	return p.Partition < q.Partition || p.Partition == q.Partition && p.Block < q.Block
}

// Place returns where the first byte of the copy that is on the volume lies; false if
// none is: it is zeros, or tells only that there is content.
func (c *Copy) Place() (pos VolPos, offset uint32, ok bool) {
	for _, p := range c.Pieces {
		if !p.IsZeros() {
			return VolPos{p.Partition, p.Block}, p.Offset, true
		}
	}
	return VolPos{}, 0, false
}
