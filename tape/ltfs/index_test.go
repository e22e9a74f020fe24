package ltfs

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pkg/errors"
	"pgregory.net/rapid"
)

// anyName draws names as Linux allows them: any bytes but '/' and NUL, with a
// liking for the awkward ones.
func anyName(t *rapid.T) string {
	awkward := []string{":", "%", "%41", "\n", "\t", "\r", " ", "\x01", "\x1f", "\x7f", "\xff", "\xc3", "\u00fc", "u\u0308", "\ufffd", "\ufffe", "\u0085",
		"<", "&", "]]>", "\"", "'", "a", "Z", ".", "~", "\U0001f600"}
	s := strings.Join(rapid.SliceOfN(rapid.SampledFrom(awkward), 1, 12).Draw(t, "name"), "")
	if s == "." || s == ".." {
		return "dot" + s
	}
	return s
}

func anyTime(t *rapid.T) Time {
	return Time{rapid.Int64Range(minTimeSec, maxTimeSec).Draw(t, "sec"), rapid.Uint32Range(0, 999999999).Draw(t, "nsec")}
}

func fillNode(t *rapid.T, n *Node) {
	n.ReadOnly = rapid.Bool().Draw(t, "readonly")
	n.CreationTime, n.ChangeTime, n.ModifyTime, n.AccessTime, n.BackupTime = anyTime(t), anyTime(t), anyTime(t), anyTime(t), anyTime(t)
	seen := map[string]bool{}
	for range rapid.IntRange(0, 3).Draw(t, "xattrs") {
		key := rapid.StringMatching(`[a-z:% .\n]{1,8}x`).Draw(t, "key")
		if seen[key] {
			continue
		}
		seen[key] = true
		var v []byte
		if b := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "value"); len(b) > 0 {
			v = b
		}
		n.Xattrs = append(n.Xattrs, Xattr{key, v})
	}
	if rapid.Bool().Draw(t, "unknown") {
		n.Unknown = []byte("<other a=\"1\">text<b></b></other>\n")
	}
}

func fillDir(t *rapid.T, x *Index, prefix string, depth int) {
	for range rapid.IntRange(0, 4).Draw(t, "entries") {
		path := prefix + anyName(t)
		if depth < 3 && rapid.Bool().Draw(t, "dir") {
			d := &Dir{}
			fillNode(t, &d.Node)
			if x.Put(path, d) == nil {
				fillDir(t, x, path+"/", depth+1)
			}
			continue
		}
		f := &File{}
		fillNode(t, &f.Node)
		if rapid.IntRange(0, 3).Draw(t, "type") == 0 {
			f.IsSymlink, f.Symlink = true, "../"+anyName(t)
		} else {
			for range rapid.IntRange(0, 3).Draw(t, "extents") {
				e := Extent{
					FileOffset: f.Length + rapid.Uint64Range(0, 1<<40).Draw(t, "gap"),
					StartBlock: rapid.Uint64Range(4, 1<<50).Draw(t, "start"),
					ByteOffset: rapid.Uint32Range(0, testBlock-1).Draw(t, "offset"),
					ByteCount:  rapid.Uint64Range(1, 1<<40).Draw(t, "count"),
					Partition:  PartitionID(rapid.SampledFrom([]byte("ab")).Draw(t, "partition")),
				}
				f.Extents = append(f.Extents, e)
				f.Length = e.FileOffset + e.ByteCount
			}
		}
		if err := x.Put(path, f); err != nil {
			t.Fatal(err)
		}
	}
}

// TestIndexRoundTrip: any tree, to XML and back, is the same tree.
func TestIndexRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := NewIndex("6acc47dc-4b90-4af4-a73c-85ad521040b8", anyTime(t))
		x.Creator, x.Comment = "test <&>", rapid.SampledFrom([]string{"", "a & b"}).Draw(t, "comment")
		x.Generation = rapid.Uint64().Draw(t, "generation")
		x.Location = Location{'b', 17}
		if rapid.Bool().Draw(t, "previous") {
			x.Previous = &Location{'b', 5}
		}
		x.Unknown = []byte("<extra></extra>\n")
		x.Policy = []byte("<dataplacementpolicy><indexpartitioncriteria><size>5</size></indexpartitioncriteria></dataplacementpolicy>\n")
		fillNode(t, &x.Root.Node)
		x.estimate = entryBytes(x.Root)
		fillDir(t, x, "", 0)

		var out bytes.Buffer
		n, err := x.WriteTo(&out)
		if err != nil || n != int64(out.Len()) {
			t.Fatal(n, err)
		}
		checkIndexXML(t, out.Bytes(), testBlock)
		if est := x.EstimateBytes(); n > est {
			t.Fatalf("estimated %d bytes, it took %d", est, n)
		}
		y, err := Parse(iotest.HalfReader(bytes.NewReader(out.Bytes())))
		if err != nil {
			t.Fatalf("%v in\n%s", err, out.Bytes())
		}
		compare(t, x, y)
	})
}

