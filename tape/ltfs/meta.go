package ltfs

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pkg/errors"
)

// Keys of SLIOD's xattrs in the index; docs/ltfs.md has their layouts.
const (
	keyPrefix  = "sliod."
	keyMeta    = "sliod.meta"
	keyLinks   = "sliod.links"
	keySlivers = "sliod.slivers."
	keySums    = "sliod.sums"
	keyXattr   = "sliod.xattr."
	keyRemoved = "sliod.removed"
	keyArchive = "sliod.archive"
	keyVolumes = "sliod.volumes"
	keyPool    = "sliod.pool" // of a volume whose barcode does not say it
)

// KeySHA256 is the key of an xattr that, by a convention of LTFS's users, has the
// SHA-256 of the file's bytes in lower-case hex.
const KeySHA256 = "ltfs.hash.sha256sum"

const (
	metaVersion  = 1
	metaHasTimes = 1 << 0 // flag: the four times follow, the index cannot hold one
	metaHasDirs  = 1 << 1 // flag: the directories of the names follow
	userPrefix   = "user."
)

// Types of a mode, as in stat(2).
const (
	modeType    = 0o170000
	modeDir     = 0o040000
	modeRegular = 0o100000
	modeSymlink = 0o120000
)

// Meta is what SLIOD must know of a file and LTFS has no place for. Put into an
// entry of an index by Apply and taken out by DecodeMeta, it lets a catalog be
// rebuilt from tapes alone.
//
// A file may have entries on several volumes. Of its entries (same FileID and
// Generation) the one with the highest DataVersion says what the file is:
// attributes, names, size and, in Slivers, which content each sliver has. The
// bytes of sliver n are on every volume whose entry for the file lists n with the
// same Version and has extents for its Len bytes. A sliver that is not listed is a
// hole; one that is listed with version 0 has content that was not on tape when the
// entry was made.
type Meta struct {
	FileID, Generation, DataVersion uint64
	Mode                            uint32 // with type bits
	UID, GID, Major, Minor          uint32
	Size                            uint64
	Atime, Mtime, Ctime, Btime      Time
	Target                          string            // of a symbolic link
	Links                           []string          // the other names: paths from the root, without leading slash
	Dirs                            []uint64          // FileIDs of the directories of the names: the entry's own, then those of Links; nil: not known
	Xattrs                          map[string][]byte // under their full names, "user.note"
	Slivers                         []SliverMeta      // sorted by No
}

// SliverMeta is the archived content of one sliver.
type SliverMeta struct {
	No      uint64
	Version uint64 // names the content; see package sliver. 0: it was not on tape
	Sum     uint64 // XXH64 of the Len bytes, or of SumLen
	Len     uint32 // valid bytes; zeros follow
	SumLen  uint32 // bytes that Sum goes over, if more than Len: a truncate has cut the sliver
	NoSum   bool   // there is no checksum
}

// Apply puts m into an entry: times, length, target and SLIOD's xattrs. A
// directory needs a *Dir, everything else a *File; devices, fifos and sockets are
// empty files to others. Extents are the caller's. All xattrs that the entry had
// are replaced.
func (m *Meta) Apply(e Entry) error {
	n := e.node()
	_, isDir := e.(*Dir)
	if isDir != (m.Mode&modeType == modeDir) {
		return errors.Errorf("put metadata of mode %o into a %T of the index: it is of another type", m.Mode, e)
	}
	n.AccessTime, n.ModifyTime, n.ChangeTime, n.CreationTime = m.Atime.clamp(), m.Mtime.clamp(), m.Ctime.clamp(), m.Btime.clamp()
	if f, ok := e.(*File); ok {
		f.Length = 0
		f.IsSymlink = m.Mode&modeType == modeSymlink
		switch {
		case f.IsSymlink:
			f.Symlink = m.Target
		case m.Mode&modeType == modeRegular:
			f.Length = m.Size
		}
	}
	n.Xattrs = make([]Xattr, 0, 1+len(m.Xattrs)+len(m.Slivers)/sliversPerXattr+1)
	n.Xattrs = append(n.Xattrs, Xattr{keyMeta, m.encode()})
	if len(m.Links) > 0 {
		n.Xattrs = append(n.Xattrs, Xattr{keyLinks, encodeLinks(m.Links)})
	}
	slivers, err := encodeSlivers(m.Slivers)
	if err != nil {
		return err
	}
	if b := encodeSums(m.Slivers); b != nil {
		n.Xattrs = append(n.Xattrs, Xattr{keySums, b})
	}
	for i, b := range slivers {
		n.Xattrs = append(n.Xattrs, Xattr{fmt.Sprintf("%s%d", keySlivers, i), b})
	}
	names := make([]string, 0, len(m.Xattrs))
	for name := range m.Xattrs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		n.Xattrs = append(n.Xattrs, Xattr{xattrKey(name), m.Xattrs[name]})
	}
	return nil
}

