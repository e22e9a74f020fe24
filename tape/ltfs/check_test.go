package ltfs

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sliod/tape"
	"sliod/tape/ltfs/ltfscheck"
)

// mustBeClean has the independent reader look at all of a volume. No finding is
// allowed but those that contain one of except.
func mustBeClean(t fataler, d tape.Drive, except ...string) *ltfscheck.Report {
	t.Helper()
	r, err := ltfscheck.Check(context.Background(), d, ltfscheck.Options{Every: true, Data: true})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	for _, f := range r.Findings {
		if f.Severity == ltfscheck.Error || f.Severity == ltfscheck.Warning && !slices.ContainsFunc(except, func(s string) bool { return strings.Contains(f.Text, s) }) {
			t.Fatalf("%v", f)
		}
	}
	return r
}

// leftovers are what a crash may leave: an index that was cut off, in front of the
// data that came after it.
var leftovers = []string{"a filemark that belongs to no whole index", "what begins like an index cannot be read", "no newer index refers to"}

// TestCrossRead: any tree, to an index on tape, is the same tree to a reader that
// shares no code with the writer.
func TestCrossRead(t *testing.T) {
	ctx := context.Background()
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.IntRange(1, 2).Draw(t, "partitions")
		d := newMemDrive(parts)
		if err := Format(ctx, d, FormatOptions{Barcode: "A00001L9", BlockSize: testBlock, VolumeName: "test"}); err != nil {
			t.Fatalf("%+v", err)
		}
		v, err := Mount(ctx, d, MountOptions{})
		if err != nil {
			t.Fatalf("%+v", err)
		}
		for range rapid.IntRange(1, 3).Draw(t, "indexes") {
			growTree(t, v, "", 0)
			if err := v.WriteIndex(ctx); err != nil {
				t.Fatalf("%+v", err)
			}
		}
		seen := map[string]*ltfscheck.Entry{}
		r, err := ltfscheck.Check(ctx, d, ltfscheck.Options{Every: true, Data: true, Entry: func(e *ltfscheck.Entry) { seen[e.Path] = e }})
		if err != nil {
			t.Fatalf("%+v", err)
		}
		for _, f := range r.Findings {
			if f.Severity > ltfscheck.Note {
				t.Fatalf("%v", f)
			}
		}
		if r.Files != v.Index().Files() || r.Dirs != v.Index().Dirs() || len(seen) != r.Files+r.Dirs {
			t.Fatalf("%d files and %d directories became %d and %d", v.Index().Files(), v.Index().Dirs(), r.Files, r.Dirs)
		}
		var look func(e Entry, path string)
		look = func(e Entry, path string) {
			o := seen[path]
			if o == nil {
				t.Fatalf("%q is gone", path)
			}
			same(t, e, o)
			if dir, ok := e.(*Dir); ok {
				for _, c := range dir.Children() {
					look(c, strings.TrimPrefix(path+"/"+safeName(c.node().Name, true), "/"))
				}
			}
		}
		look(v.Index().Root, "")
		// And to our own reader.
		w, err := Mount(ctx, d, MountOptions{IgnoreMAM: rapid.Bool().Draw(t, "ignore the memory")})
		if err != nil {
			t.Fatalf("%+v", err)
		}
		compare(t, v.Index(), w.Index())
	})
}

// growTree adds entries with data on tape.
func growTree(t *rapid.T, v *Volume, prefix string, depth int) {
	ctx := context.Background()
	for range rapid.IntRange(0, 3).Draw(t, "entries") {
		path := prefix + anyName(t)
		if depth < 3 && rapid.Bool().Draw(t, "dir") {
			dir := &Dir{}
			fillNode(t, &dir.Node)
			if v.Index().Put(path, dir) == nil {
				growTree(t, v, path+"/", depth+1)
			}
			continue
		}
		f := &File{}
		fillNode(t, &f.Node)
		if rapid.IntRange(0, 3).Draw(t, "type") == 0 {
			f.IsSymlink, f.Symlink = true, "../"+anyName(t)
		} else {
			for range rapid.IntRange(0, 3).Draw(t, "extents") {
				data := pattern(uint64(f.Length), rapid.IntRange(1, 3*testBlock).Draw(t, "bytes"))
				ext, err := v.Append(ctx, data)
				if err != nil {
					t.Fatalf("%+v", err)
				}
				for _, e := range ext {
					e.FileOffset = f.Length + rapid.Uint64Range(0, 5000).Draw(t, "gap")
					f.Length = e.FileOffset + e.ByteCount
					f.Extents = append(f.Extents, e)
				}
				if rapid.Bool().Draw(t, "flush") {
					if err := v.Flush(ctx); err != nil {
						t.Fatalf("%+v", err)
					}
				}
			}
			f.Length += rapid.Uint64Range(0, 5000).Draw(t, "tail")
		}
		_ = v.Index().Put(path, f) // a file may be in the way: then the data are dead
	}
}

