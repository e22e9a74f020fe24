package policy

import (
	stderrors "errors"
	"fmt"
	"time"
)

// Hours is a part of every day, in minutes since midnight: from From up to To, over midnight
// if To is before From.
type Hours struct{ From, To int }

var errHours = stderrors.New(`hours are a part of the day, such as "22:00-06:00"`)

// ParseHours reads "22:00-06:00".
func ParseHours(s string) (h Hours, err error) {
	var a, b, c, d int
	if n, err := fmt.Sscanf(s, "%d:%d-%d:%d", &a, &b, &c, &d); err != nil || n != 4 {
		return h, errHours
	}
	h = Hours{a*60 + b, c*60 + d}
	if h.String() != s || min(a, b, c, d) < 0 || b > 59 || d > 59 || h.From >= 24*60 || h.To > 24*60 || h.From == h.To {
		return h, errHours
	}
	return h, nil
}

func (h Hours) String() string {
	return fmt.Sprintf("%02d:%02d-%02d:%02d", h.From/60, h.From%60, h.To/60, h.To%60)
}

// Has says whether t, as its zone counts, is in the hours.
func (h Hours) Has(t time.Time) bool {
	m := t.Hour()*60 + t.Minute()
	if h.From < h.To {
		return m >= h.From && m < h.To
	}
	return m >= h.From || m < h.To
}

// Next returns t if it is in the hours, else when they begin next.
func (h Hours) Next(t time.Time) time.Time {
	if h.Has(t) {
		return t
	}
	at := time.Date(t.Year(), t.Month(), t.Day(), h.From/60, h.From%60, 0, 0, t.Location())
	if at.Before(t) {
		at = time.Date(t.Year(), t.Month(), t.Day()+1, h.From/60, h.From%60, 0, 0, t.Location())
	}
	return at
}
