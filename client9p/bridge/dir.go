package bridge

import (
	"context"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hugelgupf/p9/p9"
)

// listing is what an open directory has read ahead. Cookies are the server's: any
// of them can be read on from, however the directory changed.
type listing struct {
	mu      sync.Mutex
	at      uint64      // the cookie before entries[0]
	entries []p9.Dirent // not yet told
	end     bool        // nothing follows entries
	ahead   []Walked    // files of the first entries, walked to for readdirplus
}

// maxAhead is how many files of a directory are walked to at the same time.
const maxAhead = 64

// seek makes entries begin behind the cookie off.
func (l *listing) seek(off uint64) {
	if off == l.at {
		return
	}
	for i, e := range l.entries {
		if e.Offset == off {
			l.drop(i + 1)
			return
		}
	}
	l.drop(len(l.entries))
	l.at, l.end = off, false
}

// drop takes the first n entries off, which have been told.
func (l *listing) drop(n int) {
	if n == 0 {
		return
	}
	l.at = l.entries[n-1].Offset
	l.entries = l.entries[n:]
	for _, w := range l.ahead[:min(n, len(l.ahead))] {
		if w.File != nil {
			w.File.Close()
		}
	}
	l.ahead = l.ahead[min(n, len(l.ahead)):]
}

// fill reads on if nothing is left.
func (l *listing) fill(ctx context.Context, h Handle) error {
	if len(l.entries) > 0 || l.end {
		return nil
	}
	list, err := h.Readdir(ctx, l.at)
	if err != nil {
		return err
	}
	l.entries, l.end = list, len(list) == 0
	return nil
}

// OpenDir serves opendir(3).
func (fs *FS) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n := fs.node(in.NodeId)
	h, err := n.file.Open(fs.interruptible(cancel, in.Pid), toOpenFlags(in.Flags))
	if err != nil {
		return fs.status("opendir", err)
	}
	out.Fh = fs.addHandle(n, h, 0)
	return fuse.OK
}

// ReadDir serves readdir(3).
func (fs *FS) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return fs.readDir(fs.interruptible(cancel, in.Pid), in, func(l *listing, _ *handle) bool {
		e := &l.entries[0]
		return out.AddDirEntry(dirEntry(e))
	})
}

// ReadDirPlus serves readdir(3) with the lookup of each name.
func (fs *FS) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	ctx := fs.interruptible(cancel, in.Pid)
	return fs.readDir(ctx, in, func(l *listing, h *handle) bool {
		if len(l.ahead) == 0 {
			l.walk(ctx, h.node.file)
		}
		e := out.AddDirLookupEntry(dirEntry(&l.entries[0]))
		if e == nil {
			return false
		}
		w := &l.ahead[0]
		if w.Err == nil && w.File != nil {
			fs.entry(w.Entry, e)
			out.FixMode(uint32(w.Attr.Mode))
			w.File = nil // the table has it
		}
		// Without a node id the kernel takes the name alone: of "." and "..", and of a
		// file that went away meanwhile.
		return true
	})
}

// walk looks up what the first entries name.
func (l *listing) walk(ctx context.Context, dir File) {
	n := min(len(l.entries), maxAhead)
	names := make([]string, 0, n)
	for _, e := range l.entries[:n] {
		if e.Name != "." && e.Name != ".." {
			names = append(names, e.Name)
		}
	}
	found := dir.WalkAll(ctx, names)
	l.ahead = make([]Walked, 0, n)
	for _, e := range l.entries[:n] {
		if e.Name == "." || e.Name == ".." {
			l.ahead = append(l.ahead, Walked{})
			continue
		}
		l.ahead, found = append(l.ahead, found[0]), found[1:]
	}
}

// readDir tells entries, each by add, until the directory or the kernel's buffer
// ends.
func (fs *FS) readDir(ctx context.Context, in *fuse.ReadIn, add func(*listing, *handle) bool) fuse.Status {
	h := fs.handle(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	l := &h.list
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seek(in.Offset)
	for told := 0; ; told++ {
		if err := l.fill(ctx, h.h); err != nil {
			if told > 0 {
				return fuse.OK // the error comes again with the next call
			}
			return fs.status("readdir", err)
		}
		if len(l.entries) == 0 || !add(l, h) {
			return fuse.OK
		}
		l.drop(1)
	}
}

func dirEntry(e *p9.Dirent) fuse.DirEntry {
	return fuse.DirEntry{Name: e.Name, Mode: uint32(e.Type) << 12, Ino: e.QID.Path, Off: e.Offset}
}

// ReleaseDir ends an open directory.
func (fs *FS) ReleaseDir(in *fuse.ReleaseIn) {
	if h := fs.handle(in.Fh); h != nil {
		l := &h.list
		l.mu.Lock()
		l.drop(len(l.entries))
		l.mu.Unlock()
	}
	fs.release(in.Fh)
}

// FsyncDir makes the entries of a directory durable.
func (fs *FS) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return fs.Fsync(cancel, in)
}
