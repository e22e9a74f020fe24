package backend

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/hugelgupf/p9/p9"

	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

func (w *world) inode(path string) *inode {
	w.t.Helper()
	n := w.node(path).(*node)
	w.t.Cleanup(n.Release)
	return n.ino
}

func (w *world) catalogPending(id sliver.FileID) (found bool) {
	w.t.Helper()
	err := w.fs.cat.View(func(tx *catalog.Tx) error {
		return tx.Pending(func(f sliver.FileID) bool { found = found || f == id; return true })
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// TestNewFileIsChangedAtOnce: who finds a new name before its creator has got its inode makes no second
// inode of it, and what he changes stays, though he lets go of it before the creator comes.
func TestNewFileIsChangedAtOnce(t *testing.T) {
	w := newWorld(t)
	dir := w.root.(*node).ino
	caught := 0
	for i := 0; caught < 3; i++ {
		if i == 10000 {
			t.Fatal("no creator was caught between the catalog and the inode")
		}
		name := fmt.Sprint("f", i)
		made := make(chan vfs.Node)
		go func() {
			n, f, err := w.root.Create(rootCred, name, openReadWrite, 0o644, 0)
			if err != nil {
				t.Error(err)
				close(made)
				return
			}
			f.Close()
			made <- n
		}()
		var id sliver.FileID
		var n vfs.Node
		for id == 0 && n == nil {
			dir.am.Lock() // the creator takes it before the update of the catalog, and after it
			for range 100 {
				if err := w.fs.cat.View(func(tx *catalog.Tx) error {
					e, err := tx.Lookup(dir.id, name)
					id = e.ID
					return err
				}); err == nil {
					break
				}
			}
			if id != 0 {
				ino, err := w.fs.get(id)
				if err != nil {
					t.Fatal(err)
				}
				other := &node{ino, dir.id, name}
				if err := other.Setattr(rootCred, p9.SetAttrMask{Permissions: true}, p9.SetAttr{Permissions: 0o600}, true); err != nil {
					t.Fatal(err)
				}
				other.Release()
			}
			dir.am.Unlock()
			select {
			case n = <-made:
			default:
				runtime.Gosched()
			}
		}
		if id == 0 {
			n.Release()
			continue
		}
		caught++
		if n == nil {
			n = <-made
		}
		a, err := n.Getattr(rootCred)
		if err != nil || a.Mode.Permissions() != 0o600 {
			t.Fatalf("a file whose mode was changed to 600 has %v, %v", a.Mode, err)
		}
		n.Release()
	}
}

// A file stays pending as long as something of it is dirty: a batch may end, and
// the server too, before all of it is on tape.
func TestPendingWhileDirty(t *testing.T) {
	w := newWorld(t)
	w.put("file", pattern(1, 3*mib))
	ino := w.inode("/file")
	if err := ino.sync(); err != nil {
		t.Fatal(err)
	}
	plan, err := files{w.fs}.Plan(ino.id)
	if err != nil || len(plan.Dirty) != 3 {
		t.Fatalf("plan %+v, %v", plan, err)
	}
	buf := make([]byte, sliver.Size)
	archive := func(nos ...sliver.No) {
		t.Helper()
		var done []mover.Done
		for _, no := range nos {
			n, v, err := w.fs.cache.BeginArchive(sliver.Key{File: ino.id, No: no}, buf)
			if err != nil {
				t.Fatal(err)
			}
			done = append(done, mover.Done{No: no, Version: v, Len: n, Copy: catalog.Copy{Volume: 1}})
		}
		kept, _, err := files{w.fs}.Archived(ino.id, plan.Inode.DataVersion, done)
		if err != nil || !kept[0] {
			t.Fatalf("archived: kept %v, %v", kept, err)
		}
	}
	archive(0, 2)
	if !w.fs.pending.has(ino.id) || !w.catalogPending(ino.id) || ino.attr().Flags&catalog.FlagMetaDirty == 0 {
		t.Error("the file is not pending any more, and sliver 1 is dirty")
	}
	archive(1)
	if w.fs.pending.has(ino.id) || w.catalogPending(ino.id) || ino.attr().Flags&catalog.FlagMetaDirty != 0 {
		t.Error("the file is still pending, and nothing of it is dirty")
	}
}

// A truncate that comes between the sync of a sliver and its commit holds: the
// catalog does not name the bytes that were cut.
func TestTruncateDuringSync(t *testing.T) {
	w := newWorld(t)
	w.put("file", pattern(1, 4096))
	ino := w.inode("/file")
	refs, err := w.fs.cache.SyncFile(ino.id)
	if err != nil || len(refs) != 1 {
		t.Fatalf("sync: %v, %v", refs, err)
	}
	n := w.node("/file")
	defer n.Release()
	for _, size := range []uint64{100, 3000} {
		if err := n.Setattr(rootCred, p9.SetAttrMask{Size: true}, p9.SetAttr{Size: size}, true); err != nil {
			t.Fatal(err)
		}
	}
	ino.mu.Lock()
	err = ino.commitLocked(refs, 4096)
	b, i, berr := ino.bmapLocked(0)
	ino.mu.Unlock()
	if err != nil || berr != nil {
		t.Fatal(err, berr)
	}
	if r := b.Slivers[i]; !r.Dirty || r.Len != 100 {
		t.Errorf("the catalog names %d bytes (dirty %v), the file was cut to 100", r.Len, r.Dirty)
	}
	w.wantContent("file", resized(pattern(1, 100), 3000))
}

// A file that loses one of its names is pending; one that loses the last is not,
// though it be open.
func TestPendingAfterUnlink(t *testing.T) {
	w := newWorld(t)
	w.put("file", []byte("x"))
	w.put("other", []byte("y"))
	n := w.node("/file")
	defer n.Release()
	id := n.(*node).ino.id
	for _, name := range []string{"link", "link2"} {
		if err := w.root.Link(rootCred, n, name); err != nil {
			t.Fatal(err)
		}
	}
	for name, remove := range map[string]func() error{
		"unlink":      func() error { return w.root.UnlinkAt(rootCred, "link", 0) },
		"rename over": func() error { return w.root.RenameAt(rootCred, "other", w.root, "link2") },
	} {
		w.job(JobArchive, "/file")
		if w.fs.pending.has(id) {
			t.Fatal("pending after it was archived")
		}
		if err := remove(); err != nil {
			t.Fatal(name, err)
		}
		if !w.fs.pending.has(id) || !w.catalogPending(id) {
			t.Errorf("%s: not pending, and the tape has the old names", name)
		}
	}
	if err := w.root.UnlinkAt(rootCred, "file", 0); err != nil {
		t.Fatal(err)
	}
	if err := n.Setattr(rootCred, p9.SetAttrMask{Permissions: true}, p9.SetAttr{Permissions: 0o600}, false); err != nil {
		t.Fatal(err)
	}
	if w.fs.pending.has(id) || w.catalogPending(id) {
		t.Error("an orphan is pending")
	}
}

// A directory whose names change is pending in the catalog from the first change after
// it was archived on, however many follow: what is not written again must be there.
func TestPendingDirectory(t *testing.T) {
	w := newWorld(t)
	w.put("first", []byte("x"))
	root := w.root.(*node).ino.id
	settled := func() {
		t.Helper()
		version := w.root.(*node).ino.record().DataVersion
		if _, _, err := (files{w.fs}).Archived(root, version, nil); err != nil { // as the index that carries it
			t.Fatal(err)
		}
		if w.fs.pending.has(root) || w.catalogPending(root) {
			t.Fatal("the directory is pending, and it is archived")
		}
	}
	settled()
	for _, change := range []func(){
		func() { w.put("second", []byte("y")) },
		func() {
			n := w.node("/first")
			defer n.Release()
			if err := w.root.Link(rootCred, n, "link"); err != nil {
				t.Fatal(err)
			}
		},
		func() {
			if err := w.root.UnlinkAt(rootCred, "link", 0); err != nil {
				t.Fatal(err)
			}
		},
	} {
		change()
		if !w.fs.pending.has(root) || !w.catalogPending(root) {
			t.Error("the directory is not pending after a change")
		}
		settled()
	}
	w.put("third", []byte("z"))
	w.put("fourth", []byte("z"))
	w.restart()
	if !w.fs.pending.has(root) || !w.catalogPending(root) {
		t.Error("the directory is not pending after a restart")
	}
}
