package ltfs

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestArchiveOfAnIndex(t *testing.T) {
	x := NewIndex("u", Time{})
	x.Location = Location{'a', 5}
	if l, err := x.ArchiveVolumes(); x.Archive() != "" || l != nil || err != nil {
		t.Fatal(l, err)
	}
	want := []ArchiveVolume{{"A00001L9", "u1"}, {"Ä", ""}, {"B00002L9", "u2"}}
	x.SetArchive("id", want)
	want[1], want[2] = want[2], want[1] // sorted
	var b bytes.Buffer
	if n, err := x.WriteTo(&b); err != nil || n > x.EstimateBytes() {
		t.Fatalf("%d bytes, estimated were %d: %v", n, x.EstimateBytes(), err)
	}
	y, err := Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := y.ArchiveVolumes(); y.Archive() != "id" || err != nil || !reflect.DeepEqual(l, want) {
		t.Fatal(y.Archive(), l, err)
	}
	if y.dirty = false; true {
		y.SetArchive("id", want)
	}
	if y.dirty {
		t.Error("what is noted already changes the index")
	}
	v, _ := y.Root.Xattr(keyVolumes)
	for _, bad := range [][]byte{nil, {2}, append(bytes.Clone(v), 0x80), v[:len(v)-1], {1, 5, 'x'}} {
		y.Root.SetXattr(keyVolumes, bad)
		if l, err := y.ArchiveVolumes(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("% x: %v, %v", bad, l, err)
		}
	}
	y.Root.SetXattr(keyArchive, []byte(strings.Repeat("x", 1<<20)))
	if n := len(y.Archive()); n > maxArchiveID {
		t.Errorf("an identity of %d bytes", n)
	}
}

func TestCanHold(t *testing.T) {
	v := &Volume{label: &Label{Index: 'a', Data: 'b'}, ip: 0, dp: 1, blockSize: 100, end: 10, endKnown: true}
	for _, c := range []struct {
		e    Extent
		want bool
	}{
		{Extent{Partition: 'b', StartBlock: 4, ByteCount: 600}, true},
		{Extent{Partition: 'b', StartBlock: 4, ByteCount: 601}, false},
		{Extent{Partition: 'b', StartBlock: 4, ByteOffset: 99, ByteCount: 501}, true},
		{Extent{Partition: 'b', StartBlock: 4, ByteOffset: 99, ByteCount: 502}, false},
		{Extent{Partition: 'b', StartBlock: 11}, false},
		{Extent{Partition: 'b', StartBlock: 1<<64 - 1, ByteCount: 100}, false},
		{Extent{Partition: 'b', StartBlock: 4, ByteOffset: 5, ByteCount: 1<<64 - 1}, false},
		{Extent{Partition: 'a', StartBlock: 4, ByteCount: 1 << 40}, true},
		{Extent{Partition: 'a', StartBlock: 4, ByteCount: 1 << 62}, false},
	} {
		if got := v.CanHold(c.e); got != c.want {
			t.Errorf("%+v: %t", c.e, got)
		}
	}
	v.repair = &Repair{}
	if v.CanHold(Extent{Partition: 'b', StartBlock: 4, ByteCount: 1 << 62}) || !v.CanHold(Extent{Partition: 'b', StartBlock: 4, ByteCount: 1 << 30}) {
		t.Error("on a volume that has lost data")
	}
}
