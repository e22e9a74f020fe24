package ctl

import (
	"encoding/json"
	stderrors "errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/pkg/errors"
	"go.uber.org/goleak"

	"sliod/backend"
	"sliod/backend/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// admin is an archive of which only /a exists.
type admin struct {
	mu       sync.Mutex
	statuses int64 // how often Status was asked
	jobs     map[uint64]backend.JobStatus
	options  backend.JobOptions
	list     *fakeList
	told     []string
}

func (a *admin) Status() backend.Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.statuses++
	return backend.Status{Version: "1", Files: a.statuses}
}
func (a *admin) Volumes() []backend.VolumeInfo { return nil }
func (a *admin) Drives() []backend.DriveInfo   { return []backend.DriveInfo{{Serial: "D1"}} }
func (a *admin) Queue() backend.Queue          { return backend.Queue{Jobs: a.Jobs()} }

func (a *admin) StartJob(kind backend.JobKind, paths []string) (uint64, error) {
	for _, p := range paths {
		if w, _ := wordOf(kind); w.what == "path" && strings.Trim(p, "/") != "a" {
			return 0, errors.WithMessage(linux.ENOENT, p+" is not in the archive")
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	id := uint64(len(a.jobs) + 1)
	a.jobs[id] = backend.JobStatus{ID: id, Kind: kind, Paths: paths, State: "running"}
	return id, nil
}

// fakeList is a list of which only /a is known.
type fakeList struct {
	a       *admin
	kind    backend.JobKind
	paths   []string
	skipped int
	dropped bool
}

func (a *admin) NewJob(kind backend.JobKind, o backend.JobOptions) (backend.JobList, error) {
	if o.Priority == "none" {
		return nil, errors.WithMessage(linux.EINVAL, "priority")
	}
	a.options = o
	a.list = &fakeList{a: a, kind: kind}
	return a.list, nil
}

func (l *fakeList) Add(paths []string) (unknown []backend.UnknownPath, err error) {
	for i, p := range paths {
		if strings.Trim(p, "/") != "a" {
			unknown = append(unknown, backend.UnknownPath{Index: i, Err: linux.ENOENT})
		}
	}
	l.paths = append(l.paths, paths...)
	return unknown, nil
}
func (l *fakeList) Skip(u []backend.UnknownPath) { l.skipped += len(u) }
func (l *fakeList) Start() (uint64, error)       { return l.a.StartJob(backend.JobVolumesImport, l.paths) }
func (l *fakeList) Drop()                        { l.dropped = true }

func (a *admin) CancelJob(id uint64) error  { return a.about("cancel", id) }
func (a *admin) ReleaseJob(id uint64) error { return a.about("release", id) }

func (a *admin) SetJobPriority(id uint64, p backend.Priority) error {
	return a.about("priority "+string(p), id)
}

func (a *admin) about(what string, id uint64) error {
	if id > 9 {
		return errors.WithMessagef(linux.ENOENT, "there is no job %d", id)
	}
	a.told = append(a.told, fmt.Sprint(what, " ", id))
	return nil
}

func (a *admin) Job(id uint64) (backend.JobStatus, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	j, ok := a.jobs[id]
	return j, ok
}

func (a *admin) Jobs() []backend.JobStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []backend.JobStatus // in no order
	for _, j := range a.jobs {
		list = append(list, j)
	}
	return list
}

var (
	owner    = &vfs.Cred{UID: 1000, GID: 1000}
	stranger = &vfs.Cred{UID: 2000, GID: 2000}
	super    = &vfs.Cred{}
)

func newTree() (*FS, *admin) {
	a := &admin{jobs: map[uint64]backend.JobStatus{}}
	return New(a, Options{Owner: owner}), a
}

func attach(t *testing.T, fs *FS, path string) vfs.Node {
	t.Helper()
	n, err := fs.Attach(stranger, path)
	if err != nil {
		t.Fatalf("attach %s: %v", path, err)
	}
	return n
}

func open(t *testing.T, fs *FS, path string, c *vfs.Cred, flags p9.OpenFlags) vfs.File {
	t.Helper()
	f, err := attach(t, fs, path).Open(c, flags)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	return f
}

// readAll reads in pieces of n bytes.
func readAll(t *testing.T, f vfs.File, n int) string {
	t.Helper()
	var all []byte
	for {
		d, err := f.ReadAt(uint64(len(all)), n, nil)
		if err != nil {
			t.Fatal(err)
		}
		if d.Len() == 0 {
			return string(all)
		}
		all = append(all, d.Bytes...)
		d.Release()
	}
}

func names(t *testing.T, f vfs.File, off uint64, most int) (list []string, last uint64) {
	t.Helper()
	err := f.Readdir(off, func(e p9.Dirent) bool {
		if len(list) == most {
			return false
		}
		list, last = append(list, e.Name), e.Offset
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return list, last
}

func TestTree(t *testing.T) {
	fs, _ := newTree()
	for _, tc := range []struct {
		path string
		typ  p9.QIDType
		mode p9.FileMode
	}{
		{"", p9.TypeDir, 0o555}, {"/", p9.TypeDir, 0o555}, {"jobs", p9.TypeDir, 0o555}, {"/jobs/..", p9.TypeDir, 0o555},
		{"/README", p9.TypeRegular, 0o444}, {"/status", p9.TypeRegular, 0o444}, {"/volumes", p9.TypeRegular, 0o444},
		{"/drives", p9.TypeRegular, 0o444}, {"/queue", p9.TypeRegular, 0o444},
		{"/jobs/new", p9.TypeRegular, 0o600}, {"/jobs/error", p9.TypeRegular, 0o444},
	} {
		n := attach(t, fs, tc.path)
		a, err := n.Getattr(stranger)
		if err != nil || n.QID().Type != tc.typ || a.Mode.Permissions() != tc.mode || a.UID != 1000 || a.NLink == 0 ||
			a.Mode.QIDType() != tc.typ || n.Clone().QID().Path != n.QID().Path {
			t.Errorf("%s: %v, %v, %v", tc.path, n.QID(), a, err)
		}
	}
	for path, want := range map[string]error{
		"/none": linux.ENOENT, "/jobs/1": linux.ENOENT, "/jobs/x": linux.ENOENT, "/jobs/01": linux.ENOENT, "/status/x": linux.ENOTDIR,
	} {
		if _, err := fs.Attach(stranger, path); !stderrors.Is(err, want) {
			t.Errorf("attach %s: %v, want %v", path, err, want)
		}
	}
}

func TestQIDsDiffer(t *testing.T) {
	fs, a := newTree()
	a.jobs[1] = backend.JobStatus{ID: 1}
	seen := map[uint64]string{}
	for _, p := range []string{"/", "/README", "/status", "/volumes", "/drives", "/queue", "/jobs", "/jobs/new", "/jobs/error", "/jobs/1"} {
		q := attach(t, fs, p).QID()
		if other, dup := seen[q.Path]; dup {
			t.Errorf("%s and %s have the same number", p, other)
		}
		seen[q.Path] = p
	}
}

func TestReaddir(t *testing.T) {
	fs, a := newTree()
	got, _ := names(t, open(t, fs, "/", stranger, p9.ReadOnly), 0, 100)
	if want := []string{".", "..", "README", "status", "volumes", "drives", "queue", "jobs"}; !slices.Equal(got, want) {
		t.Errorf("root: %q, want %q", got, want)
	}

	for id := uint64(1); id <= 30; id++ {
		a.jobs[id] = backend.JobStatus{ID: id}
	}
	d := open(t, fs, "/jobs", stranger, p9.ReadOnly)
	all := []string{".", "..", "new", "error", "list"}
	for id := 1; id <= 30; id++ {
		all = append(all, fmt.Sprint(id))
	}
	for _, step := range []int{1, 3, 7, 100} {
		var got []string
		for off := uint64(0); ; {
			list, last := names(t, d, off, step)
			if len(list) == 0 {
				break
			}
			got, off = append(got, list...), last
		}
		if !slices.Equal(got, all) {
			t.Errorf("%d at a time: %q", step, got)
		}
	}

	// A cookie stays good while entries come and go.
	_, last := names(t, d, 0, 11) // up to job 6
	delete(a.jobs, 2)
	delete(a.jobs, 7)
	a.jobs[31] = backend.JobStatus{ID: 31}
	if list, _ := names(t, d, last, 100); list[0] != "8" || list[len(list)-1] != "31" {
		t.Errorf("after changes: %q", list)
	}
	if err := open(t, fs, "/status", stranger, p9.ReadOnly).Readdir(0, nil); err != linux.ENOTDIR {
		t.Errorf("readdir of a file: %v", err)
	}
}

func TestReports(t *testing.T) {
	fs, _ := newTree()
	for path, key := range map[string]string{"/status": "version", "/volumes": "volumes", "/drives": "drives", "/queue": "recalls"} {
		text := readAll(t, open(t, fs, path, stranger, p9.ReadOnly), 7)
		var object map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &object); err != nil {
			t.Fatalf("%s: %v in %s", path, err, text)
		}
		if v, ok := object[key]; !ok || string(v) == "null" {
			t.Errorf("%s has no %q: %s", path, key, text)
		}
	}
	n := attach(t, fs, "/README")
	text := readAll(t, open(t, fs, "/README", stranger, p9.ReadOnly), 1<<20)
	if a, _ := n.Getattr(stranger); a.Size != uint64(len(text)) || !strings.Contains(text, "jobs/new") || n.QID().Version == 0 {
		t.Errorf("README: %d bytes, attributes %v", len(text), a)
	}
	for _, off := range []uint64{1 << 40, math.MaxUint64} {
		if d, err := open(t, fs, "/README", stranger, p9.ReadOnly).ReadAt(off, 10, nil); err != nil || d.Len() != 0 {
			t.Errorf("far behind the end: %d bytes, %v", d.Len(), err)
		}
	}
}

func TestReportIsKept(t *testing.T) {
	fs, _ := newTree()
	f := open(t, fs, "/status", stranger, p9.ReadOnly)
	first := readAll(t, f, 3) // many reads, one report
	if second := readAll(t, f, 4096); first == second {
		t.Error("reading again from the start gives the old report")
	}
	d, err := f.ReadAt(5, 4096, nil)
	if err != nil || !strings.HasSuffix(readAll(t, f, 4096), "}\n") || d.Len() == 0 {
		t.Errorf("a later part: %q, %v", d.Bytes, err)
	}
	if q := attach(t, fs, "/status").QID(); q.Version != 0 {
		t.Errorf("a report must not be cached, its version is %d", q.Version)
	}
}

func TestCommands(t *testing.T) {
	for _, tc := range []struct {
		name, write string
		kind        backend.JobKind
		paths       []string
		err         error
		text        string // of the answer, or a part of the error
	}{
		{"nul", "archive\x00/a", backend.JobArchive, []string{"/a"}, nil, "1\n"},
		{"nul at the end", "recall\x00/a\x00a\x00", backend.JobRecall, []string{"/a", "a"}, nil, "1\n"},
		{"lines", "evict\n/a\n/a\n", backend.JobEvict, []string{"/a", "/a"}, nil, "1\n"},
		{"shell", "pin /a\n", backend.JobPin, []string{"/a"}, nil, "1\n"},
		{"spaces", "  unpin   /a  \n", backend.JobUnpin, []string{"/a"}, nil, "1\n"},
		{"volume", "format A00001L9 force\n", backend.JobFormat, []string{"A00001L9", "force"}, nil, "1\n"},
		{"check", "verify-format A00001L9 data\n", backend.JobVerifyFormat, []string{"A00001L9", "data"}, nil, "1\n"},
		{"volumes", "volumes-export\x00A00001L9\x00A00002L9\x00", backend.JobVolumesExport, []string{"A00001L9", "A00002L9"}, nil, "1\n"},
		{"import", "import\x00A00001L9\x00/a b\x00grow=yes\x00", backend.JobImport, []string{"A00001L9", "/a b", "grow=yes"}, nil, "1\n"},
		{"no volume", "volumes-import\n", backend.JobVolumesImport, nil, nil, "1\n"},
		{"text", "label A00001L9 one  two \n", backend.JobLabel, []string{"A00001L9", "one  two"}, nil, "1\n"},
		{"empty text", "label\x00A00001L9\x00\x00", backend.JobLabel, []string{"A00001L9", ""}, nil, "1\n"},
		{"which volume", "format", "", nil, linux.EINVAL, "error: format: which volume? Name at least one"},
		{"empty volume", "label\x00\x00text\x00", "", nil, linux.EINVAL, "error: label: an argument is empty"},
		{"too many", "format A00001L9 force now", "", nil, linux.EINVAL, "error: format: 3 arguments are too many; it takes at most 2"},
		{"no such path", "archive\x00/a\x00/b c", "", nil, linux.ENOENT, "error: archive: /b c is not in the archive: "},
		{"no such command", "erase /a", "", nil, linux.EINVAL, `error: there is no command "erase"; the commands are archive, evict, recall, pin, unpin`},
		{"nothing", "\n", "", nil, linux.EINVAL, `error: there is no command ""`},
		{"no path", "archive\n", "", nil, linux.EINVAL, "error: archive: which path?"},
		{"empty path", "archive\x00\x00/a\x00", "", nil, linux.EINVAL, "error: archive: a path is empty"},
		{"binary", "\xff\x00\xfe", "", nil, linux.EINVAL, "error: there is no command"},
		{"long", "archive /" + strings.Repeat("a", MaxCommand), "", nil, linux.EINVAL, "error: a command has at most"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs, a := newTree()
			f := open(t, fs, "/jobs/new", owner, p9.ReadWrite)
			n, err := f.WriteAt(77, []byte(tc.write), nil)
			if !stderrors.Is(err, tc.err) || (err == nil && n != len(tc.write)) {
				t.Fatalf("%d, %v", n, err)
			}
			var errno linux.Errno
			if err != nil && !stderrors.As(err, &errno) {
				t.Errorf("%v has no error number", err)
			}
			if text := readAll(t, f, 3); !strings.HasPrefix(text, tc.text) || strings.Count(text, "\n") != 1 {
				t.Errorf("reading back: %q, want %q", text, tc.text)
			}
			last := readAll(t, open(t, fs, "/jobs/error", stranger, p9.ReadOnly), 99)
			if (tc.err != nil) != strings.HasPrefix(last, "error: ") {
				t.Errorf("/jobs/error: %q", last)
			}
			j, ok := a.Job(1)
			if ok != (tc.err == nil) || j.Kind != tc.kind || !slices.Equal(j.Paths, tc.paths) {
				t.Errorf("the archive has job %+v", j)
			}
			if !ok {
				return
			}
			var got backend.JobStatus
			if err := json.Unmarshal([]byte(readAll(t, open(t, fs, "/jobs/1", stranger, p9.ReadOnly), 99)), &got); err != nil || got.Kind != tc.kind {
				t.Errorf("/jobs/1: %+v, %v", got, err)
			}
		})
	}
}

func TestAnswersBelongToTheOpenFile(t *testing.T) {
	fs, _ := newTree()
	f, g := open(t, fs, "/jobs/new", owner, p9.ReadWrite), open(t, fs, "/jobs/new", super, p9.ReadWrite)
	for _, f := range []vfs.File{f, g, g} {
		if _, err := f.WriteAt(0, []byte("pin a"), nil); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := readAll(t, f, 9), readAll(t, g, 9); a != "1\n" || b != "3\n" {
		t.Errorf("%q and %q, want 1 and 3", a, b)
	}
	if text := readAll(t, open(t, fs, "/jobs/new", owner, p9.ReadOnly), 9); text != "" {
		t.Errorf("nothing was written, but %q is read", text)
	}
}

func TestForgottenJob(t *testing.T) {
	fs, a := newTree()
	a.jobs[5] = backend.JobStatus{ID: 5}
	n := attach(t, fs, "/jobs/5")
	f, err := n.Open(stranger, p9.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	delete(a.jobs, 5)
	if attr, err := n.Getattr(stranger); err != nil || attr.NLink == 0 || attr.Size != 0 {
		t.Errorf("getattr: %v, %v", attr, err)
	}
	if _, err := n.Open(stranger, p9.ReadOnly); err != linux.ENOENT {
		t.Errorf("open: %v", err)
	}
	if _, err := f.ReadAt(0, 9, nil); err != linux.ENOENT {
		t.Errorf("read: %v", err)
	}
}

func TestOpenPermissions(t *testing.T) {
	fs, _ := newTree()
	const both = 3
	for _, tc := range []struct {
		path  string
		c     *vfs.Cred
		flags p9.OpenFlags
		want  error
	}{
		{"/", super, p9.ReadOnly, nil}, {"/", super, p9.WriteOnly, linux.EISDIR}, {"/jobs", owner, p9.ReadWrite, linux.EISDIR},
		{"/jobs", stranger, flagDir, nil}, {"/status", stranger, flagDir, linux.ENOTDIR},
		{"/status", stranger, p9.ReadOnly, nil}, {"/status", super, p9.WriteOnly, linux.EACCES}, {"/status", super, p9.ReadOnly | flagTrunc, linux.EACCES},
		{"/jobs/new", owner, p9.WriteOnly, nil}, {"/jobs/new", super, p9.WriteOnly | flagTrunc, nil},
		{"/jobs/new", stranger, p9.WriteOnly, linux.EACCES}, {"/jobs/new", stranger, p9.ReadOnly, linux.EACCES},
		{"/jobs/new", super, both, linux.EINVAL},
	} {
		if _, err := attach(t, fs, tc.path).Open(tc.c, tc.flags); err != tc.want {
			t.Errorf("open %s by %d with %o: %v, want %v", tc.path, tc.c.UID, tc.flags, err, tc.want)
		}
	}
	if _, err := open(t, fs, "/jobs/new", owner, p9.ReadOnly).WriteAt(0, []byte("pin a"), nil); err != linux.EBADF {
		t.Errorf("write to a file open for reading: %v", err)
	}
	if _, err := open(t, fs, "/jobs/new", owner, p9.WriteOnly).ReadAt(0, 9, nil); err != linux.EBADF {
		t.Errorf("read from a file open for writing: %v", err)
	}
	if _, err := open(t, fs, "/", owner, p9.ReadOnly).ReadAt(0, 9, nil); err != linux.EISDIR {
		t.Errorf("read of a directory: %v", err)
	}
}

func TestTreeCannotBeChanged(t *testing.T) {
	fs, _ := newTree()
	root, status, jobs := attach(t, fs, "/"), attach(t, fs, "/status"), attach(t, fs, "/jobs")
	_, _, create := root.Create(super, "x", p9.ReadWrite, 0o644, 0)
	_, mkdir := root.Mkdir(super, "x", 0o755, 0)
	_, symlink := root.Symlink(super, "x", "y", 0)
	_, mknod := root.Mknod(super, "x", 0o644, 0, 0, 0)
	_, _, below := status.Create(super, "x", p9.ReadWrite, 0o644, 0)
	for name, tc := range map[string]struct{ got, want error }{
		"create":    {create, linux.EPERM},
		"mkdir":     {mkdir, linux.EPERM},
		"symlink":   {symlink, linux.EPERM},
		"mknod":     {mknod, linux.EPERM},
		"link":      {root.Link(super, status, "x"), linux.EPERM},
		"unlink":    {root.UnlinkAt(super, "status", 0), linux.EPERM},
		"renameat":  {root.RenameAt(super, "status", jobs, "x"), linux.EPERM},
		"remove":    {status.Remove(super), linux.EPERM},
		"rename":    {status.Rename(super, jobs, "x"), linux.EPERM},
		"in a file": {below, linux.ENOTDIR},
		"chmod":     {status.Setattr(super, p9.SetAttrMask{Permissions: true}, p9.SetAttr{}, false), linux.EPERM},
		"truncate":  {status.Setattr(super, p9.SetAttrMask{Size: true}, p9.SetAttr{}, false), linux.EPERM},
		"setxattr":  {status.SetXattr(super, "user.x", []byte("y"), 0), linux.EOPNOTSUPP},
		"lock":      {open(t, fs, "/status", super, p9.ReadOnly).Lock(vfs.LockRange{}, false, nil), linux.EOPNOTSUPP},
		"write": {func() error {
			_, err := open(t, fs, "/status", super, p9.ReadOnly).WriteAt(0, []byte("x"), nil)
			return err
		}(), linux.EBADF},
		"readlink":   {func() error { _, err := status.Readlink(super); return err }(), linux.EINVAL},
		"xattr":      {func() error { _, err := status.Xattr(super, "user.sliod.state"); return err }(), linux.ENODATA},
		"walk":       {func() error { _, err := status.Walk(super, "x"); return err }(), linux.ENOTDIR},
		"chmod new":  {attach(t, fs, "/jobs/new").Setattr(super, p9.SetAttrMask{Permissions: true}, p9.SetAttr{}, true), linux.EPERM},
		"extend new": {attach(t, fs, "/jobs/new").Setattr(super, p9.SetAttrMask{Size: true}, p9.SetAttr{Size: 1}, true), linux.EPERM},
		"strange >":  {attach(t, fs, "/jobs/new").Setattr(stranger, p9.SetAttrMask{Size: true}, p9.SetAttr{}, false), linux.EACCES},
		// What a shell's > does.
		"> new": {attach(t, fs, "/jobs/new").Setattr(owner, p9.SetAttrMask{Size: true, MTime: true}, p9.SetAttr{}, false), nil},
		"fsync": {open(t, fs, "/jobs/new", owner, p9.WriteOnly).Fsync(false, nil), nil},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %v, want %v", name, tc.got, tc.want)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	fs, _ := newTree()
	f := open(t, fs, "/jobs/new", owner, p9.ReadWrite)
	s := open(t, fs, "/status", owner, p9.ReadOnly)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if _, err := f.WriteAt(0, []byte("pin a"), nil); err != nil {
					t.Error(err)
				}
				if d, err := f.ReadAt(0, 99, nil); err != nil || !strings.HasSuffix(string(d.Bytes), "\n") {
					t.Errorf("%q, %v", d.Bytes, err)
				}
				if d, err := s.ReadAt(0, 9999, nil); err != nil || !json.Valid(d.Bytes) {
					t.Errorf("%q, %v", d.Bytes, err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzCommand(f *testing.F) {
	f.Add([]byte("archive\x00/a\x00"))
	f.Add([]byte("pin /a b\n"))
	f.Add([]byte("evict\n/a\n\n"))
	f.Add([]byte("\x00"))
	f.Add([]byte("volumes-import"))
	f.Add([]byte("label A00001L9 a name"))
	f.Add([]byte("format\x00A00001L9\x00force\x00"))
	f.Fuzz(func(t *testing.T, p []byte) {
		kind, _, paths, err := parseCommand(p)
		if err != nil {
			if !stderrors.Is(err, linux.EINVAL) {
				t.Fatalf("%v is not EINVAL", err)
			}
			return
		}
		w, ok := wordOf(kind)
		if !ok || len(paths) < w.min || w.max > 0 && len(paths) > w.max || !w.text && slices.Contains(paths, "") {
			t.Fatalf("%q: %q of %q", p, kind, paths)
		}
	})
}
