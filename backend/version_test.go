package backend

import (
	stderrors "errors"
	"sync"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend/catalog"
	"sliod/backend/vfs"
)

// TestVersionsAfterACrash: a version that a client has been told before a crash does not come again for other content.
func TestVersionsAfterACrash(t *testing.T) {
	w := newWorld(t)
	w.put("f", []byte("old"))
	if err := w.fs.syncAll(); err != nil {
		t.Fatal(err)
	}
	change := func() (versions []uint32) {
		f, done := w.openFile("f")
		defer done()
		for i := range 5 {
			w.write(f, 0, []byte{byte(i)})
			versions = append(versions, w.inode("/f").qid().Version)
		}
		return versions
	}
	before := map[uint32]bool{}
	for _, v := range change() {
		before[v] = true
	}
	// A crash takes back what is in memory only.
	ino := w.inode("/f")
	err := w.fs.cat.View(func(tx *catalog.Tx) error {
		r, err := tx.Inode(ino.id)
		ino.am.Lock()
		ino.rec.DataVersion = r.DataVersion
		ino.am.Unlock()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range change() {
		if before[v] {
			t.Errorf("version %d came before the crash and after it", v)
		}
	}
}

// TestWhoAsks: a client can find out as whom the server takes it, whatever it may read.
func TestWhoAsks(t *testing.T) {
	w := newWorld(t)
	if err := w.root.Setattr(rootCred, p9.SetAttrMask{Permissions: true}, p9.SetAttr{Permissions: 0o711}, false); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"uid", "instance"} {
		v, err := w.root.Xattr(&vfs.Cred{UID: 1234, GID: 1}, "user.sliod."+name)
		if err != nil || name == "uid" && string(v) != "1234" || len(v) == 0 {
			t.Errorf("%s: %q, %v", name, v, err)
		}
	}
}

// TestNothingBehindTheEnd: a sync that takes the size before a write, and slivers after it, names no bytes behind the end of
// the file: a crash would leave them there, to be seen when the file grows.
func TestNothingBehindTheEnd(t *testing.T) {
	w := newWorld(t)
	w.put("f", pattern(1, 1000))
	ino := w.inode("/f")
	size := ino.size()
	f, done := w.openFile("f")
	defer done()
	w.write(f, 1000, pattern(2, 3000))
	refs, err := w.fs.cache.SyncFile(ino.id)
	if err != nil {
		t.Fatal(err)
	}
	ino.mu.Lock()
	err = ino.commitLocked(refs, size)
	ino.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	err = w.fs.cat.View(func(tx *catalog.Tx) error {
		r, err := tx.Inode(ino.id)
		if err != nil {
			return err
		}
		b, err := tx.Bmap(ino.id, 0)
		if n := uint64(b.Slivers[0].Len); err == nil && r.Size < n {
			t.Errorf("the file has %d bytes, its sliver %d", r.Size, n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestCreateBesideRemove: to create a file that may exist does not fail as it is removed meanwhile.
func TestCreateBesideRemove(t *testing.T) {
	w := newWorld(t)
	var g sync.WaitGroup
	for range 4 {
		g.Add(1)
		go func() {
			defer g.Done()
			for range 500 {
				n, f, err := w.root.Create(rootCred, "f", openReadWrite, 0o644, 0)
				if err != nil {
					t.Error(err)
					return
				}
				f.Close()
				n.Release()
				if err := w.root.UnlinkAt(rootCred, "f", 0); err != nil && !stderrors.Is(err, linux.ENOENT) {
					t.Error(err)
					return
				}
			}
		}()
	}
	g.Wait()
}
