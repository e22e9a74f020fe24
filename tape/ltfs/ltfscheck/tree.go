package ltfscheck

import (
	"encoding/xml"
	"fmt"
	"sort"

	"github.com/pkg/errors"
)

// maxName is how many characters a name may have.
const maxName = 255

// directory reads the directory whose start tag has been read. Its entries are
// taken one by one, so that memory does not grow with the volume. It returns the
// directory's name.
func (x *indexReader) directory(parent string, root bool) (name string, err error) {
	if x.depth++; x.depth > maxDepth {
		return "", errors.Errorf("directories nested deeper than %d", maxDepth)
	}
	defer func() { x.depth-- }()
	e := &elem{name: "directory"}
	path, named, contents := "", root, 0
	for {
		t, err := x.d.next()
		if err != nil {
			return "", short(err)
		}
		switch t := t.(type) {
		case xml.CharData:
			e.text += string(t)
		case xml.StartElement:
			t = t.Copy()
			if t.Name.Local != "contents" {
				k, err := x.d.element(t)
				if err != nil {
					return "", err
				}
				x.d.kids = 0
				e.kids = append(e.kids, k)
				if k.name == "name" && !named {
					named = true
					quiet := fields{bad: func(string) {}, odd: func(string) {}}
					path = join(parent, quiet.name(k, 0))
				}
				continue
			}
			if contents++; contents > 1 {
				x.say(Error, path, "<contents> twice in <directory>")
			}
			if !named {
				x.say(Warning, parent, "a directory whose <name> comes behind its <contents>")
			}
			if err := x.contents(path); err != nil {
				return "", err
			}
		case xml.EndElement:
			if contents == 0 {
				x.say(Error, path, "<contents> is missing in <directory>")
			}
			f := x.fields(e, path)
			f.only("name", "readonly", "creationtime", "changetime", "modifytime", "accesstime", "backuptime", "fileuid", "extendedattributes")
			n := &Entry{Path: path, Dir: true}
			x.node(f, n, root)
			x.dirs++
			x.told(n)
			return n.Name, nil
		}
	}
}

func (x *indexReader) contents(path string) error {
	names := make(map[string]bool)
	for {
		t, err := x.d.next()
		if err != nil {
			return short(err)
		}
		switch t := t.(type) {
		case xml.EndElement:
			return nil
		case xml.CharData:
			if !blank(string(t)) {
				x.say(Error, path, "<contents> has text between its elements")
			}
		case xml.StartElement:
			t = t.Copy()
			switch t.Name.Local {
			case "directory":
				name, err := x.directory(path, false)
				if err != nil {
					return err
				}
				if names[name] {
					x.say(Error, join(path, name), "a second entry of this name")
				}
				names[name] = true
			case "file":
				e, err := x.d.element(t)
				if err != nil {
					return err
				}
				x.d.kids = 0
				x.file(path, e, names)
			default:
				if _, err := x.d.element(t); err != nil {
					return err
				}
				x.d.kids = 0
				x.say(Note, path, fmt.Sprintf("<contents> has an element <%s>, which is not in the format", t.Name.Local))
			}
		}
	}
}

func (x *indexReader) file(parent string, e *elem, names map[string]bool) {
	path := parent
	quiet := fields{e: e, bad: func(string) {}, odd: func(string) {}}
	if k := quiet.maybe("name"); k != nil {
		path = join(parent, quiet.name(k, 0))
	}
	f := x.fields(e, path)
	f.only("name", "length", "readonly", "openforwrite", "creationtime", "changetime", "modifytime", "accesstime", "backuptime", "fileuid",
		"extendedattributes", "extentinfo", "symlink")
	n := &Entry{Path: path}
	x.node(f, n, false)
	if names[n.Name] {
		f.bad("a second entry of this name")
	}
	names[n.Name] = true
	n.Length = f.number("length")
	if f.maybe("openforwrite") != nil && f.boolean("openforwrite") {
		f.odd("the file was being written when the index was")
	}
	info := f.maybe("extentinfo")
	if k := f.maybe("symlink"); k != nil {
		n.IsSymlink, n.Symlink = true, f.name(k, 0)
		if n.Length != 0 || info != nil {
			f.bad("a symbolic link with a length or extents")
		}
		if n.Symlink == "" {
			f.bad("a symbolic link to nothing")
		}
	}
	if info != nil {
		x.extents(f.in(info), n)
	}
	x.files++
	for _, t := range n.Extents {
		x.bytes += t.ByteCount
	}
	x.told(n)
}

