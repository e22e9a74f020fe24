package ltfs

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/pkg/errors"

	"sliod/tape"
)

// damaged is a volume of three indexes and files f0 to f2, one an index. Its blocks:
// in the data partition the indexes are at 5, 9 and 14, their files at 7, 11 and 12.
func damaged(t testing.TB) *memDrive {
	t.Helper()
	d := newMemDrive(2)
	mustFormat(t, d, "A00001L9")
	v := mustMount(t, d, false)
	for i, name := range []string{"f0", "f1"} {
		if err := addFile(t, v, name, pattern(uint64(i), 3000*(i+1))); err != nil {
			t.Fatal(err)
		}
		if err := v.WriteIndex(context.Background()); err != nil {
			t.Fatalf("%+v", err)
		}
	}
	return d
}

// cutAt drops all blocks of a partition from n on.
func (d *memDrive) cutAt(p, n int) { d.parts[p] = slices.Clip(d.parts[p][:n]) }

// coherent changes what 080C of a partition says.
func (d *memDrive) coherent(t testing.TB, p int, fn func(c *coherency)) {
	t.Helper()
	k := [2]int{p, mamCoherency}
	c, ok := parseCoherency(d.attrs[k])
	if !ok {
		t.Fatal("no 080C")
	}
	fn(&c)
	d.attrs[k] = c.encode()
}

