package ctl

import (
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/sirupsen/logrus"

	"sliod/backend"
	"sliod/backend/vfs"
)

// Options are what New needs beside the archive.
type Options struct {
	// UID and GID own the tree. UID and root may write commands. The zero value
	// stands for the user and group of the process.
	Owner *vfs.Cred
	// Log gets one line for each command. Nil: none.
	Log *logrus.Entry
}

// FS is the control tree. It implements vfs.FS.
type FS struct {
	admin   backend.Admin
	owner   vfs.Cred
	log     *logrus.Entry
	started time.Time

	mu        sync.Mutex
	lastError string // text of /jobs/error
}

var (
	_ vfs.FS   = (*FS)(nil)
	_ vfs.Node = (*node)(nil)
	_ vfs.File = (*file)(nil)
)

// New returns the control tree of an archive.
func New(admin backend.Admin, o Options) *FS {
	t := &FS{admin: admin, log: o.Log, started: time.Now()}
	if o.Owner != nil {
		t.owner = *o.Owner
	} else {
		t.owner = vfs.Cred{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
	}
	if t.log == nil {
		l := logrus.New()
		l.SetLevel(logrus.PanicLevel)
		t.log = logrus.NewEntry(l)
	}
	return t
}

// Attach returns the node at path.
func (t *FS) Attach(c *vfs.Cred, path string) (vfs.Node, error) {
	var n vfs.Node = &node{t: t, e: root}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." {
			continue
		}
		next, err := n.Walk(c, name)
		if err != nil {
			return nil, err
		}
		n = next
	}
	return n, nil
}

// mayCommand says whether c may write commands.
func (t *FS) mayCommand(c *vfs.Cred) bool { return c.UID == 0 || c.UID == t.owner.UID }

// entry is one name of the tree. All but the job files are in the table below.
type entry struct {
	path     uint64 // of the QID
	name     string
	mode     p9.FileMode
	parent   *entry
	children []*entry
	// report makes the text of a file; nil for directories and for /jobs/new. It
	// gives ENOENT for a job that is not known any longer.
	report func(t *FS) ([]byte, error)
	fixed  bool // the report never changes
}

// Numbers of files. Job N is jobPaths+N, and its readdir cookie is N+jobCookies.
const (
	pathRoot = iota + 1
	pathReadme
	pathStatus
	pathVolumes
	pathDrives
	pathQueue
	pathJobs
	pathNew
	pathError
	pathList

	jobPaths   = 1 << 32
	jobCookies = 16
)

const (
	modeDir    = p9.ModeDirectory | 0o555
	modeReport = p9.ModeRegular | 0o444
	modeNew    = p9.ModeRegular | 0o600
)

var (
	root = &entry{path: pathRoot, name: "/", mode: modeDir}
	jobs = &entry{path: pathJobs, name: "jobs", mode: modeDir, parent: root}
	// newJob is /jobs/new.
	newJob = &entry{path: pathNew, name: "new", mode: modeNew, parent: jobs}
	// listJob is /jobs/list.
	listJob = &entry{path: pathList, name: "list", mode: modeNew, parent: jobs}
)

func init() {
	report := func(path uint64, name string, parent *entry, f func(*FS) ([]byte, error)) *entry {
		return &entry{path: path, name: name, mode: modeReport, parent: parent, report: f}
	}
	readme := report(pathReadme, "README", root, reportReadme)
	readme.fixed = true
	root.children = []*entry{
		readme,
		report(pathStatus, "status", root, reportStatus),
		report(pathVolumes, "volumes", root, reportVolumes),
		report(pathDrives, "drives", root, reportDrives),
		report(pathQueue, "queue", root, reportQueue),
		jobs,
	}
	jobs.children = []*entry{newJob, report(pathError, "error", jobs, reportError), listJob}
}

// jobEntry makes the entry of a job's file.
func jobEntry(id uint64) *entry {
	return &entry{path: jobPaths + id, name: jobName(id), mode: modeReport, parent: jobs,
		report: func(t *FS) ([]byte, error) { return reportJob(t, id) }}
}

// commands says whether e takes commands.
func (e *entry) commands() bool { return e == newJob || e == listJob }

func (e *entry) isDir() bool { return e.mode.IsDir() }

func (e *entry) qid() p9.QID {
	q := p9.QID{Type: e.mode.QIDType(), Path: e.path}
	if e.isDir() || e.fixed {
		q.Version = 1
	}
	return q
}

// child returns the entry called name of a directory.
func (e *entry) child(t *FS, name string) (*entry, error) {
	if !e.isDir() {
		return nil, linux.ENOTDIR
	}
	switch name {
	case ".":
		return e, nil
	case "..":
		if e.parent == nil {
			return e, nil
		}
		return e.parent, nil
	}
	for _, c := range e.children {
		if c.name == name {
			return c, nil
		}
	}
	if e == jobs {
		if id, ok := parseJob(name); ok {
			if _, ok := t.admin.Job(id); ok {
				return jobEntry(id), nil
			}
		}
	}
	return nil, linux.ENOENT
}

// list calls fn for each entry after the cookie off.
func (e *entry) list(t *FS, off uint64, fn func(p9.Dirent) bool) error {
	if !e.isDir() {
		return linux.ENOTDIR
	}
	emit := func(cookie uint64, name string, c *entry) bool {
		return cookie <= off || fn(p9.Dirent{QID: c.qid(), Offset: cookie, Type: c.qid().Type, Name: name})
	}
	up := e.parent
	if up == nil {
		up = e
	}
	if !emit(1, ".", e) || !emit(2, "..", up) {
		return nil
	}
	for i, c := range e.children {
		if !emit(uint64(3+i), c.name, c) {
			return nil
		}
	}
	if e != jobs {
		return nil
	}
	for _, id := range jobIDs(t.admin.Jobs()) {
		if !emit(jobCookies+id, jobName(id), jobEntry(id)) {
			return nil
		}
	}
	return nil
}