// same compares an entry with what the other reader found.
func same(t *rapid.T, e Entry, o *ltfscheck.Entry) {
	n := e.node()
	_, isDir := e.(*Dir)
	if o.Dir != isDir || o.ReadOnly != n.ReadOnly || o.UID != n.UID {
		t.Fatalf("%+v became %+v", n, o)
	}
	times := []time.Time{o.Creation, o.Change, o.Modify, o.Access, o.Backup}
	for i, want := range []Time{n.CreationTime, n.ChangeTime, n.ModifyTime, n.AccessTime, n.BackupTime} {
		if got := TimeOf(times[i]); got != want {
			t.Fatalf("time %d of %q: %v became %v", i, o.Path, want, got)
		}
	}
	xattrs := map[string]string{}
	for _, a := range o.Xattrs {
		if a.Key != keyName && a.Key != keyTarget {
			xattrs[a.Key] = string(a.Value)
		}
	}
	want := map[string]string{}
	for _, a := range n.Xattrs {
		want[a.Key] = string(a.Value)
	}
	if !reflect.DeepEqual(xattrs, want) {
		t.Fatalf("xattrs of %q: %q became %q", o.Path, want, xattrs)
	}
	f, ok := e.(*File)
	if !ok {
		return
	}
	if o.Length != f.Length || o.IsSymlink != f.IsSymlink || f.IsSymlink && o.Symlink != safeName(f.Symlink, false) || len(o.Extents) != len(f.Extents) {
		t.Fatalf("%+v became %+v", f, o)
	}
	for i, x := range f.Extents {
		if got := (Extent{o.Extents[i].FileOffset, o.Extents[i].StartBlock, o.Extents[i].ByteCount, uint32(o.Extents[i].ByteOffset), PartitionID(o.Extents[i].Partition[0])}); got != x {
			t.Fatalf("extent of %q: %+v became %+v", o.Path, x, got)
		}
	}
}

