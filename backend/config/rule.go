package config

import (
	stderrors "errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"sliod/backend/policy"
)

// ruleSection is the name of the sections of rules.
const ruleSection = "rule"

// ruleKeys are the keys of [rule.NAME]: the conditions, and what it says.
var ruleKeys = []Key{
	ruleKey("path", "", "patterns", "Condition: one of these patterns fits. One that begins with `/` is compared with the whole path in the archive, and takes in all that is below a directory that it fits; "+
		"another one is compared with the last name alone. `*`, `?` and `[...]` are as in a shell. Without the key, as with the other conditions, all files.",
		func(r *policy.Rule) value {
			return &texts{&r.Paths, policy.CheckPattern, "a list such as [\"/projects/*/raw\", \"*.tmp\"]"}
		}),
	ruleKey("owner", "", "users", "Condition: the file belongs to one of these users, as names of this machine or numbers.",
		func(r *policy.Rule) value {
			return &accounts{&r.Owners, userID, "a list such as [\"alice\", \"1001\"]"}
		}),
	ruleKey("group", "", "groups", "Condition: the file's group is one of these.",
		func(r *policy.Rule) value { return &accounts{&r.Groups, groupID, "a list such as [\"video\", \"44\"]"} }),
	ruleKey("min_size", "0B", "size", "Condition: the file has at least this size.",
		func(r *policy.Rule) value { return &size{&r.MinSize, 0, 1 << 60, false} }),
	ruleKey("max_size", "0B", "size", "Condition: the file has at most this size. 0: no limit.",
		func(r *policy.Rule) value { return &size{&r.MaxSize, 0, 1 << 60, false} }),
	ruleKey("min_age", "0s", "time", "Condition: the content was changed last at least this long ago.",
		func(r *policy.Rule) value { return &duration{&r.MinAge, 0, 100 * 365 * 24 * time.Hour} }),
	ruleKey("xattr", "", "attributes", "Condition: the file has all these extended attributes; with `=VALUE`, of that value.",
		func(r *policy.Rule) value {
			return &texts{&r.Xattrs, checkXattr, "a list such as [\"user.keep\", \"user.class=gold\"]"}
		}),
	ruleKey("pool", "", "pool", "The pool to whose volumes the files go, of those that have a section. Empty: `default`.",
		func(r *policy.Rule) value { return &text{&r.Pool, "the name of a pool"} }),
	ruleKey("copies", "1", "copies, or pools", "On how many volumes of the pool the files are, or, instead of `pool`, the pools that have a copy: a pool that is there twice has it on two volumes. Two copies are never on one volume.",
		func(r *policy.Rule) value { return &copies{&r.Settings} }),
	ruleKey("idle", "", "time", "How long a file must be quiet before it is archived. Empty: `archive.idle`.",
		func(r *policy.Rule) value { return &optional{inner: &r.Idle} }),
	ruleKey("dirty", "", "share of the cache", "The share of the cache above which, if that much is not on tape, the files are archived without waiting for `idle` and `hours`. Empty: `archive.dirty`.",
		func(r *policy.Rule) value { return &optionalShare{&r.Dirty} }),
	ruleKey("hours", "", "part of the day", "When archiving of the files begins, in the server's time zone, such as `\"22:00-06:00\"`. Empty: at any time. A cache without space does not wait.",
		func(r *policy.Rule) value { return &hours{&r.Hours} }),
	ruleKey("never", "false", "true or false", "Whether the files are never archived, whatever else is said. They stay in the cache, whose space they take.",
		func(r *policy.Rule) value { return &never{&r.Never} }),
	ruleKey("collocate", "directory", "word", "What the files are of that are written one after the other, if they wait at the same time: one directory, or one owner.",
		func(r *policy.Rule) value {
			return &choice{&r.Collocate, []string{policy.ByDirectory, policy.ByOwner, policy.ByNone}}
		}),
}

func ruleKey(field, def, unit, meaning string, v func(*policy.Rule) value) Key {
	return Key{Section: ruleSection, Field: field, Default: def, Unit: unit, Meaning: meaning, rule: v}
}

// ruleNamed returns the rule with a name, which is made with its defaults if there is none.
func (c *Config) ruleNamed(name string) *policy.Rule {
	i := slices.IndexFunc(c.Rules, func(r *policy.Rule) bool { return r.Name == name })
	if i < 0 {
		r := &policy.Rule{Name: name}
		for i := range ruleKeys {
			if err := ruleKeys[i].rule(r).setText(ruleKeys[i].Default); err != nil {
				panic("config: the default of " + ruleKeys[i].Name() + " is not allowed: " + err.Error())
			}
		}
		i, c.Rules = len(c.Rules), append(c.Rules, r)
	}
	return c.Rules[i]
}

// PoolNames returns the pools that files can go to, the default one first.
func (c *Config) PoolNames() []string {
	names := []string{DefaultPool}
	for _, p := range c.Pools {
		if p.Name != DefaultPool && p.Name != ScratchPool {
			names = append(names, p.Name)
		}
	}
	return names
}

// Policy returns the rules, with what holds where they say nothing.
func (c *Config) Policy() *policy.Rules {
	return &policy.Rules{Rules: c.Rules, Pools: c.PoolNames(), Default: policy.Decision{
		Copies: []string{DefaultPool}, Idle: c.Archive.Idle, Dirty: c.Archive.Dirty, Collocate: policy.ByDirectory,
	}}
}

