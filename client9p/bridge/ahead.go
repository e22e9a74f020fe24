package bridge

import (
	"context"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/p9"
)

// After a name has been removed the kernel knows no attributes of the directory any more, and asks for them before it
// permits the next thing in it: an rm -r makes four requests for a file, and one of them is that. A tree over
// a connection has them come with the answer to the removal.

// ahead are attributes of a directory that the kernel has not asked for yet.
type ahead struct {
	n      *node
	attr   p9.Attr
	asked  time.Time // they are of then, or later
	change uint64    // FS.changes at the end of the removal that they came with
}

// mayChange is called at the begin of every request that changes something, and changed at its end. It is false
// if nothing may be changed.
func (fs *FS) mayChange() bool {
	fs.changes.Add(1)
	return !fs.ro
}

func (fs *FS) changed() { fs.changes.Add(1) }

// remove serves the removal of a name.
func (fs *FS) remove(op string, cancel <-chan struct{}, in *fuse.InHeader, name string, dir bool) fuse.Status {
	if st := checkName(name); st != fuse.OK {
		return st
	}
	if fs.ro {
		return fuse.EROFS
	}
	n, ctx := fs.node(in.NodeId), fs.interruptible(cancel, in.Pid)
	// Another change that is under way now, or begins before the attributes are told, need not be in
	// them: with its begin or end it makes the number another one, and they are not told.
	a := &ahead{n: n, asked: time.Now(), change: fs.changes.Add(1) + 1}
	defer fs.changed()
	if r, ok := n.file.(Remover); ok {
		var err error
		if a.attr, ok, err = r.Remove(ctx, name, dir); ok {
			fs.ahead.Store(a)
		}
		return fs.status(op, err)
	}
	if dir {
		return fs.status(op, n.file.Rmdir(ctx, name))
	}
	return fs.status(op, n.file.Unlink(ctx, name))
}

// getattr asks for the attributes of n, or takes those that came ahead. The kernel may keep them for the time
// keep: what another client changes is seen no later than if they had been asked for now.
func (fs *FS) getattr(ctx context.Context, n *node) (attr p9.Attr, keep time.Duration, err error) {
	if a := fs.ahead.Load(); a != nil && a.n == n && fs.ahead.CompareAndSwap(a, nil) && a.change == fs.changes.Load() {
		if keep = fs.timeout - time.Since(a.asked); keep > 0 {
			return a.attr, keep, nil
		}
	}
	attr, err = n.file.Getattr(ctx)
	return attr, fs.timeout, err
}
