package ltfs

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/pkg/errors"
	"sliod/tape"
)

const testBlock = 4096

func mustFormat(t testing.TB, d tape.Drive, barcode tape.Barcode) {
	t.Helper()
	if err := Format(context.Background(), d, FormatOptions{Barcode: barcode, BlockSize: testBlock, VolumeName: "test"}); err != nil {
		t.Fatalf("%+v", err)
	}
}

func mustMount(t testing.TB, d tape.Drive, ignore bool) *Volume {
	t.Helper()
	v, err := Mount(context.Background(), d, MountOptions{IgnoreMAM: ignore})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return v
}

func pattern(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// addFile appends data and enters it in the index.
func addFile(t testing.TB, v *Volume, path string, data []byte) error {
	t.Helper()
	ext, err := v.Append(context.Background(), data)
	if err != nil {
		return err
	}
	f := &File{Length: uint64(len(data)), Extents: ext}
	return v.Index().Put(path, f)
}

func checkFile(t testing.TB, v *Volume, path string, want []byte) {
	t.Helper()
	e, err := v.Index().Lookup(path)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	if got := content(t, v, e.(*File)); !bytes.Equal(got, want) {
		t.Fatalf("%s: %d bytes differ from the %d written", path, len(got), len(want))
	}
}

func TestArchiveAndReadBack(t *testing.T) {
	ctx := context.Background()
	for parts := 1; parts <= 2; parts++ {
		d := newMemDrive(parts)
		mustFormat(t, d, "A00001L9")
		files := map[string][]byte{}
		for round := range 3 {
			v := mustMount(t, d, false)
			if v.Barcode() != "A00001L9" || v.Generation() != uint64(round+1) || v.Partitions() != parts || v.Repair() != nil {
				t.Fatalf("%s %d %v", v.Barcode(), v.Generation(), v.Repair())
			}
			for i := range 10 {
				path := fmt.Sprintf("d%d/f%d", round, i)
				files[path] = pattern(uint64(round*10+i), i*i*i*17)
				if err := addFile(t, v, path, files[path]); err != nil {
					t.Fatalf("%+v", err)
				}
				if i == 5 {
					if err := v.Flush(ctx); err != nil {
						t.Fatal(err)
					}
					for p, want := range files {
						checkFile(t, v, p, want) // and back to writing
					}
				}
			}
			if err := v.Close(ctx); err != nil {
				t.Fatalf("%+v", err)
			}
			if _, err := v.Append(ctx, []byte("x")); err == nil {
				t.Fatal("append to a closed volume")
			}
			for _, ignore := range []bool{false, true} {
				v := mustMount(t, d, ignore)
				if v.Repair() != nil {
					t.Fatal(v.Repair())
				}
				for p, want := range files {
					checkFile(t, v, p, want)
				}
				n := len(d.parts[0])
				if err := v.Close(ctx); err != nil || len(d.parts[0]) != n {
					t.Fatal("closing an unchanged volume wrote to it", err)
				}
			}
		}
		// The rules of the format, seen from the tape itself.
		for p := range d.parts {
			part := d.parts[p]
			if len(part[0]) != 80 || part[1] != nil || part[3] != nil || part[4] != nil || part[len(part)-1] != nil {
				t.Fatalf("partition %d: labels or last filemark are missing", p)
			}
			checkConstructs(t, part, p, len(d.parts))
		}
	}
}

// checkConstructs reads every index construct of a partition.
func checkConstructs(t *testing.T, part []block, p, parts int) {
	t.Helper()
	var prev uint64
	var gen uint64
	for i := 4; i+1 < len(part); i++ {
		if part[i] != nil || !bytes.Contains(part[i+1], []byte("<ltfsindex")) {
			continue
		}
		var raw []byte
		j := i + 1
		for ; part[j] != nil; j++ {
			if part[j+1] != nil && len(part[j]) != testBlock {
				t.Fatalf("record %d of an index has %d bytes", j, len(part[j]))
			}
			raw = append(raw, part[j]...)
		}
		x := checkIndexXML(t, raw, testBlock)
		if x.Location[0].Start[0] != uint64(i+1) || x.Location[0].Partition[0] != string(rune('a'+p)) || x.Generation[0] <= gen {
			t.Fatalf("index at %d:%d says %+v", p, i+1, x.Location)
		}
		gen = x.Generation[0]
		if p == parts-1 {
			if (len(x.Previous) == 1) != (prev != 0) || prev != 0 && x.Previous[0].Start[0] != prev {
				t.Fatalf("index at %d refers to %+v, not %d", i+1, x.Previous, prev)
			}
			prev = uint64(i + 1)
		} else if i != 4 || len(x.Previous) != 1 || x.Previous[0].Partition[0] != "b" {
			t.Fatalf("index partition: block %d, %+v", i, x.Previous)
		}
		i = j
	}
	if gen == 0 {
		t.Fatalf("partition %d has no index", p)
	}
}

func TestSmallFilesShareARecord(t *testing.T) {
	ctx := context.Background()
	d := newMemDrive(2)
	mustFormat(t, d, "A00001L9")
	v := mustMount(t, d, false)
	for i := range 100 {
		if err := addFile(t, v, fmt.Sprintf("f%03d", i), pattern(uint64(i), 100)); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Close(ctx); err != nil {
		t.Fatal(err)
	}
	v = mustMount(t, d, false)
	d.reads, d.locates = 0, 0
	for i := range 100 {
		checkFile(t, v, fmt.Sprintf("f%03d", i), pattern(uint64(i), 100))
	}
	if d.reads != 3 || d.locates != 1 {
		t.Errorf("100 files in 3 records took %d reads and %d locates", d.reads, d.locates)
	}
}

// TestCrash cuts the tape after every change of an archive and index sequence.
// Every mount must find an index, every file of that index, and whatever was
// flushed behind it.
func TestCrash(t *testing.T) {
	ctx := context.Background()
	for parts := 1; parts <= 2; parts++ {
		d := newMemDrive(parts)
		mustFormat(t, d, "A00001L9")
		type shot struct {
			d       *memDrive
			flushed int // files flushed before
			indexed int // files in the last complete index
		}
		var shots []shot
		flushed, indexed := 0, 0
		d.onWrite = func() { shots = append(shots, shot{d.clone(), flushed, indexed}) }
		v := mustMount(t, d, false)
		var extents []Extent
		var contents [][]byte
		for round := range 3 {
			for i := range 3 {
				data := pattern(uint64(round*3+i), 3000+5000*i)
				if err := addFile(t, v, fmt.Sprintf("f%d", len(contents)), data); err != nil {
					t.Fatal(err)
				}
				e, _ := v.Index().Lookup(fmt.Sprintf("f%d", len(contents)))
				extents = append(extents, e.(*File).Extents[0])
				contents = append(contents, data)
			}
			if err := v.Flush(ctx); err != nil {
				t.Fatal(err)
			}
			flushed = len(contents)
			if err := v.WriteIndex(ctx); err != nil {
				t.Fatal(err)
			}
			indexed = len(contents)
		}
		if len(shots) < 30 {
			t.Fatalf("only %d states", len(shots))
		}
		for n, s := range shots {
			for _, ignore := range []bool{false, true} {
				for _, adopt := range []bool{true, false} {
					d := s.d.clone()
					v := mustMount(t, d, ignore)
					if v.Index().Files() < s.indexed {
						t.Fatalf("state %d: %d files in the index, %d were indexed", n, v.Index().Files(), s.indexed)
					}
					for i := range v.Index().Files() {
						checkFile(t, v, fmt.Sprintf("f%d", i), contents[i])
					}
					for i := range s.flushed {
						got := make([]byte, extents[i].ByteCount)
						if err := v.ReadExtent(ctx, extents[i], got); err != nil || !bytes.Equal(got, contents[i]) {
							t.Fatalf("state %d: flushed file %d: %+v", n, i, err)
						}
					}
					files := v.Index().Files()
					repair := v.Repair()
					if repair != nil && v.Index().Files() < s.flushed && repair.From >= repair.To {
						t.Fatalf("state %d: data behind the index is not reported: %v", n, repair)
					}
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
					v = mustMount(t, d, ignore)
					if v.Repair() != nil || v.Index().Files() != files+1 {
						t.Fatalf("state %d: not consistent after WriteIndex: %v", n, v.Repair())
					}
					checkFile(t, v, "new", []byte("new"))
					for i := range files {
						checkFile(t, v, fmt.Sprintf("f%d", i), contents[i])
					}
					if adopt {
						for i := range s.flushed {
							got := make([]byte, extents[i].ByteCount)
							if err := v.ReadExtent(ctx, extents[i], got); err != nil || !bytes.Equal(got, contents[i]) {
								t.Fatalf("state %d: adopted file %d: %+v", n, i, err)
							}
						}
					}
				}
			}
		}
	}
}

// TestFailEveryOperation fails the n-th drive operation of a session, for every
// n, before it is done or after; afterwards all that was acknowledged is there, and the independent reader finds nothing
// wrong but what the mount has said is to be repaired.
func TestFailEveryOperation(t *testing.T) {
	for _, kind := range []tape.Kind{tape.HardwareError, tape.MediumError, tape.EndOfMedium, tape.Deferred} {
		for _, done := range []bool{false, true} {
			for n := 1; failOperation(t, kind, n, done); n++ {
			}
		}
	}
}

// failOperation is false if the session has fewer than n operations.
func failOperation(t *testing.T, kind tape.Kind, n int, done bool) bool {
	ctx := context.Background()
	d := newMemDrive(2)
	mustFormat(t, d, "A00001L9")
	v := mustMount(t, d, false)
	if err := addFile(t, v, "old", pattern(1, 9000)); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(ctx); err != nil {
		t.Fatal(err)
	}
	d.ops, d.failAt, d.failKind, d.failDone = 0, n, kind, done
	flushed, closed := false, false
	var ext []Extent
	v, err := Mount(ctx, d, MountOptions{})
	if err == nil {
		if ext, err = v.Append(ctx, pattern(2, 10000)); err == nil {
			if err = v.Flush(ctx); err == nil {
				flushed = true
				err = v.Index().Put("new", &File{Length: 10000, Extents: ext})
			}
		}
		if err == nil {
			err = v.Close(ctx)
			closed = err == nil
		}
	}
	met := d.ops >= n
	d.failAt = 0
	w := mustMount(t, d, false)
	if closed && w.Repair() != nil {
		t.Fatalf("%v at operation %d: %v", kind, n, w.Repair())
	}
	if w.Repair() == nil {
		mustBeClean(t, d, "must search for the index")
	}
	checkFile(t, w, "old", pattern(1, 9000))
	if flushed {
		got := make([]byte, 10000)
		if err := w.ReadExtent(ctx, ext[0], got); err != nil || !bytes.Equal(got, pattern(2, 10000)) {
			t.Fatalf("%v at operation %d: flushed data: %+v", kind, n, err)
		}
	}
	if closed {
		checkFile(t, w, "new", pattern(2, 10000))
	}
	w.Adopt()
	if err := w.WriteIndex(ctx); err != nil {
		t.Fatalf("%v at operation %d: %+v", kind, n, err)
	}
	if w = mustMount(t, d, true); w.Repair() != nil {
		t.Fatalf("%v at operation %d: %v", kind, n, w.Repair())
	}
	if !met && !closed {
		t.Fatal(err)
	}
	return met
}

func TestVolumeFull(t *testing.T) {
	ctx := context.Background()
	for name, prepare := range map[string]func(*memDrive){
		"planned":       func(d *memDrive) { d.room = 400 << 10 },
		"early warning": func(d *memDrive) { d.room, d.early = 1<<20, 600<<10 },
	} {
		d := newMemDrive(2)
		prepare(d)
		mustFormat(t, d, "A00001L9")
		v := mustMount(t, d, false)
		n := 0
		for ; ; n++ {
			err := addFile(t, v, fmt.Sprintf("f%d", n), pattern(uint64(n), 5000))
			if errors.Is(err, ErrVolumeFull) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %+v", name, err)
			}
		}
		if n < 10 {
			t.Fatalf("%s: full after %d files", name, n)
		}
		if err := v.Flush(ctx); err != nil {
			t.Fatalf("%s: %+v", name, err)
		}
		if err := v.Close(ctx); err != nil {
			t.Fatalf("%s: %+v", name, err)
		}
		v = mustMount(t, d, true)
		if v.Repair() != nil || v.Index().Files() != n {
			t.Fatalf("%s: %v, %d files of %d", name, v.Repair(), v.Index().Files(), n)
		}
		for i := range n {
			checkFile(t, v, fmt.Sprintf("f%d", i), pattern(uint64(i), 5000))
		}
	}
}

// TestNoRoomForIndex: the drive tells neither capacity nor early warning. The
// index goes to the index partition and nothing flushed is lost.
func TestNoRoomForIndex(t *testing.T) {
	ctx := context.Background()
	d := newMemDrive(2)
	mustFormat(t, d, "A00001L9")
	v := mustMount(t, d, false)
	if err := addFile(t, v, "f", pattern(1, 50000)); err != nil {
		t.Fatal(err)
	}
	if err := v.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	d.room = d.used() + 100
	if err := v.WriteIndex(ctx); !errors.Is(err, ErrVolumeFull) || !errors.Is(err, ErrOneIndex) {
		t.Fatalf("%+v", err)
	}
	v = mustMount(t, d, false)
	if v.Repair() == nil || v.Generation() != 2 {
		t.Fatal("no repair reported")
	}
	checkFile(t, v, "f", pattern(1, 50000))
	if err := v.CutOff(); err != nil {
		t.Fatal(err)
	}
	checkFile(t, v, "f", pattern(1, 50000))
}

// TestLockedVolume: a volume that an LTFS program has locked is read and not written.
func TestLockedVolume(t *testing.T) {
	ctx := context.Background()
	for state, locked := range map[string]bool{"unlocked": false, "locked": true, "permlocked": true} {
		d := newMemDrive(2)
		mustFormat(t, d, "A00001L9")
		v := mustMount(t, d, false)
		if err := addFile(t, v, "f", []byte("data")); err != nil {
			t.Fatal(err)
		}
		v.Index().LockState = state
		if err := v.writeIndexes(ctx); err != nil {
			t.Fatalf("%+v", err)
		}
		v = mustMount(t, d, false)
		_, err := v.Append(ctx, []byte("more"))
		if (tape.KindOf(err) == tape.WriteProtected) != locked || !locked && err != nil {
			t.Errorf("%s: append: %v", state, err)
		}
		v.Index().MarkDirty()
		err = v.WriteIndex(ctx)
		if (tape.KindOf(err) == tape.WriteProtected) != locked || !locked && err != nil {
			t.Errorf("%s: index: %v", state, err)
		}
	}
}

// TestForeignElements: what another program has added to an index is there after our
// own changes, too.
func TestForeignElements(t *testing.T) {
	ctx := context.Background()
	d := newMemDrive(2)
	mustFormat(t, d, "A00001L9")
	v := mustMount(t, d, false)
	for _, name := range []string{"f", "dir/g"} {
		if err := addFile(t, v, name, []byte("data")); err != nil {
			t.Fatal(err)
		}
		e, _ := v.Index().Lookup(name)
		e.node().Unknown = []byte("<openforwrite>false</openforwrite>\n<their a=\"1\">x</their>\n")
	}
	dir, _ := v.Index().Lookup("dir")
	dir.node().Unknown = []byte("<theirs></theirs>\n")
	v.Index().Unknown = []byte("<volume>y</volume>\n")
	for range 2 {
		if err := v.WriteIndex(ctx); err != nil {
			t.Fatalf("%+v", err)
		}
		mustBeClean(t, d)
		v = mustMount(t, d, false)
		if err := addFile(t, v, "f", []byte("our change")); err != nil {
			t.Fatal(err)
		}
		if err := v.Index().Put("dir", &Dir{}); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"f": "their", "dir/g": "openforwrite", "dir": "theirs"} {
			if e, err := v.Index().Lookup(name); err != nil || !bytes.Contains(e.node().Unknown, []byte("<"+want)) {
				t.Errorf("%s has lost <%s>", name, want)
			}
		}
		if string(v.Index().Unknown) != "<volume>y</volume>\n" {
			t.Error("the index has lost <volume>")
		}
	}
}

