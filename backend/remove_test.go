package backend

import (
	stderrors "errors"
	"testing"

	"github.com/hugelgupf/p9/p9"

	"sliod/backend/acl"
	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// recorded says whether the catalog has the inode of a file, and whether as an orphan.
func (w *world) recorded(id sliver.FileID) (inode, orphan bool) {
	w.t.Helper()
	err := w.fs.cat.View(func(tx *catalog.Tx) error {
		_, err := tx.Inode(id)
		if inode = err == nil; err != nil && !stderrors.Is(err, catalog.ErrNotFound) {
			return err
		}
		return tx.Orphans(func(o sliver.FileID) bool {
			orphan = orphan || o == id
			return true
		})
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return inode, orphan
}

func (w *world) wantRecorded(id sliver.FileID, inode, orphan bool) {
	w.t.Helper()
	if i, o := w.recorded(id); i != inode || o != orphan {
		w.t.Errorf("the catalog has an inode: %v, an orphan: %v; want %v and %v", i, o, inode, orphan)
	}
}

// unlinked makes a file, has it changed by before, and takes its only name. What is unlinked stays open.
func (w *world) unlinked(before func(vfs.Node, vfs.File)) (vfs.Node, vfs.File, sliver.FileID) {
	w.t.Helper()
	n, f := w.create("f")
	before(n, f)
	if err := w.root.UnlinkAt(rootCred, "f", 0); err != nil {
		w.t.Fatal(err)
	}
	return n, f, n.(*node).ino.id
}

// sync is fsync(2).
func (w *world) sync(f vfs.File) {
	w.t.Helper()
	if err := fsync(f); err != nil {
		w.t.Fatal(err)
	}
}

// A file of which the catalog has the inode alone loses it with its last name, though it be open, and can be used
// as ever. What brings its record back makes it an orphan, which goes with the last
// reference, or at the next start.
func TestUnlinkedAtOnce(t *testing.T) {
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	user := &vfs.Cred{UID: 1000, GID: 1000}
	list := string([]byte{2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 9, 0, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255,
		32, 0, 4, 0, 255, 255, 255, 255})
	for _, c := range []struct {
		name    string
		change  func(*testing.T, *world, vfs.Node, vfs.File)
		orphan  bool // what is changed is in the catalog
		content string
	}{
		{name: "nothing", change: func(*testing.T, *world, vfs.Node, vfs.File) {}, content: "before"},
		{name: "read", change: func(t *testing.T, w *world, n vfs.Node, f vfs.File) {
			_, err := n.Getattr(rootCred)
			must(t, err)
			_, err = n.XattrList(rootCred)
			must(t, err)
		}, content: "before"},
		{name: "write", change: func(t *testing.T, w *world, n vfs.Node, f vfs.File) { w.write(f, 6, []byte(" after")) }, content: "before after"},
		{name: "write and sync", change: func(t *testing.T, w *world, n vfs.Node, f vfs.File) {
			w.write(f, 6, []byte(" after"))
			must(t, fsync(f))
		}, orphan: true, content: "before after"},
		{name: "sync", change: func(t *testing.T, w *world, n vfs.Node, f vfs.File) { must(t, fsync(f)) }, orphan: true, content: "before"},
		{name: "syncer", change: func(t *testing.T, w *world, n vfs.Node, f vfs.File) { must(t, w.fs.syncAll()) }, orphan: true, content: "before"},
		{name: "truncate", change: func(t *testing.T, w *world, n vfs.Node, f vfs.File) {
			must(t, n.Setattr(rootCred, p9.SetAttrMask{Size: true}, p9.SetAttr{Size: 3}, true))
		}, orphan: true, content: "bef"},
		{name: "grow", change: func(t *testing.T, w *world, n vfs.Node, f vfs.File) {
			must(t, n.Setattr(rootCred, p9.SetAttrMask{Size: true}, p9.SetAttr{Size: 8}, true))
		}, orphan: true, content: "before\x00\x00"},
		{name: "punch", change: func(t *testing.T, w *world, n vfs.Node, f vfs.File) {
			_, err := f.(vfs.Extended).Allocate(vfs.PunchHole|vfs.KeepSize, 0, sliver.Size, nil)
			must(t, err)
		}, orphan: true, content: "\x00\x00\x00\x00\x00\x00"},
		{name: "chmod", change: func(t *testing.T, w *world, n vfs.Node, f vfs.File) {
			must(t, n.Setattr(rootCred, p9.SetAttrMask{Permissions: true}, p9.SetAttr{Permissions: 0o600}, false))
		}, orphan: true, content: "before"},
		{name: "chown", change: func(t *testing.T, w *world, n vfs.Node, f vfs.File) {
			must(t, n.Setattr(rootCred, p9.SetAttrMask{UID: true}, p9.SetAttr{UID: p9.UID(user.UID)}, false))
		}, orphan: true, content: "before"},
		{name: "access list", change: func(t *testing.T, w *world, n vfs.Node, f vfs.File) {
			must(t, n.SetXattr(rootCred, acl.Access, []byte(list), 0))
		}, orphan: true, content: "before"},
		{name: "extended attribute", change: func(t *testing.T, w *world, n vfs.Node, f vfs.File) {
			must(t, n.SetXattr(rootCred, "user.a", []byte("b"), 0))
		}, orphan: true, content: "before"},
		{name: "archive", change: func(t *testing.T, w *world, n vfs.Node, f vfs.File) {
			// As when the cache is short of slots.
			done := make(chan error, 1)
			w.fs.archive([]sliver.FileID{n.(*node).ino.id}, func(_ sliver.FileID, err error) { done <- err })
			must(t, <-done)
			if _, dirty, _, _ := w.fs.cache.FileStats(n.(*node).ino.id); dirty != 0 {
				t.Error("not archived")
			}
		}, orphan: true, content: "before"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			files := w.fs.files.Load()
			n, f, id := w.unlinked(func(_ vfs.Node, f vfs.File) { w.write(f, 0, []byte("before")) })
			w.wantRecorded(id, false, false)
			if got := w.fs.files.Load(); got != files {
				t.Errorf("%d files, of which one is gone", got-files)
			}
			c.change(t, w, n, f)
			w.wantRecorded(id, c.orphan, c.orphan)
			if got := string(w.read(f, 0, 100)); got != c.content {
				t.Errorf("it holds %q, want %q", got, c.content)
			}
			// By the node alone, as a file that was opened with O_PATH.
			f.Close()
			f, err := n.Open(rootCred, openReadWrite)
			must(t, err)
			if got := string(w.read(f, 0, 100)); got != c.content {
				t.Errorf("opened again it holds %q, want %q", got, c.content)
			}
			f.Close()
			n.Release()
			w.wantRecorded(id, false, false)
			if got := w.fs.files.Load(); got != files {
				t.Errorf("%d files, none was left", got-files)
			}
			if _, dirty, clean, _ := w.fs.cache.FileStats(id); dirty+clean > 0 {
				t.Error("its slots are still there")
			}

			// The same, and the server ends while the file is open.
			n, f, id = w.unlinked(func(_ vfs.Node, f vfs.File) { w.write(f, 0, []byte("before")) })
			c.change(t, w, n, f)
			w.restart()
			w.wantRecorded(id, false, false)
			if got := w.fs.files.Load(); got != files {
				t.Errorf("%d files after a restart, none was left", got-files)
			}
		})
	}
}

// A file of which the catalog has more than its inode, or a volume, is an orphan until it is let go.
func TestUnlinkedLater(t *testing.T) {
	for name, before := range map[string]func(*world, vfs.Node, vfs.File){
		"data that was synced": func(w *world, n vfs.Node, f vfs.File) {
			w.write(f, 0, []byte("x"))
			w.sync(f)
		},
		"data that was synced and cut off": func(w *world, n vfs.Node, f vfs.File) {
			w.write(f, 0, []byte("x"))
			w.sync(f)
			if err := n.Setattr(rootCred, p9.SetAttrMask{Size: true}, p9.SetAttr{}, true); err != nil {
				w.t.Fatal(err)
			}
		},
		"an extended attribute": func(w *world, n vfs.Node, f vfs.File) {
			if err := n.SetXattr(rootCred, "user.a", []byte("b"), 0); err != nil {
				w.t.Fatal(err)
			}
		},
		"an empty file in an index": func(w *world, n vfs.Node, f vfs.File) { w.job(JobArchive, "/f") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			n, f, id := w.unlinked(func(n vfs.Node, f vfs.File) { before(w, n, f) })
			w.wantRecorded(id, true, true)
			f.Close()
			n.Release()
			w.wantRecorded(id, false, false)
			if name == "an empty file in an index" != w.catalogPending(id) {
				t.Errorf("its removal is to come to tape: %v", w.catalogPending(id))
			}
		})
	}
}

// All that removes a last name is alike: of a directory, a link, by rename.
func TestRemovedAtOnce(t *testing.T) {
	w := newWorld(t)
	files := w.fs.files.Load()
	for name, remove := range map[string]func() (vfs.Node, error){
		"rmdir": func() (vfs.Node, error) {
			if _, err := w.root.Mkdir(rootCred, "d", 0o755, 0); err != nil {
				return nil, err
			}
			return w.node("/d"), w.root.UnlinkAt(rootCred, "d", atRemoveDir)
		},
		"a symbolic link": func() (vfs.Node, error) {
			if _, err := w.root.Symlink(rootCred, "l", "target", 0); err != nil {
				return nil, err
			}
			return w.node("/l"), w.root.UnlinkAt(rootCred, "l", 0)
		},
		"rename over": func() (vfs.Node, error) {
			w.put("old", nil)
			w.put("new", nil)
			n := w.node("/old")
			err := w.root.RenameAt(rootCred, "new", w.root, "old")
			if err == nil {
				err = w.root.UnlinkAt(rootCred, "old", 0)
			}
			return n, err
		},
		"the last of two names": func() (vfs.Node, error) {
			w.put("f", nil)
			n := w.node("/f")
			err := w.root.Link(rootCred, n, "g")
			if err == nil {
				err = w.root.UnlinkAt(rootCred, "f", 0)
			}
			if w.wantRecorded(n.(*node).ino.id, true, false); err == nil {
				err = w.root.UnlinkAt(rootCred, "g", 0)
			}
			return n, err
		},
	} {
		n, err := remove()
		if err != nil {
			t.Fatal(name, err)
		}
		w.wantRecorded(n.(*node).ino.id, false, false)
		n.Release()
		if got := w.fs.files.Load(); got != files {
			t.Errorf("%s: %d files, none was left", name, got-files)
		}
	}
}

// TestFsyncHoldsNothing: the answer to an fsync comes when the file has no more references than before it, so that one
// that is removed and closed then is gone at once.
func TestFsyncHoldsNothing(t *testing.T) {
	w := newWorld(t)
	n, f := w.create("f")
	defer n.Release()
	defer f.Close()
	w.write(f, 0, []byte("x"))
	refs := func() int {
		w.fs.itab.mu.Lock()
		defer w.fs.itab.mu.Unlock()
		return n.(*node).ino.refs
	}
	before, at := refs(), make(chan int, 1)
	if err := f.Fsync(false, &vfs.Waiter{Waker: wakerFunc(func(int, error) { at <- refs() })}); err != vfs.ErrParked {
		t.Fatal(err)
	}
	if after := <-at; after != before {
		t.Errorf("%d references, %d before", after, before)
	}
}

type wakerFunc func(int, error)

func (fn wakerFunc) Wake(n int, err error) { fn(n, err) }

// The pins of a file end with it, also where its record has gone before.
func TestUnlinkedPinned(t *testing.T) {
	for _, synced := range []bool{false, true} {
		w := newWorld(t)
		n, f, id := w.unlinked(func(n vfs.Node, f vfs.File) {
			w.write(f, 0, []byte("x"))
			if synced {
				w.sync(f)
			}
			if err := n.SetXattr(rootCred, ownXattr+"pin", []byte("1"), 0); err != nil {
				t.Fatal(err)
			}
		})
		f.Close()
		if !w.fs.cache.Pinned(id) {
			t.Error("not pinned")
		}
		n.Release()
		if _, _, pins := w.leftover(); pins > 0 || w.fs.cache.Pinned(id) {
			t.Errorf("synced %v: %d pins are left, in the cache %v", synced, pins, w.fs.cache.Pinned(id))
		}
	}
}
