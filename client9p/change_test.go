package client9p

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/hugelgupf/p9/fsimpl/localfs"
	"github.com/hugelgupf/p9/p9"
)

// TestChanges makes, changes, moves and removes files of another's server.
func TestChanges(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := net.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = p9.NewServer(localfs.Attacher(dir)).Handle(theirs, theirs)
		_ = theirs.Close()
	}()
	ctx := t.Context()
	c, err := New(ctx, ours, 0)
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	must("version", err)
	defer func() {
		_ = c.Close()
		<-served
	}()
	root, err := c.Attach(ctx, "nobody", 65534, "")
	must("attach", err)
	_, err = root.Mkdir(ctx, "d", 0o755, 0)
	must("mkdir", err)
	d, err := root.Walk(ctx, "d")
	must("walk", err)
	f, err := d.Create(ctx, "new", p9.ReadWrite, 0o600, 0)
	must("create", err)
	if n, err := f.Write(ctx, []byte("hello world"), 0); err != nil || n != 11 {
		t.Fatalf("write: %d, %v", n, err)
	}
	must("truncate", f.Truncate(ctx, 5))
	must("fsync", f.Fsync(ctx, false))
	must("clunk", f.Clunk(ctx))
	must("rename", d.Rename(ctx, "new", root, "old"))
	if got, err := os.ReadFile(filepath.Join(dir, "old")); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	must("unlink", root.Unlink(ctx, "old"))
	if _, err := os.Stat(filepath.Join(dir, "old")); !os.IsNotExist(err) {
		t.Errorf("after unlink: %v", err)
	}
	if _, err := d.Create(ctx, "no/name", p9.ReadWrite, 0o600, 0); err == nil {
		t.Error("a name with a slash was taken")
	}
}
