package ltfs

import (
	"bytes"
	"time"
	"unicode/utf8"
)

// appendText appends t escaped as XML text.
func appendText(out []byte, t []byte) []byte {
	for {
		i := bytes.IndexAny(t, "&<>\r")
		if i < 0 {
			return append(out, t...)
		}
		out = append(out, t[:i]...)
		switch t[i] {
		case '&':
			out = append(out, "&amp;"...)
		case '<':
			out = append(out, "&lt;"...)
		case '>':
			out = append(out, "&gt;"...)
		default:
			out = append(out, "&#13;"...)
		}
		t = t[i+1:]
	}
}

// plainText says whether t survives as XML text in every reader: valid UTF-8
// of characters that XML allows, no control characters, no white space at the
// ends (some readers trim it).
func plainText(t []byte) bool {
	if len(t) == 0 || t[0] == ' ' || t[len(t)-1] == ' ' {
		return false
	}
	ascii := true
	for _, c := range t {
		if c < 0x20 || c == 0x7f {
			return false
		}
		if c >= utf8.RuneSelf {
			ascii = false
		}
	}
	return ascii || utf8.Valid(t) && !badRune(t)
}

// badRune finds the two characters that are valid UTF-8 and not XML, the C1
// controls, and U+FFFD, which stands for what could not be decoded.
func badRune(t []byte) bool {
	for i := 0; i < len(t); {
		r, n := utf8.DecodeRune(t[i:])
		if r >= 0x80 && r < 0xa0 || r == 0xfffd || r == 0xfffe || r == 0xffff {
			return true
		}
		i += n
	}
	return false
}

// Time is a time in the index: seconds since 1970 and nanoseconds. It is half
// the size of a time.Time, which counts in an index of a million files.
type Time struct {
	Sec  int64
	Nsec uint32
}

// TimeOf converts t.
func TimeOf(t time.Time) Time { return Time{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())} }

// Time converts t, in UTC.
func (t Time) Time() time.Time { return time.Unix(t.Sec, int64(t.Nsec)).UTC() }

// The times that the index can hold: the years 0000 to 9999.
const (
	minTimeSec = -62167219200
	maxTimeSec = 253402300799
)

// clamp returns the nearest time that the index can hold.
func (t Time) clamp() Time {
	switch {
	case t.Sec < minTimeSec:
		return Time{Sec: minTimeSec}
	case t.Sec > maxTimeSec:
		return Time{Sec: maxTimeSec, Nsec: 999999999}
	case t.Nsec > 999999999:
		return Time{Sec: t.Sec, Nsec: 999999999}
	}
	return t
}

// appendTime appends t as RFC 3339 in UTC with nine decimals.
func appendTime(out []byte, t Time) []byte {
	t = t.clamp()
	days, secs := t.Sec/86400, t.Sec%86400
	if secs < 0 {
		days, secs = days-1, secs+86400
	}
	y, m, d := civil(days)
	out = digits(out, y, 4)
	out = digits(append(out, '-'), m, 2)
	out = digits(append(out, '-'), d, 2)
	out = digits(append(out, 'T'), secs/3600, 2)
	out = digits(append(out, ':'), secs/60%60, 2)
	out = digits(append(out, ':'), secs%60, 2)
	out = digits(append(out, '.'), int64(t.Nsec), 9)
	return append(out, 'Z')
}

func digits(out []byte, n int64, width int) []byte {
	at := len(out)
	out = append(out, "000000000"[:width]...)
	for i := at + width - 1; i >= at; i-- {
		out[i] = byte('0' + n%10)
		n /= 10
	}
	return out
}

// civil turns days since 1970-01-01 into a date of the Gregorian calendar, and
// daysFrom back. time.Time does it too, at three times the cost; an index of a
// million files has five million times.
func civil(days int64) (y, m, d int64) {
	days += 719468
	era := floorDiv(days, 146097)
	doe := days - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	y, m, d = yoe+era*400, mp+3, doy-(153*mp+2)/5+1
	if m > 12 {
		m -= 12
	}
	if m <= 2 {
		y++
	}
	return y, m, d
}

func daysFrom(y, m, d int64) int64 {
	if m <= 2 {
		y--
		m += 12
	}
	era := floorDiv(y, 400)
	yoe := y - era*400
	doy := (153*(m-3)+2)/5 + d - 1
	return era*146097 + yoe*365 + yoe/4 - yoe/100 + doy - 719468
}

func floorDiv(a, b int64) int64 {
	if q := a / b; a%b < 0 {
		return q - 1
	} else {
		return q
	}
}

// parseTime reads an RFC 3339 time. The usual form is read by hand, others by
// package time.
func parseTime(t []byte) (Time, bool) {
	t = bytes.TrimSpace(t)
	if len(t) >= 20 && t[4] == '-' && t[7] == '-' && t[10] == 'T' && t[13] == ':' && t[16] == ':' && t[len(t)-1] == 'Z' {
		y, ok1 := number(t[:4])
		mo, ok2 := number(t[5:7])
		d, ok3 := number(t[8:10])
		h, ok4 := number(t[11:13])
		mi, ok5 := number(t[14:16])
		s, ok6 := number(t[17:19])
		ok := ok1 && ok2 && ok3 && ok4 && ok5 && ok6 && mo >= 1 && mo <= 12 && d >= 1 && d <= 28 && h < 24 && mi < 60 && s < 60
		frac := t[19 : len(t)-1]
		var ns int64
		if ok && len(frac) > 0 {
			ok = frac[0] == '.' && len(frac) <= 10
			if ok {
				ns, ok = number(frac[1:])
			}
			for i := len(frac); i < 10; i++ {
				ns *= 10
			}
		}
		if ok {
			return Time{Sec: daysFrom(y, mo, d)*86400 + h*3600 + mi*60 + s, Nsec: uint32(ns)}, true
		}
	}
	tt, err := time.Parse(time.RFC3339Nano, string(t))
	if err != nil {
		return Time{}, false
	}
	return TimeOf(tt), true
}

func number(t []byte) (int64, bool) {
	var n int64
	for _, c := range t {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, len(t) > 0
}
