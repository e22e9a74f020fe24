package ltfs

import (
	"bytes"
	"encoding/base64"
	stderrors "errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pkg/errors"
)

// Parse reads an index of any version from 1.0 to 2.x. Elements that it does
// not know are kept and written back by WriteTo. What breaks the format is an
// error that is ErrCorrupt; an error of r is returned as it is.
func Parse(r io.Reader) (*Index, error) {
	p := &parser{scanner: newScanner(r), keys: make(map[string]string)}
	x, err := p.index(false)
	if err != nil {
		return nil, errors.WithMessage(err, "read LTFS index")
	}
	return x, nil
}

// errHeader ends the reading of an index before its tree.
var errHeader = stderrors.New("header read")

// parseHeader reads an index up to its root directory, which it leaves nil.
func parseHeader(r io.Reader) (*Index, error) {
	p := &parser{scanner: newScanner(r)}
	return p.index(true)
}

// parser builds an Index. Strings, values and extents are cut from large
// pieces of memory: a million small allocations each cost more than they hold.
type parser struct {
	*scanner
	x       *Index
	keys    map[string]string // interned xattr keys
	slab    []byte
	extents []Extent
	xattrs  []Xattr
	files   []File
	depth   int
	// Scratch for the entry that is being read.
	ext []Extent
	xa  []Xattr
}

func (p *parser) hold(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	if len(b) > cap(p.slab)-len(p.slab) {
		if len(b) > 8<<10 {
			return append([]byte(nil), b...)
		}
		p.slab = make([]byte, 0, 64<<10)
	}
	at := len(p.slab)
	p.slab = append(p.slab, b...)
	return p.slab[at:len(p.slab):len(p.slab)]
}

func (p *parser) index(headerOnly bool) (*Index, error) {
	if p.has("\xef\xbb\xbf") {
		p.pos += 3
	}
	for {
		k, err := p.next()
		if err != nil {
			return nil, err
		}
		if k == tokStart {
			break
		}
		if k != tokText || len(bytes.TrimSpace(p.text)) > 0 {
			return nil, p.corrupt("no <ltfsindex> here")
		}
	}
	if string(p.name) != "ltfsindex" {
		return nil, p.corrupt("<%s> where <ltfsindex> should be", p.name)
	}
	v, _ := attr(p.attrs, "version")
	if !bytes.HasPrefix(v, []byte("1.")) && !bytes.HasPrefix(v, []byte("2.")) {
		return nil, p.corrupt("index version %q; this program knows 1.x and 2.x", v)
	}
	p.x = &Index{Version: string(v), HighestUID: 1}
	x := p.x
	seen := 0
	err := p.children("ltfsindex", func(name []byte) (err error) {
		switch string(name) {
		case "creator":
			x.Creator, err = p.str()
		case "comment":
			x.Comment, err = p.str()
		case "volumeuuid":
			x.UUID, err = p.str()
			x.UUID = strings.ToLower(strings.TrimSpace(x.UUID))
			seen |= 1
		case "generationnumber":
			x.Generation, err = p.number("generationnumber")
			seen |= 2
		case "updatetime":
			x.UpdateTime, err = p.time("updatetime")
		case "location":
			x.Location, err = p.location("location")
			seen |= 4
		case "previousgenerationlocation":
			var l Location
			l, err = p.location("previousgenerationlocation")
			x.Previous = &l
		case "allowpolicyupdate":
			x.AllowPolicyUpdate, err = p.boolean("allowpolicyupdate")
		case "dataplacementpolicy":
			x.Policy, err = p.keep(x.Policy)
		case "volumelockstate":
			x.LockState, err = p.str()
		case "highestfileuid":
			var n uint64
			n, err = p.number("highestfileuid")
			x.HighestUID = max(x.HighestUID, n)
		case "directory":
			if headerOnly {
				return errHeader
			}
			if x.Root != nil {
				return p.corrupt("two root directories")
			}
			x.Root, err = p.directory(true)
			seen |= 8
		default:
			x.Unknown, err = p.keep(x.Unknown)
		}
		return err
	})
	if err == errHeader && seen == 7 {
		return x, nil
	}
	if err != nil {
		return nil, err
	}
	if seen != 15 {
		return nil, p.corrupt("volumeuuid, generationnumber, location or directory is missing")
	}
	for {
		k, err := p.next()
		if err != nil {
			return nil, err
		}
		if k == tokEOF {
			break
		}
		if k != tokText || len(bytes.Trim(p.text, " \t\r\n\x00")) > 0 {
			return nil, p.corrupt("something behind </ltfsindex>")
		}
	}
	p.x.adoptUIDs()
	return x, nil
}

