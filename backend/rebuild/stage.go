package rebuild

import (
	"encoding/binary"
	"encoding/json"

	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
)

// The first byte of a stage record's key says what it is. Numbers are big-endian,
// so that keys sort as they do.
const (
	keyMark    = 'S' // the step that runs, and the totals so far: a state
	keyVolume  = 'V' // barcode: a volume that was read, a volumeNote
	keyEntry   = 'e' // file, volume: what the volume's index says of the file, an entry
	keyView    = 'b' // file, bmap, volume: the slivers as that entry has them
	keyRemoved = 'x' // volume, number: a run of removed files
	keyName    = 'n' // directory, file, number: a name
	keyPath    = 'p' // volume, number: something that has a path only
	keyPathMap = 'q' // volume, number, bmap: its slivers
)

func key(kind byte, parts ...uint64) []byte {
	b := []byte{kind}
	for _, p := range parts {
		b = binary.BigEndian.AppendUint64(b, p)
	}
	return b
}

// part returns the n-th number of a key.
func part(key []byte, n int) uint64 { return binary.BigEndian.Uint64(key[1+8*n:]) }

// after is the smallest key behind k.
func after(k []byte) []byte { return append(append([]byte(nil), k...), 0) }

// step is where a rebuild is.
type step int

const (
	stepCollect step = iota
	stepBuild
	stepPlace
	stepJoin
	stepAdopt
)

// state is the mark of an unfinished rebuild.
type state struct {
	Step step
	Totals
	Archive       string         // from stepBuild on; "" if no volume has an identity
	Missing       []tape.Barcode // from stepBuild on
	NextFile      uint64         // the next FileID, from stepBuild on
	MaxVersion    uint64
	LostFoundID   uint64                     // FileID of /lost+found, 0: not made
	Live          map[catalog.VolumeNo]int64 // bytes on each volume that are needed
	LostFilesList []sliver.FileID            // the first maxLost
}

// volumeNote is what is kept of a volume that was read.
type volumeNote struct {
	No catalog.VolumeNo
	VolumeReport
	UUID       string
	Knows      []ltfs.ArchiveVolume // volumes of its archive
	MaxFile    uint64
	MaxVersion uint64
	Damaged    int64
}

func loadState(tx *catalog.Tx) (*state, error) {
	s := &state{}
	v, err := tx.Stage([]byte{keyMark})
	if err != nil || v == nil {
		return nil, err
	}
	if err := json.Unmarshal(v, s); err != nil {
		return nil, errors.Wrap(err, "the state of the rebuild")
	}
	if s.Live == nil {
		s.Live = map[catalog.VolumeNo]int64{}
	}
	return s, nil
}

func (s *state) put(tx *catalog.Tx) error { return putJSON(tx, []byte{keyMark}, s) }

func putJSON(tx *catalog.Tx, key []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return errors.Wrap(err, "encode a record of the rebuild")
	}
	return tx.PutStage(key, b)
}

// name is a name of a file: in a directory that is known by its number, or a
// path.
type name struct {
	dir  sliver.FileID // 0: name is a path
	name string
}

// entry is what the index of one volume says of one file.
type entry struct {
	inode   catalog.Inode
	foreign bool // another program has changed the content
	names   []name
	xattrs  []xattr
}

type xattr struct {
	name  string
	value []byte
}

func (e *entry) encode() ([]byte, error) {
	ino, err := catalog.EncodeInode(&e.inode)
	if err != nil {
		return nil, err
	}
	b := binary.AppendUvarint(nil, uint64(e.inode.ID))
	b = appendBytes(b, ino)
	b = append(b, 0)
	if e.foreign {
		b[len(b)-1] = 1
	}
	b = binary.AppendUvarint(b, uint64(len(e.names)))
	for _, n := range e.names {
		b = binary.AppendUvarint(b, uint64(n.dir))
		b = appendBytes(b, []byte(n.name))
	}
	b = binary.AppendUvarint(b, uint64(len(e.xattrs)))
	for _, x := range e.xattrs {
		b = appendBytes(b, []byte(x.name))
		b = appendBytes(b, x.value)
	}
	return b, nil
}

func decodeEntry(b []byte) (*entry, error) {
	e := &entry{}
	d := reader{b: b}
	id := sliver.FileID(d.uint())
	ino, err := catalog.DecodeInode(id, d.bytes())
	if err != nil {
		return nil, err
	}
	e.inode = ino
	e.foreign = d.byte() == 1
	for range d.uint() {
		if d.bad {
			break
		}
		e.names = append(e.names, name{sliver.FileID(d.uint()), string(d.bytes())})
	}
	for range d.uint() {
		if d.bad {
			break
		}
		e.xattrs = append(e.xattrs, xattr{string(d.bytes()), append([]byte(nil), d.bytes()...)})
	}
	if d.bad || len(d.b) > 0 {
		return nil, errors.Errorf("the rebuild's record of file %d is damaged: remove the folder catalog, and begin anew", id)
	}
	return e, nil
}

func appendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// reader reads what is encoded here; the first error sticks.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uint() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}
