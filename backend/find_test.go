package backend

import (
	stderrors "errors"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend/vfs"
)

// TestFindBelow finds files by their numbers, below a directory and not elsewhere.
func TestFindBelow(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"in", "out"} {
		if _, err := w.root.Mkdir(rootCred, name, 0o755, 0); err != nil {
			t.Fatal(err)
		}
	}
	in, out := w.node("/in"), w.node("/out")
	defer in.Release()
	defer out.Release()
	if _, err := in.Mkdir(rootCred, "sub", 0o700, 0); err != nil {
		t.Fatal(err)
	}
	sub := w.node("/in/sub")
	defer sub.Release()
	f, open, err := sub.Create(rootCred, "f", openReadWrite, 0o644, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	defer open.Close()
	top := in.QID().Path
	user := &vfs.Cred{UID: 1000, GID: 1000}
	check := func(what string, c *vfs.Cred, top uint64, n vfs.Node, want error) {
		t.Helper()
		got, err := w.fs.Find(c, top, n.QID().Path)
		if !stderrors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		if err == nil {
			if got.QID() != n.QID() {
				t.Errorf("%s: another file", what)
			}
			got.Release()
		}
	}
	check("a file", rootCred, top, f, nil)
	check("the directory itself", user, top, in, nil)
	check("the root", rootCred, top, w.root, linux.ENOENT)
	check("another directory", rootCred, top, out, linux.ENOENT)
	check("without a top", rootCred, 0, f, nil)
	check("behind a directory that is not the user's", user, top, f, linux.EACCES)
	if err := sub.Setattr(rootCred, p9.SetAttrMask{Permissions: true}, p9.SetAttr{Permissions: 0o755}, false); err != nil {
		t.Fatal(err)
	}
	check("by a user", user, top, f, nil)
	// The way to the top is nobody's business.
	if err := w.root.Setattr(rootCred, p9.SetAttrMask{Permissions: true}, p9.SetAttr{Permissions: 0o700}, false); err != nil {
		t.Fatal(err)
	}
	check("below a closed root", user, top, f, nil)
	check("from the closed root", user, 0, f, linux.EACCES)
	// Two names, then only the one outside.
	if err := out.Link(rootCred, f, "g"); err != nil {
		t.Fatal(err)
	}
	check("with a name in both", user, top, f, nil)
	check("with a name in both", user, out.QID().Path, f, nil)
	if err := sub.UnlinkAt(rootCred, "f", 0); err != nil {
		t.Fatal(err)
	}
	check("with its first name gone", user, top, f, linux.ENOENT)
	check("with its first name gone", user, out.QID().Path, f, nil)
	if err := sub.Link(rootCred, f, "h"); err != nil {
		t.Fatal(err)
	}
	check("with a new name", user, top, f, nil)
}