// adoptUIDs gives a fileuid to entries of old versions, which had none.
func (x *Index) adoptUIDs() {
	x.Root.UID = 1
	var walk func(d *Dir)
	walk = func(d *Dir) {
		for _, e := range d.children {
			if n := e.node(); n.UID == 0 {
				x.HighestUID++
				n.UID = x.HighestUID
			}
			if c, ok := e.(*Dir); ok {
				walk(c)
			}
		}
	}
	walk(x.Root)
}

func (p *parser) str() (string, error) {
	t, err := p.textContent()
	return string(t), err
}

func (p *parser) time(what string) (Time, error) {
	t, err := p.textContent()
	if err != nil {
		return Time{}, err
	}
	v, ok := parseTime(t)
	if !ok {
		return Time{}, p.corrupt("<%s> is %.40q, not an RFC 3339 time", what, t)
	}
	return v, nil
}

func (p *parser) partition() (PartitionID, error) {
	t, err := p.textContent()
	if err != nil {
		return 0, err
	}
	if t = bytes.TrimSpace(t); len(t) != 1 || t[0] < 'a' || t[0] > 'z' {
		return 0, p.corrupt("partition %.40q is not a letter from a to z", t)
	}
	return PartitionID(t[0]), nil
}

func (p *parser) location(what string) (l Location, err error) {
	err = p.children(what, func(name []byte) (err error) {
		switch string(name) {
		case "partition":
			l.Partition, err = p.partition()
		case "startblock":
			l.StartBlock, err = p.number("startblock")
		default:
			_, err = p.keep(nil)
		}
		return err
	})
	if err == nil && l.Partition == 0 {
		err = p.corrupt("<%s> without a partition", what)
	}
	return l, err
}

// nameText reads an element of the LTFS name type.
func (p *parser) nameText() ([]byte, error) {
	v, ok := attr(p.attrs, "percentencoded")
	encoded := ok && (string(v) == "true" || string(v) == "1")
	t, err := p.textContent()
	if err == nil && encoded {
		t = percentDecode(t)
	}
	return t, err
}

// element reads one child of a file or directory that both may have.
func (p *parser) element(n *Node, name []byte) (err error) {
	switch string(name) {
	case "name":
		var t []byte
		t, err = p.nameText()
		if err == nil {
			n.Name = asString(p.hold(t))
		}
	case "readonly":
		n.ReadOnly, err = p.boolean("readonly")
	case "creationtime":
		n.CreationTime, err = p.time("creationtime")
	case "changetime":
		n.ChangeTime, err = p.time("changetime")
	case "modifytime":
		n.ModifyTime, err = p.time("modifytime")
	case "accesstime":
		n.AccessTime, err = p.time("accesstime")
	case "backuptime":
		n.BackupTime, err = p.time("backuptime")
	case "fileuid":
		n.UID, err = p.number("fileuid")
		p.x.HighestUID = max(p.x.HighestUID, n.UID)
	case "extendedattributes":
		err = p.extendedAttributes(n)
	default:
		n.Unknown, err = p.keep(n.Unknown)
	}
	return err
}

