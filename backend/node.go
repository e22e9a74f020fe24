package backend

import (
	stderrors "errors"
	"strings"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"sliod/backend/catalog"
	"sliod/backend/sliver"
	"sliod/backend/vfs"
)

// node is what a fid holds: an inode, and the name under which it was reached,
// which the old messages Tremove and Trename need.
type node struct {
	ino    *inode
	parent sliver.FileID
	name   string
}

var _ vfs.Node = (*node)(nil)

// Attach returns the node at path. Every directory on the way needs search
// permission; symbolic links are not followed.
func (fs *FS) Attach(c *vfs.Cred, path string) (vfs.Node, error) {
	root, err := fs.get(sliver.RootID)
	if err != nil {
		return nil, err
	}
	n := &node{ino: root, parent: sliver.RootID}
	for _, name := range strings.Split(path, "/") {
		if name == "" || name == "." {
			continue
		}
		next, err := n.Walk(c, name)
		n.Release()
		if err != nil {
			return nil, err
		}
		n = next.(*node)
	}
	return n, nil
}

// Find implements vfs.Finder. A file with several names is found if c may reach one of
// them; one that is open and has none any more, by the directory where it was.
func (fs *FS) Find(c *vfs.Cred, top, path uint64) (vfs.Node, error) {
	ino, err := fs.get(sliver.FileID(path))
	if err != nil {
		return nil, err
	}
	if top == 0 {
		top = uint64(sliver.RootID)
	}
	r := ino.attr()
	n := &node{ino: ino, parent: r.Parent}
	if path == top {
		return n, nil
	}
	dirs := []sliver.FileID{r.Parent}
	if !isDir(&r) && r.NLink > 0 {
		if dirs, err = fs.namedIn(ino.id); err != nil {
			n.Release()
			return nil, err
		}
	}
	err = linux.ENOENT
	for _, dir := range dirs {
		switch reach := fs.mayReach(c, sliver.FileID(top), dir); {
		case reach == nil:
			n.parent = dir
			return n, nil
		case !stderrors.Is(reach, linux.ENOENT):
			err = reach
		}
	}
	n.Release()
	return nil, err
}

// maxNamedIn bounds the directories that are looked at for one file.
const maxNamedIn = 1024

// namedIn returns the directories in which a file has a name.
func (fs *FS) namedIn(id sliver.FileID) (dirs []sliver.FileID, err error) {
	err = fs.cat.View(func(tx *catalog.Tx) error {
		dirs = dirs[:0]
		return tx.Names(id, func(dir sliver.FileID, _ string) bool { // in the order of directories
			if len(dirs) == 0 || dirs[len(dirs)-1] != dir {
				dirs = append(dirs, dir)
			}
			return len(dirs) < maxNamedIn
		})
	})
	return dirs, err
}

// mayReach says whether c may search a directory and all above it up to top; ENOENT if
// it is not below top.
func (fs *FS) mayReach(c *vfs.Cred, top, dir sliver.FileID) error {
	var denied error
	for {
		ino, err := fs.get(dir)
		if err != nil {
			return err
		}
		r := ino.attr()
		ino.release()
		if err := access(c, &r, mayExec); denied == nil {
			denied = err
		}
		switch dir {
		case top:
			return denied
		case sliver.RootID:
			return linux.ENOENT // whatever the permissions are: it is none of c's
		}
		dir = r.Parent
	}
}

func (n *node) QID() p9.QID { return n.ino.qid() }

func (n *node) Clone() vfs.Node {
	n.ino.retain()
	return &node{n.ino, n.parent, n.name}
}

func (n *node) Release() { n.ino.release() }

