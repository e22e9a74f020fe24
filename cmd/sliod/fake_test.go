package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"sliod/backend"
	"sliod/backend/config"
	"sliod/backend/vfs"
	"sliod/server"
	"sliod/server/ctl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeAdmin is an archive in which /a exists. Its jobs go on by one file each time
// they are looked at.
type fakeAdmin struct {
	files  int64  // of each job
	fails  int64  // how many of them fail
	looked func() // called when a job is looked at; nil: nothing

	mu   sync.Mutex
	jobs []backend.JobStatus
}

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (a *fakeAdmin) Status() backend.Status {
	return backend.Status{Version: "9.9", PID: 42, State: "/state", StartedAt: began, Listen: []string{"tcp:127.0.0.1:5640"}, Files: 3,
		Cache: backend.CacheInfo{SizeBytes: 4 << 30, UsedBytes: 1 << 30, DirtyBytes: 1 << 20},
		Tape:  backend.TapeInfo{Library: "virtual", Drives: 2, Volumes: 16, CapacityBytes: 100 << 30, UsedBytes: 25 << 30}, Parked: 7, Faults: 2, FaultsDone: 11}
}

func (a *fakeAdmin) Volumes() []backend.VolumeInfo {
	return []backend.VolumeInfo{{Barcode: "A00001L9", State: "append", Where: "drive D1", CapacityBytes: 18 << 30, UsedBytes: 9 << 30}}
}

func (a *fakeAdmin) Drives() []backend.DriveInfo {
	return []backend.DriveInfo{{Serial: "D1", State: "reading", Volume: "A00001L9", Position: "b 1234"}, {Serial: "D2", State: "empty"}}
}

func (a *fakeAdmin) Queue() backend.Queue {
	q := backend.Queue{Recalls: []backend.QueueEntry{{Volume: "A00001L9", Slivers: 5, Requests: 6, Since: began}}, Jobs: a.Jobs(),
		Errors: []backend.TapeError{{Time: began, Op: "read", Volume: "A00001L9", Kind: "medium error", Message: "gone\x1b[2J"}}}
	q.Archive.Files = 12
	return q
}

func (a *fakeAdmin) StartJob(kind backend.JobKind, paths []string) (uint64, error) {
	for _, p := range paths {
		if kind.OnPaths() && strings.Trim(p, "/") != "a" {
			return 0, errors.WithMessage(linux.ENOENT, p+" is not in the archive")
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	id := uint64(len(a.jobs) + 1)
	a.jobs = append(a.jobs, backend.JobStatus{ID: id, Kind: kind, Paths: paths, State: "running", Files: a.files, Bytes: a.files << 20, StartedAt: began})
	return id, nil
}

// fakeList is a list of paths of which those of StartJob are known.
type fakeList struct {
	a      *fakeAdmin
	kind   backend.JobKind
	o      backend.JobOptions
	paths  []string
	last   []string
	failed []string
}

func (a *fakeAdmin) NewJob(kind backend.JobKind, o backend.JobOptions) (backend.JobList, error) {
	return &fakeList{a: a, kind: kind, o: o}, nil
}

func (l *fakeList) Add(paths []string) (unknown []backend.UnknownPath, err error) {
	for i, p := range paths {
		if strings.Trim(p, "/") != "a" {
			unknown = append(unknown, backend.UnknownPath{Index: i, Err: linux.ENOENT})
		}
	}
	l.last = paths
	l.paths = append(l.paths, paths...)
	return unknown, nil
}

func (l *fakeList) Skip(unknown []backend.UnknownPath) {
	for _, u := range unknown {
		l.failed = append(l.failed, fmt.Sprintf("path %d (%s): no such file", len(l.paths)-len(l.last)+u.Index+1, l.last[u.Index]))
	}
}

func (l *fakeList) Start() (uint64, error) {
	id, err := l.a.StartJob(l.kind, []string{"/a"})
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	if err == nil {
		j := &l.a.jobs[id-1]
		j.Priority, j.Listed, j.Failed, j.Errors = l.o.Priority, int64(len(l.paths)), int64(len(l.failed)), l.failed[:min(10, len(l.failed))]
		if l.o.Pin > 0 {
			j.PinnedUntil = began.Add(l.o.Pin)
		}
	}
	return id, err
}

func (l *fakeList) Drop() {}

func (a *fakeAdmin) CancelJob(id uint64) error  { return a.about("cancelled", id) }
func (a *fakeAdmin) ReleaseJob(id uint64) error { return a.about("released", id) }

func (a *fakeAdmin) SetJobPriority(id uint64, p backend.Priority) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if id == 0 || id > uint64(len(a.jobs)) {
		return errors.WithMessagef(linux.ENOENT, "there is no job %d", id)
	}
	a.jobs[id-1].Priority = p
	return nil
}

func (a *fakeAdmin) about(state string, id uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if id == 0 || id > uint64(len(a.jobs)) {
		return errors.WithMessagef(linux.ENOENT, "there is no job %d", id)
	}
	a.jobs[id-1].State = state
	return nil
}

func (a *fakeAdmin) Job(id uint64) (backend.JobStatus, bool) {
	if a.looked != nil {
		a.looked()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if id == 0 || id > uint64(len(a.jobs)) {
		return backend.JobStatus{}, false
	}
	j := &a.jobs[id-1]
	seen := *j
	if j.State == "running" {
		if j.FilesDone++; j.FilesDone >= j.Files {
			j.FilesDone, j.State, j.FinishedAt = j.Files, "done", began.Add(10*time.Second)
			if a.fails > 0 {
				j.FilesDone, j.Failed, j.State = j.Files-a.fails, a.fails, "failed"
				j.Errors = []string{"/a/x: input/output error"}
			}
		}
		j.BytesDone = j.FilesDone << 20
	}
	return seen, true
}

func (a *fakeAdmin) Jobs() []backend.JobStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]backend.JobStatus(nil), a.jobs...)
}

