package catalog

import (
	"github.com/pkg/errors"

	"sliod/backend/sliver"
)

// recordFormat begins every record of this format version.
const recordFormat = 1

func (t Time) check() error {
	if t.Nsec >= 1e9 {
		return errors.Errorf("catalog: time with %d nanoseconds: must be below 1e9", t.Nsec)
	}
	return nil
}

func encodeInode(b []byte, n *Inode) ([]byte, error) {
	for _, t := range []Time{n.Atime, n.Mtime, n.Ctime, n.Btime, n.Archived} {
		if err := t.check(); err != nil {
			return nil, err
		}
	}
	b = append(b, recordFormat)
	b = appendUint(b, uint64(n.Generation))
	b = appendUint(b, uint64(n.Mode))
	b = appendUint(b, uint64(n.UID))
	b = appendUint(b, uint64(n.GID))
	b = appendUint(b, uint64(n.NLink))
	b = appendUint(b, uint64(n.Major))
	b = appendUint(b, uint64(n.Minor))
	b = appendUint(b, n.Size)
	b = appendTime(b, n.Atime)
	b = appendTime(b, n.Mtime)
	b = appendTime(b, n.Ctime)
	b = appendTime(b, n.Btime)
	b = appendUint(b, n.DataVersion)
	b = appendUint(b, uint64(n.Parent))
	b = appendUint(b, n.NextCookie)
	b = appendString(b, n.Target)
	b = appendUint(b, uint64(n.Flags))
	b = appendTime(b, n.Archived)
	if n.ACL != "" || n.DefaultACL != "" {
		b = appendString(appendString(b, string(n.ACL)), string(n.DefaultACL))
	}
	return b, nil
}

func decodeInode(id sliver.FileID, b []byte) (n Inode, err error) {
	d := decoder{b: b}
	d.format(recordFormat)
	n.ID = id
	n.Generation = d.uint32()
	n.Mode = d.uint32()
	n.UID = d.uint32()
	n.GID = d.uint32()
	n.NLink = d.uint32()
	n.Major = d.uint32()
	n.Minor = d.uint32()
	n.Size = d.uint()
	n.Atime = d.time()
	n.Mtime = d.time()
	n.Ctime = d.time()
	n.Btime = d.time()
	n.DataVersion = d.uint()
	n.Parent = sliver.FileID(d.uint())
	n.NextCookie = d.uint()
	n.Target = d.string()
	n.Flags = d.uint32()
	n.Archived = d.time()
	if len(d.b) > 0 {
		n.ACL, n.DefaultACL = d.acl(), d.acl()
		if n.ACL == "" && n.DefaultACL == "" {
			d.fail("empty access lists are not written")
		}
	}
	if err := d.end("inode"); err != nil {
		return Inode{}, errors.WithMessagef(err, "file %d", id)
	}
	return n, nil
}

// encodeDirent is the record under (directory, name): it has no name.
func encodeDirent(b []byte, e *Dirent) []byte {
	b = appendUint(append(b, recordFormat), uint64(e.ID))
	return appendUint(append(b, e.Type), e.Cookie)
}

func decodeDirent(name string, b []byte) (Dirent, error) {
	d := decoder{b: b}
	d.format(recordFormat)
	e := Dirent{Name: name, ID: sliver.FileID(d.uint()), Type: d.byte(), Cookie: d.uint()}
	if err := d.end("directory entry"); err != nil {
		return Dirent{}, errors.WithMessagef(err, "name %q", name)
	}
	return e, nil
}

// encodeCookie is the record under (directory, cookie): it has no cookie.
func encodeCookie(b []byte, e *Dirent) []byte {
	b = appendUint(append(b, recordFormat), uint64(e.ID))
	return append(append(b, e.Type), e.Name...)
}

func decodeCookie(cookie uint64, b []byte) (Dirent, error) {
	d := decoder{b: b}
	d.format(recordFormat)
	e := Dirent{ID: sliver.FileID(d.uint()), Type: d.byte(), Cookie: cookie}
	e.Name = string(d.bytes(uint64(len(d.b))))
	err := d.end("directory cookie")
	if err == nil && checkName(e.Name, false) != nil {
		err = corrupt("directory cookie: bad name %q", e.Name)
	}
	if err != nil {
		return Dirent{}, errors.WithMessagef(err, "cookie %d", cookie)
	}
	return e, nil
}

