package bridge

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// handle is an open file or directory.
type handle struct {
	node    *node
	h       Handle
	append  bool
	version uint32 // of the content when it was opened
	settled atomic.Bool
	list    listing // of a directory

	mu    sync.Mutex
	plain Handle // for what a file opened with O_APPEND has to write elsewhere than at its end
}

func (fs *FS) addHandle(n *node, h Handle, flags uint32) uint64 {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.lastFH++
	fs.handles[fs.lastFH] = &handle{node: n, h: h, append: flags&syscall.O_APPEND != 0, version: h.QID().Version}
	return fs.lastFH
}

func (fs *FS) handle(fh uint64) *handle {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.handles[fh]
}

// release takes a handle out of the table and closes it.
func (fs *FS) release(fh uint64) {
	fs.mu.Lock()
	h := fs.handles[fh]
	delete(fs.handles, fh)
	fs.mu.Unlock()
	if h != nil {
		h.forgetOwners()
		fs.close(h.node, h.close)
	}
}

func (h *handle) close() {
	h.h.Close()
	if h.plain != nil {
		h.plain.Close()
	}
}

// Open serves open(2). The kernel has checked permissions, and existence.
func (fs *FS) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if fs.ro && (in.Flags&(syscall.O_ACCMODE|syscall.O_TRUNC) != syscall.O_RDONLY || in.Mode&fuse.OPEN_KILL_SUIDGID != 0) {
		return fuse.EROFS
	}
	n := fs.node(in.NodeId)
	ctx := fs.interruptible(cancel, in.Pid)
	var err error
	if in.Mode&fuse.OPEN_KILL_SUIDGID != 0 {
		err = n.dropSetID(ctx)
	}
	var h Handle
	if err == nil {
		h, err = n.file.Open(ctx, toOpenFlags(in.Flags))
	}
	if err != nil {
		return fs.status("open", err)
	}
	out.Fh = fs.addHandle(n, h, in.Flags)
	out.OpenFlags |= appendFlags(in.Flags)
	pages, attrs := n.unchanged(h.QID().Version)
	if pages {
		out.OpenFlags |= fuse.FOPEN_KEEP_CACHE
	}
	if s := fs.server.Load(); s != nil && !attrs {
		// The kernel would go by the size that it was told, for the time that attributes are
		// kept. An offset below 0 means the attributes alone: no page is waited for.
		s.InodeNotify(n.id, -1, 0)
	}
	return fuse.OK
}

// appendFlags has writes go past the kernel's pages that are to be appended: there it would
// cut them in two at a page, and another client's could come in between.
func appendFlags(flags uint32) uint32 {
	if flags&syscall.O_APPEND != 0 && flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return fuse.FOPEN_DIRECT_IO
	}
	return 0
}

// unchanged says whether the kernel's pages and attributes are of the version that was
// opened. Version 0 promises nothing.
func (n *node) unchanged(version uint32) (pages, attrs bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return version != 0 && version == n.version, version != 0 && version == n.told
}

// settle notes that the kernel has taken the answer to an open, and thrown away the
// older pages then: a request through the open file shows that. Before it, another open
// must not be told that the pages are good.
func (h *handle) settle() {
	if !h.settled.CompareAndSwap(false, true) {
		return
	}
	h.node.mu.Lock()
	h.node.version = h.version
	h.node.mu.Unlock()
}

// Create serves open(2) with O_CREAT of a new name.
func (fs *FS) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if st := checkName(name); st != fuse.OK {
		return st
	}
	if !fs.mayChange() {
		return fuse.EROFS
	}
	defer fs.changed()
	ctx := fs.interruptible(cancel, in.Pid)
	dir, err := fs.maker(ctx, &in.InHeader)
	if err != nil {
		return fs.status("create", err)
	}
	e, h, err := dir.Create(ctx, name, toOpenFlags(in.Flags), newMode(in.Mode&0o7777, in.Umask), in.Gid)
	if err != nil {
		return fs.status("create", err)
	}
	if err := fs.adopt(ctx, &in.InHeader, &e); err != nil {
		h.Close()
		return fs.status("create", err)
	}
	n := fs.entry(e, &out.EntryOut)
	if r, ok := h.(*remoteHandle); ok {
		r.f = n.file.(*remoteFile) // the one that it was made with may be closed: it could not be opened again
	}
	out.Fh = fs.addHandle(n, h, in.Flags)
	out.OpenFlags |= appendFlags(in.Flags)
	return fuse.OK
}

