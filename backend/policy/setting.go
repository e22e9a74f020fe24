package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Check says what is wrong with the setting of a directory. It is the name of a rule, or
// entries KEY=VALUE, or both, with spaces between. The keys are pool, copies (a number, or pools with
// commas between), idle, dirty, hours, never and collocate, with the values of the configuration.
func (r *Rules) Check(text string) error {
	_, _, err := r.parse(text)
	return err
}

// parse reads a setting: the rule that it names, or nil, and what it says beside.
func (r *Rules) parse(text string) (named *Rule, s *Settings, err error) {
	s = &Settings{}
	seen := map[string]bool{}
	words := strings.Fields(text)
	if len(words) == 0 {
		return nil, nil, fmt.Errorf("it is empty: give the name of a rule, or entries such as copies=2")
	}
	for i, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			j := slices.IndexFunc(r.Rules, func(x *Rule) bool { return x.Name == word })
			switch {
			case j < 0:
				return nil, nil, fmt.Errorf("there is no rule %q, and an entry is KEY=VALUE", word)
			case i > 0:
				return nil, nil, fmt.Errorf("rule %q must come first, and alone", word)
			}
			named = r.Rules[j]
			continue
		}
		if seen[key] {
			return nil, nil, fmt.Errorf("%s is there twice", key)
		}
		seen[key] = true
		if err := s.set(key, value, r.Pools); err != nil {
			return nil, nil, err
		}
	}
	if seen["pool"] && s.Copies != nil {
		return nil, nil, fmt.Errorf("pool and a list of pools as copies exclude each other")
	}
	return named, s, nil
}

// set sets one thing by its name.
func (s *Settings) set(key, value string, pools []string) error {
	var err error
	switch key {
	case "pool":
		s.Pool, err = value, checkPool(value, pools)
	case "copies":
		if n, nerr := strconv.Atoi(value); nerr == nil {
			s.Number, err = n, CheckNumber(n)
			break
		}
		s.Copies = strings.Split(value, ",")
		for _, p := range s.Copies {
			if perr := checkPool(p, pools); err == nil {
				err = perr
			}
		}
		if len(s.Copies) > MaxCopies {
			err = CheckNumber(len(s.Copies))
		}
	case "idle":
		var d time.Duration
		if d, err = time.ParseDuration(value); err == nil && d < 0 {
			err = fmt.Errorf("%s is no time to wait", value)
		}
		s.Idle = &d
	case "dirty":
		var f float64
		if f, err = strconv.ParseFloat(value, 64); err == nil && !(f >= 0 && f <= 1) {
			err = fmt.Errorf("dirty is a share from 0 to 1")
		}
		s.Dirty = &f
	case "hours":
		var h Hours
		h, err = ParseHours(value)
		s.Hours = &h
	case "never":
		var b bool
		if b, err = strconv.ParseBool(value); err != nil {
			err = fmt.Errorf("never is true or false")
		}
		s.Never = &b
	case "collocate":
		if s.Collocate = value; value != ByDirectory && value != ByOwner && value != ByNone {
			err = fmt.Errorf("collocate is %s, %s or %s", ByDirectory, ByOwner, ByNone)
		}
	default:
		return fmt.Errorf("there is no %q: the entries are pool, copies, idle, dirty, hours, never and collocate", key)
	}
	return err
}

// CheckNumber says what is wrong with a number of copies.
func CheckNumber(n int) error {
	if n < 1 || n > MaxCopies {
		return fmt.Errorf("there can be 1 to %d copies", MaxCopies)
	}
	return nil
}

func checkPool(name string, pools []string) error {
	if !slices.Contains(pools, name) {
		return fmt.Errorf("there is no pool %q: there are %s", name, strings.Join(pools, ", "))
	}
	return nil
}
