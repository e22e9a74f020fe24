package ltfs

import (
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// Keys of the xattrs by which names and targets that LTFS cannot hold are kept.
const (
	keyName   = "sliod.name"
	keyTarget = "sliod.target"
)

// maxNameRunes is the length that LTFS allows a name.
const maxNameRunes = 255

// safeName returns the name under which raw stands in the XML. LTFS names are
// Unicode; a byte that is not UTF-8 becomes U+FFFD and two hex digits. U+FFFD
// itself is written so too, and the whole cut and hashed if it grows too long.
// A changed name is kept as it was in the xattr sliod.name (sliod.target for
// the target of a symbolic link), and given back by Parse as long as the two
// belong together, that is, as long as nobody has renamed the file since.
func safeName(raw string, limit bool) string {
	if utf8.ValidString(raw) && !badRune([]byte(raw)) {
		return raw
	}
	var b strings.Builder
	for i := 0; i < len(raw); {
		r, n := utf8.DecodeRuneInString(raw[i:])
		if r == utf8.RuneError || badRune([]byte(raw[i:i+n])) {
			for _, c := range []byte(raw[i : i+n]) {
				fmt.Fprintf(&b, "\uFFFD%02X", c)
			}
		} else {
			b.WriteString(raw[i : i+n])
		}
		i += n
	}
	name := b.String()
	if limit && utf8.RuneCountInString(name) > maxNameRunes {
		name = string([]rune(name)[:maxNameRunes-17]) + fmt.Sprintf("~%016x", xxhash.Sum64String(raw))
	}
	return name
}

// safeKey makes any xattr key fit for XML. SLIOD's own keys are; of others, what
// cannot be written becomes U+FFFD.
func safeKey(key string) string {
	if utf8.ValidString(key) && !badRune([]byte(key)) {
		return key
	}
	return strings.Map(func(r rune) rune {
		if r == 0xfffe || r == 0xffff {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(key, "\uFFFD"))
}

// needsPercent says whether an LTFS name must be percent-encoded: ':', '%',
// control characters (LTFS 2.4, "name format"), and spaces at its ends, which
// XML readers are known to trim.
func needsPercent(name string) bool {
	if name == "" {
		return false
	}
	if name[0] == ' ' || name[len(name)-1] == ' ' {
		return true
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c == ':' || c == '%' || c < 0x20 || c == 0x7f {
			return true
		}
	}
	return false
}

func appendPercent(out []byte, name string) []byte {
	const hexDigits = "0123456789ABCDEF"
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c == ':' || c == '%' || c < 0x20 || c == 0x7f || c == ' ' {
			out = append(out, '%', hexDigits[c>>4], hexDigits[c&15])
		} else {
			out = append(out, c)
		}
	}
	return out
}

// percentDecode undoes percent encoding in place; a '%' without two hex digits
// stands for itself.
func percentDecode(t []byte) []byte {
	out := t[:0]
	for i := 0; i < len(t); i++ {
		if t[i] == '%' && i+2 < len(t) {
			var b [1]byte
			if _, err := hex.Decode(b[:], t[i+1:i+3]); err == nil {
				out = append(out, b[0])
				i += 2
				continue
			}
		}
		out = append(out, t[i])
	}
	return out
}

// validName checks a name given by a caller.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}