func encodeVolume(b []byte, v *Volume) ([]byte, error) {
	if err := v.Formatted.check(); err != nil {
		return nil, err
	}
	if v.State >= numVolStates {
		return nil, errors.Errorf("catalog: volume %s has unknown state %d", v.Barcode, v.State)
	}
	b = appendString(append(b, recordFormat), v.Barcode)
	b = appendString(b, v.UUID)
	b = appendString(b, v.Pool)
	b = append(b, byte(v.State))
	b = appendInt(b, v.Capacity)
	b = appendInt(b, v.Used)
	b = appendInt(b, v.Dead)
	b = appendUint(b, v.Generation)
	b = appendTime(b, v.Formatted)
	b = appendUint(b, uint64(v.BlockSize))
	b = append(b, v.EndOfData.Partition)
	b = appendUint(b, v.EndOfData.Block)
	b = appendUint(b, uint64(v.ReadErrors))
	if v.Flags != 0 || v.KeyID != "" {
		b = appendUint(b, uint64(v.Flags))
	}
	if v.KeyID != "" {
		b = appendString(b, v.KeyID)
	}
	return b, nil
}

func decodeVolume(no VolumeNo, b []byte) (Volume, error) {
	d := decoder{b: b}
	d.format(recordFormat)
	v := Volume{No: no, Barcode: d.string(), UUID: d.string(), Pool: d.string(), State: VolState(d.byte()),
		Capacity: d.int(), Used: d.int(), Dead: d.int(), Generation: d.uint(), Formatted: d.time(), BlockSize: d.uint32(),
		EndOfData: VolPos{Partition: d.byte(), Block: d.uint()}, ReadErrors: d.uint32()}
	if v.State >= numVolStates {
		d.fail("unknown state")
	}
	if len(d.b) > 0 {
		v.Flags = d.uint32()
		if len(d.b) > 0 {
			if v.KeyID = d.string(); v.KeyID == "" {
				d.fail("an empty key id is not written")
			}
		} else if v.Flags == 0 {
			d.fail("flags of 0 are not written")
		}
	}
	if err := d.end("volume"); err != nil {
		return Volume{}, errors.WithMessagef(err, "volume number %d", no)
	}
	return v, nil
}

func encodeJob(b []byte, j *Job) ([]byte, error) {
	if err := j.Created.check(); err != nil {
		return nil, err
	}
	b = appendString(append(b, recordFormat), j.Kind)
	b = appendTime(b, j.Created)
	b = appendUint(b, uint64(len(j.Paths)))
	for _, p := range j.Paths {
		b = appendString(b, p)
	}
	return append(b, j.Data...), nil
}

func decodeJob(id uint64, b []byte) (Job, error) {
	d := decoder{b: b}
	d.format(recordFormat)
	j := Job{ID: id, Kind: d.string(), Created: d.time()}
	n := d.uint()
	if n > uint64(len(d.b)) { // each path takes at least a byte
		d.fail("too short")
		n = 0
	}
	for range n {
		j.Paths = append(j.Paths, d.string())
	}
	if data := d.bytes(uint64(len(d.b))); len(data) > 0 {
		j.Data = append([]byte(nil), data...)
	}
	if err := d.end("job"); err != nil {
		return Job{}, errors.WithMessagef(err, "job %d", id)
	}
	return j, nil
}

// Counters, sequences, the number of a barcode and the format version are one
// number each.
func encodeNumber(b []byte, v uint64) []byte { return appendUint(append(b, recordFormat), v) }

func decodeNumber(what string, b []byte) (uint64, error) {
	d := decoder{b: b}
	d.format(recordFormat)
	v := d.uint()
	return v, d.end(what)
}

// An xattr's value and an orphan's empty record are kept as they are.
func encodeRaw(b, v []byte) []byte { return append(append(b, recordFormat), v...) }

func decodeRaw(what string, b []byte) ([]byte, error) {
	d := decoder{b: b}
	d.format(recordFormat)
	v := d.bytes(uint64(len(d.b)))
	return v, d.end(what)
}