// TestDamagedVolumes: each fault is either repaired by the next index, or refused and
// said. Nothing is lost of what the chosen index describes.
func TestDamagedVolumes(t *testing.T) {
	ctx := context.Background()
	const last = 14 // first record of the data partition's last index
	for _, c := range []struct {
		name   string
		fault  func(d *memDrive)
		err    error  // Mount refuses
		want   string // in the error, or in the reasons of the repair; "": all is well
		files  int    // of the chosen index
		memory bool   // leave the memory valid
	}{
		{"nothing", func(*memDrive) {}, nil, "", 2, true},
		{"memory of an earlier time", func(*memDrive) {}, nil, "", 2, false},
		// Data partition.
		{"data behind the last index", func(d *memDrive) { d.parts[1] = append(d.parts[1], make(block, testBlock), make(block, 5)) }, nil, "goes on behind its last index", 2, false},
		{"a filemark behind the last index", func(d *memDrive) { d.parts[1] = append(d.parts[1], nil) }, nil, "goes on behind its last index", 2, false},
		{"no closing filemark", func(d *memDrive) { d.cutAt(1, last+1) }, nil, "the data partition at 2", 2, false},
		{"index cut off", func(d *memDrive) {
			d.cutAt(1, last)
			d.parts[1] = append(d.parts[1], block("<?xml version=\"1.0\"?><ltfsind"))
		}, nil, "the data partition at 2", 2, false},
		{"opening filemark only", func(d *memDrive) { d.cutAt(1, last) }, nil, "the data partition at 2", 2, false},
		{"torn XML", func(d *memDrive) { d.parts[1][last] = d.parts[1][last][:1500] }, nil, "index 3 of the data partition cannot be read", 2, false},
		{"two torn", func(d *memDrive) {
			d.parts[1][last] = d.parts[1][last][:1500]
			d.parts[1][9] = d.parts[1][9][:1500]
		}, nil, "index 2 of the data partition cannot be read", 2, false},
		{"index of another volume", func(d *memDrive) {
			d.parts[1][last] = bytes.Replace(d.parts[1][last], []byte("<volumeuuid>"), []byte("<volumeuuid>0"), 1)
		}, nil, "the data partition at 2", 2, false},
		{"data partition without index", func(d *memDrive) {
			for _, n := range []int{5, 9, last} {
				d.parts[1][n] = bytes.Replace(d.parts[1][n], []byte("<volumeuuid>"), []byte("<volumeuuid>0"), 1)
			}
		}, nil, "the data partition has no index", 2, false},
		// Index partition.
		{"index partition behind", func(d *memDrive) { d.parts[0] = damagedAt(t, 1).parts[0]; adoptUUID(d) }, nil, "the index partition is at generation 2, the data partition at 3", 2, false},
		{"index partition blank behind the label", func(d *memDrive) { d.cutAt(0, 4) }, nil, "the index partition has no index", 2, false},
		{"index partition: no closing filemark", func(d *memDrive) { d.cutAt(0, 6) }, nil, "the index partition has no index", 2, false},
		{"index partition: opening filemark only", func(d *memDrive) { d.cutAt(0, 5) }, nil, "the index partition has no index", 2, false},
		{"index partition: torn head", func(d *memDrive) { d.parts[0][5] = d.parts[0][5][:100] }, nil, "the index partition has no index", 2, false},
		{"index partition: torn tree", func(d *memDrive) { d.parts[0][5] = d.parts[0][5][:1500] }, nil, "index partition's index cannot be read", 2, false},
		{"index partition: data behind", func(d *memDrive) { d.parts[0] = append(d.parts[0], block("x")) }, nil, "index partition goes on behind", 2, false},
		// Both.
		{"both torn", func(d *memDrive) {
			d.parts[0][5] = d.parts[0][5][:1500]
			d.parts[1][last] = d.parts[1][last][:1500]
		}, nil, "index 3 cannot be read", 1, false},
		{"both cut off", func(d *memDrive) { d.cutAt(0, 5); d.cutAt(1, last) }, nil, "the index partition has no index", 1, false},
		{"no index at all", func(d *memDrive) { d.cutAt(0, 4); d.cutAt(1, 4) }, ErrInconsistent, "no readable index", 0, false},
		// Memory that lies.
		{"wrong block in the data partition's 080C", func(d *memDrive) { d.coherent(t, 1, func(c *coherency) { c.Block = 9 }) }, nil, "", 2, true},
		{"wrong block in the index partition's 080C", func(d *memDrive) { d.coherent(t, 0, func(c *coherency) { c.Block = 7 }) }, nil, "", 2, true},
		{"block in the label", func(d *memDrive) { d.coherent(t, 0, func(c *coherency) { c.Block = 2 }) }, nil, "", 2, true},
		{"wrong generation in both", func(d *memDrive) {
			d.coherent(t, 0, func(c *coherency) { c.Generation = 9 })
			d.coherent(t, 1, func(c *coherency) { c.Generation = 9 })
		}, nil, "", 2, true},
		{"wrong generation in one", func(d *memDrive) { d.coherent(t, 1, func(c *coherency) { c.Generation = 2 }) }, nil, "", 2, true},
		{"of another volume", func(d *memDrive) {
			d.coherent(t, 0, func(c *coherency) { c.UUID = "6acc47dc-4b90-4af4-a73c-85ad521040b8" })
		}, nil, "", 2, true},
		{"absent", func(d *memDrive) { delete(d.attrs, [2]int{0, mamCoherency}) }, nil, "", 2, true},
		{"garbage", func(d *memDrive) { d.attrs[[2]int{1, mamCoherency}] = []byte("?") }, nil, "", 2, true},
		{"no memory at all", func(d *memDrive) { d.limits.HasMAM = false; d.attrs = map[[2]int][]byte{} }, nil, "", 2, true},
		// Labels.
		{"labels of two volumes", func(d *memDrive) { d.parts[1] = damagedAt(t, 2).parts[1] }, ErrInconsistent, "the labels differ", 0, false},
		{"serials differ", func(d *memDrive) { d.parts[1][0] = encodeVOL1("A00002") }, ErrInconsistent, "the labels differ", 0, false},
		{"block sizes differ", func(d *memDrive) {
			d.parts[1][2] = bytes.Replace(d.parts[1][2], []byte("4096"), []byte("8192"), 1)
		}, ErrInconsistent, "the labels differ", 0, false},
		{"both in partition a", func(d *memDrive) { d.parts[1][2] = d.parts[0][2] }, ErrInconsistent, "the labels differ", 0, false},
		{"second label missing", func(d *memDrive) { d.parts[1] = nil }, ErrInconsistent, "partition 1 has none", 0, false},
		{"first label missing", func(d *memDrive) { d.parts[0] = nil }, ErrInconsistent, "partition 0 has none", 0, false},
		{"first label overwritten", func(d *memDrive) { d.parts[0] = []block{make(block, 10240)} }, ErrNotLTFS, "10240 bytes", 0, false},
		{"first label torn", func(d *memDrive) { d.parts[0][2] = d.parts[0][2][:50] }, ErrCorrupt, "ends too early", 0, false},
		{"block size too small", func(d *memDrive) {
			for p := range d.parts {
				d.parts[p][2] = bytes.Replace(d.parts[p][2], []byte(">4096<"), []byte(">512<"), 1)
			}
		}, ErrInconsistent, "no readable index", 0, false},
		{"block size above the drive's", func(d *memDrive) {
			for p := range d.parts {
				d.parts[p][2] = bytes.Replace(d.parts[p][2], []byte(">4096<"), []byte(">8388608<"), 1)
			}
		}, errAny, "the drive takes no more than", 0, false},
		// Other formats.
		{"blank", func(d *memDrive) { d.parts = make([][]block, 2) }, ErrNotLTFS, "partition 0 is blank", 0, false},
		{"blank, and something in partition 1", func(d *memDrive) { d.parts = [][]block{nil, {block("somebody's data")}} }, errNotBlank, "partition 0 is blank, and partition 1 is not", 0, false},
		{"blank, and files in partition 1", func(d *memDrive) { d.parts = [][]block{nil, {nil, block("somebody's data")}} }, errNotBlank, "partition 0 is blank, and partition 1 is not", 0, false},
		{"ANSI tape", func(d *memDrive) {
			vol1 := block("VOL1000001" + strings.Repeat(" ", 69) + "3")
			d.parts = [][]block{{vol1, block("HDR1" + strings.Repeat(" ", 76)), nil, make(block, 2048), nil}}
		}, ErrNotLTFS, "VOL1 label of another format", 0, false},
		{"tar", func(d *memDrive) { d.parts = [][]block{{append(block("file.txt"), make(block, 10232)...), nil, nil}} }, ErrNotLTFS, "not an 80 byte VOL1", 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := damaged(t)
			if !c.memory {
				d.vcr++
			}
			c.fault(d)
			v, err := Mount(ctx, d, MountOptions{})
			if c.err != nil {
				if c.err == errNotBlank {
					if n := new(NotLTFSError); !errors.As(err, &n) || n.Blank || n.Unfinished {
						t.Errorf("it is blank: %v", err)
					}
					c.err = ErrNotLTFS
				}
				if err == nil || c.err != errAny && !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("want %v with %q, have %v", c.err, c.want, err)
				}
				return
			}
			if err != nil {
				t.Fatalf("%+v", err)
			}
			switch r := v.Repair(); {
			case c.want == "" && r != nil:
				t.Fatalf("to be repaired: %v", r)
			case c.want != "" && (r == nil || !strings.Contains(r.String(), c.want)):
				t.Fatalf("want %q, have %v", c.want, r)
			}
			for _, adopt := range []bool{true, false} {
				d := d.clone()
				v := mustMount(t, d, false)
				if v.Index().Files() != c.files {
					t.Fatalf("%d files, want %d", v.Index().Files(), c.files)
				}
				for i := range c.files {
					checkFile(t, v, []string{"f0", "f1"}[i], pattern(uint64(i), 3000*(i+1)))
				}
				if adopt {
					v.Adopt()
				} else if err := v.CutOff(); err != nil {
					t.Fatal(err)
				}
				if err := addFile(t, v, "new", pattern(7, 7000)); err != nil {
					t.Fatalf("adopt %v: %+v", adopt, err)
				}
				if err := v.Close(ctx); err != nil {
					t.Fatalf("adopt %v: %+v", adopt, err)
				}
				mustBeClean(t, d, append(leftovers, "the drive has no access", "no attribute")...)
				v = mustMount(t, d, true)
				if v.Repair() != nil || v.Index().Files() != c.files+1 {
					t.Fatalf("adopt %v: %v, %d files", adopt, v.Repair(), v.Index().Files())
				}
				for i := range c.files {
					checkFile(t, v, []string{"f0", "f1"}[i], pattern(uint64(i), 3000*(i+1)))
				}
				checkFile(t, v, "new", pattern(7, 7000))
			}
		})
	}
}

