package config

import (
	stderrors "errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"sliod/netaddr"
)

// value is a field of Config with the values it takes. setText gets a value as
// text: the content of a TOML string, or the digits of a number.
type value interface {
	setText(s string) error
	allowed() string
	// takes says whether a bare TOML number will do, or a string.
	takes() (number, str bool)
}

// lister is a value that is a TOML array of strings.
type lister interface {
	setList(list []string) error
}

type size struct {
	p      *int64
	lo, hi int64
	zeroOK bool // 0 means something else, and is allowed
}

func (v *size) setText(s string) error {
	n, err := ParseSize(s)
	if err != nil {
		return err
	}
	if (n < v.lo || n > v.hi) && !(n == 0 && v.zeroOK) {
		return stderrors.New("it is out of range")
	}
	*v.p = n
	return nil
}

func (v *size) allowed() string {
	s := FormatSize(v.lo) + " to " + FormatSize(v.hi)
	if v.zeroOK {
		s = "0, or " + s
	}
	return s
}

func (v *size) takes() (number, str bool) { return true, true }

// oneSize is a size of a list.
type oneSize struct {
	p    *int64
	from []int64
}

func (v *oneSize) setText(s string) error {
	n, err := ParseSize(s)
	if err != nil {
		return err
	}
	if !slices.Contains(v.from, n) {
		return stderrors.New("it is none of the sizes that there are")
	}
	*v.p = n
	return nil
}

func (v *oneSize) allowed() string {
	list := make([]string, len(v.from))
	for i, n := range v.from {
		list[i] = FormatSize(n)
	}
	return strings.Join(list, ", ")
}

func (v *oneSize) takes() (number, str bool) { return true, true }

type duration struct {
	p      *time.Duration
	lo, hi time.Duration
}

func (v *duration) setText(s string) error {
	d, err := parseDuration(s)
	if err != nil {
		return err
	}
	if d < v.lo || d > v.hi {
		return stderrors.New("it is out of range")
	}
	*v.p = d
	return nil
}

func (v *duration) allowed() string { return formatDuration(v.lo) + " to " + formatDuration(v.hi) }

// A bare number would hide its unit, so a time is always a string.
func (v *duration) takes() (number, str bool) { return false, true }

type share struct {
	p      *float64
	lo, hi float64
}

func (v *share) setText(s string) error {
	f, err := parseShare(s)
	if err != nil {
		return err
	}
	if f < v.lo || f > v.hi {
		return stderrors.New("it is out of range")
	}
	*v.p = f
	return nil
}

func (v *share) allowed() string           { return fmt.Sprintf("%v to %v", v.lo, v.hi) }
func (v *share) takes() (number, str bool) { return true, true }

type count struct {
	p      *int
	lo, hi int
}

func (v *count) setText(s string) error {
	n, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 0, 64)
	if err != nil {
		return errInt
	}
	if n < int64(v.lo) || n > int64(v.hi) {
		return stderrors.New("it is out of range")
	}
	*v.p = int(n)
	return nil
}

func (v *count) allowed() string           { return fmt.Sprintf("%d to %d", v.lo, v.hi) }
func (v *count) takes() (number, str bool) { return true, false }

type choice struct {
	p    *string
	from []string
}

func (v *choice) setText(s string) error {
	if !slices.Contains(v.from, s) {
		return stderrors.New("no such choice")
	}
	*v.p = s
	return nil
}

func (v *choice) allowed() string {
	quoted := make([]string, len(v.from))
	for i, s := range v.from {
		quoted[i] = strconv.Quote(s)
	}
	return strings.Join(quoted, ", ")
}

func (v *choice) takes() (number, str bool) { return false, true }

type speed struct {
	p      *float64
	lo, hi float64
}

func (v *speed) setText(s string) error {
	f, err := parseSpeed(s)
	if err != nil {
		return err
	}
	if f != 0 && (f < v.lo || f > v.hi) {
		return stderrors.New("it is out of range")
	}
	*v.p = f
	return nil
}

func (v *speed) allowed() string {
	return fmt.Sprintf("\"instant\", or %s to %s", formatSpeed(v.lo), strconv.FormatFloat(v.hi, 'f', -1, 64))
}

func (v *speed) takes() (number, str bool) { return true, true }

// octal is the permission bits of a mode.
type octal struct{ p *uint32 }

func (v *octal) setText(s string) error {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil {
		return stderrors.New("it is no octal number")
	}
	if n == 0 || n > 0o7777 {
		return stderrors.New("it is out of range")
	}
	*v.p = uint32(n)
	return nil
}

func (v *octal) allowed() string           { return "\"0001\" to \"7777\"" }
func (v *octal) takes() (number, str bool) { return false, true }

type text struct {
	p    *string
	what string
}

// device is the name of a SCSI device; empty stands for one that is found.
type device struct{ text }

func (v *device) setText(s string) error {
	if s != "" {
		if err := checkDevice(s); err != nil {
			return err
		}
	}
	return v.text.setText(s)
}

func (v *text) setText(s string) error {
	if strings.ContainsRune(s, 0) {
		return stderrors.New("it has a zero byte")
	}
	*v.p = s
	return nil
}

func (v *text) allowed() string           { return v.what }
func (v *text) takes() (number, str bool) { return false, true }

type texts struct {
	p     *[]string
	check func(string) error
	what  string // is allowed
}

// setText takes the default only: the empty list.
func (v *texts) setText(s string) error {
	*v.p = nil
	if s != "" {
		return v.setList([]string{s})
	}
	return nil
}

func (v *texts) setList(list []string) error {
	for _, s := range list {
		if err := v.check(s); err != nil {
			return err
		}
	}
	*v.p = slices.Clone(list)
	return nil
}

func (v *texts) allowed() string { return v.what }

func (v *texts) takes() (number, str bool) { return false, false }

// boolean is true or false.
type boolean struct{ p *bool }

func (v *boolean) setText(s string) error {
	b, err := strconv.ParseBool(s)
	*v.p = b
	return err
}

func (v *boolean) allowed() string           { return "true, false" }
func (v *boolean) takes() (number, str bool) { return false, false }

// id is the number of a user or a group, but not root's.
type id struct{ p *uint32 }

func (v *id) setText(s string) error {
	n, err := strconv.ParseUint(strings.ReplaceAll(s, "_", ""), 0, 32)
	if err != nil {
		return errInt
	}
	if n == 0 || n == 1<<32-1 {
		return stderrors.New("it is out of range")
	}
	*v.p = uint32(n)
	return nil
}

func (v *id) allowed() string           { return "1 to 4294967294" }
func (v *id) takes() (number, str bool) { return true, false }

// checkPattern looks at a pattern of barcodes.
func checkPattern(s string) error {
	if _, err := path.Match(s, "CLN001L1"); err != nil || s == "" {
		return fmt.Errorf("%q is no pattern", s)
	}
	return nil
}

// checkDevice looks at the name of a SCSI device.
func checkDevice(s string) error {
	serial, ok := strings.CutPrefix(s, "serial:")
	switch {
	case ok && serial == "":
		return fmt.Errorf("device %q has no serial number behind the colon", s)
	case !ok && !strings.HasPrefix(s, "/"):
		return fmt.Errorf("device %q: write serial:NUMBER, or the whole path of a device, such as /dev/sg1", s)
	case strings.ContainsRune(s, 0):
		return fmt.Errorf("device %q has a zero byte", s)
	}
	return nil
}

func checkAddr(s string) error {
	_, err := netaddr.Parse(s)
	return err
}
