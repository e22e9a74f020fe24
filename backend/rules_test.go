package backend

import (
	"bytes"
	"encoding/json"
	stderrors "errors"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/hugelgupf/p9/linux"

	"sliod/backend/catalog"
	"sliod/backend/policy"
	"sliod/backend/vfs"
	"sliod/tape"
	"sliod/tape/ltfs"
	"sliod/tape/virtual"
)

// byName are pools by patterns of barcodes, in pairs of pattern and pool, without keys.
type byName [][2]string

func (p byName) Of(b tape.Barcode) string {
	for _, x := range p {
		if ok, _ := path.Match(x[0], string(b)); ok {
			return x[1]
		}
	}
	return catalog.DefaultPool
}

func (byName) Source(string) ltfs.KeySource { return nil }

func ptr[T any](v T) *T { return &v }

// nearAndFar are two pools, and rules for them.
func nearAndFar(rules ...*policy.Rule) func(*Options, *virtual.Config) {
	return func(o *Options, c *virtual.Config) {
		o.Mover.Pools = byName{{"*[1-4]L?", "near"}, {"*[56]L?", "far"}, {"*7L?", catalog.ScratchPool}}
		o.Policy = &policy.Rules{Rules: rules, Pools: []string{"default", "near", "far"}}
		o.SyncInterval = time.Millisecond
	}
}