func compare(t *rapid.T, x, y *Index) {
	if x.files != y.files || x.dirs != y.dirs || x.HighestUID != y.HighestUID || x.Generation != y.Generation || !reflect.DeepEqual(x.Previous, y.Previous) ||
		x.Comment != y.Comment || string(x.Unknown) != string(y.Unknown) || string(x.Policy) != string(y.Policy) {
		t.Fatalf("%+v became %+v", x, y)
	}
	flat := func(x *Index) map[string]Entry {
		m := map[string]Entry{"": x.Root}
		if err := x.Walk(func(p string, e Entry) error { m[p] = e; return nil }); err != nil {
			t.Fatal(err)
		}
		return m
	}
	a, b := flat(x), flat(y)
	if len(a) != len(b) {
		t.Fatalf("%d entries became %d", len(a), len(b))
	}
	for p, e := range a {
		o := b[p]
		if o == nil {
			t.Fatalf("%q is gone", p)
		}
		n, m := *e.node(), *o.node()
		if len(n.Xattrs)+len(m.Xattrs) == 0 {
			n.Xattrs, m.Xattrs = nil, nil
		}
		if !reflect.DeepEqual(n, m) {
			t.Fatalf("%q: %+v became %+v", p, n, m)
		}
		if f, ok := e.(*File); ok {
			g := o.(*File)
			if f.Length != g.Length || f.Symlink != g.Symlink || f.IsSymlink != g.IsSymlink || fmt.Sprint(f.Extents) != fmt.Sprint(g.Extents) {
				t.Fatalf("%q: %+v became %+v", p, f, g)
			}
		}
	}
}

func TestTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tm := anyTime(t)
		b := string(appendTime(nil, tm))
		if want := tm.Time().Format("2006-01-02T15:04:05.000000000Z"); b != want {
			t.Fatalf("%s, want %s", b, want)
		}
		if got, ok := parseTime([]byte(b)); !ok || got != tm {
			t.Fatalf("%s read as %v, want %v", b, got, tm)
		}
	})
	for in, ok := range map[string]bool{"2020-02-29T00:00:00Z": true, "2021-02-29T00:00:00Z": false, "2020-01-01T00:00:00.5Z": true,
		"2020-01-01T00:00:00+01:00": true, "": false, "2020-13-01T00:00:00Z": false, "2020-01-01T24:00:00Z": false, "2020-01-01T00:00:00.Z": false} {
		if _, got := parseTime([]byte(in)); got != ok {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func TestIndexTree(t *testing.T) {
	x := NewIndex("u", Time{})
	put := func(p string, e Entry) {
		t.Helper()
		if err := x.Put(p, e); err != nil {
			t.Fatal(err)
		}
	}
	base := x.EstimateBytes()
	put("a/b/c", &File{Length: 1})
	put("a/b/d", &File{Length: 2})
	if x.Files() != 2 || x.Dirs() != 3 || x.HighestUID != 5 {
		t.Fatal(x.Files(), x.Dirs(), x.HighestUID)
	}
	e, _ := x.Lookup("a/b/c")
	uid := e.node().UID
	put("a/b/c", &File{Length: 3})
	if e, _ = x.Lookup("a/b/c"); e.node().UID != uid || e.(*File).Length != 3 || x.Files() != 2 {
		t.Fatal("replaced file")
	}
	put("a/b", &Dir{Node: Node{ReadOnly: true}})
	if _, err := x.Lookup("a/b/d"); err != nil || x.Dirs() != 3 {
		t.Fatal("a directory replaced by a directory lost its entries")
	}
	if err := x.Put("a/b/c/d", &File{}); err == nil {
		t.Fatal("a file as a directory")
	}
	for _, bad := range []string{"", "a/", "a//b", ".", "a/..", "a/\x00"} {
		if err := x.Put(bad, &File{}); err == nil {
			t.Errorf("put %q", bad)
		}
	}
	if _, err := x.Lookup("a/x"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if err := x.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if x.Files() != 0 || x.Dirs() != 1 || x.EstimateBytes() != base {
		t.Fatal(x.Files(), x.Dirs(), x.EstimateBytes(), base)
	}
	if err := x.Remove("a"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
}

const indexHead = `<?xml version="1.0"?><ltfsindex version="2.2.0"><volumeuuid>U</volumeuuid><generationnumber>1</generationnumber>` +
	`<location><partition>b</partition><startblock>5</startblock></location>`

func TestParseTolerance(t *testing.T) {
	for _, c := range []struct{ name, xml, want string }{
		{"no fileuid, spaces, comments", indexHead + `<!-- c --><directory><name/><contents>
			<file><name> a </name><length> 3 </length></file><file><name><![CDATA[x<y]]></name><length>0</length></file></contents></directory></ltfsindex>`, " a ,x<y,"},
		{"entities", indexHead + `<directory><name/><contents><file><name>&#x41;&lt;&amp;</name><length>0</length></file></contents></directory></ltfsindex>`, "A<&,"},
		{"slash and duplicate", indexHead + `<directory><name/><contents><file><name>a/b</name><length>0</length></file><file><name>a_b</name><length>0</length></file></contents></directory></ltfsindex>`, "a_b,a_b~2,"},
		{"percent without hex", indexHead + `<directory><name/><contents><file><name percentencoded="true">%zz%41%</name><length>0</length></file></contents></directory></ltfsindex>`, "%zzA%,"},
		{"foreign sliod.name", indexHead + `<directory><name/><contents><file><name>renamed</name><length>0</length><extendedattributes><xattr><key>sliod.name</key><value type="base64">/w==</value></xattr></extendedattributes></file></contents></directory></ltfsindex>`, "renamed,"},
	} {
		x, err := Parse(strings.NewReader(c.xml))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := ""
		for _, e := range x.Root.Children() {
			got += e.node().Name + ","
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	for _, c := range []struct{ name, xml string }{
		{"empty", ""}, {"not XML", "hello"}, {"cut", indexHead + "<directory><name>"},
		{"version 3", strings.Replace(indexHead, "2.2.0", "3.0", 1) + "<directory><name/><contents/></directory></ltfsindex>"},
		{"DTD", "<!DOCTYPE x>" + indexHead}, {"UTF-16", `<?xml version="1.0" encoding="UTF-16"?>` + indexHead},
		{"no directory", indexHead + "</ltfsindex>"},
		{"wrong end", indexHead + "<directory><name/><contents></directory></contents></ltfsindex>"},
		{"trailing", indexHead + "<directory><name/><contents/></directory></ltfsindex><x/>"},
		{"overlap", indexHead + "<directory><name/><contents><file><name>f</name><length>9</length><extentinfo>" +
			strings.Repeat("<extent><fileoffset>1</fileoffset><partition>b</partition><startblock>7</startblock><byteoffset>0</byteoffset><bytecount>2</bytecount></extent>", 2) + "</extentinfo></file></contents></directory></ltfsindex>"},
		{"beyond length", indexHead + "<directory><name/><contents><file><name>f</name><length>1</length><extentinfo><extent><fileoffset>0</fileoffset><partition>b</partition><startblock>7</startblock><byteoffset>0</byteoffset><bytecount>2</bytecount></extent></extentinfo></file></contents></directory></ltfsindex>"},
		{"name ..", indexHead + "<directory><name/><contents><file><name>..</name><length>1</length></file></contents></directory></ltfsindex>"},
		{"deep", indexHead + strings.Repeat("<directory><name>a</name><contents>", 10000)},
		{"deep unknown", indexHead + strings.Repeat("<x>", 10000)},
	} {
		if _, err := Parse(strings.NewReader(c.xml)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	boom := errors.New("drive broke")
	if _, err := Parse(io.MultiReader(strings.NewReader(indexHead), iotest.ErrReader(boom))); !errors.Is(err, boom) {
		t.Errorf("%v", err)
	}
}

// bigIndex is an index as the archive makes it, of n files in directories of 1000.
func bigIndex(tb testing.TB, n int) *Index {
	tb.Helper()
	x := NewIndex("6acc47dc-4b90-4af4-a73c-85ad521040b8", Time{1700000000, 1})
	x.Location = Location{'b', 5}
	for i := range n {
		f := &File{Extents: []Extent{{0, uint64(i) + 10, 1 << 20, 0, 'b'}}}
		m := Meta{FileID: uint64(i) + 2, Generation: 1, DataVersion: uint64(i) * 7, Mode: 0o100644, UID: 1000, GID: 1000, Size: 1 << 20,
			Atime: Time{1700000000, 5}, Mtime: Time{1700000000, 123456789}, Ctime: Time{1700000001, 5}, Btime: Time{1600000000, 5},
			Slivers: []SliverMeta{{Version: uint64(i) * 3, Sum: uint64(i) * 0x9e3779b97f4a7c15, Len: 1 << 20}}}
		if err := m.Apply(f); err != nil {
			tb.Fatal(err)
		}
		if err := x.Put(fmt.Sprintf("dir%04d/file%06d.dat", i/1000, i), f); err != nil {
			tb.Fatal(err)
		}
	}
	return x
}

func BenchmarkIndexWrite(b *testing.B) {
	x := bigIndex(b, 100000)
	var n int64
	for b.Loop() {
		n, _ = x.WriteTo(io.Discard)
	}
	b.SetBytes(n)
}

func BenchmarkIndexParse(b *testing.B) {
	var out bytes.Buffer
	if _, err := bigIndex(b, 100000).WriteTo(&out); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(out.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(bytes.NewReader(out.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}