// checkRules finds what is wrong within the sections of rules.
func (r *reader) checkRules() {
	pools := r.cfg.PoolNames()
	for _, x := range r.cfg.Rules {
		section := ruleSection + "." + x.Name
		blame := func(field, format string, args ...any) {
			line := r.lines[section+"."+field]
			if line == 0 {
				line = r.lines[section]
			}
			r.fail(line, section+"."+field, "[%s]: %s", section, fmt.Sprintf(format, args...))
		}
		for _, p := range append(slices.Clone(x.Copies), x.Pool) {
			if p != "" && !slices.Contains(pools, p) {
				field := "pool"
				if p != x.Pool {
					field = "copies"
				}
				blame(field, "there is no pool %q that files could go to: there are %s; [pool.NAME] makes one", p, strings.Join(pools, ", "))
			}
		}
		switch {
		case x.Pool != "" && x.Copies != nil:
			blame("copies", "pool and a list of pools as copies exclude each other: take one of them out")
		case x.MaxSize > 0 && x.MaxSize < x.MinSize:
			blame("max_size", "it is less than min_size: no file has such a size")
		}
	}
}

// accounts are users or groups.
type accounts struct {
	p    *[]uint32
	id   func(string) (uint32, error)
	what string
}

func (v *accounts) setText(string) error { *v.p = nil; return nil } // the default: any

func (v *accounts) setList(list []string) error {
	ids := []uint32{}
	for _, s := range list {
		id, err := v.id(s)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	*v.p = ids
	return nil
}

func (v *accounts) allowed() string           { return v.what }
func (v *accounts) takes() (number, str bool) { return false, false }

func number(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n < 1<<32-1
}

func userID(s string) (uint32, error) {
	if n, ok := number(s); ok {
		return n, nil
	}
	if u, err := user.Lookup(s); err == nil {
		if n, ok := number(u.Uid); ok {
			return n, nil
		}
	}
	return 0, fmt.Errorf("this machine knows no user %q: give the number", s)
}

func groupID(s string) (uint32, error) {
	if n, ok := number(s); ok {
		return n, nil
	}
	if g, err := user.LookupGroup(s); err == nil {
		if n, ok := number(g.Gid); ok {
			return n, nil
		}
	}
	return 0, fmt.Errorf("this machine knows no group %q: give the number", s)
}

func checkXattr(s string) error {
	name, _, _ := strings.Cut(s, "=")
	if space, rest, _ := strings.Cut(name, "."); space == "" || rest == "" || strings.ContainsRune(s, 0) {
		return fmt.Errorf("%q is no extended attribute, such as user.keep or user.class=gold", s)
	}
	return nil
}

// copies is a number of copies, or their pools.
type copies struct{ s *policy.Settings }

func (v *copies) setText(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil {
		return errInt
	}
	v.s.Number, v.s.Copies = n, nil
	return policy.CheckNumber(n)
}

func (v *copies) setList(list []string) error {
	if err := policy.CheckNumber(len(list)); err != nil {
		return err
	}
	v.s.Number, v.s.Copies = 0, slices.Clone(list)
	return nil
}

func (v *copies) allowed() string {
	return fmt.Sprintf("1 to %d, or a list such as [\"default\", \"offsite\"]", policy.MaxCopies)
}
func (v *copies) takes() (number, str bool) { return true, false }

// optional is a time, or nothing.
type optional struct{ inner **time.Duration }

func (v *optional) setText(s string) error {
	*v.inner = nil
	if s == "" {
		return nil
	}
	var d time.Duration
	err := (&duration{&d, 0, 100 * 365 * 24 * time.Hour}).setText(s)
	*v.inner = &d
	return err
}

func (v *optional) allowed() string           { return "0s or more" }
func (v *optional) takes() (number, str bool) { return false, true }

// optionalShare is a share, or nothing.
type optionalShare struct{ p **float64 }

func (v *optionalShare) setText(s string) error {
	*v.p = nil
	if s == "" {
		return nil
	}
	var f float64
	err := (&share{&f, 0, 1}).setText(s)
	*v.p = &f
	return err
}

func (v *optionalShare) allowed() string           { return "0 to 1" }
func (v *optionalShare) takes() (number, str bool) { return true, true }

// hours is a part of the day, or nothing.
type hours struct{ p **policy.Hours }

func (v *hours) setText(s string) error {
	*v.p = nil
	if s == "" {
		return nil
	}
	h, err := policy.ParseHours(s)
	if err != nil {
		return stderrors.New("it is no part of the day")
	}
	*v.p = &h
	return nil
}

func (v *hours) allowed() string           { return "hours and minutes, such as \"22:00-06:00\"" }
func (v *hours) takes() (number, str bool) { return false, true }

// never is a boolean that is nil if it is false.
type never struct{ p **bool }

func (v *never) setText(s string) error {
	b, err := strconv.ParseBool(s)
	if *v.p = nil; b {
		*v.p = &b
	}
	return err
}

func (v *never) allowed() string           { return "true, false" }
func (v *never) takes() (number, str bool) { return false, false }
