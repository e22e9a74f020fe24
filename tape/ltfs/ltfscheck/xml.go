package ltfscheck

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/xml"
	"hash"
	"io"

	"github.com/pkg/errors"
)

// Bounds of the XML, so that a hostile volume costs bounded memory and stack.
const (
	maxDepth    = 4096
	maxElemKids = 4 << 20
)

// elem is an element that is held whole: everything but directories.
type elem struct {
	name  string
	attrs []xml.Attr
	text  string
	kids  []*elem
}

// reader reads XML token by token.
type reader struct {
	d      *xml.Decoder
	depth  int
	kids   int
	digest hash.Hash // of all tokens but white space, and those of muted elements
	mute   bool
}

func newReader(r io.Reader) *reader { return &reader{d: xml.NewDecoder(r)} }

// next returns the next start tag, end tag or text. The XML declaration is given to
// encoding/xml, which takes UTF-8 only.
func (r *reader) next() (xml.Token, error) {
	for {
		t, err := r.d.Token()
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.Directive:
			return nil, errors.New("a document type declaration, which LTFS does not have")
		case xml.Comment, xml.ProcInst:
		case xml.StartElement:
			r.mute = r.mute || muted(t.Name.Local)
			r.sum('<', t.Name.Local)
			for _, a := range t.Attr {
				r.sum('@', a.Name.Local)
				r.sum('=', a.Value)
			}
			return t, nil
		case xml.EndElement:
			r.sum('>', t.Name.Local)
			r.mute = r.mute && !muted(t.Name.Local)
			return t, nil
		case xml.CharData:
			if !blank(string(t)) {
				r.sum('t', string(t))
			}
			return t, nil
		}
	}
}

// muted says that an element may differ between the two copies of an index.
func muted(name string) bool { return name == "location" || name == "previousgenerationlocation" }

func (r *reader) sum(kind byte, s string) {
	if r.digest == nil || r.mute {
		return
	}
	var b [9]byte
	b[0] = kind
	binary.BigEndian.PutUint64(b[1:], uint64(len(s)))
	r.digest.Write(b[:])
	r.digest.Write([]byte(s))
}

// root goes behind the start tag of the document, which must be called name.
func (r *reader) root(name string) (xml.StartElement, error) {
	r.digest = sha256.New()
	for {
		t, err := r.next()
		if err == io.EOF {
			return xml.StartElement{}, errors.New("no XML document")
		}
		if err != nil {
			return xml.StartElement{}, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if t.Name.Local != name {
				return t, errors.Errorf("<%s> where <%s> should be", t.Name.Local, name)
			}
			return t.Copy(), nil
		case xml.CharData:
			if !blank(string(t)) {
				return xml.StartElement{}, errors.New("text before the document")
			}
		}
	}
}

// end sees to it that nothing follows the document.
func (r *reader) end() error {
	for {
		t, err := r.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if text, ok := t.(xml.CharData); !ok || !blank(string(text)) {
			return errors.New("something follows the document")
		}
	}
}

// document reads a whole document.
func (r *reader) document(name string) (*elem, error) {
	start, err := r.root(name)
	if err != nil {
		return nil, err
	}
	e, err := r.element(start)
	if err != nil {
		return nil, err
	}
	return e, r.end()
}

// element reads the element whose start tag has been read, to its end tag.
func (r *reader) element(start xml.StartElement) (*elem, error) {
	if r.depth++; r.depth > maxDepth {
		return nil, errors.Errorf("elements nested deeper than %d", maxDepth)
	}
	defer func() { r.depth-- }()
	e := &elem{name: start.Name.Local, attrs: start.Attr}
	for {
		t, err := r.next()
		if err != nil {
			return nil, short(err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			if r.kids++; r.kids > maxElemKids {
				return nil, errors.Errorf("an entry of more than %d elements", maxElemKids)
			}
			k, err := r.element(t)
			if err != nil {
				return nil, err
			}
			e.kids = append(e.kids, k)
		case xml.EndElement:
			return e, nil
		case xml.CharData:
			e.text += string(t)
		}
	}
}

func short(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func attr(attrs []xml.Attr, name string) string {
	for _, a := range attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func blank(s string) bool {
	for _, c := range []byte(s) {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}
