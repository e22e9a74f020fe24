package server

import (
	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"
	"sliod/backend/vfs"
)

// fid is what a client's number stands for. It belongs to the connection's reader.
type fid struct {
	fs   vfs.FS
	node vfs.Node // nil for an extended attribute that is read
	cred *vfs.Cred

	file  *openFile // nil: not open
	flags p9.OpenFlags
	dir   bool // file is a directory

	xattr *xattr // not nil: stands for an extended attribute
}

func (f *fid) readable() bool { return f.file != nil && f.flags.Mode() != p9.WriteOnly }
func (f *fid) writable() bool { return f.file != nil && f.flags.Mode() != p9.ReadOnly && !f.dir }

// fid returns what n stands for.
func (c *conn) fid(n uint32) (*fid, error) {
	if f := c.fids[n]; f != nil {
		return f, nil
	}
	return nil, linux.EBADF
}

// node returns the fid n if it stands for a file, open or not.
func (c *conn) node(n uint32) (*fid, error) {
	f := c.fids[n]
	if f == nil || f.xattr != nil {
		return nil, linux.EBADF
	}
	return f, nil
}

// fresh says whether the client may give the number n to something new.
func (c *conn) fresh(n uint32) error {
	switch {
	case n == noFid || c.fids[n] != nil:
		return linux.EINVAL
	case len(c.fids) >= c.srv.cfg.MaxFids:
		return linux.EMFILE
	}
	return nil
}

// release ends all that f holds.
func (c *conn) release(f *fid) {
	c.closeFile(f)
	if f.xattr != nil {
		c.xattrBytes -= cap(f.xattr.value)
	}
	if f.node != nil {
		f.node.Release()
	}
}

// closeFile gives back f's reference to its open file.
func (c *conn) closeFile(f *fid) {
	if f.file == nil {
		return
	}
	c.mu.Lock()
	c.unrefLocked(f.file)
	c.mu.Unlock()
	f.file = nil
}

// releaseFids forgets every fid.
func (c *conn) releaseFids() {
	for _, f := range c.fids {
		c.release(f)
	}
	clear(c.fids)
}

// opened makes f an open fid.
func (f *fid) opened(file vfs.File, flags p9.OpenFlags, dir bool) {
	f.file, f.flags, f.dir = &openFile{File: file, refs: 1}, flags, dir
}
