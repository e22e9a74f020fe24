package acl

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"
)

// list makes the value of an attribute: "u::rwx,u:7:r--,g::r-x,m::rwx,o::---".
func list(text string) []byte {
	b := []byte{version, 0, 0, 0}
	for line := range strings.SplitSeq(text, ",") {
		f := strings.Split(line, ":")
		e := entry{id: noID, tag: map[string]uint16{"u": tagOwner, "g": tagGroup, "m": tagMask, "o": tagOther}[f[0]]}
		if f[1] != "" {
			e.tag *= 2 // as it happens
			if _, err := fmt.Sscan(f[1], &e.id); err != nil {
				panic(err)
			}
		}
		for i, c := range f[2] {
			if c != '-' {
				e.perm |= 4 >> i
			}
		}
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint16(b, e.perm), e.id)
	}
	return b
}

func parse(t *testing.T, text string) ACL {
	t.Helper()
	a, err := Parse(list(text))
	if err != nil || string(a) != string(list(text)) {
		t.Fatalf("%s: %v", text, err)
	}
	return a
}

func TestParse(t *testing.T) {
	good := list("u::rw-,u:7:rwx,g::r--,g:8:---,m::rwx,o::---")
	change := func(at int, v byte) []byte {
		b := slices.Clone(good)
		b[at] = v
		return b
	}
	long := func(n int) []byte {
		return list("u::rwx" + strings.Repeat(",u:1:rwx", n-4) + ",g::rwx,m::rwx,o::rwx")
	}
	for _, tc := range []struct {
		what  string
		value []byte
		err   error
		none  bool
	}{
		{"nothing", nil, nil, true},
		{"no entries", good[:4], nil, true},
		{"a list", good, nil, false},
		{"base entries", list("u::rwx,g::r-x,o::r-x"), nil, false},
		{"a mask alone", list("u::rwx,g::r-x,m::r--,o::r-x"), nil, false},
		{"the longest", long(511), nil, false},
		{"too long", long(512), linux.E2BIG, true},
		{"half a header", good[:3], linux.EINVAL, true},
		{"half an entry", good[:11], linux.EINVAL, true},
		{"version 3", change(0, 3), linux.EOPNOTSUPP, true},
		{"an unknown tag", change(4, 0x40), linux.EINVAL, true},
		{"two tags", change(4, tagOwner|tagUser), linux.EINVAL, true},
		{"no tag", change(4, 0), linux.EINVAL, true},
		{"unknown permissions", change(6, 8), linux.EINVAL, true},
		{"no mask", list("u::rw-,u:7:rwx,g::r--,o::---"), linux.EINVAL, true},
		{"no owner", list("u:7:rwx,g::r--,m::rwx,o::---"), linux.EINVAL, true},
		{"no group", list("u::rw-,o::---"), linux.EINVAL, true},
		{"no others", list("u::rw-,g::r--"), linux.EINVAL, true},
		{"two owners", list("u::rw-,u::rw-,g::r--,o::---"), linux.EINVAL, true},
		{"two masks", list("u::rw-,g::r--,m::rwx,m::rwx,o::---"), linux.EINVAL, true},
		{"another order", list("u::rw-,o::---,g::r--"), linux.EINVAL, true},
		{"a user without a number", list("u::rw-,u:4294967295:rwx,g::r--,m::rwx,o::---"), linux.EINVAL, true},
	} {
		a, err := Parse(tc.value)
		if !errors.Is(err, tc.err) || (a == "") != tc.none {
			t.Errorf("%s: %q, %v", tc.what, a, err)
		}
	}
}

