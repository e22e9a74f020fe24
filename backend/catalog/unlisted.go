package catalog

import (
	"encoding/binary"

	"github.com/pkg/errors"

	"sliod/backend/sliver"
)

const keyUnlisted = 'l' // volume

// FileRun is a run of FileIDs.
type FileRun struct {
	First sliver.FileID
	Count uint64
}

// Unlisted are removed files that only the index of one volume listed, which is being formatted: until another
// index lists them, the catalog does.
type Unlisted struct {
	Volume VolumeNo
	Files  []FileRun
}

func unlistedKey(dst []byte, no VolumeNo) []byte {
	return binary.BigEndian.AppendUint32(append(dst, keyUnlisted), uint32(no))
}

// PutUnlisted stores u under u.Volume; without files it deletes what is there.
func (t *Tx) PutUnlisted(u *Unlisted) error {
	key := unlistedKey(t.key[:0], u.Volume)
	if len(u.Files) == 0 {
		return t.delete(key)
	}
	return t.set(key, encodeUnlisted(nil, u))
}

// Unlisted calls fn for each record, until fn returns false.
func (t *Tx) Unlisted(fn func(Unlisted) bool) error {
	from, to := kindBounds(keyUnlisted)
	return t.scan(from, to, func(key, value []byte) (bool, error) {
		if len(key) != 5 {
			return false, corrupt("key of unlisted files of %d bytes", len(key))
		}
		u, err := decodeUnlisted(VolumeNo(binary.BigEndian.Uint32(key[1:])), value)
		return err == nil && fn(u), err
	})
}

func encodeUnlisted(b []byte, u *Unlisted) []byte {
	b = append(b, recordFormat)
	for _, r := range u.Files {
		b = appendUint(appendUint(b, uint64(r.First)), r.Count)
	}
	return b
}

func decodeUnlisted(no VolumeNo, b []byte) (Unlisted, error) {
	d := decoder{b: b}
	d.format(recordFormat)
	u := Unlisted{Volume: no}
	for len(d.b) > 0 {
		u.Files = append(u.Files, FileRun{sliver.FileID(d.uint()), d.uint()})
	}
	if err := d.end("unlisted files"); err != nil {
		return Unlisted{}, errors.WithMessagef(err, "volume number %d", no)
	}
	return u, nil
}
