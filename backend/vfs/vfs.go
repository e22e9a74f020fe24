// Package vfs is the contract between the 9P server and a tree that it serves:
// the archive (package backend) or the control tree. It holds types and
// interfaces only.
//
// # Errors
//
// A tree returns linux.Errno values (github.com/hugelgupf/p9/linux), bare or
// wrapped so that errors.As finds them; the server sends any other error as EIO
// and logs it once with its stack.
//
// # Waiting
//
// No method blocks on tape. A method that takes a *Waiter may return ErrParked:
// the request has been parked, and the Waiter's Waker is called exactly once,
// from any goroutine, with no lock of the tree held, unless Cancel returned
// true before. The wake may come before the method has returned. Data given to
// a parked call is not retained beyond the call's return.
package vfs

import (
	stderrors "errors"

	"github.com/hugelgupf/p9/p9"
)

// ErrParked says that a request waits; its Waiter will be woken.
var ErrParked = stderrors.New("request parked")

// ErrWouldWait is the answer to a call without a Waiter that would have to wait.
var ErrWouldWait = stderrors.New("would have to wait")

// Cred is the user on whose behalf an operation runs.
type Cred struct {
	UID, GID uint32
	Groups   []uint32 // supplementary groups
	// Recalls, if not nil, is asked before a request of the user begins a fault.
	Recalls Gate
}

// InGroup says whether the user belongs to gid.
func (c *Cred) InGroup(gid uint32) bool {
	if c.GID == gid {
		return true
	}
	for _, g := range c.Groups {
		if g == gid {
			return true
		}
	}
	return false
}

// Waker is told that a parked request can go on.
//
// After a parked ReadAt: n is 0; err nil means "call ReadAt again".
// After a parked WriteAt: the final answer, n bytes written (n > 0) or err.
// After a parked Fsync or Lock: the final answer is err.
//
// Wake must not block and must not call back into the tree.
type Waker interface {
	Wake(n int, err error)
}

// Waiter is one parked request. The server embeds it in its request object and
// sets Waker once; all other fields belong to the tree while the request is
// parked, guarded by the tree's lock of what it waits for.
type Waiter struct {
	Waker Waker

	// Prefix holds the first bytes of a write that could not be staged; at most
	// MaxPrefix of them, so that a parked write never costs more.
	Prefix []byte
	// Off and N are the range of a parked write in what it waits for.
	Off, N int
	// Kind is the tree's own note of why this waits, Owner of what for.
	Kind  uint8
	Owner any
	// Class is how urgent the request is. It is set before the call that may park it.
	Class Class
	// Gate is that of the user, put there by the tree.
	Gate Gate
	// NoAhead: nothing is to be read ahead for this request.
	NoAhead bool
	// NoRead: whoever waits does not read when he is woken, so that nothing need be kept for him.
	NoRead bool

	list       *WaitList
	prev, next *Waiter
}

// MaxPrefix is the number of bytes of a write that may be kept in a Waiter. The
// write is later answered short with that count, and the client sends the rest.
const MaxPrefix = 512

// Parked says whether the waiter is in a list. The list's lock must be held.
func (w *Waiter) Parked() bool { return w.list != nil }

// WaitList is a first-in first-out list of waiters. The zero value is empty. It
// has no lock of its own.
type WaitList struct {
	head, tail *Waiter
	n          int
}

// Len returns the number of waiters.
func (l *WaitList) Len() int { return l.n }

// Push appends w. It panics if w is in a list already.
func (l *WaitList) Push(w *Waiter) {
	if w.list != nil {
		panic("vfs: waiter parked twice")
	}
	w.list, w.prev, w.next = l, l.tail, nil
	if l.tail != nil {
		l.tail.next = w
	} else {
		l.head = w
	}
	l.tail = w
	l.n++
}

// Remove unhooks w and says whether it was in l.
func (l *WaitList) Remove(w *Waiter) bool {
	if w.list != l {
		return false
	}
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		l.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		l.tail = w.prev
	}
	w.list, w.prev, w.next = nil, nil, nil
	l.n--
	return true
}

// Front returns the oldest waiter, or nil.
func (l *WaitList) Front() *Waiter { return l.head }

// Next returns the waiter parked after w in its list, or nil.
func (w *Waiter) Next() *Waiter { return w.next }

// Unpinner gives back what a Data points to.
type Unpinner interface {
	Unpin()
}

// Data is the answer to a read: Bytes, then Zeros zero bytes, then More. Bytes
// may be a mapped slot: it is valid until Release, and must not be written.
type Data struct {
	Bytes []byte
	Zeros int
	Pin   Unpinner // nil if nothing is pinned
	More  *Data    // what follows, from the next sliver; usually nil
}

// Len returns the number of bytes of the answer. 0 means end of file.
func (d *Data) Len() int {
	n := 0
	for ; d != nil; d = d.More {
		n += len(d.Bytes) + d.Zeros
	}
	return n
}

// Release gives the pinned memory back, that of More too. It may be called once.
func (d *Data) Release() {
	for ; d != nil; d = d.More {
		if d.Pin != nil {
			d.Pin.Unpin()
			d.Pin = nil
		}
	}
}

// FS is a tree that a client can attach to.
type FS interface {
	// Attach returns the node at path, "" or "/" for the root, as c sees it.
	Attach(c *Cred, path string) (Node, error)
}

// Finder is an FS whose files can be found by their number.
type Finder interface {
	// Find returns the file whose QID has this Path, if it is the directory top or below
	// it, and c may search the directories above it up to top; ENOENT if there is none.
	// top is the Path of a directory's QID, 0 for the root.
	Find(c *Cred, top, path uint64) (Node, error)
}