func TestMode(t *testing.T) {
	for _, tc := range []struct {
		list     string
		mode     uint32
		minimal  bool
		chmod640 string
		of666    string // what a file made with 0666 inherits; "": the mode says all
		mode666  uint32
	}{
		{"u::rwx,g::r-x,o::--x", 0o751, true, "u::rw-,g::r--,o::---", "", 0o640},
		{"u::rwx,u:7:rwx,g::r-x,m::rwx,o::--x", 0o771, false, "u::rw-,u:7:rwx,g::r-x,m::r--,o::---", "u::rw-,u:7:rwx,g::r-x,m::rw-,o::---", 0o660},
		{"u::---,g::rwx,g:9:r--,m::r--,o::r-x", 0o045, false, "u::rw-,g::rwx,g:9:r--,m::r--,o::---", "u::---,g::rwx,g:9:r--,m::r--,o::r--", 0o044},
		{"u::rwx,g::rwx,m::-w-,o::---", 0o720, false, "u::rw-,g::rwx,m::r--,o::---", "u::rw-,g::rwx,m::-w-,o::---", 0o620},
	} {
		a := parse(t, tc.list)
		if mode, minimal := a.Mode(); mode != tc.mode || minimal != tc.minimal {
			t.Errorf("%s: mode %o, minimal %v", tc.list, mode, minimal)
		}
		if got := a.Chmod(0o7640); got != parse(t, tc.chmod640) {
			t.Errorf("chmod 640 of %s: %q", tc.list, got)
		}
		got, mode := a.Inherit(0o102666)
		want := ACL("")
		if tc.of666 != "" {
			want = parse(t, tc.of666)
		}
		if got != want || mode != 0o102000|tc.mode666 {
			t.Errorf("from %s a file inherits %q with mode %o", tc.list, got, mode)
		}
		// Who is told what was inherited already, as by a client, inherits the same.
		if again, mode2 := a.Inherit(mode); again != got || mode2 != mode {
			t.Errorf("from %s a file inherits %q, and then %q", tc.list, got, again)
		}
	}
	if ACL("").Chmod(0o644) != "" {
		t.Error("a list by chmod")
	}
}

func TestPermits(t *testing.T) {
	const owner, group = 1, 10
	type user struct {
		uid    uint32
		groups []uint32
	}
	for _, tc := range []struct {
		list string
		user user
		may  uint32 // of the bits 4, 2, 1
	}{
		{"u::r-x,u:1:rwx,g::rwx,m::---,o::rwx", user{1, []uint32{10}}, 5},
		{"u::rwx,u:2:rw-,g::rwx,m::r-x,o::rwx", user{2, []uint32{10}}, 4},
		{"u::rwx,u:2:---,g::rwx,m::rwx,o::rwx", user{2, []uint32{10}}, 0},
		{"u::rwx,u:2:rwx,g::r--,m::rwx,o::rwx", user{3, []uint32{10}}, 4},
		{"u::rwx,g::r--,o::rwx", user{3, []uint32{10}}, 4},
		{"u::rwx,g::---,g:11:rw-,m::rwx,o::rwx", user{3, []uint32{10, 11}}, 6},
		{"u::rwx,g::---,g:11:rw-,m::r--,o::rwx", user{3, []uint32{11}}, 4},
		{"u::rwx,g::---,g:11:---,m::rwx,o::rwx", user{3, []uint32{11}}, 0},
		{"u::rwx,g::---,g:11:---,m::---,o::r-x", user{3, []uint32{12}}, 5},
	} {
		a := parse(t, tc.list)
		in := func(g uint32) bool { return slices.Contains(tc.user.groups, g) }
		for want := range uint32(8) {
			// Linux looks at groups one by one: no entry may give half.
			if got := a.Permits(tc.user.uid, in, owner, group, want); got != (tc.may&want == want) && want != 0 {
				t.Errorf("%s, user %v, wants %o: %v", tc.list, tc.user, want, got)
			}
		}
	}
	// Two groups together give nothing that none gives alone.
	a := parse(t, "u::rwx,g::r--,g:11:-w-,m::rwx,o::---")
	both := func(uint32) bool { return true }
	if a.Permits(3, both, owner, group, 6) || !a.Permits(3, both, owner, group, 4) || !a.Permits(3, both, owner, group, 2) {
		t.Error("rights of two groups")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(list("u::rw-,u:7:rwx,g::r--,g:8:---,m::rwx,o::---"), uint32(0o640))
	f.Add(list("u::rw-,g::r--,o::---"), uint32(0o777))
	f.Fuzz(func(t *testing.T, value []byte, mode uint32) {
		a, err := Parse(value)
		if err != nil || a == "" {
			return
		}
		for _, b := range []ACL{a.Chmod(mode), a} {
			if c, err := Parse([]byte(b)); err != nil || c != b {
				t.Fatalf("%q is no list any more: %v", b, err)
			}
		}
		if bits, _ := a.Chmod(mode).Mode(); bits != mode&0o777 {
			t.Errorf("mode %o after chmod %o", bits, mode)
		}
		own, got := a.Inherit(mode)
		if got&^mode != 0 {
			t.Errorf("asked for %o, got %o", mode, got)
		}
		if bits, _ := own.Mode(); own != "" && bits != got&0o777 {
			t.Errorf("the list stands for %o, the mode is %o", bits, got)
		}
		a.Permits(mode, func(uint32) bool { return true }, 0, 0, 7)
	})
}
