package ltfs

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"reflect"
	"testing"
)

// content reads a file whole, gaps as zeros.
func content(t testing.TB, v *Volume, f *File) []byte {
	t.Helper()
	b := make([]byte, f.Length)
	for _, e := range f.Extents {
		if err := v.ReadExtent(context.Background(), e, b[e.FileOffset:e.FileOffset+e.ByteCount]); err != nil {
			t.Fatalf("%s: %+v", f.Name, err)
		}
	}
	return b
}

func TestGolden(t *testing.T) {
	ctx := context.Background()
	for _, ignore := range []bool{false, true} {
		v, err := Mount(ctx, goldenDrive(t), MountOptions{IgnoreMAM: ignore})
		if err != nil {
			t.Fatalf("%+v", err)
		}
		if v.Barcode() != "SLI001" || v.UUID() != "6acc47dc-4b90-4af4-a73c-85ad521040b8" || v.BlockSize() != 524288 ||
			v.Generation() != 2 || v.Partitions() != 2 || v.Repair() != nil || v.lastIndex != 16 {
			t.Fatalf("%s %s %d %d %v", v.Barcode(), v.UUID(), v.BlockSize(), v.Generation(), v.Repair())
		}
		x := v.Index()
		if x.Files() != 7+1 || x.Dirs() != 3 || x.Root.Name != "Golden volume" || x.HighestUID != 11 || x.LockState != "unlocked" {
			t.Fatalf("%d files %d dirs %q", x.Files(), x.Dirs(), x.Root.Name)
		}
		for path, sum := range map[string]string{
			"hello.txt":              "28b76cca262c65a4e541b36a44019916",
			"dir/a:b%c":              "9dd4e461268c8034f5c8564e155c67a6",
			"dir/five-thousand.bin":  "48a29bb422cbbe41ed791644688c14e0",
			"dir/sub dir/ümläut.txt": "",
			"empty":                  "d41d8cd98f00b204e9800998ecf8427e",
			"sparse":                 "ceaf45fe4f8bddb37eb3e615e374e448",
			"two-blocks.bin":         "350112fac7f22527d78308b5449d1f01",
		} {
			e, err := x.Lookup(path)
			if err != nil {
				t.Fatal(err)
			}
			got := md5.Sum(content(t, v, e.(*File)))
			if sum != "" && hex.EncodeToString(got[:]) != sum {
				t.Errorf("%s: MD5 %x, want %s", path, got, sum)
			}
		}
		e, _ := x.Lookup("dir/link")
		if f := e.(*File); !f.IsSymlink || f.Symlink != "../hello.txt" {
			t.Errorf("link %+v", f)
		}
		if e, _ = x.Lookup("dir/five-thousand.bin"); !e.node().ReadOnly {
			t.Error("five-thousand.bin is not read-only")
		}
		e, _ = x.Lookup("hello.txt")
		note, _ := e.node().Xattr("note")
		bin, _ := e.node().Xattr("binary")
		if string(note) != "plain text" || !bytes.Equal(bin, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}) {
			t.Errorf("xattrs %q %x", note, bin)
		}
		if _, err := DecodeMeta(e); err == nil {
			t.Error("metadata in a file of the reference implementation")
		}
		// What we make of it is the same again, and obeys the rules.
		var out bytes.Buffer
		if _, err := x.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		checkIndexXML(t, out.Bytes(), 524288)
		y, err := Parse(bytes.NewReader(out.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if x.dirty = false; !reflect.DeepEqual(x, y) {
			t.Error("the index changed by writing and reading")
		}
		if err := v.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGoldenBytes(t *testing.T) {
	// The reference's own bytes come out again, but for the creator's choice of
	// xattr order, which we keep too.
	d := goldenDrive(t)
	raw := d.parts[0][5]
	x, err := Parse(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := x.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(out.Bytes()), bytes.TrimSpace(raw)) {
		t.Errorf("differs from the reference:\n%s\n%s", out.Bytes(), raw)
	}
	if got := encodeVOL1("SLI001"); !bytes.Equal(got, d.parts[0][0]) {
		t.Errorf("VOL1 %q", got)
	}
	c, ok := parseCoherency(d.attrs[[2]int{1, mamCoherency}])
	if !ok || c.VCR != 2 || c.Generation != 2 || c.Block != 16 || c.UUID != x.UUID {
		t.Fatalf("%+v %v", c, ok)
	}
	if !bytes.Equal(c.encode(), d.attrs[[2]int{1, mamCoherency}]) {
		t.Error("080C is encoded in another way")
	}
	l, err := ParseLabel(d.parts[1][2])
	if err != nil || l.Location != 'b' || l.Index != 'a' || l.Data != 'b' || l.BlockSize != 524288 || !l.Compression {
		t.Fatalf("%+v %v", l, err)
	}
	m, err := ParseLabel(l.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if m.Version = l.Version; *m != *l {
		t.Errorf("%+v %+v", m, l)
	}
}