// The mode of what is to be made may have its maker's umask in the bits from UmaskShift
// on: bits that the new file does not get, unless its directory has a default access
// control list, which then decides.
const (
	UmaskShift = 16
	UmaskBits  = 0o777 << UmaskShift
)

// Umask returns the umask in a mode.
func Umask(mode p9.FileMode) uint32 { return uint32(mode&UmaskBits) >> UmaskShift }

// Node is what a fid holds: a reference to a file of the tree. It stays usable
// after the file is unlinked. Methods are safe for concurrent use; none waits
// for tape. Names have been checked by the server: not empty, at most 255
// bytes, no NUL and no '/'; "." and ".." appear only in Walk.
type Node interface {
	QID() p9.QID
	// Clone returns another reference to the same file.
	Clone() Node
	// Release ends the reference. The Node must not be used after it.
	Release()

	// Walk returns the entry called name of a directory. ".." of the root is the
	// root. Needs search permission.
	Walk(c *Cred, name string) (Node, error)
	Getattr(c *Cred) (p9.Attr, error)
	// Setattr changes what mask names, all or nothing. writable says that the fid
	// is open for writing, which allows a truncate whatever the mode bits say.
	Setattr(c *Cred, mask p9.SetAttrMask, attr p9.SetAttr, writable bool) error
	Statfs(c *Cred) (p9.FSStat, error)
	Readlink(c *Cred) (string, error)

	// Open checks c's permission for flags (Linux O_* bits, as 9P2000.L sends
	// them) and returns an open file. The Node stays usable.
	Open(c *Cred, flags p9.OpenFlags) (File, error)
	// Create makes and opens a regular file in a directory. With O_EXCL, or
	// without O_CREAT semantics in the client, an existing name is EEXIST unless
	// O_EXCL is clear, in which case it is opened (and truncated by O_TRUNC). mode may have
	// a umask in it, as that of Mkdir and Mknod.
	Create(c *Cred, name string, flags p9.OpenFlags, mode p9.FileMode, gid uint32) (Node, File, error)
	Mkdir(c *Cred, name string, mode p9.FileMode, gid uint32) (p9.QID, error)
	Symlink(c *Cred, name, target string, gid uint32) (p9.QID, error)
	Mknod(c *Cred, name string, mode p9.FileMode, major, minor, gid uint32) (p9.QID, error)
	// Link makes name in this directory a hard link to target, a Node of the same FS.
	Link(c *Cred, target Node, name string) error
	// UnlinkAt removes an entry of this directory; flags has AT_REMOVEDIR (0x200)
	// or not.
	UnlinkAt(c *Cred, name string, flags uint32) error
	// RenameAt moves an entry of this directory to newName in newDir, a Node of
	// the same FS, replacing what is there as rename(2) does.
	RenameAt(c *Cred, oldName string, newDir Node, newName string) error
	// Remove and Rename serve the old messages Tremove and Trename, which name the
	// file by its fid alone: by the name under which it was reached.
	Remove(c *Cred) error
	Rename(c *Cred, newDir Node, newName string) error

	// Xattr returns the value of an extended attribute; ENODATA if there is none.
	Xattr(c *Cred, name string) ([]byte, error)
	// XattrList returns the names, each followed by a NUL, as listxattr(2).
	XattrList(c *Cred) ([]byte, error)
	// SetXattr sets or, with a nil value, removes an attribute. flags are
	// XATTR_CREATE (1) and XATTR_REPLACE (2).
	SetXattr(c *Cred, name string, value []byte, flags uint32) error
}

// LockType is the type of a record lock, as in 9P2000.L.
type LockType uint8

// Types of record locks.
const (
	ReadLock  LockType = 0
	WriteLock LockType = 1
	Unlock    LockType = 2
)

// LockRange is a record lock: Length 0 means to the end of the file. Owner is
// unique to the lock owner: client id, process id, and the connection.
type LockRange struct {
	Type          LockType
	Start, Length uint64
	ProcID        uint32
	ClientID      string
	Conn          uint64 // the server's number for the connection
}

// File is an open Node. Methods are safe for concurrent use.
type File interface {
	// ReadAt reads at most n bytes at off. It is short at the end of the file and
	// at the boundary to a sliver that is not ready, but of length 0 only at end of
	// file. It may park w.
	ReadAt(off uint64, n int, w *Waiter) (Data, error)
	// WriteAt writes p at off (at the end of the file if it was opened with
	// O_APPEND). It returns at least 1 for a non-empty p; it may write short. It
	// may park w, with p copied.
	WriteAt(off uint64, p []byte, w *Waiter) (int, error)
	// Readdir calls fn for each entry after the cookie off (0: from the start),
	// "." and ".." among them, until fn returns false.
	Readdir(off uint64, fn func(p9.Dirent) bool) error
	// Fsync makes data and attributes durable. It parks w, or answers at once.
	Fsync(dataOnly bool, w *Waiter) error
	// Lock takes or releases a record lock. With wait it may park w, else a
	// conflict is EAGAIN.
	Lock(l LockRange, wait bool, w *Waiter) error
	// GetLock returns the first lock that would conflict, or l with Type Unlock.
	GetLock(l LockRange) (LockRange, error)
	// Cancel unhooks a parked request. True: w will never be woken and what it
	// asked for has not happened. False: the wake has come or is on its way.
	Cancel(w *Waiter) bool
	// Close ends the open file and drops the record locks that were taken
	// through it. Requests that are parked on it must have been cancelled or woken.
	Close()
}
