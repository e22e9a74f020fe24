package ltfs

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func FuzzParseIndex(f *testing.F) {
	f.Add([]byte(goldenDrive(f).parts[0][5]))
	f.Add([]byte(indexHead + `<x a='>'>t<y/></x><directory><name/><contents><file><name percentencoded="true">a%3A</name><length>1</length></file></contents></directory></ltfsindex>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := Parse(bytes.NewReader(b))
		if err != nil {
			return
		}
		// What was read can be written, and is then read the same way.
		var out, again bytes.Buffer
		if _, err := x.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		y, err := Parse(bytes.NewReader(out.Bytes()))
		if err != nil {
			t.Fatalf("%v in %q", err, out.Bytes())
		}
		if _, err := y.WriteTo(&again); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), again.Bytes()) {
			t.Fatalf("%q became %q", out.Bytes(), again.Bytes())
		}
	})
}

func FuzzLabels(f *testing.F) {
	d := goldenDrive(f)
	f.Add([]byte(d.parts[0][0]))
	f.Add([]byte(d.parts[0][2]))
	f.Add(d.attrs[[2]int{0, mamCoherency}])
	f.Fuzz(func(t *testing.T, b []byte) {
		if serial, err := parseVOL1(b); err == nil && len(serial) > 6 {
			t.Fatal(serial)
		}
		if l, err := ParseLabel(b); err == nil {
			if m, err := ParseLabel(l.Encode()); err != nil || m.UUID != strings.TrimSpace(l.UUID) {
				t.Fatalf("%+v: %v", l, err)
			}
		}
		parseCoherency(b)
		parseVCR(b)
	})
}

func FuzzMeta(f *testing.F) {
	m := &Meta{FileID: 7, Mode: 0o100644, Size: 3 << 20, Mtime: Time{1 << 50, 1}, Slivers: []SliverMeta{{No: 0, Version: 5, Sum: 6, Len: 1 << 20}, {No: 1, Version: 6, Sum: 6, Len: 1 << 20, SumLen: 9}, {No: 4, Version: 1, Sum: 6, Len: 7}}}
	values, _ := encodeSlivers(m.Slivers)
	f.Add(m.encode(), encodeLinks([]string{"a/b", "c"}), values[0])
	f.Fuzz(func(t *testing.T, meta, links, slivers []byte) {
		var m, n Meta
		if m.decode(meta) == nil && m.Atime.Nsec < 1e9 && m.Mtime.Nsec < 1e9 && m.Ctime.Nsec < 1e9 && m.Btime.Nsec < 1e9 {
			if err := n.decode(m.encode()); err != nil {
				t.Fatal(err)
			}
		}
		if l, err := decodeLinks(links); err == nil {
			if again, err := decodeLinks(encodeLinks(l)); err != nil || !reflect.DeepEqual(l, again) {
				t.Fatal(l, again, err)
			}
		}
		if l, err := decodeSlivers(nil, slivers); err == nil && len(l) <= sliversPerXattr {
			values, err := encodeSlivers(l)
			if err != nil {
				t.Fatal(err)
			}
			var again []SliverMeta
			for _, v := range values {
				if again, err = decodeSlivers(again, v); err != nil {
					t.Fatal(err)
				}
			}
			if !reflect.DeepEqual(l, again) {
				t.Fatal(l, again)
			}
		}
		x := &Index{Root: &Dir{}}
		x.Root.SetXattr(keyRemoved, slivers)
		_, _ = x.Removed()
		x.Root.SetXattr(keyVolumes, slivers)
		if l, err := x.ArchiveVolumes(); err == nil {
			x.SetArchive("id", l)
			if again, err := x.ArchiveVolumes(); err != nil || len(again) != len(l) {
				t.Fatal(l, again, err)
			}
		}
	})
}
