package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hugelgupf/p9/p9"

	"sliod/backend"
	"sliod/client9p"
)

func TestImport(t *testing.T) {
	for _, tc := range []struct {
		args   []string
		status int
		want   []string // the job's arguments; or what the message says
	}{
		{[]string{"A00001L9"}, exitDone, []string{"A00001L9", "/A00001L9"}},
		{[]string{"A00001L9", "b//c/"}, exitDone, []string{"A00001L9", "/b/c"}},
		{[]string{"--grow", "--as-is", "--uid", "0", "--gid=7", "--mode", "600", "--dir-mode", "0700", "A00001L9", "/x"}, exitDone,
			[]string{"A00001L9", "/x", "grow=yes", "as-is=yes", "uid=0", "gid=7", "mode=600", "dir_mode=0700"}},
		{[]string{"--mode", "rw", "A00001L9"}, exitUsage, []string{"octal"}},
		{[]string{"A00001L9", ""}, exitUsage, []string{"path is empty"}},
		{nil, exitUsage, []string{"arg"}},
	} {
		admin := &fakeAdmin{files: 2}
		dir := startFake(t, admin)
		status, stdout, stderr := command(t, append([]string{"import", "--state", dir}, tc.args...)...)
		if status != tc.status {
			t.Errorf("%v: status %d: %s%s", tc.args, status, stdout, stderr)
			continue
		}
		if status == exitUsage {
			if !strings.Contains(stderr, tc.want[0]) {
				t.Errorf("%v: %s", tc.args, stderr)
			}
			continue
		}
		if jobs := admin.Jobs(); len(jobs) != 1 || jobs[0].Kind != backend.JobImport || !slices.Equal(jobs[0].Paths, tc.want) {
			t.Errorf("%v: %+v", tc.args, jobs)
		}
		if !strings.Contains(stdout, "import: 2 files") {
			t.Errorf("%v: %s", tc.args, stdout)
		}
	}
}

// TestImportEndToEnd shows the files of one archive in another, with the commands.
func TestImportEndToEnd(t *testing.T) {
	from, dir := shortDir(t), shortDir(t)
	stop := realServer(t, from)
	content := bytes.Repeat([]byte("from another archive\n"), 100_000)
	withTree(t, from, func(root p9.File) {
		f, _, _, err := root.Create("file", p9.ReadWrite, 0o640, p9.NoUID, p9.NoGID)
		if err != nil {
			t.Fatal(err)
		}
		for off := 0; off < len(content); {
			n, err := f.WriteAt(content[off:], int64(off))
			if err != nil {
				t.Fatal(err)
			}
			off += n
		}
	})
	if status, stdout, stderr := command(t, "archive", "--wait", "/", "--state", from); status != exitDone {
		t.Fatal(stdout, stderr)
	}
	stop()
	if err := os.Rename(filepath.Join(from, "library"), filepath.Join(dir, "library")); err != nil {
		t.Fatal(err)
	}
	stop = realServer(t, dir)
	defer stop()
	expect := func(want int, pattern string, args ...string) {
		t.Helper()
		status, stdout, stderr := command(t, append(args, "--state", dir)...)
		if status != want || !regexp.MustCompile(pattern).MatchString(stdout+stderr) {
			t.Fatalf("%v: status %d\n%s%s\nwant %s", args, status, stdout, stderr, pattern)
		}
	}
	expect(exitFailed, `there is no volume B00001L9`, "import", "B00001L9")
	expect(exitFailed, `volume A00002L9 is blank`, "import", "A00002L9")
	expect(exitDone, `(?s)in the tree as /old: 2 files and directories.*import: 2 files`, "import", "A00001L9", "/old")
	expect(exitFailed, `imported already`, "import", "A00001L9", "/again")
	expect(exitDone, `A00001L9 +read-only, imported `, "volumes")
	expect(exitDone, `^migrated +2\.0 MiB .* old/file\n$|^migrated .*file\n$`, "ls", "old/file")
	c, err := client9p.Dial(t.Context(), "unix", socketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	root, err := c.Attach(t.Context(), "root", uint32(os.Geteuid()), "")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readFile(t.Context(), root, "old", "file"); err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes are read of %d, %v", len(got), len(content), err)
	}
}
