package rebuild

import (
	"testing"

	"github.com/hugelgupf/p9/p9"

	"sliod/backend"
	"sliod/backend/vfs"
)

// TestWholeTree: files of every kind, in several volumes, changed, moved and removed
// between archivings.
func TestWholeTree(t *testing.T) {
	r := newRig(t, t.TempDir())
	defer r.end()
	r.open()
	r.mkdir("/a")
	r.mkdir("/a/b")
	r.mkdir("/gone")
	r.write("/a/one", 0, content(1, 3*mib+17))
	r.write("/a/b/two", 0, content(2, 100))
	r.write("/a/b/empty", 0, nil)
	r.write("/sparse", 5*mib, content(3, 10))
	r.write("/gone/x", 0, content(4, 5000))
	r.write("/moved", 0, content(5, 2*mib))
	r.in("/a/symlink", func(d vfs.Node, name string) error { _, err := d.Symlink(root, name, "b/\xff two", 9); return err })
	r.in("/a/dev", func(d vfs.Node, name string) error {
		_, err := d.Mknod(root, name, 0o060640, 8, 17, 6)
		return err
	})
	r.in("/a/fifo", func(d vfs.Node, name string) error { _, err := d.Mknod(root, name, 0o010644, 0, 0, 0); return err })
	r.link("/a/one", "/a/b/other name")
	r.in("/a/b", func(d vfs.Node, name string) error {
		n := r.node("/a/b")
		defer n.Release()
		if err := n.SetXattr(root, "user.dir", []byte("\x00\xff"), 0); err != nil {
			return err
		}
		rn := r.node("/")
		defer rn.Release()
		if err := rn.SetXattr(root, "trusted.root", []byte("r"), 0); err != nil {
			return err
		}
		return n.Setattr(root, p9.SetAttrMask{UID: true, GID: true, Permissions: true, MTime: true, MTimeNotSystemTime: true},
			p9.SetAttr{UID: 1000, GID: 1001, Permissions: 0o2751, MTimeSeconds: 1 << 40, MTimeNanoSeconds: 999999999}, true)
	})
	r.settle()
	r.open()
	r.job(backend.JobEvict, "/")
	// On the same volume or another: changes of some, renames of what others know.
	r.write("/a/one", mib, content(11, 300))
	r.rename("/a/b", "/c")
	r.rename("/moved", "/c/moved")
	r.write("/moved", 0, content(6, 70000))
	r.remove("/gone/x")
	r.remove("/gone")
	r.write("/gone", 0, content(7, 10))
	r.settle()
	r.open()
	r.job(backend.JobEvict, "/")
	r.truncate("/sparse", 5*mib+3)
	r.truncate("/c/moved", mib+100)
	r.truncate("/c/moved", 3*mib)
	r.settle()
	want := r.snapshot()
	r.forget()
	rep := r.rebuild()
	r.same(want, r.snapshot())
	if rep.LostFiles+rep.LostFound+rep.Renamed+rep.Damaged+rep.Adopted+rep.Foreign != 0 {
		t.Fatalf("%+v", rep)
	}
	// What is made now has new numbers, and survives the same.
	r.write("/new", 0, content(9, 1000))
	r.settle()
	want = r.snapshot()
	r.forget()
	r.rebuild()
	r.same(want, r.snapshot())
}
