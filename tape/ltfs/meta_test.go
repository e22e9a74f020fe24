package ltfs

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/pkg/errors"
	"pgregory.net/rapid"
)

func anySlivers(t *rapid.T) []SliverMeta {
	var list []SliverMeta
	var no, version uint64
	for range rapid.IntRange(0, 40).Draw(t, "slivers") {
		no += rapid.SampledFrom([]uint64{0, 0, 0, 1, 1000, 1 << 40}).Draw(t, "gap")
		version += rapid.SampledFrom([]uint64{1, 1, 1, 0, 1 << 60, ^uint64(4)}).Draw(t, "version")
		list = append(list, SliverMeta{No: no, Version: version, Sum: rapid.Uint64().Draw(t, "sum"),
			Len: rapid.SampledFrom([]uint32{1 << 20, 1 << 20, 1 << 20, 1, 0, 4096}).Draw(t, "len")})
		if s := &list[len(list)-1]; version != 0 {
			switch rapid.IntRange(0, 19).Draw(t, "sum of") {
			case 0:
				s.NoSum = true
			case 1:
				s.SumLen = rapid.SampledFrom([]uint32{0, 1 << 20}).Draw(t, "sum len")
				if s.SumLen <= s.Len {
					s.SumLen = 0
				}
			}
		}
		no++
	}
	return list
}

// TestMetaRoundTrip: metadata into an entry, through XML, and back.
func TestMetaRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		farTime := func() Time {
			if rapid.IntRange(0, 9).Draw(t, "far") == 0 {
				return Time{rapid.Int64().Draw(t, "sec"), rapid.Uint32Range(0, 999999999).Draw(t, "nsec")}
			}
			return anyTime(t)
		}
		m := &Meta{
			FileID: rapid.Uint64().Draw(t, "id"), Generation: rapid.Uint64().Draw(t, "generation"), DataVersion: rapid.Uint64().Draw(t, "dv"),
			Mode: rapid.SampledFrom([]uint32{0o100644, 0o104755, 0o040755, 0o120777, 0o020600, 0o060600, 0o010644, 0o140755}).Draw(t, "mode"),
			UID:  rapid.Uint32().Draw(t, "uid"), GID: rapid.Uint32().Draw(t, "gid"), Major: rapid.Uint32().Draw(t, "major"), Minor: rapid.Uint32().Draw(t, "minor"),
			Atime: farTime(), Mtime: farTime(), Ctime: farTime(), Btime: farTime(),
			Dirs: rapid.SampledFrom([][]uint64{nil, {1}, {1, 1 << 63, 7}}).Draw(t, "dirs"),
		}
		var e Entry = &File{}
		switch m.Mode & modeType {
		case modeDir:
			e = &Dir{}
		case modeSymlink:
			m.Target = anyName(t)
		case modeRegular:
			m.Size = rapid.Uint64Range(0, 1<<62).Draw(t, "size")
			m.Slivers = anySlivers(t)
		}
		for range rapid.IntRange(0, 3).Draw(t, "links") {
			m.Links = append(m.Links, anyName(t)+"/"+anyName(t))
		}
		for range rapid.IntRange(0, 4).Draw(t, "xattrs") {
			name := rapid.SampledFrom([]string{"user.", "user.", "user.ltfs", "user.LTFS.x", "user.sliod.", "trusted.", "security.", "system.posix_acl_", "sliod.xattr."}).Draw(t, "prefix") + anyName(t)
			v := rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "value")
			if len(v) == 0 {
				v = nil
			}
			if m.Xattrs == nil {
				m.Xattrs = map[string][]byte{}
			}
			m.Xattrs[name] = v
		}
		if err := m.Apply(e); err != nil {
			t.Fatal(err)
		}
		x := NewIndex("u", Time{})
		x.Location = Location{'b', 5}
		name := anyName(t)
		if err := x.Put(name, e); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := x.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		checkIndexXML(t, out.Bytes(), testBlock)
		y, err := Parse(&out)
		if err != nil {
			t.Fatal(err)
		}
		e, err = y.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeMeta(e)
		if err != nil {
			t.Fatalf("%+v", err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Fatalf("%+v became %+v", m, got)
		}
	})
}

