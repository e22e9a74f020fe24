package ltfs

import (
	"cmp"
	"slices"
	"strings"

	"github.com/pkg/errors"
)

// FormatVersion is the version of LTFS that this package writes.
const FormatVersion = "2.4.0"

// PartitionID is a partition's letter in labels and indexes, 'a' to 'z'. The
// label says which tape partition it is.
type PartitionID byte

func (p PartitionID) String() string { return string(rune(p)) }

// Extent is a run of bytes on a volume. It begins ByteOffset bytes inside the
// record StartBlock and goes on through the following records, all of which are
// full but the last. FileOffset says where in the file the bytes belong; it has
// no meaning in what Append returns.
type Extent struct {
	FileOffset uint64
	StartBlock uint64
	ByteCount  uint64
	ByteOffset uint32
	Partition  PartitionID
}

// Location is the place of an index: the block number of its first record.
type Location struct {
	Partition  PartitionID
	StartBlock uint64
}

// Xattr is one extended attribute under its LTFS key, that is, a user xattr
// without "user.".
type Xattr struct {
	Key   string
	Value []byte
}

// Entry is a *File or a *Dir.
type Entry interface{ node() *Node }

// Node is what files and directories share.
type Node struct {
	Name     string // any bytes but '/' and NUL; of the root: the volume's name
	ReadOnly bool
	UID      uint64 // fileuid: unique on the volume; 0: Put gives the next one

	CreationTime, ChangeTime, ModifyTime, AccessTime, BackupTime Time

	Xattrs []Xattr
	// Unknown is the XML of elements that this package does not know. They are
	// written back.
	Unknown []byte
}

func (n *Node) node() *Node { return n }

// Xattr returns the value under key.
func (n *Node) Xattr(key string) ([]byte, bool) {
	for i := range n.Xattrs {
		if n.Xattrs[i].Key == key {
			return n.Xattrs[i].Value, true
		}
	}
	return nil, false
}

// SetXattr sets key. The value is not copied.
func (n *Node) SetXattr(key string, value []byte) {
	for i := range n.Xattrs {
		if n.Xattrs[i].Key == key {
			n.Xattrs[i].Value = value
			return
		}
	}
	n.Xattrs = append(n.Xattrs, Xattr{key, value})
}

// DeleteXattr removes key if it is there.
func (n *Node) DeleteXattr(key string) {
	n.Xattrs = slices.DeleteFunc(n.Xattrs, func(x Xattr) bool { return x.Key == key })
}

// File is a file or a symbolic link.
type File struct {
	Node
	Length    uint64
	Extents   []Extent // sorted by FileOffset, without overlap; gaps read as zeros
	Symlink   string   // target, if IsSymlink
	IsSymlink bool
}

// Dir is a directory.
type Dir struct {
	Node
	children map[string]Entry
}

// Len returns how many entries the directory has.
func (d *Dir) Len() int { return len(d.children) }

// Child returns the entry called name, or nil.
func (d *Dir) Child(name string) Entry { return d.children[name] }

// Children returns the entries in the order of their fileuids.
func (d *Dir) Children() []Entry {
	list := make([]Entry, 0, len(d.children))
	for _, e := range d.children {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b Entry) int {
		x, y := a.node(), b.node()
		if c := cmp.Compare(x.UID, y.UID); c != 0 {
			return c
		}
		return strings.Compare(x.Name, y.Name)
	})
	return list
}

// Index is the tree of a volume: what is on it, and where. It is not safe for
// concurrent use. Paths have no leading slash; "" is the root.
type Index struct {
	Version    string // as read; WriteTo writes FormatVersion
	Creator    string
	Comment    string
	UUID       string // volumeuuid
	Generation uint64
	UpdateTime Time
	Location   Location
	Previous   *Location // the data partition's index before this one, if any

	AllowPolicyUpdate bool
	LockState         string // volumelockstate: "", "unlocked", "locked", "permlocked"
	HighestUID        uint64
	Root              *Dir
	// Policy and Unknown are kept as XML: the dataplacementpolicy, and elements
	// that this package does not know.
	Policy, Unknown []byte

	// Renamed are names that Parse has changed, as they cannot be in a tree or two entries
	// of a directory had them: was and is, the first maxRenamed.
	Renamed [][2]string

	files, dirs int // dirs counts the root
	dirty       bool
	estimate    int64 // bytes that the entries take in XML, about
}

// maxRenamed bounds Index.Renamed.
const maxRenamed = 100

// NewIndex returns an index with an empty root.
func NewIndex(uuid string, now Time) *Index {
	root := &Dir{Node: Node{UID: 1, CreationTime: now, ChangeTime: now, ModifyTime: now, AccessTime: now, BackupTime: now}}
	x := &Index{Version: FormatVersion, UUID: uuid, UpdateTime: now, HighestUID: 1, Root: root, AllowPolicyUpdate: true, dirs: 1}
	x.estimate = entryBytes(root)
	return x
}

// Files returns how many files and symbolic links the index has.
func (x *Index) Files() int { return x.files }

// Dirs returns how many directories the index has, the root included.
func (x *Index) Dirs() int { return x.dirs }

// MarkDirty says that an entry was changed in place, so that the next
// Volume.Close writes the index. Put, Mkdir and Remove do it themselves.
func (x *Index) MarkDirty() { x.dirty = true }

