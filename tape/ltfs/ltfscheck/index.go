package ltfscheck

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pkg/errors"

	"sliod/tape"
)

// Entry is a file, a symbolic link or a directory of an index, as it stands there.
type Entry struct {
	Path      string // from the root, "" for the root itself
	Name      string // of the root: the volume's name
	Dir       bool
	ReadOnly  bool
	Length    uint64
	UID       uint64
	IsSymlink bool
	Symlink   string
	Xattrs    []Xattr
	Extents   []Extent

	Creation, Change, Modify, Access, Backup time.Time
}

// Xattr is an extended attribute under its key in the index.
type Xattr struct {
	Key   string
	Value []byte
}

// Extent is a run of bytes on tape.
type Extent struct {
	FileOffset uint64
	Partition  string
	StartBlock uint64
	ByteOffset uint64
	ByteCount  uint64
}

// head is what an index says of itself.
type head struct {
	version    string
	uuid       string
	generation uint64
	location   place
	previous   *place
	digest     []byte // of all that is equal in both copies; set when it was read whole
}

// stream reads the records of an index, up to the filemark behind it.
type stream struct {
	c    *checker
	at   tape.Position
	rest []byte
	n    int // records
	err  error
	odd  string // what is wrong with the lengths of records
	last int    // length of the last record

	looksLikeIndex bool
}

func (s *stream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		rec, err := s.c.read()
		switch {
		case tape.KindOf(err) == tape.Filemark:
			s.err = io.EOF
			continue
		case err != nil:
			s.err = err
			continue
		}
		if s.n > 0 && s.last != s.c.size && s.odd == "" {
			s.odd = fmt.Sprintf("record %d of the index has %d bytes; all but the last must have %d", s.n-1, s.last, s.c.size)
		}
		if len(rec) > s.c.size && s.odd == "" {
			s.odd = fmt.Sprintf("record %d of the index has %d bytes, more than the block size of %d", s.n, len(rec), s.c.size)
		}
		if s.n == 0 {
			s.looksLikeIndex = bytes.Contains(rec[:min(len(rec), 512)], []byte("<ltfsindex"))
		}
		s.rest, s.last = rec, len(rec)
		s.n++
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// readHead reads an index up to its tree and keeps what a chain needs. What is wrong
// in it otherwise is found when it is read whole.
func readHead(r io.Reader) (head, error) {
	var h head
	d := newReader(r)
	start, err := d.root("ltfsindex")
	if err != nil {
		return h, err
	}
	h.version = attr(start.Attr, "version")
	e := &elem{name: "ltfsindex"}
	for {
		t, err := d.next()
		if err != nil {
			return h, short(err)
		}
		start, ok := t.(xml.StartElement)
		if _, end := t.(xml.EndElement); end {
			return h, errors.New("no root directory")
		}
		if !ok {
			continue
		}
		if start.Name.Local == "directory" {
			break
		}
		k, err := d.element(start)
		if err != nil {
			return h, err
		}
		e.kids = append(e.kids, k)
	}
	var faults []string
	f := fields{e: e, bad: func(t string) { faults = append(faults, t) }, odd: func(string) {}}
	h.fill(f)
	if len(faults) > 0 {
		return h, errors.New(strings.Join(faults, "; "))
	}
	return h, nil
}

func (h *head) fill(f fields) {
	h.uuid = f.uuid("volumeuuid")
	h.generation = f.number("generationnumber")
	if e := f.one("location"); e != nil {
		h.location = f.place(e)
	}
	if e := f.maybe("previousgenerationlocation"); e != nil {
		p := f.place(e)
		h.previous = &p
	}
}

// indexReader reads one index whole and checks it by the rules.
type indexReader struct {
	c    *checker
	p    *part
	f    *found
	d    *reader
	tell bool // give the entries to Options.Entry, and count them

	uids        map[uint64]bool
	highest     uint64 // of the fileuids seen
	depth       int
	files, dirs int
	bytes       uint64
	work        []*Entry
}

func (x *indexReader) at() tape.Position {
	return tape.Position{Partition: x.p.no, Block: tape.BlockNo(x.f.start)}
}

func (x *indexReader) say(s Severity, path, text string) {
	x.c.rep.add(Finding{Severity: s, At: x.at(), HasAt: true, Path: path, Text: text})
}

func (x *indexReader) run() error {
	if err := x.c.locate(x.p.no, x.f.start); err != nil {
		return err
	}
	s := &stream{c: x.c, at: x.at()}
	x.d = newReader(s)
	x.uids = make(map[uint64]bool)
	err := x.index()
	if err == nil {
		err = x.d.end()
	}
	if s.err != nil && s.err != io.EOF && !blames(s.err) {
		return errors.WithMessagef(s.err, "read the index at block %v", x.at())
	}
	if s.odd != "" && x.f.chained {
		x.say(Error, "", s.odd)
	}
	if err != nil {
		if x.f.chained {
			x.say(Error, "", fmt.Sprintf("the index cannot be read: %v", err))
		} else {
			x.say(Warning, "", fmt.Sprintf("what begins like an index cannot be read: %v", err))
		}
		return nil
	}
	x.f.whole = true
	return nil
}

func (x *indexReader) index() error {
	start, err := x.d.root("ltfsindex")
	if err != nil {
		return err
	}
	e := &elem{name: "ltfsindex", attrs: start.Attr}
	roots := 0
	for done := false; !done; {
		t, err := x.d.next()
		if err != nil {
			return short(err)
		}
		switch t := t.(type) {
		case xml.EndElement:
			done = true
		case xml.CharData:
			e.text += string(t)
		case xml.StartElement:
			t = t.Copy()
			if t.Name.Local == "directory" {
				if roots++; roots > 1 {
					return errors.New("two root directories")
				}
				if _, err := x.directory("", true); err != nil {
					return err
				}
				continue
			}
			k, err := x.d.element(t)
			if err != nil {
				return err
			}
			x.d.kids = 0
			e.kids = append(e.kids, k)
		}
	}
	if roots == 0 {
		return errors.New("no root directory")
	}
	x.f.digest = x.d.digest.Sum(nil)
	x.head(e)
	return nil
}

func (x *indexReader) head(e *elem) {
	f := x.fields(e, "")
	f.only("creator", "comment", "volumeuuid", "generationnumber", "updatetime", "location", "previousgenerationlocation",
		"allowpolicyupdate", "dataplacementpolicy", "volumelockstate", "highestfileuid")
	x.f.fill(f)
	if v := attr(e.attrs, "version"); v != "2.4.0" {
		if strings.HasPrefix(v, "2.") || strings.HasPrefix(v, "1.") {
			f.odd("index version " + v)
		} else {
			f.bad("index version " + quote(v))
		}
	}
	f.creator()
	f.time("updatetime")
	f.boolean("allowpolicyupdate")
	if f.maybe("comment") != nil && len(f.text("comment")) > 64<<10 {
		f.bad("<comment> is longer than 64 KiB")
	}
	if f.maybe("volumelockstate") != nil {
		switch s := f.text("volumelockstate"); s {
		case "unlocked", "locked", "permlocked":
		default:
			f.bad("<volumelockstate> is " + quote(s))
		}
	}
	if h := f.number("highestfileuid"); h < x.highest {
		f.bad(fmt.Sprintf("<highestfileuid> is %d, there is a fileuid %d", h, x.highest))
	}
	if x.f.generation == 0 {
		f.bad("generation 0")
	}
}

func (x *indexReader) fields(e *elem, path string) fields {
	return fields{e: e, bad: func(t string) { x.say(Error, path, t) }, odd: func(t string) { x.say(Note, path, t) }}
}
