package backend

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sliod/backend/acl"
	"sliod/backend/catalog"
	"sliod/backend/ltfsimport"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
	"sliod/tape/scsi"
	"sliod/tape/virtual"
)

func smallLibrary(_ *Options, c *virtual.Config) { c.Slots, c.Capacity = 3, 256<<20 }

// scatter writes a heap of data to a foreign volume, in both partitions, and makes files
// of any runs of it: extents that share blocks, begin inside them, and leave gaps.
type scatter struct {
	bs   int
	heap []byte // the data partition's
	at   ltfs.Extent
	side []byte // the index partition's, in records of bs
	from uint64
	want map[string][]byte
}

func newScatter(t testing.TB, ctx context.Context, d tape.Drive, lv *ltfs.Volume, n int) *scatter {
	t.Helper()
	s := &scatter{bs: lv.BlockSize(), heap: pattern(1, n), want: map[string][]byte{}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%+v", err)
		}
	}
	// The index partition first: the next index goes behind it.
	must(d.LocateEnd(ctx, 0))
	pos, err := d.Position(ctx)
	must(err)
	s.side, s.from = pattern(2, min(n, 3*s.bs-5)), uint64(pos.Block)
	for rest := s.side; len(rest) > 0; {
		k := min(s.bs, len(rest))
		must(d.WriteBlock(ctx, rest[:k]))
		rest = rest[k:]
	}
	must(d.WriteFilemarks(ctx, 0))
	lv.Moved()
	e, err := lv.Append(ctx, s.heap)
	must(err)
	s.at = e[0]
	return s
}

// take appends n bytes from place from of a heap to f, behind gap zeros.
func (s *scatter) take(path string, f *ltfs.File, gap int, side bool, from, n int) {
	heap, e := s.heap, s.at
	if side {
		heap, e = s.side, ltfs.Extent{Partition: 'a', StartBlock: s.from}
	}
	in := uint64(e.ByteOffset) + uint64(from)
	f.Length += uint64(gap)
	if n > 0 {
		f.Extents = append(f.Extents, ltfs.Extent{FileOffset: f.Length, ByteCount: uint64(n), Partition: e.Partition,
			StartBlock: e.StartBlock + in/uint64(s.bs), ByteOffset: uint32(in % uint64(s.bs))})
	}
	f.Length += uint64(n)
	s.want[path] = append(append(s.want[path], make([]byte, gap)...), heap[from:from+n]...)
}

// Any file of any extents, on volumes of any block size, reads as it should; so it does after
// a part was written and archived, and after a restart.
func TestImportAnyExtents(t *testing.T) {
	for _, bs := range []int{4096, 65537, 1<<20 + 3, 8388604} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			w := newWorld(t, smallLibrary)
			files := rapid.Custom(func(r *rapid.T) [][5]int {
				return rapid.SliceOfN(rapid.Custom(func(r *rapid.T) [5]int {
					return [5]int{
						rapid.SampledFrom([]int{0, 0, 1, 5000, sliver.Size, 2*sliver.Size - 1}).Draw(r, "gap"),
						rapid.IntRange(0, 3).Draw(r, "side"),
						rapid.IntRange(0, 1<<30).Draw(r, "from"), rapid.SampledFrom([]int{0, 1, 10, 4096, 70_000, sliver.Size, 1<<21 + 9}).Draw(r, "length"),
						rapid.IntRange(0, 30).Draw(r, "file"),
					}
				}), 40, 40).Draw(r, "extents")
			}).Example(bs)
			var s *scatter
			w.foreignOpenRaw(foreignBarcode, bs, func(ctx context.Context, d tape.Drive, lv *ltfs.Volume) {
				s = newScatter(t, ctx, d, lv, 3<<20)
				made := map[string]*ltfs.File{}
				for _, x := range files {
					path := fmt.Sprintf("d%d/f%d", x[4]%3, x[4])
					f := made[path]
					if f == nil {
						f = &ltfs.File{}
						made[path] = f
					}
					side := x[1] == 0
					size := len(s.heap)
					if side {
						size = len(s.side)
					}
					n := min(x[3], size)
					s.take(path, f, x[0], side, x[2]%(size-n+1), n)
				}
				for path, f := range made {
					if err := lv.Index().Put(path, f); err != nil {
						t.Fatal(err)
					}
				}
				if err := lv.Close(ctx); err != nil {
					t.Fatalf("%+v", err)
				}
			})
			before := w.fingerprint(foreignBarcode)
			w.job(JobImport, foreignBarcode, "/in")
			check := func() {
				t.Helper()
				for path, want := range s.want {
					if got := w.content("in/" + path); !bytes.Equal(got, want) {
						t.Errorf("%s: %d bytes differ from the %d that it had", path, len(got), len(want))
					}
				}
			}
			check()
			w.job(JobEvict, "/")
			n := 0
			for path, want := range s.want {
				if len(want) < 100 {
					continue
				}
				f, done := w.openFile("in/" + path)
				at := len(want) / 2
				w.write(f, uint64(at), []byte("written here"))
				s.want[path] = append(want[:at:at], append([]byte("written here"), want[min(len(want), at+12):]...)...)
				done()
				if n++; n == 5 {
					break
				}
			}
			w.job(JobArchive, "/")
			w.job(JobEvict, "/")
			check()
			w.job(JobEvict, "/")
			w.restart()
			check()
			w.close()
			if after := w.fingerprint(foreignBarcode); after != before {
				t.Error("the foreign volume was written")
			}
			w.open()
		})
	}
}

