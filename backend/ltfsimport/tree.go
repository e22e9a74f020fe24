package ltfsimport

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"github.com/pkg/errors"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape/ltfs"
)

// Mode bits of Linux.
const (
	modeType   = 0o170000
	modeSocket = 0o140000
	modeLink   = 0o120000
	modeFile   = 0o100000
	modeBlock  = 0o060000
	modeDir    = 0o040000
	modeChar   = 0o020000
	modeFIFO   = 0o010000
	modePerm   = 0o7777
	modeWrite  = 0o222
)

const (
	maxTarget     = 4095 // as in Linux (PATH_MAX)
	maxXattrValue = 64 << 10

	keyMeta    = "sliod.meta"
	keyLinks   = "sliod.links"
	userPrefix = "user."
	ownPrefix  = "user.sliod." // shown by the server, and no attributes of a file
)

// item is an entry on its way into the catalog.
type item struct {
	node   *ltfs.Node
	path   string // in the index, for notes
	meta   *ltfs.Meta
	inode  catalog.Inode
	xattrs map[string][]byte
}

func nodeOf(e ltfs.Entry) *ltfs.Node {
	if d, ok := e.(*ltfs.Dir); ok {
		return &d.Node
	}
	return &e.(*ltfs.File).Node
}

// contents makes all that is below a directory, whose record is made here too: its links
// and cookies are known by then. path is that of the directory in the index.
func (b *builder) contents(d *ltfs.Dir, it *item, path string) error {
	id := it.inode.ID
	children := d.Children()
	names := b.fitNames(d, children, path)
	it.inode.NextCookie = catalog.FirstCookie + uint64(len(children))
	for _, c := range children {
		if _, ok := c.(*ltfs.Dir); ok {
			it.inode.NLink++
		}
	}
	b.put(it)
	for i, c := range children {
		err := b.child(c, id, catalog.FirstCookie+uint64(i), names[c], path)
		if err != nil {
			return err
		}
		if err := b.flushIfFull(); err != nil {
			return err
		}
	}
	return nil
}

// child makes one entry of a directory and, of a directory, all below it.
func (b *builder) child(e ltfs.Entry, dir sliver.FileID, cookie uint64, fitted, path string) error {
	name := nodeOf(e).Name
	path += "/" + name
	if fitted != "" {
		name = fitted
	}
	if f, ok := e.(*ltfs.File); ok && f.IsSymlink && !goodTarget(f.Symlink) {
		b.note("%s: left out: a symbolic link of %d bytes, with a NUL, or without target cannot exist here", path, len(f.Symlink))
		return nil
	}
	id, err := b.nextID()
	if err != nil {
		return err
	}
	link := func(mode uint32) {
		b.step(64+2*len(name), func(tx *catalog.Tx) error {
			if err := tx.PutDirent(dir, catalog.Dirent{Name: name, ID: id, Type: direntType(mode), Cookie: cookie}); err != nil {
				return err
			}
			return tx.PutName(id, dir, name)
		})
	}
	if d, ok := e.(*ltfs.Dir); ok {
		it := b.newItem(d, id, dir, path)
		link(it.inode.Mode)
		return b.contents(d, &it, path)
	}
	it := b.newItem(e, id, dir, path)
	b.put(&it)
	link(it.inode.Mode)
	return b.content(e.(*ltfs.File), &it)
}

func goodTarget(t string) bool {
	return t != "" && len(t) <= maxTarget && strings.IndexByte(t, 0) < 0
}

func direntType(mode uint32) uint8 { return uint8(mode & modeType >> 12) }

// put makes the records of an entry but for its content and name.
func (b *builder) put(it *item) {
	b.res.Files++
	b.files++
	ino, xattrs := it.inode, it.xattrs
	size := 120 + len(ino.Target)
	for name, value := range xattrs {
		size += len(name) + len(value)
	}
	b.step(size, func(tx *catalog.Tx) error {
		if err := tx.PutInode(&ino); err != nil {
			return err
		}
		for name, value := range xattrs {
			if err := tx.PutXattr(ino.ID, name, value); err != nil {
				return err
			}
		}
		return nil
	})
}

// newItem takes the attributes of an entry.
func (b *builder) newItem(e ltfs.Entry, id, parent sliver.FileID, path string) item {
	n := nodeOf(e)
	it := item{node: n, path: path}
	if _, ok := n.Xattr(keyMeta); ok {
		m, err := ltfs.DecodeMeta(e)
		switch {
		case err != nil:
			b.note("%s: taken over as if another program had written it: %v", path, err)
		case !sameKind(e, m.Mode):
			b.note("%s: taken over as if another program had written it: its metadata are those of another kind of file (mode %o)", path, m.Mode)
		default:
			it.meta = m
		}
	}
	r := &it.inode
	*r = catalog.Inode{ID: id, Generation: 1, UID: b.o.UID, GID: b.o.GID, NLink: 1, DataVersion: 1, Parent: parent,
		Archived: b.o.Now, Flags: b.o.Flags,
		Atime: timeOf(n.AccessTime), Mtime: timeOf(n.ModifyTime), Ctime: timeOf(n.ChangeTime), Btime: timeOf(n.CreationTime)}
	switch e := e.(type) {
	case *ltfs.Dir:
		r.Mode = modeDir | b.o.DirMode&modePerm
		r.NLink, r.NextCookie = 2, catalog.FirstCookie
	case *ltfs.File:
		r.Mode, r.Size = modeFile|b.o.Mode&modePerm, e.Length
		if e.IsSymlink {
			r.Mode, r.Size, r.Target = modeLink|0o777, 0, e.Symlink
		}
	}
	if m := it.meta; m != nil {
		r.UID, r.GID, r.Mode, r.Major, r.Minor = m.UID, m.GID, m.Mode&(modeType|modePerm), m.Major, m.Minor
		r.Atime, r.Mtime, r.Ctime, r.Btime = timeOf(m.Atime), timeOf(m.Mtime), timeOf(m.Ctime), timeOf(m.Btime)
		if r.Mode&modeType != modeFile {
			r.Size = 0
		}
		b.hardlinks = b.hardlinks || len(m.Links) > 0 && r.Mode&modeType != modeDir
	}
	if n.ReadOnly && r.Mode&modeType != modeLink {
		r.Mode &^= modeWrite
	}
	it.xattrs = b.xattrs(&it)
	return it
}

