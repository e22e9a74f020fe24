package bridge

import (
	"context"
	stderrors "errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"github.com/pkg/errors"
	"github.com/sirupsen/logrus"
)

// DefaultTimeout is how long the kernel keeps attributes and names.
const DefaultTimeout = time.Second

// Options are the options of New. The zero value is useful.
type Options struct {
	Log *logrus.Entry // nil: silent
	// AttrTimeout is how long the kernel may keep attributes and names: a change by
	// another client is seen at the latest then. 0: DefaultTimeout, negative: not at
	// all.
	AttrTimeout time.Duration
	// ReadOnly refuses every change with EROFS.
	ReadOnly bool
}

// FS is the file system that the kernel talks to: a fuse.RawFileSystem.
type FS struct {
	fuse.RawFileSystem // answers ENOSYS to what is not served here

	tree    Tree
	log     *logrus.Entry
	timeout time.Duration
	uid     uint32 // who mounts; calls run as this user
	name    string // of this mount, in the owner names of locks
	ro      bool
	// squashed: the server does not take who mounts for root, who may touch what others make.
	squashed bool

	mu      sync.Mutex
	nodes   map[uint64]*node // by node id, as the kernel knows them
	byPath  map[uint64]*node // by FileID
	lastID  uint64
	handles map[uint64]*handle
	lastFH  uint64

	closing sync.WaitGroup // Files and Handles that are being closed
	quick   bool           // to close one is a matter of nothing

	changes atomic.Uint64         // counts begins and ends of changes; see mayChange
	ahead   atomic.Pointer[ahead] // the newest, nil: there is none

	server atomic.Pointer[fuse.Server] // nil: there is none that takes notifications
	stop   sync.Once
	gone   chan struct{} // closed by Stop
	looked atomic.Int64  // when lookForMount was last called, in ns
}

var _ fuse.RawFileSystem = (*FS)(nil)

// New returns the file system of tree for the user uid, who mounts it.
func New(ctx context.Context, tree Tree, uid uint32, o Options) (*FS, error) {
	if o.Log == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		o.Log = logrus.NewEntry(silent)
	}
	switch {
	case o.AttrTimeout == 0:
		o.AttrTimeout = DefaultTimeout
	case o.AttrTimeout < 0:
		o.AttrTimeout = 0
	}
	root, err := tree.Attach(ctx, uid)
	if err != nil {
		return nil, errors.WithMessage(err, "attach to the archive")
	}
	as, err := root.Xattr(ctx, "user.sliod.uid")
	squashed := err == nil && string(as) != "0"
	host, err := os.Hostname()
	if err != nil {
		host = "localhost" // it only tells operators whose lock it is
	}
	fs := &FS{
		RawFileSystem: fuse.NewDefaultRawFileSystem(), tree: tree, log: o.Log, timeout: o.AttrTimeout, uid: uid, squashed: squashed, ro: o.ReadOnly,
		name:  fmt.Sprintf("%s:%d", host, os.Getpid()),
		nodes: make(map[uint64]*node), byPath: make(map[uint64]*node), handles: make(map[uint64]*handle),
		lastID: fuse.FUSE_ROOT_ID, gone: make(chan struct{}),
	}
	_, fs.quick = tree.(*Remote) // it only notes what to tell the server
	n := &node{id: fuse.FUSE_ROOT_ID, file: root, path: root.QID().Path, lookups: 1}
	fs.nodes[n.id], fs.byPath[n.path] = n, n
	return fs, nil
}

// Init is told by go-fuse who serves.
func (fs *FS) Init(s *fuse.Server) { fs.server.Store(s) }

// String names the file system in messages of go-fuse.
func (fs *FS) String() string { return "sliod" }

// Stop has every request given up that the kernel has taken back, whoever asks: of a
// mount whose connection with the kernel has been aborted, nobody waits for an answer
// any more, and the server does not end before its requests. That a mount is gone, FS finds
// out by itself.
func (fs *FS) Stop() { fs.stop.Do(func() { close(fs.gone) }) }

// OnUnmount gives everything back that the kernel did not.
func (fs *FS) OnUnmount() {
	fs.mu.Lock()
	nodes, handles := fs.nodes, fs.handles
	fs.nodes, fs.byPath, fs.handles = map[uint64]*node{}, map[uint64]*node{}, map[uint64]*handle{}
	fs.mu.Unlock()
	for _, h := range handles {
		h.close()
	}
	for _, n := range nodes {
		n.close()
	}
	fs.closing.Wait()
}

// largeFile is from which size on to free what a file has, with its last reference once it is
// unlinked, is left to a goroutine of its own. For less, to wake one takes longer, and the kernel waits
// for no answer to what closes.
const largeFile = 64 << 20

// close runs a close of n, or of a handle of it.
func (fs *FS) close(n *node, close func()) {
	if fs.quick || n.size.Load() < largeFile {
		close()
		return
	}
	fs.closing.Add(1)
	go func() {
		defer fs.closing.Done()
		close()
	}()
}

// status turns an error of the Tree into what the kernel is told.
func (fs *FS) status(op string, err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	var errno linux.Errno
	switch {
	case stderrors.As(err, &errno):
		return fuse.Status(errno)
	case stderrors.Is(err, context.Canceled), stderrors.Is(err, context.DeadlineExceeded):
		return fuse.EINTR
	}
	fs.log.WithError(err).Warnf("%s fails with EIO", op)
	return fuse.EIO
}

// StatFs serves statfs(2).
func (fs *FS) StatFs(cancel <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	n := fs.node(in.NodeId)
	s, err := n.file.Statfs(fs.interruptible(cancel, in.Pid))
	if err != nil {
		return fs.status("statfs", err)
	}
	*out = fuse.StatfsOut{
		Blocks: s.Blocks, Bfree: s.BlocksFree, Bavail: s.BlocksAvailable, Files: s.Files, Ffree: s.FilesFree,
		Bsize: s.BlockSize, NameLen: s.NameLength, Frsize: s.BlockSize,
	}
	return fuse.OK
}

// openFlags are the flags of open(2) that mean something to the server; the others
// are the kernel's business.
const openFlags = syscall.O_ACCMODE | syscall.O_TRUNC | syscall.O_APPEND | syscall.O_EXCL | syscall.O_CREAT | syscall.O_DIRECTORY | syscall.O_NOFOLLOW

func toOpenFlags(flags uint32) p9.OpenFlags { return p9.OpenFlags(flags & openFlags) }
