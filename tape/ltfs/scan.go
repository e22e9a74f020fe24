package ltfs

import (
	"bytes"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/pkg/errors"
)

// maxToken bounds one tag or one text, so that a hostile index costs bounded
// memory. The longest honest text is one base64 xattr value.
const maxToken = 64 << 20

type tokenKind uint8

const (
	tokStart tokenKind = iota + 1 // <name attrs>; a following tokEnd if empty
	tokEnd                        // </name>
	tokText
	tokEOF
)

// scanner cuts the XML of labels and indexes into tokens. It knows what LTFS
// needs: elements, attributes, text, entities, CDATA; comments and processing
// instructions are skipped, a document type is refused. encoding/xml takes five
// times as long and allocates for each token, too much for a million files.
type scanner struct {
	r    io.Reader
	buf  []byte // buf[pos:end] is not yet consumed
	pos  int
	end  int
	base int64 // offset in the input of buf[0], for messages
	err  error // sticky read error

	// The current token, valid until the next call of next.
	name     []byte
	attrs    []byte // raw
	text     []byte // decoded
	empty    bool   // the start tag was <name/>: its tokEnd comes next
	pending  bool
	scratch  []byte
	nameBuf  []byte
	textKeep []byte
}

func newScanner(r io.Reader) *scanner {
	return &scanner{r: r, buf: make([]byte, 64<<10)}
}

func (s *scanner) corrupt(format string, args ...any) error {
	return errors.WithMessagef(errors.Wrapf(ErrCorrupt, format, args...), "XML at byte %d", s.base+int64(s.pos))
}

