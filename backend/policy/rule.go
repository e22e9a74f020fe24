package policy

import (
	"path"
	"slices"
	"strings"
	"time"
)

// Rule is a section [rule.NAME] of the configuration: conditions, of which all that are set
// must hold, and what it says of the files for which they do.
type Rule struct {
	Name string

	// Paths are patterns, of which one must fit, see Fits.
	Paths []string
	// Owners and Groups are numbers of users and groups. nil: any.
	Owners, Groups []uint32
	// MinSize and MaxSize are bytes. MaxSize 0: no limit.
	MinSize, MaxSize int64
	// MinAge is how long ago the content must have been changed last.
	MinAge time.Duration
	// Xattrs are attributes that the file must have, all of them: NAME or NAME=VALUE.
	Xattrs []string

	Settings
}

// Settings say some things of how files are archived. The zero value says nothing.
type Settings struct {
	Pool      string   // of all copies
	Number    int      // of copies in that pool
	Copies    []string // the pools of the copies, the first one first; else Pool and Number count
	Idle      *time.Duration
	Dirty     *float64
	Hours     *Hours
	Never     *bool
	Collocate string
}

// Collocations: what the files are of that lie together.
const (
	ByDirectory = "directory"
	ByOwner     = "owner"
	ByNone      = "none"
)

// MaxCopies is how many copies of a file there can be.
const MaxCopies = 8

// File is what is known of a file.
type File struct {
	Path     string // from the root, with a slash at the begin; "": it has no name
	UID, GID uint32
	Size     uint64
	Age      time.Duration // since its content was changed
	Xattr    func(name string) (value []byte, ok bool)
	// Settings are those of the directories on the way to it, the root first, and its own.
	Settings []Setting
}

// Setting is what a directory says of all below it, see Rules.Check.
type Setting struct{ Path, Text string }

// holds says whether the rule's conditions hold for f.
func (r *Rule) holds(f *File) bool {
	switch {
	case len(r.Paths) > 0 && !slices.ContainsFunc(r.Paths, func(p string) bool { return Fits(p, f.Path) }):
	case r.Owners != nil && !slices.Contains(r.Owners, f.UID):
	case r.Groups != nil && !slices.Contains(r.Groups, f.GID):
	case f.Size < uint64(r.MinSize), r.MaxSize > 0 && f.Size > uint64(r.MaxSize), f.Age < r.MinAge:
	default:
		return !slices.ContainsFunc(r.Xattrs, func(x string) bool { return !f.has(x) })
	}
	return false
}

func (f *File) has(x string) bool {
	name, want, valued := strings.Cut(x, "=")
	v, ok := f.Xattr(name)
	return ok && (!valued || string(v) == want)
}

// Fits says whether a pattern fits a path. A pattern that begins with a slash is compared
// with the whole path, and fits also what is below a directory that it fits; another one is compared
// with the last name alone. `*`, `?` and `[...]` are as in a shell, and none of them is a slash.
func Fits(pattern, p string) bool {
	if p == "" {
		return false
	}
	if !strings.HasPrefix(pattern, "/") {
		ok, _ := path.Match(pattern, path.Base(p))
		return ok
	}
	for n := strings.Count(p, "/") - strings.Count(pattern, "/"); n > 0; n-- {
		p = p[:strings.LastIndexByte(p, '/')]
	}
	if pattern == "/" {
		return true
	}
	ok, _ := path.Match(pattern, p)
	return ok
}

// CheckPattern says what is wrong with a pattern.
func CheckPattern(pattern string) error {
	_, err := path.Match(pattern, "x")
	switch {
	case err != nil || pattern == "":
		return badPattern(pattern)
	case !strings.HasPrefix(pattern, "/") && strings.Contains(pattern, "/"):
		return badPattern(pattern + "\": it has a slash and does not begin with one; write \"/" + pattern)
	case len(pattern) > 1 && strings.HasSuffix(pattern, "/"):
		return badPattern(pattern + "\": take the slash at its end away from \"" + pattern)
	}
	return nil
}

type badPattern string

func (b badPattern) Error() string { return "\"" + string(b) + "\" is no pattern" }
