package ltfsimport

import (
	"context"
	stderrors "errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/tape"
	"sliod/tape/ltfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source is a volume that has an index only.
type source struct {
	x  *ltfs.Index
	bs int
}

func (s *source) Index() *ltfs.Index { return s.x }
func (s *source) BlockSize() int     { return s.bs }
func (s *source) Label() ltfs.Label {
	return ltfs.Label{Index: 'a', Data: 'b', BlockSize: uint32(s.bs)}
}
func (s *source) TapePartition(p ltfs.PartitionID) tape.Partition { return tape.Partition(p - 'a') }

// CanHold: the volume ends where its extents say.
func (s *source) CanHold(e ltfs.Extent) bool { return e.ByteCount <= 1<<40 }

type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func openCatalog(t fataler) *catalog.Catalog {
	t.Helper()
	cat, err := catalog.Open("catalog", catalog.Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	return cat
}

var options = Options{Volume: 7, Now: catalog.Time{Sec: 5}, UID: 1, GID: 2, Mode: 0o644, DirMode: 0o755, Flags: catalog.FlagImported}

func build(t fataler, cat *catalog.Catalog, x *ltfs.Index, bs int, o Options) *Result {
	t.Helper()
	res, err := Build(context.Background(), cat, &source{x, bs}, o)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return res
}

// lookup returns the file at a path below the root of an import.
func lookup(t fataler, cat *catalog.Catalog, root sliver.FileID, path string) (r catalog.Inode) {
	t.Helper()
	err := cat.View(func(tx *catalog.Tx) error {
		id := root
		for _, name := range strings.Split(path, "/") {
			e, err := tx.Lookup(id, name)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			named := false
			if err := tx.Names(e.ID, func(dir sliver.FileID, n string) bool {
				named = named || dir == id && n == name
				return true
			}); err != nil || !named {
				t.Fatalf("%s: the name has no reverse: %v", path, err)
			}
			id = e.ID
		}
		var err error
		r, err = tx.Inode(id)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return r
}

func put(t fataler, x *ltfs.Index, path string, e ltfs.Entry) {
	t.Helper()
	if err := x.Put(path, e); err != nil {
		t.Fatal(err)
	}
}

// run is bytes of a file, from off on, that lie behind each other on the volume, from byte at of a
// partition's records on.
type run struct {
	off, n, at uint64
	partition  uint8
}

// join appends r to runs, to the last one if r goes on there.
func join(runs []run, r run) []run {
	if n := len(runs); n > 0 && runs[n-1].off+runs[n-1].n == r.off && runs[n-1].at+runs[n-1].n == r.at && runs[n-1].partition == r.partition {
		runs[n-1].n += r.n
		return runs
	}
	if r.n == 0 {
		return runs
	}
	return append(runs, r)
}

// where tells where the catalog has the bytes of a file; those that it has nowhere are zeros.
func where(t fataler, cat *catalog.Catalog, r catalog.Inode, bs uint64) (runs []run) {
	t.Helper()
	err := cat.View(func(tx *catalog.Tx) error {
		return tx.Bmaps(r.ID, 0, func(no sliver.BmapNo, m *catalog.Bmap) bool {
			for i := range m.Slivers {
				rec := &m.Slivers[i]
				if rec.Hole() {
					continue
				}
				n := no.First() + sliver.No(i)
				if int(rec.Len) != sliver.LenIn(r.Size, n) || rec.ArchLen != rec.Len || rec.HasSum || len(rec.Copies) != 1 || rec.Copies[0].Volume != 7 {
					t.Fatalf("sliver %d: %+v", n, rec)
				}
				at, data := n.Start(), false
				for _, p := range rec.Copies[0].Pieces {
					if !p.IsZeros() {
						data = true
						if uint64(p.Offset) >= bs {
							t.Fatalf("sliver %d: a piece begins outside its record: %+v", n, p)
						}
						runs = join(runs, run{at, uint64(p.Len), p.Block*bs + uint64(p.Offset), p.Partition})
					}
					at += uint64(p.Len)
				}
				if at != n.Start()+uint64(rec.ArchLen) || !data {
					t.Fatalf("sliver %d: pieces of %d bytes, archived %d, data %v", n, at-n.Start(), rec.ArchLen, data)
				}
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

// Any extents, in any place: every byte is where the index says.
func TestExtents(t *testing.T) {
	cat := openCatalog(t)
	defer cat.Close()
	rapid.Check(t, func(t *rapid.T) {
		bs := rapid.SampledFrom([]int{1, 4096, 5000, 65536, 524288, 1 << 20, 3<<20 + 1, 1<<24 - 1}).Draw(t, "block size")
		f := &ltfs.File{}
		gap := rapid.SampledFrom([]int{0, 0, 1, 777, sliver.Size - 1, sliver.Size, 2*sliver.Size + 5, 130 * sliver.Size})
		length := rapid.SampledFrom([]int{0, 1, 3, 5000, sliver.Size - 1, sliver.Size, sliver.Size + 1, 200 * sliver.Size})
		var want []run
		for range rapid.IntRange(0, 6).Draw(t, "extents") {
			f.Length += uint64(gap.Draw(t, "gap"))
			e := ltfs.Extent{
				FileOffset: f.Length, ByteCount: uint64(length.Draw(t, "length")), Partition: rapid.SampledFrom([]ltfs.PartitionID{'a', 'b'}).Draw(t, "partition"),
				StartBlock: rapid.Uint64Range(4, 1<<36).Draw(t, "block"), ByteOffset: uint32(rapid.IntRange(0, bs-1).Draw(t, "offset")),
			}
			f.Extents = append(f.Extents, e)
			want = join(want, run{e.FileOffset, e.ByteCount, e.StartBlock*uint64(bs) + uint64(e.ByteOffset), uint8(e.Partition - 'a')})
			f.Length += e.ByteCount
		}
		f.Length += uint64(gap.Draw(t, "tail"))
		x := ltfs.NewIndex("u", ltfs.Time{})
		put(t, x, "d/f", f)
		res := build(t, cat, x, bs, options)
		r := lookup(t, cat, res.Root.ID, "d/f")
		if r.Size != f.Length || r.Mode != 0o100644 || r.UID != 1 || r.GID != 2 || r.Flags&catalog.FlagImported == 0 {
			t.Fatalf("%+v", r)
		}
		if got := where(t, cat, r, uint64(bs)); !slices.Equal(got, want) {
			t.Fatalf("bytes are at\n%+v, they should be at\n%+v", got, want)
		}
	})
}

func TestBrokenExtents(t *testing.T) {
	good := ltfs.Extent{FileOffset: 5, ByteCount: 10, Partition: 'b', StartBlock: 4, ByteOffset: 4095}
	for name, change := range map[string]func(*ltfs.Extent){
		"partition": func(e *ltfs.Extent) { e.Partition = 'c' },
		"label":     func(e *ltfs.Extent) { e.StartBlock = 3 },
		"offset":    func(e *ltfs.Extent) { e.ByteOffset = 4096 },
		"length":    func(e *ltfs.Extent) { e.ByteCount = 16 },
		"overflow":  func(e *ltfs.Extent) { e.FileOffset = 1<<64 - 5 },
		"block":     func(e *ltfs.Extent) { e.StartBlock = 1<<64 - 1 },
		"good":      func(*ltfs.Extent) {},
	} {
		t.Run(name, func(t *testing.T) {
			cat := openCatalog(t)
			defer cat.Close()
			e := good
			change(&e)
			x := ltfs.NewIndex("u", ltfs.Time{})
			put(t, x, "f", &ltfs.File{Length: 20, Extents: []ltfs.Extent{e}})
			_, err := Build(context.Background(), cat, &source{x, 4096}, options)
			if want := name != "good"; stderrors.Is(err, ltfs.ErrInconsistent) != want {
				t.Fatalf("%v", err)
			}
			o := options
			o.BrokenExtents = true
			res := build(t, cat, x, 4096, o)
			if res.NoteCount > 1 || (res.NoteCount == 1) == (name == "good") {
				t.Errorf("%q", res.Notes)
			}
		})
	}
}

func TestNames(t *testing.T) {
	cat := openCatalog(t)
	defer cat.Close()
	x := ltfs.NewIndex("u", ltfs.Time{})
	long := strings.Repeat("ü", 200)
	for _, name := range []string{long, "x" + long, strings.Repeat("n", 255), "a\nb", "\xff", " ", "..."} {
		put(t, x, name, &ltfs.File{})
	}
	res := build(t, cat, x, 4096, options)
	var names []string
	if err := cat.View(func(tx *catalog.Tx) error {
		return tx.Readdir(res.Root.ID, 0, func(e catalog.Dirent) bool { names = append(names, e.Name); return true })
	}); err != nil {
		t.Fatal(err)
	}
	if len(names) != 7 || res.NoteCount != 2 || res.Root.NextCookie != catalog.FirstCookie+7 {
		t.Fatalf("%q %q", names, res.Notes)
	}
	for _, n := range names[2:] {
		if x.Root.Child(n) == nil {
			t.Errorf("%q was changed", n)
		}
	}
	parsed, err := ltfs.Parse(strings.NewReader(`<ltfsindex version="2.4.0"><volumeuuid>u</volumeuuid><generationnumber>1</generationnumber>` +
		`<location><partition>a</partition><startblock>5</startblock></location><directory><name/><contents>` +
		`<file><name>a/b</name><length>0</length></file><file><name>x%</name><length>0</length></file>` +
		`<file><name percentencoded="true">q%3Ar</name><length>0</length></file></contents></directory></ltfsindex>`))
	if err != nil {
		t.Fatal(err)
	}
	res = build(t, cat, parsed, 4096, options)
	for _, name := range []string{"a_b", "x%", "q:r"} {
		lookup(t, cat, res.Root.ID, name)
	}
	if len(res.Notes) != 1 || !strings.Contains(res.Notes[0], `"a/b"`) {
		t.Errorf("%q", res.Notes)
	}
	for raw, want := range map[string]string{"a/b": "a%2Fb", ".": "%2E", "..": "%2E%2E", "": "%", "a\x00": "a%00"} {
		if got := fitName(raw); got != want || !goodName(got) {
			t.Errorf("%q is called %q, want %q", raw, got, want)
		}
	}
}

// A volume of another archive of ours: all that SLIOD noted is taken over.
func TestMeta(t *testing.T) {
	cat := openCatalog(t)
	defer cat.Close()
	x := ltfs.NewIndex("u", ltfs.Time{})
	apply := func(path string, e ltfs.Entry, m ltfs.Meta) {
		t.Helper()
		m.FileID, m.Generation, m.DataVersion, m.UID, m.GID = 1000, 9, 9, 50, 60
		m.Mtime = ltfs.Time{Sec: -5, Nsec: 7}
		if err := m.Apply(e); err != nil {
			t.Fatal(err)
		}
		put(t, x, path, e)
	}
	apply("dir", &ltfs.Dir{}, ltfs.Meta{Mode: 0o041777, Xattrs: map[string][]byte{"trusted.a": nil}})
	apply("dir/dev", &ltfs.File{}, ltfs.Meta{Mode: 0o020600, Major: 4, Minor: 64})
	apply("dir/link", &ltfs.File{}, ltfs.Meta{Mode: 0o120777, Target: "f"})
	size := uint64(3*sliver.Size + 100)
	f := &ltfs.File{Extents: []ltfs.Extent{
		{FileOffset: 0, ByteCount: sliver.Size, Partition: 'b', StartBlock: 10},
		{FileOffset: 3 * sliver.Size, ByteCount: 100, Partition: 'b', StartBlock: 20, ByteOffset: 3},
	}}
	f.Node.Xattrs = []ltfs.Xattr{{Key: "ltfs.hash.md5sum", Value: []byte("00")}}
	apply("dir/f", f, ltfs.Meta{Mode: 0o104755, Size: size, Xattrs: map[string][]byte{"user.note": []byte("n"), "security.x": {0, 1}},
		Links: []string{"other/place/f2", "dir/f3", "dir/dev", "dir/f/x"},
		Slivers: []ltfs.SliverMeta{
			{No: 0, Version: 77, Sum: 0xabc, Len: sliver.Size}, {No: 1, Version: 78, Sum: 0xdef, Len: sliver.Size},
			{No: 3, Version: 80, Sum: 0x123, Len: 100},
		}})
	changed := &ltfs.File{}
	apply("changed", changed, ltfs.Meta{Mode: 0o100600, Size: 50, Slivers: []ltfs.SliverMeta{{No: 0, Version: 1, Sum: 5, Len: 50}}})
	changed.Length, changed.Extents = 60, []ltfs.Extent{{ByteCount: 60, Partition: 'b', StartBlock: 30}}
	res := build(t, cat, x, 524288, options)
	root := res.Root.ID
	if r := lookup(t, cat, root, "dir"); r.Mode != 0o041777 || r.UID != 50 || r.Mtime != (catalog.Time{Sec: -5, Nsec: 7}) || r.NLink != 2 || r.ID == 1000 {
		t.Errorf("%+v", r)
	}
	if r := lookup(t, cat, root, "dir/dev"); r.Mode != 0o020600 || r.Major != 4 || r.Minor != 64 || r.NLink != 1 {
		t.Errorf("%+v", r)
	}
	if r := lookup(t, cat, root, "dir/link"); r.Target != "f" || r.Mode != 0o120777 {
		t.Errorf("%+v", r)
	}
	r := lookup(t, cat, root, "dir/f")
	if r.NLink != 3 || r.Mode != 0o104755 || r.Size != size {
		t.Errorf("%+v", r)
	}
	for _, p := range []string{"other/place/f2", "dir/f3"} {
		if o := lookup(t, cat, root, p); o.ID != r.ID {
			t.Errorf("%s is another file", p)
		}
	}
	if len(res.Notes) != 2 || res.Root.NLink != 4 || res.Files != 8 {
		t.Errorf("%q %+v", res.Notes, res)
	}
	err := cat.View(func(tx *catalog.Tx) error {
		xa := map[string]string{}
		if err := tx.Xattrs(r.ID, func(n string, v []byte) bool { xa[n] = string(v); return true }); err != nil {
			return err
		}
		if len(xa) != 2 || xa["user.note"] != "n" || xa["security.x"] != "\x00\x01" {
			t.Errorf("%q", xa)
		}
		b, err := tx.Bmap(r.ID, 0)
		if err != nil {
			return err
		}
		s := &b.Slivers
		if !s[0].HasSum || s[0].Sum != 0xabc || len(s[0].Copies[0].Pieces) != 1 {
			t.Errorf("%+v", s[0])
		}
		if s[1].Hole() || len(s[1].Copies) != 1 || len(s[1].Copies[0].Pieces) != 0 || s[1].ArchLen != sliver.Size {
			t.Errorf("a sliver of another volume: %+v", s[1])
		}
		if !s[2].Hole() {
			t.Errorf("%+v", s[2])
		}
		if s[3].Sum != 0x123 || s[3].Len != 100 || s[3].Copies[0].Pieces[0] != (catalog.Piece{Partition: 1, Block: 20, Offset: 3, Len: 100}) {
			t.Errorf("%+v", s[3])
		}
		c := lookup(t, cat, root, "changed")
		if b, err = tx.Bmap(c.ID, 0); err == nil && (c.Size != 60 || b.Slivers[0].HasSum || b.Slivers[0].Len != 60) {
			t.Errorf("a file that another program changed: %+v", b.Slivers[0])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestXattrsAndTimes(t *testing.T) {
	cat := openCatalog(t)
	defer cat.Close()
	x := ltfs.NewIndex("u", ltfs.Time{Sec: 1})
	at := func(n int64) ltfs.Time { return ltfs.Time{Sec: n, Nsec: 9} }
	put(t, x, "f", &ltfs.File{Node: ltfs.Node{ReadOnly: true, AccessTime: at(1), ModifyTime: at(2), ChangeTime: at(3), CreationTime: at(4),
		Xattrs: []ltfs.Xattr{{Key: "note", Value: []byte("n")}, {Key: "ltfs.hash.sha256sum", Value: []byte("ab")}, {Key: "sliod.state", Value: []byte("x")},
			{Key: strings.Repeat("k", 300)}, {Key: "big", Value: make([]byte, 64<<10+1)}, {Key: "empty"}}}})
	put(t, x, "l", &ltfs.File{IsSymlink: true, Symlink: strings.Repeat("t", 4096)})
	res := build(t, cat, x, 4096, options)
	r := lookup(t, cat, res.Root.ID, "f")
	if r.Mode != 0o100444 || r.Atime.Sec != 1 || r.Mtime.Sec != 2 || r.Ctime.Sec != 3 || r.Btime != (catalog.Time{Sec: 4, Nsec: 9}) {
		t.Errorf("%+v", r)
	}
	xa := map[string]string{}
	if err := cat.View(func(tx *catalog.Tx) error {
		return tx.Xattrs(r.ID, func(n string, v []byte) bool { xa[n] = string(v); return true })
	}); err != nil {
		t.Fatal(err)
	}
	if len(xa) != 3 || xa["user.note"] != "n" || xa["user.ltfs.hash.sha256sum"] != "ab" || xa["user.empty"] != "" {
		t.Errorf("%q", xa)
	}
	if res.NoteCount != 3 || res.Files != 2 { // the link is left out
		t.Errorf("%d %q", res.Files, res.Notes)
	}
}

// Wherever an import is cut off, what it has made can be removed whole.
func TestRemove(t *testing.T) {
	cat := openCatalog(t)
	defer cat.Close()
	x := ltfs.NewIndex("u", ltfs.Time{})
	for i := range 1500 {
		f := &ltfs.File{Length: 10, Extents: []ltfs.Extent{{ByteCount: 10, Partition: 'b', StartBlock: 4}}, Node: ltfs.Node{Xattrs: []ltfs.Xattr{{Key: "k"}}}}
		put(t, x, fmt.Sprintf("d%d/e%d/f%d", i%7, i%40, i), f)
	}
	put(t, x, "huge", &ltfs.File{Length: 1 << 38, Extents: []ltfs.Extent{{ByteCount: 1 << 35, Partition: 'b', StartBlock: 4}}})
	empty := dump(t, cat)
	for limit := 0; ; limit += 2 {
		ctx, cancel := context.WithCancel(context.Background())
		o := options
		var root sliver.FileID
		n := 0
		o.Begin = func(tx *catalog.Tx, id sliver.FileID) error { root = id; return tx.PutOrphan(id) }
		o.Progress = func(int64, int64) {
			if n++; n > limit {
				cancel()
			}
		}
		_, err := Build(ctx, cat, &source{x, 4096}, o)
		cancel()
		if root != 0 {
			if err := Remove(context.Background(), cat, root, func(tx *catalog.Tx) error { return tx.DeleteOrphan(root) }); err != nil {
				t.Fatal(err)
			}
		}
		if got := dump(t, cat); got != empty {
			t.Fatalf("cut off after %d transactions: %s are left", limit, got)
		}
		if err == nil {
			break
		}
		if !stderrors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

// dump counts what is in the catalog.
func dump(t *testing.T, cat *catalog.Catalog) string {
	t.Helper()
	inodes, orphans := 0, 0
	var ids []sliver.FileID
	err := cat.View(func(tx *catalog.Tx) error {
		if err := tx.Inodes(0, func(r catalog.Inode) bool { inodes++; ids = append(ids, r.ID); return true }); err != nil {
			return err
		}
		return tx.Orphans(func(sliver.FileID) bool { orphans++; return true })
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d inodes %v, %d orphans", inodes, ids[:min(3, len(ids))], orphans)
}
