package config

import (
	"cmp"
	stderrors "errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Parse reads a configuration from text; file is its name for messages and the
// place that a relative library.dir starts from. See Load for the errors.
func Parse(file string, text []byte) (*Config, error) {
	// The whole syntax first, duplicate keys among it: the walk below then only
	// meets sound expressions.
	var discard map[string]any
	if err := toml.Unmarshal(text, &discard); err != nil {
		e := &Error{File: file, Msg: err.Error()}
		var de *toml.DecodeError
		if stderrors.As(err, &de) {
			e.Line, _ = de.Position()
			e.Msg = "not TOML: " + strings.TrimPrefix(de.Error(), "toml: ")
		}
		return nil, e
	}

	r := reader{file: file, cfg: Default(), lines: make(map[string]int)}
	r.p.Reset(text)
	var table []string
	for r.p.NextExpression() {
		e := r.p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			var line int
			table, line = r.key(e.Key(), nil)
			r.table(table, line, e.Kind == unstable.ArrayTable)
		case unstable.KeyValue:
			r.keyValue(table, e)
		}
	}
	r.checkLibrary()
	r.checkPools()
	r.checkRules()
	if len(r.errs) == 0 {
		if key, msg := r.cfg.check(); msg != "" {
			line := r.lines[key]
			if line == 0 { // another key of those that belong together is the one in the file
				line = r.lines[key[:strings.LastIndexByte(key, '.')]]
				if strings.HasPrefix(key, "cache.") || strings.HasPrefix(key, "archive.") {
					line = r.lines["cache.high_water"]
				}
			}
			r.errs = append(r.errs, &Error{File: file, Line: line, Key: key, Msg: msg})
		}
	}
	if len(r.errs) > 0 {
		slices.SortStableFunc(r.errs, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
		list := make([]error, len(r.errs))
		for i, e := range r.errs {
			list[i] = e
		}
		return nil, stderrors.Join(list...)
	}
	for _, path := range []*string{&r.cfg.Library.Dir, &r.cfg.Library.Faults, &r.cfg.TLS.Cert, &r.cfg.TLS.Key, &r.cfg.TLS.ClientCA} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(filepath.Dir(file), *path)
		}
	}
	return r.cfg, nil
}

// reader is one run of Parse.
type reader struct {
	p     unstable.Parser
	file  string
	cfg   *Config
	lines map[string]int // where each key of the file was set, and each section first named
	errs  []*Error
}

func (r *reader) fail(line int, key, format string, args ...any) {
	r.errs = append(r.errs, &Error{File: r.file, Line: line, Key: key, Msg: fmt.Sprintf(format, args...)})
}

// checkLibrary refuses keys that are for another kind of library than the file has.
func (r *reader) checkLibrary() {
	if r.failed("library.kind") {
		return // its own mistake is told
	}
	kind := r.cfg.Library.Kind
	for i := range keys {
		k := &keys[i]
		if line := r.lines[k.Name()]; line > 0 && k.Library != "" && k.Library != kind {
			r.fail(line, k.Name(), "%s is for a library of kind %q, and library.kind is %q: take the key out, or change the kind", k.Name(), k.Library, kind)
		}
	}
}

func (r *reader) failed(key string) bool {
	return slices.ContainsFunc(r.errs, func(e *Error) bool { return e.Key == key })
}

// key returns the parts of a dotted key after prefix, and its line.
func (r *reader) key(it unstable.Iterator, prefix []string) (path []string, line int) {
	path = slices.Clone(prefix)
	for it.Next() {
		n := it.Node()
		if line == 0 {
			line = r.p.Shape(n.Raw).Start.Line
		}
		path = append(path, string(n.Data))
	}
	return path, line
}

// table checks the name of a [section].
func (r *reader) table(path []string, line int, array bool) {
	name := strings.Join(path, ".")
	switch {
	case array:
		r.fail(line, name, "[[%s]] makes a list of sections; there is only one of each: write [%s]", name, name)
	case isNamed(path[0]):
		r.begin(path, line)
	case len(path) != 1 || !isSection(path[0]):
		r.fail(line, name, "there is no section [%s]; the sections are %s", name, sectionNames())
	default:
		r.lines[name] = line
	}
}

// begin takes a section with a name, or a key of it, note of.
func (r *reader) begin(path []string, line int) (ok bool) {
	kind, name := path[0], strings.Join(path, ".")
	switch {
	case r.failed(name):
	case len(path) < 2:
		r.fail(line, name, "[%s] needs a name of its own: write [%s.NAME]", kind, kind)
	case len(path) > 2:
		r.fail(line, name, "there is no section [%s]: write [%s.NAME], and a name with a dot in quotes", name, kind)
	case !nameOK.MatchString(path[1]):
		r.fail(line, name, "%q cannot be the name in [%s.NAME]: 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-' are allowed, the first no sign", path[1], kind)
	default:
		for i := range keys {
			if keys[i].Section == kind {
				keys[i].at(r.cfg, path[1]) // which makes it
				break
			}
		}
		if r.lines[name] == 0 {
			r.lines[name] = line
		}
		return true
	}
	return false
}

