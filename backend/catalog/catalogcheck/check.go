// Package catalogcheck reads a catalog that nobody has open, by docs/catalog.md alone, and says what in it does not
// fit together. It shares no code with package catalog, and is for tests.
package catalogcheck

import (
	"encoding/binary"
	stderrors "errors"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pkg/errors"
)

// Flags of an inode's record.
const (
	noBmaps  = 32
	noXattrs = 64
)

type inode struct{ nlink, flags uint64 }

type checker struct {
	inodes  map[uint64]inode
	orphans map[uint64]bool
	imports bool // one is under way, or was cut off: nothing leads to what it has made
	files   uint64
	wrong   []string
}

// Check reads the catalog in dir of a disk, nil for the one that the process runs on. There need not be one yet. The
// error names what is wrong:
//
//   - a record of a file that has no inode, which nobody would ever delete: bmap, extended attribute, name, entry, orphan, verification.
//     (Pins of no file are taken out by a start, and a pending record of none is a removal that is not on tape yet.)
//   - a bmap or an extended attribute of a file whose inode says that there never was one
//   - an inode without names that is no orphan
//   - another number of files than there are
//
// All this is so at every instant, and so after a crash, too.
func Check(dir string, disk vfs.FS) error {
	if disk == nil {
		disk = vfs.Default
	}
	at, err := pebble.Peek(dir, disk)
	if stderrors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || !at.Exists {
		return errors.Wrapf(err, "look for catalog %s", dir)
	}
	db, err := pebble.Open(dir, &pebble.Options{FS: disk, ReadOnly: true, Logger: silent{}})
	if err != nil {
		return errors.Wrapf(err, "open catalog %s", dir)
	}
	defer db.Close()
	c := checker{inodes: map[uint64]inode{}, orphans: map[uint64]bool{}}
	for _, pass := range []func(key, value []byte){c.collect, c.check} {
		if err := scan(db, pass); err != nil {
			return err
		}
	}
	for id, n := range c.inodes {
		if n.nlink == 0 && !c.orphans[id] && !c.imports {
			c.note("file %d has no name and is no orphan", id)
		}
	}
	if n := uint64(len(c.inodes)); n > 0 && c.files != n-1 && !c.imports { // the root is not counted
		c.note("the counter says %d files, there are %d", c.files, n-1)
	}
	if len(c.wrong) > 0 {
		return errors.Errorf("catalog %s: %s", dir, strings.Join(c.wrong, "; "))
	}
	return nil
}

func scan(db *pebble.DB, fn func(key, value []byte)) error {
	it, err := db.NewIter(nil)
	if err != nil {
		return errors.Wrap(err, "scan catalog")
	}
	for ok := it.First(); ok; ok = it.Next() {
		fn(it.Key(), it.Value())
	}
	return errors.Wrap(it.Close(), "scan catalog")
}

func (c *checker) note(format string, args ...any) {
	if len(c.wrong) < 20 {
		c.wrong = append(c.wrong, errors.Errorf(format, args...).Error())
	}
}

// collect takes in what the other records are held against.
func (c *checker) collect(key, value []byte) {
	switch key[0] {
	case 'i':
		n, err := decodeInode(value[1:])
		if err != nil {
			c.note("inode %d: %v", file(key), err)
		}
		c.inodes[file(key)] = n
	case 'o':
		c.orphans[file(key)] = true
	case 'j':
		c.imports = c.imports || strings.HasPrefix(string(value[1:]), "\x06import")
	case 'n':
		if string(key) == "nfiles" {
			c.files, _ = binary.Uvarint(value[1:])
		}
	}
}

func (c *checker) check(key, _ []byte) {
	what, ok := map[byte]string{'b': "bmap", 'c': "entry", 'd': "name in a directory", 'o': "orphan", 'p': "name", 'u': "verification",
		'x': "extended attribute"}[key[0]]
	if !ok {
		return
	}
	n, ok := c.inodes[file(key)]
	switch {
	case !ok && !c.imports:
		c.note("%s of file %d, which has no inode: %q", what, file(key), key)
	case key[0] == 'b' && n.flags&noBmaps != 0, key[0] == 'x' && n.flags&noXattrs != 0:
		c.note("%s of file %d, whose inode says that there never was one: flags %#x", what, file(key), n.flags)
	}
}

func file(key []byte) uint64 { return binary.BigEndian.Uint64(key[1:]) }

// decodeInode takes from an inode's record what is checked.
func decodeInode(b []byte) (inode, error) {
	bad := false
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			bad = true
			return 0
		}
		b = b[n:]
		return v
	}
	var n inode
	for i := range 8 { // generation, mode, uid, gid, nlink, major, minor, size
		if v := next(); i == 4 {
			n.nlink = v
		}
	}
	for range 4*2 + 3 { // four times; data version, parent, next cookie
		next()
	}
	if target := next(); target > uint64(len(b)) {
		bad = true
	} else {
		b = b[target:]
	}
	n.flags = next()
	if bad {
		return n, errors.New("its record ends early")
	}
	return n, nil
}

// silent is a logger that says nothing: what is wrong is in errors.
type silent struct{}

func (silent) Infof(string, ...any)         {}
func (silent) Errorf(string, ...any)        {}
func (silent) Fatalf(f string, args ...any) { panic(errors.Errorf(f, args...)) }