// EstimateBytes returns about how long the index is as XML, never less than it
// is for entries that came by Parse, Put or Mkdir.
func (x *Index) EstimateBytes() int64 {
	return 2048 + x.estimate + int64(len(x.Policy)+len(x.Unknown)+len(x.Comment))
}

// entryBytes is an upper bound of what an entry takes as XML.
func entryBytes(e Entry) int64 {
	n := e.node()
	size := 640 + 5*int64(len(n.Name)) + int64(len(n.Unknown))
	for i := range n.Xattrs {
		size += 80 + 5*int64(len(n.Xattrs[i].Key)) + max(5, 4*int64(len(n.Xattrs[i].Value)+2)/3)
		if len(n.Xattrs[i].Value) < 1024 { // text with entities
			size += 4 * int64(len(n.Xattrs[i].Value))
		}
	}
	if f, ok := e.(*File); ok {
		size += 200*int64(len(f.Extents)) + 5*int64(len(f.Symlink))
	}
	return size
}

// Lookup returns the entry at path, or an error that is ErrNotFound.
func (x *Index) Lookup(path string) (Entry, error) {
	var e Entry = x.Root
	for rest := path; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		d, ok := e.(*Dir)
		if !ok {
			return nil, errors.Wrapf(ErrNotFound, "%q", path)
		}
		if e = d.children[name]; e == nil {
			return nil, errors.Wrapf(ErrNotFound, "%q", path)
		}
	}
	return e, nil
}

// Mkdir returns the directory at path and makes it, and those above it, if they
// are missing, with all times now. It fails if a file is in the way.
func (x *Index) Mkdir(path string, now Time) (*Dir, error) {
	d := x.Root
	if strings.HasSuffix(path, "/") {
		return nil, errors.Errorf("make directory %q in the index: a path does not end in a slash", path)
	}
	for rest := path; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		switch e := d.children[name].(type) {
		case *Dir:
			d = e
		case *File:
			return nil, errors.Errorf("make directory %q in the index: %q is a file there", path, name)
		default:
			if !validName(name) {
				return nil, errors.Errorf("make directory %q in the index: %q is not a name", path, name)
			}
			c := &Dir{Node: Node{Name: name, CreationTime: now, ChangeTime: now, ModifyTime: now, AccessTime: now, BackupTime: now}}
			x.add(d, c)
			d = c
		}
	}
	return d, nil
}

// Put sets the entry at path, whose last element becomes its name, and makes
// missing directories above it. What was there before is replaced; a directory
// that replaces a directory takes over its entries. A fileuid of 0 becomes that
// of the replaced entry, or a new one; so do unknown elements, if it has none. The entry belongs to the index.
func (x *Index) Put(path string, e Entry) error {
	dir, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	}
	if !validName(name) {
		return errors.Errorf("put %q in the index: %q is not a name", path, name)
	}
	d, err := x.Mkdir(dir, e.node().ModifyTime)
	if err != nil {
		return err
	}
	e.node().Name = name
	if old := d.children[name]; old != nil {
		if old == e {
			x.dirty = true
			return nil
		}
		if e.node().UID == 0 {
			e.node().UID = old.node().UID
		}
		if len(e.node().Unknown) == 0 {
			e.node().Unknown = old.node().Unknown
		}
		oldDir, wasDir := old.(*Dir)
		newDir, isDir := e.(*Dir)
		if wasDir && isDir && len(newDir.children) == 0 {
			newDir.children, oldDir.children = oldDir.children, nil
			x.estimate += entryBytes(e) - entryBytes(old)
			d.children[name] = e
			x.dirty = true
			return nil
		}
		x.forget(old)
	}
	x.add(d, e)
	return nil
}

// Remove takes the entry at path, and all below it, out of the index.
func (x *Index) Remove(path string) error {
	e, err := x.Lookup(path)
	if err != nil {
		return errors.WithMessage(err, "remove from the index")
	}
	if e == Entry(x.Root) {
		return errors.New("remove from the index: the root cannot be removed")
	}
	parent := ""
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		parent = path[:i]
	}
	p, err := x.Lookup(parent)
	if err != nil {
		return err
	}
	delete(p.(*Dir).children, e.node().Name)
	x.forget(e)
	x.dirty = true
	return nil
}

// Walk calls fn for every entry but the root, directories before what is in
// them. It ends at the first error.
func (x *Index) Walk(fn func(path string, e Entry) error) error {
	return walk(x.Root, "", fn)
}

func walk(d *Dir, prefix string, fn func(string, Entry) error) error {
	for _, e := range d.Children() {
		path := prefix + e.node().Name
		if err := fn(path, e); err != nil {
			return err
		}
		if c, ok := e.(*Dir); ok {
			if err := walk(c, path+"/", fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// add puts e, which may be a whole tree, into d under its name.
func (x *Index) add(d *Dir, e Entry) {
	if d.children == nil {
		d.children = make(map[string]Entry)
	}
	d.children[e.node().Name] = e
	x.count(e, 1)
	x.dirty = true
}

func (x *Index) forget(e Entry) { x.count(e, -1) }

func (x *Index) count(e Entry, sign int) {
	n := e.node()
	if sign > 0 {
		if n.UID == 0 {
			n.UID = x.HighestUID + 1
		}
		x.HighestUID = max(x.HighestUID, n.UID)
	}
	x.estimate += int64(sign) * entryBytes(e)
	switch e := e.(type) {
	case *File:
		x.files += sign
	case *Dir:
		x.dirs += sign
		for _, c := range e.children {
			x.count(c, sign)
		}
	}
}
