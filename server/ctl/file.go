package ctl

import (
	"sync"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend/vfs"
)

// file is an open file of the tree. None of its methods parks.
type file struct {
	n             *node
	reads, writes bool

	listMu sync.Mutex // one write of a list at a time; before mu
	mu     sync.Mutex
	// text is the report of the last read at offset 0; in /jobs/new the answer to
	// the last write. It is replaced, never changed, so a reader may keep it.
	text []byte
	list list // of /jobs/list; its writes come one at a time
}

func (f *file) ReadAt(off uint64, n int, _ *vfs.Waiter) (vfs.Data, error) {
	switch {
	case f.n.e.isDir():
		return vfs.Data{}, linux.EISDIR
	case !f.reads:
		return vfs.Data{}, linux.EBADF
	}
	if off == 0 && f.n.e.report != nil {
		text, err := f.n.e.report(f.n.t)
		if err != nil {
			return vfs.Data{}, err
		}
		f.set(text)
	}
	f.mu.Lock()
	text := f.text
	f.mu.Unlock()
	if off >= uint64(len(text)) || n <= 0 {
		return vfs.Data{}, nil
	}
	text = text[off:]
	return vfs.Data{Bytes: text[:min(n, len(text))]}, nil
}

func (f *file) WriteAt(_ uint64, p []byte, _ *vfs.Waiter) (int, error) {
	if !f.writes {
		return 0, linux.EBADF
	}
	if len(p) == 0 {
		return 0, nil
	}
	command := f.n.t.command
	if f.n.e == listJob {
		f.listMu.Lock()
		defer f.listMu.Unlock()
		command = func(p []byte) (string, error) { return f.n.t.writeList(&f.list, p) }
	}
	text, err := command(p)
	f.set([]byte(text))
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *file) set(text []byte) {
	f.mu.Lock()
	f.text = text
	f.mu.Unlock()
}

func (f *file) Readdir(off uint64, fn func(p9.Dirent) bool) error {
	return f.n.e.list(f.n.t, off, fn)
}

func (f *file) Fsync(bool, *vfs.Waiter) error { return nil }

func (f *file) Lock(vfs.LockRange, bool, *vfs.Waiter) error { return linux.EOPNOTSUPP }

func (f *file) GetLock(vfs.LockRange) (vfs.LockRange, error) {
	return vfs.LockRange{}, linux.EOPNOTSUPP
}

func (f *file) Cancel(*vfs.Waiter) bool { return false }

// Close forgets a list that was not ended.
func (f *file) Close() {
	f.listMu.Lock()
	defer f.listMu.Unlock()
	f.list.drop()
}