func TestXattrKeys(t *testing.T) {
	for name, key := range map[string]string{
		"user.note":               "note",
		"user.ltfs.hash.md5sum":   "sliod.xattr.user.ltfs.hash.md5sum",
		"user.sliod.meta":         "sliod.xattr.user.sliod.meta",
		"user.":                   "sliod.xattr.user.",
		"trusted.overlay":         "sliod.xattr.trusted.overlay",
		"system.posix_acl_access": "sliod.xattr.system.posix_acl_access",
		"user.a:b":                "a:b",
		"user.\xff":               "sliod.xattr.user.%FF",
	} {
		if got := xattrKey(name); got != key {
			t.Errorf("%q: key %q, want %q", name, got, key)
		}
		if got, ok := xattrName(key); !ok || got != name {
			t.Errorf("%q: name %q", key, got)
		}
	}
	for _, key := range []string{"sliod.meta", "sliod.links", "sliod.slivers.0", "ltfs.vendor.IBM.prefixLength", "ltfs.hash.md5sum"} {
		if name, ok := xattrName(key); ok {
			t.Errorf("%q is xattr %q", key, name)
		}
	}
}

func TestSliverListIsCompact(t *testing.T) {
	list := make([]SliverMeta, 20000)
	for i := range list {
		list[i] = SliverMeta{No: uint64(i), Version: uint64(i) + 1<<40, Sum: uint64(i) << 32, Len: sliverSize}
	}
	values, err := encodeSlivers(list)
	if err != nil || len(values) != 3 {
		t.Fatal(len(values), err)
	}
	var back []SliverMeta
	n := 0
	for _, v := range values {
		n += len(v)
		if back, err = decodeSlivers(back, v); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(list, back) || n > 20000*9+100 {
		t.Errorf("%d bytes", n)
	}
	if _, err := encodeSlivers([]SliverMeta{{No: 1}, {No: 1}}); err == nil {
		t.Error("a sliver twice")
	}
	if _, err := encodeSlivers([]SliverMeta{{Len: sliverSize + 1}}); err == nil {
		t.Error("a sliver that is too long")
	}
}

func TestRemoved(t *testing.T) {
	x := NewIndex("u", Time{})
	x.SetRemoved([]FileIDRun{{9, 1}, {5, 1}, {6, 2}, {5, 1}, {1 << 60, 1}})
	runs, err := x.Removed()
	if err != nil || !reflect.DeepEqual(runs, []FileIDRun{{5, 3}, {9, 1}, {1 << 60, 1}}) {
		t.Fatal(runs, err)
	}
	if x.SetRemoved(nil); len(x.Root.Xattrs) != 0 {
		t.Fatal("still there")
	}
}

func TestDamagedMeta(t *testing.T) {
	f := &File{}
	if _, err := DecodeMeta(f); !errors.Is(err, ErrNoMeta) {
		t.Fatal(err)
	}
	m := &Meta{FileID: 7, Mode: 0o100644, Links: []string{"x"}, Slivers: []SliverMeta{{No: 1, Len: 5}}}
	if err := m.Apply(&Dir{}); err == nil {
		t.Fatal("a file's metadata in a directory")
	}
	for _, key := range []string{keyMeta, keyLinks, keySlivers + "0"} {
		if err := m.Apply(f); err != nil {
			t.Fatal(err)
		}
		v, ok := f.Xattr(key)
		if !ok {
			t.Fatal(key)
		}
		for _, bad := range [][]byte{nil, {9}, append(bytes.Clone(v), 0x80), v[:len(v)-1]} {
			f.SetXattr(key, bad)
			if _, err := DecodeMeta(f); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s = %x: %v", key, bad, err)
			}
		}
	}
	if err := m.Apply(f); err != nil {
		t.Fatal(err)
	}
	v, _ := f.Xattr(keySlivers + "0")
	f.DeleteXattr(keySlivers + "0")
	f.SetXattr(keySlivers+"1", v)
	if _, err := DecodeMeta(f); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "missing") {
		t.Error(err)
	}
}