func (m *Meta) encode() []byte {
	b := make([]byte, 0, 48)
	var flags byte
	times := []Time{m.Atime, m.Mtime, m.Ctime, m.Btime}
	for _, t := range times {
		if t != t.clamp() {
			flags |= metaHasTimes
		}
	}
	if len(m.Dirs) > 0 {
		flags |= metaHasDirs
	}
	b = append(b, metaVersion, flags)
	for _, n := range []uint64{m.FileID, m.Generation, m.DataVersion, uint64(m.Mode), uint64(m.UID), uint64(m.GID),
		uint64(m.Major), uint64(m.Minor), m.Size} {
		b = binary.AppendUvarint(b, n)
	}
	if flags&metaHasTimes != 0 {
		for _, t := range times {
			b = binary.AppendVarint(b, t.Sec)
			b = binary.AppendUvarint(b, uint64(t.Nsec))
		}
	}
	if flags&metaHasDirs != 0 {
		b = binary.AppendUvarint(b, uint64(len(m.Dirs)))
		for _, d := range m.Dirs {
			b = binary.AppendUvarint(b, d)
		}
	}
	return b
}

// DecodeMeta takes SLIOD's metadata out of an entry. ErrNoMeta: the entry has
// none, SLIOD did not write it. ErrCorrupt: it is damaged. If another program
// has changed the file since, Size differs from the entry's Length.
func DecodeMeta(e Entry) (*Meta, error) {
	m, err := decodeMeta(e)
	if err != nil {
		return nil, errors.WithMessagef(err, "metadata of %q in the index", e.node().Name)
	}
	return m, nil
}