func (n *node) Walk(c *vfs.Cred, name string) (vfs.Node, error) {
	dir := n.ino.attr()
	if !isDir(&dir) {
		return nil, linux.ENOTDIR
	}
	if err := access(c, &dir, mayExec); err != nil {
		return nil, err
	}
	fs := n.ino.fs
	switch name {
	case ".":
		return n.Clone(), nil
	case "..":
		ino, err := fs.get(dir.Parent)
		if err != nil {
			return nil, err
		}
		return &node{ino, ino.attr().Parent, ""}, nil
	}
	// The entry can go, and its file with it, between the two steps: look again.
	for {
		id, err := fs.lookup(n.ino.id, name)
		if err != nil {
			return nil, err
		}
		ino, err := fs.get(id)
		if err == nil {
			return &node{ino, n.ino.id, name}, nil
		}
		if !stderrors.Is(err, linux.ENOENT) {
			return nil, err
		}
		if again, err := fs.lookup(n.ino.id, name); err != nil || again == id {
			return nil, linux.ENOENT
		}
	}
}

// lookup returns the file that name stands for in a directory.
func (fs *FS) lookup(dir sliver.FileID, name string) (sliver.FileID, error) {
	e, err := fs.entry(dir, name)
	return e.ID, err
}

// entry returns the entry called name of a directory.
func (fs *FS) entry(dir sliver.FileID, name string) (e catalog.Dirent, err error) {
	err = fs.cat.View(func(tx *catalog.Tx) (err error) {
		e, err = tx.Lookup(dir, name)
		return err
	})
	if stderrors.Is(err, catalog.ErrNotFound) {
		return catalog.Dirent{}, linux.ENOENT
	}
	return e, err
}

// child returns the file that name stands for in a directory, with a reference.
// fs.ns must be held, or the file may go between the two steps.
func (fs *FS) child(dir sliver.FileID, name string) (*inode, error) {
	id, err := fs.lookup(dir, name)
	if err != nil {
		return nil, err
	}
	return fs.get(id)
}

func (n *node) Getattr(*vfs.Cred) (p9.Attr, error) {
	r := n.ino.attr()
	a := p9.Attr{
		Mode:             p9.FileMode(r.Mode),
		UID:              p9.UID(r.UID),
		GID:              p9.GID(r.GID),
		NLink:            p9.NLink(r.NLink),
		RDev:             encodeDev(r.Major, r.Minor),
		Size:             r.Size,
		BlockSize:        sliver.Size,
		ATimeSeconds:     uint64(r.Atime.Sec),
		ATimeNanoSeconds: uint64(r.Atime.Nsec),
		MTimeSeconds:     uint64(r.Mtime.Sec),
		MTimeNanoSeconds: uint64(r.Mtime.Nsec),
		CTimeSeconds:     uint64(r.Ctime.Sec),
		CTimeNanoSeconds: uint64(r.Ctime.Nsec),
		BTimeSeconds:     uint64(r.Btime.Sec),
		BTimeNanoSeconds: uint64(r.Btime.Nsec),
		Gen:              uint64(r.Generation),
		DataVersion:      r.DataVersion,
	}
	if isFile(&r) {
		cached, _, _, _ := n.ino.fs.cache.FileStats(n.ino.id)
		a.Blocks = uint64(cached+511) / 512
		if r.Size > 0 {
			// tar -S takes a file without blocks for one hole, and would store zeros for
			// what is on tape.
			a.Blocks = max(a.Blocks, 1)
		}
	} else if r.Mode&modeType == modeLink {
		a.Size = uint64(len(r.Target))
	}
	return a, nil
}

// encodeDev packs a device number as Linux's new_encode_dev does, which is what
// the client decodes.
func encodeDev(major, minor uint32) p9.Dev {
	return p9.Dev(minor&0xff | major<<8 | (minor&^0xff)<<12)
}

func (n *node) Readlink(*vfs.Cred) (string, error) {
	r := n.ino.attr()
	if r.Mode&modeType != modeLink {
		return "", linux.EINVAL
	}
	return r.Target, nil
}

func (n *node) Statfs(*vfs.Cred) (p9.FSStat, error) { return n.ino.fs.statfs(), nil }