func (p *parser) directory(root bool) (*Dir, error) {
	if p.depth++; p.depth > maxDepth/2 {
		return nil, p.corrupt("directories nested deeper than %d", maxDepth/2)
	}
	defer func() { p.depth-- }()
	d := &Dir{}
	err := p.children("directory", func(name []byte) error {
		if string(name) == "contents" {
			return p.contents(d)
		}
		return p.element(&d.Node, name)
	})
	if err != nil {
		return nil, err
	}
	p.restoreName(&d.Node)
	if !root {
		if err := p.checkName(&d.Node); err != nil {
			return nil, err
		}
	}
	p.x.dirs++
	p.x.estimate += entryBytes(d)
	return d, nil
}

func (p *parser) contents(d *Dir) error {
	if d.children == nil {
		d.children = make(map[string]Entry)
	}
	return p.children("contents", func(name []byte) error {
		var e Entry
		switch string(name) {
		case "file":
			f, err := p.file()
			if err != nil {
				return err
			}
			e = f
		case "directory":
			c, err := p.directory(false)
			if err != nil {
				return err
			}
			e = c
		default:
			_, err := p.keep(nil)
			return err
		}
		n := e.node()
		if d.children[n.Name] != nil {
			// Two entries of one name: both are kept, lest data be hidden.
			base := n.Name
			for i := 2; d.children[n.Name] != nil; i++ {
				n.Name = fmt.Sprintf("%s~%d", base, i)
			}
			p.renamed(base, n.Name)
		}
		d.children[n.Name] = e
		return nil
	})
}