func (w *world) mkdir(p string) {
	w.t.Helper()
	dir, name := path.Split(p)
	n := w.node(dir)
	defer n.Release()
	c, err := n.Mkdir(rootCred, name, 0o755, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	if r, ok := any(c).(vfs.Node); ok && r != nil {
		r.Release()
	}
}

func (w *world) putAt(p string, content []byte) {
	w.t.Helper()
	dir, name := path.Split(p)
	d := w.node(dir)
	defer d.Release()
	n, f, err := d.Create(rootCred, name, openReadWrite, 0o644, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer n.Release()
	defer f.Close()
	w.write(f, 0, content)
}

func (w *world) setXattr(p, name, value string) error {
	w.t.Helper()
	n := w.node(p)
	defer n.Release()
	return n.SetXattr(rootCred, name, []byte(value), 0)
}

func (w *world) rule(p string) (info PolicyInfo) {
	w.t.Helper()
	if err := json.Unmarshal([]byte(w.xattrOf(p, "user.sliod.rule")), &info); err != nil {
		w.t.Fatal(err)
	}
	return info
}

// poolsOf returns the pools of the first sliver's copies.
func (w *world) poolsOf(p string) string {
	w.t.Helper()
	var pools []string
	for _, b := range w.copiesOf(p, 0) {
		v, err := w.fs.volume(b)
		if err != nil {
			w.t.Fatal(err)
		}
		pools = append(pools, v.Pool)
	}
	return strings.Join(pools, " ")
}

// TestPoolsAndCopies: files go where their rules say, as often as they say, without a command.
func TestPoolsAndCopies(t *testing.T) {
	w := newWorld(t, nearAndFar(
		&policy.Rule{Name: "tmp", Paths: []string{"*.tmp"}, Settings: policy.Settings{Never: ptr(true)}},
		&policy.Rule{Name: "precious", Paths: []string{"/precious"}, Settings: policy.Settings{Copies: []string{"near", "far", "near"}}},
		&policy.Rule{Name: "big", Paths: []string{"/big"}, Settings: policy.Settings{Pool: "far"}},
		&policy.Rule{Name: "rest", Settings: policy.Settings{Pool: "near"}},
	), func(o *Options, _ *virtual.Config) { o.ArchiveIdle = 1 })
	w.mkdir("/precious")
	big := bytes.Repeat([]byte("big"), 1<<20)
	w.putAt("/precious/big", big)
	w.putAt("/precious/x.tmp", []byte("not to tape"))
	w.putAt("/big", big)
	w.putAt("/small", []byte("small"))
	last := ""
	defer func() {
		if t.Failed() {
			t.Log(last)
		}
	}()
	eventually(t, "all is on tape", func() bool {
		for _, p := range []string{"/precious/big", "/big", "/small"} {
			if r := w.rule(p); r.Pending || r.Missing > 0 {
				last = fmt.Sprintf("%s: %+v; mover %+v", p, r, w.fs.mover.Status())
				return false
			}
		}
		return true
	})
	for p, want := range map[string]string{"/precious/big": "near near far", "/big": "far", "/small": "near"} {
		if got := w.poolsOf(p); got != want {
			t.Errorf("%s is in pools %q, not %q", p, got, want)
		}
	}
	if on := w.copiesOf("/precious/big", 2); len(on) != 3 || on[0] == on[1] || on[1] == on[2] || on[0] == on[2] {
		t.Errorf("the third sliver is on %v", on)
	}
	if r := w.rule("/precious/x.tmp"); !r.Never || r.Rule != "tmp" || !r.Pending || !r.Due.IsZero() || w.state("/precious/x.tmp") != string(Resident) {
		t.Errorf("a file that is never archived: %+v, %s", r, w.state("/precious/x.tmp"))
	}
	if s := w.ends(JobArchive, "/precious/x.tmp"); s.Failed != 1 || !strings.Contains(fmt.Sprint(s.Errors), `never archived, by the rule "tmp"`) {
		t.Errorf("archive of it by command: %+v", s)
	}
	w.audit()
	for _, b := range w.copiesOf("/precious/big", 0)[:2] {
		for n := range tape.BlockNo(100) {
			w.lib.SetUnreadable(tape.Barcode(b), tape.Position{Partition: 1, Block: n}, true)
		}
	}
	w.job(JobEvict, "/precious/big")
	w.wantContent("/precious/big", big)
}

// TestShortOfCopies: a file that lacks a copy stays pending over a restart, is told as such, and
// gets it when there is a volume, though it is on tape alone by then.
func TestShortOfCopies(t *testing.T) {
	w := newWorld(t, nearAndFar(&policy.Rule{Name: "two", Settings: policy.Settings{Copies: []string{"near", "far"}}}),
		func(o *Options, c *virtual.Config) { c.Cartridges = 4 })
	data := bytes.Repeat([]byte("0123456789abcdef"), 5<<16)
	w.putAt("/f", data)
	if s := w.ends(JobArchive, "/f"); s.Failed != 1 || !strings.Contains(fmt.Sprint(s.Errors), "not with all the copies that its rule wants") {
		t.Fatalf("archive without a volume for the second copy: %+v", s)
	}
	if r := w.rule("/f"); !r.Pending || r.Missing != 5 || r.Rule != "two" || len(r.Volumes) != 1 {
		t.Errorf("%+v", r)
	}
	copies := func(want string) {
		t.Helper()
		if got := w.xattrOf("/f", "user.sliod.copies"); got != want {
			t.Errorf("user.sliod.copies is %q, want %q", got, want)
		}
	}
	copies("1/2")
	if err := w.setXattr("/f", "user.sliod.copies", "2/2"); err != linux.EPERM {
		t.Errorf("copies can be set: %v", err)
	}
	w.putAt("/new", data)
	n := w.node("/new")
	if _, err := n.Xattr(rootCred, "user.sliod.copies"); err != linux.ENODATA {
		t.Errorf("a file that is not on tape has copies: %v", err)
	}
	n.Release()
	w.removeTree("/new")
	w.job(JobEvict, "/f")
	w.restart()
	if r := w.rule("/f"); !r.Pending || r.Missing != 5 {
		t.Errorf("after a restart: %+v", r)
	}
	if err := w.lib.Insert("NEW005L9", w.freeSlot()); err != nil {
		t.Fatal(err)
	}
	if err := w.fs.mover.Rescan(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.job(JobArchive, "/f")
	copies("2/2")
	if r := w.rule("/f"); r.Pending || r.Missing != 0 || len(r.Volumes) != 2 {
		t.Errorf("with a volume: %+v", r)
	}
	if got := w.poolsOf("/f"); got != "near far" {
		t.Errorf("it is in pools %q", got)
	}
	w.audit()
	w.wantContent("/f", data)
}

func (w *world) freeSlot() uint16 {
	w.t.Helper()
	es, err := w.lib.Tape().Changer.Inventory(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range es {
		if e.Kind == tape.Slot && !e.Full {
			return e.Address
		}
	}
	w.t.Fatal("no slot is free")
	return 0
}

// TestScratchPool: a pool without a volume gets one from the pool "scratch", once.
func TestScratchPool(t *testing.T) {
	w := newWorld(t, nearAndFar(
		&policy.Rule{Name: "d", Paths: []string{"/d"}, Settings: policy.Settings{Pool: "default"}},
		&policy.Rule{Name: "rest", Settings: policy.Settings{Pool: "near"}},
	), func(_ *Options, c *virtual.Config) { c.Cartridges = 7 })
	w.putAt("/a", []byte("a"))
	w.mkdir("/d")
	w.putAt("/d/b", []byte("b"))
	w.job(JobArchive, "/")
	if got := w.poolsOf("/d/b"); got != "default" {
		t.Errorf("it is in pool %q", got)
	}
	if on := w.copiesOf("/d/b", 0); len(on) != 1 || !strings.HasSuffix(on[0], "7L9") {
		t.Errorf("it is on %v", on)
	}
	w.restart()
	if got := w.poolsOf("/d/b"); got != "default" {
		t.Errorf("after a restart it is in pool %q", got)
	}
	w.putAt("/d/c", []byte("c"))
	w.job(JobArchive, "/d")
	if a, b := w.copiesOf("/d/b", 0), w.copiesOf("/d/c", 0); a[0] != b[0] {
		t.Errorf("the next file is on %v, not on %v", b, a)
	}
}

// TestPolicyAttribute: a directory's attribute holds for all below it, also for what is pending,
// survives a restart, and follows a rename.
func TestPolicyAttribute(t *testing.T) {
	w := newWorld(t, nearAndFar(&policy.Rule{Name: "rest", Settings: policy.Settings{Pool: "near"}}, &policy.Rule{Name: "safe", Settings: policy.Settings{Copies: []string{"near", "far"}}}))
	w.mkdir("/a")
	w.mkdir("/a/b")
	w.putAt("/a/b/f", []byte("content"))
	for value, want := range map[string]string{"unsafe": "EINVAL", "pool=scratch": "EINVAL", "": "EINVAL"} {
		if err := w.setXattr("/a", policyXattr, value); !stderrors.Is(err, linux.EINVAL) {
			t.Errorf("%q: %v, want %s", value, err, want)
		}
	}
	n := w.node("/a")
	if err := n.SetXattr(&vfs.Cred{UID: 77}, policyXattr, []byte("safe"), 0); err != linux.EPERM {
		t.Errorf("set by a stranger: %v", err)
	}
	n.Release()
	if r := w.rule("/a/b/f"); r.Rule != "rest" || r.From != "" {
		t.Errorf("%+v", r)
	}
	if err := w.setXattr("/a", policyXattr, "safe idle=1h"); err != nil {
		t.Fatal(err)
	}
	if r := w.rule("/a/b/f"); r.Rule != "safe" || r.From != "/a" || r.IdleSeconds != 3600 || fmt.Sprint(r.Pools) != "[near far]" {
		t.Errorf("%+v", r)
	}
	if err := w.setXattr("/a/b", policyXattr, "pool=far"); err != nil {
		t.Fatal(err)
	}
	w.restart()
	if r := w.rule("/a/b/f"); r.Rule != "safe" || r.From != "/a/b" || fmt.Sprint(r.Pools) != "[far far]" {
		t.Errorf("%+v", r)
	}
	if got := w.xattrOf("/a/b", policyXattr); got != "pool=far" {
		t.Errorf("the attribute is %q", got)
	}
	root := w.node("/")
	b := w.node("/a/b")
	if err := b.Rename(rootCred, root, "c"); err != nil {
		t.Fatal(err)
	}
	b.Release()
	root.Release()
	if r := w.rule("/c/f"); r.Rule != "rest" || r.From != "/c" || fmt.Sprint(r.Pools) != "[far]" {
		t.Errorf("%+v", r)
	}
	c := w.node("/c")
	if err := c.SetXattr(rootCred, policyXattr, nil, 0); err != nil {
		t.Fatal(err)
	}
	c.Release()
	if r := w.rule("/c/f"); r.From != "" {
		t.Errorf("%+v", r)
	}
	w.job(JobArchive, "/")
	if got := w.poolsOf("/c/f"); got != "near" {
		t.Errorf("it is in pool %q", got)
	}
}

// TestCacheFullOfNever: who writes into a cache that is full of what is never archived is told
// that there is no space.
func TestCacheFullOfNever(t *testing.T) {
	w := newWorld(t, nearAndFar(&policy.Rule{Name: "never", Settings: policy.Settings{Never: ptr(true)}}), func(o *Options, _ *virtual.Config) { o.CacheBytes = 16 << 20 })
	_, f := w.create("f")
	defer f.Close()
	p := make([]byte, 1<<20)
	for off := uint64(0); ; off += 1 << 20 {
		if off > 64<<20 {
			t.Fatal("64 MiB went into a cache of 16 MiB")
		}
		wt := newWaiter()
		_, err := f.WriteAt(off, p, &wt.Waiter)
		if err == vfs.ErrParked {
			select {
			case <-wt.woken:
				err = wt.err
			case <-time.After(patience):
				t.Fatal("a writer waits for ever")
			}
		}
		if err != nil {
			if !stderrors.Is(err, linux.ENOSPC) {
				t.Error(err)
			}
			return
		}
	}
}
