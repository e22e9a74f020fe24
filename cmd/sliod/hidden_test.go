package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hugelgupf/p9/p9"
)

// TestServeWithoutLibrary: an emulated library that is away, as its disk is not mounted, is not made anew
// with blank cartridges when the catalog has data on the old ones.
func TestServeWithoutLibrary(t *testing.T) {
	dir := madeState(t)
	lib, away := filepath.Join(dir, "library"), filepath.Join(dir, "away")
	if err := os.RemoveAll(lib); err != nil {
		t.Fatal(err)
	}
	stop := realServer(t, dir) // nothing was on tape: nothing is lost
	withTree(t, dir, func(root p9.File) {
		if f, _, _, err := root.Create("f", p9.ReadWrite, 0o644, p9.NoUID, p9.NoGID); err != nil {
			t.Fatal(err)
		} else if _, err := f.WriteAt([]byte("hello"), 0); err != nil {
			t.Fatal(err)
		}
	})
	if status, _, stderr := command(t, "archive", "--wait", "/f", "--state", dir); status != exitDone {
		t.Fatal(stderr)
	}
	stop()
	if err := os.Rename(lib, away); err != nil {
		t.Fatal(err)
	}
	want := []string{"there is no tape library in " + lib, "the catalog in " + dir, "A00001L9", "mounted", "library.dir"}
	refusal(t, dir, "", want...)
	if _, err := os.Stat(lib); !os.IsNotExist(err) {
		t.Errorf("the library was made: %v", err)
	}
	if err := os.Mkdir(lib, 0o700); err != nil { // a mountpoint
		t.Fatal(err)
	}
	refusal(t, dir, "", want...)
	if names, err := os.ReadDir(lib); err != nil || len(names) > 0 {
		t.Errorf("the library was made: %v, %v", names, err)
	}
	if status, _, stderr := command(t, "rebuild", "--state", dir); status != exitFailed || !strings.Contains(stderr, lib+" has none") {
		t.Errorf("rebuild: status %d, %s", status, stderr)
	}
	if err := os.Remove(lib); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(away, lib); err != nil {
		t.Fatal(err)
	}
	realServer(t, dir)()
}

// TestMountHides: a mount that would hide the server's own files, or its sockets, is refused before anything is done.
func TestMountHides(t *testing.T) {
	base := shortDir(t)
	dir := filepath.Join(base, "s")
	file := filepath.Join(t.TempDir(), "sliod.toml")
	if err := os.WriteFile(file, []byte("[library]\ndir = \""+base+"/tapes/lib\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(base, filepath.Join(base, "link")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ mount, want string }{
		{dir, "would hide " + dir + "/catalog"},
		{base, "would hide " + dir + "/catalog"},
		{dir + "/cache", "would hide " + dir + "/cache"},
		{dir + "/catalog/x", "lies in " + dir + "/catalog"},
		{base + "/tapes", "would hide " + base + "/tapes/lib"},
		{base + "/link/tapes", "would hide " + base + "/tapes/lib"},
		{base + "/run", "would hide " + base + "/run/sock"},
	} {
		status, _, stderr := command(t, "serve", "--state", dir, "--config", file, "--listen", "unix:"+base+"/run/sock", "--mount", tc.mount)
		if status != exitUsage || !strings.Contains(stderr, tc.want) {
			t.Errorf("%s: status %d, %s; want %s", tc.mount, status, stderr, tc.want)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: the state directory has been made", tc.mount)
		}
	}
	if err := checkHides(dir+"/_mnt", []string{dir + "/catalog", dir + "/catalogue/_mnt2"}); err != nil {
		t.Error(err)
	}
}

// TestPlainRefusals: messages of a real server that say what to do, and nothing of the machinery.
func TestPlainRefusals(t *testing.T) {
	dir := shortDir(t)
	stop := realServer(t, dir)
	defer stop()
	for args, want := range map[string]string{
		"archive " + dir:              "sliod: archive: " + dir + ": no such file or directory; " + inArchive + "\n",
		"archive /no":                 "sliod: archive: /no: no such file or directory\n",
		"volumes set A00001L9 bogus":  `sliod: volumes-set: "bogus" is no state of a volume: they are scratch, append, full, suspect, read-only` + "\n",
		"import NOSUCH":               "sliod: import: there is no volume NOSUCH: see `sliod volumes`, or put it in and run `sliod volumes import`\n",
		"recall --from " + dir + "/l": "sliod: path 1 (" + dir + "): no such file or directory\nsliod: recall: 1 of 1 paths could not be done so far; " + inArchive + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, "l"), []byte(dir+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if status, _, stderr := command(t, append(strings.Fields(args), "--state", dir)...); status != exitFailed || stderr != want {
			t.Errorf("%s: status %d, %s", args, status, stderr)
		}
	}
	if status, _, stderr := command(t, "label", "A00001L9", "--state", dir); status != exitFailed {
		t.Errorf("status %d, %s", status, stderr)
	}
	if status, out, _ := command(t, "queue", "--json", "--state", dir); status != exitDone || strings.Contains(out, "null") {
		t.Errorf("status %d, %s", status, out)
	}
}
