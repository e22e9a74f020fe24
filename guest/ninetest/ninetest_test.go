package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sum(t *testing.T, dir string, o sumOptions) string {
	t.Helper()
	var b bytes.Buffer
	if err := sumTree(&b, dir, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// small is a tree without the few large files' full sizes.
var small = treeOptions{seed: 7, files: 300, total: 8 << 20}

func TestTreeFollowsFromTheSeed(t *testing.T) {
	a, b, c := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b"), filepath.Join(t.TempDir(), "c")
	other := small
	other.seed++
	for dir, o := range map[string]treeOptions{a: small, b: small, c: other} {
		if err := makeTree(dir, o); err != nil {
			t.Fatal(err)
		}
	}
	sumA := sum(t, a, sumOptions{})
	if sumA != sum(t, b, sumOptions{}) {
		t.Error("two trees of one seed differ")
	}
	if sumA == sum(t, c, sumOptions{}) {
		t.Error("two seeds made the same tree")
	}
	if n := strings.Count(sumA, "\n"); n != small.files {
		t.Errorf("%d lines for %d entries", n, small.files)
	}
	for _, want := range []string{" same-as=", " symlink ", " fifo ", "nlink=2", `\xff`, `\n`, "mode=2755", "mode=1755", "user.ninetest.0", "size=0 "} {
		if !strings.Contains(sumA, want) {
			t.Errorf("the tree has no %q", want)
		}
	}
}

// TestFullPlan looks at the plan of a full tree without making it.
func TestFullPlan(t *testing.T) {
	const total = 400 << 20
	kinds := map[kind]int{}
	longest, largest, bytes := 0, int64(0), int64(0)
	for _, e := range planTree(1, 2500, total) {
		kinds[e.kind]++
		longest = max(longest, len(filepath.Base(e.path)))
		bytes += dataBytes(e)
		if e.kind == kindFile {
			largest = max(largest, e.size)
		}
	}
	if kinds[kindFile] < 2000 || kinds[kindSparse] < 10 || kinds[kindHardLink] < 10 || longest != 255 {
		t.Errorf("kinds %v, longest name %d", kinds, longest)
	}
	if largest != largestFile || bytes > total || bytes < total/4 {
		t.Errorf("largest file %d, data %d bytes", largest, bytes)
	}
}

// TestSumSeesEveryChange changes one thing at a time.
func TestSumSeesEveryChange(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	last := sum(t, dir, sumOptions{})
	for name, change := range map[string]func() error{
		"a byte":     func() error { return os.WriteFile(path, []byte("Content"), 0o644) },
		"the mode":   func() error { return os.Chmod(path, 0o600) },
		"the time":   func() error { return os.Chtimes(path, time.Unix(1, 1), time.Unix(1, 1)) },
		"an xattr":   func() error { return unix.Setxattr(path, "user.x", []byte("1"), 0) },
		"a link":     func() error { return os.Link(path, path+"2") },
		"a new name": func() error { return os.Mkdir(path+"3", 0o755) },
	} {
		if err := change(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		now := sum(t, dir, sumOptions{})
		if now == last {
			t.Errorf("sum did not see the change of %s", name)
		}
		last = now
	}
}

func TestRandomWrites(t *testing.T) {
	dir, ref := filepath.Join(t.TempDir(), "dir"), filepath.Join(t.TempDir(), "ref")
	for _, d := range []string{dir, ref} {
		if err := makeTree(d, small); err != nil {
			t.Fatal(err)
		}
	}
	o := writesOptions{seed: 3, ops: 300, files: 20, maxFile: 1 << 20, parallel: 4, truncate: true}
	if err := randomWrites(dir, o); err != nil { // copies of its own
		t.Fatal(err)
	}
	o.ref = dir
	if err := randomWrites(ref, o); err == nil {
		t.Error("the trees differ by one run, and nothing was found")
	}
}

func TestCompareFindsOneByte(t *testing.T) {
	for _, tc := range []struct{ a, b string }{{"abc", "abd"}, {"abc", "ab"}, {"", "x"}} {
		dir := t.TempDir()
		var f [2]*os.File
		for i, s := range []string{tc.a, tc.b} {
			name := filepath.Join(dir, string(rune('a'+i)))
			os.WriteFile(name, []byte(s), 0o644)
			f[i], _ = os.Open(name)
			defer f[i].Close()
		}
		if compare(f[0], f[1]) == nil {
			t.Errorf("%q and %q are the same", tc.a, tc.b)
		}
	}
}

func TestInterrupt(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := interrupt(fifo, 100*time.Millisecond, time.Minute); err != nil {
		t.Error(err)
	}
	if _, err := interrupt("/dev/null", time.Minute, time.Second); err == nil || !strings.Contains(err.Error(), "before it was blocked") {
		t.Errorf("a cat that ends by itself: %v", err)
	}
	if _, err := interrupt("/nonexistent", time.Minute, time.Second); err == nil || !strings.Contains(err.Error(), "No such file") {
		t.Errorf("a cat that fails: %v", err)
	}
}