func decodeMeta(e Entry) (*Meta, error) {
	n := e.node()
	b, ok := n.Xattr(keyMeta)
	if !ok {
		return nil, errors.WithStack(ErrNoMeta)
	}
	m := &Meta{Atime: n.AccessTime, Mtime: n.ModifyTime, Ctime: n.ChangeTime, Btime: n.CreationTime}
	if err := m.decode(b); err != nil {
		return nil, err
	}
	if f, ok := e.(*File); ok && f.IsSymlink {
		m.Target = f.Symlink
	}
	parts := 0
	var sums []byte
	for i := range n.Xattrs {
		key, value := n.Xattrs[i].Key, n.Xattrs[i].Value
		switch {
		case key == keyLinks:
			links, err := decodeLinks(value)
			if err != nil {
				return nil, err
			}
			m.Links = links
		case strings.HasPrefix(key, keySlivers):
			parts++
		case key == keySums:
			sums = value
		default:
			if name, ok := xattrName(key); ok {
				if m.Xattrs == nil {
					m.Xattrs = make(map[string][]byte)
				}
				m.Xattrs[name] = value
			}
		}
	}
	for i := range parts {
		b, ok := n.Xattr(fmt.Sprintf("%s%d", keySlivers, i))
		if !ok {
			return nil, errors.Wrapf(ErrCorrupt, "part %d of %d of the sliver list is missing", i, parts)
		}
		var err error
		if m.Slivers, err = decodeSlivers(m.Slivers, b); err != nil {
			return nil, err
		}
	}
	if sums != nil {
		if err := decodeSums(m.Slivers, sums); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Meta) decode(b []byte) error {
	if len(b) < 2 || b[0] != metaVersion {
		return errors.Wrapf(ErrCorrupt, "%s of an unknown version: % x", keyMeta, b[:min(len(b), 8)])
	}
	flags := b[1]
	if flags&^(metaHasTimes|metaHasDirs) != 0 {
		return errors.Wrapf(ErrCorrupt, "%s with unknown flags %02x", keyMeta, flags)
	}
	d := decoder{b: b[2:]}
	m.FileID, m.Generation, m.DataVersion = d.uvarint(), d.uvarint(), d.uvarint()
	m.Mode, m.UID, m.GID, m.Major, m.Minor = d.uint32(), d.uint32(), d.uint32(), d.uint32(), d.uint32()
	m.Size = d.uvarint()
	if flags&metaHasTimes != 0 {
		for _, t := range []*Time{&m.Atime, &m.Mtime, &m.Ctime, &m.Btime} {
			t.Sec, t.Nsec = d.varint(), d.uint32()
		}
	}
	if flags&metaHasDirs != 0 {
		n := d.uvarint()
		if n == 0 || n > uint64(len(d.b)) { // each takes at least a byte
			d.bad = true
			n = 0
		}
		for range n {
			m.Dirs = append(m.Dirs, d.uvarint())
		}
	}
	return d.end(keyMeta)
}

// decoder reads numbers; the first error sticks.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uvarint() uint64 {
	n, size := binary.Uvarint(d.b)
	if size <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) varint() int64 {
	n, size := binary.Varint(d.b)
	if size <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) uint32() uint32 {
	n := d.uvarint()
	if n > 1<<32-1 {
		d.bad = true
	}
	return uint32(n)
}

func (d *decoder) end(what string) error {
	if d.bad || len(d.b) > 0 {
		return errors.Wrapf(ErrCorrupt, "%s is damaged", what)
	}
	return nil
}

// sliod.links: version 1, then each path with its length before it.
func encodeLinks(links []string) []byte {
	b := []byte{metaVersion}
	for _, l := range links {
		b = binary.AppendUvarint(b, uint64(len(l)))
		b = append(b, l...)
	}
	return b
}

func decodeLinks(b []byte) ([]string, error) {
	if len(b) == 0 || b[0] != metaVersion {
		return nil, errors.Wrapf(ErrCorrupt, "%s of an unknown version", keyLinks)
	}
	var links []string
	d := decoder{b: b[1:]}
	for len(d.b) > 0 && !d.bad {
		n := d.uvarint()
		if n > uint64(len(d.b)) {
			d.bad = true
			break
		}
		links = append(links, string(d.b[:n]))
		d.b = d.b[n:]
	}
	if d.bad {
		return nil, errors.Wrapf(ErrCorrupt, "%s is damaged", keyLinks)
	}
	return links, nil
}

// xattrKey returns the LTFS key of an xattr. "user.X" is X, as every LTFS
// implementation on Linux has it, unless X is a name that LTFS or SLIOD
// reserves or that XML cannot hold; all others are percent-encoded behind
// "sliod.xattr.".
func xattrKey(name string) string {
	if x, ok := strings.CutPrefix(name, userPrefix); ok && plainKey(x) {
		return x
	}
	const hexDigits = "0123456789ABCDEF"
	b := []byte(keyXattr)
	for i := 0; i < len(name); i++ {
		if c := name[i]; c <= ' ' || c >= 0x7f || c == '%' || c == ':' {
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

func plainKey(x string) bool {
	lower := strings.ToLower(x)
	return !strings.HasPrefix(lower, "ltfs") && !strings.HasPrefix(lower, keyPrefix) && utf8.ValidString(x) && plainText([]byte(x))
}

// xattrName is the reverse of xattrKey; false for keys that are not a file's
// xattrs but LTFS's or SLIOD's own.
func xattrName(key string) (string, bool) {
	if enc, ok := strings.CutPrefix(key, keyXattr); ok {
		return string(percentDecode([]byte(enc))), true
	}
	if !plainKey(key) {
		return "", false
	}
	return userPrefix + key, true
}
