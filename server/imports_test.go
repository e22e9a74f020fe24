package server

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestImports keeps the server apart from cache, catalog and tape.
func TestImports(t *testing.T) {
	allowed := map[string]bool{"sliod/backend/vfs": true, "sliod/server/wire": true,
		"sliod/netaddr": true, "sliod/export": true, "sliod/cert": true, "sliod/socket": true}
	for _, dir := range []string{".", "wire"} {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !strings.HasSuffix(f.Name(), ".go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, f.Name()), nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range parsed.Imports {
				path, err := strconv.Unquote(i.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(path, "sliod/") && (!allowed[path] || dir == "wire") {
					t.Errorf("%s/%s imports %s", dir, f.Name(), path)
				}
			}
		}
	}
}