// TestIndexPartitionFull: the index of many files does not fit in the index
// partition. Append says so in time; entries without data are refused by WriteIndex,
// which then writes nothing.
func TestIndexPartitionFull(t *testing.T) {
	ctx := context.Background()
	d := newMemDrive(2)
	d.room0 = 1 << 20
	mustFormat(t, d, "A00001L9")
	v := mustMount(t, d, false)
	n := 0
	for ; ; n++ {
		err := addFile(t, v, fmt.Sprintf("f%d", n), []byte{byte(n)})
		if errors.Is(err, ErrVolumeFull) {
			break
		}
		if err != nil {
			t.Fatalf("%+v", err)
		}
	}
	if n < 500 || v.Remaining() != 0 {
		t.Fatalf("full after %d files, %d bytes remain", n, v.Remaining())
	}
	if err := v.WriteIndex(ctx); err != nil {
		t.Fatalf("%+v", err)
	}
	mustBeClean(t, d)
	for i := range 3 * n {
		if err := v.Index().Put(fmt.Sprintf("empty%d", i), &File{}); err != nil {
			t.Fatal(err)
		}
	}
	before := d.clone()
	if err := v.WriteIndex(ctx); !errors.Is(err, ErrVolumeFull) {
		t.Fatalf("%+v", err)
	}
	if !reflect.DeepEqual(before.parts, d.parts) {
		t.Fatal("an index that does not fit was begun")
	}
	for i := range 3 * n {
		if err := v.Index().Remove(fmt.Sprintf("empty%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Close(ctx); err != nil {
		t.Fatalf("%+v", err)
	}
	mustBeClean(t, d)

	// A drive that does not tell: the data partition has the index, and the volume is
	// read by it.
	d.silent = true
	v = mustMount(t, d, false)
	for i := range 3 * n {
		if err := v.Index().Put(fmt.Sprintf("empty%d", i), &File{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.WriteIndex(ctx); !errors.Is(err, ErrVolumeFull) {
		t.Fatalf("%+v", err)
	}
	v = mustMount(t, d, false)
	if v.Repair() == nil || v.Index().Files() != 4*n {
		t.Fatalf("%v, %d files", v.Repair(), v.Index().Files())
	}
	checkFile(t, v, "f7", []byte{7})
}

func TestDeferredErrorFailsFlush(t *testing.T) {
	ctx := context.Background()
	d := newMemDrive(2)
	mustFormat(t, d, "A00001L9")
	v := mustMount(t, d, false)
	if _, err := v.Append(ctx, pattern(1, 9000)); err != nil {
		t.Fatal(err)
	}
	d.syncFails = true
	if err := v.Flush(ctx); tape.KindOf(err) != tape.Deferred {
		t.Fatalf("flush: %v", err)
	}
	d.syncFails = false
	if err := v.Flush(ctx); !errors.Is(err, ErrFailed) {
		t.Fatalf("flush again: %v", err)
	}
	before := len(d.parts[0])
	if err := v.WriteIndex(ctx); !errors.Is(err, ErrFailed) {
		t.Fatalf("index: %v", err)
	}
	if err := v.Close(ctx); err != nil || len(d.parts[0]) != before {
		t.Fatal("closing a failed volume wrote to it")
	}
}

func TestNotLTFS(t *testing.T) {
	ctx := context.Background()
	d := newMemDrive(2)
	mustFormat(t, d, "A00001L9")
	other := newMemDrive(2)
	mustFormat(t, other, "A00001L9")
	for _, c := range []struct {
		name   string
		change func(d *memDrive)
		want   error
		blank  bool
	}{
		{"blank", func(d *memDrive) { d.parts = make([][]block, 2) }, ErrNotLTFS, true},
		{"filemark first", func(d *memDrive) { d.parts[0] = []block{nil, make(block, 80)} }, ErrNotLTFS, false},
		{"filemark alone", func(d *memDrive) { d.parts[0], d.parts[1] = []block{nil}, nil }, ErrNotLTFS, true},
		{"filemark alone in partition 0", func(d *memDrive) { d.parts[0] = []block{nil} }, ErrInconsistent, false},
		{"tar", func(d *memDrive) { d.parts[0] = []block{make(block, 10240)} }, ErrNotLTFS, false},
		{"large record", func(d *memDrive) { d.parts[0] = []block{make(block, 2<<20)} }, ErrNotLTFS, false},
		{"ANSI of another", func(d *memDrive) { d.parts[0][0] = bytes.Replace(d.parts[0][0], []byte("LTFS"), []byte("XXXX"), 1) }, ErrNotLTFS, false},
		{"VOL1 only", func(d *memDrive) { d.parts[0] = d.parts[0][:2] }, ErrNotLTFS, false},
		{"bad XML", func(d *memDrive) { d.parts[0][2] = block("<ltfslabel version=\"2.4.0\"><creator>") }, ErrCorrupt, false},
		{"partition 1 blank", func(d *memDrive) { d.parts[1] = nil }, ErrInconsistent, false},
		{"partition 1 of another", func(d *memDrive) { d.parts[1] = other.parts[1] }, ErrInconsistent, false},
		{"no index", func(d *memDrive) { d.parts[0], d.parts[1] = d.parts[0][:4], d.parts[1][:5] }, ErrInconsistent, false},
	} {
		m := d.clone()
		c.change(m)
		m.vcr++
		_, err := Mount(ctx, m, MountOptions{})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		var n *NotLTFSError
		if errors.As(err, &n) && n.Blank != c.blank {
			t.Errorf("%s: blank is %v", c.name, n.Blank)
		}
	}
}

func TestLyingMemory(t *testing.T) {
	ctx := context.Background()
	d := newMemDrive(2)
	mustFormat(t, d, "A00001L9")
	old := d.clone()
	v := mustMount(t, d, false)
	if err := addFile(t, v, "f", []byte("data")); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(ctx); err != nil {
		t.Fatal(err)
	}
	// The memory of an earlier time, with the count of now: reads are right by
	// luck or search, writes must not destroy the data.
	for k, b := range old.attrs {
		if c, ok := parseCoherency(b); k[1] == mamCoherency && ok {
			c.VCR = d.vcr
			d.attrs[k] = c.encode()
		}
	}
	v = mustMount(t, d, false)
	if _, err := v.Append(ctx, []byte("x")); err != nil && !errors.Is(err, ErrInconsistent) {
		t.Fatal(err)
	}
	v = mustMount(t, d, true)
	checkFile(t, v, "f", []byte("data"))
}

func TestBadExtents(t *testing.T) {
	ctx := context.Background()
	d := newMemDrive(2)
	mustFormat(t, d, "A00001L9")
	v := mustMount(t, d, false)
	ext, err := v.Append(ctx, pattern(1, 5000))
	if err == nil {
		err = v.Flush(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(e *Extent)
	}{
		{"no such partition", func(e *Extent) { e.Partition = 'q' }},
		{"in the label", func(e *Extent) { e.StartBlock = 2 }},
		{"beyond the end", func(e *Extent) { e.StartBlock += 5 }},
		{"offset beyond the record", func(e *Extent) { e.ByteOffset = testBlock }},
		{"too long", func(e *Extent) { e.ByteCount += 1 }},
		{"a filemark", func(e *Extent) { e.StartBlock = 4 }},
	} {
		e := ext[0]
		c.change(&e)
		if err := v.ReadExtent(ctx, e, make([]byte, e.ByteCount)); err == nil {
			t.Errorf("%s: read without error", c.name)
		}
	}
	got := make([]byte, 5000)
	if err := v.ReadExtent(ctx, ext[0], got); err != nil || !bytes.Equal(got, pattern(1, 5000)) {
		t.Fatal(err)
	}
}