func (p *parser) file() (*File, error) {
	if len(p.files) == 0 {
		p.files = make([]File, 64)
	}
	f := &p.files[0]
	p.files = p.files[1:]
	p.ext = p.ext[:0]
	err := p.children("file", func(name []byte) (err error) {
		switch string(name) {
		case "length":
			f.Length, err = p.number("length")
		case "extentinfo":
			err = p.children("extentinfo", func(name []byte) error {
				if string(name) != "extent" {
					_, err := p.keep(nil)
					return err
				}
				return p.extent()
			})
		case "symlink":
			var t []byte
			t, err = p.nameText()
			if err == nil {
				f.IsSymlink, f.Symlink = true, string(t)
			}
		default:
			err = p.element(&f.Node, name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	p.restoreName(&f.Node)
	if err := p.checkName(&f.Node); err != nil {
		return nil, err
	}
	if raw, ok := f.Xattr(keyTarget); ok && f.IsSymlink {
		if safeName(string(raw), false) == f.Symlink && string(raw) != f.Symlink {
			f.Symlink = string(raw)
		}
		f.DeleteXattr(keyTarget)
	}
	if err := p.fileExtents(f); err != nil {
		return nil, err
	}
	p.x.files++
	p.x.estimate += entryBytes(f)
	return f, nil
}

func (p *parser) extent() error {
	var e Extent
	seen := 0
	err := p.children("extent", func(name []byte) (err error) {
		var n uint64
		switch string(name) {
		case "fileoffset":
			e.FileOffset, err = p.number("fileoffset")
		case "partition":
			e.Partition, err = p.partition()
			seen |= 1
		case "startblock":
			e.StartBlock, err = p.number("startblock")
			seen |= 2
		case "byteoffset":
			if n, err = p.number("byteoffset"); n > 1<<32-1 {
				return p.corrupt("byteoffset %d", n)
			}
			e.ByteOffset = uint32(n)
		case "bytecount":
			e.ByteCount, err = p.number("bytecount")
			seen |= 4
		default:
			_, err = p.keep(nil)
		}
		return err
	})
	if err != nil {
		return err
	}
	if seen != 7 || e.FileOffset+e.ByteCount < e.FileOffset {
		return p.corrupt("an extent that is incomplete or too long: %+v", e)
	}
	p.ext = append(p.ext, e)
	return nil
}

// fileExtents checks the extents that have been read and gives them to f.
// Version 1 and some writers of version 2.0 omit fileoffset and let extents
// follow each other; those have one extent a file in practice.
func (p *parser) fileExtents(f *File) error {
	byOffset := func(a, b Extent) int {
		if a.FileOffset < b.FileOffset {
			return -1
		} else if a.FileOffset > b.FileOffset {
			return 1
		}
		return 0
	}
	if !slices.IsSortedFunc(p.ext, byOffset) {
		slices.SortStableFunc(p.ext, byOffset)
	}
	var end uint64
	for _, e := range p.ext {
		if e.FileOffset < end {
			return p.corrupt("the extents of %q overlap", f.Name)
		}
		end = e.FileOffset + e.ByteCount
	}
	if end > f.Length {
		return p.corrupt("the extents of %q end at %d, behind its length %d", f.Name, end, f.Length)
	}
	if n := len(p.ext); n > 0 {
		if n > cap(p.extents)-len(p.extents) {
			p.extents = make([]Extent, 0, max(n, 256))
		}
		at := len(p.extents)
		p.extents = append(p.extents, p.ext...)
		f.Extents = p.extents[at:len(p.extents):len(p.extents)]
	}
	return nil
}

func (p *parser) extendedAttributes(n *Node) error {
	p.xa = p.xa[:0]
	err := p.children("extendedattributes", func(name []byte) error {
		if string(name) != "xattr" {
			_, err := p.keep(nil)
			return err
		}
		var x Xattr
		var seen bool
		err := p.children("xattr", func(name []byte) error {
			switch string(name) {
			case "key":
				t, err := p.nameText()
				if err != nil {
					return err
				}
				x.Key, seen = p.intern(t), true
				return nil
			case "value":
				v, err := p.value()
				x.Value = v
				return err
			}
			_, err := p.keep(nil)
			return err
		})
		if err == nil && !seen {
			err = p.corrupt("an xattr without a key")
		}
		if err == nil {
			p.xa = append(p.xa, x)
		}
		return err
	})
	if err != nil {
		return err
	}
	if c := len(p.xa); c > 0 {
		if c > cap(p.xattrs)-len(p.xattrs) {
			p.xattrs = make([]Xattr, 0, max(c, 256))
		}
		at := len(p.xattrs)
		p.xattrs = append(p.xattrs, p.xa...)
		n.Xattrs = p.xattrs[at:len(p.xattrs):len(p.xattrs)]
	}
	return nil
}

func (p *parser) intern(t []byte) string {
	if s, ok := p.keys[string(t)]; ok {
		return s
	}
	s := string(t)
	if len(p.keys) < 4096 {
		p.keys[s] = s
	}
	return s
}

func (p *parser) value() ([]byte, error) {
	typ, ok := attr(p.attrs, "type")
	t, err := p.textContent()
	if err != nil {
		return nil, err
	}
	if !ok || string(typ) == "text" {
		return p.hold(t), nil
	}
	if string(typ) != "base64" {
		return nil, p.corrupt("xattr value of type %q", typ)
	}
	// libxml2 breaks base64 into lines.
	t = slices.DeleteFunc(t, func(c byte) bool { return c == '\n' || c == '\r' || c == ' ' || c == '\t' })
	n, err := base64.StdEncoding.Decode(t, t)
	if err != nil {
		return nil, p.corrupt("bad base64 in an xattr: %v", err)
	}
	return p.hold(t[:n]), nil
}

// restoreName gives back a name that LTFS could not hold.
func (p *parser) restoreName(n *Node) {
	raw, ok := n.Xattr(keyName)
	if !ok {
		return
	}
	if safeName(string(raw), true) == n.Name {
		n.Name = string(raw)
	}
	n.DeleteXattr(keyName)
}

func (p *parser) checkName(n *Node) error {
	if strings.IndexByte(n.Name, '/') >= 0 {
		was := n.Name
		n.Name = strings.ReplaceAll(n.Name, "/", "_") // as the reference implementation does
		p.renamed(was, n.Name)
	}
	if !validName(n.Name) {
		return p.corrupt("%q is not a name", n.Name)
	}
	return nil
}

// renamed notes that an entry got another name than the index says.
func (p *parser) renamed(was, is string) {
	if len(p.x.Renamed) < maxRenamed {
		p.x.Renamed = append(p.x.Renamed, [2]string{was, is})
	}
}
