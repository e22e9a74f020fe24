package main

import (
	"bytes"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hugelgupf/p9/p9"

	"sliod/client9p"
)

// realServer runs sliod serve with the virtual library until stop.
func realServer(t *testing.T, dir string) (stop func()) {
	t.Helper()
	file := filepath.Join(dir, "sliod.toml")
	text := "[cache]\nsize = \"64MiB\"\n[archive]\nidle = \"1h\"\n[library]\ncapacity = \"1GiB\"\n[log]\nlevel = \"warning\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a, out, stderr := newApp()
	a.open = openArchive
	done := make(chan int, 1)
	go func() {
		done <- a.run(t.Context(), []string{"serve", "--state", dir, "--config", file, "--listen", "unix:" + socketPath(dir)})
	}()
	for !strings.Contains(out.String(), "Ctrl-C stops") {
		select {
		case status := <-done:
			t.Fatalf("the server has ended with status %d: %s", status, stderr)
		case <-out.written:
		}
	}
	return func() {
		t.Helper()
		a.signals <- os.Interrupt
		if status := <-done; status != exitDone {
			t.Errorf("the server has ended with status %d: %s", status, stderr)
		}
	}
}

// withTree runs fn on the archive's root, with a client that others wrote.
func withTree(t *testing.T, dir string, fn func(root p9.File)) {
	t.Helper()
	conn, err := net.Dial("unix", socketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	c, err := p9.NewClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	root, err := c.Attach("")
	if err != nil {
		t.Fatal(err)
	}
	fn(root)
}

// TestEndToEnd takes a file to tape and back with the commands, over a restart.
func TestEndToEnd(t *testing.T) {
	dir := shortDir(t)
	stop := realServer(t, dir)
	content := make([]byte, 3<<20+4321)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(content) // never fails

	withTree(t, dir, func(root p9.File) {
		if _, err := root.Mkdir("dir", 0o755, p9.NoUID, p9.NoGID); err != nil {
			t.Fatal(err)
		}
		_, d, err := root.Walk([]string{"dir"})
		if err != nil {
			t.Fatal(err)
		}
		f, _, _, err := d.Create("file", p9.ReadWrite, 0o644, p9.NoUID, p9.NoGID)
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
	expect := func(pattern string, args ...string) {
		t.Helper()
		status, stdout, stderr := command(t, append(args, "--state", dir)...)
		if status != exitDone || !regexp.MustCompile(pattern).MatchString(stdout) {
			t.Fatalf("%v: status %d\n%s%s\nwant %s", args, status, stdout, stderr, pattern)
		}
	}
	same := func() {
		t.Helper()
		// The client that sliod mounts with: reads end short at slivers' boundaries.
		c, err := client9p.Dial(t.Context(), "unix", socketPath(dir))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		root, err := c.Attach(t.Context(), "root", uint32(os.Geteuid()), "")
		if err != nil {
			t.Fatal(err)
		}
		got, err := readFile(t.Context(), root, "dir", "file")
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%d bytes are read of %d, %v", len(got), len(content), err)
		}
	}
	expect(`(?m)^resident .* dir/file$`, "ls", "-R")
	expect(`^archive: \d+ file`, "archive", "--wait", "/dir")
	expect(`^premigrated +- +3\.0 MiB .* file\n$`, "ls", "dir/file")
	expect(`^evict: \d+ file`, "evict", "dir")
	expect(`^migrated `, "ls", "dir/file")
	same()
	expect(`^premigrated `, "ls", "dir/file")
	expect(`^evict: `, "evict", "/")
	stop()

	stop = realServer(t, dir)
	expect(`^migrated `, "ls", "dir/file")
	expect(`^recall: 1 file`, "recall", "--wait", "dir/file")
	expect(`^premigrated `, "ls", "dir/file")
	same()
	expect(`^pin: `, "pin", "dir/file")
	expect(`^unpin: `, "unpin", "dir/file")
	expect(`A00001L9 +append +(drive VD\d+|slot 1) +1\.0 `, "volumes")
	expect(`A00016L9 +scratch +slot 16 +1\.0 `, "volumes")
	expect(`library .* of 16\.0 GiB used`, "status")
	expect(`(?s)recall +done +normal +1/1 .*unpin +done`, "queue") // jobs that have ended
	expect(`(?m)^migrated|^premigrated`, "--state", dir, "ls", "dir/file")
	stop()

	// Without catalog and cache the tapes give it back.
	config := filepath.Join(dir, "sliod.toml")
	status, _, stderr := command(t, "rebuild", "--state", dir, "--config", config)
	if status != exitFailed || !strings.Contains(stderr, "has a page cache") {
		t.Fatalf("a rebuild over an archive: status %d, %s", status, stderr)
	}
	for _, d := range []string{"catalog", "cache"} {
		if err := os.RemoveAll(filepath.Join(dir, d)); err != nil {
			t.Fatal(err)
		}
	}
	expect(`(?s)is made: 1 file of 3\.0 MiB in 1 directory.*1 volume read, 15 blank.*Everything else that had been archived is there.*Now: sliod serve --state \S+ --config `, "rebuild", "--config", config)
	stop = realServer(t, dir)
	expect(`^migrated `, "ls", "dir/file")
	same()
	stop()
}