// node checks what files and directories share.
func (x *indexReader) node(f fields, n *Entry, root bool) {
	if k := f.one("name"); k != nil {
		n.Name = f.name(k, maxName)
		if !root {
			switch n.Name {
			case "", ".", "..":
				f.bad(quote(n.Name) + " is not a name")
			}
			for _, c := range []byte(n.Name) {
				if c == '/' || c == 0 {
					f.bad(quote(n.Name) + " has a slash or a zero")
					break
				}
			}
		}
	}
	n.ReadOnly = f.boolean("readonly")
	n.Creation, n.Change, n.Modify = f.time("creationtime"), f.time("changetime"), f.time("modifytime")
	n.Access, n.Backup = f.time("accesstime"), f.time("backuptime")
	n.UID = f.number("fileuid")
	switch {
	case n.UID == 0:
		f.bad("fileuid 0")
	case root && n.UID != 1:
		f.bad(fmt.Sprintf("the root has fileuid %d, not 1", n.UID))
	case x.uids[n.UID]:
		f.bad(fmt.Sprintf("fileuid %d is that of another entry too", n.UID))
	}
	x.uids[n.UID] = true
	x.highest = max(x.highest, n.UID)
	list := f.maybe("extendedattributes")
	if list == nil {
		return
	}
	f.in(list).only("xattr")
	seen := make(map[string]bool)
	for _, k := range list.kids {
		if k.name != "xattr" {
			continue
		}
		g := f.in(k)
		g.only("key", "value")
		var a Xattr
		if e := g.one("key"); e != nil {
			a.Key = g.name(e, 0)
		}
		if e := g.one("value"); e != nil {
			a.Value = g.value(e)
		}
		switch {
		case a.Key == "":
			f.bad("an extended attribute without a key")
		case seen[a.Key]:
			f.bad("extended attribute " + quote(a.Key) + " twice")
		}
		seen[a.Key] = true
		n.Xattrs = append(n.Xattrs, a)
	}
}

// extents checks that a file's extents lie in the data and do not overlap.
func (x *indexReader) extents(f fields, n *Entry) {
	f.only("extent")
	for _, k := range f.e.kids {
		if k.name != "extent" {
			continue
		}
		g := f.in(k)
		g.only("fileoffset", "partition", "startblock", "byteoffset", "bytecount")
		t := Extent{FileOffset: g.number("fileoffset"), Partition: g.partition("partition"), StartBlock: g.number("startblock"),
			ByteOffset: g.number("byteoffset"), ByteCount: g.number("bytecount")}
		x.extent(f, t)
		n.Extents = append(n.Extents, t)
	}
	sort.SliceStable(n.Extents, func(i, j int) bool { return n.Extents[i].FileOffset < n.Extents[j].FileOffset })
	var end uint64
	for _, t := range n.Extents {
		if t.FileOffset < end {
			f.bad(fmt.Sprintf("extents overlap at byte %d", t.FileOffset))
		}
		if t.FileOffset+t.ByteCount < t.FileOffset {
			return // said
		}
		end = max(end, t.FileOffset+t.ByteCount)
	}
	if end > n.Length {
		f.bad(fmt.Sprintf("extents go to byte %d of a file of %d", end, n.Length))
	}
}

func (x *indexReader) extent(f fields, t Extent) {
	size := uint64(x.c.size)
	switch {
	case t.ByteCount == 0:
		f.bad("an extent of no bytes")
		return
	case t.ByteOffset >= size:
		f.bad(fmt.Sprintf("an extent begins %d bytes inside a record of at most %d", t.ByteOffset, size))
		return
	case t.FileOffset+t.ByteCount < t.FileOffset || t.ByteOffset+t.ByteCount < t.ByteCount:
		f.bad("an extent that is too long")
		return
	}
	p := x.c.partition(t.Partition)
	if p == nil {
		f.bad("an extent in partition " + quote(t.Partition) + ", which the volume does not have")
		return
	}
	// The blocks from first up to last.
	first, last := t.StartBlock, t.StartBlock+(t.ByteOffset+t.ByteCount-1)/size
	if first < labelBlocks || last < first || last >= p.end {
		f.bad(fmt.Sprintf("an extent from block %d to %d of partition %s, whose data are from %d to before %d", first, last, p.letter, labelBlocks, p.end))
		return
	}
	i := sort.Search(len(p.marks), func(i int) bool { return p.marks[i] >= first })
	if i < len(p.marks) && p.marks[i] <= last {
		f.bad(fmt.Sprintf("an extent from block %d to %d of partition %s goes over the filemark at %d", first, last, p.letter, p.marks[i]))
		return
	}
	// An index that nobody refers to may be a torn one, with data behind it.
	j := sort.Search(len(p.indexes), func(j int) bool { return p.indexes[j].region >= i })
	if j < len(p.indexes) && p.indexes[j].region == i && p.indexes[j].chained {
		f.bad(fmt.Sprintf("an extent from block %d to %d of partition %s lies in an index", first, last, p.letter))
	}
}

func (c *checker) partition(letter string) *part {
	for _, p := range c.parts {
		if p.letter == letter {
			return p
		}
	}
	return nil
}

func (x *indexReader) told(n *Entry) {
	if !x.tell {
		return
	}
	if x.c.o.Entry != nil {
		x.c.o.Entry(n)
	}
	if x.c.o.Data && len(n.Extents) > 0 {
		x.work = append(x.work, n)
	}
}

func join(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "/" + name
}
