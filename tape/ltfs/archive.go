package ltfs

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/pkg/errors"
)

// maxArchiveID is the longest identity of an archive.
const maxArchiveID = 64

// maxPool is the longest name of a pool.
const maxPool = 64

// VolumeKeys are the xattrs of the root directory that tell of the volume, and not of
// the directory.
var VolumeKeys = []string{keyRemoved, keyArchive, keyVolumes, keyPool}

// ArchiveVolume names a volume of an archive.
type ArchiveVolume struct{ Barcode, UUID string }

// SetArchive notes in the root directory which archive the volume is of, and the
// archive's volumes as they are known now: a rebuild takes no volumes of two
// archives together, as the same FileID is another file in each, and can name a
// volume that is missing. It changes nothing, the index neither, if that is noted already.
func (x *Index) SetArchive(id string, volumes []ArchiveVolume) {
	volumes = slices.Clone(volumes)
	slices.SortFunc(volumes, func(a, b ArchiveVolume) int {
		return cmp.Or(cmp.Compare(a.Barcode, b.Barcode), cmp.Compare(a.UUID, b.UUID))
	})
	list := []byte{metaVersion}
	for _, v := range volumes {
		for _, s := range []string{v.Barcode, v.UUID} {
			list = append(binary.AppendUvarint(list, uint64(len(s))), s...)
		}
	}
	x.setRoot(keyArchive, []byte(id))
	x.setRoot(keyVolumes, list)
}

// setRoot gives the root directory an xattr.
func (x *Index) setRoot(key string, value []byte) {
	old, ok := x.Root.Xattr(key)
	if ok && bytes.Equal(old, value) {
		return
	}
	x.dirty = true
	x.estimate += 2 * int64(len(value)-len(old))
	if !ok {
		x.estimate += 128
	}
	x.Root.SetXattr(key, value)
}

// SetPool notes in the root directory of which pool the volume is, if its barcode does not say that.
func (x *Index) SetPool(name string) { x.setRoot(keyPool, []byte(name)) }

// Pool returns what SetPool has noted, "" if nothing.
func (x *Index) Pool() string {
	name, _ := x.Root.Xattr(keyPool)
	if len(name) > maxPool {
		return ""
	}
	return string(name)
}

// Archive returns the identity that SetArchive noted, "" if there is none: nobody but
// SLIOD wrote the volume, or one from before there were identities.
func (x *Index) Archive() string {
	id, _ := x.Root.Xattr(keyArchive)
	if len(id) > maxArchiveID {
		id = id[:maxArchiveID]
	}
	return string(id)
}

// ArchiveVolumes returns the volumes that SetArchive noted.
func (x *Index) ArchiveVolumes() ([]ArchiveVolume, error) {
	b, ok := x.Root.Xattr(keyVolumes)
	if !ok {
		return nil, nil
	}
	if len(b) == 0 || b[0] != metaVersion {
		return nil, errors.Wrapf(ErrCorrupt, "%s of an unknown version", keyVolumes)
	}
	d := decoder{b: b[1:]}
	text := func() string {
		n := d.uvarint()
		if n > uint64(len(d.b)) {
			d.bad, d.b = true, nil
			return ""
		}
		s := string(d.b[:n])
		d.b = d.b[n:]
		return s
	}
	var list []ArchiveVolume
	for len(d.b) > 0 {
		list = append(list, ArchiveVolume{text(), text()})
	}
	return list, d.end(keyVolumes)
}
