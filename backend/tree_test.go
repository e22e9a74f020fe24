package backend

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	stderrors "errors"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend/vfs"
)

func wantErr(t *testing.T, what string, err error, want error) {
	t.Helper()
	if !stderrors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func (w *world) names(n vfs.Node) []string {
	w.t.Helper()
	f, err := n.Open(rootCred, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	var names []string
	if err := f.Readdir(0, func(d p9.Dirent) bool { names = append(names, d.Name); return true }); err != nil {
		w.t.Fatal(err)
	}
	return names
}

func (w *world) attr(path string) p9.Attr {
	w.t.Helper()
	n := w.node(path)
	defer n.Release()
	a, err := n.Getattr(rootCred)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func TestTree(t *testing.T) {
	w := newWorld(t)
	r := w.root
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	mkdir := func(n vfs.Node, name string) vfs.Node {
		t.Helper()
		_, err := n.Mkdir(rootCred, name, 0o755, 0)
		must("mkdir "+name, err)
		c, err := n.Walk(rootCred, name)
		must("walk "+name, err)
		return c
	}
	a := mkdir(r, "a")
	b := mkdir(a, "b")
	w.put("file", []byte("hello"))
	if got := w.attr("/a").NLink; got != 3 {
		t.Errorf("nlink of a directory with one directory is %d", got)
	}
	_, err := r.Mkdir(rootCred, "a", 0o755, 0)
	wantErr(t, "mkdir over a directory", err, linux.EEXIST)
	wantErr(t, "rmdir of a full directory", r.UnlinkAt(rootCred, "a", atRemoveDir), linux.ENOTEMPTY)
	wantErr(t, "unlink of a directory", r.UnlinkAt(rootCred, "a", 0), linux.EISDIR)
	wantErr(t, "rmdir of a file", r.UnlinkAt(rootCred, "file", atRemoveDir), linux.ENOTDIR)
	wantErr(t, "unlink of nothing", r.UnlinkAt(rootCred, "none", 0), linux.ENOENT)
	wantErr(t, "rename into itself", r.RenameAt(rootCred, "a", b, "x"), linux.EINVAL)
	wantErr(t, "rename of a file over a directory", r.RenameAt(rootCred, "file", r, "a"), linux.EISDIR)
	wantErr(t, "rename of a directory over a file", r.RenameAt(rootCred, "a", r, "file"), linux.ENOTDIR)

	file := w.node("/file")
	must("link", a.Link(rootCred, file, "link"))
	if got := w.attr("/a/link"); got.NLink != 2 || got.Size != 5 {
		t.Errorf("link: %v", got)
	}
	wantErr(t, "link to a directory", r.Link(rootCred, a, "x"), linux.EPERM)
	must("rename to another name of the same file", r.RenameAt(rootCred, "file", a, "link"))
	if !slices.Contains(w.names(r), "file") {
		t.Error("rename between two names of one file took one away")
	}
	must("rename", r.RenameAt(rootCred, "file", b, "moved"))
	if got := string(w.content("/a/b/moved")); got != "hello" {
		t.Errorf("moved: %q", got)
	}
	must("unlink", a.UnlinkAt(rootCred, "link", 0))
	f, err := file.Open(rootCred, openReadWrite)
	must("open", err)
	must("remove by fid", file.Remove(rootCred))
	// Unlinked, and still usable by the fid that has it.
	w.write(f, 5, []byte(" world"))
	must("truncate of an unlinked file", file.Setattr(rootCred, p9.SetAttrMask{Size: true}, p9.SetAttr{Size: 7}, true))
	if got := string(w.read(f, 0, 100)); got != "hello w" {
		t.Errorf("unlinked: %q", got)
	}
	f.Close()
	file.Release()

	must("rename of a directory", a.RenameAt(rootCred, "b", r, "c"))
	if w.attr("/a").NLink != 2 || w.attr("/").NLink != 4 {
		t.Errorf("nlink after rename: a %d, / %d", w.attr("/a").NLink, w.attr("/").NLink)
	}
	up, err := b.Walk(rootCred, "..")
	must("walk ..", err)
	if up.QID().Path != r.QID().Path {
		t.Error(".. of a moved directory is not its new parent")
	}
	up.Release()
	a.Release()
	b.Release()
	_, err = r.Symlink(rootCred, "sym", "a/b", 0)
	must("symlink", err)
	sym := w.node("/sym")
	if target, _ := sym.Readlink(rootCred); target != "a/b" {
		t.Errorf("readlink: %q", target)
	}
	sym.Release()
	odd := []string{"with space", "new\nline", "ümläut", "\xff\xfe", strings.Repeat("x", 255), "colon:per%cent"}
	for _, name := range odd {
		w.put(name, []byte(name))
	}
	w.restart()
	names := w.names(w.root)
	for _, name := range append(odd, ".", "..", "a", "c", "sym") {
		if !slices.Contains(names, name) {
			t.Errorf("%q is missing after the restart", name)
		}
	}
	if len(names) != len(odd)+5 {
		t.Errorf("names: %q", names)
	}
}

// Cookies stay valid while entries come and go.
func TestReaddirWhileItChanges(t *testing.T) {
	w := newWorld(t)
	for i := range 200 {
		w.put(fmt.Sprintf("old%03d", i), nil)
	}
	f, err := w.root.Open(rootCred, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := map[string]int{}
	var off uint64
	for round := 0; ; round++ {
		n := 0
		err := f.Readdir(off, func(d p9.Dirent) bool {
			seen[d.Name]++
			off = d.Offset
			n++
			return n < 7
		})
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		if round < 20 {
			w.put(fmt.Sprintf("new%03d", round), nil)
			if err := w.root.UnlinkAt(rootCred, fmt.Sprintf("old%03d", round), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := 20; i < 200; i++ {
		if name := fmt.Sprintf("old%03d", i); seen[name] != 1 {
			t.Errorf("%s was seen %d times", name, seen[name])
		}
	}
}

func TestPermissions(t *testing.T) {
	w := newWorld(t)
	alice := &vfs.Cred{UID: 1000, GID: 1000, Groups: []uint32{50}}
	bob := &vfs.Cred{UID: 1001, GID: 1001}
	if _, err := w.root.Mkdir(rootCred, "tmp", 0o1777, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := w.root.Mkdir(rootCred, "team", 0o2775, 50); err != nil {
		t.Fatal(err)
	}
	_, _, err := w.root.Create(alice, "x", openReadWrite, 0o644, 1000)
	wantErr(t, "create in a directory of another", err, linux.EACCES)
	tmp, team := w.node("/tmp"), w.node("/team")
	defer tmp.Release()
	defer team.Release()
	n, f, err := tmp.Create(alice, "a", openReadWrite, 0o600, 0)
	if err != nil {
		t.Fatal(err)
	}
	if a, _ := n.Getattr(alice); a.UID != 1000 || a.GID != 1000 {
		t.Errorf("a group that the user is not in was taken: %v", a)
	}
	f.Close()
	_, err = n.Open(bob, 0)
	wantErr(t, "open of another's file", err, linux.EACCES)
	wantErr(t, "unlink in a sticky directory", tmp.UnlinkAt(bob, "a", 0), linux.EPERM)
	wantErr(t, "chmod of another's file", n.Setattr(bob, p9.SetAttrMask{Permissions: true}, p9.SetAttr{Permissions: 0o777}, false), linux.EPERM)
	wantErr(t, "chown by the owner", n.Setattr(alice, p9.SetAttrMask{UID: true}, p9.SetAttr{UID: 1001}, false), linux.EPERM)
	if err := n.Setattr(alice, p9.SetAttrMask{GID: true}, p9.SetAttr{GID: 50}, false); err != nil {
		t.Errorf("chgrp to an own group: %v", err)
	}
	n.Release()
	if _, err := team.Mkdir(alice, "d", 0o755, 1000); err != nil {
		t.Fatal(err)
	}
	if a := w.attr("/team/d"); a.GID != 50 || a.Mode&modeSGID == 0 {
		t.Errorf("a setgid directory did not hand down its group: %v", a)
	}
	if _, err := tmp.Mkdir(rootCred, "none", 0o755, ^uint32(0)); err != nil {
		t.Fatal(err)
	}
	if a := w.attr("/tmp/none"); a.GID != 0 {
		t.Errorf("a directory made without a group has group %d", a.GID)
	}
	_, err = tmp.Mknod(alice, "dev", modeChar|0o600, 1, 3, 1000)
	wantErr(t, "mknod by a user", err, linux.EPERM)
}

func TestXattrs(t *testing.T) {
	w := newWorld(t)
	w.put("f", []byte("x"))
	n := w.node("/f")
	defer n.Release()
	big := pattern(1, maxXattrValue)
	if err := n.SetXattr(rootCred, "user.big", big, 0); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "value over the limit", n.SetXattr(rootCred, "user.big", append(big, 1), 0), linux.E2BIG)
	wantErr(t, "create of an existing one", n.SetXattr(rootCred, "user.big", nil2(), xattrCreate), linux.EEXIST)
	wantErr(t, "replace of a missing one", n.SetXattr(rootCred, "user.none", nil2(), xattrReplace), linux.ENODATA)
	wantErr(t, "an unknown name space", n.SetXattr(rootCred, "foo.bar", nil2(), 0), linux.EOPNOTSUPP)
	_, err := n.Xattr(rootCred, "user.none")
	wantErr(t, "a missing one", err, linux.ENODATA)
	if err := n.SetXattr(rootCred, "user.empty", nil2(), 0); err != nil {
		t.Fatal(err)
	}
	if list, _ := n.XattrList(rootCred); string(list) != "user.big\x00user.empty\x00" {
		t.Errorf("list: %q", list)
	}
	if err := n.SetXattr(rootCred, "user.empty", nil, 0); err != nil {
		t.Fatal(err)
	}
	if v, _ := n.Xattr(rootCred, "user.big"); !slices.Equal(v, big) {
		t.Error("the value differs")
	}
}

func nil2() []byte { return []byte{} }

// TestLocksOfOneFile: nobody makes the server keep locks without end.
func TestLocksOfOneFile(t *testing.T) {
	w := newWorld(t)
	w.put("f", []byte("x"))
	f, done := w.openFile("f")
	defer done()
	lock := func(typ vfs.LockType, start uint64) error {
		return f.Lock(vfs.LockRange{Type: typ, Start: start, Length: 1, ProcID: 1, Conn: 1}, false, &newWaiter().Waiter)
	}
	if err := lock(vfs.WriteLock, 0); err != nil {
		t.Fatal(err)
	}
	held := &w.inode("/f").locks.held
	for i := range uint64(maxLocks - 1) {
		r := (*held)[0]
		r.Start, r.end = 2*i+2, 2*i+3
		*held = append(*held, r)
	}
	wantErr(t, "one lock more", lock(vfs.WriteLock, 1<<40), linux.ENOLCK)
	(*held)[maxLocks-1].end += 10
	wantErr(t, "a lock in two", lock(vfs.Unlock, (*held)[maxLocks-1].Start+5), linux.ENOLCK)
	if err := lock(vfs.Unlock, 4); err != nil {
		t.Fatal(err)
	}
	if err := lock(vfs.WriteLock, 1<<40); err != nil {
		t.Error("a lock after another was given up: ", err)
	}
}

func TestRecordLocks(t *testing.T) {
	w := newWorld(t)
	w.put("f", []byte("x"))
	f, done := w.openFile("f")
	defer done()
	g, done2 := w.openFile("f")
	defer done2()
	lock := func(f vfs.File, typ vfs.LockType, start, length uint64, conn uint64, wait bool) (*waiter, error) {
		wt := newWaiter()
		return wt, f.Lock(vfs.LockRange{Type: typ, Start: start, Length: length, ProcID: 1, Conn: conn}, wait, &wt.Waiter)
	}
	if _, err := lock(f, vfs.WriteLock, 0, 100, 1, false); err != nil {
		t.Fatal(err)
	}
	_, err := lock(g, vfs.ReadLock, 50, 10, 2, false)
	wantErr(t, "conflict", err, linux.EAGAIN)
	if _, err := lock(g, vfs.WriteLock, 100, 0, 2, false); err != nil {
		t.Errorf("behind the lock: %v", err)
	}
	_, err = lock(g, vfs.ReadLock, math.MaxUint64, 1, 2, false)
	wantErr(t, "start over the limit", err, linux.EINVAL)
	if got, _ := g.GetLock(vfs.LockRange{Type: vfs.ReadLock, Start: 10, Length: 5, ProcID: 9, Conn: 2}); got.Type != vfs.WriteLock || got.Length != 100 {
		t.Errorf("getlock: %+v", got)
	}
	wt, err := lock(g, vfs.ReadLock, 20, 10, 2, true)
	wantErr(t, "waiting lock", err, vfs.ErrParked)
	gone, err := lock(g, vfs.ReadLock, 20, 10, 3, true)
	wantErr(t, "waiting lock", err, vfs.ErrParked)
	if !g.Cancel(&gone.Waiter) {
		t.Error("a waiting lock could not be cancelled")
	}
	if _, err := lock(f, vfs.Unlock, 10, 30, 1, false); err != nil { // splits the lock
		t.Fatal(err)
	}
	<-wt.woken
	if wt.err != nil {
		t.Error(wt.err)
	}
	_, err = lock(g, vfs.ReadLock, 0, 10, 2, false)
	wantErr(t, "the left part is still held", err, linux.EAGAIN)
	_, err = lock(g, vfs.ReadLock, 40, 60, 2, false)
	wantErr(t, "the right part is still held", err, linux.EAGAIN)
}

// A removed file that a volume's index has stays pending until its removal is on
// tape too; one that never was on tape does not.
func TestRemovalIsPending(t *testing.T) {
	w := newWorld(t)
	w.put("archived", []byte("x"))
	w.put("other", []byte("y"))
	w.job(JobArchive, "/archived")
	n := w.node("/archived")
	id := n.(*node).ino.id
	n.Release()
	n = w.node("/other")
	other := n.(*node).ino.id
	n.Release()
	for _, name := range []string{"archived", "other"} {
		if err := w.root.UnlinkAt(rootCred, name, 0); err != nil {
			t.Fatal(err)
		}
	}
	w.restart()
	if !w.fs.pending.has(id) || w.fs.pending.has(other) {
		t.Fatalf("pending: archived %v, other %v", w.fs.pending.has(id), w.fs.pending.has(other))
	}
	w.fs.rules.Default.Idle = 0
	w.fs.archivePending(t.Context(), false)
	eventually(t, "it is on tape", func() bool { return !w.fs.pending.has(id) })
}
