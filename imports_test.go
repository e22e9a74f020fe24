// Package sliod_test holds the rules on who may import whom.
package sliod_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "sliod"

// allowed says which packages of the project each package may import, tests apart.
// "x/..." stands for x and all below it. A package that is not named here is an
// error: whoever adds one says here where it belongs.
var allowed = map[string][]string{
	"backend/sliver": {}, // the words: a leaf
	"backend/vfs":    {}, // the contract between server and trees: a leaf
	"backend/acl":    {}, // access control lists: a leaf
	"netaddr":        {}, // addresses, and sockets that package net does not know: a leaf
	"socket":         {}, // sockets past the runtime's poller: a leaf
	"export":         {}, // the rules of exports: a leaf
	"cert":           {}, // certificates: a leaf

	"backend/policy": {},                                      // how files are archived: decides, and knows nothing else
	"backend/config": {"netaddr", "export", "backend/policy"}, // the configuration file

	"backend/catalog":              {"backend/sliver", "backend/acl"},
	"backend/catalog/catalogcheck": {}, // for tests: shares nothing with the writer
	"backend/cache":                {"backend/sliver", "backend/vfs"},
	"backend/mover": {"backend/sliver", "backend/vfs", "backend/catalog", "backend/cache",
		"tape", "tape/ltfs", "tape/ltfs/ltfscheck", "tape/geometry", "tape/schedule"},
	"backend/pool":       {"backend/config", "tape", "tape/ltfs"}, // pools of volumes, and their keys
	"backend/ltfsimport": {"backend/sliver", "backend/catalog", "tape", "tape/ltfs"},
	"backend/rebuild":    {"backend/sliver", "backend/catalog", "tape", "tape/ltfs"},
	// The archive passes the library on to the mover; it never talks to a drive.
	"backend": {"backend/sliver", "backend/vfs", "backend/acl", "backend/catalog", "backend/cache", "backend/mover", "backend/ltfsimport", "backend/policy", "tape"},

	"tape":                {},
	"tape/scsi":           {"tape"},
	"tape/sg":             {"tape", "tape/scsi"},
	"tape/scsi/scsitest":  {"tape/scsi"}, // the contract suite of transports
	"tape/geometry":       {"tape"},      // where data lie on a tape, and the time that it takes
	"tape/virtual":        {"tape", "tape/scsi", "tape/geometry"},
	"tape/ltfs":           {"tape"},
	"tape/ltfs/ltfscheck": {"tape"}, // shares nothing with the writer
	"tape/schedule":       {"tape", "tape/geometry", "tape/schedule/order"},
	"tape/schedule/order": {"tape/geometry"}, // the order of stops on one tape
	"tape/simulate":       {"tape", "tape/geometry", "tape/schedule"},
	"tape/tapetest":       {"tape"}, // the contract suites of drives and changers

	"server/wire": {},
	"server":      {"server/wire", "backend/vfs", "backend", "netaddr", "export", "cert", "socket"},
	"server/ctl":  {"backend", "backend/vfs"},
	// The archive as the bridge mounts it in the same process.
	"server/local": {"server", "backend/vfs", "export", "client9p", "client9p/bridge"},

	"client9p":        {"server/wire", "socket"},
	"client9p/bridge": {"client9p"}, // FUSE over 9P
	"client9p/relay":  {},
	"client9p/dial":   {"netaddr", "cert", "server/wire"},
	"cmd/...":         {"..."},

	// Tools and test benches that nothing of the product imports.
	"bench/...": {"..."},
	"guest/...": {"..."},
	"posix":     {},
}

// never are the rules that hold for tests as well.
var never = []struct{ who, whom string }{
	{"server/...", "tape/..."},
	{"client9p/...", "backend/..."},
	{"client9p/...", "tape/..."},
	{"tape/...", "backend/..."},
	{"tape/...", "server/..."},
	{"backend/catalog", "tape/..."},
	{"backend/cache", "tape/..."},
	{"backend/...", "server/..."},
	{"...", "cmd/..."},
}

// matches says whether pkg is meant by the pattern.
func matches(pattern, pkg string) bool {
	if pattern == "..." {
		return true
	}
	if dir, ok := strings.CutSuffix(pattern, "/..."); ok {
		return pkg == dir || strings.HasPrefix(pkg, dir+"/")
	}
	return pattern == pkg
}

// rule returns the packages that pkg may import, and whether it is in the table.
func rule(pkg string) ([]string, bool) {
	if list, ok := allowed[pkg]; ok {
		return list, true
	}
	// The most special pattern wins.
	var best string
	for pattern := range allowed {
		if matches(pattern, pkg) && len(pattern) > len(best) {
			best = pattern
		}
	}
	return allowed[best], best != ""
}

// breach says what is wrong with pkg importing dep, or "".
func breach(pkg, dep string, test bool) string {
	for _, n := range never {
		if pkg != dep && matches(n.who, pkg) && matches(n.whom, dep) {
			return n.who + " never imports " + n.whom
		}
	}
	if test || pkg == dep {
		return "" // tests may put more together
	}
	list, ok := rule(pkg)
	if !ok {
		return "package " + pkg + " is not in the table of imports_test.go"
	}
	if !slices.ContainsFunc(list, func(pattern string) bool { return matches(pattern, dep) }) {
		return "it may import " + strings.Join(list, ", ") + " only"
	}
	return ""
}

func TestImports(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		files++
		pkg := path.Dir(filepath.ToSlash(name))
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range f.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			dep, ok := strings.CutPrefix(imported, module+"/")
			if !ok || pkg == "." {
				continue
			}
			if msg := breach(pkg, dep, strings.HasSuffix(name, "_test.go")); msg != "" {
				t.Errorf("%s imports %s: %s", name, dep, msg)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Errorf("only %d files were looked at", files)
	}
}

func TestRules(t *testing.T) {
	for _, tc := range []struct {
		pkg, dep string
		test, ok bool
	}{
		{"server", "tape", false, false},
		{"server", "tape/virtual", true, false},
		{"server/ctl", "tape/ltfs", true, false},
		{"server", "backend", false, true},
		{"backend", "server", true, false},
		{"backend", "tape/ltfs", false, false},
		{"backend", "tape/virtual", true, true},
		{"backend/vfs", "backend/sliver", false, false},
		{"backend/cache", "backend/catalog", false, false},
		{"backend/config", "backend", false, false},
		{"tape/virtual", "tape/ltfs", false, false},
		{"tape/virtual", "tape/scsi", false, true},
		{"server", "cmd/sliod", true, false},
		{"cmd/sliod", "tape/virtual", false, true},
		{"cmd/other", "backend", false, true},
		{"newthing", "backend", false, false},
	} {
		if msg := breach(tc.pkg, tc.dep, tc.test); (msg == "") != tc.ok {
			t.Errorf("%s imports %s (test %v): %q", tc.pkg, tc.dep, tc.test, msg)
		}
	}
}
