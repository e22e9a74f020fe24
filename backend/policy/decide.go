package policy

import (
	"slices"
	"time"
)

// Rules are all rules, in their order.
type Rules struct {
	Rules []*Rule
	// Pools are the pools that there are.
	Pools []string
	// Default is what holds where nothing else is said. All of it is set but Rule, From and
	// Problem.
	Default Decision
}

// Decision is how a file is archived.
type Decision struct {
	Rule      string        // that was chosen; "": none fits
	From      string        // the directory, or the file itself, whose setting decided last; "": none did
	Problem   string        // with a setting on the way, which was left out
	Copies    []string      // the pools of its copies, one entry for each; the first is archived first
	Idle      time.Duration // how long it must be quiet; negative: for ever
	Dirty     float64       // share of the cache above which it is archived at once
	Hours     *Hours        // when archiving begins; nil: at any time
	Never     bool          // it stays in the cache
	Collocate string
}

// Decide says how f is archived.
func (r *Rules) Decide(f *File) Decision {
	d := r.Default
	if i := slices.IndexFunc(r.Rules, func(x *Rule) bool { return x.holds(f) }); i >= 0 {
		d = r.by(r.Rules[i])
	}
	for _, s := range f.Settings {
		named, single, err := r.parse(s.Text)
		switch {
		case err != nil:
			d.Problem = "setting of " + s.Path + ": " + err.Error()
			continue
		case named != nil:
			problem := d.Problem
			d = r.by(named)
			d.Problem = problem
		}
		d.apply(single)
		d.From = s.Path
	}
	return d
}

// by is what a rule says.
func (r *Rules) by(x *Rule) Decision {
	d := r.Default
	d.Rule = x.Name
	d.apply(&x.Settings)
	return d
}

// apply changes what s says.
func (d *Decision) apply(s *Settings) {
	switch {
	case s.Copies != nil:
		d.Copies = s.Copies
	case s.Pool != "" || s.Number > 0:
		pool, n := s.Pool, s.Number
		if pool == "" {
			pool = d.Copies[0]
		}
		if n == 0 {
			n = len(d.Copies)
		}
		d.Copies = slices.Repeat([]string{pool}, n)
	}
	if s.Idle != nil {
		d.Idle = *s.Idle
	}
	if s.Dirty != nil {
		d.Dirty = *s.Dirty
	}
	if s.Hours != nil {
		d.Hours = s.Hours
	}
	if s.Never != nil {
		d.Never = *s.Never
	}
	if s.Collocate != "" {
		d.Collocate = s.Collocate
	}
}

// Timed says whether what is decided may change without a change of the file: as a rule looks
// at its age.
func (r *Rules) Timed() bool {
	return slices.ContainsFunc(r.Rules, func(x *Rule) bool { return x.MinAge > 0 })
}

// ByPool returns the pools of the copies, each once, in their order, and how many copies each
// is to have.
func (d *Decision) ByPool() (pools []string, n map[string]int) {
	n = make(map[string]int)
	for _, p := range d.Copies {
		if n[p]++; n[p] == 1 {
			pools = append(pools, p)
		}
	}
	return pools, n
}

// DueAt returns when a file that was changed last at a time, and of which something is not on
// tape, is due if the cache has room; false: it never is. now has the zone of the hours.
func (d *Decision) DueAt(changed, now time.Time) (time.Time, bool) {
	if d.Never || d.Idle < 0 {
		return time.Time{}, false
	}
	at := changed.Add(d.Idle).In(now.Location())
	if at.Before(now) {
		at = now
	}
	if d.Hours != nil {
		at = d.Hours.Next(at)
	}
	return at, true
}

// Due says whether a file that was changed last at a time is to be archived now. dirty is the share of the
// cache that is dirty; short says that somebody waits for space that only archiving makes.
func (d *Decision) Due(changed, now time.Time, dirty float64, short bool) bool {
	if d.Never {
		return false
	}
	if short || dirty > d.Dirty {
		return true
	}
	at, ok := d.DueAt(changed, now)
	return ok && !at.After(now)
}
