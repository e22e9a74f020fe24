package policy

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFits(t *testing.T) {
	for _, tc := range []struct {
		pattern, path string
		want          bool
	}{
		{"*.tmp", "/a/b.tmp", true}, {"*.tmp", "/b.tmp", true}, {"*.tmp", "/a.tmp/b", false}, {"*.tmp", "", false},
		{"/a", "/a", true}, {"/a", "/a/b/c", true}, {"/a", "/ab", false}, {"/a", "/b/a", false},
		{"/a/b", "/a", false}, {"/*/cache", "/x/cache/y", true}, {"/*/cache", "/x/y/cache", false},
		{"/", "/anything/at/all", true}, {"/", "/x", true}, {"/", "", false}, {"/a?c/[x-z]", "/abc/y", true},
	} {
		if got := Fits(tc.pattern, tc.path); got != tc.want {
			t.Errorf("%q fits %q: %v", tc.pattern, tc.path, got)
		}
	}
	for pattern, good := range map[string]bool{"": false, "[": false, "a/b": false, "/a/": false, "/": true, "/a": true, "*.x": true} {
		if err := CheckPattern(pattern); (err == nil) != good {
			t.Errorf("pattern %q: %v", pattern, err)
		}
	}
}

func TestHours(t *testing.T) {
	for _, s := range []string{"", "22-6", "22:00", "24:00-06:00", "1:00-2:00", "01:60-02:00", "01:00-01:00", "01:00-02:00x", "-1:00-02:00", "00:00-24:01"} {
		if h, err := ParseHours(s); err == nil {
			t.Errorf("%q is %v", s, h)
		}
	}
	at := func(h, m int) time.Time { return time.Date(2026, 3, 4, h, m, 0, 0, time.UTC) }
	for _, tc := range []struct {
		hours      string
		now, start time.Time
	}{
		{"22:00-06:00", at(23, 0), at(23, 0)}, {"22:00-06:00", at(5, 59), at(5, 59)}, {"22:00-06:00", at(6, 0), at(22, 0)},
		{"22:00-06:00", at(21, 59), at(22, 0)}, {"01:30-24:00", at(1, 0), at(1, 30)}, {"01:30-24:00", at(23, 59), at(23, 59)},
		{"01:30-02:00", at(2, 0), at(25, 30)},
	} {
		h, err := ParseHours(tc.hours)
		if err != nil || h.String() != tc.hours {
			t.Fatalf("%q: %v, %v", tc.hours, h, err)
		}
		if got := h.Next(tc.now); !got.Equal(tc.start) {
			t.Errorf("%s at %v: %v, not %v", tc.hours, tc.now, got, tc.start)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func rules() *Rules {
	return &Rules{
		Rules: []*Rule{
			{Name: "tmp", Paths: []string{"*.tmp", "/scratch"}, Settings: Settings{Never: ptr(true)}},
			{Name: "video", Paths: []string{"/video"}, MinSize: 100, Settings: Settings{Copies: []string{"near", "far"}, Idle: ptr(time.Hour), Collocate: ByNone}},
			{Name: "alice", Owners: []uint32{1000}, Groups: []uint32{5, 6}, Settings: Settings{Pool: "near", Number: 2}},
			{Name: "marked", Xattrs: []string{"user.keep", "user.class=gold"}, Settings: Settings{Number: 3}},
			{Name: "old", MinAge: 24 * time.Hour, MaxSize: 50, Settings: Settings{Pool: "far", Hours: &Hours{22 * 60, 6 * 60}, Dirty: ptr(0.9)}},
		},
		Pools:   []string{"default", "near", "far"},
		Default: Decision{Copies: []string{"default"}, Idle: 30 * time.Second, Dirty: 0.3, Collocate: ByDirectory},
	}
}

func TestDecide(t *testing.T) {
	r := rules()
	base := r.Default
	with := func(rule string, change func(*Decision)) Decision {
		d := base
		d.Rule = rule
		change(&d)
		return d
	}
	xattrs := map[string]string{}
	for i, tc := range []struct {
		file   File
		xattrs string
		want   Decision
	}{
		{File{Path: "/a"}, "", base},
		{File{Path: ""}, "", base},
		{File{Path: "/video/x.tmp", Size: 200}, "", with("tmp", func(d *Decision) { d.Never = true })},
		{File{Path: "/video/x", Size: 99}, "", base},
		{File{Path: "/video/x", Size: 100}, "", with("video", func(d *Decision) { d.Copies, d.Idle, d.Collocate = []string{"near", "far"}, time.Hour, ByNone })},
		{File{Path: "/a", UID: 1000, GID: 6}, "", with("alice", func(d *Decision) { d.Copies = []string{"near", "near"} })},
		{File{Path: "/a", UID: 1000, GID: 7}, "", base},
		{File{Path: "/a"}, "user.keep=1 user.class=silver", base},
		{File{Path: "/a"}, "user.keep= user.class=gold", with("marked", func(d *Decision) { d.Copies = []string{"default", "default", "default"} })},
		{File{Path: "/a", Age: 25 * time.Hour, Size: 50}, "", with("old", func(d *Decision) { d.Copies, d.Hours, d.Dirty = []string{"far"}, &Hours{1320, 360}, 0.9 })},
		{File{Path: "/a", Age: 25 * time.Hour, Size: 51}, "", base},
		{File{Path: "/a/b", Settings: []Setting{{"/a", "copies=2"}}}, "", with("", func(d *Decision) { d.Copies, d.From = []string{"default", "default"}, "/a" })},
		{File{Path: "/a/b.tmp", Settings: []Setting{{"/a", "never=false idle=1h"}}}, "", with("tmp", func(d *Decision) { d.Never, d.Idle, d.From = false, time.Hour, "/a" })},
		{File{Path: "/a/b.tmp", Settings: []Setting{{"/", "video"}, {"/a", "pool=near"}}}, "", with("video", func(d *Decision) {
			d.Copies, d.Idle, d.Collocate, d.From = []string{"near", "near"}, time.Hour, ByNone, "/a"
		})},
		{File{Path: "/a/b/c", Settings: []Setting{{"/a", "copies=2"}, {"/a/b", "gone"}}}, "", with("", func(d *Decision) {
			d.Copies, d.From, d.Problem = []string{"default", "default"}, "/a", `setting of /a/b: there is no rule "gone", and an entry is KEY=VALUE`
		})},
		{File{Path: "/x", Settings: []Setting{{"/", "old copies=far,default hours=01:00-02:00 dirty=0.5 collocate=owner never=1"}}}, "", with("old", func(d *Decision) {
			d.Copies, d.Hours, d.Dirty, d.Collocate, d.Never, d.From = []string{"far", "default"}, &Hours{60, 120}, 0.5, ByOwner, true, "/"
		})},
	} {
		clear(xattrs)
		for x := range strings.FieldsSeq(tc.xattrs) {
			k, v, _ := strings.Cut(x, "=")
			xattrs[k] = v
		}
		tc.file.Xattr = func(name string) ([]byte, bool) { v, ok := xattrs[name]; return []byte(v), ok }
		if got := r.Decide(&tc.file); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("case %d, %s:\n%+v, want\n%+v", i, tc.file.Path, got, tc.want)
		}
	}
	if !reflect.DeepEqual(r.Default, base) {
		t.Error("the default was changed")
	}
	if !r.Timed() || (&Rules{}).Timed() {
		t.Error("Timed")
	}
}

func TestCheck(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "it is empty",
		"video":                            "",
		"video never=true":                 "",
		"never=true video":                 "must come first",
		"copies=0":                         "1 to 8 copies",
		"copies=9":                         "1 to 8 copies",
		"copies=near,elsewhere":            `no pool "elsewhere": there are default, near, far`,
		"copies=near,far pool=near":        "exclude each other",
		"copies=1 copies=2":                "twice",
		"pool=":                            `no pool ""`,
		"idle=soon":                        "invalid duration",
		"idle=-1s":                         "no time to wait",
		"dirty=2":                          "share from 0 to 1",
		"dirty=NaN":                        "share from 0 to 1",
		"hours=10":                         "part of the day",
		"never=maybe":                      "true or false",
		"collocate=colour":                 "collocate is",
		"size=3":                           `there is no "size"`,
		"pool=far copies=2 idle=1m":        "",
		"hours=22:00-06:00 collocate=none": "",
	} {
		err := rules().Check(text)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestDue(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	d := Decision{Idle: time.Minute, Dirty: 0.5}
	night := d
	night.Hours = &Hours{22 * 60, 6 * 60}
	for i, tc := range []struct {
		d     Decision
		quiet time.Duration
		dirty float64
		short bool
		want  bool
	}{
		{d, 59 * time.Second, 0, false, false}, {d, time.Minute, 0, false, true}, {d, 0, 0.5, false, false}, {d, 0, 0.51, false, true}, {d, 0, 0, true, true},
		{night, time.Hour, 0, false, false}, {night, 0, 0.51, false, true}, {night, 0, 0, true, true},
		{Decision{Never: true}, time.Hour, 1, true, false}, {Decision{Idle: -1, Dirty: 1}, time.Hour, 1, false, false}, {Decision{Idle: -1}, 0, 0, true, true},
	} {
		if got := tc.d.Due(now.Add(-tc.quiet), now, tc.dirty, tc.short); got != tc.want {
			t.Errorf("case %d: %v", i, got)
		}
	}
	if at, ok := night.DueAt(now, now); !ok || at.Hour() != 22 {
		t.Errorf("by night: %v, %v", at, ok)
	}
	if at, ok := d.DueAt(now.Add(-time.Hour), now); !ok || !at.Equal(now) {
		t.Errorf("overdue: %v, %v", at, ok)
	}
	two := Decision{Copies: []string{"b", "a", "b"}}
	pools, n := two.ByPool()
	if !slices.Equal(pools, []string{"b", "a"}) || fmt.Sprint(n) != "map[a:1 b:2]" {
		t.Errorf("by pool: %v, %v", pools, n)
	}
}
