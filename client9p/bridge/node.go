package bridge

import (
	"context"
	stderrors "errors"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
)

// node is a file that the kernel knows by a number.
type node struct {
	id   uint64
	file File   // as the user who mounts
	path uint64 // its FileID

	size atomic.Uint64 // as it was told or written last: a hint, see FS.close

	lookups uint64 // as the kernel counts them; guarded by FS.mu

	mu     sync.Mutex
	as     map[uint32]File // as other users, for what they make in this directory
	owners map[uint64]lockOwner
	// version is that of the kernel's pages, or an earlier one: it may keep them when an
	// open finds the same.
	version uint32
	told    uint32      // version that the kernel's attributes are of
	mode    p9.FileMode // in them
}

// close gives the node's files back.
func (n *node) close() {
	n.file.Close()
	for _, f := range n.as {
		f.Close()
	}
}

// node returns the node that the kernel means, stale if there is none.
func (fs *FS) node(id uint64) *node {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if n := fs.nodes[id]; n != nil {
		return n
	}
	return stale
}

// enter takes a found file into the table, with one lookup more, and returns its
// node. e.File belongs to the table then.
func (fs *FS) enter(e Entry) *node {
	path := e.File.QID().Path
	fs.mu.Lock()
	n := fs.byPath[path]
	if n != nil {
		n.lookups++
		fs.mu.Unlock()
		e.File.Close() // not the last reference to the file
		return n
	}
	fs.lastID++
	n = &node{id: fs.lastID, file: e.File, path: path, lookups: 1}
	fs.nodes[n.id], fs.byPath[path] = n, n
	fs.mu.Unlock()
	return n
}

// entry is enter, and tells the kernel.
func (fs *FS) entry(e Entry, out *fuse.EntryOut) *node {
	n := fs.enter(e)
	out.NodeId, out.Generation = n.id, 1 // node ids are never used again
	fs.fillAttr(&e.Attr, n, &out.Attr)
	out.SetEntryTimeout(fs.timeout)
	out.SetAttrTimeout(fs.timeout)
	return n
}

// checkName judges the name of an entry that the kernel sent. One in order walks "." and ".."
// itself; that of a virtual machine is not ours, and ".." would lead it out of a tree that is
// only a path of the archive.
func checkName(name string) fuse.Status {
	switch {
	case name == "":
		return fuse.ENOENT
	case name == ".", name == "..", strings.ContainsAny(name, "/\x00"):
		return fuse.EINVAL
	}
	return fuse.OK
}

// Lookup serves the lookup of a name.
func (fs *FS) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if st := checkName(name); st != fuse.OK {
		return st
	}
	e, err := fs.node(in.NodeId).file.Walk(fs.interruptible(cancel, in.Pid), name)
	if err != nil {
		return fs.status("lookup", err)
	}
	fs.entry(e, out)
	return fuse.OK
}

// Forget takes lookups back; with the last one the node is gone.
func (fs *FS) Forget(id, lookups uint64) {
	fs.mu.Lock()
	n := fs.nodes[id]
	if n == nil || n.lookups > lookups || id == fuse.FUSE_ROOT_ID {
		if n != nil {
			n.lookups -= min(lookups, n.lookups)
		}
		fs.mu.Unlock()
		return
	}
	delete(fs.nodes, id)
	delete(fs.byPath, n.path)
	fs.mu.Unlock()
	fs.close(n, n.close)
}

// maker returns the directory as the user who asks sees it: what is made in it
// is that user's. adopt has to follow.
func (fs *FS) maker(ctx context.Context, in *fuse.InHeader) (File, error) {
	n := fs.node(in.NodeId)
	if in.Uid == fs.uid {
		return n.file, nil
	}
	n.mu.Lock()
	f := n.as[in.Uid]
	n.mu.Unlock()
	if f != nil {
		return f, nil
	}
	f, err := n.file.As(ctx, in.Uid)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if g := n.as[in.Uid]; g != nil {
		f.Close() // not the last reference to the directory
		return g, nil
	}
	if n.as == nil {
		n.as = make(map[uint32]File)
	}
	n.as[in.Uid] = f
	return f, nil
}

// adopt makes what a user has made in a directory one of the table's files, which are all as
// the user who mounts sees them, whoever asks for them and for what is below them. If the server does not take that one
// for root, they stay as they are: their maker, who is the first to want something with them, could not
// touch them otherwise.
func (fs *FS) adopt(ctx context.Context, in *fuse.InHeader, e *Entry) error {
	if in.Uid == fs.uid || fs.squashed {
		return nil
	}
	theirs := e.File
	f, err := theirs.As(ctx, fs.uid)
	if stderrors.Is(err, linux.ESTALE) {
		return nil // a server that does not know files by number
	}
	theirs.Close()
	e.File = f
	return err
}
