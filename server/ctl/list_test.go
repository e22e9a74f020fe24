package ctl

import (
	stderrors "errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend"
)

func TestListInSeveralWrites(t *testing.T) {
	fs, a := newTree()
	f := open(t, fs, "/jobs/list", owner, p9.ReadWrite)
	for i, p := range []string{"recall pin=2d priority=low\x00", "/a\x00/b\x00a\x00", "/c\x00/a\x00\x00"} {
		if n, err := f.WriteAt(uint64(i), []byte(p), nil); err != nil || n != len(p) {
			t.Fatalf("write %d: %d, %v", i, n, err)
		}
	}
	if text := readAll(t, f, 3); text != "1\n" {
		t.Errorf("reading back: %q", text)
	}
	if !slices.Equal(a.list.paths, []string{"/a", "/b", "a", "/c", "/a"}) || a.list.skipped != 2 || a.list.kind != backend.JobRecall {
		t.Errorf("%+v", a.list)
	}
	if a.options != (backend.JobOptions{Priority: backend.PriorityLow, Pin: 48 * time.Hour}) {
		t.Errorf("%+v", a.options)
	}
	if _, err := f.WriteAt(0, []byte("/a\x00"), nil); !stderrors.Is(err, linux.EINVAL) {
		t.Errorf("a write behind the end: %v", err)
	}
	f.Close()
	if a.list.dropped {
		t.Error("a job that has begun was dropped")
	}
}

func TestListThatIsNotEnded(t *testing.T) {
	fs, a := newTree()
	f := open(t, fs, "/jobs/list", owner, p9.ReadWrite)
	if _, err := f.WriteAt(0, []byte("recall\x00/a\x00"), nil); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if len(a.jobs) != 0 || !a.list.dropped {
		t.Error("a list that was not ended has begun, or was not dropped")
	}
	if _, err := fs.Attach(stranger, "/jobs/list"); err != nil {
		t.Fatal(err)
	}
	n := attach(t, fs, "/jobs/list")
	if _, err := n.Open(stranger, p9.ReadWrite); !stderrors.Is(err, linux.EACCES) {
		t.Errorf("a stranger opens it: %v", err)
	}
}

func TestBadLists(t *testing.T) {
	for _, tc := range []struct{ write, want string }{
		{"recall\x00/a", "ends with a NUL byte"},
		{"erase\x00/a\x00", `no command "erase" on paths; the commands are archive, evict, recall, pin, unpin`},
		{"format\x00A\x00", `no command "format" on paths`},
		{"\x00", `there is no command ""`},
		{"recall fast=yes\x00", `no option "fast"`},
		{"recall pin=tomorrow\x00", `"tomorrow" is not a time`},
		{"recall priority=none\x00", "priority"},
		{"recall\x00/a\x00\x00/a\x00", "a path is empty"},
	} {
		fs, a := newTree()
		f := open(t, fs, "/jobs/list", owner, p9.ReadWrite)
		_, err := f.WriteAt(0, []byte(tc.write), nil)
		if text := readAll(t, f, 99); !stderrors.Is(err, linux.EINVAL) || !strings.Contains(text, tc.want) {
			t.Errorf("%q: %q, %v, want %q", tc.write, text, err, tc.want)
		}
		f.Close()
		if len(a.jobs) > 0 || a.list != nil && !a.list.dropped {
			t.Errorf("%q: something was begun", tc.write)
		}
	}
}

func TestCommandsAboutJobs(t *testing.T) {
	fs, a := newTree()
	f := open(t, fs, "/jobs/new", owner, p9.ReadWrite)
	for _, tc := range []struct{ write, text string }{
		{"cancel 3", "3\n"}, {"release\x004\x005\x00", "4\n5\n"}, {"priority high 6 7", "6\n7\n"},
	} {
		if _, err := f.WriteAt(0, []byte(tc.write), nil); err != nil {
			t.Errorf("%q: %v", tc.write, err)
		}
		if text := readAll(t, f, 99); text != tc.text {
			t.Errorf("%q: %q", tc.write, text)
		}
	}
	if !slices.Equal(a.told, []string{"cancel 3", "release 4", "release 5", "priority high 6", "priority high 7"}) {
		t.Errorf("%q", a.told)
	}
	if _, err := f.WriteAt(0, []byte("cancel 77"), nil); !stderrors.Is(err, linux.ENOENT) {
		t.Error(err)
	}
	if _, err := f.WriteAt(0, []byte("cancel all"), nil); !stderrors.Is(err, linux.EINVAL) {
		t.Error(err)
	}
	// With options, nothing begins if a path is not there.
	if _, err := f.WriteAt(0, []byte("recall pin=1h\x00/a\x00/b\x00"), nil); !stderrors.Is(err, linux.ENOENT) || !a.list.dropped {
		t.Error(err)
	}
	if _, err := f.WriteAt(0, []byte("recall pin=1h\n/a\n"), nil); err != nil || a.options.Pin != time.Hour {
		t.Error(err, a.options)
	}
}