// fakeArchive is a data tree that looks like the control tree, with residency.
type fakeArchive struct {
	*fakeAdmin
	vfs.FS
	closed bool
}

func newFake(a *fakeAdmin) *fakeArchive {
	return &fakeArchive{fakeAdmin: a, FS: ctl.New(a, ctl.Options{})}
}

func (f *fakeArchive) Close(context.Context) error { f.closed = true; return nil }

func (f *fakeArchive) Attach(c *vfs.Cred, path string) (vfs.Node, error) {
	n, err := f.FS.Attach(c, path)
	return fakeNode{n}, err
}

type fakeNode struct{ vfs.Node }

func (n fakeNode) Clone() vfs.Node { return fakeNode{n.Node.Clone()} }

func (n fakeNode) Walk(c *vfs.Cred, name string) (vfs.Node, error) {
	next, err := n.Node.Walk(c, name)
	if err != nil {
		return nil, err
	}
	return fakeNode{next}, nil
}

func (n fakeNode) Xattr(_ *vfs.Cred, name string) ([]byte, error) {
	switch name {
	case xattrState:
		return []byte("migrated"), nil
	case xattrCopies: // of one file, a copy is missing
		if q, err := n.Node.Getattr(&vfs.Cred{}); err == nil && q.Size > 1000 {
			return []byte("1/2"), nil
		}
		return []byte("2/2"), nil
	case xattrRule:
		return []byte(`{"rule": "two", "from": "/a", "pools": ["near", "far"], "idle_seconds": 90, "dirty": 0.3, "hours": "22:00-06:00", "collocate": "owner",
			"pending": true, "volumes": ["A00001L9"], "missing_slivers": 7, "never": false, "due": "2026-03-04T05:06:07Z"}`), nil
	}
	return nil, linux.ENODATA
}

// lockedBuffer is a bytes.Buffer that a test can look at while it is written.
type lockedBuffer struct {
	written chan struct{} // gets a token after a write
	mu      sync.Mutex
	b       bytes.Buffer
}

func newBuffer() *lockedBuffer { return &lockedBuffer{written: make(chan struct{}, 1)} }

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.written <- struct{}{}:
	default:
	}
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// quiet is a log that nobody reads.
func quiet() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

// startFake serves a fake archive in a state directory, which it returns.
func startFake(t *testing.T, a *fakeAdmin) (stateDir string) {
	t.Helper()
	dir, _ := startServer(t, a)
	return dir
}

func startServer(t *testing.T, a *fakeAdmin) (stateDir string, s *serving) {
	t.Helper()
	dir := shortDir(t)
	l, _, err := listen(new(server.Network), "unix:"+socketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(a)
	s, err = startServing(f, f, config.Default(), []net.Listener{l}, nil, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return dir, s
}

// shortDir is a temporary directory whose name is short enough for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sliod")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func newApp() (a *app, out, err *lockedBuffer) {
	out, err = newBuffer(), newBuffer()
	a = &app{out: out, err: err, signals: make(chan os.Signal, 2), pollEvery: time.Millisecond, watchEvery: time.Millisecond, self: "sliod"}
	a.open = func(_ context.Context, _ *config.Config, dir string, _ []string, _ *logrus.Entry) (archive, error) {
		return nil, fmt.Errorf("no archive in %s", filepath.Base(dir))
	}
	return a, out, err
}

// command runs a command line.
func command(t *testing.T, args ...string) (status int, out, err string) {
	t.Helper()
	a, o, e := newApp()
	status = a.run(t.Context(), args)
	return status, o.String(), e.String()
}