// foreignOpenRaw is foreignOpen for one who needs the drive.
func (w *world) foreignOpenRaw(barcode string, blockSize int, fill func(context.Context, tape.Drive, *ltfs.Volume)) {
	w.t.Helper()
	w.close()
	w.cartridge(barcode, func(ctx context.Context, d tape.Drive) {
		if err := ltfs.Format(ctx, d, ltfs.FormatOptions{Barcode: tape.Barcode(barcode), BlockSize: blockSize}); err != nil {
			w.t.Fatalf("%+v", err)
		}
		lv, err := ltfs.Mount(ctx, d, ltfs.MountOptions{})
		if err != nil {
			w.t.Fatalf("%+v", err)
		}
		fill(ctx, d, lv)
	})
	w.open()
}

// Content is checked from its second recall on: what has changed on the cartridge is an error.
func TestImportChecked(t *testing.T) {
	w := newWorld(t, smallLibrary)
	w.foreign(foreignBarcode, 65536, func(ctx context.Context, lv *ltfs.Volume) {
		e, err := lv.Append(ctx, pattern(3, 200_000))
		if err == nil {
			err = lv.Index().Put("f", &ltfs.File{Length: 200_000, Extents: e})
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	w.job(JobImport, foreignBarcode, "/in")
	if !bytes.Equal(w.content("in/f"), pattern(3, 200_000)) {
		t.Fatal("differs")
	}
	w.job(JobEvict, "/")
	err := w.fs.cat.Update(func(tx *catalog.Tx) error {
		n := w.node("in/f").(*node)
		defer n.Release()
		b, err := tx.Bmap(n.ino.id, 0)
		if err != nil {
			return err
		}
		if !b.Slivers[0].HasSum {
			t.Error("the checksum is not on record")
		}
		b.Slivers[0].Sum++
		return tx.PutBmap(n.ino.id, 0, b)
	})
	if err != nil {
		t.Fatal(err)
	}
	w.restart()
	f, done := w.openFile("in/f")
	defer done()
	if _, err := readOnce(f, 0, 10); err == nil {
		t.Error("a wrong checksum was not noticed")
	}
}

// A write-protected cartridge is imported; it cannot grow.
func TestImportWriteProtected(t *testing.T) {
	w := newWorld(t, smallLibrary)
	w.goldenVolume(foreignBarcode)
	w.close()
	if err := w.lib.SetWriteProtect(foreignBarcode, true); err != nil {
		t.Fatal(err)
	}
	w.open()
	if got := w.importError(foreignBarcode, "/in", "grow=yes"); !strings.Contains(got, "write-protected") {
		t.Error(got)
	}
	// As the mover notes it when it looks for a volume to write.
	err := w.fs.cat.Update(func(tx *catalog.Tx) error {
		v, err := tx.VolumeByBarcode(foreignBarcode)
		if err != nil {
			return err
		}
		v.State, v.Flags = catalog.VolReadOnly, catalog.VolProtected
		return tx.PutVolume(&v)
	})
	if err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.job(JobImport, foreignBarcode, "/in")
	if got := w.content("in/hello.txt"); len(got) != 17 {
		t.Errorf("%q", got)
	}
	w.close()
	if err := w.lib.SetWriteProtect(foreignBarcode, false); err != nil {
		t.Fatal(err)
	}
	w.open()
	w.job(JobEvict, "/")
	if got := w.content("in/hello.txt"); len(got) != 17 {
		t.Errorf("%q", got)
	}
	for _, v := range w.fs.Volumes() {
		if v.Barcode == foreignBarcode && v.State != "read-only" {
			t.Errorf("the volume may be written: %+v", v)
		}
	}
}

// With --grow the volume becomes one of the archive: its index follows what happens to the
// files, and keeps what others wrote in it.
func TestImportGrow(t *testing.T) {
	// With one drive it is the volume in it that is written.
	w := newWorld(t, smallLibrary, func(o *Options, c *virtual.Config) { c.Drives, o.Mover.IndexIdle = 1, time.Millisecond })
	w.foreign("A00002L9", 65536, func(ctx context.Context, lv *ltfs.Volume) {
		e, err := lv.Append(ctx, pattern(4, 3<<20))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"dir/stays", "dir/goes", "dir/changes"} {
			f := &ltfs.File{Length: 3 << 20, Extents: e, Node: ltfs.Node{Unknown: []byte("<vendor>v</vendor>\n"),
				Xattrs: []ltfs.Xattr{{Key: "ltfs.hash.md5sum", Value: []byte("00")}, {Key: "note", Value: []byte("n")}}}}
			if err := lv.Index().Put(name, f); err != nil {
				t.Fatal(err)
			}
		}
		lv.Index().Unknown = []byte("<vendor>whole</vendor>\n")
	})
	w.job(JobImport, "A00002L9", "/in", "grow=yes")
	for _, v := range w.fs.Volumes() {
		if v.Barcode == "A00002L9" && (v.State != "append" || !v.Imported) {
			t.Errorf("%+v", v)
		}
	}
	n := w.node("in/dir/goes")
	gone := n.(*node).ino.id
	n.Release()
	w.removeTree("in/dir/goes")
	f, done := w.openFile("in/dir/changes")
	w.write(f, 1<<20, []byte("changed"))
	done()
	w.put("new", pattern(5, 1000))
	w.fs.archivePending(context.Background(), true)
	eventually(t, "the removal is on tape", func() bool { return !w.fs.pending.has(gone) })
	w.job(JobArchive, "/")
	w.job(JobEvict, "/")
	want := pattern(4, 3<<20)
	check := func() {
		t.Helper()
		if !bytes.Equal(w.content("in/dir/stays"), want) {
			t.Error("stays differs")
		}
		if !bytes.Equal(w.content("in/dir/changes"), append(append(bytes.Clone(want[:1<<20]), "changed"...), want[1<<20+7:]...)) {
			t.Error("changes differs")
		}
	}
	check()
	w.job(JobEvict, "/")
	w.restart()
	check()
	w.close()
	w.cartridge("A00002L9", func(ctx context.Context, d tape.Drive) {
		lv, err := ltfs.Mount(ctx, d, ltfs.MountOptions{})
		if err != nil {
			t.Fatalf("%+v", err)
		}
		x := lv.Index()
		if _, err := x.Lookup("in/dir/goes"); err == nil {
			t.Error("a removed file is still in the index")
		}
		if _, err := x.Lookup("new"); err != nil {
			t.Error("a new file did not go to the volume that grows")
		}
		if !strings.Contains(string(x.Unknown), "whole") {
			t.Errorf("the index has lost %q", x.Unknown)
		}
		for _, name := range []string{"in/dir/stays", "in/dir/changes"} {
			e, err := x.Lookup(name)
			if err != nil {
				t.Fatal(err)
			}
			f := e.(*ltfs.File)
			if !strings.Contains(string(f.Unknown), "vendor") {
				t.Errorf("%s has lost what SLIOD does not know: %q", name, f.Unknown)
			}
			m, err := ltfs.DecodeMeta(e)
			if err != nil || len(m.Slivers) != 3 || string(m.Xattrs["user.note"]) != "n" {
				t.Errorf("%s: %+v %v", name, m, err)
			}
			got := make([]byte, f.Length)
			for _, x := range f.Extents {
				if err := lv.ReadExtent(ctx, x, got[x.FileOffset:x.FileOffset+x.ByteCount]); err != nil {
					t.Fatalf("%+v", err)
				}
			}
			same := bytes.Equal(got, want)
			if same != (name == "in/dir/stays") {
				t.Errorf("%s: as it was: %v", name, same)
			}
		}
	})
	w.open()
}

// An import that is cut off leaves nothing that anybody sees, and the next start removes the
// rest. It can be done again then.
func TestImportCrash(t *testing.T) {
	w := newWorld(t, smallLibrary)
	w.foreign(foreignBarcode, 65536, func(ctx context.Context, lv *ltfs.Volume) {
		for i := range 5000 {
			if err := lv.Index().Put(fmt.Sprintf("d%d/f%d", i%10, i), &ltfs.File{}); err != nil {
				t.Fatal(err)
			}
		}
	})
	before := w.counts()
	// The records of an import, without its end: as a crash leaves it.
	x := ltfs.NewIndex("u", ltfs.Time{})
	for i := range 3000 {
		if err := x.Put(fmt.Sprintf("e/f%d", i), &ltfs.File{}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &importArgs{barcode: foreignBarcode, path: "/in"}
	_, err := ltfsimport.Build(ctx, w.fs.cat, indexOnly{x}, ltfsimport.Options{
		Begin:    func(tx *catalog.Tx, id sliver.FileID) error { _, err := noteImport(tx, a, id); return err },
		Progress: func(int64, int64) { cancel() },
	})
	if err == nil || w.counts() == before {
		t.Fatal("the import was not cut off in the middle")
	}
	if _, err := w.fs.Attach(rootCred, "in"); err == nil {
		t.Error("a half import can be seen")
	}
	w.restart()
	if after := w.counts(); after != before {
		t.Errorf("%s after the next start, before there were %s", after, before)
	}
	s := w.job(JobImport, foreignBarcode, "/in")
	if s.FilesDone != 5011 {
		t.Errorf("%+v", s)
	}
	w.restart()
	if a := w.stat("in"); a.NLink != 12 {
		t.Errorf("%+v", a)
	}
	if got := w.fs.files.Load(); got != 5011 {
		t.Errorf("%d files are counted", got)
	}
	w.removeTree("in/d3")
}

// TestGrowCutOff: an import whose volume did not come to be one that grows stays, and the next
// start, but no later one, says what it lacks.
func TestGrowCutOff(t *testing.T) {
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprint("kill ", kill), func(t *testing.T) {
			w := newWorld(t, oneDrive)
			content := pattern(4, 1<<20)
			w.foreign("A00002L9", 65536, func(ctx context.Context, lv *ltfs.Volume) {
				e, err := lv.Append(ctx, content)
				if err == nil {
					err = lv.Index().Put("f", &ltfs.File{Length: 1 << 20, Extents: e})
				}
				if err != nil {
					t.Fatal(err)
				}
			})
			log := w.logged()
			g := w.hold(at(scsi.OpWrite6, false))
			id, err := w.fs.StartJob(JobImport, []string{"A00002L9", "/in", "grow=yes"})
			if err != nil {
				t.Fatal(err)
			}
			j := w.fs.jobs.find(id)
			g.wait()
			if kill {
				w.killWhile(j, g)
			} else {
				w.root.Release()
				w.fs.stopMover()
				g.release()
				<-j.finished
				_ = w.fs.Close(t.Context()) // the library was cut short
			}
			w.open()
			if !log.has("A00002L9 as /in", "read-only", "level=warning") {
				t.Errorf("%q", log.lines)
			}
			if got := w.content("in/f"); !bytes.Equal(got, content) {
				t.Error("the file differs")
			}
			w.restart()
			if n := log.count("A00002L9 as /in"); n != 1 {
				t.Errorf("it is told %d times", n)
			}
			if jobs, _, _ := w.leftover(); jobs != 0 {
				t.Errorf("%d jobs are left", jobs)
			}
		})
	}
}

// indexOnly is a volume that has an index and nothing else.
type indexOnly struct{ x *ltfs.Index }

func (i indexOnly) Index() *ltfs.Index                              { return i.x }
func (i indexOnly) CanHold(ltfs.Extent) bool                        { return true }
func (i indexOnly) BlockSize() int                                  { return 65536 }
func (i indexOnly) Label() ltfs.Label                               { return ltfs.Label{Index: 'a', Data: 'b'} }
func (i indexOnly) TapePartition(p ltfs.PartitionID) tape.Partition { return tape.Partition(p - 'a') }

// A volume of another archive: owners, modes and links come along, and what its other volumes
// have is an error, not zeros. A copy of a volume of this archive is refused.
func TestImportOtherArchive(t *testing.T) {
	other := newWorld(t, smallLibrary)
	other.put("both", pattern(6, 2<<20))
	other.put("f", pattern(7, 100_000))
	n := other.node("f")
	if err := other.root.Link(rootCred, n, "hard"); err != nil {
		t.Fatal(err)
	}
	if err := n.SetXattr(rootCred, "trusted.t", []byte("tt"), 0); err != nil {
		t.Fatal(err)
	}
	list := "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x07\x00\x41\x00\x00\x00" +
		"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff"
	if err := n.SetXattr(rootCred, acl.Access, []byte(list), 0); err != nil {
		t.Fatal(err)
	}
	n.Release()
	other.job(JobArchive, "/")
	w := other
	barcode := w.ownVolume()
	// The catalog forgets the volume: it is known by its files all the same.
	forget := func() {
		t.Helper()
		err := w.fs.cat.Update(func(tx *catalog.Tx) error {
			v, err := tx.VolumeByBarcode(barcode)
			if err != nil {
				return err
			}
			v.UUID, v.State = "", catalog.VolReadOnly
			return tx.PutVolume(&v)
		})
		if err != nil {
			t.Fatal(err)
		}
		w.restart()
	}
	forget()
	if got := w.importError(barcode, "/in"); !strings.Contains(got, "of this very archive") {
		t.Error(got)
	}
	// Another archive with the same library.
	w.close()
	w.opts.Dir = t.TempDir()
	w.open()
	w.job(JobImport, barcode, "/in")
	if a := w.stat("in/f"); a.NLink != 2 || a.Mode != 0o100644 {
		t.Errorf("%+v", a)
	}
	if w.stat("in/hard").NLink != 2 || w.xattrOf("in/f", "trusted.t") != "tt" || w.xattrOf("in/f", acl.Access) != list {
		t.Error("the hard link, the xattr or the access list is gone")
	}
	if !bytes.Equal(w.content("in/both"), pattern(6, 2<<20)) || !bytes.Equal(w.content("in/hard"), pattern(7, 100_000)) {
		t.Error("content differs")
	}
}

// ownVolume is the barcode of a volume that the archive appends to.
func (w *world) ownVolume() string {
	w.t.Helper()
	for _, v := range w.fs.Volumes() {
		if v.State == "append" {
			return v.Barcode
		}
	}
	w.t.Fatal("nothing was archived")
	return ""
}
