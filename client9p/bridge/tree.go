package bridge

import (
	"context"

	"github.com/hugelgupf/p9/p9"

	"sliod/client9p"
)

// umaskShift is that of the extension (docs/protocol.md).
const umaskShift = client9p.UmaskShift

// Tree is the archive that is mounted: over a connection (Remote), or in the same
// process.
type Tree interface {
	// Attach returns the root of the tree for a user.
	Attach(ctx context.Context, uid uint32) (File, error)
	// Close ends the tree. No File or Handle may be used after it.
	Close() error
}

// File is a reference to a file of the tree, as one user sees it. It stays usable
// after the file is renamed or unlinked, until Close. Errors are a linux.Errno, bare
// or wrapped, that of the context, or anything else, which is EIO. Methods are safe
// for concurrent use.
type File interface {
	// QID names the file: Path is its FileID.
	QID() p9.QID
	Close()

	// Walk returns the entry called name of a directory, with its attributes.
	Walk(ctx context.Context, name string) (Entry, error)
	// WalkAll walks to each of the names. It is as if Walk was called for all of
	// them at the same time.
	WalkAll(ctx context.Context, names []string) []Walked
	// As returns the file as another user sees it.
	As(ctx context.Context, uid uint32) (File, error)

	Getattr(ctx context.Context) (p9.Attr, error)
	// Setattr sets what the bits of valid (client9p.SetMode ...) name, all or none.
	Setattr(ctx context.Context, valid uint32, attr p9.SetAttr) error
	Statfs(ctx context.Context) (p9.FSStat, error)
	Readlink(ctx context.Context) (string, error)

	// Xattr returns the value of an attribute, ENODATA if there is none; with name
	// "" the names, each followed by a NUL.
	Xattr(ctx context.Context, name string) ([]byte, error)
	SetXattr(ctx context.Context, name string, value []byte, flags uint32) error
	RemoveXattr(ctx context.Context, name string) error

	// Open opens the file; the File stays as it is.
	Open(ctx context.Context, flags p9.OpenFlags) (Handle, error)
	// Create makes a regular file in a directory and opens it; without O_EXCL an
	// existing one is opened. The modes of Create, Mkdir and Mknod have the maker's umask in
	// the bits from umaskShift on, which counts unless the directory has a default
	// access control list.
	Create(ctx context.Context, name string, flags p9.OpenFlags, mode p9.FileMode, gid uint32) (Entry, Handle, error)
	Mkdir(ctx context.Context, name string, mode p9.FileMode, gid uint32) (Entry, error)
	Symlink(ctx context.Context, name, target string, gid uint32) (Entry, error)
	Mknod(ctx context.Context, name string, mode p9.FileMode, major, minor, gid uint32) (Entry, error)
	// Link makes name in this directory a hard link to target, a File of the same Tree.
	Link(ctx context.Context, target File, name string) error
	// Rename moves an entry to newName in dir, a File of the same Tree.
	Rename(ctx context.Context, oldName string, dir File, newName string) error
	Unlink(ctx context.Context, name string) error
	Rmdir(ctx context.Context, name string) error
}

// Remover is a File that can tell more with a removal.
type Remover interface {
	// Remove is Rmdir or Unlink, and Getattr of the directory after it. ok is false if the attributes
	// did not come along.
	Remove(ctx context.Context, name string, dir bool) (attr p9.Attr, ok bool, err error)
}

// Entry is a file that was found or made, and its attributes then.
type Entry struct {
	File File
	Attr p9.Attr
}

// Walked is one answer of WalkAll.
type Walked struct {
	Entry
	Err error
}

// Handle is an open file. Methods are safe for concurrent use.
type Handle interface {
	// QID is what the server said when the file was opened: Version is that of the
	// content then.
	QID() p9.QID
	// ReadAt fills p from off. It is short only at the end of the file, without an
	// error.
	ReadAt(ctx context.Context, p []byte, off uint64) (int, error)
	// WriteAt writes all of p, at the end of the file if it was opened with O_APPEND.
	WriteAt(ctx context.Context, p []byte, off uint64) (int, error)
	// Readdir returns entries after the cookie off, none at the end. An entry's Type
	// is its DT_ number.
	Readdir(ctx context.Context, off uint64) ([]p9.Dirent, error)
	Fsync(ctx context.Context, dataOnly bool) error
	// SetLock takes or releases a record lock; a conflict is EAGAIN unless wait.
	SetLock(ctx context.Context, l client9p.Lock, wait bool) error
	GetLock(ctx context.Context, l client9p.Lock) (client9p.Lock, error)
	Close()
}

// Checker is a Handle that can fail for good.
type Checker interface {
	// Check says why, nil if the Handle is good.
	Check(ctx context.Context) error
}

// DirectReader is a Handle that can lend out the bytes of a file where they lie.
type DirectReader interface {
	// ReadDirect returns n bytes at off. ok is false if they do not lie together, or if
	// there are fewer: ReadAt has them then.
	ReadDirect(ctx context.Context, n int, off uint64) (p Pinned, ok bool, err error)
}

// Pinned is a part of a file that must not be changed, or touched by Go code, as it may
// be mapped and not in memory: a system call may read it. Release gives it back.
type Pinned interface {
	Bytes() []byte
	Release()
}