func (r *reader) keyValue(table []string, e *unstable.Node) {
	path, line := r.key(e.Key(), table)
	r.set(path, line, e.Value())
}

func (r *reader) set(path []string, line int, v *unstable.Node) {
	name := strings.Join(path, ".")
	named := isNamed(path[0])
	if v.Kind == unstable.InlineTable {
		switch {
		case named && len(path) == 2:
			if !r.begin(path, line) {
				return
			}
		case named && len(path) == 1:
		case len(path) != 1 || !isSection(path[0]):
			r.fail(line, name, "there is no section [%s]; the sections are %s", name, sectionNames())
			return
		}
		for it := v.Children(); it.Next(); {
			r.keyValue(path, it.Node())
		}
		return
	}
	at := 1 // where the name of the key begins
	switch {
	case named:
		at = 2
		if len(path) < 3 || !r.begin(path[:2], line) {
			if len(path) < 3 {
				r.fail(line, name, "[%s] needs a name of its own: write [%s.NAME], and its keys below", path[0], path[0])
			}
			return
		}
	case len(path) > 1 && !isSection(path[0]):
		// The section itself was blamed already if it has a header.
		if !r.failed(path[0]) {
			r.fail(line, path[0], "there is no section [%s]; the sections are %s", path[0], sectionNames())
		}
		return
	}
	field := strings.Join(path[at:], ".")
	i := slices.IndexFunc(keys, func(k Key) bool { return len(path) > at && k.Section == path[0] && k.Field == field })
	if i < 0 {
		r.fail(line, name, "%s", unknownKey(path))
		return
	}
	r.lines[name] = line
	k := &keys[i]
	to := k.at(r.cfg, path[1])
	if msg := assign(to, v); msg != "" {
		r.fail(line, name, "%s: %s (allowed: %s; default: %s)", name, msg, k.Allowed(), k.shownDefault())
	}
}

// assign sets a field and returns what is wrong with the value, or "".
func assign(field value, v *unstable.Node) string {
	number, str := field.takes()
	list, isList := field.(lister)
	switch {
	case isList && v.Kind == unstable.Array:
		var items []string
		for it := v.Children(); it.Next(); {
			if n := it.Node(); n.Kind == unstable.Comment {
				continue
			} else if n.Kind != unstable.String {
				return "each entry of the list must be a string in quotes"
			}
			items = append(items, string(it.Node().Data))
		}
		if err := list.setList(items); err != nil {
			return err.Error()
		}
		return ""
	case isList && !number:
		return "a list in brackets is needed"
	case isBool(field) && v.Kind == unstable.Bool:
		if err := field.setText(string(v.Data)); err != nil {
			return err.Error()
		}
		return ""
	case isBool(field):
		return "true or false without quotes is needed"
	case v.Kind == unstable.String && str, (v.Kind == unstable.Integer || v.Kind == unstable.Float) && number:
		data := string(v.Data)
		if v.Kind != unstable.String {
			data = strings.ReplaceAll(data, "_", "")
		}
		if err := field.setText(data); err != nil {
			if v.Kind == unstable.String {
				data = strconv.Quote(data)
			}
			return fmt.Sprintf("%s cannot be used: %v", data, err)
		}
		return ""
	case isList:
		return "a number without quotes is needed, or a list in brackets"
	case str:
		return "a string in quotes is needed"
	default:
		return "a number without quotes is needed"
	}
}

// isBool says whether a field is true or false, which are no strings.
func isBool(v value) bool {
	switch v.(type) {
	case *boolean, *never:
		return true
	}
	return false
}

func isSection(name string) bool {
	for _, s := range sections {
		if s.name == name {
			return true
		}
	}
	return false
}

// isNamed says whether sections of a kind have names of their own.
func isNamed(section string) bool {
	return section == poolSection || section == exportSection || section == ruleSection
}

func sectionNames() string {
	names := make([]string, len(sections))
	for i, s := range sections {
		names[i] = "[" + shown(s.name) + "]"
	}
	return strings.Join(names, ", ")
}

// unknownKey says what is allowed where path stands.
func unknownKey(path []string) string {
	if len(path) == 1 {
		for i := range keys {
			if keys[i].Field == path[0] {
				return fmt.Sprintf("key %s stands outside of its section: write it below [%s]", path[0], shown(keys[i].Section))
			}
		}
		return fmt.Sprintf("there is no key %s; keys belong to the sections %s", path[0], sectionNames())
	}
	at := 1 // where the name of the key begins
	if isNamed(path[0]) {
		at = 2
	}
	var names []string
	for i := range keys {
		if keys[i].Section == path[0] {
			names = append(names, keys[i].Field)
		}
	}
	return fmt.Sprintf("there is no key %s in [%s]; its keys are %s", strings.Join(path[at:], "."), strings.Join(path[:at], "."), strings.Join(names, ", "))
}