// sameKind says whether an entry can be a file of this mode.
func sameKind(e ltfs.Entry, mode uint32) bool {
	f, isFile := e.(*ltfs.File)
	switch mode & modeType {
	case modeDir:
		return !isFile
	case modeLink:
		return isFile && f.IsSymlink
	case modeFile:
		return isFile && !f.IsSymlink
	case modeBlock, modeChar, modeFIFO, modeSocket:
		return isFile && !f.IsSymlink && f.Length == 0
	}
	return false
}

func timeOf(t ltfs.Time) catalog.Time {
	if t.Nsec >= 1e9 {
		t.Nsec = 1e9 - 1
	}
	return catalog.Time(t)
}

// xattrs returns the attributes of an entry under their names on Linux. Keys of LTFS's
// own, such as ltfs.hash.sha256sum, are kept as user.ltfs.*, to be read.
func (b *builder) xattrs(it *item) map[string][]byte {
	var all map[string][]byte
	add := func(name string, value []byte) {
		if name == "" || len(name) > catalog.MaxName || strings.IndexByte(name, 0) >= 0 || len(value) > maxXattrValue ||
			strings.HasPrefix(name, ownPrefix) {
			b.note("%s: its attribute %.300q of %d bytes cannot exist here and is left out", it.path, name, len(value))
			return
		}
		if all == nil {
			all = make(map[string][]byte)
		}
		if value == nil {
			value = []byte{}
		}
		all[name] = value
	}
	if it.meta != nil {
		for name, value := range it.meta.Xattrs {
			switch isACL, ok := it.inode.TakeXattr(name, value); {
			case !ok:
				b.note("%s: its access control list is bad and left out", it.path)
			case !isACL:
				add(name, value)
			}
		}
	}
	for i := range it.node.Xattrs {
		x := &it.node.Xattrs[i]
		if it.meta == nil && !strings.HasPrefix(x.Key, "sliod.") || reserved(x.Key) {
			add(userPrefix+x.Key, x.Value)
		}
	}
	return all
}

// reserved says whether a key is one of LTFS's own.
func reserved(key string) bool { return len(key) >= 4 && strings.EqualFold(key[:4], "ltfs") }

// fitNames returns other names for the children whose own cannot exist here.
func (b *builder) fitNames(d *ltfs.Dir, children []ltfs.Entry, path string) map[ltfs.Entry]string {
	var fitted map[ltfs.Entry]string
	var taken map[string]bool
	for _, c := range children {
		name := nodeOf(c).Name
		if goodName(name) {
			continue
		}
		if fitted == nil {
			fitted, taken = make(map[ltfs.Entry]string), make(map[string]bool)
		}
		fit := fitName(name)
		for i := 2; d.Child(fit) != nil || taken[fit]; i++ {
			fit = fmt.Sprintf("%.200s~%d", fitName(name), i)
		}
		taken[fit], fitted[c] = true, fit
		b.note("%s/%s: this name cannot exist here; it is called %q", path, name, fit)
	}
	return fitted
}

func goodName(name string) bool {
	return name != "" && len(name) <= catalog.MaxName && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

// fitName makes a name that can exist out of one that cannot: what is not allowed is
// percent-encoded, and a long name cut, with the XXH64 of the whole behind it.
func fitName(raw string) string {
	const hexDigits = "0123456789ABCDEF"
	var s strings.Builder
	dots := raw == "." || raw == ".."
	for i := range len(raw) {
		if c := raw[i]; c == '/' || c == 0 || dots {
			s.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		} else {
			s.WriteByte(c)
		}
	}
	name := s.String()
	if name == "" {
		return "%"
	}
	if len(name) <= catalog.MaxName {
		return name
	}
	name = name[:catalog.MaxName-17]
	for !utf8.ValidString(name) && utf8.ValidString(raw) {
		name = name[:len(name)-1]
	}
	return fmt.Sprintf("%s~%016x", name, xxhash.Sum64String(raw))
}

// broken is what is wrong with an extent.
func broken(path, format string, args ...any) error {
	return errors.Wrapf(ltfs.ErrInconsistent, "the index entry of %q: "+format, append([]any{path}, args...)...)
}
