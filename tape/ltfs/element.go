package ltfs

import (
	"bytes"
	"strconv"
)

// maxDepth bounds the nesting of elements, so that a hostile index cannot
// exhaust the stack. A directory costs two levels.
const maxDepth = 8192

// children calls fn for each child element of the element whose start tag has
// just been read, and returns behind its end tag. fn must consume its child
// whole (text, skip, keep or children). Text between children is ignored.
func (s *scanner) children(parent string, fn func(name []byte) error) error {
	for {
		k, err := s.next()
		if err != nil {
			return err
		}
		switch k {
		case tokStart:
			if err := fn(s.name); err != nil {
				return err
			}
		case tokEnd:
			if !s.pendingEndIs(parent) {
				return s.corrupt("<%s> is closed by </%s>", parent, s.name)
			}
			return nil
		case tokEOF:
			return s.short()
		}
	}
}

// pendingEndIs checks the name of the end tag just read.
func (s *scanner) pendingEndIs(parent string) bool { return string(s.name) == parent }

// textContent returns the text of the element whose start tag has just been
// read and goes behind its end tag. Child elements are an error. The bytes are
// valid until the next token.
func (s *scanner) textContent() ([]byte, error) {
	var name [64]byte
	n := copy(name[:], s.name)
	if s.empty {
		_, err := s.next()
		return nil, err
	}
	var text, joined []byte
	first := true
	for {
		k, err := s.next()
		if err != nil {
			return nil, err
		}
		switch k {
		case tokText:
			// The text lies in the scanner's buffer and would not survive the
			// reading of the end tag if that has to fill the buffer.
			if first {
				s.textKeep = append(s.textKeep[:0], s.text...)
				text, first = s.textKeep, false
				continue
			}
			joined = append(joined[:0], text...)
			s.textKeep = append(joined, s.text...)
			text = s.textKeep
		case tokEnd:
			if len(s.name) < 64 && string(name[:n]) != string(s.name) {
				return nil, s.corrupt("<%s> is closed by </%s>", name[:n], s.name)
			}
			return text, nil
		case tokStart:
			return nil, s.corrupt("<%s> inside <%s>, where text belongs", s.name, name[:n])
		case tokEOF:
			return nil, s.short()
		}
	}
}

// keep consumes the element whose start tag has just been read and appends it
// to out as XML, so that what another implementation wrote is given back.
func (s *scanner) keep(out []byte) ([]byte, error) {
	var open []string
	for {
		out = append(out, '<')
		out = append(out, s.name...)
		if len(s.attrs) > 0 {
			out = append(out, ' ')
			out = append(out, s.attrs...)
		}
		out = append(out, '>')
		if open = append(open, string(s.name)); len(open) > maxDepth {
			return nil, s.corrupt("elements nested deeper than %d", maxDepth)
		}
	inner:
		for {
			k, err := s.next()
			if err != nil {
				return nil, err
			}
			switch k {
			case tokStart:
				break inner
			case tokText:
				out = appendText(out, s.text)
			case tokEnd:
				top := open[len(open)-1]
				if top != string(s.name) {
					return nil, s.corrupt("<%s> is closed by </%s>", top, s.name)
				}
				out = append(out, "</"...)
				out = append(out, top...)
				out = append(out, '>')
				if open = open[:len(open)-1]; len(open) == 0 {
					return append(out, '\n'), nil
				}
			case tokEOF:
				return nil, s.short()
			}
		}
	}
}

func (s *scanner) number(what string) (uint64, error) {
	t, err := s.textContent()
	if err != nil {
		return 0, err
	}
	n, err := parseNumber(bytes.TrimSpace(t))
	if err != nil {
		return 0, s.corrupt("<%s> is %.40q, not a number", what, t)
	}
	return n, nil
}

func parseNumber(t []byte) (uint64, error) {
	if len(t) == 0 || len(t) > 18 {
		return strconv.ParseUint(string(t), 10, 64)
	}
	var n uint64
	for _, c := range t {
		if c < '0' || c > '9' {
			return strconv.ParseUint(string(t), 10, 64)
		}
		n = n*10 + uint64(c-'0')
	}
	return n, nil
}

func (s *scanner) boolean(what string) (bool, error) {
	t, err := s.textContent()
	if err != nil {
		return false, err
	}
	switch string(bytes.TrimSpace(t)) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, s.corrupt("<%s> is %.40q, not true or false", what, t)
}

// skim reads a document to its end and says whether all that it opens is closed.
func (s *scanner) skim() error {
	depth, roots := 0, 0
	for {
		k, err := s.next()
		if err != nil {
			return err
		}
		switch k {
		case tokStart:
			if depth == 0 {
				roots++
			}
			depth++
		case tokEnd:
			depth--
		case tokEOF:
			if depth != 0 || roots != 1 {
				return s.short()
			}
			return nil
		}
	}
}