// TestLostData: a data partition that ends before what the index describes is told
// from one whose tail is only not indexed.
func TestLostData(t *testing.T) {
	d := damaged(t)
	d.vcr++
	d.cutAt(1, 12)
	v := mustMount(t, d, false)
	if r := v.Repair(); r == nil || !strings.Contains(r.String(), "data are lost") {
		t.Fatalf("repair %v", r)
	}
	checkFile(t, v, "f0", pattern(0, 3000))
	e, err := v.Index().Lookup("f1")
	if err != nil {
		t.Fatal(err)
	}
	if err := v.ReadExtent(context.Background(), e.(*File).Extents[0], make([]byte, 6000)); err == nil {
		t.Fatal("what is not there was read")
	}
}

// errNotBlank stands for ErrNotLTFS of a medium that must not be formatted as a blank one.
var errNotBlank = errors.New("not blank")

// errAny stands for an error that no caller decides by.
var errAny = errors.New("any")

// damagedAt is a volume of other contents: one index less, or of another name.
func damagedAt(t testing.TB, n int) *memDrive {
	t.Helper()
	d := newMemDrive(2)
	mustFormat(t, d, "A00001L9")
	if n == 1 {
		v := mustMount(t, d, false)
		if err := addFile(t, v, "f0", pattern(0, 3000)); err != nil {
			t.Fatal(err)
		}
		if err := v.WriteIndex(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// adoptUUID makes partition 0 one of the volume that partition 1 is of.
func adoptUUID(d *memDrive) {
	from, _ := ParseLabel(d.parts[0][2])
	to, _ := ParseLabel(d.parts[1][2])
	l := *to
	l.Location = 'a'
	d.parts[0][2] = l.Encode()
	d.parts[0][5] = bytes.ReplaceAll(d.parts[0][5], []byte(from.UUID), []byte(to.UUID))
}

// TestFormatCutOffInALargeIndex fails a format at each command that has a first index of many records, as a long
// list of removed files makes it. It is always known for what it is: nothing behind the labels.
func TestFormatCutOffInALargeIndex(t *testing.T) {
	ctx := context.Background()
	var gone []FileIDRun
	for i := range uint64(5000) {
		gone = append(gone, FileIDRun{First: 2 * i * i, Count: 1})
	}
	for partitions := 1; partitions <= 2; partitions++ {
		inIndex := 0
		for n := 1; ; n++ {
			d := newMemDrive(partitions)
			d.failAt, d.failKind = n, tape.HardwareError
			err := Format(ctx, d, FormatOptions{Barcode: "A00001L9", BlockSize: minBlockSize, Root: func(x *Index) { x.SetRemoved(gone) }})
			d.failAt = 0
			v, merr := Mount(ctx, d, MountOptions{})
			var not *NotLTFSError
			switch {
			case merr == nil && v.Generation() == 1:
			case errors.As(merr, &not) && (not.Blank || not.Unfinished):
			case errors.Is(merr, ErrInconsistent):
				uuids, nothingElse, err := LabelUUIDs(ctx, d)
				if err != nil || len(uuids) == 0 || !nothingElse {
					t.Errorf("%d partitions, command %d: %q, %t, %v: %v", partitions, n, uuids, nothingElse, err, merr)
				}
				inIndex++
			default:
				t.Errorf("%d partitions, command %d: %v", partitions, n, merr)
			}
			if err == nil {
				break
			}
		}
		if inIndex < 10 {
			t.Errorf("%d partitions: %d cut off in the index", partitions, inIndex)
		}
	}
	// What has more than that is somebody's data.
	d := newMemDrive(2)
	if err := Format(ctx, d, FormatOptions{Barcode: "A00001L9", BlockSize: minBlockSize, Root: func(x *Index) { x.SetRemoved(gone) }}); err != nil {
		t.Fatal(err)
	}
	for _, more := range [][]block{{make(block, minBlockSize)}, {nil}, {make(block, 5), nil}} {
		c := d.clone()
		c.parts[1] = append(c.parts[1], more...)
		if _, nothingElse, err := LabelUUIDs(ctx, c); nothingElse || err != nil {
			t.Errorf("%d blocks more: %v", len(more), err)
		}
	}
}

// TestFirstLabelLostThenDriveFails: of a volume whose partition 0 is blank, no error of the drive makes a blank medium,
// which would be formatted.
func TestFirstLabelLostThenDriveFails(t *testing.T) {
	for n := 0; ; n++ {
		d := damaged(t)
		d.cutAt(0, 0)
		d.ops, d.failAt, d.failKind = 0, n, tape.Disconnected
		_, err := Mount(context.Background(), d, MountOptions{})
		var not *NotLTFSError
		if err == nil || errors.As(err, &not) {
			t.Errorf("command %d: %v", n, err)
		}
		if n > d.ops {
			return
		}
	}
}