// TestOurVolumes: what a volume of ours looks like to the independent reader in all
// stages of its life.
func TestOurVolumes(t *testing.T) {
	ctx := context.Background()
	for parts := 1; parts <= 2; parts++ {
		d := newMemDrive(parts)
		d.room = 400 << 10
		mustFormat(t, d, "A00001L9")
		mustBeClean(t, d)
		v := mustMount(t, d, false)
		for i := range 20 {
			m := &Meta{FileID: uint64(i) + 2, Mode: 0o100644, Xattrs: map[string][]byte{"user.note": []byte("text"), "trusted.x": {0, 1}}}
			data := pattern(uint64(i), i*700)
			ext, err := v.Append(ctx, data)
			if err != nil {
				t.Fatal(err)
			}
			m.Size = uint64(len(data))
			f := &File{Extents: ext}
			if err := m.Apply(f); err != nil {
				t.Fatal(err)
			}
			if err := v.Index().Put(fmt.Sprintf("dir%d/f:%d%%", i%3, i), f); err != nil {
				t.Fatal(err)
			}
		}
		for path, m := range map[string]*Meta{
			"link":       {FileID: 50, Mode: 0o120777, Target: "../a:b\xff"},
			"fifo":       {FileID: 51, Mode: 0o010644},
			"device":     {FileID: 52, Mode: 0o020644, Major: 8, Minor: 1},
			"old\xff":    {FileID: 53, Mode: 0o100644, Mtime: Time{Sec: 1 << 60}, Atime: Time{Sec: -1 << 60}},
			"two names":  {FileID: 54, Mode: 0o100644, Links: []string{"dir0/other"}},
			" spaces ":   {FileID: 55, Mode: 0o100644},
			"empty file": {FileID: 56, Mode: 0o100600},
		} {
			f := &File{}
			if err := m.Apply(f); err != nil {
				t.Fatal(err)
			}
			if err := v.Index().Put(path, f); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.Close(ctx); err != nil {
			t.Fatalf("%+v", err)
		}
		mustBeClean(t, d)
		// Rewritten and deleted.
		v = mustMount(t, d, false)
		if err := addFile(t, v, "dir1/f:1%", pattern(9, 9000)); err != nil {
			t.Fatal(err)
		}
		if err := v.Index().Remove("dir2"); err != nil {
			t.Fatal(err)
		}
		if err := v.Close(ctx); err != nil {
			t.Fatalf("%+v", err)
		}
		if r := mustBeClean(t, d); len(r.Indexes) != 2+parts {
			t.Fatalf("%d indexes", len(r.Indexes))
		}
		// Full.
		v = mustMount(t, d, false)
		for n := 0; addFile(t, v, fmt.Sprintf("full%d", n), pattern(uint64(n), 5000)) == nil; n++ {
		}
		if err := v.Close(ctx); err != nil {
			t.Fatalf("%+v", err)
		}
		mustBeClean(t, d)
	}
}

// TestCrashIsCleanAgain: whatever a crash leaves, the next index makes of it a volume
// that the independent reader has nothing against.
func TestCrashIsCleanAgain(t *testing.T) {
	ctx := context.Background()
	for parts := 1; parts <= 2; parts++ {
		d := newMemDrive(parts)
		mustFormat(t, d, "A00001L9")
		var shots []*memDrive
		d.onWrite = func() { shots = append(shots, d.clone()) }
		v := mustMount(t, d, false)
		for round := range 2 {
			for i := range 12 {
				if err := addFile(t, v, fmt.Sprintf("r%d/f%d", round, i), pattern(uint64(i), 3000)); err != nil {
					t.Fatal(err)
				}
			}
			if err := v.WriteIndex(ctx); err != nil {
				t.Fatal(err)
			}
		}
		for n, s := range shots {
			for _, adopt := range []bool{true, false} {
				d := s.clone()
				v := mustMount(t, d, false)
				if adopt {
					v.Adopt()
				} else if err := v.CutOff(); err != nil {
					t.Fatal(err)
				}
				if err := addFile(t, v, "new", []byte("new")); err != nil {
					t.Fatalf("%+v", err)
				}
				if err := v.Close(ctx); err != nil {
					t.Fatalf("state %d: %+v", n, err)
				}
				r, err := ltfscheck.Check(ctx, d, ltfscheck.Options{Every: true, Data: true})
				if err != nil || !r.OK() {
					t.Fatalf("state %d of %d partitions, adopt %v: %v %+v", n, parts, adopt, r, err)
				}
				mustBeClean(t, d, leftovers...)
			}
		}
	}
}

// BenchmarkCheck is the independent reader on an index of 100,000 files, twice: that of
// each partition.
func BenchmarkCheck(b *testing.B) {
	ctx := context.Background()
	d := newMemDrive(2)
	if err := Format(ctx, d, FormatOptions{Barcode: "A00001L9"}); err != nil {
		b.Fatal(err)
	}
	v := mustMount(b, d, false)
	ext, err := v.Append(ctx, pattern(1, 1<<20))
	if err != nil {
		b.Fatal(err)
	}
	for i := range 100_000 {
		f := &File{Length: 1 << 20, Extents: ext}
		m := Meta{FileID: uint64(i) + 2, Mode: 0o100644, Size: 1 << 20, Slivers: []SliverMeta{{Version: 1, Sum: uint64(i), Len: 1 << 20}}}
		if err := m.Apply(f); err != nil {
			b.Fatal(err)
		}
		if err := v.Index().Put(fmt.Sprintf("dir%03d/file%06d.dat", i/1000, i), f); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(2 * v.Index().EstimateBytes())
	if err := v.Close(ctx); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if r, err := ltfscheck.Check(ctx, d, ltfscheck.Options{}); err != nil || !r.OK() || r.Files != 100_000 {
			b.Fatal(r, err)
		}
	}
}