// Read serves read(2) and the kernel's readahead.
func (fs *FS) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	h := fs.handle(in.Fh)
	if h == nil {
		return nil, fuse.EBADF
	}
	h.settle()
	ctx := fs.interruptible(cancel, in.Pid)
	if d, ok := h.h.(DirectReader); ok {
		p, ok, err := d.ReadDirect(ctx, int(in.Size), in.Offset)
		if err != nil {
			return nil, fs.status("read", err)
		}
		if ok {
			return directResult{p}, fuse.OK
		}
	}
	// What was read before an error is good, but a short answer means end of file to
	// the kernel: the error has to be told.
	n, err := h.h.ReadAt(ctx, buf[:in.Size], in.Offset)
	if err != nil {
		return nil, fs.status("read", err)
	}
	return fuse.ReadResultVector([][]byte{buf[:n]}), fuse.OK
}

// directResult is an answer that go-fuse writes to the kernel from where it lies. That it has
// Slices, as ReadResultVector has, makes the answer one writev(2): for another one go-fuse
// takes a pipe, fills in the head, finds that there is no file to splice from, and empties it.
type directResult struct{ p Pinned }

func (r directResult) Slices() ([][]byte, fuse.Status) { return [][]byte{r.p.Bytes()}, fuse.OK }

func (r directResult) Bytes([]byte) ([]byte, fuse.Status) { return r.p.Bytes(), fuse.OK }
func (r directResult) Size() int                          { return len(r.p.Bytes()) }
func (r directResult) Done()                              { r.p.Release() }

// Write serves write(2) and the writeback of mapped pages.
func (fs *FS) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	const writeCache = 1 // FUSE_WRITE_CACHE: from the page cache, not from who opened the file
	if fs.ro {
		return 0, fuse.EROFS
	}
	h := fs.handle(in.Fh)
	if h == nil {
		return 0, fuse.EBADF
	}
	h.settle()
	ctx := fs.interruptible(cancel, in.Pid)
	if in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		if err := h.node.dropSetID(ctx); err != nil {
			return 0, fs.status("write", err)
		}
	}
	to := h.h
	// The kernel says where a page lies, and where to write once fcntl(2) has taken O_APPEND away.
	if h.append && (in.WriteFlags&writeCache != 0 || in.Flags&syscall.O_APPEND == 0) {
		var err error
		if to, err = h.writeback(ctx); err != nil {
			return 0, fs.status("write", err)
		}
	}
	n, err := to.WriteAt(ctx, data, in.Offset)
	if end := in.Offset + uint64(n); end > h.node.size.Load() {
		h.node.size.Store(end)
	}
	if err != nil && (n == 0 || in.WriteFlags&writeCache != 0) {
		return 0, fs.status("write", err) // nobody writes the rest of a page again
	}
	return uint32(n), fuse.OK // the error of the rest comes with the next write
}

// writeback returns a handle that writes where it is told, for one opened with O_APPEND: a
// page has its place, though the kernel writes it back through any open file.
func (h *handle) writeback(ctx context.Context) (Handle, error) {
	h.mu.Lock()
	p := h.plain
	h.mu.Unlock()
	if p != nil {
		return p, nil
	}
	p, err := h.node.file.Open(ctx, syscall.O_WRONLY)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.plain != nil {
		p.Close()
		return h.plain, nil
	}
	h.plain = p
	return p, nil
}

// Writev is not served: go-fuse calls Write then.
func (fs *FS) Writev(cancel <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

// Flush is called at each close(2): POSIX ends the process's record locks then.
func (fs *FS) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	h := fs.handle(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	h.settle()
	return fs.unlockAll(h, in.LockOwner)
}

// Fsync serves fsync(2).
func (fs *FS) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	const dataSync = 1 // FUSE_FSYNC_FDATASYNC
	h := fs.handle(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	return fs.status("fsync", h.h.Fsync(fs.interruptible(cancel, in.Pid), in.FsyncFlags&dataSync != 0))
}

// Release ends an open file.
func (fs *FS) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) {
	if h := fs.handle(in.Fh); h != nil && in.ReleaseFlags&fuse.FUSE_RELEASE_FLOCK_UNLOCK != 0 {
		fs.unlockAll(h, in.LockOwner)
	}
	fs.release(in.Fh)
}

// Ioctl has nothing to offer.
func (fs *FS) Ioctl(cancel <-chan struct{}, in *fuse.IoctlIn, inbuf []byte, out *fuse.IoctlOut, outbuf []byte) fuse.Status {
	return fuse.Status(syscall.ENOTTY)
}