// fill reads more input behind buf[pos:end]; false: there is none.
func (s *scanner) fill() bool {
	if s.err != nil {
		return false
	}
	if s.pos > 0 {
		copy(s.buf, s.buf[s.pos:s.end])
		s.base += int64(s.pos)
		s.end -= s.pos
		s.pos = 0
	}
	if s.end == len(s.buf) {
		if len(s.buf) >= maxToken {
			s.err = s.corrupt("a tag or text longer than %d bytes", maxToken)
			return false
		}
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	for range 100 {
		n, err := s.r.Read(s.buf[s.end:])
		s.end += n
		if err != nil {
			s.err = err
		}
		if n > 0 {
			return true
		}
		if err != nil {
			return false
		}
	}
	s.err = io.ErrNoProgress
	return false
}

// until returns the input before sep and consumes both; the bytes stay valid
// until the next fill.
func (s *scanner) until(sep string) ([]byte, error) {
	from := 0
	for {
		have := s.buf[s.pos:s.end]
		if i := bytes.Index(have[from:], []byte(sep)); i >= 0 {
			s.pos += from + i + len(sep)
			return have[:from+i], nil
		}
		from = max(0, len(have)-len(sep)+1)
		if !s.fill() {
			return nil, s.short()
		}
	}
}

func (s *scanner) short() error {
	if s.err == nil || s.err == io.EOF {
		return s.corrupt("the document ends too early")
	}
	return s.err
}

func (s *scanner) has(prefix string) bool {
	for s.end-s.pos < len(prefix) {
		if !s.fill() {
			return false
		}
	}
	return string(s.buf[s.pos:s.pos+len(prefix)]) == prefix
}

// next reads one token.
func (s *scanner) next() (tokenKind, error) {
	if s.pending {
		s.pending = false
		return tokEnd, nil
	}
	for {
		if s.pos == s.end && !s.fill() {
			if s.err == io.EOF {
				return tokEOF, nil
			}
			return 0, s.err
		}
		if s.buf[s.pos] != '<' {
			return s.readText()
		}
		switch {
		case s.has("<!--"):
			s.pos += 4
			if _, err := s.until("-->"); err != nil {
				return 0, err
			}
		case s.has("<![CDATA["):
			s.pos += 9
			t, err := s.until("]]>")
			if err != nil {
				return 0, err
			}
			s.text = t
			return tokText, nil
		case s.has("<?"):
			t, err := s.until("?>")
			if err != nil {
				return 0, err
			}
			if err := s.declaration(t); err != nil {
				return 0, err
			}
		case s.has("<!"):
			return 0, s.corrupt("a document type declaration, which LTFS does not have")
		default:
			return s.readTag()
		}
	}
}

func (s *scanner) declaration(t []byte) error {
	if !bytes.HasPrefix(t, []byte("<?xml ")) {
		return nil
	}
	if enc, ok := attr(t[len("<?xml"):], "encoding"); ok && !bytes.EqualFold(enc, []byte("UTF-8")) {
		return s.corrupt("encoding %q; LTFS is written in UTF-8", enc)
	}
	return nil
}

func (s *scanner) readTag() (tokenKind, error) {
	s.pos++ // <
	t, err := s.until(">")
	if err != nil {
		return 0, err
	}
	// A '>' inside a quoted attribute value does not end the tag.
	for len(t) > 0 && openQuote(t) {
		keep := append([]byte(nil), t...)
		more, err := s.until(">")
		if err != nil {
			return 0, err
		}
		if t = append(append(keep, '>'), more...); len(t) > maxToken {
			return 0, s.corrupt("a tag longer than %d bytes", maxToken)
		}
	}
	kind := tokStart
	s.empty = false
	if len(t) > 0 && t[0] == '/' {
		kind, t = tokEnd, t[1:]
	} else if len(t) > 0 && t[len(t)-1] == '/' {
		t, s.empty, s.pending = t[:len(t)-1], true, true
	}
	i := bytes.IndexAny(t, " \t\r\n")
	if i < 0 {
		i = len(t)
	}
	if i == 0 || bytes.ContainsAny(t[:i], "<&'\"/=") {
		return 0, s.corrupt("a malformed tag <%.40q>", t)
	}
	s.nameBuf = append(s.nameBuf[:0], t[:i]...)
	s.name = s.nameBuf
	s.attrs = bytes.TrimSpace(t[i:])
	return kind, nil
}

// openQuote says whether t, the inside of a tag, ends inside a quoted value.
func openQuote(t []byte) bool {
	if bytes.IndexByte(t, '"') < 0 && bytes.IndexByte(t, '\'') < 0 {
		return false
	}
	var q byte
	for _, c := range t {
		switch {
		case q == 0 && (c == '"' || c == '\''):
			q = c
		case c == q:
			q = 0
		}
	}
	return q != 0
}

func (s *scanner) readText() (tokenKind, error) {
	from := 0
	for {
		have := s.buf[s.pos:s.end]
		if i := bytes.IndexByte(have[from:], '<'); i >= 0 {
			s.pos += from + i
			return s.decodeText(have[:from+i])
		}
		from = len(have)
		if !s.fill() {
			if s.err != io.EOF {
				return 0, s.err
			}
			have = s.buf[s.pos:s.end]
			s.pos = s.end
			return s.decodeText(have)
		}
	}
}

func (s *scanner) decodeText(raw []byte) (tokenKind, error) {
	if bytes.IndexByte(raw, '&') < 0 && bytes.IndexByte(raw, '\r') < 0 {
		s.text = raw
		return tokText, nil
	}
	out, err := unescapeXML(s.scratch[:0], raw)
	if err != nil {
		return 0, errors.WithMessagef(err, "XML at byte %d", s.base+int64(s.pos))
	}
	s.scratch, s.text = out, out
	return tokText, nil
}

// unescapeXML appends raw with its entities replaced and its line ends made
// newlines, as XML 1.0 section 2.11 wants.
func unescapeXML(out, raw []byte) ([]byte, error) {
	for i := 0; i < len(raw); {
		switch c := raw[i]; c {
		case '\r':
			out = append(out, '\n')
			if i++; i < len(raw) && raw[i] == '\n' {
				i++
			}
		case '&':
			n := bytes.IndexByte(raw[i:min(len(raw), i+12)], ';')
			if n < 0 {
				return nil, errors.Wrap(ErrCorrupt, "an unfinished entity")
			}
			r, ok := entity(string(raw[i+1 : i+n]))
			if !ok {
				return nil, errors.Wrapf(ErrCorrupt, "unknown entity %q", raw[i:i+n+1])
			}
			out = utf8.AppendRune(out, r)
			i += n + 1
		default:
			out = append(out, c)
			i++
		}
	}
	return out, nil
}

func entity(name string) (rune, bool) {
	switch name {
	case "amp":
		return '&', true
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "quot":
		return '"', true
	case "apos":
		return '\'', true
	}
	if len(name) < 2 || name[0] != '#' {
		return 0, false
	}
	base, digits := 10, name[1:]
	if digits[0] == 'x' {
		base, digits = 16, digits[1:]
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || n == 0 || n > utf8.MaxRune || !utf8.ValidRune(rune(n)) {
		return 0, false
	}
	return rune(n), true
}

// attr finds one attribute in the raw attributes of a tag.
func attr(raw []byte, name string) ([]byte, bool) {
	for {
		raw = bytes.TrimLeft(raw, " \t\r\n")
		eq := bytes.IndexByte(raw, '=')
		if eq < 0 {
			return nil, false
		}
		key := bytes.TrimSpace(raw[:eq])
		raw = bytes.TrimLeft(raw[eq+1:], " \t\r\n")
		if len(raw) == 0 || raw[0] != '"' && raw[0] != '\'' {
			return nil, false
		}
		end := bytes.IndexByte(raw[1:], raw[0])
		if end < 0 {
			return nil, false
		}
		if string(key) == name {
			v, err := unescapeXML(nil, raw[1:1+end])
			return v, err == nil
		}
		raw = raw[end+2:]
	}
}
