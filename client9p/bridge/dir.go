package bridge

import (
	"context"
	"sync"
	"syscall"

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
	ahead   []Walked    // files of the first entries, walked to by the readdirplus that is served
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
	l.dropAhead(min(n, len(l.ahead)))
}

// dropAhead gives the first n of ahead back.
func (l *listing) dropAhead(n int) {
	for _, w := range l.ahead[:n] {
		if w.File != nil {
			w.File.Close()
		}
	}
	l.ahead = l.ahead[n:]
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

// OpenDir serves opendir(3). Whatever flags the kernel sends, a directory is read: that of a
// virtual machine may name a file, and ask to have it truncated.
func (fs *FS) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n := fs.node(in.NodeId)
	h, err := n.file.Open(fs.interruptible(cancel, in.Pid), p9.ReadOnly|syscall.O_DIRECTORY)
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
	room := int(in.Size)
	return fs.readDir(ctx, in, func(l *listing, h *handle) bool {
		e := out.AddDirLookupEntry(dirEntry(&l.entries[0]))
		if e == nil {
			return false
		}
		if len(l.ahead) == 0 {
			l.walk(ctx, h.node.file, room)
		}
		room -= plusSize(&l.entries[0])
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

// plusSize is how many bytes an entry takes of the answer to readdirplus: struct fuse_direntplus,
// and the name in whole words.
func plusSize(e *p9.Dirent) int { return 128 + 24 + (len(e.Name)+7)&^7 }

// walk looks up what the first entries name, as many as there is room for and one at least.
func (l *listing) walk(ctx context.Context, dir File, room int) {
	n := 0
	for ; n < min(len(l.entries), maxAhead); n++ {
		if room -= plusSize(&l.entries[n]); room < 0 && n > 0 {
			break
		}
	}
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
	// What no longer fitted in goes: the kernel takes attributes for those of the time of its
	// request, and would go back to them from newer ones.
	defer func() { l.dropAhead(len(l.ahead)) }()
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
