package ltfscheck

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// fields reads the children of an element that are values, each by its rule.
type fields struct {
	e   *elem
	bad func(text string) // against the format
	odd func(text string) // legal, but unusual
}

func (f fields) in(e *elem) fields { return fields{e: e, bad: f.bad, odd: f.odd} }

func quote(s string) string { return fmt.Sprintf("%.60q", s) }

// only tells of children that are none of names. The format lets anybody add
// elements, so they are no fault.
func (f fields) only(names ...string) {
	for _, k := range f.e.kids {
		if !slices.Contains(names, k.name) {
			f.odd(fmt.Sprintf("<%s> has an element <%s>, which is not in the format", f.e.name, k.name))
		}
	}
	if len(f.e.kids) > 0 && !blank(f.e.text) {
		f.bad(fmt.Sprintf("<%s> has text between its elements", f.e.name))
	}
}

// maybe returns the only child called name, or nil.
func (f fields) maybe(name string) *elem {
	var one *elem
	for _, k := range f.e.kids {
		if k.name != name {
			continue
		}
		if one != nil {
			f.bad(fmt.Sprintf("<%s> twice in <%s>", name, f.e.name))
		}
		one = k
	}
	return one
}

// one is maybe for an element that must be there.
func (f fields) one(name string) *elem {
	k := f.maybe(name)
	if k == nil {
		f.bad(fmt.Sprintf("<%s> is missing in <%s>", name, f.e.name))
	}
	return k
}

func (f fields) text(name string) string {
	k := f.one(name)
	if k == nil {
		return ""
	}
	if len(k.kids) > 0 {
		f.bad(fmt.Sprintf("elements inside <%s>", name))
	}
	return k.text
}

func (f fields) number(name string) uint64 {
	if f.maybe(name) == nil {
		f.one(name)
		return 0
	}
	t := f.text(name)
	n, err := strconv.ParseUint(t, 10, 64)
	if err != nil || t[0] == '+' {
		f.bad(fmt.Sprintf("<%s> is %s, not a number of 64 bits", name, quote(t)))
	}
	return n
}

func (f fields) boolean(name string) bool {
	if f.maybe(name) == nil {
		f.one(name)
		return false
	}
	switch t := f.text(name); t {
	case "true":
		return true
	case "false":
		return false
	case "1", "0":
		f.odd(fmt.Sprintf("<%s> is %s, which most write as true or false", name, t))
		return t == "1"
	default:
		f.bad(fmt.Sprintf("<%s> is %s, not true or false", name, quote(t)))
		return false
	}
}

var timeForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$`)

// time reads a time: RFC 3339 in UTC with nine decimals.
func (f fields) time(name string) time.Time {
	if f.maybe(name) == nil {
		f.one(name)
		return time.Time{}
	}
	s := f.text(name)
	t, err := time.Parse("2006-01-02T15:04:05.000000000Z", s)
	if err != nil || !timeForm.MatchString(s) {
		f.bad(fmt.Sprintf("<%s> is %s, not a time as 2006-01-02T15:04:05.000000000Z", name, quote(s)))
	}
	return t
}

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func (f fields) uuid(name string) string {
	s := f.text(name)
	l := strings.ToLower(s)
	if !uuidForm.MatchString(l) {
		f.bad(fmt.Sprintf("<%s> is %s, not a UUID", name, quote(s)))
	} else if l != s {
		f.odd(fmt.Sprintf("<%s> is not in lower case", name))
	}
	return l
}

func (f fields) partition(name string) string {
	s := f.text(name)
	if len(s) != 1 || s[0] < 'a' || s[0] > 'z' {
		f.bad(fmt.Sprintf("<%s> is %s, not a letter from a to z", name, quote(s)))
	}
	return s
}

// place is where an index is.
type place struct {
	partition string
	block     uint64
}

func (p place) String() string { return fmt.Sprintf("%s:%d", p.partition, p.block) }

func (f fields) place(e *elem) place {
	g := f.in(e)
	g.only("partition", "startblock")
	return place{g.partition("partition"), g.number("startblock")}
}

// creator is free text of up to 1024 characters; the format wants
// "Company Product Version - Platform - binary".
func (f fields) creator() {
	s := f.text("creator")
	switch {
	case s == "":
		f.bad("<creator> is empty")
	case utf8.RuneCountInString(s) > 1024:
		f.bad("<creator> has more than 1024 characters")
	case len(strings.Split(s, " - ")) < 3:
		f.odd(fmt.Sprintf("<creator> is %s, not of the form \"Company Product Version - Platform - binary\"", quote(s)))
	}
}

// name reads an element of the name type, which may be percent-encoded. limit is
// how many characters it may have, 0: any number.
func (f fields) name(e *elem, limit int) string {
	if len(e.kids) > 0 {
		f.bad(fmt.Sprintf("elements inside <%s>", e.name))
	}
	s := e.text
	encoded := false
	switch a := attr(e.attrs, "percentencoded"); a {
	case "", "false", "0":
	case "true", "1":
		encoded = true
	default:
		f.bad(fmt.Sprintf("<%s percentencoded=%q>", e.name, a))
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f || r == ':' }); i >= 0 {
		f.bad(fmt.Sprintf("<%s> is %s, with a character that must be percent-encoded", e.name, quote(s)))
	}
	if s != strings.Trim(s, " ") {
		f.odd(fmt.Sprintf("<%s> is %s, with a space at an end, which some readers cut off", e.name, quote(s)))
	}
	if encoded {
		var b strings.Builder
		for i := 0; i < len(s); i++ {
			if s[i] != '%' {
				b.WriteByte(s[i])
				continue
			}
			x, err := hex.DecodeString(s[i+1 : min(i+3, len(s))])
			if err != nil || len(x) != 1 {
				f.bad(fmt.Sprintf("<%s> is %s, with a %% that is not followed by two hex digits", e.name, quote(s)))
				break
			}
			b.WriteByte(x[0])
			i += 2
		}
		s = b.String()
	} else if strings.Contains(s, "%") {
		f.odd(fmt.Sprintf("<%s> is %s, with a %% and not percent-encoded", e.name, quote(s)))
	}
	if !utf8.ValidString(s) {
		f.bad(fmt.Sprintf("<%s> is %s, not UTF-8", e.name, quote(s)))
	}
	if limit > 0 && utf8.RuneCountInString(s) > limit {
		f.bad(fmt.Sprintf("<%s> is %s, of more than %d characters", e.name, quote(s), limit))
	}
	return s
}

// value reads the value of an xattr.
func (f fields) value(e *elem) []byte {
	if len(e.kids) > 0 {
		f.bad("elements inside <value>")
	}
	switch t := attr(e.attrs, "type"); t {
	case "", "text":
		return []byte(e.text)
	case "base64":
		s := strings.Map(func(r rune) rune { // the reference breaks it into lines
			if r == '\n' || r == '\r' || r == '\t' || r == ' ' {
				return -1
			}
			return r
		}, e.text)
		b, err := base64.StdEncoding.Strict().DecodeString(s)
		if err != nil {
			f.bad("a value that is not base64: " + err.Error())
		}
		return b
	default:
		f.bad("a value of type " + quote(t))
		return nil
	}
}
