package backend

import (
	"bytes"
	stderrors "errors"
	"slices"
	"strings"
	"testing"

	"github.com/hugelgupf/p9/p9"

	"sliod/backend/catalog"
	"sliod/backend/mover"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/virtual"
)

// copy has a file copied and returns how that ended.
func (w *world) copy(path string, o mover.CopyOptions) error {
	w.t.Helper()
	n := w.node(path).(*node)
	defer n.Release()
	ino := n.ino
	done := make(chan error, 1)
	w.fs.mover.Copy([]sliver.FileID{ino.id}, o, func(_ sliver.FileID, err error) { done <- err })
	return <-done
}

// premigrated makes a file that is in the cache and on tape.
func (w *world) premigrated(name string, content []byte) {
	w.t.Helper()
	w.put(name, content)
	w.job(JobArchive, "/"+name)
}

// setSize cuts a file.
func (w *world) setSize(path string, size uint64) {
	w.t.Helper()
	n := w.node(path)
	defer n.Release()
	if err := n.Setattr(rootCred, p9.SetAttrMask{Size: true}, p9.SetAttr{Size: size}, true); err != nil {
		w.t.Fatal(err)
	}
}

// copiesOf returns the barcodes of a sliver's copies.
func (w *world) copiesOf(path string, no sliver.No) (on []string) {
	w.t.Helper()
	n := w.node(path).(*node)
	defer n.Release()
	ino := n.ino
	err := w.fs.cat.View(func(tx *catalog.Tx) error {
		b, i := no.Bmap()
		m, err := tx.Bmap(ino.id, b)
		if err != nil {
			return err
		}
		for _, c := range m.Slivers[i].Copies {
			v, err := tx.Volume(c.Volume)
			if err != nil {
				return err
			}
			on = append(on, v.Barcode)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return on
}

// audit checks that all that was written to each volume is either named by the catalog or dead.
func (w *world) audit() {
	w.t.Helper()
	err := w.fs.cat.View(func(tx *catalog.Tx) error {
		live := map[catalog.VolumeNo]int64{}
		err := tx.Inodes(0, func(r catalog.Inode) bool {
			return tx.Bmaps(r.ID, 0, func(_ sliver.BmapNo, b *catalog.Bmap) bool {
				for i := range b.Slivers {
					countDead(live, &b.Slivers[i])
				}
				return true
			}) == nil
		})
		return firstError(err, tx.Volumes(func(v catalog.Volume) bool {
			if v.Used != v.Dead+live[v.No] {
				w.t.Errorf("%d bytes were written to %s: %d of them are dead, and %d are named", v.Used, v.Barcode, v.Dead, live[v.No])
			}
			return true
		}))
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestCopies(t *testing.T) {
	w := newWorld(t)
	data := bytes.Repeat([]byte("two copies of it"), 3<<16)
	w.premigrated("f", data)
	w.premigrated("other", []byte("x"))
	if err := w.copy("/f", mover.CopyOptions{Copies: 2}); err != nil {
		t.Fatal(err)
	}
	for no := range sliver.No(3) {
		if on := w.copiesOf("/f", no); len(on) != 2 || on[0] == on[1] {
			t.Errorf("sliver %d is on %v", no, on)
		}
	}
	w.audit()
	if got := strings.Fields(w.xattrOf("/f", "user.sliod.volumes")); len(got) != 2 {
		t.Errorf("user.sliod.volumes is %q", got)
	}
	w.restart()
	w.job(JobEvict, "/f")
	first := w.copiesOf("/f", 0)[0]
	for b := range tape.BlockNo(100) {
		w.lib.SetUnreadable(tape.Barcode(first), tape.Position{Partition: 1, Block: b}, true)
	}
	w.wantContent("/f", data)
	w.audit()

	// What is written anew is dead on both.
	f, done := w.openFile("/f")
	w.write(f, 1<<20+7, []byte("new"))
	done()
	if err := w.copy("/f", mover.CopyOptions{Copies: 2}); err != nil {
		t.Fatal(err)
	}
	w.job(JobArchive, "/")
	w.audit()
	if on := w.copiesOf("/f", 1); len(on) != 1 {
		t.Errorf("what was written anew is on %v", on)
	}
	if err := w.copy("/f", mover.CopyOptions{Copies: 2}); err != nil {
		t.Fatal(err)
	}
	if on := w.copiesOf("/f", 1); len(on) != 2 || on[0] == on[1] {
		t.Errorf("what was written anew is on %v", on)
	}
	w.removeTree("/f")
	w.job(JobArchive, "/")
	w.audit()
}

// TestCopyOfCut: of a sliver that was cut while it was on tape alone, the valid bytes are copied,
// and the older copy is as good for them.
func TestCopyOfCut(t *testing.T) {
	w := newWorld(t)
	data := bytes.Repeat([]byte("0123456789"), 150_000)
	w.premigrated("f", data)
	w.job(JobEvict, "/f")
	w.setSize("/f", 1_200_000)
	w.wantContent("/f", data[:1_200_000])
	if err := w.copy("/f", mover.CopyOptions{Copies: 2}); err != nil {
		t.Fatal(err)
	}
	w.audit()
	if w.dead() != 300_000 {
		t.Errorf("%d bytes are dead, 300000 were cut off", w.dead())
	}
	on := w.copiesOf("/f", 1)
	if len(on) != 2 {
		t.Fatalf("the cut sliver is on %v", on)
	}
	for _, bad := range on {
		w.job(JobEvict, "/f")
		for b := range tape.BlockNo(100) {
			w.lib.SetUnreadable(tape.Barcode(bad), tape.Position{Partition: 1, Block: b}, true)
		}
		w.wantContent("/f", data[:1_200_000])
		for b := range tape.BlockNo(100) {
			w.lib.SetUnreadable(tape.Barcode(bad), tape.Position{Partition: 1, Block: b}, false)
		}
	}
}

// TestCopiedTooLate: a copy that comes when the sliver is another one, or is on the volume
// already, or when the file is gone, is dead.
func TestCopiedTooLate(t *testing.T) {
	w := newWorld(t)
	w.archived("f", []byte("abc"))
	n := w.node("/f")
	id := n.(*node).ino.id
	n.Release()
	var rec catalog.SliverRec
	if err := w.fs.cat.View(func(tx *catalog.Tx) error {
		b, err := tx.Bmap(id, 0)
		rec = b.Slivers[0]
		return err
	}); err != nil {
		t.Fatal(err)
	}
	try := func(change func(*mover.Done)) {
		t.Helper()
		before := w.dead()
		d := mover.Done{Version: rec.Version, Sum: rec.Sum, Len: 3, Copy: rec.Copies[0]}
		change(&d)
		kept, err := files{w.fs}.Copied(id, []mover.Done{d})
		if err != nil || slices.Contains(kept, true) {
			t.Errorf("kept %v: %v", kept, err)
		}
		if n := w.dead() - before; n != 3 {
			t.Errorf("%d bytes have become dead", n)
		}
	}
	try(func(*mover.Done) {}) // it is there
	try(func(d *mover.Done) { d.Version++; d.Copy.Volume++ })
	if on := w.copiesOf("/f", 0); len(on) != 1 {
		t.Errorf("it is on %v", on)
	}
	w.removeTree("/f")
	w.job(JobArchive, "/")
	try(func(d *mover.Done) { d.Copy.Volume++ })
}

func TestCopyNotResident(t *testing.T) {
	w := newWorld(t, func(_ *Options, c *virtual.Config) { c.Drives = 1 })
	w.archived("f", bytes.Repeat([]byte("z"), 2<<20))
	if err := w.copy("/f", mover.CopyOptions{Copies: 2}); !stderrors.Is(err, mover.ErrNotResident) {
		t.Fatal(err)
	}
	w.job(JobRecall, "/f")
	if err := w.copy("/f", mover.CopyOptions{Copies: 2}); err != nil {
		t.Fatal(err)
	}
	w.audit()
}

// TestCopyLongerThanCut: two copies of a sliver are under way when it is cut, and the shorter one is committed first. All
// copies have as many bytes as the record says: a longer one could not be read.
func TestCopyLongerThanCut(t *testing.T) {
	w := newWorld(t)
	w.premigrated("f", pattern(1, 3000))
	w.job(JobEvict, "/f")
	w.setSize("/f", 2000)
	ino := w.inode("/f")
	if err := ino.sync(); err != nil {
		t.Fatal(err)
	}
	rec := func() *catalog.SliverRec {
		ino.mu.Lock()
		defer ino.mu.Unlock()
		b, i, err := ino.bmapLocked(0)
		if err != nil {
			t.Fatal(err)
		}
		return &b.Slivers[i]
	}
	old := rec()
	on := func(no catalog.VolumeNo, n int) mover.Done {
		c := catalog.Copy{Volume: no, Pieces: []catalog.Piece{{Len: uint32(n), Partition: 1, Block: 1}}}
		return mover.Done{No: 0, Version: old.Version, Len: n, Copy: c}
	}
	kept := make([]bool, 2)
	if err := ino.copied([]mover.Done{on(3, 2000), on(4, 3000)}, kept); err != nil || !kept[0] || !kept[1] {
		t.Fatal(kept, err)
	}
	r := rec()
	for _, c := range r.Copies {
		n := uint32(0)
		for _, p := range c.Pieces {
			n += p.Len
		}
		if n != r.ArchLen {
			t.Errorf("the copy on volume %d has %d bytes, the record says %d", c.Volume, n, r.ArchLen)
		}
	}
}
