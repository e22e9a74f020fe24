package ltfs

import (
	"encoding/xml"
	"regexp"
	"strings"
	"unicode/utf8"
)

// A reader of indexes that shares nothing with the writer: it checks the rules
// of the format with encoding/xml.

type xmlIndex struct {
	XMLName    xml.Name `xml:"ltfsindex"`
	Version    string   `xml:"version,attr"`
	Creator    []string `xml:"creator"`
	UUID       []string `xml:"volumeuuid"`
	Generation []uint64 `xml:"generationnumber"`
	Update     []string `xml:"updatetime"`
	Location   []xmlLoc `xml:"location"`
	Previous   []xmlLoc `xml:"previousgenerationlocation"`
	Allow      []string `xml:"allowpolicyupdate"`
	Highest    []uint64 `xml:"highestfileuid"`
	Dir        []xmlDir `xml:"directory"`
}

type xmlLoc struct {
	Partition []string `xml:"partition"`
	Start     []uint64 `xml:"startblock"`
}

type xmlName struct {
	Encoded string `xml:"percentencoded,attr"`
	Text    string `xml:",chardata"`
}

type xmlNode struct {
	Name     []xmlName `xml:"name"`
	ReadOnly []string  `xml:"readonly"`
	Creation []string  `xml:"creationtime"`
	Change   []string  `xml:"changetime"`
	Modify   []string  `xml:"modifytime"`
	Access   []string  `xml:"accesstime"`
	Backup   []string  `xml:"backuptime"`
	UID      []uint64  `xml:"fileuid"`
	Xattrs   []struct {
		Key   []xmlName `xml:"key"`
		Value []struct {
			Type string `xml:"type,attr"`
			Text string `xml:",chardata"`
		} `xml:"value"`
	} `xml:"extendedattributes>xattr"`
}

type xmlDir struct {
	xmlNode
	Contents []struct {
		Files []xmlFile `xml:"file"`
		Dirs  []xmlDir  `xml:"directory"`
	} `xml:"contents"`
}

type xmlFile struct {
	xmlNode
	Length  []uint64  `xml:"length"`
	Symlink []xmlName `xml:"symlink"`
	Extents []struct {
		Offset    []uint64 `xml:"fileoffset"`
		Partition []string `xml:"partition"`
		Start     []uint64 `xml:"startblock"`
		Byte      []uint64 `xml:"byteoffset"`
		Count     []uint64 `xml:"bytecount"`
	} `xml:"extentinfo>extent"`
}

var timeForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$`)

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func checkIndexXML(t fataler, data []byte, blockSize uint64) *xmlIndex {
	t.Helper()
	if !strings.HasPrefix(string(data), `<?xml version="1.0" encoding="UTF-8"?>`) || !utf8.Valid(data) {
		t.Fatalf("not a UTF-8 XML document: %.80q", data)
	}
	var x xmlIndex
	if err := xml.Unmarshal(data, &x); err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	if x.Version != "2.4.0" || len(x.Creator) != 1 || len(x.UUID) != 1 || len(x.Generation) != 1 || len(x.Update) != 1 || len(x.Allow) != 1 ||
		len(x.Highest) != 1 || len(x.Dir) != 1 || len(x.Location) != 1 || len(x.Previous) > 1 || !timeForm.MatchString(x.Update[0]) {
		t.Fatalf("the index's own elements: %+v", x)
	}
	for _, l := range append(x.Location, x.Previous...) {
		if len(l.Partition) != 1 || len(l.Partition[0]) != 1 || len(l.Start) != 1 {
			t.Fatalf("location %+v", l)
		}
	}
	seen := map[uint64]bool{}
	var dir func(d *xmlDir, root bool)
	node := func(n *xmlNode, root bool) {
		if len(n.Name) != 1 || len(n.ReadOnly) != 1 || len(n.UID) != 1 || seen[n.UID[0]] || n.UID[0] == 0 || n.UID[0] > x.Highest[0] || root != (n.UID[0] == 1) {
			t.Fatalf("entry %+v", n)
		}
		seen[n.UID[0]] = true
		if !root {
			checkName(t, n.Name[0])
		}
		for _, tm := range [][]string{n.Creation, n.Change, n.Modify, n.Access, n.Backup} {
			if len(tm) != 1 || !timeForm.MatchString(tm[0]) {
				t.Fatalf("times of %+v", n)
			}
		}
		keys := map[string]bool{}
		for _, a := range n.Xattrs {
			if len(a.Key) != 1 || len(a.Value) != 1 || keys[a.Key[0].Text] {
				t.Fatalf("xattrs of %+v", n)
			}
			keys[a.Key[0].Text] = true
			checkName(t, a.Key[0])
			if typ := a.Value[0].Type; typ != "" && typ != "text" && typ != "base64" || typ == "base64" && a.Value[0].Text == "" {
				t.Fatalf("xattr value of type %q in %+v", typ, n)
			}
		}
	}
	dir = func(d *xmlDir, root bool) {
		node(&d.xmlNode, root)
		if len(d.Contents) != 1 {
			t.Fatalf("directory %+v has %d <contents>", d.Name, len(d.Contents))
		}
		for i := range d.Contents[0].Files {
			f := &d.Contents[0].Files[i]
			node(&f.xmlNode, false)
			if len(f.Length) != 1 || len(f.Symlink) > 1 || len(f.Symlink) == 1 && (f.Length[0] != 0 || len(f.Extents) > 0) {
				t.Fatalf("file %+v", f)
			}
			var end uint64
			for _, e := range f.Extents {
				if len(e.Offset) != 1 || len(e.Partition) != 1 || len(e.Start) != 1 || len(e.Byte) != 1 || len(e.Count) != 1 ||
					e.Offset[0] < end || e.Byte[0] >= blockSize || e.Count[0] == 0 || e.Start[0] < 4 {
					t.Fatalf("extent %+v of %+v", e, f)
				}
				end = e.Offset[0] + e.Count[0]
			}
			if end > f.Length[0] {
				t.Fatalf("extents of %+v go beyond its length", f)
			}
		}
		for i := range d.Contents[0].Dirs {
			dir(&d.Contents[0].Dirs[i], false)
		}
	}
	dir(&x.Dir[0], true)
	return &x
}

func checkName(t fataler, n xmlName) {
	t.Helper()
	if n.Text == "" || strings.TrimSpace(n.Text) != n.Text {
		t.Fatalf("name %q", n.Text)
	}
	for _, c := range n.Text {
		if c == ':' || c < 0x20 || c == 0x7f || c == '%' && n.Encoded != "true" {
			t.Fatalf("name %q is not percent-encoded", n.Text)
		}
	}
}
